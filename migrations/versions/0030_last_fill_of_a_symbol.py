"""A position's last fill is found by an index, since each decision asks for that of every position.

Without it all fills of a symbol were sorted for one of them: twenty milliseconds for a hundred symbols of an account that
has traded for some weeks, under the account's lock. Locks: fills are not written while the index is made, some seconds
for a million of them. Undo: drop the index.
"""

from __future__ import annotations

from alembic import op

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    op.execute(
        "CREATE INDEX fills_newest_of_symbol ON trade_executor.fills "
        "(account, symbol, executed_at DESC, execution_id DESC)"
    )


def downgrade() -> None:
    op.execute("DROP INDEX trade_executor.fills_newest_of_symbol")
