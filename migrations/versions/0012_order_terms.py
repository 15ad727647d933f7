"""Intents hold every kind of order, and say which order they replace.

A stop-limit, a trailing stop, an auction order or a one-triggers-other could not be stored. A replacement is an
intent of its own that names the one it stands for, so that it is found by its own client id like any other; the key
under which a person asked for it names it for ever. Locks: the ALTERs rewrite nothing; the checks are validated over
the rows there are. Undo: works only while no row uses a new term.
"""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"

READERS = "data_collector, strategy_engine, risk_manager, trade_executor, scheduler, operator"
_NEW = {
    "type": "'market', 'limit', 'stop', 'stop_limit', 'trailing_stop'",
    "time_in_force": "'day', 'gtc', 'opg', 'cls', 'ioc', 'fok'",
    "order_class": "'simple', 'bracket', 'oco', 'oto'",
}
_OLD = {
    "type": "'market', 'limit', 'stop'",
    "time_in_force": "'day', 'gtc'",
    "order_class": "'simple', 'bracket', 'oco'",
}
_INTENTS = """
    SELECT client_order_id, account, decision_id, signal_id, symbol, side, purpose, leg, type, quantity,
           filled_quantity, limit_price, stop_price, stop_loss, take_profit, reference_price, state,
           broker_order_id, act_from, act_until, reason, created_at, sent_at, ended_at, sequence,
           order_class, time_in_force, posts, probes"""
_TERMS = "trail_price, trail_percent, stop_loss_limit, extended_hours, replaces"


def _check(allowed: dict[str, str]) -> None:
    for column, words in allowed.items():
        op.execute(
            f"ALTER TABLE trade_executor.intents DROP CONSTRAINT intents_{column}_check, "
            f"ADD CONSTRAINT intents_{column}_check CHECK ({column} IN ({words}))"
        )


def upgrade() -> None:
    _check(_NEW)
    op.execute("""
        ALTER TABLE trade_executor.intents
            ADD COLUMN trail_price numeric,
            ADD COLUMN trail_percent numeric,
            ADD COLUMN stop_loss_limit numeric,
            ADD COLUMN extended_hours boolean NOT NULL DEFAULT false,
            ADD COLUMN replaces text,
            ADD FOREIGN KEY (account, replaces)
                REFERENCES trade_executor.intents (account, client_order_id)""")
    op.execute(
        f"CREATE OR REPLACE VIEW trade_executor.v_intents AS {_INTENTS}, {_TERMS} "
        "FROM trade_executor.intents"
    )
    op.execute("""
        CREATE TABLE trade_executor.replacements (
            account text NOT NULL,
            key text NOT NULL,
            digest text NOT NULL,
            client_order_id text NOT NULL,
            actor text NOT NULL,
            asked_at timestamptz NOT NULL,
            PRIMARY KEY (account, key),
            FOREIGN KEY (account, client_order_id)
                REFERENCES trade_executor.intents (account, client_order_id)
        )""")
    op.execute("GRANT SELECT, INSERT ON trade_executor.replacements TO trade_executor")


def downgrade() -> None:
    op.execute("DROP TABLE trade_executor.replacements")
    op.execute("DROP VIEW trade_executor.v_intents")
    op.execute(
        "ALTER TABLE trade_executor.intents DROP COLUMN trail_price, DROP COLUMN trail_percent, "
        "DROP COLUMN stop_loss_limit, DROP COLUMN extended_hours, DROP COLUMN replaces"
    )
    op.execute(f"CREATE VIEW trade_executor.v_intents AS {_INTENTS} FROM trade_executor.intents")
    op.execute(f"GRANT SELECT ON trade_executor.v_intents TO {READERS}")
    _check(_OLD)
