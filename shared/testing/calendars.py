"""A small exchange calendar, so that tests need not build the real one."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from shared.domain.calendar import NEW_YORK, Session, TradingCalendar

FIRST_ON = date(2024, 1, 1)
LAST_ON = date(2026, 12, 31)
# The Friday after Thanksgiving closes early; on Martin Luther King's day nobody trades.
HALF_DAYS = frozenset({date(2025, 11, 28)})
HOLIDAYS = frozenset({date(2026, 1, 1), date(2026, 1, 19)})


def a_session(on: date, *, closes: time = time(16, 0)) -> Session:
    """The regular hours of one day in New York, both ways across its clock changes."""
    return Session(
        on,
        datetime.combine(on, time(9, 30), NEW_YORK).astimezone(UTC),
        datetime.combine(on, closes, NEW_YORK).astimezone(UTC),
    )


def a_calendar(first_on: date = FIRST_ON, last_on: date = LAST_ON) -> TradingCalendar:
    """Every weekday a session but for a few days, each of another kind."""
    days = [first_on + timedelta(days=n) for n in range((last_on - first_on).days + 1)]
    return TradingCalendar(
        [
            a_session(day, closes=time(13, 0) if day in HALF_DAYS else time(16, 0))
            for day in days
            if day.weekday() < 5 and day not in HOLIDAYS
        ]
    )
