"""Which jobs are there, and when is each due?"""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from scheduler.actions import Actions
from scheduler.market import TRADING, MarketPhase
from scheduler.runs import Figures
from scheduler.schedules import AroundSession, Edge, Expiry, OnSessionDays, Schedule
from shared.domain.screens import SCREEN_EVERY

Work = Callable[[date], Awaitable[Figures]]


@dataclass(frozen=True, slots=True)
class Job:
    """One thing that is done again and again."""

    job_id: str
    description: str
    work: Work


@dataclass(frozen=True, slots=True)
class CalendarJob(Job):
    """Due in the venue's time. One that takes longer than `within_s` is given up."""

    schedule: Schedule
    within_s: float = 120.0

    @property
    def when(self) -> str:
        """The rule, for people."""
        return f"{self.schedule.moment}, no later than {self.schedule.expiry.value}"


@dataclass(frozen=True, slots=True)
class BeatingJob(Job):
    """Due every so many seconds: of machine time, whatever the venue's clock does, or of the venue's own time."""

    every_s: float
    # None: always. It neither runs nor counts as missed in the others.
    phases: frozenset[MarketPhase] | None = None
    # For work whose own rhythm is the venue's, which a replay goes through in seconds.
    by_venue: bool = False

    @property
    def when(self) -> str:
        """The rule, for people."""
        rule = f"every {self.every_s:g} s of {'exchange' if self.by_venue else 'machine'} time"
        if self.phases is None:
            return rule
        named = [phase.value for phase in MarketPhase if phase in self.phases]
        return f"{rule}, in the market's phases {', '.join(named)}"

    @property
    def may_rest(self) -> bool:
        """Whether a person may pause it; what watches the others never rests."""
        return self.phases is not None


def catalogue(actions: Actions) -> tuple[Job, ...]:
    """All jobs, in the order in which those due together are run."""
    return (*_watching(actions), *_by_calendar(actions))


def _watching(actions: Actions) -> tuple[Job, ...]:
    """Jobs that look whether what the services do by themselves is done."""
    return (
        BeatingJob(
            "service_health",
            "Ask services, PostgreSQL and Redis for their health, and providers for their budgets.",
            actions.service_health,
            every_s=30.0,
        ),
        BeatingJob(
            "screens",
            "Look how the newest screen went, and whether they are taken while the market is open.",
            actions.screens,
            every_s=SCREEN_EVERY.total_seconds(),
            phases=TRADING,
            by_venue=True,
        ),
        BeatingJob(
            "price_updates",
            "Look whether bars of the timeframe come, and ask for those that are late.",
            actions.price_updates,
            every_s=60.0,
            phases=TRADING | {MarketPhase.AFTER},
        ),
        BeatingJob(
            "strategy_evaluation",
            "Look whether every batch of bars is decided on.",
            actions.strategy_evaluation,
            every_s=60.0,
            phases=TRADING | {MarketPhase.AFTER},
        ),
        BeatingJob(
            "risk_checks",
            "Look whether every evaluation is reviewed, and how near the limits are.",
            actions.risk_checks,
            every_s=60.0,
            phases=TRADING | {MarketPhase.AFTER},
        ),
        BeatingJob(
            "portfolio_sync",
            "Compare books and broker, and look whether every review is carried out.",
            actions.portfolio_sync,
            every_s=900.0,
            phases=TRADING | {MarketPhase.PRE, MarketPhase.AFTER},
        ),
        # Begins with one as soon as it starts within these phases, since a machine may wake up in the middle of a session.
        BeatingJob(
            "check_hours",
            "Compare clock and calendar with the broker's; what differs takes no entry.",
            actions.check_hours,
            every_s=900.0,
            phases=TRADING | {MarketPhase.PRE},
        ),
    )


def _by_calendar(actions: Actions) -> tuple[Job, ...]:
    """Jobs of certain hours of an exchange day."""
    return (
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
        CalendarJob(
            "bar_retention",
            "Remove intraday bars older than RETENTION_BARS_DAYS.",
            actions.bar_retention,
            Schedule(OnSessionDays("15 21 * * *"), Expiry.NEXT_OPEN),
        ),
        CalendarJob(
            "log_retention",
            "Remove rotated logs older than RETENTION_LOGS_DAYS.",
            actions.log_retention,
            Schedule(OnSessionDays("20 21 * * *"), Expiry.NEXT_OPEN),
        ),
        CalendarJob(
            "vacuum",
            "Vacuum and analyse the database's tables.",
            actions.vacuum,
            Schedule(OnSessionDays("30 21 * * *"), Expiry.NEXT_OPEN),
            within_s=1800.0,
        ),
        CalendarJob(
            "backup",
            "Write the database into data/backups and keep RETENTION_BACKUPS of them.",
            actions.backup,
            Schedule(OnSessionDays("0 22 * * *"), Expiry.NEXT_OPEN),
            within_s=3600.0,
        ),
    )


def likely(job_id: str, jobs: Mapping[str, Job]) -> str:
    """A sentence about an id that is no job's, with the likeliest one meant."""
    near = difflib.get_close_matches(job_id[:64], jobs, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(jobs)}"
    return f"there is no job {job_id[:64]!r}; {hint}"
