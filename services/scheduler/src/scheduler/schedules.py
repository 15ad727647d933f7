"""When is a job due, and until when is it worth running?

Due times are pure functions of the exchange calendar, and of APScheduler's trigger arithmetic in New York
time where a job has a fixed hour. Nothing here asks what time it is or remembers what has run. An
occurrence past its `until_at` is never run: a reconciliation meant for before the open is no use after it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Protocol

from apscheduler.triggers.cron import CronTrigger

from shared.domain.calendar import NEW_YORK, Session, TradingCalendar
from shared.domain.errors import InvalidTime

# No due time lies further from its session than this.
_REACH = timedelta(days=2)
# What a session without a known successor is given instead of the next one's instant.
_LAST_SESSION_GRACE = timedelta(days=1)


class Edge(StrEnum):
    """The end of a session that a due time is counted from."""

    OPEN = "open"
    CLOSE = "close"


class Expiry(StrEnum):
    """What makes an occurrence too late."""

    OPEN = "its session's open"
    NEXT_OPEN = "the next session's open"
    SUPERSEDED = "its next occurrence"


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One time at which a job is due, for one session; to be run at due_at <= now < until_at."""

    session_on: date
    due_at: datetime
    until_at: datetime


class Moment(Protocol):
    """A rule that gives each session one due time."""

    def of(self, session: Session) -> datetime | None:
        """When the job is due for `session`, aware; None when it is not."""
        ...

    def __str__(self) -> str: ...


@dataclass(frozen=True, slots=True)
class AroundSession:
    """So long after a session's open or close; a negative offset lies before it."""

    edge: Edge
    offset: timedelta

    def __post_init__(self) -> None:
        if abs(self.offset) > _REACH:
            raise InvalidTime(f"an offset of {self.offset} is more than {_REACH} from its session")

    def of(self, session: Session) -> datetime:
        """See `Moment`."""
        edge_at = session.open_at if self.edge is Edge.OPEN else session.close_at
        return edge_at + self.offset

    def __str__(self) -> str:
        minutes = round(abs(self.offset).total_seconds() / 60)
        where = "after" if self.offset >= timedelta(0) else "before"
        return f"{minutes} min {where} each session's {self.edge}"


@dataclass(frozen=True, slots=True)
class OnSessionDays:
    """At the hour of a crontab line in New York time, on days that have a session and no others."""

    crontab: str
    _trigger: CronTrigger = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            trigger = CronTrigger.from_crontab(self.crontab, timezone=NEW_YORK)
        except ValueError as error:
            raise InvalidTime(f"{self.crontab!r} is no crontab line: {error}") from None
        object.__setattr__(self, "_trigger", trigger)

    def of(self, session: Session) -> datetime | None:
        """See `Moment`: the first matching minute of the session's day."""
        midnight = datetime.combine(session.on, time(), NEW_YORK)
        # Without a previous run the arithmetic depends on `now` alone, so it is pure.
        due: datetime | None = self._trigger.get_next_fire_time(None, midnight)
        if due is None or due.astimezone(NEW_YORK).date() != session.on:
            return None
        return due.astimezone(UTC)

    def __str__(self) -> str:
        minute, hour, *days = self.crontab.split()
        if minute.isdigit() and hour.isdigit() and days == ["*", "*", "*"]:
            return f"{int(hour):02}:{int(minute):02} in New York, on session days"
        return f"crontab `{self.crontab}` in New York, on session days"


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a job is due in venue time, and when an occurrence is too late."""

    moment: Moment
    expiry: Expiry

    def between(
        self, calendar: TradingCalendar, after: datetime, until: datetime
    ) -> tuple[Occurrence, ...]:
        """Occurrences with after < due_at <= until, oldest first."""
        if until <= after:
            return ()
        first_on, last_on = (after - _REACH).date(), (until + _REACH).date()
        return tuple(
            found
            for session in calendar.between(first_on, last_on)
            if (found := self._for(calendar, session)) is not None and after < found.due_at <= until
        )

    def next_after(self, calendar: TradingCalendar, after: datetime) -> Occurrence | None:
        """The first occurrence with due_at > after, or None when the calendar ends before it."""
        # Two weeks hold a session at any time of the exchange's history since 1990.
        found = self.between(calendar, after, after + timedelta(days=14))
        return found[0] if found else None

    def _for(self, calendar: TradingCalendar, session: Session) -> Occurrence | None:
        due_at = self.moment.of(session)
        if due_at is None:
            return None
        return Occurrence(session.on, due_at, self._until(calendar, session, due_at))

    def _until(self, calendar: TradingCalendar, session: Session, due_at: datetime) -> datetime:
        if self.expiry is Expiry.OPEN:
            return session.open_at
        try:
            following = calendar.next_session(session.close_at)
        except InvalidTime:
            return due_at + _LAST_SESSION_GRACE
        if self.expiry is Expiry.NEXT_OPEN:
            return following.open_at
        return self.moment.of(following) or following.close_at
