"""The executor's truth: intents, orders with their legs, every event, immutable fills, cash.

Positions and cash are views over fills and entries; nothing stores them. An order's `booked_quantity` is the
sum of its fills, kept beside what the broker says so that a missing execution shows at once. Checks hold what
must never be: more filled than ordered, more POSTs than proofs. Locks: none, everything is new. Undo: drop the
tables; the ledger goes with them.
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"

SCHEMA = "trade_executor"
READERS = "data_collector, strategy_engine, risk_manager, trade_executor, scheduler, operator"
UNFINISHED = "('PENDING', 'SENDING', 'UNKNOWN', 'ACKED', 'PARTIAL')"
FINAL = "('filled', 'canceled', 'expired', 'replaced', 'rejected')"

TABLES = (
    f"""
    CREATE TABLE {SCHEMA}.accounts (
        account text PRIMARY KEY,
        broker_account_id text NOT NULL,
        adopted_at timestamptz NOT NULL,
        -- Executions up to here are inside the opening figures.
        ledger_from timestamptz NOT NULL
    )""",
    f"""
    CREATE TABLE {SCHEMA}.status (
        account text PRIMARY KEY,
        state text NOT NULL CHECK (state IN ('STANDBY', 'RECONCILING', 'READY', 'ACCOUNT_MISMATCH')),
        since_at timestamptz NOT NULL,
        reason text NOT NULL,
        -- Counted up by whoever takes over; an earlier holder cannot send any more.
        epoch bigint NOT NULL CHECK (epoch > 0),
        reconciled_at timestamptz
    )""",
    f"""
    CREATE TABLE {SCHEMA}.intents (
        account text NOT NULL,
        client_order_id text NOT NULL CHECK (length(client_order_id) BETWEEN 1 AND 48),
        sequence bigint GENERATED ALWAYS AS IDENTITY,
        decision_id text NOT NULL,
        signal_id text NOT NULL,
        symbol text NOT NULL,
        side text NOT NULL CHECK (side IN ('buy', 'sell')),
        purpose text NOT NULL CHECK (purpose IN ('entry', 'exit', 'protect')),
        leg text NOT NULL,
        generation int NOT NULL CHECK (generation >= 0),
        type text NOT NULL CHECK (type IN ('market', 'limit', 'stop')),
        time_in_force text NOT NULL CHECK (time_in_force IN ('day', 'gtc')),
        order_class text NOT NULL CHECK (order_class IN ('simple', 'bracket', 'oco')),
        quantity numeric NOT NULL CHECK (quantity > 0),
        filled_quantity numeric NOT NULL DEFAULT 0,
        limit_price numeric,
        stop_price numeric,
        stop_loss numeric,
        take_profit numeric,
        reference_price numeric NOT NULL,
        state text NOT NULL CHECK (state IN (
            'PENDING', 'SENDING', 'UNKNOWN', 'ACKED', 'PARTIAL', 'FILLED', 'CANCELED', 'EXPIRED', 'REPLACED',
            'REJECTED', 'EXPIRED_UNSENT', 'CANCELLED_UNSENT', 'NEVER_EXISTED')),
        broker_order_id text,
        act_from timestamptz NOT NULL,
        act_until timestamptz NOT NULL,
        reason text,
        posts int NOT NULL DEFAULT 0,
        probes int NOT NULL DEFAULT 0,
        epoch bigint,
        created_at timestamptz NOT NULL,
        sent_at timestamptz,
        ended_at timestamptz,
        PRIMARY KEY (account, client_order_id),
        UNIQUE (account, signal_id, leg, generation),
        CHECK (filled_quantity BETWEEN 0 AND quantity),
        CHECK (posts <= 1 + probes),
        CHECK (act_from <= act_until)
    )""",
    f"""
    CREATE INDEX intents_due ON {SCHEMA}.intents (account, act_from) WHERE state = 'PENDING'""",
    f"""
    CREATE INDEX intents_live ON {SCHEMA}.intents (account, symbol) WHERE state IN {UNFINISHED}""",
    f"""CREATE INDEX intents_newest ON {SCHEMA}.intents (account, sequence DESC)""",
    f"""CREATE INDEX intents_by_decision ON {SCHEMA}.intents (account, decision_id)""",
    f"""
    CREATE INDEX intents_brackets ON {SCHEMA}.intents (account, symbol, sequence DESC)
        WHERE order_class = 'bracket' AND purpose = 'entry' AND filled_quantity > 0""",
    f"""
    CREATE TABLE {SCHEMA}.orders (
        account text NOT NULL,
        broker_order_id text NOT NULL,
        sequence bigint GENERATED ALWAYS AS IDENTITY,
        client_order_id text NOT NULL,
        parent_order_id text,
        -- Null for an order that somebody else gave.
        intent_id text,
        symbol text NOT NULL,
        side text NOT NULL CHECK (side IN ('buy', 'sell')),
        type text NOT NULL,
        order_class text NOT NULL,
        status text NOT NULL,
        quantity numeric,
        filled_quantity numeric NOT NULL CHECK (filled_quantity >= 0),
        booked_quantity numeric NOT NULL CHECK (booked_quantity >= 0),
        filled_average_price numeric,
        limit_price numeric,
        stop_price numeric,
        submitted_at timestamptz,
        updated_at timestamptz NOT NULL,
        first_seen_at timestamptz NOT NULL,
        cancel_asked_at timestamptz,
        PRIMARY KEY (account, broker_order_id),
        FOREIGN KEY (account, intent_id) REFERENCES {SCHEMA}.intents (account, client_order_id),
        CHECK (filled_quantity <= quantity),
        CHECK (booked_quantity <= filled_quantity)
    )""",
    f"""CREATE INDEX orders_by_client_id ON {SCHEMA}.orders (account, client_order_id)""",
    f"""CREATE INDEX orders_by_parent ON {SCHEMA}.orders (account, parent_order_id)""",
    f"""CREATE INDEX orders_by_intent ON {SCHEMA}.orders (account, intent_id)""",
    f"""
    CREATE INDEX orders_open ON {SCHEMA}.orders (account, symbol) WHERE status NOT IN {FINAL}""",
    f"""
    CREATE INDEX orders_to_cancel ON {SCHEMA}.orders (account)
        WHERE cancel_asked_at IS NOT NULL AND status NOT IN {FINAL}""",
    f"""
    CREATE INDEX orders_to_book ON {SCHEMA}.orders (account) WHERE booked_quantity < filled_quantity""",
    f"""
    CREATE TABLE {SCHEMA}.order_events (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        account text NOT NULL,
        broker_order_id text,
        event text,
        raw text NOT NULL,
        problem text,
        received_at timestamptz NOT NULL
    )""",
    f"""CREATE INDEX order_events_by_order ON {SCHEMA}.order_events (account, broker_order_id, id)""",
    f"""
    CREATE TABLE {SCHEMA}.fills (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        account text NOT NULL,
        execution_id text NOT NULL,
        broker_order_id text NOT NULL,
        intent_id text,
        symbol text NOT NULL,
        side text NOT NULL CHECK (side IN ('buy', 'sell')),
        quantity numeric NOT NULL CHECK (quantity > 0),
        price numeric NOT NULL CHECK (price > 0),
        fee numeric NOT NULL DEFAULT 0,
        cumulative_quantity numeric,
        executed_at timestamptz NOT NULL,
        booked_at timestamptz NOT NULL,
        UNIQUE (account, execution_id),
        FOREIGN KEY (account, broker_order_id) REFERENCES {SCHEMA}.orders (account, broker_order_id)
    )""",
    f"""
    CREATE INDEX fills_by_symbol ON {SCHEMA}.fills (account, symbol) INCLUDE (side, quantity, price, fee)""",
    f"""CREATE INDEX fills_by_order ON {SCHEMA}.fills (account, broker_order_id)""",
    f"""CREATE INDEX fills_newest ON {SCHEMA}.fills (account, id DESC)""",
    f"""
    CREATE TABLE {SCHEMA}.cash_entries (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        account text NOT NULL,
        key text NOT NULL,
        amount numeric NOT NULL,
        reason text NOT NULL,
        evidence jsonb NOT NULL,
        entered_at timestamptz NOT NULL,
        UNIQUE (account, key)
    )""",
    f"""
    CREATE TABLE {SCHEMA}.adjustments (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        account text NOT NULL,
        key text NOT NULL,
        symbol text NOT NULL,
        quantity numeric NOT NULL,
        price numeric,
        reason text NOT NULL,
        evidence jsonb NOT NULL,
        entered_at timestamptz NOT NULL,
        UNIQUE (account, key)
    )""",
    f"""
    CREATE TABLE {SCHEMA}.differences (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        account text NOT NULL,
        kind text NOT NULL CHECK (kind IN
            ('EXTERNAL_ORDER', 'ORDER_MISMATCH', 'POSITION', 'CASH', 'PROTECTION_REFUSED')),
        -- What it is about: an order id, a symbol, or cash.
        subject text NOT NULL,
        symbol text,
        ours text NOT NULL,
        theirs text NOT NULL,
        evidence jsonb NOT NULL,
        opened_at timestamptz NOT NULL,
        closed_at timestamptz,
        closed_by text
    )""",
    f"""
    CREATE UNIQUE INDEX differences_open ON {SCHEMA}.differences (account, kind, subject)
        WHERE closed_at IS NULL""",
    f"""
    CREATE TABLE {SCHEMA}.manual_orders (
        account text NOT NULL,
        signal_id text NOT NULL,
        key text NOT NULL,
        digest text NOT NULL,
        payload jsonb NOT NULL,
        requested_at timestamptz NOT NULL,
        reason_code text,
        reason text,
        decided_at timestamptz,
        PRIMARY KEY (account, signal_id)
    )""",
)

VIEWS = {
    "v_accounts": f"SELECT account, broker_account_id, adopted_at FROM {SCHEMA}.accounts",
    "v_status": f"SELECT account, state, since_at, reason, epoch, reconciled_at FROM {SCHEMA}.status",
    "v_intents": f"""
        SELECT client_order_id, account, decision_id, signal_id, symbol, side, purpose, leg, type, quantity,
               filled_quantity, limit_price, stop_price, stop_loss, take_profit, reference_price, state,
               broker_order_id, act_from, act_until, reason, created_at, sent_at, ended_at, sequence,
               order_class, time_in_force, posts, probes
        FROM {SCHEMA}.intents""",
    "v_orders": f"""
        SELECT broker_order_id, account, client_order_id, parent_order_id, intent_id, symbol, side, type,
               order_class, status, quantity, filled_quantity, filled_average_price, limit_price,
               stop_price, submitted_at, updated_at, booked_quantity, cancel_asked_at, sequence
        FROM {SCHEMA}.orders""",
    "v_fills": f"""
        SELECT account, execution_id, broker_order_id, intent_id AS client_order_id, symbol, side, quantity,
               price, fee, executed_at, booked_at, id
        FROM {SCHEMA}.fills""",
    "v_positions": f"""
        SELECT account, symbol, sum(quantity) AS quantity
        FROM (
            SELECT account, symbol, CASE side WHEN 'buy' THEN quantity ELSE -quantity END AS quantity
            FROM {SCHEMA}.fills
            UNION ALL
            SELECT account, symbol, quantity FROM {SCHEMA}.adjustments
        ) AS moves
        GROUP BY account, symbol
        HAVING sum(quantity) <> 0""",
    "v_cash": f"""
        SELECT account, sum(amount) AS cash
        FROM (
            SELECT account, amount FROM {SCHEMA}.cash_entries
            UNION ALL
            SELECT account, CASE side WHEN 'buy' THEN -quantity * price ELSE quantity * price END - fee
            FROM {SCHEMA}.fills
        ) AS moves
        GROUP BY account""",
    "v_differences": f"""
        SELECT id, account, kind, subject, symbol, ours, theirs, opened_at, closed_at, closed_by
        FROM {SCHEMA}.differences""",
    # Under HALTED nothing is due: a person has taken over, and waiting for us would be waiting for ever.
    "v_pending_work": f"""
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
        FROM {SCHEMA}.orders WHERE booked_quantity < filled_quantity""",
}


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)
    for name, query in VIEWS.items():
        op.execute(f"CREATE VIEW {SCHEMA}.{name} AS {query}")
    tables = (
        "accounts, status, intents, orders, order_events, fills, cash_entries, adjustments, differences, "
        "manual_orders"
    )
    for table in tables.split(", "):
        # Fills, events and entries are never changed once written.
        is_immutable = table in ("fills", "order_events", "cash_entries", "adjustments")
        rights = "SELECT, INSERT" if is_immutable else "SELECT, INSERT, UPDATE"
        op.execute(f"GRANT {rights} ON {SCHEMA}.{table} TO {SCHEMA}")
    for name in VIEWS:
        op.execute(f"GRANT SELECT ON {SCHEMA}.{name} TO {READERS}")


def downgrade() -> None:
    for name in reversed(VIEWS):
        op.execute(f"DROP VIEW {SCHEMA}.{name}")
    for table in (
        "manual_orders", "differences", "adjustments", "cash_entries", "fills", "order_events", "orders",
        "intents", "status", "accounts",
    ):  # fmt: skip
        op.execute(f"DROP TABLE {SCHEMA}.{table}")
