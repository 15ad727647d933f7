"""When is the exchange open, and when may an entry be sent?

Sessions come from outside (`shared.adapters.exchange_calendar`); everything here is arithmetic on
them. The trading window of the settings narrows a session and never widens it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from shared.domain.errors import InvalidTime
from shared.domain.timeframes import Timeframe

NEW_YORK = ZoneInfo("America/New_York")


@dataclass(frozen=True, slots=True)
class Session:
    """One trading day's regular hours, aware UTC; a half day simply closes earlier."""

    on: date
    open_at: datetime
    close_at: datetime


class Phase(StrEnum):
    """Where in the trading day an instant lies."""

    CLOSED = "closed"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class TradingWindow:
    """Local times between which entries may be sent, e.g. 09:30 to 16:00 in New York."""

    start: time
    end: time
    timezone: ZoneInfo

    def narrow(self, session: Session) -> tuple[datetime, datetime] | None:
        """The part of `session` inside the window as (from, until), or None when they do not meet."""
        start_at = datetime.combine(session.on, self.start, self.timezone).astimezone(UTC)
        end_at = datetime.combine(session.on, self.end, self.timezone).astimezone(UTC)
        low, high = max(start_at, session.open_at), min(end_at, session.close_at)
        return (low, high) if low < high else None


class TradingCalendar:
    """Sessions in order, with the questions that trading asks of them."""

    def __init__(self, sessions: Sequence[Session]) -> None:
        """`sessions`: oldest first, not overlapping, at least one."""
        if not sessions:
            raise InvalidTime("a calendar needs at least one session")
        self._sessions = tuple(sessions)
        self._opens = [s.open_at for s in self._sessions]
        self._closes = [s.close_at for s in self._sessions]
        self._days = [s.on for s in self._sessions]

    @property
    def first_on(self) -> date:
        """First day the calendar knows."""
        return self._days[0]

    @property
    def last_on(self) -> date:
        """Last day the calendar knows."""
        return self._days[-1]

    def between(self, first_on: date, last_on: date) -> tuple[Session, ...]:
        """Sessions with first_on <= day <= last_on, oldest first."""
        return self._sessions[bisect_left(self._days, first_on) : bisect_right(self._days, last_on)]

    def session_on(self, day: date) -> Session | None:
        """The session of that exchange day, or None on a holiday or weekend."""
        i = bisect_left(self._days, day)
        return self._sessions[i] if i < len(self._days) and self._days[i] == day else None

    def session_at(self, at: datetime) -> Session | None:
        """The session with open_at <= at < close_at, or None while the exchange is closed."""
        i = bisect_right(self._opens, at) - 1
        return self._sessions[i] if i >= 0 and at < self._closes[i] else None

    def phase_at(self, at: datetime) -> Phase:
        """OPEN from a session's open until just before its close."""
        return Phase.CLOSED if self.session_at(at) is None else Phase.OPEN

    def next_session(self, at: datetime) -> Session:
        """The first session that opens at or after `at`.

        Raises:
            InvalidTime: the calendar ends before.
        """
        i = bisect_left(self._opens, at)
        if i == len(self._opens):
            raise InvalidTime(f"the calendar ends on {self.last_on}, before {at.isoformat()}")
        return self._sessions[i]

    def last_session(self, at: datetime) -> Session | None:
        """The latest session that has opened by `at`, closed or not; None before the first."""
        i = bisect_right(self._opens, at) - 1
        return self._sessions[i] if i >= 0 else None

    def bar_end(self, start_at: datetime, timeframe: Timeframe) -> datetime:
        """When a bar that starts at `start_at` is complete.

        A daily bar may be stamped anywhere on its exchange day (Alpaca: New York midnight) and ends
        with that day's session. An intraday bar ends after its length, at the latest at the close.

        Raises:
            InvalidTime: a daily bar on a day without session.
        """
        if timeframe is Timeframe.DAY:
            day = start_at.astimezone(NEW_YORK).date()
            session = self.session_on(day)
            if session is None:
                raise InvalidTime(f"{day} has no session, so it can have no daily bar")
            return session.close_at
        end_at = start_at + timeframe.length
        inside = self.session_at(start_at)
        return min(end_at, inside.close_at) if inside is not None else end_at

    def session_time_between(self, earlier: datetime, later: datetime) -> timedelta:
        """How much open-market time lies between two instants; zero when `later` is not after."""
        total = timedelta(0)
        i = max(bisect_right(self._opens, earlier) - 1, 0)
        while i < len(self._opens) and self._opens[i] < later:
            low, high = max(self._opens[i], earlier), min(self._closes[i], later)
            if high > low:
                total += high - low
            i += 1
        return total

    def entry_window(self, at: datetime, window: TradingWindow) -> tuple[datetime, datetime]:
        """The (from, until) in which an entry decided at `at` may be sent: now, or the next window.

        Raises:
            InvalidTime: no session within the next 30 days meets the window.
        """
        current = self.session_at(at)
        if current is not None:
            span = window.narrow(current)
            if span is not None and at < span[1]:
                return max(at, span[0]), span[1]
        after = at
        while after < at + timedelta(days=30):
            session = self.next_session(after)
            span = window.narrow(session)
            if span is not None:
                return span
            after = session.close_at
        raise InvalidTime(
            "TRADING_START_TIME..TRADING_END_TIME lies outside every session of the next 30 days"
        )
