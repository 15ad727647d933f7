"""Tests of what is found wrong with bars, each on the smallest data that shows it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.bar_blocks import to_epoch_us
from shared.domain.quality import Finding, Kind, Series, Severity, bad_print, check, split_ratio
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.testing.calendars import a_calendar

CALENDAR = a_calendar()
OPEN_AT = datetime(2026, 1, 13, 14, 30, tzinfo=UTC)
NOW = datetime(2026, 1, 14, 12, 0, tzinfo=UTC)


def minutes(count: int = 390, begins_at: datetime = OPEN_AT, price: float = 100.0) -> Series:
    """A quiet session around `price`."""
    rows = np.arange(count)
    close = price * (1 + 0.001 * np.sin(rows / 7.0))
    return Series(
        Symbol("AAPL"),
        Timeframe.MINUTE,
        to_epoch_us(begins_at) + rows * 60_000_000,
        close * 0.9999,
        close * 1.0005,
        close * 0.9995,
        close,
        1_000 + rows,
    )


def days(prices: list[float], first_on: date = date(2025, 6, 2)) -> Series:
    """A daily bar per session from `first_on` on."""
    sessions = CALENDAR.between(first_on, date(2026, 12, 1))[: len(prices)]
    close = np.array(prices)
    starts = [
        to_epoch_us(datetime(s.on.year, s.on.month, s.on.day, 5, tzinfo=UTC)) for s in sessions
    ]
    return Series(
        Symbol("AAPL"),
        Timeframe.DAY,
        np.array(starts),
        close,
        close * 1.01,
        close * 0.99,
        close,
        np.arange(1, len(close) + 1) * 1_000,
    )


def with_row(series: Series, row: int, **figures: float) -> Series:
    for name, value in figures.items():
        getattr(series, name)[row] = value
    return series


def joined(*parts: Series) -> Series:
    columns = ("start_us", "open", "high", "low", "close", "volume")
    first = parts[0]
    merged: Any = [np.concatenate([getattr(part, name) for part in parts]) for name in columns]
    return Series(first.symbol, first.timeframe, *merged)


def found(series: Series, now: datetime = NOW, **more: Any) -> list[Finding]:
    return check(series, CALENDAR, now=now, **more)


def kinds(series: Series, **more: Any) -> list[Kind]:
    return [finding.kind for finding in found(series, **more)]


def test_a_sound_session_has_nothing_wrong() -> None:
    assert found(minutes()) == []
    assert found(days([100.0 + n % 7 for n in range(60)])) == []


def test_a_first_bar_that_opens_at_the_price_from_before_a_seven_for_one_split_is_caught() -> None:
    # Before the open, as it was seen: everything else of the day stands at 92 dollars.
    early = minutes(800, OPEN_AT - timedelta(hours=6, minutes=30), price=92.42)
    (finding,) = [
        f for f in found(with_row(early, 0, open=645.57, high=645.57)) if f.kind is Kind.SPIKE
    ]

    assert finding.severity is Severity.ERROR
    assert finding.first_at == OPEN_AT - timedelta(hours=6, minutes=30)
    assert "645.57" in finding.detail
    assert "7:1 split" in finding.detail


@given(
    row=st.integers(0, 389),
    name=st.sampled_from(["high", "low"]),
    factor=st.floats(1.1, 1_000.0),
)
def test_a_single_far_print_is_found_wherever_it_stands(row: int, name: str, factor: float) -> None:
    series = minutes()
    price = getattr(series, name)[row]
    bad = with_row(series, row, **{name: price * factor if name == "high" else price / factor})

    spikes = [f for f in found(bad) if f.kind is Kind.SPIKE]

    assert [f.first_at for f in spikes] == [OPEN_AT + timedelta(minutes=row)]


@given(level=st.floats(0.2, 5.0))
def test_a_level_that_stays_is_no_bad_print(level: float) -> None:
    assert Kind.SPIKE not in kinds(
        joined(minutes(195), minutes(195, OPEN_AT + timedelta(minutes=195), 100 * level))
    )


def test_a_split_that_nobody_applied_is_found_unless_it_is_explained() -> None:
    series = days([400.0 + n % 5 for n in range(30)] + [100.0 + n % 3 for n in range(30)])

    (finding,) = found(series)
    assert (finding.kind, finding.severity) == (Kind.SPLIT, Severity.ERROR)
    assert "4:1 split" in finding.detail
    (known,) = found(series, explained_splits=[finding.last_at.date()])
    assert known.severity is Severity.NOTE


def test_a_fall_by_a_quarter_is_no_split_but_a_reverse_split_is_one() -> None:
    fallen = days([150.0 + n % 2 for n in range(30)] + [112.0 + n % 2 for n in range(30)])
    assert kinds(fallen) == []
    reverse = days([2.0 + n % 3 / 50 for n in range(30)] + [20.0 + n % 3 / 5 for n in range(30)])
    (finding,) = found(reverse)
    assert "1:10 split" in finding.detail


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({"close": float("nan")}, "no finite number"),
        ({"high": float("inf")}, "no finite number"),
        ({"low": 0.0}, "zero or less"),
        ({"low": -1.0}, "zero or less"),
        ({"high": 50.0}, "outside of low and high"),
        ({"volume": -1}, "below zero"),
    ],
)
def test_figures_that_contradict_themselves_are_invalid(
    figures: dict[str, float], words: str
) -> None:
    (finding, *_) = found(with_row(minutes(), 100, **figures))

    assert (finding.kind, finding.severity, finding.count) == (Kind.INVALID, Severity.ERROR, 1)
    assert words in finding.detail


def test_bars_that_are_there_twice_count_more_when_they_differ() -> None:
    same = joined(minutes(), minutes())
    other = joined(minutes(), with_row(minutes(), 3, close=100.04))

    assert [(f.kind, f.severity, f.count) for f in found(same)] == [
        (Kind.DISORDER, Severity.WARNING, 780),
        (Kind.DUPLICATE, Severity.WARNING, 390),
    ]
    assert (Kind.DUPLICATE, Severity.ERROR, 1) in [
        (f.kind, f.severity, f.count) for f in found(other)
    ]


def test_holes_are_measured_against_the_exchanges_calendar() -> None:
    holed = minutes().picked(np.r_[0:100, 200:390])
    (hole,) = found(holed)
    assert (hole.kind, hole.count) == (Kind.GAP, 100)
    assert "100 minutes of the session of 2026-01-13" in hole.detail
    # Martin Luther King's day is no hole, the Thursday and Friday before it are.
    weeks = days([100.0 + n % 4 for n in range(20)], date(2026, 1, 5)).picked(np.r_[0:8, 10:20])
    (missing,) = found(weeks, datetime(2026, 3, 1, tzinfo=UTC))
    assert missing.detail == "no bar at all in 2 sessions: 2026-01-15 to 2026-01-16"


def test_a_half_day_is_whole_with_half_the_minutes() -> None:
    short = minutes(210, datetime(2025, 11, 28, 14, 30, tzinfo=UTC))

    assert found(short) == []


def test_a_feed_that_repeats_itself_and_one_that_ended_are_found() -> None:
    series = minutes()
    for name in ("open", "high", "low", "close", "volume"):
        getattr(series, name)[50:70] = getattr(series, name)[50]
    assert kinds(series) == [Kind.FROZEN]
    assert kinds(minutes(), is_live=True) == []
    assert kinds(minutes(), is_live=True, now=NOW + timedelta(days=1)) == [Kind.STALE]


def test_bars_from_the_future_and_at_impossible_times_are_found() -> None:
    assert Kind.FUTURE in kinds(minutes(), now=OPEN_AT + timedelta(minutes=10))
    odd = minutes()
    odd.start_us[7] += 1_000_000
    assert Kind.MISALIGNED in kinds(odd)


def test_a_bar_that_spans_a_split_is_a_bad_print_by_itself_but_a_wild_day_is_not() -> None:
    assert "7:1 split" in (bad_print(Timeframe.MINUTE, 645.57, 92.23) or "")
    assert bad_print(Timeframe.MINUTE, 140.0, 100.0) is None
    assert bad_print(Timeframe.DAY, 645.57, 92.23) is None


@given(n=st.sampled_from([2, 3, 4, 7, 10, 20]), noise=st.floats(0.97, 1.03))
def test_ratios_of_splits_are_recognised_both_ways(n: int, noise: float) -> None:
    assert split_ratio(n * noise) == f"{n}:1"
    assert split_ratio(1 / (n * noise)) == f"1:{n}"
    assert split_ratio(1.2) is None
