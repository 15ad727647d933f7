"""An intent may be for a sum of money.

Dollars were turned into shares before anything was stored, so that the order bought what they paid for a moment ago.
Null means shares, as all rows there are. Locks: brief, nothing is rewritten. Undo: works only while no row has a sum.
"""

from __future__ import annotations

from alembic import op

revision = "0020"
down_revision = "0019"

READERS = "data_collector, strategy_engine, risk_manager, trade_executor, scheduler, operator"
_INTENTS = """
    SELECT client_order_id, account, decision_id, signal_id, symbol, side, purpose, leg, type, quantity,
           filled_quantity, limit_price, stop_price, stop_loss, take_profit, reference_price, state,
           broker_order_id, act_from, act_until, reason, created_at, sent_at, ended_at, sequence,
           order_class, time_in_force, posts, probes, trail_price, trail_percent, stop_loss_limit,
           extended_hours, replaces"""


def upgrade() -> None:
    op.execute(
        "ALTER TABLE trade_executor.intents ADD COLUMN notional numeric CHECK (notional > 0)"
    )
    op.execute(
        f"CREATE OR REPLACE VIEW trade_executor.v_intents AS {_INTENTS}, notional "
        "FROM trade_executor.intents"
    )


def downgrade() -> None:
    op.execute("DROP VIEW trade_executor.v_intents")
    op.execute("ALTER TABLE trade_executor.intents DROP COLUMN notional")
    op.execute(f"CREATE VIEW trade_executor.v_intents AS {_INTENTS} FROM trade_executor.intents")
    op.execute(f"GRANT SELECT ON trade_executor.v_intents TO {READERS}")
