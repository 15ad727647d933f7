"""The answers to whole evaluations, manual orders and flattens, with their figures."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal

import pytest

from risk_manager.exposure import Exposure
from risk_manager.limits import Code, Limits
from risk_manager.management import ManagementPlan
from risk_manager.review import (
    Decision,
    Outcome,
    Venue,
    decision_id,
    review_evaluation,
    review_flatten,
    review_manual,
)
from risk_manager.snapshot import Book, LimitChange, Market, Recent
from risk_manager.testing import (
    AAPL,
    CLOSE,
    MSFT,
    NEXT_OPEN,
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
    some_closes,
    some_limits,
)
from shared.domain.decisions import Approved, Purpose, Refused, TradingMode
from shared.domain.orders import OrderClass, OrderTerms, OrderType, Side, TimeInForce
from shared.domain.signals import Direction, ManualOrder, Signal
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe

FLAT, SHORT = Direction.FLAT, Direction.SHORT


def reviewed(
    *signals: Signal,
    book: Book | None = None,
    market: Market | None = None,
    limits: Limits | None = None,
    venue: Venue | None = None,
    now: datetime = NOW,
    at: datetime = NOW,
) -> Outcome:
    prices = {s.symbol: float(s.reference_price) for s in signals} | {"AAPL": 100.0}
    return review_evaluation(
        an_evaluation(*signals, at=at),
        book or a_book(),
        market or a_market(prices, at),
        limits or some_limits(),
        venue or a_venue(),
        now,
    )


def judged(order: ManualOrder, book: Book | None = None, **prices: float) -> Approved | Refused:
    market = a_market({"AAPL": 100.0, **prices})
    outcome = review_manual(order, book or a_book(), market, some_limits(), a_venue(), NOW)
    return outcome.decisions[0].answer


def the_approval(outcome: Outcome) -> Approved:
    assert outcome.review.refused == ()
    (approved,) = outcome.review.approved
    return approved


def the_refusal(outcome: Outcome) -> Refused:
    assert outcome.review.approved == ()
    (refused,) = outcome.review.refused
    return refused


# ------------------------------------------------------------------ entries


def test_a_wish_to_hold_becomes_a_sized_market_bracket() -> None:
    approved = the_approval(reviewed(a_signal()))

    assert (approved.symbol, approved.side, approved.purpose) == (AAPL, Side.BUY, Purpose.ENTRY)
    assert (approved.type, approved.time_in_force) == (OrderType.MARKET, TimeInForce.GTC)
    # 5 % of 100 000 at 100; risk would allow 400 shares, cash 961.
    assert approved.quantity == 50
    assert (approved.stop_loss, approved.take_profit) == (Decimal("95.0"), Decimal("110.0"))
    assert approved.reference_price == 100
    assert approved.decision_id == decision_id(approved.signal_id)


def test_an_approval_carries_every_check_and_the_arithmetic() -> None:
    (decision,) = reviewed(a_signal()).decisions

    codes = [check.code for check in decision.answer.checks]
    assert codes == [
        "MODE", "SHORT_NOT_ALLOWED", "UNKNOWN_ORDER", "EXIT_IN_PROGRESS", "ALREADY_HELD", "MARKET_HOURS",
        "SIGNAL_AGE", "STALE_PRICE", "SYMBOL_HALTED", "SYMBOL_QUARANTINED", "UNPRICED_POSITION", "DRAWDOWN",
        "DAILY_LOSS", "COOL_DOWN", "STOP_LOSS_GUARD", "DAILY_TRADES", "ORDERS_PER_MINUTE",
        "REPEATED_EXECUTION", "WHOLE_SHARES", "BRACKET_PRICES", "QUANTITY_ZERO", "POSITION_SIZE",
        "BUYING_POWER", "PORTFOLIO_RISK", "CORRELATION", "PRICE_COLLAR", "ORDER_VALUE", "ORDER_SHARES",
        "FAT_FINGER", "CONCURRENT_POSITIONS", "GROSS_EXPOSURE", "NET_EXPOSURE", "SECTOR_EXPOSURE",
        "STRATEGY_EXPOSURE", "STRATEGY_CAPITAL", "INTRADAY_MARGIN", "WASH_TRADE",
    ]  # fmt: skip
    assert all(check.passed for check in decision.answer.checks)
    assert decision.figures["shares_by_position_size"] == "50.0"
    assert decision.figures["equity"] == "100000"
    assert decision.figures["sma_short"] == "101"


def test_a_minute_bars_entry_may_leave_at_once_and_for_two_bars() -> None:
    approved = the_approval(reviewed(a_signal(), now=NOW + timedelta(seconds=3)))

    assert approved.act_from == NOW + timedelta(seconds=3)
    assert approved.act_until == NOW + timedelta(minutes=2)


def test_a_clock_that_lags_behind_a_bar_sends_nothing_before_its_end() -> None:
    approved = the_approval(reviewed(a_signal(), now=NOW - timedelta(seconds=1)))

    assert approved.act_from == NOW


def test_an_entry_decided_on_the_close_waits_for_the_next_open() -> None:
    signal = a_signal(at=CLOSE, timeframe=Timeframe.DAY)

    outcome = reviewed(signal, at=CLOSE, now=CLOSE, venue=a_venue(Timeframe.DAY))

    approved = the_approval(outcome)
    assert approved.act_from == NEXT_OPEN
    assert approved.act_until == NEXT_OPEN + timedelta(hours=6, minutes=30)
    assert outcome.decisions[0].trade_on == date(2026, 1, 16)


def test_an_entry_waits_for_the_trading_window_only_while_its_signal_is_young() -> None:
    venue = a_venue(start=time(10, 2))

    in_time = reviewed(a_signal(), venue=venue)
    too_old = reviewed(a_signal(), venue=a_venue(start=time(10, 3)))

    assert the_approval(in_time).act_from == NOW + timedelta(minutes=2)
    assert the_refusal(too_old).reason_code == Code.SIGNAL_AGE


def test_an_old_signal_and_an_old_price_are_refused() -> None:
    late = reviewed(a_signal(), now=NOW + timedelta(minutes=3))
    stale = reviewed(a_signal(), market=a_market({"AAPL": 100.0}, NOW - timedelta(minutes=3)))

    assert the_refusal(late).reason_code == Code.SIGNAL_AGE
    assert the_refusal(stale).reason_code == Code.STALE_PRICE


def test_a_window_that_meets_no_session_refuses_entries_but_no_exits() -> None:
    venue = a_venue(start=time(20), end=time(21))

    entry = reviewed(a_signal(), venue=venue)
    leaving = reviewed(
        a_signal(direction=FLAT), venue=venue, book=a_book(holdings=[a_holding(stop=95)])
    )

    assert the_refusal(entry).reason_code == Code.MARKET_HOURS
    assert the_approval(leaving).purpose is Purpose.EXIT


def test_a_symbol_that_is_held_or_on_order_gets_no_second_entry() -> None:
    for book in (
        a_book(holdings=[a_holding(stop=95)]),
        a_book(working=[an_order()]),
        a_book(holdings=[a_holding(quantity=-5)]),
    ):
        assert the_refusal(reviewed(a_signal(), book=book)).reason_code == Code.ALREADY_HELD


def test_a_symbol_with_an_order_of_unknown_outcome_gets_no_entry() -> None:
    book = a_book(working=[an_order()], unknown={AAPL: 1})

    assert the_refusal(reviewed(a_signal(), book=book)).reason_code == Code.UNKNOWN_ORDER


def test_a_short_wish_is_refused() -> None:
    refused = the_refusal(reviewed(a_signal(direction=SHORT)))

    assert refused.reason_code == Code.SHORT_NOT_ALLOWED
    assert refused.side is Side.SELL


def test_a_share_dearer_than_the_position_limit_is_refused_with_the_room_there_is() -> None:
    signal = a_signal(price=6_000)
    refused = the_refusal(reviewed(signal, market=a_market({"AAPL": 6_000.0})))

    assert refused.reason_code == Code.QUANTITY_ZERO
    assert refused.reason == "0.8333 shares, at least 1 is needed"


def test_without_free_cash_the_refusal_names_buying_power() -> None:
    book = a_book(cash=200, holdings=[a_holding("MSFT", 1_000, stop=99)])
    market = a_market({"AAPL": 1_000.0, "MSFT": 100.0})
    refused = the_refusal(reviewed(a_signal(price=1_000), book=book, market=market))

    assert refused.reason_code == Code.BUYING_POWER
    assert refused.reason == "needs 1040.00 USD with room for a gap, 200.00 USD is free"


def test_cash_that_open_and_approved_entries_may_need_is_not_free() -> None:
    book = a_book(cash=10_000, working=[an_order("MSFT", 90, stop_loss=99)])
    market = a_market({"AAPL": 100.0, "MSFT": 100.0})
    (decision,) = reviewed(a_signal(), book=book, market=market).decisions

    # 10 000 less 90 * 104 leaves room for 6 shares at 104; the size limit alone would take 5.
    assert decision.figures["reserved_cash"] == "9360"
    assert float(decision.figures["shares_by_buying_power"]) == pytest.approx(640 / 104)
    assert decision.quantity == 5


def test_the_risk_of_what_is_held_and_on_order_leaves_less_for_the_next() -> None:
    book = a_book(
        cash=90_000,
        holdings=[a_holding("MSFT", 100, stop=90)],
        working=[an_order("TSLA", 90, stop_loss=90)],
    )
    market = a_market({"AAPL": 100.0, "MSFT": 100.0, "TSLA": 100.0})
    (decision,) = reviewed(a_signal(), book=book, market=market).decisions

    # 100 * 10 and 90 * 10 are at risk; 2 % of 100 000 leave 100 dollars, five to the stop each.
    assert decision.figures["portfolio_risk"] == "1900"
    assert decision.quantity == 20


@pytest.mark.parametrize(
    ("kind", "stop_loss", "shares", "risk"),
    [
        (OrderType.LIMIT, None, 50, 5_000),
        (OrderType.LIMIT, None, 20, 2_000 + 30 * 5),
        (OrderType.LIMIT, 95, 50, 250),
        (OrderType.STOP, None, 50, 250),
        (OrderType.MARKET, None, 50, 250),
    ],
)
def test_shares_that_a_limit_without_a_stop_waits_to_sell_are_at_risk_as_a_whole(
    kind: OrderType, stop_loss: float | None, shares: int, risk: int
) -> None:
    resting = an_order("AAPL", shares, purpose=Purpose.EXIT, stop_loss=stop_loss)
    book = a_book(
        holdings=[a_holding("AAPL", 50, stop=95)],
        working=[replace(resting, type=kind, limit_price=Decimal(130))],
    )

    assert Exposure.of(book, a_market({"AAPL": 100.0})).risk == risk


def test_a_position_without_a_stop_is_at_risk_as_a_whole() -> None:
    book = a_book(cash=97_000, holdings=[a_holding("MSFT", 30)])
    market = a_market({"AAPL": 100.0, "MSFT": 100.0})

    refused = the_refusal(reviewed(a_signal(), book=book, market=market))

    assert refused.reason_code == Code.PORTFOLIO_RISK


def test_a_twin_of_something_held_is_refused() -> None:
    twin = some_closes(9)
    market = a_market({"AAPL": 100.0, "MSFT": 100.0}, closes={"AAPL": twin, "MSFT": twin})
    book = a_book(cash=99_000, holdings=[a_holding("MSFT", 10, stop=95)])

    refused = the_refusal(reviewed(a_signal(), book=book, market=market))

    assert refused.reason_code == Code.CORRELATION


def test_a_position_without_a_price_stops_entries_and_lets_exits_pass() -> None:
    book = a_book(holdings=[a_holding("MSFT", 10, stop=95, paid=90), a_holding("TSLA", 5, stop=95)])
    market = a_market({"AAPL": 100.0, "TSLA": 100.0})

    outcome = reviewed(a_signal(), a_signal("TSLA", FLAT), book=book, market=market)

    assert outcome.review.refused[0].reason_code == Code.UNPRICED_POSITION
    assert outcome.review.approved[0].symbol == "TSLA"
    # Valued at what was paid for it.
    assert outcome.mark.equity == 100_000 + 900 + 500


def test_entries_are_counted_for_the_day_on_which_they_may_be_sent() -> None:
    today, tomorrow = date(2026, 1, 15), date(2026, 1, 16)
    limits = some_limits(max_daily_trades=3)
    full = a_book(entries_by_day={today: 3})
    full_tomorrow = a_book(entries_by_day={tomorrow: 3})

    assert the_refusal(reviewed(a_signal(), book=full, limits=limits)).reason_code == (
        Code.DAILY_TRADES
    )
    the_approval(reviewed(a_signal(), book=full_tomorrow, limits=limits))


def test_approvals_count_before_the_next_wish_is_sized() -> None:
    limits = some_limits(max_daily_trades=1)
    signals = a_signal("AAPL", conviction=0.4), a_signal("MSFT", conviction=0.6)

    outcome = reviewed(*signals, limits=limits)

    assert [a.symbol for a in outcome.review.approved] == [MSFT]
    assert [(r.symbol, r.reason_code) for r in outcome.review.refused] == [(AAPL, "DAILY_TRADES")]


def test_equal_conviction_goes_by_symbol() -> None:
    outcome = reviewed(a_signal("MSFT"), a_signal("AAPL"))

    assert [a.symbol for a in outcome.review.approved] == [AAPL, MSFT]


def test_an_evaluation_without_signals_still_marks_the_equity() -> None:
    outcome = reviewed(book=a_book(holdings=[a_holding(quantity=100, stop=95)], cash=1_000))

    assert (outcome.review.approved, outcome.review.refused) == ((), ())
    assert outcome.mark.equity == 11_000
    assert outcome.mark.gross_exposure == 10_000


# ------------------------------------------------------------------ exits


def test_a_wish_to_be_out_sells_all_that_is_held() -> None:
    approved = the_approval(
        reviewed(a_signal(direction=FLAT), book=a_book(holdings=[a_holding(quantity=37)]))
    )

    assert (approved.side, approved.purpose, approved.quantity) == (
        Side.SELL,
        Purpose.EXIT,
        Decimal(37),
    )
    assert approved.stop_loss is None
    assert approved.time_in_force is TimeInForce.GTC


def test_an_exit_covers_what_an_open_entry_may_still_bring() -> None:
    only_open = reviewed(a_signal(direction=FLAT), book=a_book(working=[an_order(quantity=70)]))
    partly = reviewed(
        a_signal(direction=FLAT),
        book=a_book(holdings=[a_holding(quantity=30)], working=[an_order(quantity=70)]),
    )

    assert the_approval(only_open).quantity == 70
    assert the_approval(partly).quantity == 100


def test_a_fraction_is_sold_for_the_day_only() -> None:
    approved = the_approval(
        reviewed(a_signal(direction=FLAT), book=a_book(holdings=[a_holding(quantity=0.5)]))
    )

    assert (approved.quantity, approved.time_in_force) == (Decimal("0.5"), TimeInForce.DAY)


def test_a_short_position_from_elsewhere_is_bought_back() -> None:
    approved = the_approval(
        reviewed(a_signal(direction=FLAT), book=a_book(holdings=[a_holding(quantity=-8)]))
    )

    assert (approved.side, approved.quantity) == (Side.BUY, Decimal(8))


def test_nothing_held_is_nothing_to_get_out_of() -> None:
    assert the_refusal(reviewed(a_signal(direction=FLAT))).reason_code == Code.NO_POSITION


def test_a_second_exit_waits_for_the_first() -> None:
    book = a_book(holdings=[a_holding()], working=[an_order(purpose=Purpose.EXIT, stop_loss=None)])

    refused = the_refusal(reviewed(a_signal(direction=FLAT), book=book))

    assert refused.reason_code == Code.EXIT_IN_PROGRESS


@pytest.mark.parametrize("kind", [OrderType.LIMIT, OrderType.STOP, OrderType.TRAILING_STOP])
@pytest.mark.parametrize("quantity", [4, 10])
def test_what_a_person_lets_rest_keeps_nobody_but_another_person_from_the_way_out(
    kind: OrderType, quantity: int
) -> None:
    resting = replace(an_order(quantity=quantity, purpose=Purpose.EXIT, stop_loss=None), type=kind)
    book = a_book(holdings=[a_holding(quantity=10)], working=[resting])
    market = a_market({"AAPL": 100})

    wished = reviewed(a_signal(direction=FLAT), book=book)
    flattened = review_flatten("key", {}, book, market, some_limits(), a_venue(), NOW)
    by_hand = review_manual(
        a_manual_order("AAPL", side=Side.SELL, quantity=10),
        book,
        market,
        some_limits(),
        a_venue(),
        NOW,
    )

    # The executor withdraws what rests before it sends another exit, and sells what is held then.
    assert [the_approval(each).quantity for each in (wished, flattened)] == [10, 10]
    assert the_refusal(by_hand).reason_code == Code.EXIT_IN_PROGRESS


def test_an_exit_for_everything_takes_the_place_of_one_for_a_part() -> None:
    part = an_order(quantity=4, purpose=Purpose.EXIT, stop_loss=None)
    book = a_book(holdings=[a_holding(quantity=10)], working=[part])
    market = a_market({"AAPL": 100})

    wished = reviewed(a_signal(direction=FLAT), book=book)
    flattened = review_flatten("key", {}, book, market, some_limits(), a_venue(), NOW)
    both = replace(book, working=(part, replace(part, quantity=Decimal(10))))
    again = review_flatten("again", {}, both, market, some_limits(), a_venue(), NOW)

    assert [the_approval(each).quantity for each in (wished, flattened)] == [10, 10]
    assert the_refusal(again).reason_code == Code.EXIT_IN_PROGRESS


def test_two_strategies_that_want_out_at_once_sell_once() -> None:
    outcome = reviewed(
        a_signal(direction=FLAT, strategy="b"),
        a_signal(direction=FLAT, strategy="a"),
        book=a_book(holdings=[a_holding()]),
    )

    assert len(outcome.review.approved) == 1
    assert outcome.review.refused[0].reason_code == Code.EXIT_IN_PROGRESS


def test_exits_go_first_and_their_symbol_takes_no_entry() -> None:
    outcome = reviewed(
        a_signal("AAPL", conviction=1.0, strategy="a"),
        a_signal("AAPL", FLAT, conviction=0.1, strategy="b"),
        book=a_book(holdings=[a_holding(stop=95)]),
    )

    assert [a.purpose for a in outcome.review.approved] == [Purpose.EXIT]
    assert outcome.review.refused[0].reason_code == Code.EXIT_IN_PROGRESS


def test_an_exit_stays_wanted_for_five_sessions() -> None:
    outcome = reviewed(
        a_signal(direction=FLAT, at=CLOSE),
        at=CLOSE,
        now=CLOSE,
        book=a_book(holdings=[a_holding()]),
    )

    approved = the_approval(outcome)
    assert approved.act_from == NEXT_OPEN
    # Friday the 16th and four sessions after the week-end.
    assert approved.act_until == CLOSE + timedelta(days=7)


def test_reducing_lets_exits_pass_and_no_entries() -> None:
    outcome = reviewed(
        a_signal("MSFT"),
        a_signal("AAPL", FLAT),
        book=a_book(holdings=[a_holding(stop=95)], mode=a_mode(TradingMode.REDUCING, 2)),
    )

    assert [a.symbol for a in outcome.review.approved] == [AAPL]
    assert outcome.review.refused[0].reason_code == Code.MODE


def test_halted_lets_nothing_pass() -> None:
    outcome = reviewed(
        a_signal("MSFT"),
        a_signal("AAPL", FLAT),
        book=a_book(holdings=[a_holding(stop=95)], mode=a_mode(TradingMode.HALTED, 2)),
    )

    assert outcome.review.approved == ()
    assert {r.reason_code for r in outcome.review.refused} == {Code.MODE}


# ------------------------------------------------------------------ drawdown and peak


def test_passing_the_drawdown_limit_refuses_entries_and_reduces_by_itself() -> None:
    outcome = reviewed(a_signal(), book=a_book(cash=84_000, last_mark=a_mark(90_000, 100_000)))

    assert the_refusal(outcome).reason_code == Code.DRAWDOWN
    assert outcome.reduce_because is not None
    assert "16.00% below its peak 100000.00" in outcome.reduce_because
    assert outcome.mark.peak_equity == 100_000
    assert outcome.mark.drawdown == pytest.approx(0.16)


def test_a_mode_that_is_stricter_already_is_left_alone() -> None:
    for mode in (
        replace(a_mode(TradingMode.REDUCING, 2), actor="risk_manager"),
        a_mode(TradingMode.HALTED, 2),
    ):
        book = a_book(cash=80_000, last_mark=a_mark(90_000, 100_000, 2), mode=mode)
        assert reviewed(book=book).reduce_because is None


def test_the_peak_rises_with_equity_and_never_falls() -> None:
    higher = reviewed(book=a_book(cash=120_000, last_mark=a_mark(90_000, 100_000)))
    lower = reviewed(book=a_book(cash=95_000, last_mark=a_mark(100_000, 100_000)))

    assert higher.mark.peak_equity == 120_000
    assert lower.mark.peak_equity == 100_000


# -------------------------------------------------------- while the store of bars gives no answer


def unread(**prices: float) -> Market:
    """The last known prices, and nothing else."""
    market = a_market(prices, NOW - timedelta(minutes=1))
    return Market(market.asked, market.prices, unread="it has not answered within 1 s")


def test_what_is_held_may_go_by_the_last_known_prices_and_nothing_is_bought_by_them() -> None:
    book = a_book(
        cash=50_000, holdings=[a_holding("AAPL", 500)], last_mark=a_mark(100_000, 100_000)
    )

    outcome = reviewed(
        a_signal("AAPL", FLAT), a_signal("MSFT"), book=book, market=unread(AAPL=100, MSFT=100)
    )

    assert [(a.symbol, a.quantity) for a in outcome.review.approved] == [(AAPL, Decimal(500))]
    assert [r.reason_code for r in outcome.review.refused] == [Code.STALE_PRICE]


@pytest.mark.parametrize("price", [50, 200])
def test_no_drawdown_and_no_peak_is_made_of_the_last_known_prices(price: float) -> None:
    # Also of a price from before a split, which nobody could ask about.
    book = a_book(
        cash=50_000, holdings=[a_holding("AAPL", 500)], last_mark=a_mark(100_000, 100_000)
    )
    limits = some_limits(flatten_on_breach=True)

    outcome = reviewed(book=book, market=unread(AAPL=price), limits=limits)
    fresh = reviewed(book=book, market=a_market({"AAPL": price}), limits=limits)

    assert (outcome.reduce_because, outcome.review.approved) == (None, ())
    assert outcome.mark.peak_equity == 100_000
    assert (fresh.reduce_because is None) is (price == 200)
    assert fresh.mark.peak_equity == max(100_000, 50_000 + 500 * price)


# -------------------------------------------------------- what is held and has no price, or a doubtful one

RENAMED = Symbol("NEWCO")


def test_a_loss_made_by_shares_without_any_price_stops_entries_and_sells_nothing_and_they_may_go() -> (
    None
):
    # A fifth of the account under a new name, which has neither bars nor fills.
    book = a_book(
        cash=60_000,
        holdings=[a_holding("AAPL", 200, stop=95), a_holding(RENAMED, 200, paid=None)],
        last_mark=a_mark(100_000, 100_000, day=100_000),
    )
    limits = some_limits(flatten_on_breach=True, management=ManagementPlan(rebalance_band=0.1))
    market = a_market({"AAPL": 100, "MSFT": 100})

    outcome = reviewed(a_signal("MSFT"), book=book, market=market, limits=limits)
    order = a_manual_order(RENAMED, Side.SELL, 200)
    sale = review_manual(order, book, market, limits, a_venue(), NOW)
    flat = review_flatten("key", {}, book, market, limits, a_venue(), NOW)

    # Nor is AAPL sold since it would be too much of what is left.
    assert outcome.review.approved == ()
    assert outcome.reduce_because is not None
    assert outcome.reduce_because.endswith(
        "; nothing is sold for it, since no price of NEWCO is known, so it counts 0"
    )
    assert the_refusal(outcome).reason_code == Code.UNPRICED_POSITION
    assert outcome.estimated == "no price of NEWCO is known, so it counts 0"
    assert outcome.keeps_mark
    assert [(a.symbol, a.quantity) for a in sale.review.approved] == [(RENAMED, Decimal(200))]
    assert [a.symbol for a in flat.review.approved] == [AAPL, RENAMED]
    assert sale.decisions[0].figures["no_price"] == "no price is known; 0.01 stands for it"


def test_shares_owed_without_any_price_raise_no_peak() -> None:
    book = a_book(cash=133_000, holdings=[a_holding(RENAMED, -330, paid=None)])
    marked = replace(book, last_mark=a_mark(100_000, 100_000))

    market = a_market({"AAPL": 100})

    owed = reviewed(book=marked, market=market)
    bought_back = review_flatten("key", {}, book, market, some_limits(), a_venue(), NOW)

    assert (owed.mark.peak_equity, owed.keeps_mark) == (Decimal(100_000), False)
    assert [(a.side, a.quantity) for a in bought_back.review.approved] == [(Side.BUY, Decimal(330))]


@pytest.mark.parametrize("is_stepped", [True, False])
def test_nothing_is_sold_for_a_step_like_a_split_that_nobody_told_of(
    is_stepped: bool,
) -> None:
    recent = Recent(
        held={AAPL: "the price stepped"}, stepped=frozenset({AAPL} if is_stepped else ())
    )
    book = a_book(
        cash=90_000,
        holdings=[a_holding("AAPL", 100)],
        last_mark=a_mark(100_000, 100_000, day=100_000),
        recent=recent,
    )
    limits = some_limits(flatten_on_breach=True)

    outcome = reviewed(
        a_signal("MSFT"), book=book, market=a_market({"AAPL": 48, "MSFT": 100}), limits=limits
    )

    assert [a.symbol for a in outcome.review.approved] == ([] if is_stepped else [AAPL])
    assert outcome.reduce_because is not None
    assert ("nothing is sold for it" in outcome.reduce_because) is is_stepped
    assert outcome.keeps_mark is not is_stepped
    (refused,) = outcome.review.refused
    assert refused.reason_code == (Code.UNPRICED_POSITION if is_stepped else Code.DAILY_LOSS)


def test_by_the_last_known_prices_no_position_is_managed_but_by_the_clock() -> None:
    plan = ManagementPlan(
        trailing_stop=0.03, scale_out=((0.05, 0.5),), day_strategies=frozenset({"day"})
    )
    holdings = [a_holding("AAPL", 500, stop=95), a_holding("MSFT", 10, stop=95, strategy="day")]
    book = a_book(cash=50_000, holdings=holdings, last_mark=a_mark(100_000, 100_000))
    limits, late = some_limits(management=plan), CLOSE - timedelta(minutes=1)

    outcome = reviewed(
        book=book, market=unread(AAPL=200, MSFT=100), limits=limits, now=late, at=late
    )

    assert outcome.review.moved == ()
    assert [(a.symbol, a.quantity) for a in outcome.review.approved] == [(MSFT, Decimal(10))]


def test_resuming_below_the_limit_measures_the_peak_anew_once() -> None:
    resumed = replace(a_mode(version=3), restarts_peak=True)
    first = reviewed(
        a_signal(), book=a_book(cash=80_000, last_mark=a_mark(80_000, 100_000, 2), mode=resumed)
    )
    later = reviewed(book=a_book(cash=79_000, last_mark=a_mark(80_000, 80_000, 3), mode=resumed))

    assert (first.mark.peak_equity, first.reduce_because) == (Decimal(80_000), None)
    the_approval(first)
    assert later.mark.peak_equity == 80_000


# ------------------------------------------------------------------ manual orders


def test_a_manual_order_is_approved_as_given() -> None:
    approved = judged(a_manual_order(quantity=7, stop_loss=90, take_profit=120))

    assert isinstance(approved, Approved)
    terms = [approved.quantity, approved.stop_loss, approved.take_profit]
    assert terms == [Decimal(7), Decimal(90), Decimal(120)]


def test_a_manual_order_over_a_limit_is_refused_and_never_resized() -> None:
    refused = judged(a_manual_order(quantity=51))

    assert isinstance(refused, Refused)
    assert refused.reason_code == Code.POSITION_SIZE
    assert refused.reason == "5100.00 USD is 5.10% of equity 100000.00, at most 5.00%"


def test_a_manual_buy_may_add_to_what_is_held_up_to_the_limit() -> None:
    book = a_book(cash=96_000, holdings=[a_holding(quantity=40, stop=95)])

    assert isinstance(judged(a_manual_order(quantity=10), book), Approved)
    over = judged(a_manual_order(quantity=11), book)
    assert isinstance(over, Refused)
    assert over.reason_code == Code.POSITION_SIZE


def test_a_manual_limit_order_is_measured_by_its_limit() -> None:
    answer = judged(a_manual_order(quantity=55, limit_price=90, stop_loss=85, take_profit=99))

    assert isinstance(answer, Approved)
    assert (answer.limit_price, answer.reference_price) == (Decimal(90), Decimal(100))


def test_a_manual_buy_without_a_stop_risks_all_of_it() -> None:
    small = judged(a_manual_order(quantity=20, stop_loss=None, take_profit=None))
    large = judged(a_manual_order(quantity=21, stop_loss=None, take_profit=None))

    assert isinstance(small, Approved)
    assert isinstance(large, Refused)
    assert large.reason_code == Code.PORTFOLIO_RISK


@pytest.mark.parametrize(
    ("order", "code"),
    [
        (a_manual_order(quantity=0), Code.QUANTITY_ZERO),
        (a_manual_order(quantity=1.5), Code.WHOLE_SHARES),
        (a_manual_order(take_profit=None), Code.BRACKET_PRICES),
        (a_manual_order(stop_loss=101), Code.BRACKET_PRICES),
        (a_manual_order(side=Side.SELL), Code.NO_POSITION),
        (a_manual_order("TSLA"), Code.STALE_PRICE),
        (a_manual_order(at=NOW - timedelta(minutes=5)), Code.SIGNAL_AGE),
    ],
)
def test_manual_orders_that_cannot_pass(order: ManualOrder, code: Code) -> None:
    answer = judged(order)

    assert isinstance(answer, Refused)
    assert answer.reason_code == code


def test_a_manual_sale_gets_out_of_part_and_never_beyond() -> None:
    book = a_book(holdings=[a_holding(quantity=10)])

    part = judged(a_manual_order(side=Side.SELL, quantity=4), book)
    beyond = judged(a_manual_order(side=Side.SELL, quantity=11), book)

    assert isinstance(part, Approved)
    assert (part.purpose, part.quantity) == (Purpose.EXIT, Decimal(4))
    assert isinstance(beyond, Refused)
    assert beyond.reason_code == Code.SHORT_NOT_ALLOWED


def test_a_manual_buy_against_a_short_position_closes_it_and_no_more() -> None:
    book = a_book(holdings=[a_holding(quantity=-5)])

    covers = judged(a_manual_order(quantity=5, stop_loss=None, take_profit=None), book)
    crosses = judged(a_manual_order(quantity=6, stop_loss=None, take_profit=None), book)

    assert isinstance(covers, Approved)
    assert covers.purpose is Purpose.EXIT
    assert isinstance(crosses, Refused)
    assert crosses.reason_code == Code.CROSSES_ZERO


@pytest.mark.parametrize(
    ("order_class", "code"),
    [
        (OrderClass.BRACKET, Code.OPENING_LEGS),
        (OrderClass.OTO, Code.OPENING_LEGS),
        (OrderClass.OCO, None),
        (OrderClass.SIMPLE, None),
        (None, None),
    ],
)
@pytest.mark.parametrize(
    ("side", "held", "stop", "target"), [(Side.BUY, -10, 95, 110), (Side.SELL, 10, 110, 95)]
)
def test_what_closes_a_position_brings_no_legs_that_would_open_one(
    side: Side, held: int, stop: int, target: int, order_class: OrderClass | None, code: Code | None
) -> None:
    order = replace(
        a_manual_order(side=side),
        stop_loss=Decimal(stop),
        take_profit=Decimal(target),
        terms=OrderTerms(order_class=order_class),
    )

    answer = judged(order, a_book(holdings=[a_holding(quantity=held)]))

    assert (answer.reason_code if isinstance(answer, Refused) else None) == code
    if isinstance(answer, Refused):
        assert "leave order_class out, or ask for oco" in answer.reason


# ------------------------------------------------------------------ flatten


def test_flatten_gets_out_of_everything_held_or_on_order_each_under_its_own_id() -> None:
    book = a_book(
        holdings=[a_holding(), a_holding("NVDA", 3, paid=50)], working=[an_order("MSFT", 5)]
    )
    outcome = review_flatten(
        "key-1",
        {"reason": "holiday"},
        book,
        a_market({"AAPL": 100.0}),
        some_limits(),
        a_venue(),
        NOW,
    )

    assert outcome.review.source == "flatten:key-1"
    exits = {a.symbol: (a.quantity, a.reference_price) for a in outcome.review.approved}
    # What has no market price is measured by what was paid, or by the order that is open.
    assert exits == {
        AAPL: (Decimal(10), Decimal(100)),
        MSFT: (Decimal(5), Decimal(100)),
        Symbol("NVDA"): (Decimal(3), Decimal(50)),
    }
    assert len({a.signal_id for a in outcome.review.approved}) == 3
    assert outcome.decisions[0].figures["reason"] == "holiday"


def test_a_sum_of_money_counts_whole_whatever_its_shares_cost_by_now() -> None:
    # Asked for at 100 a share; the price has halved, and the sum buys twice as many.
    order = replace(
        a_manual_order(quantity=50, stop_loss=None, take_profit=None),
        terms=OrderTerms(notional=Decimal(5000)),
    )

    limits = some_limits(max_position_size=0.05, max_portfolio_risk=1.0)

    def answer(equity: float) -> Decision:
        book, market = a_book(cash=equity), a_market({"AAPL": 50})
        [decision] = review_manual(order, book, market, limits, a_venue(), NOW).decisions
        return decision

    refused, approved = answer(99_000), answer(100_000)
    assert isinstance(refused.answer, Refused)
    assert refused.answer.reason_code == Code.POSITION_SIZE
    assert approved.is_approved
    assert approved.figures["notional"] == "5000"


def test_a_stored_limit_that_this_release_does_not_know_holds_no_exit_back() -> None:
    change = LimitChange(1, {"max_of_tomorrow": 3.0, "max_positions": 7}, "x", "token:admin", NOW)
    book = a_book(holdings=[a_holding("MSFT", 10)], limit_change=change)

    (approved,) = reviewed(a_signal("MSFT", direction=FLAT), book=book).review.approved

    assert (approved.symbol, approved.purpose) == (MSFT, Purpose.EXIT)
    assert some_limits().with_stored(book.limit_changes) == some_limits(max_positions=7)


@pytest.mark.parametrize(
    ("name", "taken", "in_force"),
    [
        ("max_positions", 20_000, 10_000),
        ("max_order_value", 0.5, 1.0),
        ("max_order_value", 2e8, 1e8),
        ("maintenance_margin", 0.1, 0.25),
        ("max_positions", 7, 7),
        ("max_position_size", 0.02, 0.02),
    ],
)
def test_a_change_that_was_stored_earlier_is_taken_at_the_nearest_value_it_may_have(
    name: str, taken: float, in_force: float
) -> None:
    change = LimitChange(1, {name: taken}, "wide", "token:admin", NOW)
    book = a_book(holdings=[a_holding("MSFT", 10)], limit_change=change)

    (approved,) = reviewed(a_signal("MSFT", direction=FLAT), book=book).review.approved

    assert (approved.symbol, approved.purpose) == (MSFT, Purpose.EXIT)
    assert getattr(some_limits().with_stored(book.limit_changes), name) == in_force
