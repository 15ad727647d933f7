"""Symbols may be held for a spin-off, a merger or a new name, which are applied to no price.

Locks: the table of holds for as long as its few rows take to be looked at. Undo: such holds end, and the old check
comes back for new rows.
"""

from __future__ import annotations

from alembic import op

revision = "0023"
down_revision = "0022"

TABLE = "data_collector.symbol_holds"


def upgrade() -> None:
    op.execute(f"ALTER TABLE {TABLE} DROP CONSTRAINT symbol_holds_kind_check")
    op.execute(f"ALTER TABLE {TABLE} DROP CONSTRAINT symbol_holds_check1")
    op.execute(f"""
        ALTER TABLE {TABLE} ADD CONSTRAINT symbol_holds_kind_check
        CHECK (kind IN ('disagreement', 'split', 'frozen', 'corporate_action'))""")
    op.execute(f"""
        ALTER TABLE {TABLE} ADD CONSTRAINT symbol_holds_check1
        CHECK ((kind IN ('split', 'corporate_action')) = (step_on IS NOT NULL AND last_on IS NOT NULL))""")


def downgrade() -> None:
    op.execute(f"ALTER TABLE {TABLE} DROP CONSTRAINT symbol_holds_kind_check")
    op.execute(f"ALTER TABLE {TABLE} DROP CONSTRAINT symbol_holds_check1")
    op.execute(f"""
        UPDATE {TABLE} SET ended_at = since_at, end_reason = 'no longer known'
        WHERE kind = 'corporate_action' AND ended_at IS NULL""")
    op.execute(f"""
        ALTER TABLE {TABLE} ADD CONSTRAINT symbol_holds_kind_check
        CHECK (kind IN ('disagreement', 'split', 'frozen')) NOT VALID""")
    op.execute(f"""
        ALTER TABLE {TABLE} ADD CONSTRAINT symbol_holds_check1
        CHECK ((kind = 'split') = (step_on IS NOT NULL AND last_on IS NOT NULL)) NOT VALID""")
