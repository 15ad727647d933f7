"""Stops that follow and sales at targets go all the way to the venue, and are explained like any order."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from tests.acceptance.replaying import (
    GOOG,
    assert_all_is_explained,
    assert_ledger_is_the_venues_book,
    replaying,
)
from trader.replay.session import ReplayPlan

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]

MANAGED = {
    "RISK_TRAILING_STOP": "0.04",
    "RISK_SCALE_OUT": "0.03=0.5",
    # Small windows, so that a few weeks trade.
    "STRATEGY_PARAMS": "short_window=3,long_window=8",
}


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
