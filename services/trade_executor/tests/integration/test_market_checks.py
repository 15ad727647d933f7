"""An entry that meets a bad market, or a share that is not dealt in, never reaches the venue; exits always do."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import orjson

from services.trade_executor.tests.integration.test_api_on_postgres import WISH, api_of
from shared.domain.orders import IntentState
from trader.testing.servers import SettingsFor

QUOTES = "/v2/stocks/quotes/latest"


def quoted(desk: Any, bid: float, ask: float) -> dict[str, Any]:
    """The fault that makes the market data quote AAPL like that."""
    quote = {"t": desk.clock.now().isoformat(), "bp": bid, "ap": ask, "bs": 1, "as": 1}
    body = orjson.dumps({"quotes": {"AAPL": quote}}).decode()
    return {"kind": "status", "status": 200, "body": body, "match": {"path": QUOTES}, "count": 100}


async def reasons(desk: Any) -> list[tuple[str, str]]:
    rows = await desk.rows(
        "SELECT state, reason FROM trade_executor.v_intents WHERE account = :a ORDER BY sequence"
    )
    return [(r.state, r.reason or "") for r in rows]


def test_a_wide_spread_withdraws_an_entry_and_lets_an_exit_go(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk() as desk:
            await desk.step(3)
            await desk.review(desk.approved("sig-1", stop_loss=None, take_profit=None))
            await desk.step(3)
            await asyncio.to_thread(desk.sim.fault, **quoted(desk, 98, 102))
            await desk.review(desk.approved("sig-2"))
            await desk.rest()
            await desk.review(desk.exit("sig-3"))
            await desk.step(3)
            [_, entry, way_out] = await reasons(desk)
            assert entry[0] == IntentState.CANCELLED_UNSENT
            assert "a spread of 4 %; the maximum is 1 %" in entry[1]
            assert way_out[0] == IntentState.FILLED
            assert len(desk.sim.book()["orders"]) == 2

    asyncio.run(scenario())


def test_a_market_that_has_run_away_from_the_decision_withdraws_an_entry(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk() as desk:
            await desk.step(3)
            await desk.review(desk.approved("sig-1", reference_price=Decimal(90)))
            await desk.rest()
            [(state, reason)] = await reasons(desk)
            assert state == IntentState.CANCELLED_UNSENT
            assert "was decided at 90 and would be taken at 100.01, 11.1 % away" in reason
            assert desk.sim.book()["orders"] == []

    asyncio.run(scenario())


def test_without_any_quote_an_entry_waits_a_moment_and_is_withdrawn(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk(hurry=20.0) as desk:
            await desk.step(3)
            await asyncio.to_thread(
                desk.sim.fault, kind="status", status=503, count=1000, match={"path": QUOTES}
            )
            await desk.review(desk.approved("sig-1"))
            await desk.rest()
            [(state, reason)] = await reasons(desk)
            assert state == IntentState.CANCELLED_UNSENT
            assert "no answer about AAPL for 5 s" in reason
            assert desk.sim.book()["orders"] == []

    asyncio.run(scenario())


def test_an_order_for_a_share_that_is_not_dealt_in_like_that_is_refused_with_the_mend(
    make_desk: Any, settings_for: SettingsFor
) -> None:
    async def scenario() -> None:
        async with (
            make_desk() as desk,
            api_of(desk, settings_for, "operate-token") as client,
        ):
            whole_only = {
                "symbol": "AAPL",
                "status": "active",
                "tradable": True,
                "fractionable": False,
            }
            await asyncio.to_thread(
                desk.sim.fault, kind="status", status=200, count=1, match={"path": "/v2/assets/AAPL"},
                body=orjson.dumps(whole_only).decode(),
            )  # fmt: skip
            answer = await client.post("/orders", json={**WISH, "qty": "0.5"})
            assert (answer.status_code, answer.json()["code"]) == (422, "asset_not_fractionable")
            assert "ask for whole shares" in answer.json()["detail"]
            assert await desk.rows("SELECT 1 FROM trade_executor.v_outbox WHERE account = :a") == []

    asyncio.run(scenario())
