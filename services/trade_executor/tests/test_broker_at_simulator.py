"""What every `Broker` must do, shown by the client of Alpaca's API at the simulated venue."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import SecretStr

from shared.adapters.clocks import MonotonicTimer
from shared.adapters.exchange_calendar import load_calendar
from shared.domain.calendar import TradingCalendar
from shared.domain.errors import OrderRejected, OutcomeUnknown
from shared.domain.orders import OrderClass, OrderRequest, OrderType, Side, TimeInForce
from shared.domain.symbols import Symbol
from shared.ports import Broker
from simulator.generator import make_synthetic_tape
from simulator.testing import RunningSimulator, running_simulator
from trade_executor.adapters.alpaca import open_alpaca
from trade_executor.adapters.gate import Gate

AAPL = Symbol("AAPL")
Scenario = Callable[[Broker, RunningSimulator], Coroutine[Any, Any, None]]


@pytest.fixture(scope="session")
def calendar(tmp_path_factory: pytest.TempPathFactory) -> TradingCalendar:
    return load_calendar(tmp_path_factory.getbasetemp().parent / "sessions")


@pytest.fixture
def at_the_venue(calendar: TradingCalendar) -> Callable[[Scenario], None]:
    """Runs a scenario with the market open and the first bar done."""

    @contextlib.asynccontextmanager
    async def both() -> AsyncIterator[tuple[Broker, RunningSimulator]]:
        tape = make_synthetic_tape(calendar, seed=7, symbols=(AAPL,), sessions=1)
        with running_simulator(tape) as sim:
            sim.advance(3)
            gate = Gate(10_000, MonotonicTimer())
            key = SecretStr("PKTEST")
            async with open_alpaca(sim.url, key, key, gate) as broker:
                yield broker, sim

    def run(scenario: Scenario) -> None:
        async def all_of_it() -> None:
            async with both() as (broker, sim):
                await scenario(broker, sim)

        asyncio.run(all_of_it())

    return run


def an_order(name: str, **changes: Any) -> OrderRequest:
    fields: dict[str, Any] = {
        "client_order_id": name,
        "symbol": AAPL,
        "side": Side.BUY,
        "quantity": Decimal(3),
        "type": OrderType.MARKET,
        "time_in_force": TimeInForce.GTC,
    }
    return OrderRequest(**{**fields, **changes})


def a_bracket(name: str) -> OrderRequest:
    return an_order(
        name,
        order_class=OrderClass.BRACKET,
        take_profit=Decimal(100_000),
        stop_loss=Decimal("0.01"),
    )


def unhurried() -> None:
    """A last look that has nothing against it."""


def test_a_bracket_is_found_by_both_its_names_with_its_legs(at_the_venue: Any) -> None:
    async def scenario(broker: Broker, _sim: RunningSimulator) -> None:
        sent = await broker.submit(a_bracket("one"), unhurried)
        by_name, by_id = await broker.find("one"), await broker.order(sent.broker_order_id)
        assert by_name is not None
        assert by_id is not None
        legs = {leg.broker_order_id for leg in sent.legs}
        assert len(legs) == 2
        assert {leg.broker_order_id for leg in by_name.legs} == legs
        assert {leg.broker_order_id for leg in by_id.legs} == legs
        assert {leg.status for leg in by_id.legs} == {"held"}

    at_the_venue(scenario)


def test_the_same_name_twice_is_one_order_and_a_question(at_the_venue: Any) -> None:
    async def scenario(broker: Broker, _sim: RunningSimulator) -> None:
        await broker.submit(an_order("one"), unhurried)
        with pytest.raises(OutcomeUnknown):
            await broker.submit(an_order("one"), unhurried)
        assert len(await broker.orders(status="all")) == 1

    at_the_venue(scenario)


def test_what_nobody_sent_is_not_there(at_the_venue: Any) -> None:
    async def scenario(broker: Broker, _sim: RunningSimulator) -> None:
        assert await broker.find("nobody") is None
        assert await broker.order("6f5c2c1e-0000-4000-8000-000000000000") is None
        assert not await broker.cancel("6f5c2c1e-0000-4000-8000-000000000000")

    at_the_venue(scenario)


def test_selling_what_is_not_held_is_a_definite_no(at_the_venue: Any) -> None:
    async def scenario(broker: Broker, _sim: RunningSimulator) -> None:
        with pytest.raises(OrderRejected):
            await broker.submit(an_order("one", side=Side.SELL), unhurried)
        assert await broker.find("one") is None

    at_the_venue(scenario)


def test_a_cancel_ends_the_order_with_its_legs_and_a_second_is_harmless(at_the_venue: Any) -> None:
    async def scenario(broker: Broker, _sim: RunningSimulator) -> None:
        sent = await broker.submit(a_bracket("one"), unhurried)
        assert await broker.cancel(sent.broker_order_id)
        await broker.cancel(sent.broker_order_id)
        over = await broker.order(sent.broker_order_id)
        assert over is not None
        assert {over.status, *(leg.status for leg in over.legs)} == {"canceled"}
        assert await broker.orders(status="open") == []

    at_the_venue(scenario)


def test_fills_positions_and_cash_tell_one_story(at_the_venue: Any) -> None:
    async def scenario(broker: Broker, sim: RunningSimulator) -> None:
        before = await broker.account()
        sent = await broker.submit(an_order("one"), unhurried)
        await asyncio.to_thread(sim.advance, 2)
        [fill] = await broker.executions()
        order = await broker.order(sent.broker_order_id)
        assert order is not None
        assert (order.status, order.filled_quantity) == ("filled", Decimal(3))
        assert (fill.broker_order_id, fill.quantity) == (sent.broker_order_id, Decimal(3))
        assert fill.cumulative == Decimal(3)
        assert fill.execution_id == sim.book()["executions"][0]["id"]
        assert await broker.positions() == {AAPL: Decimal(3)}
        after = await broker.account()
        assert after.cash == before.cash - 3 * fill.price
        assert await broker.executions(after=fill.executed_at + timedelta(seconds=1)) == []

    at_the_venue(scenario)


def test_lists_of_orders_are_whole_and_begin_where_they_are_told_to(at_the_venue: Any) -> None:
    async def scenario(broker: Broker, _sim: RunningSimulator) -> None:
        sent = [
            await broker.submit(an_order(f"n{n}", quantity=Decimal(1)), unhurried)
            for n in range(12)
        ]
        listed = await broker.orders(status="all")
        assert [o.client_order_id for o in listed] == [f"n{n}" for n in range(12)]
        later = await broker.orders(status="all", after=sent[5].submitted_at)
        assert [o.client_order_id for o in later] == [f"n{n}" for n in range(6, 12)]

    at_the_venue(scenario)


def test_more_orders_than_a_page_within_a_millisecond_are_all_listed(at_the_venue: Any) -> None:
    async def scenario(broker: Broker, _sim: RunningSimulator) -> None:
        for number in range(600):
            await broker.submit(an_order(f"n{number}", quantity=Decimal(1)), unhurried)
        assert len(await broker.orders(status="all")) == 600

    at_the_venue(scenario)
