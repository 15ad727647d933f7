"""Shares that no stop guards are a difference of their own kind, which closes by itself once they are guarded.

That a broker refused a guard was told once and never taken back. Locks: brief; the check is validated over the rows there are.
Undo: works only while no row is of that kind.
"""

from __future__ import annotations

from alembic import op

revision = "0040"
down_revision = "0039"

_OLD = "'EXTERNAL_ORDER', 'ORDER_MISMATCH', 'POSITION', 'CASH', 'PROTECTION_REFUSED', 'SESSION', 'CLOCK', 'CORPORATE_ACTION'"


def _check(kinds: str) -> None:
    op.execute(
        "ALTER TABLE trade_executor.differences DROP CONSTRAINT differences_kind_check, "
        f"ADD CONSTRAINT differences_kind_check CHECK (kind IN ({kinds}))"
    )


def upgrade() -> None:
    _check(f"{_OLD}, 'UNGUARDED'")


def downgrade() -> None:
    _check(_OLD)
