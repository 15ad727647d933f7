"""Keep how each day's trades went, because reports and the dashboard ask for many days at once.

The rows are folds over the ledger and can be made again at any time. Locks: none, everything is new. Undo: drop the table.
"""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"

READERS = "data_collector, strategy_engine, risk_manager, trade_executor, scheduler, operator"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE trade_executor.daily_performance (
            account text NOT NULL,
            day_on date NOT NULL,
            wins integer NOT NULL CHECK (wins >= 0),
            losses integer NOT NULL CHECK (losses >= 0),
            gross_profit numeric NOT NULL CHECK (gross_profit >= 0),
            gross_loss numeric NOT NULL CHECK (gross_loss >= 0),
            computed_at timestamptz NOT NULL,
            PRIMARY KEY (account, day_on)
        )""")
    op.execute("""
        CREATE VIEW trade_executor.v_daily_performance AS
        SELECT account, day_on, wins, losses, gross_profit, gross_loss, computed_at
        FROM trade_executor.daily_performance""")
    op.execute("GRANT SELECT, INSERT, UPDATE ON trade_executor.daily_performance TO trade_executor")
    op.execute(f"GRANT SELECT ON trade_executor.v_daily_performance TO {READERS}")


def downgrade() -> None:
    op.execute("DROP VIEW trade_executor.v_daily_performance")
    op.execute("DROP TABLE trade_executor.daily_performance")
