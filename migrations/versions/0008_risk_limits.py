"""Marks know where their exchange day began, recent entries are found quickly, limits have a history.

The daily loss is measured from what the account was worth at the last mark before the day; marks from before
this migration say nothing about it, hence nullable. Orders per minute and repeated executions are counted over
approved entries by the time of their decision. Locks: the ALTER is brief; the index blocks writers of decisions
while it is built. Limits that a person sets while trading runs are appended with what held before, by whom and
why; nobody may rewrite them. Undo: drop all three; changed limits fall back to the settings.
"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"

READERS = "data_collector, strategy_engine, risk_manager, trade_executor, scheduler, operator"


def upgrade() -> None:
    op.execute("ALTER TABLE risk_manager.equity_points ADD COLUMN day_equity numeric")
    op.execute("""
        CREATE INDEX decisions_entries_by_time ON risk_manager.decisions (account, decided_at)
        WHERE outcome = 'approved' AND purpose = 'entry'""")
    op.execute("""
        CREATE TABLE risk_manager.limit_changes (
            account text NOT NULL,
            version integer NOT NULL CHECK (version > 0),
            before jsonb NOT NULL,
            after jsonb NOT NULL,
            reason text NOT NULL CHECK (reason <> ''),
            actor text NOT NULL,
            changed_at timestamptz NOT NULL,
            PRIMARY KEY (account, version)
        )""")
    op.execute(
        "CREATE VIEW risk_manager.v_limit_changes AS SELECT * FROM risk_manager.limit_changes"
    )
    op.execute("GRANT SELECT, INSERT ON risk_manager.limit_changes TO risk_manager")
    op.execute(f"GRANT SELECT ON risk_manager.v_limit_changes TO {READERS}")


def downgrade() -> None:
    op.execute("DROP VIEW risk_manager.v_limit_changes")
    op.execute("DROP TABLE risk_manager.limit_changes")
    op.execute("DROP INDEX risk_manager.decisions_entries_by_time")
    op.execute("ALTER TABLE risk_manager.equity_points DROP COLUMN day_equity")
