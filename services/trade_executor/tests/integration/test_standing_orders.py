"""Every kind of order given by hand, changed, taken back and closed, on real servers against the venue."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import httpx
import pytest

from services.trade_executor.tests.integration.test_api_on_postgres import api_of
from shared.adapters.redis import RedisLatestBars, open_redis
from shared.domain.decisions import Purpose
from shared.domain.orders import Side
from shared.messages import MANUAL_ORDER
from shared.testing.bar_stores import a_bar, a_block
from trader.testing.servers import SettingsFor

Scenario = Callable[[Any, httpx.AsyncClient], Awaitable[None]]
LIMIT = {"symbol": "AAPL", "side": "buy", "qty": "10", "type": "limit", "limit_price": "90"}


@pytest.fixture
def play(make_desk: Any, settings_for: SettingsFor) -> Callable[[Scenario], None]:
    """Runs a scenario with the market open and a client that may operate."""

    def run(scenario: Scenario) -> None:
        async def main() -> None:
            async with make_desk() as desk, api_of(desk, settings_for, "operate-token") as api:
                await desk.step(3)
                await scenario(desk, api)

        asyncio.run(main())

    return run


async def granted(
    desk: Any, asked: Awaitable[httpx.Response], *, wishes: int = 1
) -> httpx.Response:
    """The answer to a request once risk has approved, as they stand, the wishes that came of it."""
    waiting = asyncio.ensure_future(asked)
    known: set[str] = desk.__dict__.setdefault("granted", set())

    async def announced() -> list[Any]:
        rows = await desk.rows(
            "SELECT payload FROM trade_executor.v_outbox WHERE account = :a AND topic = 'manual_orders'"
        )
        orders = [MANUAL_ORDER.decode(row.payload) for row in rows]
        return [order for order in orders if order.signal_id not in known]

    async def are_all() -> bool:
        return len(await announced()) == wishes

    await desk.until(are_all, "manual orders are announced")
    for order in await announced():
        known.add(order.signal_id)
        yes = desk.approved(
            order.signal_id,
            symbol=order.symbol,
            side=order.side,
            purpose=Purpose.EXIT if order.side is Side.SELL else Purpose.ENTRY,
            quantity=order.quantity,
            type=order.type,
            time_in_force=order.time_in_force,
            limit_price=order.limit_price,
            stop_price=order.stop_price,
            stop_loss=order.stop_loss,
            take_profit=order.take_profit,
            terms=order.terms,
        )
        await desk.review(yes, source=f"manual:{order.signal_id}")
    return await waiting


KINDS: list[dict[str, Any]] = [
    {"qty": "1.5"},
    {"type": "limit", "limit_price": "90", "extended_hours": True},
    {"type": "limit", "limit_price": "90", "time_in_force": "ioc"},
    {"time_in_force": "fok"},
    {"time_in_force": "cls"},
    {"type": "stop", "stop_price": "130", "time_in_force": "gtc"},
    {"type": "stop_limit", "stop_price": "130", "limit_price": "131"},
    {"type": "trailing_stop", "trail_percent": "2.5"},
    {
        "take_profit": {"limit_price": "120"},
        "stop_loss": {"stop_price": "90", "limit_price": "89"},
    },
    {"order_class": "oto", "stop_loss": {"stop_price": "90"}},
]


def test_every_kind_of_order_reaches_the_venue_as_it_was_wished(
    play: Callable[[Scenario], None],
) -> None:
    async def scenario(desk: Any, api: httpx.AsyncClient) -> None:
        for kind in KINDS:
            wish = {"symbol": "AAPL", "side": "buy", "qty": "10", **kind}
            answer = await granted(desk, api.post("/orders", json=wish))
            assert answer.status_code == 201, (kind, answer.text)
            sent = next(
                o for o in desk.sim.book()["orders"] if o["id"] == answer.json()["broker_order_id"]
            )
            for name in ("type", "time_in_force", "order_class", "limit_price", "stop_price"):
                if name in kind:
                    assert sent[name] == kind[name]
            assert sent["extended_hours"] == kind.get("extended_hours", False)
            assert (sent["trail_percent"] or "") == kind.get("trail_percent", "")
            await api.delete(f"/orders/{answer.json()['client_order_id']}")
        await desk.rest()

    play(scenario)


def test_a_pair_put_on_by_hand_takes_the_place_of_what_guarded_before(
    play: Callable[[Scenario], None],
) -> None:
    async def scenario(desk: Any, api: httpx.AsyncClient) -> None:
        await desk.review(desk.approved("sig-1"))
        await desk.step(3)
        wish = {
            "symbol": "AAPL", "side": "sell", "qty": "10", "type": "limit", "order_class": "oco",
            "time_in_force": "gtc", "take_profit": {"limit_price": "130"},
            "stop_loss": {"stop_price": "95"},
        }  # fmt: skip
        answer = await granted(desk, api.post("/orders", json=wish))
        await desk.rest()
        assert answer.json()["order_class"] == "oco"
        standing = [o for o in desk.sim.book()["orders"] if o["status"] == "new"]
        assert {(o["limit_price"], o["stop_price"]) for o in standing} == {
            ("130", None),
            (None, "95"),
        }

    play(scenario)


def test_a_standing_order_is_replaced_once_however_often_it_is_asked_for(
    play: Callable[[Scenario], None],
) -> None:
    async def scenario(desk: Any, api: httpx.AsyncClient) -> None:
        first = (await granted(desk, api.post("/orders", json=LIMIT))).json()
        path, headers = f"/orders/{first['client_order_id']}", {"Idempotency-Key": "once"}
        change = {"limit_price": "89", "qty": "8"}
        answer = await api.patch(path, json=change, headers=headers)
        assert answer.status_code == 200, answer.text
        new = answer.json()
        assert (new["replaces"], new["limit_price"]) == (first["client_order_id"], "89")
        again = await api.patch(path, json=change, headers=headers)
        assert again.json()["client_order_id"] == new["client_order_id"]
        other = await api.patch(path, json={"limit_price": "88"}, headers=headers)
        assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
        await desk.rest()
        assert (await api.get(path)).json()["state"] == "REPLACED"
        dearer = await api.patch(f"/orders/{new['client_order_id']}", json={"limit_price": "200"})
        assert (dearer.status_code, dearer.json()["code"]) == (422, "commits_more")
        fewer_at_any_price = {"limit_price": "700", "qty": "1"}
        dear = await api.patch(f"/orders/{new['client_order_id']}", json=fewer_at_any_price)
        assert (dear.status_code, dear.json()["code"]) == (422, "price_collar")
        statuses = [o["status"] for o in desk.sim.book()["orders"]]
        assert statuses == ["replaced", "new"]

    play(scenario)


@pytest.mark.parametrize("kind", ["lose_reply", "status"])
def test_a_replacement_whose_answer_is_lost_is_looked_up_and_never_doubled(
    make_desk: Any, settings_for: SettingsFor, kind: str
) -> None:
    async def scenario() -> None:
        async with (
            make_desk(hurry=8) as desk,
            api_of(desk, settings_for, "operate-token") as api,
        ):
            await desk.step(3)
            first = (await granted(desk, api.post("/orders", json=LIMIT))).json()

            async def stands() -> bool:
                return [state for _, state, _, _ in await desk.intents()] == ["ACKED"]

            # A slow machine looks the first order up before it knows of it.
            await desk.until(stands, "the first order stands")
            desk.sim.fault(kind=kind, match={"method": "PATCH", "path": "/v2/orders/*"})
            await api.patch(f"/orders/{first['client_order_id']}", json={"limit_price": "89"})

            # At rest is what waits for nothing: the stream tells of the old order a moment later.
            async def both_are_known() -> bool:
                states = [state for _, state, _, _ in await desk.intents()]
                return states == ["REPLACED", "ACKED"]

            await desk.until(both_are_known, "the old order is replaced and the new one accepted")
            assert [o["status"] for o in desk.sim.book()["orders"]] == ["replaced", "new"]

    asyncio.run(scenario())


def test_an_order_is_taken_back_and_a_second_time_is_said_to_have_ended(
    play: Callable[[Scenario], None],
) -> None:
    async def scenario(desk: Any, api: httpx.AsyncClient) -> None:
        order = (await granted(desk, api.post("/orders", json=LIMIT))).json()
        # 202 where this machine has too much else to do to have the proof within two seconds.
        assert (await api.delete(f"/orders/{order['broker_order_id']}")).status_code in (200, 202)
        await desk.rest()
        ended = await api.get(f"/orders/{order['client_order_id']}")
        assert ended.json()["state"] == "CANCELED"
        again = await api.delete(f"/orders/{order['client_order_id']}")
        assert (again.status_code, again.json()["code"]) == (409, "order_ended")
        absent = await api.delete("/orders/nothing")
        assert (absent.status_code, absent.json()["code"]) == (404, "order_not_found")

    play(scenario)


def test_taking_everything_back_leaves_stops_and_targets_where_they_are(
    play: Callable[[Scenario], None],
) -> None:
    async def scenario(desk: Any, api: httpx.AsyncClient) -> None:
        await desk.review(desk.approved("sig-1"))
        await desk.step(3)
        waits = (await granted(desk, api.post("/orders", json=LIMIT))).json()
        asked = await api.delete("/orders")
        assert asked.json()["items"] == [waits["client_order_id"]]
        await desk.rest()
        by_role = {o["role"]: o["status"] for o in desk.sim.book()["orders"]}
        assert by_role == {
            "entry": "filled", "target": "new", "stop": "new", "simple": "canceled",
        }  # fmt: skip

    play(scenario)


def test_a_position_is_closed_once_and_its_stop_and_target_go_first(
    play: Callable[[Scenario], None],
) -> None:
    async def scenario(desk: Any, api: httpx.AsyncClient) -> None:
        await desk.review(desk.approved("sig-1"))
        await desk.step(3)
        absent = await api.post("/positions/MSFT/close")
        assert (absent.status_code, absent.json()["code"]) == (404, "position_not_found")
        key = {"Idempotency-Key": "out"}
        first = await granted(desk, api.post("/positions/AAPL/close", headers=key))
        await desk.step(3)
        assert desk.sim.book()["positions"] == {}
        again = await api.post("/positions/AAPL/close", headers=key)
        assert again.json() == first.json()
        [signal] = first.json()["items"]
        order = (await api.get(f"/orders/{signal}")).json()
        assert (order["purpose"], order["state"], order["quantity"]) == ("exit", "FILLED", "10")
        assert (await api.post("/positions/close")).json() == {"items": []}

    play(scenario)


def test_everything_is_closed_by_one_request(make_desk: Any, settings_for: SettingsFor) -> None:
    async def scenario() -> None:
        async with (
            make_desk(symbols=("AAPL", "MSFT")) as desk,
            api_of(desk, settings_for, "operate-token") as api,
        ):
            await desk.step(3)
            await desk.review(
                desk.approved("sig-1"), desk.approved("sig-2", symbol="MSFT", quantity=Decimal(4))
            )
            await desk.step(3)
            await granted(desk, api.post("/positions/close"), wishes=2)
            await desk.step(3)
            assert desk.sim.book()["positions"] == {}

    asyncio.run(scenario())


def test_a_sum_of_money_is_sent_as_such_and_booked_as_the_shares_it_bought(
    play: Callable[[Scenario], None],
) -> None:
    async def scenario(desk: Any, api: httpx.AsyncClient) -> None:
        # Reckoned at the limit of 101 and bought at the open of 100.
        wish = {
            "symbol": "AAPL", "side": "buy", "notional": "505", "type": "limit", "limit_price": "101"
        }  # fmt: skip
        order = (await granted(desk, api.post("/orders", json=wish))).json()
        assert (order["notional"], order["quantity"]) == ("505", "5")
        [sent] = desk.sim.book()["orders"]
        assert sent["notional"] == "505"
        refused = await api.patch(f"/orders/{order['client_order_id']}", json={"limit_price": "99"})
        assert (refused.status_code, refused.json()["code"]) == (422, "notional")
        await desk.step(3)
        filled = (await api.get(f"/orders/{order['client_order_id']}")).json()
        assert (filled["state"], filled["quantity"], filled["filled_quantity"]) == (
            "FILLED", "5.05", "5.05",
        )  # fmt: skip

    play(scenario)


def test_stop_and_target_of_what_a_bracket_brought_are_moved_and_guard_all_of_it(
    play: Callable[[Scenario], None], settings_for: SettingsFor
) -> None:
    async def scenario(desk: Any, api: httpx.AsyncClient) -> None:
        await desk.review(desk.approved("sig-1"))
        await desk.rest()
        [entry] = (await api.get("/orders")).json()["items"]
        name, wish = entry["client_order_id"], {"stop_loss": {"stop_price": "95"}}
        early = await api.patch(f"/orders/{name}", json=wish)
        assert (early.status_code, early.json()["code"]) == (422, "legs_wait")
        await desk.step(3)
        unknown = await api.patch(f"/orders/{name}", json=wish)
        assert (unknown.status_code, unknown.json()["code"]) == (422, "no_price")
        async with open_redis(settings_for("data_collector")) as redis:
            await RedisLatestBars(redis, desk.account).replace(
                a_block(a_bar("AAPL")), provider="t", fetched_at=desk.clock.now()
            )
        beyond = await api.patch(f"/orders/{name}", json={"stop_loss": {"stop_price": "101"}})
        assert (beyond.status_code, beyond.json()["code"]) == (422, "stop_reached")
        looser = await api.patch(f"/orders/{name}", json={"stop_loss": {"stop_price": "80"}})
        assert (looser.status_code, looser.json()["code"]) == (422, "loosens_stop")
        desk.parts.halt.throw("by hand")
        halted = await api.patch(f"/orders/{name}", json=wish)
        assert (halted.status_code, halted.json()["code"]) == (422, "trading_halted")
        desk.parts.halt.thrown = None
        await desk.set_mode("HALTED", 2)
        halted = await api.patch(f"/orders/{name}", json=wish)
        assert (halted.status_code, halted.json()["code"]) == (422, "trading_halted")
        await desk.set_mode("REDUCING", 3)
        key = {"Idempotency-Key": "move-1"}
        both = {**wish, "take_profit": {"limit_price": "130"}}
        for _ in range(2):
            moved = await api.patch(f"/orders/{name}", json=both, headers=key)
            assert (moved.status_code, moved.json()["stop_loss"]) == (202, "95")
        other = await api.patch(f"/orders/{name}", json=wish, headers=key)
        assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
        await desk.rest()
        guards = {
            (o["role"], o["limit_price"] or o["stop_price"], o["quantity"])
            for o in desk.sim.book()["orders"]
            if o["status"] == "new"
        }
        assert guards == {("target", "130", "10"), ("stop", "95", "10")}
        # By the id of the order that guards now, once more.
        [oco] = [
            o for o in desk.sim.book()["orders"] if o["status"] == "new" and o["role"] == "target"
        ]
        await api.patch(f"/orders/{oco['id']}", json={"take_profit": {"limit_price": "140"}})
        await desk.rest()
        assert [
            o["limit_price"] or o["stop_price"]
            for o in desk.sim.book()["orders"]
            if o["status"] == "new"
        ] == ["140", "95"]

    play(scenario)


def test_a_stop_with_a_limit_of_its_own_guards_what_its_bracket_brought(
    play: Callable[[Scenario], None],
) -> None:
    async def scenario(desk: Any, api: httpx.AsyncClient) -> None:
        wish = {
            "symbol": "AAPL", "side": "buy", "qty": "10", "time_in_force": "gtc", "order_class": "bracket",
            "take_profit": {"limit_price": "120"}, "stop_loss": {"stop_price": "90", "limit_price": "89"},
        }  # fmt: skip
        await granted(desk, api.post("/orders", json=wish))
        await desk.step(4)
        assert [purpose for purpose, *_ in await desk.intents()] == ["entry"]
        assert len(desk.sim.book()["orders"]) == 3

    play(scenario)
