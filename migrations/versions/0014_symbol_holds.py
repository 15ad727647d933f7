"""Symbols that are held: no entry in them until a reason is gone or a person lets them go.

A refused bar speaks against its symbol only until a good one comes. Two providers that disagree, a step that no
corporate action explains or a feed that stands still are doubts that a next bar does not lift, so they are rows of
their own with a beginning and an end. Rows are never deleted. Locks: none, everything is new. Undo: drop the table.
"""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"

READERS = "data_collector, strategy_engine, risk_manager, trade_executor, scheduler, operator"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE data_collector.symbol_holds (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            account text NOT NULL,
            symbol text NOT NULL CHECK (length(symbol) <= 40),
            kind text NOT NULL CHECK (kind IN ('disagreement', 'split', 'frozen')),
            reason text NOT NULL CHECK (length(reason) <= 400),
            last_on date,
            step_on date,
            since_at timestamptz NOT NULL,
            ended_at timestamptz,
            end_reason text CHECK (length(end_reason) <= 400),
            CHECK ((ended_at IS NULL) = (end_reason IS NULL)),
            CHECK ((kind = 'split') = (step_on IS NOT NULL AND last_on IS NOT NULL))
        )""")
    # One doubt of a kind at a time.
    op.execute("""
        CREATE UNIQUE INDEX ON data_collector.symbol_holds (account, symbol, kind)
        WHERE ended_at IS NULL""")
    op.execute("CREATE INDEX ON data_collector.symbol_holds (account, id)")
    op.execute("""
        CREATE VIEW data_collector.v_symbol_holds AS
        SELECT id, account, symbol, kind, reason, last_on, step_on, since_at, ended_at, end_reason
        FROM data_collector.symbol_holds""")
    op.execute("GRANT SELECT, INSERT, UPDATE ON data_collector.symbol_holds TO data_collector")
    op.execute(f"GRANT SELECT ON data_collector.v_symbol_holds TO {READERS}")


def downgrade() -> None:
    op.execute("DROP VIEW data_collector.v_symbol_holds")
    op.execute("DROP TABLE data_collector.symbol_holds")
