"""Messages to people, kept until they have arrived, because a dead receiver must not lose or repeat them.

One row per event and key: whoever sees an event a second time adds nothing. What nobody wants to receive is kept all
the same, for the dashboard. Locks: none, everything is new. Undo: drop the table with its view.
"""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0016"

READERS = "data_collector, strategy_engine, risk_manager, trade_executor, scheduler, operator"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE scheduler.notices (
            number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            account text NOT NULL,
            event text NOT NULL CHECK (length(event) <= 40),
            key text NOT NULL CHECK (length(key) <= 200),
            title text NOT NULL CHECK (length(title) <= 200),
            body text NOT NULL CHECK (length(body) <= 4000),
            priority integer NOT NULL CHECK (priority BETWEEN 0 AND 10),
            state text NOT NULL CHECK (state IN ('WAITING', 'SENT', 'GIVEN_UP', 'KEPT')),
            tries integer NOT NULL DEFAULT 0 CHECK (tries >= 0),
            error text,
            created_at timestamptz NOT NULL,
            due_at timestamptz NOT NULL,
            sent_at timestamptz,
            UNIQUE (account, event, key),
            CHECK ((state = 'SENT') = (sent_at IS NOT NULL))
        )""")
    op.execute("CREATE INDEX ON scheduler.notices (account, number)")
    # Looked at every two seconds and nearly always empty.
    op.execute("""
        CREATE INDEX notices_waiting ON scheduler.notices (account, due_at)
        WHERE state = 'WAITING'""")
    op.execute("""
        CREATE VIEW scheduler.v_notices AS
        SELECT number, account, event, key, title, body, priority, state, tries, error, created_at, due_at,
               sent_at
        FROM scheduler.notices""")
    op.execute("GRANT SELECT, INSERT, UPDATE ON scheduler.notices TO scheduler")
    op.execute(f"GRANT SELECT ON scheduler.v_notices TO {READERS}")


def downgrade() -> None:
    op.execute("DROP VIEW scheduler.v_notices")
    op.execute("DROP TABLE scheduler.notices")
