"""How each screen went: when it was due, how it ended, how many symbols it showed and how long it took.

Only results were kept, so that a screen that failed, or that nobody takes since there is no key, looked like one that was
not due. A row for every five minutes of open market: some 20,000 small rows a year.
Locks: none on what stands. Undo: drop view and table.
"""

from __future__ import annotations

from alembic import op

revision = "0037"
down_revision = "0036"

READERS = "data_collector, strategy_engine, risk_manager, trade_executor, scheduler, operator"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE data_collector.screen_runs (
            account text NOT NULL,
            due_at timestamptz NOT NULL,
            screen text NOT NULL,
            outcome text NOT NULL CHECK (outcome IN ('taken', 'failed', 'off')),
            ended_at timestamptz NOT NULL,
            symbols integer NOT NULL CHECK (symbols >= 0),
            took_s double precision NOT NULL CHECK (took_s >= 0),
            detail text NOT NULL CHECK (length(detail) <= 500),
            PRIMARY KEY (account, due_at)
        )""")
    op.execute("""
        CREATE VIEW data_collector.v_screen_runs AS
        SELECT account, due_at, screen, outcome, ended_at, symbols, took_s, detail
        FROM data_collector.screen_runs""")
    op.execute("GRANT SELECT, INSERT, UPDATE ON data_collector.screen_runs TO data_collector")
    op.execute(f"GRANT SELECT ON data_collector.v_screen_runs TO {READERS}")


def downgrade() -> None:
    op.execute("DROP VIEW data_collector.v_screen_runs")
    op.execute("DROP TABLE data_collector.screen_runs")
