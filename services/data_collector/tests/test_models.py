"""Tests of what the collector decides: what comes in, when a batch is closed, what is caught up with."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from operator import attrgetter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_collector.batches import Batches, age_in_bars, digest_of
from data_collector.boundary import RawBar, admit
from data_collector.catching_up import WARM_UP_BARS, by_instant, plan, warm_up_start
from data_collector.testing import raw
from shared.domain.bars import Bar
from shared.domain.money import parse_price
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.testing.bar_stores import NOON, a_bar, a_block
from shared.testing.calendars import a_calendar

CALENDAR = a_calendar()
MINUTE = timedelta(minutes=1)
AAPL, MSFT, TSLA = Symbol("AAPL"), Symbol("MSFT"), Symbol("TSLA")
GOOD: dict[str, Any] = {"t": "2026-01-15T15:00:00Z", "o": 10, "h": 11.5, "l": 9, "c": 10.1, "v": 7}


def row(symbol: object = "AAPL", **changes: object) -> RawBar:
    said = {**GOOD, **changes}
    t, o, h, low, c, v = (said[key] for key in ("t", "o", "h", "l", "c", "v"))
    return RawBar(symbol, t, o, h, low, c, v, said)


# ---------------------------------------------------------------- the boundary


def test_a_good_bar_comes_in_exact_and_with_its_end() -> None:
    admitted = admit([row()], Timeframe.MINUTE, CALENDAR, NOON + MINUTE)

    assert admitted.refused == ()
    (bar,) = admitted.bars
    assert (bar.symbol, bar.start_at, bar.end_at) == (AAPL, NOON, NOON + MINUTE)
    assert (bar.high, bar.close, bar.volume) == (Decimal("11.500000"), Decimal("10.100000"), 7)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (row("../etc"), "is not a symbol"),
        (row(7), "is not a symbol"),
        (row(o=float("nan")), "price must be above zero"),
        (row(c=0), "price must be above zero"),
        (row(c=-1), "price must be above zero"),
        (row(c=None), "price must be a number"),
        (row(h=9.5), "must lie between"),
        (row(v=1.5), "whole number of shares"),
        (row(v=-1), "volume must be"),
        (row(v=None), "whole number of shares"),
        (row(v=float("inf")), "whole number of shares"),
        (row(t="2026-01-15T15:00:00"), "must carry a time zone"),
        (row(t="yesterday"), "must look like"),
        (row(t=1768489200), "must be a text"),
        (row(t="2026-01-15T15:00:30Z"), "cannot start at"),
        (row(t="2026-01-15T15:02:00Z"), "comes from the future"),
    ],
)
def test_a_bar_that_cannot_be_right_is_refused_with_its_reason_and_holds_up_no_other(
    bad: RawBar, reason: str
) -> None:
    admitted = admit([bad, row("MSFT")], Timeframe.MINUTE, CALENDAR, NOON + MINUTE)

    assert [bar.symbol for bar in admitted.bars] == [MSFT]
    (refused,) = admitted.refused
    assert reason in refused.reason
    assert refused.raw.startswith("{")


def test_hostile_text_is_stored_bounded_and_without_control_characters() -> None:
    admitted = admit(
        [row("A\x00\x1b[31m" * 50, note="x" * 9_000)], Timeframe.MINUTE, CALENDAR, NOON + MINUTE
    )

    (refused,) = admitted.refused
    assert refused.symbol.isprintable()
    assert len(refused.symbol) <= 40
    assert len(refused.raw) <= 2_000
    assert "\x00" not in refused.raw + refused.reason


def test_a_bar_outside_the_session_or_still_running_is_passed_over() -> None:
    before_open = row(t="2026-01-15T14:29:00Z")
    running = row()
    holiday = row(t="2026-01-19T15:00:00Z")

    first = admit([before_open, running], Timeframe.MINUTE, CALENDAR, NOON + MINUTE / 2)
    second = admit([holiday], Timeframe.MINUTE, CALENDAR, NOON + timedelta(days=9))

    assert (first.bars, first.refused, first.passed_over) == ((), (), 2)
    assert (second.bars, second.passed_over) == ((), 1)


def test_a_minute_that_ended_by_the_venues_clock_comes_in_though_ours_is_a_little_behind() -> None:
    now = NOON + MINUTE - timedelta(seconds=2)

    assert len(admit([row()], Timeframe.MINUTE, CALENDAR, now).bars) == 1


def test_a_daily_bar_is_keyed_by_its_new_york_day_and_comes_in_when_its_session_has_closed() -> (
    None
):
    close_at = datetime(2026, 1, 15, 21, 0, tzinfo=UTC)
    stamps = ["2026-01-15T05:00:00Z", "2026-01-15T14:30:00Z"]
    rows = [row(t=stamp) for stamp in stamps]

    running = admit(rows, Timeframe.DAY, CALENDAR, close_at - timedelta(seconds=1))
    closed = admit(rows, Timeframe.DAY, CALENDAR, close_at)

    assert (running.bars, running.passed_over) == ((), 2)
    assert {(b.start_at, b.end_at) for b in closed.bars} == {
        (datetime(2026, 1, 15, 5, 0, tzinfo=UTC), close_at)
    }


def test_a_daily_bar_on_a_holiday_is_refused() -> None:
    holiday = row(t="2026-01-19T05:00:00Z")

    (refused,) = admit([holiday], Timeframe.DAY, CALENDAR, NOON + timedelta(days=9)).refused

    assert "no session" in refused.reason


def test_the_hour_in_which_the_session_opens_comes_in() -> None:
    opening = row(t="2026-01-15T14:00:00Z")

    (bar,) = admit([opening], Timeframe.HOUR, CALENDAR, NOON).bars

    assert bar.end_at == NOON


# ---------------------------------------------------------------- batches


def batches(grace_s: float | None = 2.0, until: datetime | None = None) -> Batches:
    return Batches(Timeframe.MINUTE, [AAPL, MSFT], grace_s=grace_s, announced_until=until)


def test_a_batch_closes_when_every_tracked_symbol_is_in() -> None:
    open_ones = batches()
    open_ones.add(a_block(a_bar("MSFT")), 0.0)
    assert open_ones.due(NOON + MINUTE, 0.0) == []

    open_ones.add(a_block(a_bar("AAPL")), 0.0)

    (block,) = open_ones.due(NOON + MINUTE, 0.0)
    assert block.symbols == (AAPL, MSFT)
    assert open_ones.pending == 0


def test_a_batch_closes_at_the_sources_end_marker() -> None:
    open_ones = batches(grace_s=None)
    open_ones.add(a_block(a_bar("MSFT")), 0.0)

    open_ones.end(NOON + MINUTE)

    assert [b.symbols for b in open_ones.due(NOON + MINUTE, 0.0)] == [(MSFT,)]


def test_a_batch_closes_after_the_grace_time_and_not_before() -> None:
    open_ones = batches()
    open_ones.add(a_block(a_bar("MSFT")), 10.0)

    assert open_ones.due(NOON + MINUTE, 11.9) == []
    assert len(open_ones.due(NOON + MINUTE, 12.0)) == 1


def test_without_a_grace_time_a_batch_waits_for_its_marker_however_long() -> None:
    open_ones = batches(grace_s=None)
    open_ones.add(a_block(a_bar("MSFT")), 0.0)

    assert open_ones.due(NOON + MINUTE, 1e9) == []


def test_no_batch_closes_before_its_end() -> None:
    open_ones = batches()
    open_ones.add(a_block(a_bar("AAPL")), 0.0)
    open_ones.add(a_block(a_bar("MSFT")), 0.0)
    open_ones.end(NOON + MINUTE)

    assert open_ones.due(NOON + MINUTE - timedelta(microseconds=1), 99.0) == []


def test_a_bar_of_a_closed_instant_is_late_and_changes_nothing() -> None:
    open_ones = batches(until=NOON + MINUTE)

    late = open_ones.add(a_block(a_bar("AAPL"), a_bar("AAPL", 1)), 0.0)

    assert list(late) == [a_bar("AAPL")]
    assert open_ones.pending == 1


def test_an_older_instant_closes_before_a_newer_one_that_is_complete() -> None:
    open_ones = batches()
    open_ones.add(a_block(a_bar("AAPL", 0)), 0.0)
    open_ones.add(a_block(a_bar("AAPL", 1)), 0.0)
    open_ones.add(a_block(a_bar("MSFT", 1)), 0.0)

    closed = open_ones.due(NOON + 2 * MINUTE, 0.0)

    assert [list(block) for block in closed] == [
        [a_bar("AAPL", 0)],
        [a_bar("AAPL", 1), a_bar("MSFT", 1)],
    ]
    assert list(open_ones.add(a_block(a_bar("MSFT", 0)), 0.0)) == [a_bar("MSFT", 0)]


def test_of_two_bars_of_one_symbol_the_later_one_counts() -> None:
    open_ones = batches()
    open_ones.add(a_block(a_bar("AAPL", close=1)), 0.0)
    open_ones.add(a_block(a_bar("AAPL", close=2)), 0.0)
    open_ones.end(NOON + MINUTE)

    (block,) = open_ones.due(NOON + MINUTE, 0.0)

    assert list(block) == [a_bar("AAPL", close=2)]


def test_the_number_of_open_instants_is_bounded() -> None:
    open_ones = batches(grace_s=None)
    for minute in range(200):
        open_ones.add(a_block(a_bar("AAPL", minute)), 0.0)
        open_ones.due(NOON, 0.0)

    assert open_ones.pending == 64


arrivals = st.permutations(
    [a_bar(symbol, minute) for symbol in ("AAPL", "MSFT") for minute in range(4)]
)


@given(arrived=arrivals)
def test_f71_however_bars_arrive_before_their_markers_the_batches_are_the_same(
    arrived: list[Bar],
) -> None:
    open_ones = batches(grace_s=None)
    for bar in arrived:
        open_ones.add(a_block(bar), 0.0)
    closed = []
    for minute in range(1, 5):
        open_ones.end(NOON + minute * MINUTE)
        closed += open_ones.due(NOON + minute * MINUTE, 0.0)

    assert [digest_of(block) for block in closed] == [
        digest_of(a_block(a_bar("AAPL", minute), a_bar("MSFT", minute))) for minute in range(4)
    ]


def test_a_digest_names_the_figures_and_the_symbols() -> None:
    digests = {
        digest_of(a_block(bar))
        for bar in (
            a_bar("AAPL"),
            a_bar("MSFT"),
            a_bar("AAPL", 1),
            a_bar("AAPL", close=101),
            a_bar("AAPL", volume=1),
        )
    }

    assert len(digests) == 5
    assert digest_of(a_block(a_bar())) == digest_of(a_block(a_bar()))


def test_a_night_does_not_age_a_bar() -> None:
    close_at = datetime(2026, 1, 15, 21, 0, tzinfo=UTC)
    next_open_at = datetime(2026, 1, 16, 14, 30, tzinfo=UTC)

    assert age_in_bars(close_at, next_open_at, Timeframe.MINUTE, CALENDAR) == 0
    assert age_in_bars(close_at, next_open_at + 2 * MINUTE, Timeframe.MINUTE, CALENDAR) == 2
    next_close_at = datetime(2026, 1, 16, 21, 0, tzinfo=UTC)
    assert age_in_bars(close_at, next_close_at, Timeframe.DAY, CALENDAR) == 1


odd_figures = st.one_of(
    st.sampled_from(
        [0, -1, True, None, "1", 1e-7, 1.0000005, 2.5, float("nan"), float("inf"), 10**400]
    ),
    st.floats(),
    st.integers(1, 1_000),
    st.decimals(1, 500, places=4).map(float),
)
odd_rows = st.builds(
    row,
    st.sampled_from(["AAPL", "MSFT", "../x", "aapl", 7]),
    t=st.sampled_from(
        [NOON.isoformat(), (NOON + MINUTE).isoformat(), "2026-01-15", "2026-01-15T03:00:00Z", None]
    ),
    o=odd_figures,
    h=st.one_of(odd_figures, st.just(600.0)),
    l=st.one_of(odd_figures, st.just(0.5)),
    c=odd_figures,
    v=odd_figures,
)


class Figure(float):
    """A float of a type of its own."""


@given(rows=st.lists(odd_rows, max_size=12))
def test_f70_many_rows_come_to_the_same_as_each_looked_at_by_itself(rows: list[RawBar]) -> None:
    now = NOON + 2 * MINUTE
    together = admit(rows, Timeframe.MINUTE, CALENDAR, now)
    # What is not plainly a float is never read column by column.
    apart = [
        admit([one._replace(open=Figure(one.open))], Timeframe.MINUTE, CALENDAR, now)
        if isinstance(one.open, float)
        else admit([one], Timeframe.MINUTE, CALENDAR, now)
        for one in rows
    ]

    key = attrgetter("symbol", "start_at")
    assert list(together.bars) == sorted((b for each in apart for b in each.bars), key=key)
    assert sorted(map(str, together.refused)) == sorted(
        str(bad) for each in apart for bad in each.refused
    )
    assert together.passed_over == sum(each.passed_over for each in apart)


@given(price=st.decimals("0.000001", "9999999", places=6))
def test_a_price_that_columns_take_is_the_price_that_was_written(price: Decimal) -> None:
    figure = float(price)
    (bar,) = admit(
        [row(o=figure, h=figure, l=figure, c=figure)], Timeframe.MINUTE, CALENDAR, NOON + MINUTE
    ).bars

    assert bar.open == parse_price(figure) == price


# ---------------------------------------------------------------- catching up


def test_a_symbol_without_history_is_fetched_from_the_warm_up_on() -> None:
    (wanted,) = plan(Timeframe.MINUTE, [AAPL, MSFT], {}, None, NOON, CALENDAR)

    assert wanted.symbols == (AAPL, MSFT)
    assert wanted.end_at == NOON
    open_market = CALENDAR.session_time_between(wanted.start_at, NOON)
    assert open_market >= WARM_UP_BARS * MINUTE


@pytest.mark.parametrize("timeframe", list(Timeframe))
def test_the_warm_up_holds_enough_bars_of_every_length(timeframe: Timeframe) -> None:
    start_at = warm_up_start(timeframe, NOON, CALENDAR)

    if timeframe is Timeframe.DAY:
        assert len(CALENDAR.between(start_at.date(), NOON.date())) > WARM_UP_BARS
    else:
        open_market = CALENDAR.session_time_between(start_at, NOON)
        assert open_market >= WARM_UP_BARS * timeframe.length
    assert NOON - start_at < timedelta(days=2 * 366)


def test_known_symbols_are_fetched_from_a_little_before_their_newest_bar() -> None:
    stored = {AAPL: NOON, MSFT: NOON - timedelta(days=5)}

    wanted = plan(Timeframe.MINUTE, [AAPL, MSFT, TSLA], stored, None, NOON + MINUTE, CALENDAR)

    by_symbol = {symbol: w.start_at for w in wanted for symbol in w.symbols}
    assert by_symbol.keys() == {AAPL, MSFT, TSLA}
    assert by_symbol[AAPL] < NOON
    assert NOON - by_symbol[AAPL] < timedelta(days=3)
    assert by_symbol[MSFT] < NOON - timedelta(days=5)


def test_a_hole_behind_a_backfill_is_fetched_since_announced_instants_count_too() -> None:
    announced_until = NOON - timedelta(days=7)

    (wanted,) = plan(Timeframe.MINUTE, [AAPL], {AAPL: NOON}, announced_until, NOON, CALENDAR)

    assert wanted.start_at <= announced_until


def test_a_long_absence_is_not_fetched_whole_at_the_start() -> None:
    stored = {AAPL: NOON - timedelta(days=600)}

    (wanted,) = plan(Timeframe.MINUTE, [AAPL], stored, None, NOON, CALENDAR)

    assert wanted.start_at >= NOON - timedelta(days=31)


def test_bars_are_cut_by_the_instant_at_which_they_end() -> None:
    early, late = a_bar("AAPL", 0), a_bar("AAPL", 1)
    other = replace(a_bar("MSFT", 0), start_at=NOON + MINUTE / 2)

    blocks = [list(block) for block in by_instant(a_block(late, early, other))]

    assert blocks == [[early, other], [late]]


def test_the_stand_in_rows_say_what_the_bar_says() -> None:
    bar = a_bar(close="12.25")

    assert admit([raw(bar)], Timeframe.MINUTE, CALENDAR, bar.end_at).bars == (bar,)


def test_the_calendar_of_tests_knows_the_days_it_should() -> None:
    assert CALENDAR.session_on(date(2026, 1, 19)) is None
    half = CALENDAR.session_on(date(2025, 11, 28))
    assert half is not None
    assert half.close_at - half.open_at == timedelta(hours=3, minutes=30)
