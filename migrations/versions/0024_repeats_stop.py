"""A strategy that repeats itself too often in a symbol stays stopped there until a person enables it.

The window of RISK_REPEAT_WINDOW_S let it go on by itself minutes later. Each stop and each enabling is a row with a
version, chained like modes; the newest of a pair holds. Locks: the views of the audit are replaced in place. Undo: drop
the table; the window alone limits repeats then.
"""

from __future__ import annotations

from alembic import op

revision = "0024"
down_revision = "0023"

READERS = "data_collector, strategy_engine, risk_manager, trade_executor, scheduler, operator"
_CHAINED = {
    "trade_executor.fills": "id",
    "trade_executor.order_events": "id",
    "trade_executor.cash_entries": "id",
    "trade_executor.adjustments": "id",
    "risk_manager.decisions": "id",
    "risk_manager.modes": "version",
    "risk_manager.limit_changes": "version",
}


def upgrade() -> None:
    op.execute("""
        CREATE TABLE risk_manager.throttles (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            account text NOT NULL,
            strategy text NOT NULL,
            symbol text NOT NULL,
            version int NOT NULL CHECK (version > 0),
            is_stopped boolean NOT NULL,
            reason text NOT NULL,
            actor text NOT NULL,
            changed_at timestamptz NOT NULL,
            UNIQUE (account, strategy, symbol, version)
        )""")
    op.execute("""
        CREATE TRIGGER chained AFTER INSERT ON risk_manager.throttles
        FOR EACH ROW EXECUTE FUNCTION audit.append('id')""")
    op.execute("""
        CREATE VIEW risk_manager.v_throttles AS
        SELECT DISTINCT ON (account, strategy, symbol) * FROM risk_manager.throttles
        ORDER BY account, strategy, symbol, version DESC""")
    op.execute("GRANT SELECT, INSERT ON risk_manager.throttles TO risk_manager")
    op.execute(f"GRANT SELECT ON risk_manager.v_throttles TO {READERS}")
    _replace_audit_views({**_CHAINED, "risk_manager.throttles": "id"})


def downgrade() -> None:
    _replace_audit_views(_CHAINED)
    op.execute("DROP VIEW risk_manager.v_throttles")
    op.execute("DROP TABLE risk_manager.throttles")


def _replace_audit_views(chained: dict[str, str]) -> None:
    entries = " UNION ALL ".join(
        f"""SELECT l.chain, l.account, l.position, l.entry_id, audit.content(t) AS content, l.hash
            FROM audit.links l
            LEFT JOIN {table} t ON t.account = l.account AND t.{number} = l.entry_id
            WHERE l.chain = '{table}'"""
        for table, number in chained.items()
    )
    unchained = " UNION ALL ".join(
        f"""SELECT '{table}' AS chain, t.account, t.{number} AS entry_id
            FROM {table} t
            WHERE NOT EXISTS (
                SELECT FROM audit.links l
                WHERE l.chain = '{table}' AND l.account = t.account AND l.entry_id = t.{number})"""
        for table, number in chained.items()
    )
    op.execute(f"CREATE OR REPLACE VIEW audit.v_entries AS {entries}")
    op.execute(f"CREATE OR REPLACE VIEW audit.v_unchained AS {unchained}")
