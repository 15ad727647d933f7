"""Who executes is a lease with an epoch, not a lock that goes with a connection.

A lock of a session stays held while its process is stopped, for as long as the server believes in the connection;
a lease that is not counted up runs out. The row carries on from the epoch reached so far, so that no epoch is used
twice. Locks: none, the table is new. Undo: drop it; status keeps the epoch.
"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE trade_executor.leases (
            account text PRIMARY KEY,
            epoch bigint NOT NULL CHECK (epoch > 0),
            -- Counted up by the holder; a count that stands still is a holder that is gone.
            beats bigint NOT NULL CHECK (beats >= 0),
            -- Null when it was given back.
            holder text
        )""")
    op.execute(
        "INSERT INTO trade_executor.leases SELECT account, epoch, 0, NULL FROM trade_executor.status"
    )
    op.execute("GRANT SELECT, INSERT, UPDATE ON trade_executor.leases TO trade_executor")


def downgrade() -> None:
    op.execute("DROP TABLE trade_executor.leases")
