"""Short positions: how they are opened, what limits them, and how a position is turned around."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from risk_manager.exposure import Exposure
from risk_manager.limits import Code, Limits
from risk_manager.review import Outcome, review_evaluation, review_flatten, review_manual
from risk_manager.sizing import SizingMethod, SizingPlan, TradeRecord
from risk_manager.snapshot import Book, OpenOrder, Recent, StopHit
from risk_manager.testing import (
    AAPL,
    CLOSE,
    MSFT,
    NOW,
    a_book,
    a_holding,
    a_lending,
    a_manual_order,
    a_mark,
    a_market,
    a_mode,
    a_signal,
    a_turn,
    a_venue,
    an_evaluation,
    an_order,
    some_limits,
)
from shared.config import load_settings
from shared.domain.decisions import Approved, Purpose, Refused, TradingMode
from shared.domain.orders import OrderType, Side, TimeInForce
from shared.domain.signals import Direction, Signal
from shared.domain.timeframes import Timeframe

LONG, FLAT, SHORT = Direction.LONG, Direction.FLAT, Direction.SHORT
PRICES = {"AAPL": 100.0, "MSFT": 100.0}
MINUTE = timedelta(minutes=1)


def allowing(**changes: Any) -> Limits:
    """The defaults, with short positions allowed."""
    return some_limits(allow_short=True, **changes)


def reviewed(
    *signals: Signal,
    book: Book | None = None,
    limits: Limits | None = None,
    prices: dict[str, float] | None = None,
    at: datetime = NOW,
    timeframe: Timeframe = Timeframe.MINUTE,
) -> Outcome:
    return review_evaluation(
        an_evaluation(*signals, at=at, timeframe=timeframe),
        book or a_book(lending=a_lending("AAPL", "MSFT")),
        a_market(prices or PRICES, at),
        limits or allowing(),
        a_venue(timeframe),
        at,
    )


def short(symbol: str = "AAPL", *, price: float = 100, at: datetime = NOW, **more: Any) -> Signal:
    return a_signal(symbol, SHORT, price=price, at=at, **more)


def the_approval(outcome: Outcome) -> Approved:
    assert outcome.review.refused == ()
    (approved,) = outcome.review.approved
    return approved


def the_code(outcome: Outcome) -> str:
    assert outcome.review.approved == ()
    (refused,) = outcome.review.refused
    return refused.reason_code


def the_size(outcome: Outcome) -> int:
    return int(the_approval(outcome).quantity)


# ------------------------------------------------------------------ entries


def test_a_wish_to_be_short_becomes_a_sized_bracket_with_its_stop_above() -> None:
    approved = the_approval(reviewed(short()))

    assert (approved.side, approved.purpose) == (Side.SELL, Purpose.ENTRY)
    assert (approved.type, approved.time_in_force) == (OrderType.MARKET, TimeInForce.GTC)
    assert (approved.stop_loss, approved.take_profit) == (Decimal("105.0"), Decimal("90.0"))
    # 5 % of 100,000 at 100.
    assert approved.quantity == 50


def test_a_short_entry_says_whether_shares_are_lent_and_a_long_one_does_not_ask() -> None:
    (sold,) = reviewed(short()).decisions
    (bought,) = reviewed(a_signal(), book=a_book()).decisions

    assert [c.code for c in sold.answer.checks].count(Code.SHORT_AVAILABILITY) == 1
    assert Code.SHORT_AVAILABILITY not in [c.code for c in bought.answer.checks]
    assert bought.is_approved


def test_without_the_owners_switch_nothing_is_sold_short() -> None:
    assert the_code(reviewed(short(), limits=some_limits())) == Code.SHORT_NOT_ALLOWED


@pytest.mark.parametrize(
    "lending",
    [
        a_lending(),
        a_lending("MSFT"),
        a_lending("AAPL", account=False),
        a_lending("AAPL", lent=False),
        replace(a_lending("AAPL"), account=None),
        # A session has six and a half hours, of which half of one lies before NOW.
        a_lending("AAPL", seen_at=NOW - timedelta(days=1, minutes=1)),
    ],
)
def test_what_the_broker_does_not_say_or_said_a_trading_day_ago_is_no(lending: Any) -> None:
    assert the_code(reviewed(short(), book=a_book(lending=lending))) == Code.SHORT_AVAILABILITY


def test_the_brokers_word_holds_for_a_trading_day() -> None:
    heard = a_lending("AAPL", seen_at=NOW - timedelta(days=1))

    assert reviewed(short(), book=a_book(lending=heard)).review.approved


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
        ({"max_portfolio_risk": 0.001}, 20),
        ({"max_position_size": 0.01}, 10),
    ],
)
def test_a_short_size_keeps_every_limit(limits: dict[str, Any], shares: int) -> None:
    assert the_size(reviewed(short(), limits=allowing(**limits))) == shares


def test_a_short_size_leaves_room_for_what_the_broker_blocks() -> None:
    lending = a_lending("AAPL")

    # A short sale is covered at 3 % above a price that may gap up by 4 % until then.
    assert the_size(reviewed(short(), book=a_book(cash=1_080, lending=lending), limits=WIDE)) == 10
    assert the_size(reviewed(short(), book=a_book(cash=1_079, lending=lending), limits=WIDE)) == 9


WIDE = allowing(max_position_size=1.0, max_portfolio_risk=0.5, max_gross_exposure=1.0)


@pytest.mark.parametrize(
    ("plan", "shares"),
    [
        (SizingPlan(SizingMethod.FIXED_FRACTION, fraction=0.02), 20),
        # Half a percent of 100,000 on 5 dollars to the stop.
        (SizingPlan(SizingMethod.RISK_PER_TRADE, risk_per_trade=0.0005), 10),
    ],
)
def test_a_short_is_sized_by_the_method_that_was_chosen(plan: SizingPlan, shares: int) -> None:
    assert the_size(reviewed(short(), limits=allowing(sizing=plan))) == shares


@pytest.mark.parametrize(
    "method", [SizingMethod.VOLATILITY_TARGET, SizingMethod.ATR, SizingMethod.KELLY]
)
def test_methods_that_look_at_no_stop_size_both_sides_alike(method: SizingMethod) -> None:
    limits = allowing(
        sizing=SizingPlan(method), max_position_size=1.0, max_portfolio_risk=0.5, stop_loss=0.05
    )
    recent = Recent(records={"moving_average": TradeRecord(30, 20, 3_000.0, 1_000.0)})
    book = a_book(lending=a_lending("AAPL"), recent=recent)

    (sold,) = reviewed(short(), book=book, limits=limits).decisions
    (bought,) = reviewed(a_signal(), book=book, limits=limits).decisions

    assert sold.figures["shares_by_method"] == bought.figures["shares_by_method"]
    assert float(sold.figures["shares_by_method"]) > 0


def test_a_target_that_would_be_no_price_is_refused() -> None:
    assert the_code(reviewed(short(), limits=allowing(take_profit=1.0))) == Code.BRACKET_PRICES


def test_a_long_position_makes_room_for_a_short_one_in_net_exposure_alone() -> None:
    book = a_book(
        cash=96_000,
        holdings=[a_holding("MSFT", 40, stop=95)],
        lending=a_lending("AAPL"),
    )

    assert the_size(reviewed(short(), book=book, limits=allowing(max_net_exposure=0.005))) == 45
    assert the_size(reviewed(short(), book=book, limits=allowing(max_gross_exposure=0.05))) == 10


def test_the_risk_of_a_short_that_is_on_order_counts_before_the_next_is_sized() -> None:
    working = an_order("MSFT", 100, side=Side.SELL, stop_loss=119)
    book = a_book(working=[working], lending=a_lending("AAPL"))

    # 1,900 of the 2,000 that may be at risk are taken: 100 dollars at 5 a share are left.
    assert the_size(reviewed(short(), book=book)) == 20


def test_an_open_purchase_of_somebody_else_ends_a_short_sale_and_no_purchase() -> None:
    recent = Recent(open_orders=(OpenOrder(AAPL, Side.BUY, None),))
    book = a_book(recent=recent, lending=a_lending("AAPL"))

    assert the_code(reviewed(short(), book=book)) == Code.WASH_TRADE
    assert reviewed(a_signal(), book=book).review.approved


@pytest.mark.parametrize(
    ("book", "code"),
    [
        (a_book(mode=a_mode(TradingMode.REDUCING, 2)), Code.MODE),
        (a_book(mode=a_mode(TradingMode.HALTED, 2)), Code.MODE),
        (a_book(cash=80_000, last_mark=a_mark(100_000, 100_000)), Code.DRAWDOWN),
        (a_book(cash=90_000, last_mark=a_mark(91_000, 100_000, day=100_000)), Code.DAILY_LOSS),
        (a_book(recent=Recent(stops=(StopHit(AAPL, NOW - MINUTE),))), Code.COOL_DOWN),
        (a_book(recent=Recent(stops=(StopHit(MSFT, NOW - MINUTE),) * 4)), Code.STOP_LOSS_GUARD),
        (a_book(unknown={AAPL: 1}), Code.UNKNOWN_ORDER),
        (a_book(holdings=[a_holding(quantity=-10, stop=105)]), Code.ALREADY_HELD),
        (a_book(working=[an_order(side=Side.SELL, stop_loss=105)]), Code.ALREADY_HELD),
    ],
)
def test_what_ends_a_purchase_ends_a_short_sale(book: Book, code: Code) -> None:
    book = replace(book, lending=a_lending("AAPL"))
    limits = allowing(cool_down_bars=5, stop_guard_stops=4, stop_guard_bars=60)

    assert the_code(reviewed(short(), book=book, limits=limits)) == code


def test_the_owners_switch_is_the_setting_and_off_unless_said() -> None:
    assert not Limits.of(load_settings({})).allow_short
    assert Limits.of(load_settings({"RISK_ALLOW_SHORT": "true"})).allow_short


# ------------------------------------------------------------------ ways out


@pytest.mark.parametrize("mode", [TradingMode.ACTIVE, TradingMode.REDUCING])
def test_what_is_owed_is_bought_back(mode: TradingMode) -> None:
    book = a_book(
        holdings=[a_holding(quantity=-10, stop=105)],
        mode=a_mode(mode, 2),
        lending=a_lending("AAPL"),
    )

    approved = the_approval(reviewed(a_signal(direction=FLAT), book=book))

    assert (approved.side, approved.purpose, approved.quantity) == (
        Side.BUY,
        Purpose.EXIT,
        Decimal(10),
    )


def test_flatten_buys_back_what_is_owed_and_leaves_the_orders_of_others() -> None:
    book = a_book(
        holdings=[a_holding(quantity=-10, stop=105)],
        working=[an_order("MSFT", 5, is_foreign=True, stop_loss=None)],
    )

    outcome = review_flatten("key", {}, book, a_market(PRICES), allowing(), a_venue(), NOW)

    approved = the_approval(outcome)
    assert (approved.symbol, approved.side, approved.quantity) == (AAPL, Side.BUY, Decimal(10))


def test_a_breach_buys_back_what_is_owed_and_opens_no_turn() -> None:
    book = a_book(
        cash=81_000,
        holdings=[a_holding("MSFT", -10, stop=105)],
        last_mark=a_mark(100_000, 100_000),
        turns=[a_turn(short(at=NOW - MINUTE))],
        lending=a_lending("AAPL"),
    )

    outcome = reviewed(book=book, limits=allowing(flatten_on_breach=True))

    assert [(a.symbol, a.side, a.purpose) for a in outcome.review.approved] == [
        (MSFT, Side.BUY, Purpose.EXIT)
    ]
    assert [r.reason_code for r in outcome.review.refused] == [Code.DRAWDOWN]


def test_a_persons_sale_opens_no_short_position() -> None:
    order = a_manual_order(side=Side.SELL)
    book = a_book(lending=a_lending("AAPL"))

    outcome = review_manual(order, book, a_market(PRICES), allowing(), a_venue(), NOW)

    assert the_code(outcome) == Code.NO_POSITION


# ------------------------------------------------------------------ orders of others


def test_an_open_sale_of_somebody_else_makes_a_purchase_no_way_out() -> None:
    sale = an_order(quantity=10, side=Side.SELL, is_foreign=True, stop_loss=None)
    book = a_book(working=[sale])

    outcome = review_manual(
        a_manual_order(),
        book,
        a_market(PRICES),
        some_limits(max_portfolio_risk=0.5),
        a_venue(),
        NOW,
    )

    assert the_approval(outcome).purpose is Purpose.ENTRY


def test_orders_of_others_count_and_are_nothing_to_get_out_of() -> None:
    working = [an_order(quantity=10, is_foreign=True), an_order(quantity=4, side=Side.SELL)]

    exposure = Exposure.of(a_book(working=working), a_market(PRICES))

    assert exposure.there(AAPL) == 14
    assert exposure.reducible(AAPL) == 4
    assert exposure.side_of(AAPL) is Side.SELL
    assert exposure.committed == 1_400


def test_orders_of_others_do_not_make_a_share_dearer_that_nobody_prices() -> None:
    book = a_book(
        holdings=[a_holding(quantity=10, paid=100)],
        working=[an_order(quantity=10, is_foreign=True)],
    )

    outcome = review_flatten("key", {}, book, a_market({}), allowing(), a_venue(), NOW)

    approved = the_approval(outcome)
    assert (approved.quantity, approved.reference_price) == (Decimal(10), Decimal(100))


def test_an_order_of_somebody_else_ends_a_strategys_wish_to_hold() -> None:
    book = a_book(working=[an_order(is_foreign=True)])

    assert the_code(reviewed(a_signal(), book=book)) == Code.ALREADY_HELD
    assert the_code(reviewed(a_signal(direction=FLAT), book=book)) == Code.NO_POSITION


# ------------------------------------------------------------------ turns


@pytest.mark.parametrize(
    ("held", "wished", "side"), [(10, SHORT, Side.SELL), (-10, LONG, Side.BUY)]
)
def test_a_wish_for_the_other_side_is_answered_by_a_way_out_first(
    held: float, wished: Direction, side: Side
) -> None:
    stop = 95 if held > 0 else 105
    book = a_book(holdings=[a_holding(quantity=held, stop=stop)], lending=a_lending("AAPL"))

    (decision,) = reviewed(a_signal(direction=wished), book=book).decisions

    approved = decision.answer
    assert isinstance(approved, Approved)
    assert (approved.purpose, approved.side, approved.quantity) == (Purpose.EXIT, side, Decimal(10))
    assert (approved.stop_loss, approved.take_profit) == (None, None)
    assert decision.figures["turns_to"] == wished.value


def test_an_entry_on_order_is_turned_around_like_a_position() -> None:
    book = a_book(working=[an_order(quantity=7)], lending=a_lending("AAPL"))

    approved = the_approval(reviewed(short(), book=book))

    assert (approved.purpose, approved.side, approved.quantity) == (
        Purpose.EXIT,
        Side.SELL,
        Decimal(7),
    )


def test_where_shorts_are_not_allowed_nothing_is_turned_around() -> None:
    owed = a_book(holdings=[a_holding(quantity=-10)])
    held = a_book(holdings=[a_holding(quantity=10)])

    assert the_code(reviewed(a_signal(), book=owed, limits=some_limits())) == Code.ALREADY_HELD
    assert the_code(reviewed(short(), book=held, limits=some_limits())) == Code.SHORT_NOT_ALLOWED


def test_the_entry_of_a_turn_follows_at_a_later_bars_price_once_nothing_is_held() -> None:
    wished = short(price=100, at=NOW - MINUTE)
    book = a_book(turns=[a_turn(wished)], lending=a_lending("AAPL"))

    (decision,) = reviewed(book=book, prices={"AAPL": 98.0}).decisions

    approved = decision.answer
    assert isinstance(approved, Approved)
    assert (approved.side, approved.purpose) == (Side.SELL, Purpose.ENTRY)
    assert approved.reference_price == 98
    assert (approved.stop_loss, approved.take_profit) == (Decimal("102.9"), Decimal("88.2"))
    assert approved.signal_id == f"trn-{wished.signal_id.removeprefix('sig-')}"
    assert decision.figures["signal_id"] == wished.signal_id
    # As young as the wish is, not as the bar of its answer.
    assert approved.act_until == NOW + MINUTE


def test_a_turn_to_the_long_side_follows_alike() -> None:
    book = a_book(turns=[a_turn(a_signal(at=NOW - MINUTE))])

    approved = the_approval(reviewed(book=book, prices={"AAPL": 102.0}))

    assert (approved.side, approved.stop_loss) == (Side.BUY, Decimal("96.9"))


@pytest.mark.parametrize(
    "book",
    [
        a_book(holdings=[a_holding(quantity=3)]),
        a_book(working=[an_order(quantity=3, purpose=Purpose.EXIT)]),
        a_book(working=[an_order(quantity=3, is_foreign=True)]),
        a_book(unknown={AAPL: 1}),
    ],
)
def test_the_entry_of_a_turn_waits_until_nothing_is_held_leaving_or_unknown(book: Book) -> None:
    turn = a_turn(short(at=NOW - MINUTE))

    assert reviewed(book=replace(book, turns=(turn,))).decisions == ()


@pytest.mark.parametrize("holdings", [(), (a_holding(quantity=3),)])
def test_an_entry_that_has_waited_for_too_long_is_refused(holdings: tuple[Any, ...]) -> None:
    turn = a_turn(short(at=NOW - 3 * MINUTE))
    book = a_book(holdings=holdings, turns=[turn], lending=a_lending("AAPL"))

    assert the_code(reviewed(book=book)) == Code.SIGNAL_AGE


@pytest.mark.parametrize(("patience", "tries"), [(1, 1), (2, 2), (3, 3)])
def test_a_turn_is_tried_at_as_many_bars_as_a_signal_may_be_old_however_late_they_are_answered(
    patience: int, tries: int
) -> None:
    wished = short(at=NOW)
    book = a_book(turns=[a_turn(wished)], lending=a_lending("AAPL"))
    approved: list[Approved] = []
    for bar in range(1, 6):
        ended_at = NOW + bar * MINUTE
        outcome = review_evaluation(
            an_evaluation(at=ended_at),
            book,
            a_market(PRICES, ended_at),
            allowing(max_signal_age_bars=patience),
            a_venue(),
            ended_at + timedelta(seconds=2),
        )
        approved += outcome.review.approved
        assert len(outcome.decisions) == 1

    assert len(approved) == tries
    # It may leave until the bar after its answer's is over, or while the wish is young.
    assert [(a.act_from, a.act_until) for a in approved] == [
        (NOW + bar * MINUTE + timedelta(seconds=2), NOW + max(patience, bar + 1) * MINUTE)
        for bar in range(1, tries + 1)
    ]


def test_a_turn_that_is_not_out_at_its_last_bar_is_waited_for_no_longer_than_that() -> None:
    wished = short(at=NOW)
    turn = a_turn(wished)
    book = a_book(holdings=[a_holding(quantity=3)], turns=[turn], lending=a_lending("AAPL"))

    def codes(bar: int) -> list[str]:
        ended_at = NOW + bar * MINUTE
        outcome = review_evaluation(
            an_evaluation(at=ended_at),
            book,
            a_market(PRICES, ended_at),
            allowing(max_signal_age_bars=1),
            a_venue(),
            ended_at + timedelta(seconds=2),
        )
        return [refused.reason_code for refused in outcome.review.refused]

    assert (codes(1), codes(2)) == ([], [Code.SIGNAL_AGE])


def test_a_turn_that_is_answered_bars_too_late_is_too_old() -> None:
    book = a_book(turns=[a_turn(short(at=NOW))], lending=a_lending("AAPL"))
    ended_at = NOW + MINUTE

    outcome = review_evaluation(
        an_evaluation(at=ended_at),
        book,
        a_market(PRICES, ended_at),
        allowing(),
        a_venue(),
        ended_at + 2 * MINUTE,
    )

    assert the_code(outcome) == Code.SIGNAL_AGE


@pytest.mark.parametrize(
    ("bar", "is_superseded", "codes"),
    [(1, False, []), (1, True, [Code.SUPERSEDED]), (3, False, [Code.SIGNAL_AGE])],
)
def test_while_the_store_of_bars_is_away_a_turn_keeps_its_one_answer(
    bar: int, is_superseded: bool, codes: list[Code]
) -> None:
    turn = a_turn(short(at=NOW), is_superseded=is_superseded)
    book = a_book(turns=[turn], lending=a_lending("AAPL"))
    ended_at = NOW + bar * MINUTE
    market = replace(a_market(PRICES, NOW), unread="it has not answered within 1 s")

    outcome = review_evaluation(
        an_evaluation(at=ended_at), book, market, allowing(), a_venue(), ended_at
    )

    assert [refused.reason_code for refused in outcome.review.refused] == codes


@pytest.mark.parametrize("newer", [LONG, FLAT, SHORT])
def test_a_newer_wish_for_the_symbol_supersedes_a_turn(newer: Direction) -> None:
    turn = a_turn(short(at=NOW - MINUTE))
    book = a_book(
        holdings=[a_holding(quantity=3)],
        working=[an_order(quantity=3, purpose=Purpose.EXIT)],
        turns=[turn],
        lending=a_lending("AAPL"),
    )

    outcome = reviewed(a_signal(direction=newer), book=book)

    codes = {r.signal_id: r.reason_code for r in outcome.review.refused}
    assert codes[turn.signal.signal_id] == Code.SUPERSEDED
    assert outcome.review.approved == ()


def test_what_a_person_or_the_plan_has_done_in_the_symbol_supersedes_a_turn() -> None:
    turn = a_turn(short(at=NOW - MINUTE), is_superseded=True)
    book = a_book(turns=[turn], lending=a_lending("AAPL"))

    assert the_code(reviewed(book=book)) == Code.SUPERSEDED


def test_a_newer_wish_on_a_flat_symbol_is_answered_itself() -> None:
    turn = a_turn(short(at=NOW - MINUTE))
    book = a_book(turns=[turn], lending=a_lending("AAPL"))

    outcome = reviewed(a_signal(direction=LONG), book=book)

    (approved,) = outcome.review.approved
    assert (approved.side, approved.purpose) == (Side.BUY, Purpose.ENTRY)
    assert [r.reason_code for r in outcome.review.refused] == [Code.SUPERSEDED]


def test_a_turn_passes_every_rule_of_an_entry() -> None:
    turn = a_turn(short(at=NOW - MINUTE))

    reducing = a_book(turns=[turn], mode=a_mode(TradingMode.REDUCING, 2), lending=a_lending("AAPL"))
    unlent = a_book(turns=[turn])
    switched_off = a_book(turns=[turn], lending=a_lending("AAPL"))

    assert the_code(reviewed(book=reducing)) == Code.MODE
    assert the_code(reviewed(book=unlent)) == Code.SHORT_AVAILABILITY
    assert the_code(reviewed(book=switched_off, limits=some_limits())) == Code.SHORT_NOT_ALLOWED


def test_two_turns_share_what_room_there_is_and_go_before_new_entries() -> None:
    turns = [a_turn(short(s, at=NOW - MINUTE)) for s in ("MSFT", "AAPL")]
    book = a_book(turns=turns, lending=a_lending("AAPL", "MSFT", "XOM"))
    limits = allowing(max_daily_trades=2)

    outcome = reviewed(
        short("XOM", conviction=1.0), book=book, limits=limits, prices={**PRICES, "XOM": 100.0}
    )

    assert [a.symbol for a in outcome.review.approved] == [AAPL, MSFT]
    assert [r.reason_code for r in outcome.review.refused] == [Code.DAILY_TRADES]


def test_a_daily_turn_may_enter_at_the_open_after_the_exit_filled() -> None:
    wished = short(at=CLOSE, timeframe=Timeframe.DAY)
    next_close = CLOSE + timedelta(days=1)
    lending = a_lending("AAPL", seen_at=next_close)

    outcome = reviewed(
        book=a_book(turns=[a_turn(wished)], lending=lending),
        at=next_close,
        timeframe=Timeframe.DAY,
    )

    # A Friday's close: the next open is on Monday, and the wish is one bar old by then.
    assert the_approval(outcome).act_from == CLOSE + timedelta(days=3, hours=17, minutes=30)


def test_a_refused_way_out_leaves_no_turn() -> None:
    book = a_book(
        holdings=[a_holding(quantity=10)],
        working=[an_order(quantity=10, purpose=Purpose.EXIT)],
        lending=a_lending("AAPL"),
    )

    (decision,) = reviewed(short(), book=book).decisions

    assert isinstance(decision.answer, Refused)
    assert decision.answer.reason_code == Code.EXIT_IN_PROGRESS


# ------------------------------------------------------------------ sizes between two prices


@pytest.mark.parametrize("market", [99.0, 100.0, 101.0])
@pytest.mark.parametrize(
    "plan", [SizingPlan(), SizingPlan(SizingMethod.RISK_PER_TRADE, risk_per_trade=0.0005)]
)
def test_a_short_that_was_sized_passes_the_rules_wherever_the_price_has_gone_since(
    market: float, plan: SizingPlan
) -> None:
    limits = allowing(sizing=plan, max_position_size=1.0, max_portfolio_risk=0.0005)

    size = the_size(reviewed(short(price=100), limits=limits, prices={"AAPL": market}))

    # Fifty dollars on the way from the lower price to the stop at 105.
    assert size == int(50 / (105 - min(100.0, market)))
