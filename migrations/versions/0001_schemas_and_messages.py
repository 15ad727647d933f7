"""One schema per owner, each with an outbox and cursors, because services meet in the database.

Only the owner's role writes its schema; others read its views. Rows are never deleted by a service, and the
outbox not even updated. Roles are made before the first migration (they belong to the server, not to
the database). Locks: none, everything is new. Undo: drop the schemas.
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None

OWNERS = ("data_collector", "strategy_engine", "risk_manager", "trade_executor", "scheduler")
READERS = (*OWNERS, "operator")


def upgrade() -> None:
    for owner in OWNERS:
        op.execute(f"CREATE SCHEMA {owner}")
        op.execute(f"GRANT USAGE ON SCHEMA {owner} TO {', '.join(READERS)}")
        op.execute(f"""
            CREATE TABLE {owner}.outbox (
                id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                account text NOT NULL,
                topic text NOT NULL,
                key text NOT NULL,
                payload jsonb NOT NULL,
                created_at timestamptz NOT NULL,
                UNIQUE (account, topic, key)
            )""")
        op.execute(f"CREATE INDEX ON {owner}.outbox (account, id)")
        op.execute(f"CREATE VIEW {owner}.v_outbox AS SELECT * FROM {owner}.outbox")
        op.execute(f"""
            CREATE TABLE {owner}.cursors (
                source text NOT NULL,
                account text NOT NULL,
                position bigint NOT NULL CHECK (position >= 0),
                PRIMARY KEY (source, account)
            )""")
        op.execute(f"CREATE VIEW {owner}.v_cursors AS SELECT * FROM {owner}.cursors")
        op.execute(f"GRANT SELECT, INSERT ON {owner}.outbox TO {owner}")
        op.execute(f"GRANT SELECT, INSERT, UPDATE ON {owner}.cursors TO {owner}")
        op.execute(f"GRANT SELECT ON {owner}.v_outbox, {owner}.v_cursors TO {', '.join(READERS)}")


def downgrade() -> None:
    for owner in reversed(OWNERS):
        op.execute(f"DROP SCHEMA {owner} CASCADE")
