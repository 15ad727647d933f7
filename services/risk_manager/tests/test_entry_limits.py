"""Each limit of an entry, met through the whole review: what it looks at, and that sizing keeps it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from risk_manager.limits import Code, Limits
from risk_manager.review import Outcome, review_evaluation, review_manual
from risk_manager.sizing import SizingMethod, SizingPlan, TradeRecord
from risk_manager.snapshot import Book, Market, OpenOrder, Recent, RecentEntry, StopHit
from risk_manager.testing import (
    AAPL,
    MSFT,
    NOW,
    a_book,
    a_holding,
    a_manual_order,
    a_mark,
    a_market,
    a_mode,
    a_signal,
    a_venue,
    an_evaluation,
    an_order,
    some_limits,
)
from shared.domain.decisions import Approved, Purpose, Refused, TradingMode
from shared.domain.orders import OrderType, Side
from shared.domain.signals import Direction
from shared.domain.symbols import Symbol

PRICES = {"AAPL": 100.0, "MSFT": 100.0, "XOM": 100.0}


def reviewed(
    *symbols: str, book: Book | None = None, market: Market | None = None, **limits: Any
) -> Outcome:
    """The answer to a wish to hold each of `symbols`, dearest first in conviction."""
    signals = [a_signal(s, conviction=1 - i / 10) for i, s in enumerate(symbols)]
    return review_evaluation(
        an_evaluation(*signals),
        book or a_book(),
        market or a_market(PRICES),
        some_limits(**limits),
        a_venue(),
        NOW,
    )


def the_code(outcome: Outcome) -> str:
    (refused,) = outcome.review.refused
    return refused.reason_code


def bought(outcome: Outcome) -> dict[str, int]:
    return {a.symbol: int(a.quantity) for a in outcome.review.approved}


@pytest.mark.parametrize(
    ("limits", "shares"),
    [
        ({"max_order_value": 1_050.0}, 10),
        ({"max_order_shares": 7}, 7),
        ({"max_gross_exposure": 0.02}, 20),
        ({"max_net_exposure": 0.03}, 30),
        ({"max_sector_exposure": 0.01, "sectors": {"AAPL": "technology"}}, 10),
        ({"max_strategy_exposure": 0.04}, 40),
        ({"strategy_capital": {"moving_average": 0.011}}, 11),
    ],
)
def test_a_size_keeps_every_limit_instead_of_being_refused(
    limits: dict[str, Any], shares: int
) -> None:
    assert bought(reviewed("AAPL", **limits)) == {"AAPL": shares}


def test_a_size_keeps_to_a_share_of_what_usually_trades() -> None:
    market = a_market(PRICES)
    # 10 shares a minute are 3,900 in a session of 390 minutes, of which a hundredth is 39.
    quiet = Market(market.asked, market.prices, market.closes, volumes={AAPL: {1: 5.0, 2: 15.0}})

    assert bought(reviewed("AAPL", market=quiet, max_volume_share=0.01)) == {"AAPL": 39}


@pytest.mark.parametrize(
    ("code", "limits"),
    [
        (Code.ORDER_VALUE, {"max_order_value": 99.0}),
        (Code.GROSS_EXPOSURE, {"max_gross_exposure": 0.0009}),
        (Code.NET_EXPOSURE, {"max_net_exposure": 0.0009}),
        (Code.SECTOR_EXPOSURE, {"max_sector_exposure": 0.0009, "sectors": {"AAPL": "tech"}}),
        (Code.STRATEGY_EXPOSURE, {"max_strategy_exposure": 0.0009}),
        (Code.STRATEGY_CAPITAL, {"strategy_capital": {"moving_average": 0.0009}}),
        (Code.SYMBOL_HALTED, {"halted_symbols": frozenset({"AAPL"})}),
    ],
)
def test_no_room_for_one_share_is_refused_with_the_limits_own_code(
    code: Code, limits: dict[str, Any]
) -> None:
    assert the_code(reviewed("AAPL", **limits)) == code


def test_an_unknown_volume_refuses() -> None:
    market = a_market(PRICES)

    assert the_code(
        reviewed("AAPL", market=Market(market.asked, market.prices, market.closes))
    ) == (Code.FAT_FINGER)


def test_two_symbols_of_a_sector_share_its_room_and_a_third_of_none_does_not() -> None:
    sectors = {"AAPL": "technology", "MSFT": "technology"}

    outcome = reviewed(
        "AAPL", "MSFT", "XOM", max_sector_exposure=0.06, sectors=sectors, max_correlation=1.0
    )

    assert bought(outcome) == {"AAPL": 50, "MSFT": 10, "XOM": 50}


def test_what_a_strategy_holds_and_has_on_order_counts_against_its_bucket() -> None:
    holding = a_holding("MSFT", 10, stop=95, strategy="moving_average")
    foreign = a_holding("XOM", 30, stop=95, strategy="another")
    book = a_book(
        holdings=[holding, foreign], working=[an_order("GOOG", 5, strategy="moving_average")]
    )
    market = a_market({**PRICES, "GOOG": 100.0})

    outcome = reviewed(
        "AAPL", book=book, market=market, strategy_capital={"moving_average": 0.02}, max_correlation=1.0
    )  # fmt: skip

    # A fiftieth of 104,000 is 2,080 dollars, of which 1,500 are bound.
    assert bought(outcome) == {"AAPL": 5}


def test_shares_that_no_entry_explains_are_nobodys() -> None:
    holding = a_holding("MSFT", 10, strategy="ma")
    more = type(holding)(holding.symbol, Decimal(25), holding.last_fill_price, holding.entries)

    assert holding.by_strategy() == {"ma": Decimal(10)}
    assert more.by_strategy() == {"ma": Decimal(10), "": Decimal(15)}


def test_positions_are_counted_with_what_is_on_order_and_what_was_just_approved() -> None:
    book = a_book(holdings=[a_holding("XOM", 1, stop=95)])

    outcome = reviewed("AAPL", "MSFT", book=book, max_positions=2, max_correlation=1.0)

    assert bought(outcome) == {"AAPL": 50}
    assert the_code(outcome) == Code.CONCURRENT_POSITIONS


def test_gross_exposure_counts_short_positions_and_net_exposure_deducts_them() -> None:
    book = a_book(cash=110_000, holdings=[a_holding("XOM", -100)])

    gross = reviewed(
        "AAPL", book=book, max_gross_exposure=0.1, max_portfolio_risk=1.0, max_correlation=1.0
    )
    net = reviewed("AAPL", book=book, max_net_exposure=0.00001, max_portfolio_risk=1.0, max_correlation=1.0)  # fmt: skip

    assert the_code(gross) == Code.GROSS_EXPOSURE
    assert bought(net) == {"AAPL": 50}


def entries(
    count: int, seconds_ago: int, symbol: Symbol = AAPL, strategy: str = "moving_average"
) -> Recent:
    at = NOW - timedelta(seconds=seconds_ago)
    return Recent(entries=tuple(RecentEntry(strategy, symbol, at) for _ in range(count)))


@pytest.mark.parametrize(
    ("recent", "passes"),
    [
        (entries(2, 59, MSFT), False),
        (entries(2, 60, MSFT), True),
        (entries(1, 59, MSFT), True),
    ],
)
def test_entries_of_the_last_minute_are_counted(recent: Recent, passes: bool) -> None:
    outcome = reviewed("AAPL", book=a_book(recent=recent), max_orders_per_minute=2)

    assert bool(outcome.review.approved) is passes
    assert passes or the_code(outcome) == Code.ORDERS_PER_MINUTE


def test_entries_approved_in_the_same_review_count_among_those_of_the_minute() -> None:
    outcome = reviewed("AAPL", "MSFT", max_orders_per_minute=1, max_correlation=1.0)

    assert bought(outcome) == {"AAPL": 50}
    assert the_code(outcome) == Code.ORDERS_PER_MINUTE


@pytest.mark.parametrize(
    ("recent", "passes"),
    [
        (entries(3, 299), False),
        (entries(3, 300), True),
        (entries(2, 299), True),
        (entries(3, 299, MSFT), True),
        (entries(3, 299, strategy="another"), True),
    ],
)
def test_a_strategy_that_buys_one_symbol_again_and_again_is_stopped(
    recent: Recent, passes: bool
) -> None:
    outcome = reviewed("AAPL", book=a_book(recent=recent), max_repeats=3, repeat_window_s=300)

    assert bool(outcome.review.approved) is passes
    assert passes or the_code(outcome) == Code.REPEATED_EXECUTION


@pytest.mark.parametrize(
    ("hit", "passes"),
    [
        (StopHit(AAPL, NOW - timedelta(seconds=119)), False),
        (StopHit(AAPL, NOW - timedelta(seconds=120)), True),
        (StopHit(MSFT, NOW), True),
        # The venue's clock ahead of ours by a second.
        (StopHit(AAPL, NOW + timedelta(seconds=1)), False),
    ],
)
def test_a_symbol_rests_after_its_own_stop(hit: StopHit, passes: bool) -> None:
    outcome = reviewed("AAPL", book=a_book(recent=Recent(stops=(hit,))), cool_down_bars=2)

    assert bool(outcome.review.approved) is passes
    assert passes or the_code(outcome) == Code.COOL_DOWN


def test_stops_in_a_row_end_entries_in_every_symbol_until_they_are_old() -> None:
    hits = tuple(StopHit(MSFT, NOW - timedelta(minutes=n)) for n in (3, 4, 5))
    book = a_book(recent=Recent(stops=hits))

    assert the_code(reviewed("AAPL", book=book, stop_guard_stops=3, stop_guard_bars=5)) == (
        Code.STOP_LOSS_GUARD
    )
    assert reviewed("AAPL", book=book, stop_guard_stops=3, stop_guard_bars=4).review.approved
    assert reviewed("AAPL", book=book, stop_guard_stops=4, stop_guard_bars=5).review.approved


def test_a_paused_and_a_quarantined_symbol_take_no_entry_and_others_do() -> None:
    paused = a_book(recent=Recent(paused=frozenset({AAPL})))
    refused = a_book(recent=Recent(refused_bars={AAPL: NOW}))
    held = a_book(recent=Recent(held={AAPL: "two providers disagree"}))

    assert the_code(reviewed("AAPL", book=paused)) == Code.SYMBOL_HALTED
    assert the_code(reviewed("AAPL", book=refused)) == Code.SYMBOL_QUARANTINED
    assert reviewed("MSFT", book=paused).review.approved
    assert the_code(reviewed("AAPL", book=held)) == Code.SYMBOL_QUARANTINED
    assert reviewed("MSFT", book=refused).review.approved
    assert reviewed("MSFT", book=held).review.approved


def test_an_open_sale_of_the_same_symbol_ends_a_purchase() -> None:
    sale = a_book(recent=Recent(open_orders=(OpenOrder(AAPL, Side.SELL, Decimal(150)),)))

    assert the_code(reviewed("AAPL", book=sale)) == Code.WASH_TRADE
    assert reviewed("MSFT", book=sale).review.approved


def by_hand(book: Book | None = None, limit_price: float | None = None, **limits: Any) -> Outcome:
    order = a_manual_order(limit_price=limit_price, stop_loss=50, take_profit=200)
    given: Limits = some_limits(max_portfolio_risk=1.0, **limits)
    return review_manual(order, book or a_book(), a_market(PRICES), given, a_venue(), NOW)


def test_a_persons_limit_order_stands_near_the_market() -> None:
    assert by_hand(limit_price=81.0).review.approved
    assert the_code(by_hand(limit_price=79.0)) == Code.PRICE_COLLAR
    assert the_code(by_hand(limit_price=121.0)) == Code.PRICE_COLLAR


def test_a_limit_below_an_open_sale_cannot_meet_it() -> None:
    sale = a_book(recent=Recent(open_orders=(OpenOrder(AAPL, Side.SELL, Decimal(101)),)))

    assert by_hand(sale, limit_price=100.0).review.approved
    assert the_code(by_hand(sale, limit_price=101.0)) == Code.WASH_TRADE


@pytest.mark.parametrize("limits", [{"max_order_value": 999.0}, {"max_order_shares": 9}])
def test_a_persons_order_is_refused_and_never_resized(limits: dict[str, Any]) -> None:
    (code,) = limits
    assert the_code(by_hand(**limits)) == code.removeprefix("max_").upper()


@pytest.mark.parametrize(
    ("cash", "trades", "passes"),
    [
        (20_000, {date(2026, 1, 15): 1, date(2026, 1, 9): 2}, False),
        # The 8th was six sessions ago.
        (20_000, {date(2026, 1, 15): 2, date(2026, 1, 8): 9}, True),
        (30_000, {date(2026, 1, 15): 9}, True),
    ],
)
def test_day_trades_of_five_sessions_count_where_the_old_rule_is_asked_for(
    cash: int, trades: dict[date, int], passes: bool
) -> None:
    book = a_book(cash=cash, recent=Recent(day_trades=trades))

    outcome = reviewed("AAPL", book=book, pattern_day_trader_rule=True)

    assert bool(outcome.review.approved) is passes
    assert passes or the_code(outcome) == Code.PATTERN_DAY_TRADER
    assert reviewed("AAPL", book=book).review.approved


def after_a_loss(**limits: Any) -> Outcome:
    """94,000 dollars are left of the 100,000 that the day began with."""
    book = a_book(
        cash=93_000,
        holdings=[a_holding("MSFT", 10, stop=95)],
        last_mark=a_mark(100_000, 100_000, day=100_000),
    )
    return reviewed("AAPL", book=book, **limits)


def test_a_days_loss_refuses_entries_and_reduces_by_itself() -> None:
    outcome = after_a_loss()

    assert the_code(outcome) == Code.DAILY_LOSS
    assert outcome.reduce_because is not None
    assert "6.00% below 100000.00, where the day began" in outcome.reduce_because
    assert outcome.review.approved == ()
    assert after_a_loss(max_daily_loss=0.07).reduce_because is None


def test_a_breach_flattens_where_that_is_asked_for() -> None:
    outcome = after_a_loss(flatten_on_breach=True)

    assert [(a.symbol, a.side, a.purpose, a.quantity) for a in outcome.review.approved] == [
        (MSFT, Side.SELL, Purpose.EXIT, Decimal(10))
    ]
    assert outcome.decisions[-1].strategy == "flatten"
    assert outcome.decisions[-1].figures["reason"] == outcome.reduce_because


def test_a_breach_sells_nothing_twice_that_is_leaving_already() -> None:
    book = a_book(
        cash=93_000,
        holdings=[a_holding("MSFT", 10, stop=95)],
        last_mark=a_mark(100_000, 100_000, day=100_000),
    )
    evaluation = an_evaluation(a_signal("MSFT", Direction.FLAT))
    limits = some_limits(flatten_on_breach=True)

    outcome = review_evaluation(evaluation, book, a_market(PRICES), limits, a_venue(), NOW)

    assert [type(d.answer) for d in outcome.decisions] == [Approved]


def test_a_breach_is_acted_on_also_where_a_person_had_reduced_trading_before() -> None:
    book = a_book(
        cash=93_000,
        holdings=[a_holding("MSFT", 10, stop=95)],
        last_mark=a_mark(100_000, 100_000, day=100_000),
        mode=a_mode(TradingMode.REDUCING, 2),
    )

    outcome = reviewed("AAPL", book=book, flatten_on_breach=True)

    assert outcome.reduce_because is not None
    assert [(a.symbol, a.quantity) for a in outcome.review.approved] == [(MSFT, Decimal(10))]


def test_a_breach_that_an_order_by_hand_finds_flattens_all_that_it_does_not() -> None:
    book = a_book(
        cash=93_000,
        holdings=[a_holding("MSFT", 10, stop=95)],
        last_mark=a_mark(100_000, 100_000, day=100_000),
    )
    limits = some_limits(flatten_on_breach=True)

    def sold(quantity: float, limit_price: float | None = None) -> list[tuple[str, Decimal]]:
        order = a_manual_order("MSFT", side=Side.SELL, quantity=quantity, limit_price=limit_price)
        outcome = review_manual(order, book, a_market(PRICES), limits, a_venue(), NOW)
        return [
            (d.strategy, d.answer.quantity)
            for d in outcome.decisions
            if isinstance(d.answer, Approved)
        ]

    # The executor withdraws the part before it sends the whole, and sells what is held then.
    assert sold(1) == [("manual", Decimal(1)), ("flatten", Decimal(10))]
    assert sold(5, 200) == [("manual", Decimal(5)), ("flatten", Decimal(10))]
    assert sold(10, 200) == [("manual", Decimal(10)), ("flatten", Decimal(10))]
    assert sold(10) == [("manual", Decimal(10))]
    assert sold(11) == [("flatten", Decimal(10))], "a refused one sells nothing"


@pytest.mark.parametrize("kind", [OrderType.MARKET, OrderType.LIMIT])
@pytest.mark.parametrize("quantity", [4, 10])
def test_a_breach_flattens_whole_whatever_is_under_way_with_a_part_or_waits_for_a_price(
    kind: OrderType, quantity: int
) -> None:
    under_way = an_order("MSFT", quantity, purpose=Purpose.EXIT, stop_loss=None)
    book = a_book(
        cash=93_000,
        holdings=[a_holding("MSFT", 10, stop=95)],
        working=[replace(under_way, type=kind)],
        last_mark=a_mark(100_000, 100_000, day=100_000),
    )
    limits = some_limits(flatten_on_breach=True)
    order = a_manual_order("MSFT", side=Side.SELL, quantity=7)

    outcome = review_manual(order, book, a_market(PRICES), limits, a_venue(), NOW)

    assert the_code(outcome) == Code.EXIT_IN_PROGRESS, "the person's second order"
    is_leaving = kind is OrderType.MARKET and quantity == 10
    assert [a.quantity for a in outcome.review.approved] == ([] if is_leaving else [Decimal(10)])


def test_a_breach_in_reducing_flattens_nothing_again() -> None:
    book = a_book(
        cash=93_000,
        holdings=[a_holding("MSFT", 10, stop=95)],
        last_mark=a_mark(100_000, 100_000, day=100_000),
        mode=a_book().mode.__class__(TradingMode.REDUCING, 2, "breach", "risk_manager", NOW),
    )

    outcome = reviewed("AAPL", book=book, flatten_on_breach=True)

    assert outcome.reduce_because is None
    assert [type(d.answer) for d in outcome.decisions] == [Refused]


def test_an_order_by_hand_that_is_answered_a_day_late_makes_no_loss_of_two_days() -> None:
    yesterday = NOW - timedelta(days=1)
    book = a_book(
        cash=93_500,
        holdings=[a_holding("MSFT", 10, stop=95)],
        last_mark=a_mark(96_500, 100_000, day=100_000, at=yesterday),
    )
    order = replace(a_manual_order("MSFT", side=Side.SELL, quantity=1), requested_at=yesterday)

    outcome = review_manual(order, book, a_market(PRICES), some_limits(), a_venue(), NOW)

    assert (outcome.mark.day_equity, outcome.reduce_because) == (Decimal(96_500), None)


def test_the_day_begins_with_the_last_mark_before_it() -> None:
    yesterday = a_mark(99_000, 120_000, day=105_000, at=NOW - timedelta(days=1))
    today = a_mark(99_000, 120_000, day=105_000)
    unknown = a_mark(99_000, 120_000)

    assert reviewed(book=a_book(last_mark=yesterday)).mark.day_equity == 99_000
    assert reviewed(book=a_book(last_mark=today)).mark.day_equity == 105_000
    assert reviewed(book=a_book(last_mark=unknown)).mark.day_equity == 99_000
    assert reviewed().mark.day_equity == 100_000


@pytest.mark.parametrize(
    ("plan", "shares"),
    [
        (SizingPlan(SizingMethod.FIXED_FRACTION, fraction=0.02), 20),
        (SizingPlan(SizingMethod.RISK_PER_TRADE, risk_per_trade=0.001), 20),
        (SizingPlan(SizingMethod.KELLY, kelly_share=0.5, kelly_cap=0.04), 40),
        (SizingPlan(scales_by_conviction=True), 50),
    ],
)
def test_a_wish_is_sized_by_the_plans_method(plan: SizingPlan, shares: int) -> None:
    record = TradeRecord(20, 20, 4_000.0, 2_000.0)
    book = a_book(recent=Recent(records={"moving_average": record}))

    outcome = reviewed("AAPL", book=book, sizing=plan)

    assert bought(outcome) == {"AAPL": shares}
    assert outcome.decisions[0].figures["sizing_method"] == plan.method
    assert float(outcome.decisions[0].figures["shares_by_method"]) >= shares


@pytest.mark.parametrize("method", [SizingMethod.ATR, SizingMethod.VOLATILITY_TARGET])
def test_a_size_from_bars_is_stored_with_what_it_was_found_from(method: SizingMethod) -> None:
    plan = SizingPlan(method, risk_per_trade=0.0001, volatility_target=0.01, atr_multiple=2.0)

    (decision,) = reviewed("AAPL", sizing=plan).decisions

    figures = decision.figures
    if method is SizingMethod.ATR:
        again = 100_000 * 0.0001 / (2 * float(figures["average_true_range"]))
    else:
        again = 100_000 * 0.01 / (float(figures["annual_volatility"]) * 100)
    assert float(figures["shares_by_method"]) == pytest.approx(again)
    assert decision.quantity == int(again)
    assert 0 < decision.quantity < 50


def test_a_method_without_its_figures_is_refused_as_nothing_to_buy() -> None:
    assert the_code(reviewed("AAPL", sizing=SizingPlan(SizingMethod.KELLY))) == Code.QUANTITY_ZERO
