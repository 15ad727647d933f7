"""What may be sold short is written down, since the risk manager asks before it approves a short sale.

The executor keeps whether the account may sell short and which shares the broker lends easily, once for each day of the
exchange; that day's look is work it still has to do (v_pending_work), so that a replay waits for it. NULL is not known. Locks:
accounts, for a moment (two columns without a default). Undo: drop them; nothing can be sold short then.
"""

from __future__ import annotations

from alembic import op

revision = "0032"
down_revision = "0031"

SCHEMA = "trade_executor"
READERS = "data_collector, strategy_engine, risk_manager, trade_executor, scheduler, operator"
FINAL = "('filled', 'canceled', 'expired', 'replaced', 'rejected')"
ACCOUNTS = "SELECT account, broker_account_id, adopted_at"
PENDING_WORK = f"""
    SELECT i.account, i.client_order_id, i.state AS what,
           CASE WHEN i.state <> 'PENDING' THEN coalesce(i.sent_at, i.created_at)
                WHEN m.mode = 'HALTED' AND i.purpose <> 'entry' THEN NULL
                ELSE i.act_from END AS due_from
    FROM {SCHEMA}.intents i
    LEFT JOIN risk_manager.v_mode m ON m.account = i.account
    WHERE i.state IN ('PENDING', 'SENDING', 'UNKNOWN')
    UNION ALL
    SELECT account, intent_id, 'CANCEL', cancel_asked_at FROM {SCHEMA}.orders
    WHERE cancel_asked_at IS NOT NULL AND status NOT IN {FINAL}
    UNION ALL
    SELECT account, coalesce(intent_id, client_order_id), 'BOOK_FILLS', first_seen_at
    FROM {SCHEMA}.orders WHERE booked_quantity < filled_quantity"""
# Due when the next day begins where the exchange is.
LENDING_WORK = f"""
    UNION ALL
    SELECT account, '', 'LENDING',
           (date_trunc('day', lending_seen_at AT TIME ZONE 'America/New_York') + interval '1 day')
               AT TIME ZONE 'America/New_York'
    FROM {SCHEMA}.accounts WHERE lending_seen_at IS NOT NULL"""


def upgrade() -> None:
    op.execute(
        f"ALTER TABLE {SCHEMA}.accounts ADD COLUMN may_short boolean, ADD COLUMN lending_seen_at timestamptz"
    )
    op.execute(
        f"CREATE OR REPLACE VIEW {SCHEMA}.v_accounts AS "
        f"{ACCOUNTS}, may_short, lending_seen_at FROM {SCHEMA}.accounts"
    )
    op.execute(f"""
        CREATE TABLE {SCHEMA}.lending (
            account text NOT NULL,
            symbol text NOT NULL,
            is_lent boolean NOT NULL,
            seen_at timestamptz NOT NULL,
            PRIMARY KEY (account, symbol)
        )""")
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON {SCHEMA}.lending TO {SCHEMA}")
    op.execute(
        f"CREATE VIEW {SCHEMA}.v_lending AS SELECT account, symbol, is_lent, seen_at FROM {SCHEMA}.lending"
    )
    op.execute(f"GRANT SELECT ON {SCHEMA}.v_lending TO {READERS}")
    op.execute(f"CREATE OR REPLACE VIEW {SCHEMA}.v_pending_work AS {PENDING_WORK}{LENDING_WORK}")


def downgrade() -> None:
    op.execute(f"CREATE OR REPLACE VIEW {SCHEMA}.v_pending_work AS {PENDING_WORK}")
    op.execute(f"DROP VIEW {SCHEMA}.v_lending")
    op.execute(f"DROP TABLE {SCHEMA}.lending")
    op.execute(f"DROP VIEW {SCHEMA}.v_accounts")
    op.execute(f"ALTER TABLE {SCHEMA}.accounts DROP COLUMN may_short, DROP COLUMN lending_seen_at")
    op.execute(f"CREATE VIEW {SCHEMA}.v_accounts AS {ACCOUNTS} FROM {SCHEMA}.accounts")
    op.execute(f"GRANT SELECT ON {SCHEMA}.v_accounts TO {READERS}")
