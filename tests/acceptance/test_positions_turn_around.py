"""Long, short and out again with real processes: each leg at the venue, every cent in the ledger, every order explained."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from shared.adapters.parquet import ParquetBars
from tests.acceptance.replaying import (
    GOOG,
    Outcome,
    assert_all_is_explained,
    assert_books_can_be_taken_out,
    assert_ledger_is_the_venues_book,
    outcome,
    replaying,
)
from trader.explain import Explainer
from trader.replay.session import Replay, ReplayPlan

pytestmark = [pytest.mark.acceptance, pytest.mark.prove, pytest.mark.timeout(600)]

BOTH_SIDES = {
    "RISK_ALLOW_SHORT": "true",
    "STRATEGY_PARAMS": "short_window=3,long_window=8,allow_short=true",
    "RISK_STOP_LOSS": "0.03",
    "RISK_TAKE_PROFIT": "0.03",
}


def afternoons(file: Path) -> Path:
    """Two sessions of minutes: up, down through where the other side's target lies, and level to the close."""
    lines = ["timestamp,symbol,open,high,low,close,volume"]
    price, opens_at = 100.0, datetime(2024, 1, 8, 14, 30, tzinfo=UTC)
    for day in range(2):
        # Down first, so that the averages cross upwards once they are warm.
        for minute, step in enumerate([-0.1] * 10 + [0.2] * 12 + [-0.3] * 24 + [0.0] * 6):
            at = opens_at + timedelta(days=day, minutes=minute)
            opened, price = price, price + step
            high, low = max(opened, price) + 0.05, min(opened, price) - 0.05
            lines.append(
                f"{at.isoformat()},AAA,{opened:.2f},{high:.2f},{low:.2f},{price:.2f},100000"
            )
    file.write_text("\n".join(lines))
    return file


async def entries_of(replay: Replay) -> list[Any]:
    """Approved entries in the order of their decisions."""
    return list(
        await replay.truth.latest(
            "SELECT d.id, d.decision_id, d.side, d.signal_id, d.instant_at, d.reference_price, d.stop_loss, "
            "d.take_profit, i.state, i.broker_order_id FROM risk_manager.v_decisions d "
            "JOIN trade_executor.v_intents i ON i.account = d.account AND i.decision_id = d.decision_id "
            "WHERE d.account = :account AND d.purpose = 'entry' AND i.purpose = 'entry' ORDER BY d.id"
        )
    )


def held_over_time(book: dict[str, Any]) -> list[Decimal]:
    """Shares held after each execution."""
    held, found = Decimal(0), []
    for fill in book["executions"]:
        held += Decimal(fill["quantity"]) * (1 if fill["side"] == "buy" else -1)
        found.append(held)
    return found


def test_a_strategy_that_may_goes_long_short_and_flat_at_the_venue(tmp_path: Path) -> None:
    async def scenario() -> None:
        plan = ReplayPlan(bars=afternoons(tmp_path / "bars.csv"))
        async with replaying(tmp_path / "home", plan, BOTH_SIDES) as replay:
            await replay.run()
            await assert_ledger_is_the_venues_book(replay)
            await assert_all_is_explained(replay)
            await assert_books_can_be_taken_out(replay)
            book = await replay.venue.book()
            held = held_over_time(book)
            assert max(held) > 0 > min(held)
            assert Decimal(0) in held

            entries = await entries_of(replay)
            shorts = [entry for entry in entries if entry.side == "sell"]
            assert {entry.side for entry in entries} == {"buy", "sell"}
            bought_first = [entry.side for entry in entries].index("buy")
            assert "sell" in [entry.side for entry in entries][bought_first:], "it turned around"
            for entry in shorts:
                assert entry.take_profit < entry.reference_price < entry.stop_loss
                group = [o for o in book["orders"] if o["group"] == entry.broker_order_id]
                legs = {o["role"]: o for o in group if o["role"] != "entry"}
                assert {leg["side"] for leg in legs.values()} == {"buy"}
                assert Decimal(legs["stop"]["stop_price"]) == entry.stop_loss
                assert Decimal(legs["target"]["limit_price"]) == entry.take_profit

            # Each short entry's result is what its shares brought, from the sale to the purchase.
            explainer = Explainer(
                replay.truth, ParquetBars(replay.stack.instance.home / "parquet" / replay.account)
            )
            results = [
                (await explainer.why(entry.decision_id)).result
                for entry in shorts
                if entry.state == "FILLED"
            ]
            assert any(result and result["realised_pnl"] > 0 for result in results), results

    asyncio.run(scenario())


def test_months_of_days_on_both_sides_give_the_same_orders_twice(tmp_path: Path) -> None:
    """Each day's look at what is lent belongs to its day, however fast the machine is."""
    told = {**BOTH_SIDES, "RISK_STOP_LOSS": "0.05", "RISK_TAKE_PROFIT": "0.1"}

    async def played(home: Path) -> Outcome:
        async with replaying(home, ReplayPlan(bars=GOOG, last=90), told) as replay:
            await replay.run()
            await assert_ledger_is_the_venues_book(replay)
            await assert_all_is_explained(replay)
            book = await replay.venue.book()
            held = held_over_time(book)
            assert max(held) > 0 > min(held)
            refused = await replay.truth.latest(
                "SELECT instant_at FROM risk_manager.v_decisions "
                "WHERE account = :account AND reason_code = 'SHORT_AVAILABILITY'"
            )
            assert refused == [], "the broker lends every share on every day"
            return outcome(book)

    assert asyncio.run(played(tmp_path / "first")) == asyncio.run(played(tmp_path / "second"))


def test_without_the_owners_switch_nothing_is_sold_short(tmp_path: Path) -> None:
    """The strategy's own switch alone does not start; a sale by hand of what is not held is refused."""
    told = {
        **BOTH_SIDES,
        "RISK_ALLOW_SHORT": "false",
        "STRATEGY_PARAMS": "short_window=3,long_window=8",
    }

    async def scenario() -> None:
        plan = ReplayPlan(bars=afternoons(tmp_path / "bars.csv"))
        async with replaying(tmp_path / "home", plan, told) as replay:
            await replay.run()
            await assert_ledger_is_the_venues_book(replay)
            held = held_over_time(await replay.venue.book())
            assert held
            assert min(held) >= 0

    asyncio.run(scenario())
