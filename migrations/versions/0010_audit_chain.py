"""Chain what must never be rewritten, so that a changed, removed or invented row shows.

For each row of a chained table `links` holds the hash of its content together with the hash before it, per account.
A trigger writes it as the schema's owner: a service can append and nothing else, and `heads`, which no service can
write either, says how long each chain is, so that a cut tail shows too. Content is the row as JSON without its
nulls: a later column that is null for old rows leaves their hashes as they are; a later step that changes old rows has
to chain anew and say so. Rows from before are chained as they stand. Locks: each chained table takes no writers
while its trigger is made and its rows are read. Undo: drop the schema; no other table is touched.
"""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"

READERS = "data_collector, strategy_engine, risk_manager, trade_executor, scheduler, operator"
# With the column that numbers the rows.
CHAINED = {
    "trade_executor.fills": "id",
    "trade_executor.order_events": "id",
    "trade_executor.cash_entries": "id",
    "trade_executor.adjustments": "id",
    "risk_manager.decisions": "id",
    "risk_manager.modes": "version",
    "risk_manager.limit_changes": "version",
}


def upgrade() -> None:
    op.execute("CREATE SCHEMA audit")
    op.execute("""
        CREATE TABLE audit.heads (
            chain text NOT NULL,
            account text NOT NULL,
            length bigint NOT NULL CHECK (length > 0),
            hash bytea NOT NULL,
            PRIMARY KEY (chain, account)
        )""")
    op.execute("""
        CREATE TABLE audit.links (
            chain text NOT NULL,
            account text NOT NULL,
            position bigint NOT NULL CHECK (position > 0),
            entry_id bigint NOT NULL,
            hash bytea NOT NULL,
            PRIMARY KEY (chain, account, position)
        )""")
    # Times would read otherwise in a session of another time zone.
    op.execute("""
        CREATE FUNCTION audit.content(entry anyelement) RETURNS text
        LANGUAGE sql STABLE SET timezone = 'UTC' SET search_path = pg_catalog
        AS $$ SELECT jsonb_strip_nulls(to_jsonb(entry))::text $$""")
    # The head's row lock puts transactions in the order of their commits, so no chain ever forks.
    op.execute("""
        CREATE FUNCTION audit.link(
            chain_name text, owner text, number bigint, said text
        ) RETURNS void
        LANGUAGE sql SET search_path = pg_catalog AS $$
            WITH head AS (
                INSERT INTO audit.heads AS known (chain, account, length, hash)
                VALUES (chain_name, owner, 1, sha256(convert_to(said, 'UTF8')))
                ON CONFLICT (chain, account) DO UPDATE
                SET length = known.length + 1,
                    hash = sha256(known.hash || convert_to(said, 'UTF8'))
                RETURNING length, hash
            )
            INSERT INTO audit.links (chain, account, position, entry_id, hash)
            SELECT chain_name, owner, length, number, hash FROM head
        $$""")
    op.execute("REVOKE ALL ON FUNCTION audit.link FROM PUBLIC")
    op.execute("""
        CREATE FUNCTION audit.append() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
        BEGIN
            PERFORM audit.link(
                TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME, NEW.account,
                (to_jsonb(NEW) ->> TG_ARGV[0])::bigint, audit.content(NEW)
            );
            RETURN NULL;
        END $$""")
    entries, unchained = [], []
    for table, number in CHAINED.items():
        op.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")
        op.execute(f"""
            DO $$
            DECLARE
                entry record;
            BEGIN
                FOR entry IN
                    SELECT t.account, t.{number} AS number, audit.content(t) AS content
                    FROM {table} AS t ORDER BY t.account, t.{number}
                LOOP
                    PERFORM audit.link('{table}', entry.account, entry.number, entry.content);
                END LOOP;
            END $$""")
        op.execute(f"""
            CREATE TRIGGER chained AFTER INSERT ON {table}
            FOR EACH ROW EXECUTE FUNCTION audit.append('{number}')""")
        entries.append(f"""
            SELECT l.chain, l.account, l.position, l.entry_id, audit.content(t) AS content, l.hash
            FROM audit.links l
            LEFT JOIN {table} t ON t.account = l.account AND t.{number} = l.entry_id
            WHERE l.chain = '{table}'""")
        unchained.append(f"""
            SELECT '{table}' AS chain, t.account, t.{number} AS entry_id
            FROM {table} t
            WHERE NOT EXISTS (
                SELECT FROM audit.links l
                WHERE l.chain = '{table}' AND l.account = t.account AND l.entry_id = t.{number})""")
    op.execute(f"CREATE VIEW audit.v_entries AS {' UNION ALL '.join(entries)}")
    op.execute(f"CREATE VIEW audit.v_unchained AS {' UNION ALL '.join(unchained)}")
    op.execute("CREATE VIEW audit.v_heads AS SELECT chain, account, length, hash FROM audit.heads")
    op.execute(f"GRANT USAGE ON SCHEMA audit TO {READERS}")
    op.execute(f"GRANT SELECT ON audit.v_entries, audit.v_unchained, audit.v_heads TO {READERS}")


def downgrade() -> None:
    for table in reversed(CHAINED):
        op.execute(f"DROP TRIGGER chained ON {table}")
    op.execute("DROP SCHEMA audit CASCADE")
