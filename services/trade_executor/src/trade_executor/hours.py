"""Do we and the broker keep the same hours, and the same time?

A half day that our calendar misses would let entries wait for an exchange that has closed, and a clock that is off
makes every age and every phase wrong. So both are compared with what the broker says; a session on which the two
differ takes no entry, and neither does any while the clocks differ, until they agree again. Nothing is corrected by
itself: which of the two is right is a person's question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import structlog

from shared.domain.calendar import NEW_YORK, Session, TradingCalendar
from shared.ports import Clock, Timer, VenueHours
from trade_executor.store import Store

_log = structlog.get_logger(__name__)
# As far as holidays and half days are surely announced.
LOOK_AHEAD = timedelta(days=30)
# A signal's age and the market's phase are judged by this machine's clock.
MOST_CLOCK_DIFFERENCE_S = 2.0
SESSION, CLOCK = "SESSION", "CLOCK"
CLOCK_SUBJECT = "this machine's clock"


@dataclass(frozen=True, slots=True)
class HoursOfDay:
    """One exchange day as both sides have it, in words; they may be equal."""

    on: date
    ours: str
    theirs: str

    @property
    def differ(self) -> bool:
        """Whether they are not the same hours."""
        return self.ours != self.theirs


@dataclass(frozen=True, slots=True)
class HoursReport:
    """What one comparison saw; `clock_off_s` is None in a replay, whose time is the venue's own."""

    first_on: date
    last_on: date
    sessions: int
    differing: tuple[HoursOfDay, ...]
    clock_off_s: float | None
    clocks_agree: bool


def compare(ours: Sequence[Session], theirs: Sequence[Session]) -> list[HoursOfDay]:
    """Every day on which either side has a session, oldest first."""
    mine = {session.on: session for session in ours}
    other = {session.on: session for session in theirs}
    return [
        HoursOfDay(on, _words(mine.get(on)), _words(other.get(on)))
        for on in sorted({*mine, *other})
    ]


def clock_difference_s(before: datetime, theirs: datetime, after: datetime) -> float:
    """How far we are surely behind (above zero) or ahead of the broker; zero within the answer's own time."""
    if theirs > after:
        return (theirs - after).total_seconds()
    return min(0.0, (theirs - before).total_seconds())


class HoursCheck:
    """Compares and keeps what differs as differences with the broker."""

    def __init__(
        self,
        store: Store,
        hours: VenueHours,
        calendar: TradingCalendar,
        clock: Clock,
        timer: Timer,
        *,
        is_replay: bool,
    ) -> None:
        self._store = store
        self._hours = hours
        self._calendar = calendar
        self._clock = clock
        self._timer = timer
        self._is_replay = is_replay

    async def run(self) -> HoursReport:
        """Compare once.

        Raises:
            Unavailable, RateLimited: the broker or the database gave no answer.
        """
        off_s = None if self._is_replay else await self._clock_off_s()
        agree = off_s is None or abs(off_s) <= MOST_CLOCK_DIFFERENCE_S
        await self._settle(
            CLOCK,
            CLOCK_SUBJECT,
            "" if off_s is None else f"a clock that is {-off_s:+.1f} s off",
            "the exchange's time; set ours by the network (timedatectl set-ntp true)",
            differs=not agree,
        )
        first_on = self._clock.now().astimezone(NEW_YORK).date()
        last_on = min(first_on + LOOK_AHEAD, self._calendar.last_on)
        theirs = await self._hours.sessions(first_on, last_on)
        days = compare(self._calendar.between(first_on, last_on), theirs)
        differing = tuple(day for day in days if day.differ)
        for day in differing:
            _log.error("hours differ", session_on=f"{day.on}", ours=day.ours, broker=day.theirs)
            await self._settle(SESSION, f"{day.on}", day.ours, day.theirs, differs=True)
        # Also days that are over, and those on which neither side has a session any more.
        await self._store.differences.close_days(
            SESSION, [day.on for day in differing], first_on, last_on, at=self._clock.now()
        )
        return HoursReport(first_on, last_on, len(days), differing, off_s, agree)

    async def _clock_off_s(self) -> float:
        before = self._clock.now()
        theirs = await self._hours.clock()
        return clock_difference_s(before, theirs, self._clock.now())

    async def _settle(
        self, kind: str, subject: str, ours: str, theirs: str, *, differs: bool
    ) -> None:
        now = self._clock.now()
        await self._store.differences.settle(
            kind, subject, None, ours=ours, theirs=theirs, differs=differs, since=now, at=now
        )


def _words(session: Session | None) -> str:
    if session is None:
        return "no session"
    opens, closes = (at.astimezone(NEW_YORK) for at in (session.open_at, session.close_at))
    return f"{opens:%H:%M} to {closes:%H:%M} New York"
