"""What was booked comes out of the command line: trades, taxes with picked lots, TradeNote's file, and what it cost.

The rows are written under the executor's role into real tables.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from trader.cli import main
from trader.exports import tax, tradenote
from trader.testing.projects import act_on
from trader.testing.servers import Servers

Output = pytest.CaptureFixture[str]
_INTENT = """
    INSERT INTO trade_executor.intents
        (account, client_order_id, decision_id, signal_id, symbol, side, purpose, leg, generation, type,
         time_in_force, order_class, quantity, filled_quantity, reference_price, state, act_from, act_until,
         created_at, sent_at)
    VALUES ($1, $2, $2, $2, 'AAPL', $3, 'entry', 'entry', 0, 'market', 'day', 'simple', $4, $4, $5, 'FILLED',
            $6::text::timestamptz, $6::text::timestamptz, $6::text::timestamptz, $6::text::timestamptz)
"""
_ORDER = """
    INSERT INTO trade_executor.orders
        (account, broker_order_id, client_order_id, intent_id, symbol, side, type, order_class, status,
         quantity, filled_quantity, booked_quantity, submitted_at, updated_at, first_seen_at)
    VALUES ($1, $2, $2, $2, 'AAPL', $3, 'market', 'simple', 'filled', $4, $4, $4,
            $5::text::timestamptz, $5::text::timestamptz, $5::text::timestamptz)
"""
_FILL = """
    INSERT INTO trade_executor.fills
        (account, execution_id, broker_order_id, intent_id, symbol, side, quantity, price, cumulative_quantity,
         executed_at, booked_at)
    VALUES ($1, $2, $2, $2, 'AAPL', $3, $4, $5, $4, $6::text::timestamptz, $6::text::timestamptz)
"""
# Name, side, shares, price decided on, price paid, when.
TRADES = (
    ("cheap", "buy", 10, "100", "100.10", "2025-01-06T15:00:00Z"),
    ("dear", "buy", 10, "150", "150.15", "2026-01-05T15:00:00Z"),
    ("sale", "sell", 10, "140", "139.93", "2026-03-02T15:00:00Z"),
)


@pytest.fixture(autouse=True)
def project(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    act_on(monkeypatch, servers.instance)


@pytest.fixture
def traded(servers: Servers, account: str) -> str:
    """An account with two purchases and a sale of half of it."""

    async def write() -> None:
        connection = await asyncpg.connect(
            host="127.0.0.1", port=servers.instance.ports.postgres, user="trade_executor",
            password=servers.instance.database_password("trade_executor"), database="trading", ssl=False,
        )  # fmt: skip
        try:
            for name, side, shares, decided, paid, at in TRADES:
                await connection.execute(_INTENT, account, name, side, shares, decided, at)
                await connection.execute(_ORDER, account, name, side, shares, at)
                await connection.execute(_FILL, account, name, side, shares, paid, at)
        finally:
            await connection.close()

    asyncio.run(write())
    return account


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_tax_form_takes_the_oldest_lots_or_those_that_were_picked(
    traded: str, tmp_path: Path, capsys: Output
) -> None:
    ask = ["export", "tax", "--year", "2026", "--account", traded]
    assert main(ask) == 0
    [oldest] = rows_of(capsys.readouterr().out)
    assert tuple(oldest) == tax.COLUMNS
    assert (oldest["(h) Gain or (loss)"], oldest["Term"]) == ("398.30", "long")

    picks = tmp_path / "picks.csv"
    picks.write_text("sale_id,lot_id,quantity\nsale,dear,10\n")
    assert main([*ask, "--picks", str(picks)]) == 0
    [picked] = rows_of(capsys.readouterr().out)
    assert (picked["(b) Date acquired"], picked["(c) Date sold or disposed of"]) == (
        "01/05/2026", "03/02/2026",
    )  # fmt: skip
    assert (picked["(h) Gain or (loss)"], picked["Term"]) == ("-102.20", "short")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("sale,lot\n", "needs the columns sale_id, lot_id, quantity"),
        ("sale_id,lot_id,quantity\nsale,dear,11\n", "not 11"),
        ("sale_id,lot_id,quantity\nnever,dear,1\n", "no execution of this account"),
    ],
)
def test_picks_that_cannot_be_are_refused_in_one_sentence(
    traded: str, tmp_path: Path, capsys: Output, text: str, why: str
) -> None:
    picks = tmp_path / "picks.csv"
    picks.write_text(text + ("x,y\n" if "lot\n" in text else ""))
    ask = ["export", "tax", "--year", "2026", "--account", traded, "--picks", str(picks)]
    assert main(ask) == 4
    assert why in capsys.readouterr().err


def test_closed_trades_and_the_file_for_tradenote_hold_what_was_booked(
    traded: str, capsys: Output
) -> None:
    assert main(["export", "trades", "--account", traded]) == 0
    [trade] = rows_of(capsys.readouterr().out)
    assert (trade["symbol"], trade["quantity"], trade["gain"]) == ("AAPL", "10", "398.3")
    ask = ["export", "trades", "--format", "tradenote", "--account", traded, "--to", "2026-03-31"]
    assert main(ask) == 0
    lines = rows_of(capsys.readouterr().out)
    assert tuple(lines[0]) == tradenote.COLUMNS
    assert [(line["T/D"], line["Side"], line["Qty"], line["Price"]) for line in lines] == [
        ("01/06/2025", "B", "10", "100.1"),
        ("01/05/2026", "B", "10", "150.15"),
        ("03/02/2026", "S", "10", "139.93"),
    ]


def test_what_trading_cost_stands_beside_what_a_backtest_assumes(
    traded: str, capsys: Output
) -> None:
    ask = ["costs", "--by", "type", "--slippage-bps", "5", "--account", traded, "--json"]
    assert main(ask) == 0
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    [cost] = said["costs"]
    # A tenth, fifteen and seven cents a share on ten shares each.
    assert (cost["group"], cost["orders"]) == ("market", 3)
    assert cost["live"] == pytest.approx(10 * (0.10 + 0.15 + 0.07), abs=0.05)
    assert cost["decision_bps"] > 0
    assert cost["above_model"] == pytest.approx(cost["live"] - cost["modelled"])
    assert main(["costs", "--account", traded]) == 0
    assert "+8.21" in capsys.readouterr().out
