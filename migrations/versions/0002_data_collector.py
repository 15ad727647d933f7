"""The collector's tables: announced batches, quarantined bars, collection jobs.

Bars themselves live in Parquet; the database says which of them were announced, in which order and with
which composition, because what was decided on must not change when a late bar arrives. Rows are never
deleted. Locks: none, everything is new. Undo: drop the tables; batches would be announced anew.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"

READERS = "data_collector, strategy_engine, risk_manager, trade_executor, scheduler, operator"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE data_collector.bar_batches (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            account text NOT NULL,
            timeframe text NOT NULL,
            start_at timestamptz NOT NULL,
            end_at timestamptz NOT NULL,
            symbols integer NOT NULL CHECK (symbols > 0),
            composition text[] NOT NULL CHECK (cardinality(composition) = symbols),
            digest text NOT NULL CHECK (digest ~ '^[0-9a-f]{64}$'),
            decidable boolean NOT NULL,
            announced_at timestamptz NOT NULL,
            UNIQUE (account, timeframe, end_at),
            CHECK (start_at < end_at)
        )""")
    # A reader asks for what follows its cursor, once per bell.
    op.execute("CREATE INDEX ON data_collector.bar_batches (account, id)")
    op.execute("""
        CREATE VIEW data_collector.v_bar_batches AS
        SELECT id, account, timeframe, start_at, end_at, symbols, composition, digest, decidable,
               announced_at
        FROM data_collector.bar_batches""")
    op.execute("""
        CREATE TABLE data_collector.quarantine (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            account text NOT NULL,
            timeframe text NOT NULL,
            provider text NOT NULL,
            symbol text NOT NULL CHECK (length(symbol) <= 40),
            reason text NOT NULL CHECK (length(reason) <= 400),
            raw text NOT NULL CHECK (length(raw) <= 2000),
            raw_digest text NOT NULL,
            seen_at timestamptz NOT NULL,
            UNIQUE (account, timeframe, provider, symbol, raw_digest)
        )""")
    op.execute("CREATE INDEX ON data_collector.quarantine (account, id)")
    op.execute("""
        CREATE VIEW data_collector.v_quarantine AS
        SELECT id, account, timeframe, provider, symbol, reason, raw, seen_at
        FROM data_collector.quarantine""")
    op.execute("""
        CREATE TABLE data_collector.collection_jobs (
            account text NOT NULL,
            job_id text NOT NULL,
            idempotency_key text,
            symbols text[] NOT NULL CHECK (cardinality(symbols) > 0),
            timeframe text NOT NULL,
            start_at timestamptz NOT NULL,
            end_at timestamptz NOT NULL,
            state text NOT NULL CHECK (state IN ('QUEUED', 'RUNNING', 'DONE', 'FAILED')),
            bars_read bigint NOT NULL DEFAULT 0 CHECK (bars_read >= 0),
            bars_new bigint NOT NULL DEFAULT 0 CHECK (bars_new >= 0),
            bars_refused bigint NOT NULL DEFAULT 0 CHECK (bars_refused >= 0),
            error text,
            requested_at timestamptz NOT NULL,
            ended_at timestamptz,
            PRIMARY KEY (account, job_id),
            UNIQUE (account, idempotency_key),
            CHECK (start_at < end_at),
            CHECK ((ended_at IS NOT NULL) = (state IN ('DONE', 'FAILED')))
        )""")
    # What a start has to take up again, and how much waits.
    op.execute("""
        CREATE INDEX ON data_collector.collection_jobs (account, requested_at)
        WHERE state IN ('QUEUED', 'RUNNING')""")
    op.execute("""
        CREATE VIEW data_collector.v_collection_jobs AS
        SELECT job_id, account, symbols, timeframe, start_at, end_at, state, bars_read, bars_new,
               bars_refused, error, requested_at, ended_at
        FROM data_collector.collection_jobs""")
    for table in ("bar_batches", "quarantine", "collection_jobs"):
        op.execute(f"GRANT SELECT, INSERT, UPDATE ON data_collector.{table} TO data_collector")
        op.execute(f"GRANT SELECT ON data_collector.v_{table} TO {READERS}")


def downgrade() -> None:
    for table in ("collection_jobs", "quarantine", "bar_batches"):
        op.execute(f"DROP VIEW data_collector.v_{table}")
        op.execute(f"DROP TABLE data_collector.{table}")
