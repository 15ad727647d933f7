"""What positions ask for themselves goes all the way to the venue, and is explained like any order."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from tests.acceptance.replaying import (
    GOOG,
    assert_all_is_explained,
    assert_ledger_is_the_venues_book,
    replaying,
)
from trader.replay.session import Replay, ReplayPlan

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]

MANAGED = {
    "RISK_TRAILING_STOP": "0.04",
    "RISK_SCALE_OUT": "0.03=0.5",
    # Small windows, so that a few weeks trade.
    "STRATEGY_PARAMS": "short_window=3,long_window=8",
}


QUICK = "short_window=3,long_window=8"


async def sales_of(replay: Replay, kind: str) -> list[tuple[str, Decimal]]:
    """State and shares of every sale of that kind, each of them found in the venue's own book."""
    rows = await replay.truth.latest(
        "SELECT i.state, i.filled_quantity, i.broker_order_id FROM risk_manager.v_decisions d "
        "JOIN trade_executor.v_intents i ON i.account = d.account AND i.decision_id = d.decision_id "
        "WHERE d.account = :account AND d.strategy = :kind",
        kind=kind,
    )
    book = {order["id"]: order for order in (await replay.venue.book())["orders"]}
    for row in rows:
        order = book[row.broker_order_id]
        assert (order["side"], order["type"]) == ("sell", "market")
        assert Decimal(order["filled_quantity"]) == row.filled_quantity
    return [(row.state, row.filled_quantity) for row in rows]


def test_a_replay_moves_stops_and_sells_at_targets(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with replaying(tmp_path, ReplayPlan(bars=GOOG, last=60), MANAGED) as replay:
            await replay.run()
            await assert_ledger_is_the_venues_book(replay)
            await assert_all_is_explained(replay)
            moves = await replay.truth.latest(
                "SELECT decision_id, stop_loss FROM risk_manager.v_stop_moves WHERE account = :account"
            )
            book = await replay.venue.book()
            stops = {Decimal(o["stop_price"]) for o in book["orders"] if o["stop_price"]}
            sold = await replay.truth.latest(
                "SELECT i.state FROM risk_manager.v_decisions d JOIN trade_executor.v_intents i "
                "ON i.account = d.account AND i.decision_id = d.decision_id "
                "WHERE d.account = :account AND d.strategy = 'scale_out'"
            )
            assert moves
            assert {row.stop_loss for row in moves} <= stops
            assert [row.state for row in sold] == ["FILLED"] * len(sold)
            assert sold

    asyncio.run(scenario())


@pytest.mark.prove
def test_stops_at_true_ranges_rest_at_the_venue(tmp_path: Path) -> None:
    told = {"RISK_ATR_STOP": "1.5", "RISK_ATR_BARS": "5", "STRATEGY_PARAMS": QUICK}

    async def scenario() -> None:
        async with replaying(tmp_path, ReplayPlan(bars=GOOG, last=60), told) as replay:
            await replay.run()
            await assert_ledger_is_the_venues_book(replay)
            await assert_all_is_explained(replay)
            moves = await replay.truth.latest(
                "SELECT stop_loss FROM risk_manager.v_stop_moves WHERE account = :account"
            )
            book = await replay.venue.book()
            stops = {Decimal(o["stop_price"]) for o in book["orders"] if o["stop_price"]}
            assert moves
            assert {row.stop_loss for row in moves} <= stops

    asyncio.run(scenario())


@pytest.mark.prove
def test_a_position_that_outgrows_its_most_is_made_smaller_at_the_venue(tmp_path: Path) -> None:
    told = {"RISK_REBALANCE_BAND": "0.01", "RISK_TAKE_PROFIT": "0.5", "STRATEGY_PARAMS": QUICK}

    async def scenario() -> None:
        async with replaying(tmp_path, ReplayPlan(bars=GOOG, last=60), told) as replay:
            await replay.run()
            await assert_ledger_is_the_venues_book(replay)
            await assert_all_is_explained(replay)
            sold = await sales_of(replay, "rebalance")
            assert sold
            assert {state for state, _ in sold} == {"FILLED"}

    asyncio.run(scenario())


@pytest.mark.prove
def test_strategies_of_the_day_hold_nothing_overnight(tmp_path: Path) -> None:
    """Two afternoons whose last half hour rises, so that the strategy still holds what it bought."""
    lines = ["timestamp,symbol,open,high,low,close,volume"]
    for day in (5, 8):
        for minute in range(60):
            at = datetime(2024, 1, day, 20, 0, tzinfo=UTC) + timedelta(minutes=minute)
            price = 100 - minute * 0.05 if minute < 20 else 99 + (minute - 20) * 0.05
            lines.append(
                f"{at.isoformat()},AAA,{price:.2f},{price + 0.1:.2f},{price - 0.1:.2f},{price:.2f},100000"
            )
    bars = tmp_path / "afternoons.csv"
    bars.write_text("\n".join(lines))
    told = {"RISK_DAY_STRATEGIES": "moving_average", "STRATEGY_PARAMS": QUICK}

    async def scenario() -> None:
        async with replaying(tmp_path / "home", ReplayPlan(bars=bars), told) as replay:
            await replay.run()
            await assert_ledger_is_the_venues_book(replay)
            await assert_all_is_explained(replay)
            sold = await sales_of(replay, "day_end")
            assert len(sold) == 2
            assert {state for state, _ in sold} == {"FILLED"}
            assert (await replay.venue.book())["positions"] == {}

    asyncio.run(scenario())
