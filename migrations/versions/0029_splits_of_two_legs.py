"""A split that the broker told as two moves, the old shares out and the new ones in, is one split to who reads it.

Each move alone leads to no shares or comes from none, so neither was shown, and risk went on to wait for a split that was
booked already. Moves of one booking have one instant. Locks: the view is replaced in place. Undo: the view of before.
"""

from __future__ import annotations

from alembic import op

revision = "0029"
down_revision = "0028"

# Of bookings that do not keep what was held before; see 0027.
_BEFORE = """
    coalesce(a.held_before,
        coalesce((
            SELECT sum(CASE f.side WHEN 'buy' THEN f.quantity ELSE -f.quantity END)
            FROM trade_executor.fills f
            WHERE f.account = a.account AND f.symbol = a.symbol AND f.booked_at <= a.entered_at), 0)
        + coalesce((
            SELECT sum(b.quantity) FROM trade_executor.adjustments b
            WHERE b.account = a.account AND b.symbol = a.symbol AND b.id < a.id), 0))"""


def upgrade() -> None:
    op.execute(f"""
        CREATE OR REPLACE VIEW trade_executor.v_splits AS
        SELECT account, symbol, key, held_before, quantity, (held_before + quantity) / held_before AS ratio,
               told_on, booked_at
        FROM (
            SELECT a.account, a.symbol, (array_agg(a.key ORDER BY a.id))[1] AS key,
                   (array_agg({_BEFORE} ORDER BY a.id))[1] AS held_before, sum(a.quantity) AS quantity,
                   (array_agg(a.evidence ->> 'date' ORDER BY a.id))[1] AS told_on, a.entered_at AS booked_at
            FROM trade_executor.adjustments a
            WHERE a.reason IN ('SPLIT', 'SSP')
            GROUP BY a.account, a.symbol, a.entered_at) booked
        WHERE held_before * (held_before + quantity) > 0""")


def downgrade() -> None:
    op.execute(f"""
        CREATE OR REPLACE VIEW trade_executor.v_splits AS
        SELECT a.account, a.symbol, a.key, held.before AS held_before, a.quantity,
               (held.before + a.quantity) / held.before AS ratio, a.evidence ->> 'date' AS told_on,
               a.entered_at AS booked_at
        FROM trade_executor.adjustments a, LATERAL (SELECT {_BEFORE} AS before) held
        WHERE a.reason IN ('SPLIT', 'SSP') AND held.before * (held.before + a.quantity) > 0""")
