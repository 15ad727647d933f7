"""The stop of a position that is owed stands above the price and tightens downwards, which a rule of its table forbade.

Locks: stop_moves, while its rows are looked at once. Undo: the rule comes back, unless a stop has moved down by then.
"""

from __future__ import annotations

from alembic import op

revision = "0031"
down_revision = "0030"

TABLE = "risk_manager.stop_moves"


def upgrade() -> None:
    op.execute(f"ALTER TABLE {TABLE} DROP CONSTRAINT stop_moves_check")
    op.execute(f"ALTER TABLE {TABLE} ADD CONSTRAINT stop_moves_check CHECK (stop_loss <> previous)")


def downgrade() -> None:
    op.execute(f"ALTER TABLE {TABLE} DROP CONSTRAINT stop_moves_check")
    op.execute(f"ALTER TABLE {TABLE} ADD CONSTRAINT stop_moves_check CHECK (stop_loss > previous)")
