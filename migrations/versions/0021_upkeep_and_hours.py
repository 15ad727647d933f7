"""The scheduler may vacuum every table, and differences with the broker may be about its hours.

MAINTAIN lets a role vacuum and analyse; it neither reads nor changes a row. Tables made later are covered as well,
where the owner of this database makes them. Differences of kind SESSION and CLOCK withhold entries (see the executor's
`hours`). Locks: the CHECK is made anew, which reads a small table once. Undo: revoke, and delete such differences.
"""

from __future__ import annotations

from alembic import op

revision = "0021"
down_revision = "0020"

SCHEMAS = (
    "data_collector", "strategy_engine", "risk_manager", "trade_executor", "scheduler", "audit"
)  # fmt: skip
KINDS = "'EXTERNAL_ORDER', 'ORDER_MISMATCH', 'POSITION', 'CASH', 'PROTECTION_REFUSED'"


def upgrade() -> None:
    for schema in SCHEMAS:
        op.execute(f"GRANT USAGE ON SCHEMA {schema} TO scheduler")
        op.execute(f"GRANT MAINTAIN ON ALL TABLES IN SCHEMA {schema} TO scheduler")
        op.execute(
            f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT MAINTAIN ON TABLES TO scheduler"
        )
    _kinds(f"{KINDS}, 'SESSION', 'CLOCK'")


def downgrade() -> None:
    op.execute("DELETE FROM trade_executor.differences WHERE kind IN ('SESSION', 'CLOCK')")
    _kinds(KINDS)
    for schema in SCHEMAS:
        op.execute(
            f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} REVOKE MAINTAIN ON TABLES FROM scheduler"
        )
        op.execute(f"REVOKE MAINTAIN ON ALL TABLES IN SCHEMA {schema} FROM scheduler")


def _kinds(kinds: str) -> None:
    op.execute("ALTER TABLE trade_executor.differences DROP CONSTRAINT differences_kind_check")
    op.execute(
        "ALTER TABLE trade_executor.differences ADD CONSTRAINT differences_kind_check "
        f"CHECK (kind IN ({kinds}))"
    )
