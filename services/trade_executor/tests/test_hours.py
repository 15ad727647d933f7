"""Hours and clock as the broker has them, beside ours."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from shared.domain.calendar import Session
from shared.domain.errors import InvalidInput
from trade_executor import wire
from trade_executor.hours import clock_difference_s, compare

NOW = datetime(2026, 11, 25, 14, 30, tzinfo=UTC)


def a_session(day: int, *, closes: int = 21) -> Session:
    at = datetime(2026, 11, day, 14, 30, tzinfo=UTC)
    return Session(date(2026, 11, day), at, at.replace(hour=closes, minute=0))


def test_a_half_day_that_one_side_misses_a_day_of_its_own_and_equal_days_are_told_apart() -> None:
    ours = [a_session(25), a_session(26), a_session(27)]
    theirs = [a_session(25), a_session(27, closes=18), a_session(30)]

    found = {f"{day.on:%d}": (day.ours, day.theirs) for day in compare(ours, theirs) if day.differ}

    usual = "09:30 to 16:00 New York"
    assert found == {
        "26": (usual, "no session"),
        "27": (usual, "09:30 to 13:00 New York"),
        "30": ("no session", usual),
    }


@pytest.mark.parametrize(
    ("theirs_s", "took_s", "off_s"),
    [(0.5, 1.0, 0.0), (10.0, 1.0, 9.0), (-10.0, 1.0, -10.0), (0.0, 0.0, 0.0)],
)
def test_a_clock_is_off_by_no_more_than_its_answers_own_time_leaves_open(
    theirs_s: float, took_s: float, off_s: float
) -> None:
    theirs, after = NOW + timedelta(seconds=theirs_s), NOW + timedelta(seconds=took_s)

    assert clock_difference_s(NOW, theirs, after) == off_s


def test_the_brokers_words_are_read_as_new_yorks_hours() -> None:
    raw = {"date": "2026-11-27", "open": "09:30", "close": "13:00", "session_open": "0400"}

    assert wire.read_session(raw) == a_session(27, closes=18)
    assert wire.read_clock({"timestamp": "2026-11-25T09:30:00-05:00", "is_open": True}) == NOW


@pytest.mark.parametrize("raw", [{}, {"date": "2026-11-27", "open": "9", "close": None}, [], None])
def test_what_is_no_calendar_day_or_clock_is_refused(raw: Any) -> None:
    with pytest.raises(InvalidInput):
        wire.read_session(raw)
    with pytest.raises(InvalidInput):
        wire.read_clock(raw)
