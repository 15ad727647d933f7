"""Everybody may read by how much the ledger counted a symbol's shares anew, because risk valued new shares at old figures.

A booked split is an adjustment; its ratio follows from what was held right before it. Locks: the index is built on a table
of a few rows. Undo: drop the view and the index.
"""

from __future__ import annotations

from alembic import op

revision = "0026"
down_revision = "0025"

READERS = "data_collector, strategy_engine, risk_manager, trade_executor, scheduler, operator"


def upgrade() -> None:
    op.execute("""
        CREATE INDEX adjustments_splits ON trade_executor.adjustments (account, symbol)
        WHERE reason IN ('SPLIT', 'SSP')""")
    op.execute("""
        CREATE VIEW trade_executor.v_splits AS
        SELECT a.account, a.symbol, a.key, held.before AS held_before, a.quantity,
               (held.before + a.quantity) / held.before AS ratio, a.evidence ->> 'date' AS told_on,
               a.entered_at AS booked_at
        FROM trade_executor.adjustments a, LATERAL (
            SELECT coalesce((
                       SELECT sum(CASE f.side WHEN 'buy' THEN f.quantity ELSE -f.quantity END)
                       FROM trade_executor.fills f
                       WHERE f.account = a.account AND f.symbol = a.symbol AND f.booked_at <= a.entered_at), 0)
                 + coalesce((
                       SELECT sum(b.quantity) FROM trade_executor.adjustments b
                       WHERE b.account = a.account AND b.symbol = a.symbol AND b.id < a.id), 0) AS before) held
        WHERE a.reason IN ('SPLIT', 'SSP') AND held.before * (held.before + a.quantity) > 0""")
    op.execute(f"GRANT SELECT ON trade_executor.v_splits TO {READERS}")


def downgrade() -> None:
    op.execute("DROP VIEW trade_executor.v_splits")
    op.execute("DROP INDEX trade_executor.adjustments_splits")
