"""A corporate action is a difference of its own kind, which waits for a person to look.

After shares have moved without a trade, what guards them may not fit. Locks: brief; the check is validated over the rows there
are. Undo: works only while no row is of that kind.
"""

from __future__ import annotations

from alembic import op

revision = "0022"
down_revision = "0021"

_OLD = "'EXTERNAL_ORDER', 'ORDER_MISMATCH', 'POSITION', 'CASH', 'PROTECTION_REFUSED', 'SESSION', 'CLOCK'"


def _check(kinds: str) -> None:
    op.execute(
        "ALTER TABLE trade_executor.differences DROP CONSTRAINT differences_kind_check, "
        f"ADD CONSTRAINT differences_kind_check CHECK (kind IN ({kinds}))"
    )


def upgrade() -> None:
    _check(f"{_OLD}, 'CORPORATE_ACTION'")


def downgrade() -> None:
    _check(_OLD)
