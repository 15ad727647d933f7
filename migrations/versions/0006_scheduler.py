"""Jobs, their runs and the services' health, because a job must neither run twice nor be missed unseen.

A scheduled run is keyed by (account, job, due time): whoever queues it second queues nothing. Runs are queued
before they run, so the queue is what a crash leaves behind. Locks: none, everything is new. Undo: drop the
three tables with their views.
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"

READERS = "data_collector, strategy_engine, risk_manager, trade_executor, scheduler, operator"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE scheduler.jobs (
            account text NOT NULL,
            job_id text NOT NULL,
            considered_until_at timestamptz NOT NULL,
            beat_at timestamptz,
            beat_state text CHECK (beat_state IN ('DONE', 'FAILED')),
            beat_duration_s double precision,
            beat_detail text,
            PRIMARY KEY (account, job_id)
        )""")
    op.execute("""
        CREATE TABLE scheduler.job_runs (
            number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            run_id text NOT NULL,
            account text NOT NULL,
            job_id text NOT NULL,
            kind text NOT NULL CHECK (kind IN ('scheduled', 'manual')),
            state text NOT NULL
                CHECK (state IN ('QUEUED', 'RUNNING', 'DONE', 'FAILED', 'MISSED', 'INTERRUPTED')),
            session_on date NOT NULL,
            first_due_at timestamptz NOT NULL,
            due_at timestamptz NOT NULL,
            until_at timestamptz,
            occurrences integer NOT NULL CHECK (occurrences > 0),
            actor text NOT NULL,
            runner text,
            started_at timestamptz,
            finished_at timestamptz,
            duration_s double precision CHECK (duration_s >= 0),
            detail text NOT NULL DEFAULT '',
            figures jsonb NOT NULL DEFAULT '{}',
            UNIQUE (account, run_id),
            CHECK (first_due_at <= due_at),
            CHECK (kind = 'manual' OR until_at IS NOT NULL),
            CHECK (occurrences = 1 OR state = 'MISSED'),
            CHECK (state <> 'RUNNING' OR (runner IS NOT NULL AND started_at IS NOT NULL))
        )""")
    op.execute("""
        CREATE UNIQUE INDEX job_runs_once ON scheduler.job_runs (account, job_id, due_at)
        WHERE kind = 'scheduled'""")
    op.execute("CREATE INDEX ON scheduler.job_runs (account, job_id, number)")
    # The queue is looked at every second and is nearly always empty.
    op.execute("""
        CREATE INDEX job_runs_open ON scheduler.job_runs (account, number)
        WHERE state IN ('QUEUED', 'RUNNING')""")
    op.execute("""
        CREATE TABLE scheduler.service_health (
            account text NOT NULL,
            service text NOT NULL,
            alive boolean NOT NULL,
            ready boolean NOT NULL,
            checks jsonb NOT NULL,
            answered_in_s double precision,
            detail text NOT NULL,
            checked_at timestamptz NOT NULL,
            since_at timestamptz NOT NULL,
            PRIMARY KEY (account, service)
        )""")
    for table in ("jobs", "job_runs", "service_health"):
        op.execute(f"CREATE VIEW scheduler.v_{table} AS SELECT * FROM scheduler.{table}")
        op.execute(f"GRANT SELECT, INSERT, UPDATE ON scheduler.{table} TO scheduler")
        op.execute(f"GRANT SELECT ON scheduler.v_{table} TO {READERS}")


def downgrade() -> None:
    for table in ("jobs", "job_runs", "service_health"):
        op.execute(f"DROP VIEW scheduler.v_{table}")
        op.execute(f"DROP TABLE scheduler.{table}")
