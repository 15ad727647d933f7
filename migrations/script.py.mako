"""${message}"""

from __future__ import annotations

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    ${upgrades if upgrades else "raise SystemExit('write this step')"}


def downgrade() -> None:
    ${downgrades if downgrades else "raise SystemExit('write this step')"}
