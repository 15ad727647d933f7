"""Let everybody read cash entries and corrections of positions, because exports need every share, not only filled ones.

Locks: none. Undo: drop the views.
"""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"

READERS = "data_collector, strategy_engine, risk_manager, trade_executor, scheduler, operator"
VIEWS = {
    "v_adjustments": """
        SELECT id, account, key, symbol, quantity, price, reason, evidence, entered_at
        FROM trade_executor.adjustments""",
    "v_cash_entries": """
        SELECT id, account, key, amount, reason, evidence, entered_at
        FROM trade_executor.cash_entries""",
}


def upgrade() -> None:
    for name, query in VIEWS.items():
        op.execute(f"CREATE VIEW trade_executor.{name} AS {query}")
        op.execute(f"GRANT SELECT ON trade_executor.{name} TO {READERS}")


def downgrade() -> None:
    for name in VIEWS:
        op.execute(f"DROP VIEW trade_executor.{name}")
