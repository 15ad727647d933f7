"""Jobs may be paused, because a person who repairs something must not have a job work against it.

A pause stands with its reason until a person ends it; health gets what each process uses. Locks: each ALTER
holds its table for an instant. Undo: drop the columns; the views are made anew from what is left.
"""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"

READERS = "data_collector, strategy_engine, risk_manager, trade_executor, scheduler, operator"
TABLES = ("jobs", "service_health")


def upgrade() -> None:
    op.execute("""
        ALTER TABLE scheduler.jobs
            ADD COLUMN paused_at timestamptz,
            ADD COLUMN paused_by text,
            ADD COLUMN paused_why text,
            ADD CHECK (num_nonnulls(paused_at, paused_by, paused_why) IN (0, 3))""")
    op.execute("""
        ALTER TABLE scheduler.service_health
            ADD COLUMN cpu_share double precision CHECK (cpu_share >= 0),
            ADD COLUMN memory_bytes bigint CHECK (memory_bytes >= 0)""")
    _make_views_anew()


def downgrade() -> None:
    for table in TABLES:
        op.execute(f"DROP VIEW scheduler.v_{table}")
    op.execute(
        "ALTER TABLE scheduler.jobs DROP COLUMN paused_at, DROP COLUMN paused_by, "
        "DROP COLUMN paused_why"
    )
    op.execute(
        "ALTER TABLE scheduler.service_health DROP COLUMN cpu_share, DROP COLUMN memory_bytes"
    )
    _make_views_anew()


def _make_views_anew() -> None:
    for table in TABLES:
        op.execute(f"CREATE OR REPLACE VIEW scheduler.v_{table} AS SELECT * FROM scheduler.{table}")
        op.execute(f"GRANT SELECT ON scheduler.v_{table} TO {READERS}")
