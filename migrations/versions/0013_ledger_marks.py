"""Positions and cash are summed from a mark on, so that a read costs the newest fills and not the whole ledger.

A mark holds what all fills up to an id came to; it is written once, by whoever books, and never changed: the views
add the fills after the newest mark to it, which is the same sum in two parts. Without marks they sum everything, as
before. Locks: none, the tables are new and the views are replaced in place. Undo: the old views, and drop the tables.
"""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"

_NEWEST = """
    SELECT account, max(through_id) AS through_id FROM trade_executor.cash_marks GROUP BY account"""
_POSITIONS = f"""
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
_CASH = f"""
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
_OLD_POSITIONS = """
    SELECT account, symbol, sum(quantity) AS quantity
    FROM (
        SELECT account, symbol, CASE side WHEN 'buy' THEN quantity ELSE -quantity END AS quantity
        FROM trade_executor.fills
        UNION ALL
        SELECT account, symbol, quantity FROM trade_executor.adjustments
    ) AS moves
    GROUP BY account, symbol
    HAVING sum(quantity) <> 0"""
_OLD_CASH = """
    SELECT account, sum(amount) AS cash
    FROM (
        SELECT account, amount FROM trade_executor.cash_entries
        UNION ALL
        SELECT account, CASE side WHEN 'buy' THEN -quantity * price ELSE quantity * price END - fee
        FROM trade_executor.fills
    ) AS moves
    GROUP BY account"""


def upgrade() -> None:
    op.execute("""
        CREATE TABLE trade_executor.cash_marks (
            account text NOT NULL,
            through_id bigint NOT NULL,
            -- What all fills up to and with that id did to cash, fees included.
            cash numeric NOT NULL,
            PRIMARY KEY (account, through_id)
        )""")
    op.execute("""
        CREATE TABLE trade_executor.position_marks (
            account text NOT NULL,
            through_id bigint NOT NULL,
            symbol text NOT NULL,
            quantity numeric NOT NULL,
            PRIMARY KEY (account, through_id, symbol),
            FOREIGN KEY (account, through_id)
                REFERENCES trade_executor.cash_marks (account, through_id)
        )""")
    for table in ("cash_marks", "position_marks"):
        op.execute(f"GRANT SELECT, INSERT ON trade_executor.{table} TO trade_executor")
    op.execute(f"CREATE OR REPLACE VIEW trade_executor.v_positions AS {_POSITIONS}")
    op.execute(f"CREATE OR REPLACE VIEW trade_executor.v_cash AS {_CASH}")


def downgrade() -> None:
    op.execute(f"CREATE OR REPLACE VIEW trade_executor.v_positions AS {_OLD_POSITIONS}")
    op.execute(f"CREATE OR REPLACE VIEW trade_executor.v_cash AS {_OLD_CASH}")
    op.execute("DROP TABLE trade_executor.position_marks")
    op.execute("DROP TABLE trade_executor.cash_marks")
