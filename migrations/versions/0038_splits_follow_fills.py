"""A split keeps which fills came before it, because what a bracket brought is counted in the shares of today.

After a split stops were put back for the old number of shares. The new number is what each fill counts now, so it must be
known which fills a split counts anew; instants do not tell, since at one instant fills before and after it look alike. Rows
of earlier releases stay as they are, since they are chained: of those the instant decides. Locks: the column is nullable, so
the ALTER is brief. Undo: drop the column.
"""

from __future__ import annotations

from alembic import op

revision = "0038"
down_revision = "0037"


def upgrade() -> None:
    op.execute("ALTER TABLE trade_executor.adjustments ADD COLUMN after_fill bigint")


def downgrade() -> None:
    op.execute("ALTER TABLE trade_executor.adjustments DROP COLUMN after_fill")
