"""Request budgets that survive restarts, jobs that go on where they stopped, released bars, screens as seen.

A provider counts per key, whatever account label or process asked, so budgets are the one table without an account.
Jobs remember how far they came, because history on a free plan may take days and must not begin anew. Locks:
the ALTERs are brief and rewrite nothing. Undo: drop what is added; jobs then begin anew.
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"

READERS = "data_collector, strategy_engine, risk_manager, trade_executor, scheduler, operator"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE data_collector.budgets (
            provider text PRIMARY KEY,
            recent jsonb NOT NULL DEFAULT '[]',
            day_on date,
            day_used bigint NOT NULL DEFAULT 0 CHECK (day_used >= 0),
            blocked_until_at timestamptz,
            blocked_why text NOT NULL DEFAULT '' CHECK (length(blocked_why) <= 400)
        )""")
    op.execute("""
        CREATE VIEW data_collector.v_budgets AS
        SELECT provider, recent, day_on, day_used, blocked_until_at, blocked_why
        FROM data_collector.budgets""")
    op.execute("GRANT SELECT, INSERT, UPDATE ON data_collector.budgets TO data_collector")
    op.execute(f"GRANT SELECT ON data_collector.v_budgets TO {READERS}")
    op.execute("""
        ALTER TABLE data_collector.collection_jobs
            ADD COLUMN through text NOT NULL DEFAULT '',
            ADD COLUMN group_through text NOT NULL DEFAULT '',
            ADD COLUMN reached_at timestamptz,
            ADD COLUMN pieces_done bigint NOT NULL DEFAULT 0 CHECK (pieces_done >= 0),
            ADD COLUMN pieces_total bigint NOT NULL DEFAULT 0 CHECK (pieces_total >= 0),
            ADD COLUMN providers text[] NOT NULL DEFAULT '{}',
            ADD COLUMN note text CHECK (length(note) <= 2000)""")
    op.execute("""
        ALTER TABLE data_collector.quarantine
            ADD COLUMN released_at timestamptz,
            ADD COLUMN release_reason text CHECK (length(release_reason) <= 400),
            ADD CHECK ((released_at IS NULL) = (release_reason IS NULL))""")
    op.execute("""
        CREATE OR REPLACE VIEW data_collector.v_quarantine AS
        SELECT id, account, timeframe, provider, symbol, reason, raw, seen_at, released_at,
               release_reason
        FROM data_collector.quarantine""")
    op.execute("""
        CREATE TABLE data_collector.screens (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            account text NOT NULL,
            screen text NOT NULL CHECK (length(screen) <= 40),
            filters text[] NOT NULL,
            taken_at timestamptz NOT NULL,
            symbols text[] NOT NULL,
            UNIQUE (account, screen, taken_at)
        )""")
    op.execute("CREATE INDEX ON data_collector.screens (account, taken_at)")
    op.execute("""
        CREATE VIEW data_collector.v_screens AS
        SELECT id, account, screen, filters, taken_at, symbols FROM data_collector.screens""")
    op.execute("GRANT SELECT, INSERT, UPDATE ON data_collector.screens TO data_collector")
    op.execute(f"GRANT SELECT ON data_collector.v_screens TO {READERS}")


def downgrade() -> None:
    op.execute("DROP VIEW data_collector.v_screens")
    op.execute("DROP TABLE data_collector.screens")
    op.execute("DROP VIEW data_collector.v_quarantine")
    op.execute("""
        ALTER TABLE data_collector.quarantine
            DROP COLUMN released_at, DROP COLUMN release_reason""")
    op.execute("""
        CREATE VIEW data_collector.v_quarantine AS
        SELECT id, account, timeframe, provider, symbol, reason, raw, seen_at
        FROM data_collector.quarantine""")
    op.execute(f"GRANT SELECT ON data_collector.v_quarantine TO {READERS}")
    op.execute("""
        ALTER TABLE data_collector.collection_jobs
            DROP COLUMN through, DROP COLUMN group_through, DROP COLUMN reached_at,
            DROP COLUMN pieces_done, DROP COLUMN pieces_total, DROP COLUMN providers,
            DROP COLUMN note""")
    op.execute("DROP VIEW data_collector.v_budgets")
    op.execute("DROP TABLE data_collector.budgets")
