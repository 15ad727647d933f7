"""What positions themselves ask for when a bar has closed: less of them, or a stop closer to the price."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk_manager.limits import Limits
from risk_manager.management import ManagementPlan, is_day_over, lowered_stop, tightened_stop
from risk_manager.review import Outcome, review_evaluation
from risk_manager.snapshot import Book, Holding, Protection
from risk_manager.testing import (
    AAPL,
    CLOSE,
    MSFT,
    NOW,
    a_book,
    a_calendar,
    a_market,
    a_mode,
    a_signal,
    a_venue,
    an_evaluation,
    an_order,
    some_limits,
)
from shared.config import load_settings
from shared.domain.decisions import Approved, Purpose, StopMove, TradingMode
from shared.domain.errors import InvalidInput, Misconfigured
from shared.domain.orders import OrderType, Side, TimeInForce
from shared.domain.signals import Direction, Signal
from shared.domain.symbols import Symbol

VENUE = a_venue()


def limits_with(**plan: Any) -> Limits:
    return some_limits(management=ManagementPlan(**plan))


def held(
    symbol: Symbol = AAPL,
    quantity: int = 10,
    *,
    stop: float | None = 95,
    strategy: str = "moving_average",
    brought: int | None = None,
    scaled_out: frozenset[str] = frozenset(),
) -> Holding:
    """Shares of one entry at 100, which brought so many of them."""
    entry = Protection(
        Decimal(brought or abs(quantity)),
        None if stop is None else Decimal(str(stop)),
        strategy,
        f"dec-{symbol}",
        Decimal(100),
    )
    return Holding(symbol, Decimal(quantity), Decimal(100), (entry,), scaled_out)


def bar_closed(
    book: Book, limits: Limits, price: float, *signals: Signal, at: datetime = NOW
) -> Outcome:
    """The review of an instant at which everything closed at `price`."""
    market = a_market({"AAPL": price, "MSFT": price}, at)
    return review_evaluation(an_evaluation(*signals, at=at), book, market, limits, VENUE, at)


def sales(outcome: Outcome) -> list[tuple[str, str, int]]:
    return [
        (decision.strategy, decision.answer.symbol, int(decision.quantity))
        for decision in outcome.decisions
        if isinstance(decision.answer, Approved) and decision.answer.purpose is Purpose.EXIT
    ]


def test_nothing_is_done_that_the_plan_does_not_ask_for() -> None:
    outcome = bar_closed(a_book(cash=100, holdings=[held()]), some_limits(), 150)

    assert outcome.decisions == ()
    assert outcome.review.moved == ()


# ------------------------------------------------------------------ stops that follow


def test_a_trailing_stop_follows_the_close_upwards() -> None:
    outcome = bar_closed(a_book(holdings=[held(stop=95)]), limits_with(trailing_stop=0.03), 110)

    assert outcome.review.moved == (
        StopMove("dec-AAPL", AAPL, Decimal("106.7"), Decimal(95), "the bar closed at 110"),
    )


@pytest.mark.parametrize(
    ("price", "why"),
    [
        (97.0, "it would fall"),
        (98.0, "95.06 is not a thousandth of the price above 95"),
    ],
)
def test_a_stop_stays_where(price: float, why: str) -> None:
    outcome = bar_closed(a_book(holdings=[held(stop=95)]), limits_with(trailing_stop=0.03), price)

    assert outcome.review.moved == (), why


def test_a_stop_at_true_ranges_needs_as_many_bars_and_takes_the_closer_of_both() -> None:
    plan = {"trailing_stop": 0.2, "atr_stop": 3.0}

    # The builder's bars span a fifth of a percent, and closes move by less than a percent.
    (move,) = bar_closed(a_book(holdings=[held(stop=90)]), limits_with(**plan), 100).review.moved

    assert Decimal(96) < move.stop_loss < Decimal(100)


@pytest.mark.parametrize(
    "case",
    [
        {"working": [an_order("AAPL", purpose=Purpose.EXIT)]},
        {"working": [an_order("AAPL")]},
        {"unknown": {AAPL: 1}},
        {"mode": a_mode(TradingMode.HALTED)},
        {"holdings": [held(stop=None)]},
    ],
)
def test_stops_stay_while_something_else_is_under_way(case: dict[str, Any]) -> None:
    book = a_book(**{"holdings": [held()], **case})

    assert bar_closed(book, limits_with(trailing_stop=0.03), 120).review.moved == ()


def test_a_position_on_its_way_out_keeps_its_stop_and_one_that_is_wished_for_again_does_not() -> (
    None
):
    book = a_book(holdings=[held(), held(MSFT)])
    out = a_signal("AAPL", Direction.FLAT, price=120)
    again = a_signal("MSFT", Direction.LONG, price=120)

    moved = bar_closed(book, limits_with(trailing_stop=0.03), 120, out, again).review.moved

    assert [move.symbol for move in moved] == [MSFT]


any_run_of_closes = given(
    stop=st.floats(1, 1_000),
    prices=st.lists(st.floats(1, 1_000), min_size=1, max_size=30),
    trailing=st.sampled_from([0.0, 0.01, 0.3]),
    atr=st.sampled_from([0.0, 2.5]),
    true_range=st.one_of(st.just(0.0), st.floats(0.01, 50)),
)


@any_run_of_closes
def test_stops_never_fall_and_never_reach_the_price(
    stop: float, prices: list[float], trailing: float, atr: float, true_range: float
) -> None:
    for price in prices:
        later = tightened_stop(stop, price, trailing, atr, true_range)
        assert later >= stop
        assert later == stop or later < price
        stop = later


@any_run_of_closes
def test_stops_of_what_is_owed_never_rise_and_never_reach_the_price(
    stop: float, prices: list[float], trailing: float, atr: float, true_range: float
) -> None:
    for price in prices:
        later = lowered_stop(stop, price, trailing, atr, true_range)
        assert later <= stop
        assert later == stop or later > price
        stop = later


@pytest.mark.parametrize(
    ("price", "moved"),
    [
        (90.0, [(Decimal("92.7"), Decimal(105))]),
        (102.0, []),  # 105.06 would rise
    ],
)
def test_a_trailing_stop_of_what_is_owed_follows_the_close_downwards(
    price: float, moved: list[tuple[Decimal, Decimal]]
) -> None:
    short = held(quantity=-10, stop=105)

    outcome = bar_closed(a_book(holdings=[short]), limits_with(trailing_stop=0.03), price)

    assert [(move.stop_loss, move.previous) for move in outcome.review.moved] == moved


# ------------------------------------------------------------------ smaller positions


def purchases(outcome: Outcome) -> list[tuple[str, int]]:
    """What is bought back, and why."""
    return [
        (decision.strategy, int(decision.quantity))
        for decision in outcome.decisions
        if isinstance(decision.answer, Approved) and decision.answer.side is Side.BUY
    ]


def test_an_oversized_debt_is_bought_back_down_to_the_limit_and_not_before_its_band() -> None:
    limits = limits_with(rebalance_band=0.2)

    def at(shares: int) -> Outcome:
        book = a_book(cash=100_000 + 100 * shares, holdings=[held(quantity=-shares)])
        return bar_closed(book, limits, 100)

    assert purchases(at(59)) == []
    assert purchases(at(61)) == [("rebalance", 11)]


def test_what_is_owed_is_scaled_out_below_its_price() -> None:
    limits = limits_with(scale_out=((0.05, 0.5),))

    def at(price: float) -> Outcome:
        return bar_closed(a_book(holdings=[held(quantity=-10, stop=105)]), limits, price)

    assert purchases(at(95.01)) == []
    assert purchases(at(95)) == [("scale_out", 5)]
    assert at(95).decisions[0].figures["reason"] == "95 is 5.00% below 100 or more"


def test_a_strategy_of_the_day_buys_back_what_it_owes() -> None:
    limits = limits_with(day_strategies=frozenset({"moving_average"}))

    outcome = bar_closed(a_book(holdings=[held(quantity=-10, stop=105)]), limits, 100, at=CLOSE)

    assert purchases(outcome) == [("day_end", 10)]


def test_an_oversized_position_is_sold_down_to_the_limit_and_not_before_its_band() -> None:
    limits = limits_with(rebalance_band=0.2)
    # 5 % of 100,000 are 5,000; a fifth above it are 6,000.
    within = a_book(cash=94_100, holdings=[held(quantity=59)])
    above = a_book(cash=93_900, holdings=[held(quantity=61)])

    assert sales(bar_closed(within, limits, 100)) == []
    (decision,) = bar_closed(above, limits, 100).decisions
    assert (decision.strategy, decision.quantity) == ("rebalance", Decimal(11))
    assert decision.figures["reason"] == "6.10% of equity, and 5.00% is the most"
    assert decision.figures["actor"] == "risk_manager"


def test_a_position_is_scaled_out_once_at_each_target() -> None:
    limits = limits_with(scale_out=((0.05, 0.5), (0.08, 0.25)))

    def at(price: float, holding: Holding) -> list[tuple[str, str, int]]:
        return sales(bar_closed(a_book(holdings=[holding]), limits, price))

    first = bar_closed(a_book(holdings=[held()]), limits, 105)
    met = frozenset(first.decisions[0].figures["targets"].split())

    assert at(104.99, held()) == []
    assert sales(first) == [("scale_out", "AAPL", 5)]
    assert at(105, held(quantity=5, brought=10, scaled_out=met)) == []
    assert at(108, held(quantity=5, brought=10, scaled_out=met)) == [("scale_out", "AAPL", 2)]
    # Both at once, where a bar has passed both.
    assert at(108, held()) == [("scale_out", "AAPL", 7)]
    # Never more than is left.
    assert at(108, held(quantity=3, brought=10)) == [("scale_out", "AAPL", 3)]


def test_a_sale_of_a_part_leaves_room_for_no_second_one_and_takes_the_road_of_any_exit() -> None:
    limits = limits_with(scale_out=((0.05, 0.5),), rebalance_band=0.2)
    book = a_book(cash=0, holdings=[held()])

    (decision,) = bar_closed(book, limits, 110).decisions

    assert isinstance(decision.answer, Approved)
    assert decision.strategy == "rebalance"
    assert [check.code for check in decision.answer.checks][:2] == ["MODE", "NO_POSITION"]
    assert decision.answer.time_in_force is TimeInForce.GTC
    leaving = replace(book, working=(an_order("AAPL", 9, purpose=Purpose.EXIT),))
    assert bar_closed(leaving, limits, 110).decisions == ()


def test_a_strategys_own_exit_comes_before_what_management_would_sell() -> None:
    book = a_book(cash=0, holdings=[held()])

    outcome = bar_closed(
        book, limits_with(rebalance_band=0.2), 100, a_signal("AAPL", Direction.FLAT)
    )

    assert sales(outcome) == [("moving_average", "AAPL", 10)]


def test_a_breach_that_flattens_sells_all_and_not_a_part() -> None:
    limits = replace(limits_with(rebalance_band=0.2), flatten_on_breach=True, drawdown_limit=0.01)
    book = a_book(cash=0, holdings=[held()])
    before = bar_closed(book, some_limits(), 120).mark

    outcome = bar_closed(replace(book, last_mark=before), limits, 100)

    assert sales(outcome) == [("flatten", "AAPL", 10)]


# ------------------------------------------------------------------ the end of the day

DAY = {"day_strategies": frozenset({"moving_average"}), "flat_before_close_s": 600}


@pytest.mark.parametrize(
    ("minutes", "expected"), [(11, []), (10, [10]), (1, [10]), (0, [10]), (-1, [])]
)
def test_a_strategy_of_the_day_is_out_before_the_close(minutes: int, expected: list[int]) -> None:
    at = CLOSE - timedelta(minutes=minutes)

    outcome = bar_closed(a_book(holdings=[held()]), limits_with(**DAY), 100, at=at)

    assert [quantity for _, _, quantity in sales(outcome)] == expected


def test_only_what_strategies_of_the_day_hold_or_have_on_order_is_sold() -> None:
    mine, theirs = held(strategy="moving_average"), held(strategy="slow").entries[0]
    both = replace(mine, quantity=Decimal(20), entries=(*mine.entries, theirs))
    book = a_book(
        holdings=[both],
        working=[an_order("MSFT", 4, strategy="moving_average"), an_order("XOM", 3)],
    )

    outcome = bar_closed(book, limits_with(**DAY), 100, at=CLOSE - timedelta(minutes=5))

    assert sales(outcome) == [("day_end", "AAPL", 10), ("day_end", "MSFT", 4)]


def test_an_order_by_hand_that_waits_for_its_price_keeps_nothing_overnight() -> None:
    resting = an_order("AAPL", 4, purpose=Purpose.EXIT, stop_loss=None)

    def sold(kind: OrderType) -> list[tuple[str, str, int]]:
        book = a_book(holdings=[held()], working=[replace(resting, type=kind)])
        return sales(bar_closed(book, limits_with(**DAY), 100, at=CLOSE - timedelta(minutes=5)))

    assert sold(OrderType.LIMIT) == [("day_end", "AAPL", 10)]
    assert sold(OrderType.MARKET) == []


def test_a_strategy_of_the_day_enters_no_more_once_its_day_is_over() -> None:
    late = CLOSE - timedelta(minutes=10)
    early = late - timedelta(minutes=1)
    limits = limits_with(**DAY)

    def entered(at: datetime, strategy: str) -> Approved | str:
        signal = a_signal("AAPL", price=100, at=at, strategy=strategy)
        (decision,) = bar_closed(a_book(), limits, 100, signal, at=at).decisions
        answer = decision.answer
        return answer if isinstance(answer, Approved) else answer.reason_code

    in_time = entered(early, "moving_average")
    assert isinstance(in_time, Approved)
    assert in_time.act_until == late
    assert entered(late, "moving_average") == "MARKET_HOURS"
    assert isinstance(entered(late, "slow"), Approved)


def test_a_day_is_over_before_its_own_close_and_at_it_also_on_short_days() -> None:
    calendar = a_calendar()

    assert is_day_over(CLOSE, calendar, 60)
    assert not is_day_over(CLOSE + timedelta(minutes=1), calendar, 60)
    assert not is_day_over(NOW, calendar, 60)


@pytest.mark.parametrize(
    "wrong",
    [
        {"trailing_stop": 1.0},
        {"trailing_stop": -0.1},
        {"atr_stop": float("inf")},
        {"rebalance_band": -1.0},
        {"scale_out": ((0.0, 0.5),)},
        {"scale_out": ((0.05, 1.5),)},
        {"scale_out": ((0.05, 0.5), (0.05, 0.2))},
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        ManagementPlan(**wrong)


def test_the_plan_is_what_the_environment_sets() -> None:
    settings = load_settings(
        {
            "RISK_TRAILING_STOP": "0.03",
            "RISK_ATR_STOP": "2.5",
            "RISK_SCALE_OUT": "0.08=0.25, 0.05=0.5",
            "RISK_REBALANCE_BAND": "0.2",
            "RISK_DAY_STRATEGIES": "moving_average, fast",
            "RISK_FLAT_BEFORE_CLOSE_S": "900",
        }
    )

    assert Limits.of(settings).management == ManagementPlan(
        0.03,
        2.5,
        ((0.05, 0.5), (0.08, 0.25)),
        0.2,
        frozenset({"moving_average", "fast"}),
        900,
    )
    assert ManagementPlan.of(load_settings({})).is_empty


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({"RISK_TRAILING_STOP": "3"}, "RISK_TRAILING_STOP"),
        ({"RISK_SCALE_OUT": "0.05"}, "name=value"),
        ({"RISK_SCALE_OUT": "0.05=0.6,0.08=0.6"}, "more than the whole entry"),
        ({"RISK_SCALE_OUT": "-0.05=0.5"}, "RISK_SCALE_OUT"),
        (
            {"RISK_DAY_STRATEGIES": "moving_average", "TRADING_TIMEFRAME": "1Day"},
            "needs bars within the day",
        ),
        (
            {"RISK_DAY_STRATEGIES": "moving_average", "TRADING_TIMEFRAME": "15Min"},
            "set RISK_FLAT_BEFORE_CLOSE_S=900 or more",
        ),
        (
            {
                "RISK_DAY_STRATEGIES": "moving_average",
                "TRADING_TIMEFRAME": "1Hour",
                "RISK_FLAT_BEFORE_CLOSE_S": "3599",
            },
            "set RISK_FLAT_BEFORE_CLOSE_S=3600 or more",
        ),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_name(
    environment: dict[str, str], complaint: str
) -> None:
    with pytest.raises(Misconfigured, match=complaint):
        load_settings(environment)
