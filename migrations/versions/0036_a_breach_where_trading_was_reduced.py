"""A breach is written down also where a person had set REDUCING before: it is news, and told and acted on once.

The table refused a mode that follows itself, which only a person's doing was meant by.
Locks: the table of modes for a moment; it has a row for each change. Undo: put the old check back as NOT VALID.
"""

from __future__ import annotations

from alembic import op

revision = "0036"
down_revision = "0035"

TABLE = "risk_manager.modes"


def upgrade() -> None:
    op.execute(f"ALTER TABLE {TABLE} DROP CONSTRAINT modes_check1")
    op.execute(f"""
        ALTER TABLE {TABLE} ADD CONSTRAINT modes_follow_another
        CHECK (previous <> mode OR (mode = 'REDUCING' AND actor = 'risk_manager'))""")


def downgrade() -> None:
    op.execute(f"ALTER TABLE {TABLE} DROP CONSTRAINT modes_follow_another")
    op.execute(
        f"ALTER TABLE {TABLE} ADD CONSTRAINT modes_check1 CHECK (previous <> mode) NOT VALID"
    )
