"""Exits that turn a position around are found by an index, since each decision asks whether an entry waits for one.

Locks: the index blocks writers of decisions while it is built. Undo: drop it; it answers nothing that a scan would not.
"""

from __future__ import annotations

from alembic import op

revision = "0034"
down_revision = "0033"


def upgrade() -> None:
    op.execute("""
        CREATE INDEX decisions_turned ON risk_manager.decisions (account, id)
        WHERE outcome = 'approved' AND purpose = 'exit' AND figures ->> 'turns_to' IS NOT NULL""")


def downgrade() -> None:
    op.execute("DROP INDEX risk_manager.decisions_turned")
