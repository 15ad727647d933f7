"""A stop moves towards the price alone: upwards below what is held, downwards above what is owed.

Since shorts have stops that move, either way was taken for both. Each move now says on which side its entry was. Locks:
stop_moves, while the side of its rows is filled in. Undo: either way is taken again, as before.
"""

from __future__ import annotations

from alembic import op

revision = "0033"
down_revision = "0032"

TABLE = "risk_manager.stop_moves"


def upgrade() -> None:
    op.execute(f"ALTER TABLE {TABLE} ADD COLUMN side text")
    op.execute(f"""
        UPDATE {TABLE} m SET side = d.side FROM risk_manager.decisions d
        WHERE d.account = m.account AND d.decision_id = m.decision_id""")
    op.execute(f"ALTER TABLE {TABLE} ALTER COLUMN side SET NOT NULL")
    op.execute(f"ALTER TABLE {TABLE} DROP CONSTRAINT stop_moves_check")
    op.execute(f"""
        ALTER TABLE {TABLE} ADD CONSTRAINT stop_moves_check
        CHECK (side = 'buy' AND stop_loss > previous OR side = 'sell' AND stop_loss < previous)""")


def downgrade() -> None:
    op.execute(f"ALTER TABLE {TABLE} DROP CONSTRAINT stop_moves_check")
    op.execute(f"ALTER TABLE {TABLE} DROP COLUMN side")
    op.execute(f"ALTER TABLE {TABLE} ADD CONSTRAINT stop_moves_check CHECK (stop_loss <> previous)")
