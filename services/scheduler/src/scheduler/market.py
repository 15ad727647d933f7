"""What does the market do now, and what next?

One picture of the exchange's day for people and programs, from the calendar and the venue's clock alone.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum

from shared.domain.calendar import NEW_YORK, Phase, Session, TradingCalendar, TradingWindow
from shared.domain.errors import InvalidTime

_INSTANT = timedelta(microseconds=1)
_PRE_FROM = time(4)
_CLOSING = timedelta(minutes=15)
_AFTER = timedelta(hours=4)
# Far beyond any number of days on which the exchange has stayed closed.
_LONGEST_BREAK = timedelta(days=14)


class MarketPhase(StrEnum):
    """What part of the exchange's day it is; finer than `Phase`, which says whether orders fill."""

    PRE = "pre"
    OPEN = "open"
    CLOSE = "close"
    AFTER = "after"
    CLOSED = "closed"


# While the exchange trades.
TRADING = frozenset({MarketPhase.OPEN, MarketPhase.CLOSE})


def market_phase(calendar: TradingCalendar, now: datetime) -> MarketPhase:
    """The part of the exchange's day at `now`.

    Before a session from 04:00 on it is `pre`, in its last quarter of an hour `close`, and after it `after` until
    four hours have passed: the hours in which the broker takes orders for extended trading.
    """
    running = calendar.session_at(now)
    if running is not None:
        closing = now >= running.close_at - _CLOSING
        return MarketPhase.CLOSE if closing else MarketPhase.OPEN
    session = calendar.session_on(now.astimezone(NEW_YORK).date())
    if session is None:
        return MarketPhase.CLOSED
    if now < session.open_at:
        begins_at = datetime.combine(session.on, _PRE_FROM, NEW_YORK)
        return MarketPhase.PRE if now >= begins_at else MarketPhase.CLOSED
    return MarketPhase.AFTER if now < session.close_at + _AFTER else MarketPhase.CLOSED


def next_in_phases(
    calendar: TradingCalendar, now: datetime, phases: Collection[MarketPhase]
) -> datetime | None:
    """The first instant from `now` on that lies in one of `phases`; None where the calendar does not reach so far."""
    if market_phase(calendar, now) in phases:
        return now
    today = now.astimezone(NEW_YORK).date()
    for session in calendar.between(today, today + _LONGEST_BREAK):
        begins_at = datetime.combine(session.on, _PRE_FROM, NEW_YORK).astimezone(UTC)
        for at in (begins_at, session.open_at, session.close_at - _CLOSING, session.close_at):
            if at > now and market_phase(calendar, at) in phases:
                return at
    return None


@dataclass(frozen=True, slots=True)
class MarketDay:
    """The phase at one instant and the instants that come next; None where the calendar ends."""

    now_at: datetime
    phase: Phase
    market_phase: MarketPhase
    session: Session | None
    is_half_day: bool
    next_open_at: datetime | None
    next_close_at: datetime | None
    entries_from_at: datetime | None
    entries_until_at: datetime | None
    entries_allowed: bool


def market_day(calendar: TradingCalendar, window: TradingWindow, now: datetime) -> MarketDay:
    """The market at `now`; `session` is the running one, else the next."""
    running = calendar.session_at(now)
    following = _next(calendar, now)
    session = running or following
    entries = _entry_window(calendar, window, now)
    return MarketDay(
        now_at=now,
        phase=calendar.phase_at(now),
        market_phase=market_phase(calendar, now),
        session=session,
        is_half_day=session is not None and is_half_day(session),
        next_open_at=None if following is None else following.open_at,
        next_close_at=None if session is None else session.close_at,
        entries_from_at=None if entries is None else entries[0],
        entries_until_at=None if entries is None else entries[1],
        entries_allowed=entries is not None and entries[0] <= now < entries[1],
    )


class DayKind(StrEnum):
    """What the exchange does on a day; UNKNOWN lies beyond what the calendar knows."""

    SESSION = "session"
    HALF_DAY = "half_day"
    HOLIDAY = "holiday"
    WEEKEND = "weekend"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class CalendarDay:
    """One day of a month; `session` is None where there is none."""

    on: date
    kind: DayKind
    session: Session | None


def is_half_day(session: Session) -> bool:
    """Whether it closes before 16:00 New York."""
    return session.close_at.astimezone(NEW_YORK).hour < 16


def month_of(calendar: TradingCalendar, year: int, month: int) -> list[CalendarDay]:
    """Every day of a month, oldest first. A weekday without a session is a holiday."""
    days = []
    for number in range(1, monthrange(year, month)[1] + 1):
        on = date(year, month, number)
        session = calendar.session_on(on)
        if session is not None:
            kind = DayKind.HALF_DAY if is_half_day(session) else DayKind.SESSION
        elif on.weekday() >= 5:
            kind = DayKind.WEEKEND
        elif calendar.first_on <= on <= calendar.last_on:
            kind = DayKind.HOLIDAY
        else:
            kind = DayKind.UNKNOWN
        days.append(CalendarDay(on, kind, session))
    return days


def _next(calendar: TradingCalendar, now: datetime) -> Session | None:
    try:
        return calendar.next_session(now + _INSTANT)
    except InvalidTime:
        return None


def _entry_window(
    calendar: TradingCalendar, window: TradingWindow, now: datetime
) -> tuple[datetime, datetime] | None:
    try:
        return calendar.entry_window(now, window)
    except InvalidTime:
        return None


def words_of_next(calendar: TradingCalendar, now: datetime) -> str:
    """The next session in words, e.g. `Tuesday 2026-01-06, 09:30 to 16:00 New York`."""
    try:
        session = calendar.next_session(now)
    except InvalidTime:
        return "beyond the known calendar"
    opens, closes = (at.astimezone(NEW_YORK) for at in (session.open_at, session.close_at))
    return f"{session.on:%A %Y-%m-%d}, {opens:%H:%M} to {closes:%H:%M} New York"
