"""Signals, each under the one id its bar allows, and how each strategy last fared.

A signal is kept as it was given and never changed. A strategy that keeps failing is off until a person turns
it on again, so that state must outlive the process: hence a table and not memory. Locks: none, everything is
new. Undo: drop the tables.
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"

READERS = "data_collector, strategy_engine, risk_manager, trade_executor, scheduler, operator"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE strategy_engine.signals (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            signal_id text NOT NULL UNIQUE,
            account text NOT NULL,
            batch_id bigint NOT NULL,
            strategy text NOT NULL,
            symbol text NOT NULL,
            timeframe text NOT NULL,
            bar_start_at timestamptz NOT NULL,
            bar_end_at timestamptz NOT NULL CHECK (bar_end_at > bar_start_at),
            direction text NOT NULL CHECK (direction IN ('LONG', 'FLAT', 'SHORT')),
            conviction double precision NOT NULL CHECK (conviction BETWEEN 0 AND 1),
            reason text NOT NULL,
            reference_price numeric(20, 6) NOT NULL CHECK (reference_price > 0),
            figures jsonb NOT NULL,
            created_at timestamptz NOT NULL,
            UNIQUE (account, strategy, symbol, timeframe, bar_end_at)
        )""")
    # The newest signals, of all symbols or of one; and what one batch led to.
    op.execute("CREATE INDEX ON strategy_engine.signals (account, id)")
    op.execute("CREATE INDEX ON strategy_engine.signals (account, symbol, id)")
    op.execute("CREATE INDEX ON strategy_engine.signals (account, batch_id)")
    op.execute("""
        CREATE VIEW strategy_engine.v_signals AS
        SELECT id, signal_id, account, batch_id, strategy, symbol, timeframe, bar_start_at, bar_end_at,
               direction, conviction, reason, reference_price, figures, created_at
        FROM strategy_engine.signals""")
    op.execute("""
        CREATE TABLE strategy_engine.strategy_runs (
            account text NOT NULL,
            strategy text NOT NULL,
            failures integer NOT NULL CHECK (failures >= 0),
            is_off boolean NOT NULL,
            last_error text,
            instant_at timestamptz,
            signals integer NOT NULL CHECK (signals >= 0),
            ran_at timestamptz,
            turned_on_at timestamptz,
            turned_on_reason text,
            PRIMARY KEY (account, strategy)
        )""")
    op.execute("""
        CREATE VIEW strategy_engine.v_strategy_runs AS
        SELECT account, strategy, failures, is_off, last_error, instant_at, signals, ran_at,
               turned_on_at, turned_on_reason
        FROM strategy_engine.strategy_runs""")
    op.execute("GRANT SELECT, INSERT ON strategy_engine.signals TO strategy_engine")
    op.execute("GRANT SELECT, INSERT, UPDATE ON strategy_engine.strategy_runs TO strategy_engine")
    op.execute(
        f"GRANT SELECT ON strategy_engine.v_signals, strategy_engine.v_strategy_runs TO {READERS}"
    )


def downgrade() -> None:
    for table in ("strategy_runs", "signals"):
        op.execute(f"DROP VIEW strategy_engine.v_{table}")
        op.execute(f"DROP TABLE strategy_engine.{table}")
