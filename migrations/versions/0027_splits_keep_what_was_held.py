"""What was held before a split is kept with it, because at one instant fills before and after it look alike.

It was summed from all fills of the symbol at each reading, and in a replay, whose clock stands still, those booked after the
split counted as before it. Rows of earlier releases stay as they are, since they are chained, and are summed as before.
Locks: the column is null at first, so the ALTER is brief; the view is replaced in place. Undo: the view sums again, drop the
column.
"""

from __future__ import annotations

from alembic import op

revision = "0027"
down_revision = "0026"

_SUMMED = """
    coalesce((
        SELECT sum(CASE f.side WHEN 'buy' THEN f.quantity ELSE -f.quantity END)
        FROM trade_executor.fills f
        WHERE f.account = a.account AND f.symbol = a.symbol AND f.booked_at <= a.entered_at), 0)
    + coalesce((
        SELECT sum(b.quantity) FROM trade_executor.adjustments b
        WHERE b.account = a.account AND b.symbol = a.symbol AND b.id < a.id), 0)"""


def upgrade() -> None:
    op.execute("ALTER TABLE trade_executor.adjustments ADD COLUMN held_before numeric")
    _replace_view(f"coalesce(a.held_before, {_SUMMED})")


def downgrade() -> None:
    _replace_view(_SUMMED)
    op.execute("ALTER TABLE trade_executor.adjustments DROP COLUMN held_before")


def _replace_view(before: str) -> None:
    op.execute(f"""
        CREATE OR REPLACE VIEW trade_executor.v_splits AS
        SELECT a.account, a.symbol, a.key, held.before AS held_before, a.quantity,
               (held.before + a.quantity) / held.before AS ratio, a.evidence ->> 'date' AS told_on,
               a.entered_at AS booked_at
        FROM trade_executor.adjustments a, LATERAL (SELECT {before} AS before) held
        WHERE a.reason IN ('SPLIT', 'SSP') AND held.before * (held.before + a.quantity) > 0""")
