"""What screens show of companies: P/E, growth, margins, debt and more, with the instant at which each was taken.

Screens keep which symbols passed; a strategy that scores fundamentals needs the figures themselves, as they were known
then. A row per symbol and snapshot; a symbol's figures are kept once an hour at most, so that a screen of 500
symbols adds some 900,000 rows of 200 bytes a year. Locks: none on what exists. Undo: drop table and view.
"""

from __future__ import annotations

from alembic import op

revision = "0025"
down_revision = "0024"

READERS = "data_collector, strategy_engine, risk_manager, trade_executor, scheduler, operator"
FIGURES = (
    "market_cap", "pe", "forward_pe", "peg", "ps", "pb", "price_to_free_cash_flow", "dividend_yield",
    "eps_growth_this_year", "eps_growth_next_year", "eps_growth_quarter", "sales_growth_quarter",
    "return_on_assets", "return_on_equity", "current_ratio", "debt_to_equity", "gross_margin",
    "operating_margin", "profit_margin",
)  # fmt: skip


def upgrade() -> None:
    columns = ",\n            ".join(f"{name} double precision" for name in FIGURES)
    op.execute(f"""
        CREATE TABLE data_collector.fundamentals (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            account text NOT NULL,
            symbol text NOT NULL CHECK (length(symbol) <= 20),
            taken_at timestamptz NOT NULL,
            {columns},
            UNIQUE (account, symbol, taken_at)
        )""")
    op.execute("CREATE INDEX ON data_collector.fundamentals (account, taken_at)")
    op.execute(f"""
        CREATE VIEW data_collector.v_fundamentals AS
        SELECT id, account, symbol, taken_at, {", ".join(FIGURES)} FROM data_collector.fundamentals""")
    op.execute("GRANT SELECT, INSERT ON data_collector.fundamentals TO data_collector")
    op.execute(f"GRANT SELECT ON data_collector.v_fundamentals TO {READERS}")


def downgrade() -> None:
    op.execute("DROP VIEW data_collector.v_fundamentals")
    op.execute("DROP TABLE data_collector.fundamentals")
