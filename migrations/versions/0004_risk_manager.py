"""Decisions with every check, modes as a history, and what the account was worth at each instant.

All of it is append-only: an answer, a mode change or a mark is never rewritten, so its owner may not even
update. A decision knows the outbox row that announced it (`review_id`): approvals beyond the executor's
cursor are reserved, the others live on as its intents. Locks: none, everything is new. Undo: drop the tables;
modes and the equity curve go with them.
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"

READERS = "data_collector, strategy_engine, risk_manager, trade_executor, scheduler, operator"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE risk_manager.decisions (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            account text NOT NULL,
            decision_id text NOT NULL,
            signal_id text NOT NULL,
            source text NOT NULL,
            review_id bigint NOT NULL REFERENCES risk_manager.outbox (id),
            instant_at timestamptz NOT NULL,
            decided_at timestamptz NOT NULL,
            outcome text NOT NULL CHECK (outcome IN ('approved', 'refused')),
            strategy text NOT NULL,
            symbol text NOT NULL,
            side text NOT NULL CHECK (side IN ('buy', 'sell')),
            purpose text NOT NULL CHECK (purpose IN ('entry', 'exit')),
            quantity numeric NOT NULL,
            type text,
            time_in_force text,
            limit_price numeric,
            stop_price numeric,
            stop_loss numeric,
            take_profit numeric,
            reference_price numeric,
            act_from timestamptz,
            act_until timestamptz,
            trade_on date,
            reason_code text,
            reason text,
            checks jsonb NOT NULL,
            figures jsonb NOT NULL,
            UNIQUE (account, decision_id),
            UNIQUE (account, signal_id),
            CHECK ((outcome = 'refused') = (reason_code IS NOT NULL)),
            CHECK (outcome = 'refused' OR (
                quantity > 0 AND type IS NOT NULL AND time_in_force IS NOT NULL AND
                reference_price > 0 AND trade_on IS NOT NULL AND act_from <= act_until))
        )""")
    # What is approved and not yet with the executor; entries of a day; the latest entries of a symbol.
    op.execute("""
        CREATE INDEX decisions_by_review ON risk_manager.decisions (account, review_id)
        WHERE outcome = 'approved'""")
    op.execute("""
        CREATE INDEX decisions_entries_by_day ON risk_manager.decisions (account, trade_on)
        WHERE outcome = 'approved' AND purpose = 'entry'""")
    op.execute("""
        CREATE INDEX decisions_entries_by_symbol ON risk_manager.decisions (account, symbol, id)
        WHERE outcome = 'approved' AND purpose = 'entry'""")
    op.execute("CREATE INDEX decisions_newest ON risk_manager.decisions (account, id)")
    op.execute("CREATE INDEX decisions_of_symbol ON risk_manager.decisions (account, symbol, id)")
    op.execute("CREATE INDEX decisions_of_source ON risk_manager.decisions (account, source)")
    op.execute("""
        CREATE TABLE risk_manager.modes (
            account text NOT NULL,
            version integer NOT NULL CHECK (version > 0),
            mode text NOT NULL CHECK (mode IN ('ACTIVE', 'REDUCING', 'HALTED')),
            previous text CHECK (previous IN ('ACTIVE', 'REDUCING', 'HALTED')),
            reason text NOT NULL CHECK (reason <> ''),
            actor text NOT NULL,
            restarts_peak boolean NOT NULL,
            changed_at timestamptz NOT NULL,
            PRIMARY KEY (account, version),
            CHECK ((version = 1) = (previous IS NULL)),
            CHECK (previous <> mode)
        )""")
    op.execute("""
        CREATE TABLE risk_manager.equity_points (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            account text NOT NULL,
            source text NOT NULL,
            instant_at timestamptz NOT NULL,
            cash numeric NOT NULL,
            equity numeric NOT NULL,
            peak_equity numeric NOT NULL CHECK (peak_equity >= equity),
            drawdown double precision NOT NULL CHECK (drawdown >= 0),
            gross_exposure numeric NOT NULL CHECK (gross_exposure >= 0),
            net_exposure numeric NOT NULL,
            mode_version integer NOT NULL,
            UNIQUE (account, source)
        )""")
    op.execute("CREATE INDEX equity_points_newest ON risk_manager.equity_points (account, id)")
    op.execute("""
        CREATE TABLE risk_manager.validations (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            account text NOT NULL,
            validation_id text NOT NULL,
            actor text NOT NULL,
            asked_at timestamptz NOT NULL,
            outcome text NOT NULL CHECK (outcome IN ('approved', 'refused')),
            symbol text NOT NULL,
            side text NOT NULL,
            purpose text NOT NULL,
            quantity numeric NOT NULL,
            reason_code text,
            reason text,
            checks jsonb NOT NULL,
            figures jsonb NOT NULL,
            UNIQUE (account, validation_id)
        )""")
    op.execute("CREATE VIEW risk_manager.v_decisions AS SELECT * FROM risk_manager.decisions")
    op.execute("""
        CREATE VIEW risk_manager.v_mode AS
        SELECT DISTINCT ON (account) account, mode, version, reason, actor, changed_at
        FROM risk_manager.modes ORDER BY account, version DESC""")
    op.execute("CREATE VIEW risk_manager.v_modes AS SELECT * FROM risk_manager.modes")
    op.execute("""
        CREATE VIEW risk_manager.v_equity AS
        SELECT account, instant_at, cash, equity, peak_equity, drawdown, gross_exposure, net_exposure, id
        FROM risk_manager.equity_points""")
    op.execute("CREATE VIEW risk_manager.v_validations AS SELECT * FROM risk_manager.validations")
    for table in ("decisions", "modes", "equity_points", "validations"):
        op.execute(f"GRANT SELECT, INSERT ON risk_manager.{table} TO risk_manager")
    for view in ("v_decisions", "v_mode", "v_modes", "v_equity", "v_validations"):
        op.execute(f"GRANT SELECT ON risk_manager.{view} TO {READERS}")


def downgrade() -> None:
    for view in ("v_validations", "v_equity", "v_modes", "v_mode", "v_decisions"):
        op.execute(f"DROP VIEW risk_manager.{view}")
    for table in ("validations", "equity_points", "modes", "decisions"):
        op.execute(f"DROP TABLE risk_manager.{table}")
