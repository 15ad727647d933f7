"""Everybody may read since when a strategy was stopped in a symbol, because the past was told by the newest row.

Locks: none, a view is made. Undo: drop the view.
"""

from __future__ import annotations

from alembic import op

revision = "0028"
down_revision = "0027"

READERS = "data_collector, strategy_engine, risk_manager, trade_executor, scheduler, operator"


def upgrade() -> None:
    op.execute(
        "CREATE VIEW risk_manager.v_throttle_changes AS SELECT * FROM risk_manager.throttles"
    )
    op.execute(f"GRANT SELECT ON risk_manager.v_throttle_changes TO {READERS}")


def downgrade() -> None:
    op.execute("DROP VIEW risk_manager.v_throttle_changes")
