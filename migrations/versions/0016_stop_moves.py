"""Stops that follow the price are kept, and targets that were met are found quickly.

A move names the entry whose stop it is; the newest one of an entry holds. Append-only, like the decisions. Locks: the
index blocks writers of decisions while it is built. Undo: drop both; stops then count where their entries set them,
while those at the broker stay where they were moved.
"""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"

READERS = "data_collector, strategy_engine, risk_manager, trade_executor, scheduler, operator"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE risk_manager.stop_moves (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            account text NOT NULL,
            review_id bigint NOT NULL REFERENCES risk_manager.outbox (id),
            decision_id text NOT NULL,
            symbol text NOT NULL,
            stop_loss numeric NOT NULL,
            previous numeric NOT NULL,
            reason text NOT NULL,
            decided_at timestamptz NOT NULL,
            UNIQUE (account, decision_id, review_id),
            CHECK (stop_loss > previous),
            FOREIGN KEY (account, decision_id) REFERENCES risk_manager.decisions (account, decision_id)
        )""")
    op.execute("CREATE INDEX ON risk_manager.stop_moves (account, decision_id, id)")
    op.execute("""
        CREATE INDEX decisions_scaled_out ON risk_manager.decisions (account, symbol, id)
        WHERE outcome = 'approved' AND purpose = 'exit' AND strategy = 'scale_out'""")
    op.execute("CREATE VIEW risk_manager.v_stop_moves AS SELECT * FROM risk_manager.stop_moves")
    op.execute("GRANT SELECT, INSERT ON risk_manager.stop_moves TO risk_manager")
    op.execute(f"GRANT SELECT ON risk_manager.v_stop_moves TO {READERS}")


def downgrade() -> None:
    op.execute("DROP VIEW risk_manager.v_stop_moves")
    op.execute("DROP INDEX risk_manager.decisions_scaled_out")
    op.execute("DROP TABLE risk_manager.stop_moves")
