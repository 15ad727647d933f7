"""Stops that somebody gave at the broker and an exit of all that was held took out of its way, with what puts them back.

They were left where they were, so that the broker refused the exit of a position that came with the account: its stop
held the shares. Cancelled, nobody would have put them back had the exit not sold everything. A table of its own, since
a split changes the prices they are put back at, while the rows of orders keep what the broker said.
Locks: none on what stands. Undo: drop the table; what was cancelled stays cancelled.
"""

from __future__ import annotations

from alembic import op

revision = "0035"
down_revision = "0034"

TABLE = "trade_executor.withdrawn_guards"


def upgrade() -> None:
    op.execute(f"""
        CREATE TABLE {TABLE} (
            account text NOT NULL,
            stop_order_id text NOT NULL,
            target_order_id text,
            exit_id text NOT NULL,
            symbol text NOT NULL,
            side text NOT NULL CHECK (side IN ('buy', 'sell')),
            quantity numeric NOT NULL CHECK (quantity > 0),
            stop_price numeric NOT NULL CHECK (stop_price > 0),
            stop_limit_price numeric CHECK (stop_limit_price > 0),
            target_price numeric CHECK (target_price > 0),
            withdrawn_at timestamptz NOT NULL,
            PRIMARY KEY (account, stop_order_id),
            FOREIGN KEY (account, stop_order_id) REFERENCES trade_executor.orders (account, broker_order_id),
            FOREIGN KEY (account, exit_id) REFERENCES trade_executor.intents (account, client_order_id)
        )""")
    op.execute(f"CREATE INDEX ON {TABLE} (account, symbol, withdrawn_at DESC)")
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON {TABLE} TO trade_executor")


def downgrade() -> None:
    op.execute(f"DROP TABLE {TABLE}")
