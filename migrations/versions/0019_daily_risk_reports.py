"""A risk report per exchange day, and snapshots of what could be lost.

Both are documents for people, written once and never changed: a report when its day is over, a snapshot every quarter
of an hour of open market. Locks: none, everything is new. Undo: drop both; the next close writes reports again.
"""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0018"

READERS = "data_collector, strategy_engine, risk_manager, trade_executor, scheduler, operator"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE risk_manager.daily_reports (
            account text NOT NULL,
            trade_on date NOT NULL,
            written_at timestamptz NOT NULL,
            document jsonb NOT NULL,
            PRIMARY KEY (account, trade_on)
        )""")
    op.execute("""
        CREATE TABLE risk_manager.snapshots (
            account text NOT NULL,
            taken_at timestamptz NOT NULL,
            document jsonb NOT NULL,
            PRIMARY KEY (account, taken_at)
        )""")
    # A day's decisions are counted by their time.
    op.execute("CREATE INDEX decisions_by_time ON risk_manager.decisions (account, decided_at)")
    for name in ("daily_reports", "snapshots"):
        op.execute(f"CREATE VIEW risk_manager.v_{name} AS SELECT * FROM risk_manager.{name}")
        op.execute(f"GRANT SELECT, INSERT ON risk_manager.{name} TO risk_manager")
        op.execute(f"GRANT SELECT ON risk_manager.v_{name} TO {READERS}")


def downgrade() -> None:
    op.execute("DROP INDEX risk_manager.decisions_by_time")
    for name in ("snapshots", "daily_reports"):
        op.execute(f"DROP VIEW risk_manager.v_{name}")
        op.execute(f"DROP TABLE risk_manager.{name}")
