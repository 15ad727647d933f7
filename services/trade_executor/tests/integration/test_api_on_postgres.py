"""The routes on real servers, with the executor behind them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import httpx

from shared.adapters.clocks import MonotonicTimer, RandomIds
from shared.adapters.http_api import make_app
from shared.adapters.redis import RedisLatestBars, open_redis
from shared.domain.calendar import NEW_YORK
from shared.domain.decisions import Purpose, Refused
from shared.domain.ids import manual_signal_id
from shared.domain.orders import Side
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.messages import MANUAL_ORDER
from trade_executor.api import router
from trade_executor.hours import HoursCheck
from trader.testing.servers import SettingsFor

TOKENS = {"API_TOKEN_READ": "read-token", "API_TOKEN_OPERATE": "operate-token"}
WISH = {"symbol": "AAPL", "side": "buy", "qty": "10"}


@contextlib.asynccontextmanager
async def api_of(
    desk: Any, settings_for: SettingsFor, token: str
) -> AsyncIterator[httpx.AsyncClient]:
    settings = settings_for("trade_executor", **TOKENS)
    timer = MonotonicTimer()
    async with open_redis(settings) as redis:
        app = make_app("trade_executor", settings, {}, timer)
        hours = HoursCheck(
            desk.store, desk.parts.broker, desk.parts.calendar, desk.clock, timer, is_replay=True
        )
        app.include_router(
            router(
                desk.store, desk.executor, desk.bells, RedisLatestBars(redis, desk.account),
                desk.clock, timer, RandomIds(), Timeframe.MINUTE, desk.parts.market, hours,
                desk.parts.halt,
            )
        )  # fmt: skip
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://127.0.0.1",
            headers={"Authorization": f"Bearer {token}"},
        ) as client:
            yield client


async def review_the_next_manual_order(desk: Any, *, refuse: bool = False) -> None:
    """What the risk manager does with it."""

    async def announced() -> Any:
        return await desk.rows(
            "SELECT payload FROM trade_executor.v_outbox WHERE account = :a AND topic = 'manual_orders'"
        )

    await desk.until(announced, "a manual order is announced")
    order = MANUAL_ORDER.decode((await announced())[-1].payload)
    if refuse:
        no = Refused(
            f"dec-{order.signal_id}", order.signal_id, desk.account, order.symbol, order.side,
            Purpose.ENTRY, "POSITION_SIZE", "more than a twentieth of equity", (),
        )  # fmt: skip
        await desk.review(refused=[no], source=f"manual:{order.signal_id}")
        return
    yes = desk.approved(order.signal_id, quantity=order.quantity, stop_loss=None, take_profit=None)
    await desk.review(yes, source=f"manual:{order.signal_id}")


def test_a_manual_order_goes_through_risk_and_answers_with_the_order(
    make_desk: Any, settings_for: SettingsFor
) -> None:
    async def scenario() -> None:
        async with make_desk() as desk, api_of(desk, settings_for, "operate-token") as api:
            await desk.step(3)
            headers = {"Idempotency-Key": "once"}
            asked = asyncio.create_task(api.post("/orders", json=WISH, headers=headers))
            await review_the_next_manual_order(desk)
            answer = await asked
            assert answer.status_code == 201
            signal = manual_signal_id(desk.account, "once")
            assert answer.json()["signal_id"] == signal
            again = await api.post("/orders", json=WISH, headers=headers)
            assert again.json()["client_order_id"] == answer.json()["client_order_id"]
            other = await api.post("/orders", json={**WISH, "qty": "11"}, headers=headers)
            assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")

            await desk.step(3)
            body = answer.json()
            for name in (signal, body["client_order_id"], body["broker_order_id"]):
                order = (await api.get(f"/orders/{name}")).json()
                assert (order["state"], order["filled_quantity"]) == ("FILLED", "10")
                assert [fill["quantity"] for fill in order["fills"]] == ["10"]
            [position] = (await api.get("/positions")).json()["items"]
            assert (position["symbol"], position["quantity"]) == ("AAPL", "10")
            assert position["average_price"] == "100"
            assert len((await api.get("/fills")).json()["items"]) == 1
            account = (await api.get("/account")).json()
            assert (account["state"], account["cash"]) == ("READY", "99000")

    asyncio.run(scenario())


def test_a_manual_order_that_risk_refuses_answers_with_the_reason_code(
    make_desk: Any, settings_for: SettingsFor
) -> None:
    async def scenario() -> None:
        async with make_desk() as desk, api_of(desk, settings_for, "operate-token") as api:
            await desk.step(3)
            asked = asyncio.create_task(api.post("/orders", json=WISH))
            await review_the_next_manual_order(desk, refuse=True)
            answer = await asked
            assert (answer.status_code, answer.json()["code"]) == (422, "position_size")
            assert answer.headers["content-type"] == "application/problem+json"

    asyncio.run(scenario())


def test_a_manual_order_without_a_decision_is_accepted_with_a_place_to_look(
    make_desk: Any, settings_for: SettingsFor
) -> None:
    async def scenario() -> None:
        async with make_desk() as desk, api_of(desk, settings_for, "operate-token") as api:
            answer = await api.post("/orders", json={**WISH, "client_key": "k"})
            signal = manual_signal_id(desk.account, "k")
            assert (answer.status_code, answer.headers["location"]) == (202, f"/orders/{signal}")

    asyncio.run(scenario())


def test_reading_needs_a_token_and_ordering_one_that_may_operate(
    make_desk: Any, settings_for: SettingsFor
) -> None:
    async def scenario() -> None:
        async with make_desk() as desk:
            async with api_of(desk, settings_for, "read-token") as api:
                assert (await api.get("/orders")).status_code == 200
                assert (await api.post("/orders", json=WISH)).status_code == 403
                assert (await api.post("/reconcile")).status_code == 403
                assert (await api.get("/orders/nothing")).json()["code"] == "order_not_found"
                assert (await api.get("/orders", params={"status": "x"})).status_code == 422
            async with api_of(desk, settings_for, "wrong") as api:
                for path in ("/orders", "/orders/x", "/positions", "/fills", "/account"):
                    assert (await api.get(path)).status_code == 401

    asyncio.run(scenario())


def test_lists_are_paged_newest_first(make_desk: Any, settings_for: SettingsFor) -> None:
    async def scenario() -> None:
        async with make_desk() as desk, api_of(desk, settings_for, "read-token") as api:
            await desk.step(3)
            for n in range(3):
                await desk.review(desk.approved(f"sig-{n}", symbol=Symbol("AAPL")))
            await desk.rest()
            first = (await api.get("/orders", params={"limit": 2})).json()
            rest = (await api.get("/orders", params={"limit": 2, "cursor": first["next"]})).json()
            signals = [item["signal_id"] for item in [*first["items"], *rest["items"]]]
            assert signals == ["sig-2", "sig-1", "sig-0"]
            assert rest["next"] is None

    asyncio.run(scenario())


def test_a_person_can_have_everything_compared_and_acknowledge(
    make_desk: Any, settings_for: SettingsFor
) -> None:
    async def scenario() -> None:
        async with make_desk() as desk, api_of(desk, settings_for, "operate-token") as api:
            await desk.step(3)
            trade = {**WISH, "type": "market", "time_in_force": "day"}
            desk.sim.admin.post("/admin/trade", json=trade).raise_for_status()
            await desk.step(3)
            seen = (await api.post("/reconcile")).json()
            assert (seen["positions_agree"], seen["cash_agrees"]) == (True, True)
            assert [d["kind"] for d in seen["differences"]] == ["EXTERNAL_ORDER"]
            external = seen["differences"][0]["subject"]
            assert (await api.get(f"/orders/{external}")).json()["purpose"] == "external"
            done = (await api.post("/reconcile", json={"acknowledge": ["AAPL"]})).json()
            assert (done["acknowledged"], done["differences"]) == (1, [])

    asyncio.run(scenario())


def test_side_and_quantity_are_kept_exact_to_the_ninth_decimal(
    make_desk: Any, settings_for: SettingsFor
) -> None:
    async def scenario() -> None:
        async with make_desk() as desk, api_of(desk, settings_for, "operate-token") as api:
            await api.post("/orders", json={**WISH, "qty": "0.123456789", "client_key": "k"})
            rows = await desk.rows(
                "SELECT payload FROM trade_executor.v_outbox WHERE account = :a AND topic = 'manual_orders'"
            )
            order = MANUAL_ORDER.decode(rows[0].payload)
            assert (order.side, order.quantity) == (Side.BUY, Decimal("0.123456789"))

    asyncio.run(scenario())


def test_a_days_closed_trades_are_kept_and_listed(
    make_desk: Any, settings_for: SettingsFor
) -> None:
    async def scenario() -> None:
        async with make_desk() as desk, api_of(desk, settings_for, "operate-token") as api:
            await desk.step(3)
            await desk.review(desk.approved("in", symbol=Symbol("AAPL")))
            await desk.rest()
            await desk.step(3)
            await desk.review(desk.exit("out", symbol=Symbol("AAPL")))
            await desk.rest()
            await desk.step(3)
            day = desk.clock.now().astimezone(NEW_YORK).date().isoformat()
            kept = (await api.post("/performance", json={"day_on": day})).json()
            assert (kept["day_on"], kept["trades"]) == (day, 1)
            assert (await api.get("/performance")).json() == {"items": [kept], "next": None}
            assert (await api.post("/performance", json={"day_on": "soon"})).status_code == 422

    asyncio.run(scenario())
