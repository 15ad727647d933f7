"""Positions and cash are read from the newest mark on by an index, and the stops that were hit by one of their own.

Each decision reads all three under the account's lock. The views joined the mark in a way that let the server look at every
fill there ever was and leave out those before it; now they begin at the account, so that it looks at the newer ones
alone. Of which fills were of stops it looked for among all orders. The sums are the same. Locks: the views are replaced
in place; orders are not written while the index is made, some seconds for a million of them. Undo: the old views, and
drop the index.
"""

from __future__ import annotations

from alembic import op

revision = "0039"
down_revision = "0038"

_ACCOUNTS = """trade_executor.accounts a
        CROSS JOIN LATERAL (
            SELECT coalesce(max(c.through_id), 0) AS through_id
            FROM trade_executor.cash_marks c WHERE c.account = a.account) newest"""
_POSITIONS = f"""
    SELECT account, symbol, sum(quantity) AS quantity
    FROM (
        SELECT m.account, m.symbol, m.quantity
        FROM {_ACCOUNTS}
        JOIN trade_executor.position_marks m
            ON m.account = a.account AND m.through_id = newest.through_id
        UNION ALL
        SELECT f.account, f.symbol, CASE f.side WHEN 'buy' THEN f.quantity ELSE -f.quantity END
        FROM {_ACCOUNTS}
        JOIN trade_executor.fills f ON f.account = a.account AND f.id > newest.through_id
        UNION ALL
        SELECT account, symbol, quantity FROM trade_executor.adjustments
    ) AS moves
    GROUP BY account, symbol
    HAVING sum(quantity) <> 0"""
_CASH = f"""
    SELECT account, sum(amount) AS cash
    FROM (
        SELECT m.account, m.cash AS amount
        FROM {_ACCOUNTS}
        JOIN trade_executor.cash_marks m
            ON m.account = a.account AND m.through_id = newest.through_id
        UNION ALL
        SELECT account, amount FROM trade_executor.cash_entries
        UNION ALL
        SELECT f.account,
               CASE f.side WHEN 'buy' THEN -f.quantity * f.price ELSE f.quantity * f.price END - f.fee
        FROM {_ACCOUNTS}
        JOIN trade_executor.fills f ON f.account = a.account AND f.id > newest.through_id
    ) AS moves
    GROUP BY account"""
_NEWEST = """
    SELECT account, max(through_id) AS through_id FROM trade_executor.cash_marks GROUP BY account"""
_OLD_POSITIONS = f"""
    SELECT account, symbol, sum(quantity) AS quantity
    FROM (
        SELECT m.account, m.symbol, m.quantity
        FROM trade_executor.position_marks m
        JOIN ({_NEWEST}) newest ON newest.account = m.account AND newest.through_id = m.through_id
        UNION ALL
        SELECT f.account, f.symbol, CASE f.side WHEN 'buy' THEN f.quantity ELSE -f.quantity END
        FROM trade_executor.fills f
        LEFT JOIN ({_NEWEST}) newest ON newest.account = f.account
        WHERE f.id > coalesce(newest.through_id, 0)
        UNION ALL
        SELECT account, symbol, quantity FROM trade_executor.adjustments
    ) AS moves
    GROUP BY account, symbol
    HAVING sum(quantity) <> 0"""
_OLD_CASH = f"""
    SELECT account, sum(amount) AS cash
    FROM (
        SELECT m.account, m.cash AS amount
        FROM trade_executor.cash_marks m
        JOIN ({_NEWEST}) newest ON newest.account = m.account AND newest.through_id = m.through_id
        UNION ALL
        SELECT account, amount FROM trade_executor.cash_entries
        UNION ALL
        SELECT f.account,
               CASE f.side WHEN 'buy' THEN -f.quantity * f.price ELSE f.quantity * f.price END - f.fee
        FROM trade_executor.fills f
        LEFT JOIN ({_NEWEST}) newest ON newest.account = f.account
        WHERE f.id > coalesce(newest.through_id, 0)
    ) AS moves
    GROUP BY account"""


def upgrade() -> None:
    op.execute(f"CREATE OR REPLACE VIEW trade_executor.v_positions AS {_POSITIONS}")
    op.execute(f"CREATE OR REPLACE VIEW trade_executor.v_cash AS {_CASH}")
    op.execute("""
        CREATE INDEX orders_stopped ON trade_executor.orders (account, broker_order_id)
        WHERE type IN ('stop', 'trailing_stop', 'stop_limit') AND filled_quantity > 0""")


def downgrade() -> None:
    op.execute("DROP INDEX trade_executor.orders_stopped")
    op.execute(f"CREATE OR REPLACE VIEW trade_executor.v_positions AS {_OLD_POSITIONS}")
    op.execute(f"CREATE OR REPLACE VIEW trade_executor.v_cash AS {_OLD_CASH}")
