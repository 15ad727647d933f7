"""Whether share and market are fit for an entry, and what is done while nobody answers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from shared.domain.errors import Unavailable
from shared.domain.orders import (
    IntentState,
    OrderClass,
    OrderRequest,
    OrderType,
    Side,
    TimeInForce,
)
from shared.domain.symbols import Symbol
from shared.testing.time import FakeClock, FakeTimer
from trade_executor import wire
from trade_executor.lifecycle import Intent, IntentPurpose
from trade_executor.market import (
    Asset,
    Bounds,
    Quote,
    meets_the_market,
    problem_with_asset,
    problem_with_quote,
)
from trade_executor.vetting import HANGS_AFTER_S, PATIENCE_S, Vetting

NOW = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)
AAPL = Symbol("AAPL")
BOUNDS = Bounds(max_spread=Decimal("0.01"), collar=Decimal("0.05"), max_quote_age_s=60)
DEALT = Asset(
    AAPL,
    status="active",
    is_tradable=True,
    is_fractionable=True,
    is_shortable=True,
    is_easy_to_borrow=True,
    is_marginable=True,
    attributes=frozenset(),
)


def an_order(**changes: Any) -> OrderRequest:
    order = OrderRequest(
        client_order_id="c-1",
        symbol=AAPL,
        side=Side.BUY,
        quantity=Decimal(10),
        type=OrderType.MARKET,
        time_in_force=TimeInForce.DAY,
    )
    return replace(order, **changes)


def a_quote(bid: str = "99.99", ask: str = "100.01", age_s: float = 1) -> Quote:
    return Quote(Decimal(bid), Decimal(ask), NOW - timedelta(seconds=age_s))


def code_of(quote: Quote | None, **changes: Any) -> str | None:
    problem = problem_with_quote(an_order(**changes), quote, Decimal(100), NOW, BOUNDS)
    return None if problem is None else problem.code


# ---------------------------------------------------------------------- the market


def test_a_fresh_narrow_quote_near_the_decision_lets_an_entry_go() -> None:
    assert code_of(a_quote()) is None


@pytest.mark.parametrize(
    ("quote", "code"),
    [
        (None, "no_quote"),
        (a_quote(age_s=61), "stale_quote"),
        (a_quote("100.02", "100.01"), "crossed_quote"),
        (a_quote("99.40", "100.60"), "wide_spread"),
        (a_quote("105.00", "105.02"), "outside_collar"),
        (a_quote("94.00", "94.02"), "outside_collar"),
    ],
)
def test_a_market_that_is_not_fit_is_named(quote: Quote | None, code: str) -> None:
    assert code_of(quote) == code


def test_each_bound_may_be_reached_and_not_passed() -> None:
    assert code_of(a_quote(age_s=60)) is None
    assert code_of(a_quote("99.50", "100.50")) is None
    assert code_of(a_quote("104.98", "105")) is None


def test_a_short_sale_is_measured_at_the_bid() -> None:
    assert code_of(a_quote("95.00", "95.90"), side=Side.SELL) is None
    assert code_of(a_quote("94.99", "95.00"), side=Side.SELL) == "outside_collar"


def test_only_what_takes_any_price_meets_the_market() -> None:
    assert meets_the_market(an_order(order_class=OrderClass.BRACKET))
    assert not meets_the_market(an_order(type=OrderType.LIMIT))
    assert not meets_the_market(an_order(time_in_force=TimeInForce.OPG))


# ---------------------------------------------------------------------- the share


@pytest.mark.parametrize(
    ("flags", "order", "code"),
    [
        ({"status": "inactive"}, {}, "asset_inactive"),
        ({"is_tradable": False}, {}, "asset_not_tradable"),
        ({"is_fractionable": False}, {"quantity": Decimal("0.5")}, "asset_not_fractionable"),
        ({"is_fractionable": False}, {"notional": Decimal(50)}, "asset_not_fractionable"),
        ({"is_fractionable": False}, {}, None),
        ({}, {"quantity": Decimal("0.5"), "extended_hours": True}, "asset_not_fractionable"),
        ({"is_shortable": False}, {"side": Side.SELL}, "asset_not_shortable"),
        ({"is_marginable": False}, {"side": Side.SELL}, "asset_not_marginable"),
        ({"is_easy_to_borrow": False}, {"side": Side.SELL}, "asset_hard_to_borrow"),
        ({"is_shortable": False, "is_marginable": False}, {}, None),
    ],
)
def test_each_flag_forbids_what_it_is_about(
    flags: dict[str, Any], order: dict[str, Any], code: str | None
) -> None:
    wanted = an_order(**order)
    problem = problem_with_asset(
        wanted, replace(DEALT, **flags), opens_short=wanted.side is Side.SELL
    )
    assert (None if problem is None else problem.code) == code


def test_a_flag_that_the_broker_leaves_out_forbids_a_short_sale_alone() -> None:
    unknown = problem_with_asset(an_order(), None, opens_short=False)
    assert unknown is not None
    assert unknown.code == "asset_unknown"
    assert problem_with_asset(an_order(), Asset(AAPL), opens_short=False) is None
    silent = problem_with_asset(an_order(side=Side.SELL), Asset(AAPL), opens_short=True)
    shortable = Asset(AAPL, is_shortable=True)
    half = problem_with_asset(an_order(side=Side.SELL), shortable, opens_short=True)
    assert silent is not None
    assert half is not None
    assert (silent.code, half.code) == ("asset_not_shortable", "asset_hard_to_borrow")


def test_the_word_for_borrowing_may_come_in_its_old_or_its_new_form() -> None:
    new = wire.read_asset({"symbol": "AAPL", "borrow_status": "hard_to_borrow"})
    old = wire.read_asset({"symbol": "AAPL", "easy_to_borrow": True})
    assert (new.is_easy_to_borrow, old.is_easy_to_borrow) == (False, True)
    assert wire.read_asset({"symbol": "AAPL"}).is_easy_to_borrow is None


@pytest.mark.parametrize(
    "raw", [None, {"t": "2026-11-20T15:00:00Z", "bp": 0, "ap": 100.01}, {"bp": 1, "ap": 2}]
)
def test_a_side_that_nobody_offers_is_no_quote(raw: Any) -> None:
    assert wire.read_quote(raw) is None


def test_a_quote_is_read_to_the_cent_and_the_microsecond() -> None:
    quote = wire.read_quote({"t": "2026-11-20T15:00:00.123456789Z", "bp": 99.99, "ap": 100.01})
    assert quote == Quote(
        Decimal("99.99"), Decimal("100.01"), datetime(2026, 11, 20, 15, 0, 0, 123456, tzinfo=UTC)
    )


# ---------------------------------------------------------------------- asking


class FakeMarket:
    """Answers with what it is given; None for `quote` means that nobody answers."""

    def __init__(self, quote: Quote | None = None) -> None:
        self.quote = quote
        self.asked: list[list[Symbol]] = []

    async def asset(self, symbol: Symbol) -> Asset | None:
        return replace(DEALT, symbol=symbol)

    async def quotes(self, symbols: list[Symbol]) -> dict[Symbol, Quote]:
        self.asked.append(symbols)
        if self.quote is None:
            raise Unavailable("nobody answers")
        return dict.fromkeys(symbols, self.quote)


def an_intent(name: str = "c-1", symbol: Symbol = AAPL, **changes: Any) -> Intent:
    intent = Intent(
        client_order_id=name, decision_id="d", signal_id="s", symbol=symbol, side=Side.BUY,
        purpose=IntentPurpose.ENTRY, generation=0, type=OrderType.MARKET,
        time_in_force=TimeInForce.DAY, order_class=OrderClass.SIMPLE, quantity=Decimal(10),
        filled_quantity=Decimal(0), limit_price=None, stop_price=None, stop_loss=None,
        take_profit=None, reference_price=Decimal(100), state=IntentState.PENDING,
        broker_order_id=None, act_from=NOW, act_until=NOW, posts=0, probes=0, sent_at=None,
    )  # fmt: skip
    return replace(intent, **changes)


def vetting_of(market: FakeMarket, timer: FakeTimer | None = None) -> Vetting:
    return Vetting(market, FakeClock(NOW), timer or FakeTimer(), BOUNDS)


def test_the_quotes_of_all_entries_of_a_round_are_one_request() -> None:
    async def scenario() -> None:
        market = FakeMarket(a_quote())
        vetting = vetting_of(market)
        due = [an_intent("c-1"), an_intent("c-2", Symbol("MSFT")), an_intent("c-3")]
        await vetting.look(due)
        assert [await vetting.problem_with(intent) for intent in due] == [None] * 3
        assert market.asked == [[AAPL, Symbol("MSFT")]]

    asyncio.run(scenario())


@pytest.mark.parametrize("purpose", [IntentPurpose.EXIT, IntentPurpose.PROTECT])
def test_what_reduces_is_never_asked_about(purpose: IntentPurpose) -> None:
    async def scenario() -> None:
        market = FakeMarket()
        vetting, way_out = vetting_of(market), an_intent(purpose=purpose)
        await vetting.look([way_out])
        assert await vetting.problem_with(way_out) is None
        assert market.asked == []

    asyncio.run(scenario())


def test_while_nobody_answers_an_entry_waits_and_then_it_is_withdrawn() -> None:
    async def scenario() -> None:
        timer = FakeTimer()
        vetting = vetting_of(FakeMarket(), timer)
        with pytest.raises(Unavailable):
            await vetting.problem_with(an_intent())
        await timer.advance(PATIENCE_S - 0.1)
        with pytest.raises(Unavailable):
            await vetting.problem_with(an_intent())
        await timer.advance(0.1)
        problem = await vetting.problem_with(an_intent())
        assert problem is not None
        assert problem.code == "no_quote"

    asyncio.run(scenario())


def test_an_answer_ends_the_waiting() -> None:
    async def scenario() -> None:
        timer, market = FakeTimer(), FakeMarket()
        vetting = vetting_of(market, timer)
        with pytest.raises(Unavailable):
            await vetting.problem_with(an_intent())
        market.quote = a_quote()
        await timer.advance(PATIENCE_S)
        assert await vetting.problem_with(an_intent()) is None

    asyncio.run(scenario())


def test_an_entry_does_not_take_over_how_long_another_of_its_symbol_has_waited() -> None:
    async def scenario() -> None:
        timer = FakeTimer()
        vetting = vetting_of(FakeMarket(), timer)
        await vetting.look([an_intent("c-1")])
        with pytest.raises(Unavailable):
            await vetting.problem_with(an_intent("c-1"))
        await timer.advance(10 * PATIENCE_S)
        await vetting.look([an_intent("c-2")])
        with pytest.raises(Unavailable):
            await vetting.problem_with(an_intent("c-2"))

    asyncio.run(scenario())


async def refuse_a_round(vetting: Vetting) -> None:
    """Three entries are due, and nobody answers about any of them."""
    due = [an_intent(f"c-{n}", Symbol(name)) for n, name in enumerate(("AAPL", "IBM", "MSFT"))]
    await vetting.look(due)
    for intent in due:
        with pytest.raises(Unavailable):
            await vetting.problem_with(intent)


class HangingMarket(FakeMarket):
    """Takes its time before it gives no answer."""

    def __init__(self, timer: FakeTimer, takes_s: float) -> None:
        super().__init__()
        self._timer = timer
        self._takes_s = takes_s

    async def quotes(self, symbols: list[Symbol]) -> dict[Symbol, Quote]:
        await self._timer.advance(self._takes_s)
        return await super().quotes(symbols)


@pytest.mark.parametrize(("takes_s", "requests"), [(HANGS_AFTER_S, 1), (HANGS_AFTER_S / 2, 4)])
def test_a_host_that_hangs_is_waited_for_once_in_a_round(takes_s: float, requests: int) -> None:
    async def scenario() -> None:
        timer = FakeTimer()
        market = HangingMarket(timer, takes_s)
        vetting = vetting_of(market, timer)
        for round_ in (1, 2):
            await refuse_a_round(vetting)
            assert len(market.asked) == round_ * requests

    asyncio.run(scenario())


class HangingBroker(FakeMarket):
    """Has its quotes at hand; its list of shares takes long and does not come."""

    def __init__(self, timer: FakeTimer) -> None:
        super().__init__(a_quote())
        self.lists_asked = 0
        self._timer = timer

    async def asset(self, symbol: Symbol) -> Asset | None:
        self.lists_asked += 1
        await self._timer.advance(HANGS_AFTER_S)
        raise Unavailable(f"nobody answers about {symbol}")


def test_a_broker_that_hangs_over_its_list_of_shares_is_waited_for_once_in_a_round() -> None:
    async def scenario() -> None:
        timer = FakeTimer()
        market = HangingBroker(timer)
        vetting = vetting_of(market, timer)
        for round_ in (1, 2):
            await refuse_a_round(vetting)
            assert market.lists_asked == round_

    asyncio.run(scenario())
