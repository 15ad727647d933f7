"""What the calendar of a month shows."""

from __future__ import annotations

from datetime import date
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dashboard.shown import calendar


def day(number: int, kind: str, opens: str | None = None, closes: str | None = None) -> Any:
    return {"on": f"2025-11-{number:02}", "kind": kind, "open_at": opens, "close_at": closes}


def november() -> list[Any]:
    days = [day(n, "weekend" if date(2025, 11, n).weekday() > 4 else "session", "2025-11-03T14:30:00Z", "2025-11-03T21:00:00Z") for n in range(1, 31)]  # fmt: skip
    days[26] = day(27, "holiday")
    days[27] = day(28, "half_day", "2025-11-28T14:30:00Z", "2025-11-28T18:00:00Z")
    return days


def test_a_month_begins_under_its_weekday_and_marks_holidays_half_days_and_today() -> None:
    fields = calendar.fields(november(), date(2025, 11, 3))

    assert [f.number for f in fields[:7]] == ["", "", "", "", "", "1", "2"]
    by_number = {f.number: f for f in fields if f.number}
    assert (by_number["27"].text, by_number["27"].tone) == ("closed", "bad")
    assert (by_number["28"].text, by_number["28"].tone) == ("09:30-13:00, half-day", "warn")
    assert [f.number for f in fields if f.is_today] == ["3"]
    assert calendar.sentence(november()) == "19 sessions, 1 half-day, 1 holiday"


@given(year=st.integers(1990, 2100), month=st.integers(1, 12), by=st.integers(-30, 30))
def test_turning_pages_leads_to_a_month_that_exists(year: int, month: int, by: int) -> None:
    turned = calendar.shifted(year, month, by)

    assert 1990 <= turned[0] <= 2100
    assert date(*turned, 1).year == turned[0]


def test_a_scheduler_that_does_not_answer_leaves_the_fields_empty() -> None:
    assert {f.text for f in calendar.fields([], date(2026, 1, 1))} == {""}
