"""Marks keep what was paid in by then, and a person who resumes restarts peak and day each for itself.

A payment moved drawdown and daily loss as if it were traded. Which cash entries are payments of the owner is said here once:
deposits, withdrawals, journals and transfers between brokers, and what the broker took back of them. Dividends,
interest and fees belong to the result. Both new columns are null for rows from before, so that the chain over
modes holds: of a mark without the sum nothing is taken for moved, and those modes restarted day and peak together.
Locks: brief; no cash entry is written while the index is made. Undo: drop them.
"""

from __future__ import annotations

from alembic import op

revision = "0041"
down_revision = "0040"

READERS = "data_collector, strategy_engine, risk_manager, trade_executor, scheduler, operator"
_KINDS = ("CSD", "CSW", "TRANS", "JNL", "JNLC", "JNLS", "ACATC", "ACATS")
_REASONS = ", ".join(f"'{kind}', '{kind}_TAKEN_BACK'" for kind in _KINDS)
_EQUITY = """
    SELECT account, instant_at, cash, equity, peak_equity, drawdown, gross_exposure, net_exposure, id"""


def upgrade() -> None:
    op.execute(f"""
        CREATE INDEX cash_entries_transferred ON trade_executor.cash_entries (account) INCLUDE (amount)
        WHERE reason IN ({_REASONS})""")
    op.execute(f"""
        CREATE VIEW trade_executor.v_transfers AS
        SELECT account, id, amount, entered_at FROM trade_executor.cash_entries
        WHERE reason IN ({_REASONS})""")
    op.execute(f"GRANT SELECT ON trade_executor.v_transfers TO {READERS}")
    op.execute("ALTER TABLE risk_manager.equity_points ADD COLUMN paid_in numeric")
    op.execute(
        f"CREATE OR REPLACE VIEW risk_manager.v_equity AS {_EQUITY}, paid_in "
        "FROM risk_manager.equity_points"
    )
    op.execute("ALTER TABLE risk_manager.modes ADD COLUMN restarts_day boolean")


def downgrade() -> None:
    op.execute("ALTER TABLE risk_manager.modes DROP COLUMN restarts_day")
    op.execute("DROP VIEW risk_manager.v_equity")
    op.execute(f"CREATE VIEW risk_manager.v_equity AS {_EQUITY} FROM risk_manager.equity_points")
    op.execute(f"GRANT SELECT ON risk_manager.v_equity TO {READERS}")
    op.execute("ALTER TABLE risk_manager.equity_points DROP COLUMN paid_in")
    op.execute("DROP VIEW trade_executor.v_transfers")
    op.execute("DROP INDEX trade_executor.cash_entries_transferred")
