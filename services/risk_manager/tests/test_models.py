"""The values of the account: what each part counts for, and which mode follows which."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest

from risk_manager.exposure import Exposure, mark
from risk_manager.modes import Change, changed, may_change
from risk_manager.snapshot import Holding, Mark, Mode, Protection
from risk_manager.store.rows import Made
from risk_manager.testing import (
    AAPL,
    MSFT,
    NOW,
    a_book,
    a_holding,
    a_mark,
    a_market,
    a_mode,
    an_order,
    some_limits,
)
from shared.domain.decisions import Purpose, TradingMode
from shared.domain.orders import OrderType, Side

ACTIVE, REDUCING, HALTED = TradingMode.ACTIVE, TradingMode.REDUCING, TradingMode.HALTED


def test_the_newest_entries_explain_a_position_and_the_rest_is_unprotected() -> None:
    entries = (Protection(Decimal(10), Decimal(95)), Protection(Decimal(10), Decimal(90)))
    holding = Holding(AAPL, Decimal(25), Decimal(100), entries)

    # 10 shares 5 above their stop, 10 shares 10 above theirs, 5 shares with none.
    assert holding.risk(Decimal(100)) == 50 + 100 + 500


def test_after_a_partial_exit_only_what_is_left_is_at_risk() -> None:
    entries = (Protection(Decimal(10), Decimal(95)), Protection(Decimal(10), Decimal(90)))

    assert Holding(AAPL, Decimal(4), None, entries).risk(Decimal(100)) == 20


def test_an_entry_without_a_stop_leaves_its_shares_to_older_stops_only_once() -> None:
    entries = (Protection(Decimal(10), None), Protection(Decimal(10), Decimal(90)))

    assert Holding(AAPL, Decimal(20), None, entries).risk(Decimal(100)) == 100 + 1_000


def test_shares_that_came_without_a_stop_are_not_guarded_by_an_older_one() -> None:
    entries = (Protection(Decimal(10), None), Protection(Decimal(10), Decimal(90)))

    assert Holding(AAPL, Decimal(10), None, entries).risk(Decimal(100)) == 1_000


def test_a_price_below_the_stop_risks_nothing_more() -> None:
    assert a_holding(stop=95).risk(Decimal(90)) == 0


def test_a_short_position_counts_whole() -> None:
    assert a_holding(quantity=-3).risk(Decimal(100)) == 300


def test_a_market_order_may_cost_four_percent_more_and_a_limit_order_its_limit() -> None:
    market = an_order(quantity=10, reference=100)
    limit = replace(market, type=OrderType.LIMIT, limit_price=Decimal(90))
    stop = replace(market, type=OrderType.STOP, stop_price=Decimal(110))

    assert market.cash(Decimal(100)) == 1_040
    assert market.cash(Decimal(120)) == 1_248
    assert market.cash(None) == 1_040
    assert limit.cash(Decimal(100)) == 900
    assert stop.cash(Decimal(100)) == 1_144


def test_what_an_order_risks_is_the_way_to_its_stop_or_all_of_it() -> None:
    assert an_order(stop_loss=95).risk(Decimal(100)) == 50
    assert an_order(stop_loss=None).risk(Decimal(100)) == 1_000


def test_exposure_counts_held_open_and_leaving_apart() -> None:
    book = a_book(
        cash=1_000,
        holdings=[a_holding(quantity=10, stop=95)],
        working=[
            an_order("MSFT", 5),
            an_order("AAPL", 10, purpose=Purpose.EXIT),
        ],
    )

    exposure = Exposure.of(book, a_market({"AAPL": 100.0, "MSFT": 200.0}))

    figures = [exposure.equity, exposure.gross, exposure.net]
    assert figures == [Decimal(2_000), Decimal(1_000), Decimal(1_000)]
    assert exposure.committed_value == {AAPL: 1_000, MSFT: 1_000}
    assert exposure.available_cash == 1_000 - 5 * 200 * Decimal("1.04")
    assert exposure.risk == 50 + 5 * 105
    assert exposure.leaving == {AAPL: 10}
    assert exposure.others(AAPL) == [MSFT]
    assert exposure.reducible(MSFT) == 5


def test_a_short_position_lowers_net_and_raises_gross_exposure() -> None:
    book = a_book(cash=1_000, holdings=[a_holding(quantity=-5), a_holding("MSFT", 2)])

    exposure = Exposure.of(book, a_market({"AAPL": 100.0, "MSFT": 100.0}))

    figures = [exposure.equity, exposure.gross, exposure.net]
    assert figures == [Decimal(700), Decimal(700), Decimal(-300)]


def test_what_is_owed_is_at_risk_up_to_its_stop_above() -> None:
    entries = (Protection(Decimal(10), Decimal(108)), Protection(Decimal(10), None))
    holding = Holding(AAPL, Decimal(-15), Decimal(100), entries)

    # 10 shares 8 below their stop; 5 without one count as if their price doubled.
    assert holding.risk(Decimal(100)) == 80 + 500
    assert holding.risk(Decimal(110)) == 0 + 550


def test_a_short_position_binds_what_its_sale_brought_and_as_much_again() -> None:
    book = a_book(cash=1_000, holdings=[a_holding(quantity=-3)])

    exposure = Exposure.of(book, a_market({"AAPL": 100.0}))

    assert exposure.available_cash == 1_000 - 2 * 300


def test_an_open_short_sale_counts_at_the_price_that_is_worst_for_each_figure() -> None:
    sale = replace(an_order(quantity=2, reference=100, stop_loss=110), side=Side.SELL)

    def seen(price: float) -> Exposure:
        return Exposure.of(a_book(cash=1_000, working=[sale]), a_market({"AAPL": price}))

    assert (seen(104).available_cash, seen(104).committed) == (
        1_000 - 208 * Decimal("1.08"),
        Decimal(208),
    )
    # It may fill at 100 yet, and its stop stands at 110.
    assert seen(104).risk == 20
    assert seen(96).risk == 28
    limited = replace(sale, type=OrderType.LIMIT, limit_price=Decimal(100))
    assert limited.cash(Decimal(99)) == 2 * Decimal("101.97")
    assert limited.cash(Decimal(90)) == 200


def test_only_what_stays_held_on_the_other_side_makes_room_for_net_exposure() -> None:
    prices = a_market({"AAPL": 100.0, "MSFT": 100.0, "XOM": 100.0})
    holdings = [a_holding(quantity=-5), a_holding("MSFT", 2)]
    sale = replace(an_order("XOM", 4), side=Side.SELL)
    cover = replace(an_order(quantity=5, purpose=Purpose.EXIT), side=Side.BUY)

    exposure = Exposure.of(a_book(holdings=holdings, working=[sale]), prices)
    leaving = Exposure.of(a_book(holdings=holdings, working=[sale, cover]), prices)

    # What is on order makes no room: it may never fill.
    assert [exposure.net_on(side) for side in Side] == [Decimal(-300), Decimal(500 + 400 - 200)]
    assert [leaving.net_on(side) for side in Side] == [Decimal(200), Decimal(700)]


def test_the_first_mark_is_its_own_peak() -> None:
    book = a_book(cash=500)

    marked = mark(book, Exposure.of(book, a_market({})), NOW)

    assert (marked.peak_equity, marked.drawdown) == (Decimal(500), 0.0)


def marked_after(
    last: Mark,
    *,
    cash: float,
    paid_in: float,
    held: float = 0,
    mode: Mode | None = None,
    at: datetime = NOW,
) -> Mark:
    """The mark after `last` of an account that holds `held` dollars of AAPL beside its cash."""
    book = a_book(
        cash, [a_holding(quantity=1)] if held else [], last_mark=last, mode=mode, paid_in=paid_in
    )
    return mark(book, Exposure.of(book, a_market({"AAPL": held} if held else {})), at)


def test_money_taken_out_is_no_loss() -> None:
    last = a_mark(100_000, 100_000, day=100_000)

    marked = marked_after(last, cash=80_000, paid_in=-20_000)

    assert (marked.peak_equity, marked.day_equity, marked.drawdown) == (
        Decimal(80_000),
        Decimal(80_000),
        0.0,
    )
    assert marked.paid_in == -20_000


def test_money_paid_in_hides_no_loss() -> None:
    last = a_mark(100_000, 100_000, day=100_000)

    # 90,000 of shares fell by a quarter.
    marked = marked_after(last, cash=35_000, held=67_500, paid_in=25_000)

    assert marked.drawdown == pytest.approx(0.18)
    assert marked.day_equity == 125_000


@pytest.mark.parametrize("flow", [-45_000, -1, 1, 90_000])
def test_a_loss_stays_the_share_that_it_was_when_money_moves(flow: int) -> None:
    last = a_mark(90_000, 120_000, day=100_000)

    marked = marked_after(last, cash=90_000 + flow, paid_in=flow)

    assert marked.drawdown == pytest.approx(0.25, abs=1e-9)
    assert marked.day_equity is not None
    assert float(marked.equity / marked.day_equity) == pytest.approx(0.9, abs=1e-9)


def test_a_new_day_begins_with_the_mark_before_it_and_what_was_moved_since() -> None:
    last = a_mark(100_000, 100_000, day=90_000, at=NOW - timedelta(days=1))

    marked = marked_after(last, cash=75_000, paid_in=-20_000)

    assert (marked.day_equity, marked.peak_equity) == (Decimal(80_000), Decimal(80_000))


@pytest.mark.parametrize("taken", [100_000, 130_000])
def test_where_nothing_was_left_peak_and_day_begin_anew(taken: int) -> None:
    last = a_mark(100_000, 200_000, day=110_000)

    marked = marked_after(last, cash=140_000 - taken, paid_in=-taken)

    assert marked.peak_equity == marked.day_equity == marked.equity == 140_000 - taken


def test_of_a_mark_that_kept_no_sum_nothing_is_taken_for_moved() -> None:
    last = replace(a_mark(100_000, 100_000, day=100_000), paid_in=None)

    marked = marked_after(last, cash=80_000, paid_in=70_000)

    assert (marked.peak_equity, marked.day_equity) == (Decimal(100_000), Decimal(100_000))


def test_six_percent_a_day_and_a_resume_each_day_come_to_the_drawdown_limit() -> None:
    limits = some_limits(max_daily_loss=0.05, drawdown_limit=0.15)
    last, mode = a_mark(100_000, 100_000, day=100_000), a_mode()
    seen: list[tuple[float, bool, bool]] = []
    for day in range(4):
        at = NOW + timedelta(days=day)
        last = marked_after(last, cash=float(last.equity) * 0.94, paid_in=0, mode=mode, at=at)
        reduced = replace(a_mode(REDUCING, mode.version + 1))
        mode = changed(reduced, Change(ACTIVE, "on", "me", at, reduced.version), last, limits)
        seen.append((round(last.drawdown, 4), mode.restarts_peak, mode.restarts_day))
        # The next bar finds nothing new.
        last = marked_after(last, cash=float(last.equity), paid_in=0, mode=mode, at=at)
        assert last.day_equity == last.equity
        assert last.drawdown <= limits.drawdown_limit

    assert [lost for lost, *_ in seen] == [0.06, 0.1164, 0.1694, 0.06]
    assert [flags for _, *flags in seen] == [
        [False, True], [False, True], [True, True], [False, True],
    ]  # fmt: skip


def test_who_resumes_accepts_what_was_lost_by_then_and_nothing_after_it() -> None:
    last = a_mark(80_000, 100_000, 2, day=100_000)
    resumed = replace(a_mode(version=3), restarts_peak=True, restarts_day=True)

    gap = marked_after(last, cash=72_000, paid_in=0, mode=resumed, at=NOW + timedelta(days=1))

    assert (gap.peak_equity, gap.day_equity) == (Decimal(80_000), Decimal(80_000))
    assert gap.drawdown == pytest.approx(0.1)


def test_days_without_entries_are_not_counted() -> None:
    exposure = Exposure.of(a_book(entries_by_day={date(2026, 1, 15): 2}), a_market({}))

    assert exposure.entries_by_day.get(date(2026, 1, 16), 0) == 0


@pytest.mark.parametrize(
    ("current", "wanted", "version", "allowed"),
    [
        (ACTIVE, HALTED, None, True),
        (ACTIVE, REDUCING, None, True),
        (REDUCING, HALTED, None, True),
        (REDUCING, REDUCING, None, True),
        (HALTED, REDUCING, None, False),
        (HALTED, ACTIVE, None, False),
        (REDUCING, ACTIVE, None, False),
        (HALTED, ACTIVE, 4, True),
        (HALTED, ACTIVE, 3, False),
        (REDUCING, ACTIVE, 5, False),
    ],
)
def test_modes_get_stricter_freely_and_looser_by_version_only(
    current: TradingMode, wanted: TradingMode, version: int | None, allowed: bool
) -> None:
    change = Change(wanted, "because", "somebody", NOW, version)

    assert may_change(a_mode(current, 4), change) is allowed


def test_the_peak_is_measured_anew_only_when_trading_resumes_below_the_limit() -> None:
    resume = Change(ACTIVE, "looked at it", "token:operate", NOW, 2)
    below, above = a_mark(80, 100), a_mark(95, 100)

    assert changed(a_mode(REDUCING, 2), resume, below, some_limits()).restarts_peak
    assert not changed(a_mode(REDUCING, 2), resume, above, some_limits()).restarts_peak
    assert not changed(a_mode(REDUCING, 2), resume, None, some_limits()).restarts_peak
    for_exits = replace(resume, wanted=REDUCING)
    assert changed(a_mode(HALTED, 2), for_exits, below, some_limits()).restarts_peak
    halt = Change(HALTED, "storm", "token:kill", NOW)
    assert not changed(a_mode(REDUCING, 2), halt, below, some_limits()).restarts_peak


def test_a_loss_of_the_day_begins_the_day_anew_and_leaves_the_peak() -> None:
    resume = Change(ACTIVE, "looked at it", "token:operate", NOW, 2)
    # 10 % below where the day began, and as much below the peak.
    lost, within = a_mark(90, 100, day=100), a_mark(99, 100, day=100)

    def flags(last: Mark) -> tuple[bool, bool]:
        mode = changed(a_mode(REDUCING, 2), resume, last, some_limits())
        return mode.restarts_peak, mode.restarts_day

    assert flags(lost) == (False, True)
    assert flags(within) == (False, False)
    # Below the peak since long ago, and quiet today.
    assert flags(a_mark(80, 100, day=81)) == (True, False)


def test_asking_for_the_mode_that_is_changes_nothing() -> None:
    current = a_mode(HALTED, 2)

    assert changed(current, Change(HALTED, "again", "x", NOW), None, some_limits()) is current


def test_a_text_that_is_read_again_is_not_taken_apart_again() -> None:
    taken_apart: list[str] = []

    def make(text: str) -> str:
        taken_apart.append(text)
        return text.upper()

    made = Made[str]()

    assert made.of(["a", "b"], make) == ("A", "B")
    assert made.of(["b", "c"], make) == ("B", "C")
    assert made.of(["a"], make) == ("A",)
    assert taken_apart == ["a", "b", "c", "a"]


def test_of_texts_that_are_alike_each_one_counts() -> None:
    assert Made[int]().of(["7", "8", "7"], int) == (7, 8, 7)


def test_what_is_made_beside_something_else_is_made_anew() -> None:
    made, ratios = Made[str](), {"a": 1}

    def make(text: str) -> str:
        return f"{text} times {ratios[text]}"

    assert made.of(["a"], make, beside=dict(ratios)) == ("a times 1",)
    ratios["a"] = 2
    assert made.of(["a"], make, beside=dict(ratios)) == ("a times 2",)
