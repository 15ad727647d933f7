"""Marks know where their exchange day began, and recent entries are found quickly.

The daily loss is measured from what the account was worth at the last mark before the day; marks from before
this migration say nothing about it, hence nullable. Orders per minute and repeated executions are counted over
approved entries by the time of their decision. Locks: the ALTER is brief; the index blocks writers of decisions
while it is built. Undo: drop both.
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute("ALTER TABLE risk_manager.equity_points ADD COLUMN day_equity numeric")
    op.execute("""
        CREATE INDEX decisions_entries_by_time ON risk_manager.decisions (account, decided_at)
        WHERE outcome = 'approved' AND purpose = 'entry'""")


def downgrade() -> None:
    op.execute("DROP INDEX risk_manager.decisions_entries_by_time")
    op.execute("ALTER TABLE risk_manager.equity_points DROP COLUMN day_equity")
