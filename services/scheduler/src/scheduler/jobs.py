"""Which jobs are there, and when is each due?"""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from scheduler.actions import Actions
from scheduler.runs import Figures
from scheduler.schedules import AroundSession, Edge, Expiry, OnSessionDays, Schedule

Work = Callable[[date], Awaitable[Figures]]


@dataclass(frozen=True, slots=True)
class Job:
    """One thing that is done again and again."""

    job_id: str
    description: str
    work: Work


@dataclass(frozen=True, slots=True)
class CalendarJob(Job):
    """Due in the venue's time."""

    schedule: Schedule

    @property
    def when(self) -> str:
        """The rule, for people."""
        return f"{self.schedule.moment}, no later than {self.schedule.expiry.value}"


@dataclass(frozen=True, slots=True)
class BeatingJob(Job):
    """Due every so many seconds of machine time, whatever the venue's clock does."""

    every_s: float

    @property
    def when(self) -> str:
        """The rule, for people."""
        return f"every {self.every_s:g} s of machine time"


def catalogue(actions: Actions) -> tuple[Job, ...]:
    """All jobs, in the order in which those due together are run."""
    return (
        BeatingJob(
            "service_health",
            "Ask the other services for their health and readiness.",
            actions.service_health,
            every_s=30.0,
        ),
        CalendarJob(
            "market_data_catch_up",
            "Fetch missing history of the tracked symbols.",
            actions.market_data_catch_up,
            Schedule(OnSessionDays("30 8 * * *"), Expiry.OPEN),
        ),
        CalendarJob(
            "reconcile",
            "Compare orders, fills, positions and cash with the broker's.",
            actions.reconcile,
            Schedule(AroundSession(Edge.OPEN, timedelta(minutes=-10)), Expiry.OPEN),
        ),
        # Positions carry no date, so a snapshot is only true until somebody can trade again.
        CalendarJob(
            "portfolio_snapshot",
            "Store cash, positions and equity as they are after the close.",
            actions.portfolio_snapshot,
            Schedule(AroundSession(Edge.CLOSE, timedelta(minutes=5)), Expiry.NEXT_OPEN),
        ),
        CalendarJob(
            "daily_performance",
            "Keep wins, losses, profit factor and expectancy of the day's closed trades.",
            actions.daily_performance,
            Schedule(AroundSession(Edge.CLOSE, timedelta(minutes=7)), Expiry.SUPERSEDED),
        ),
        CalendarJob(
            "end_of_day_report",
            "Store the day's signals, decisions, orders, fills, equity and profit.",
            actions.end_of_day_report,
            Schedule(AroundSession(Edge.CLOSE, timedelta(minutes=10)), Expiry.SUPERSEDED),
        ),
        CalendarJob(
            "cross_check",
            "Compare the closes of two data providers and hold symbols on which they disagree.",
            actions.cross_check,
            Schedule(OnSessionDays("0 20 * * *"), Expiry.NEXT_OPEN),
        ),
        CalendarJob(
            "compact_history",
            "Merge the day's small files of market history.",
            actions.compact_history,
            Schedule(OnSessionDays("0 21 * * *"), Expiry.NEXT_OPEN),
        ),
    )


def likely(job_id: str, jobs: Mapping[str, Job]) -> str:
    """A sentence about an id that is no job's, with the likeliest one meant."""
    near = difflib.get_close_matches(job_id[:64], jobs, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(jobs)}"
    return f"there is no job {job_id[:64]!r}; {hint}"
