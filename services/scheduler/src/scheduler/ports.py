"""What does the scheduler need from outside, beside the clock and the timer?"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Protocol

from scheduler.backlog import Backlog
from scheduler.daily_report import Day
from scheduler.notices import Happenings, Message
from scheduler.pipeline import PipelineRun, PipelineState
from scheduler.runs import (
    Budget,
    Figures,
    Heartbeat,
    JobHistory,
    Pause,
    Run,
    RunState,
    ServiceHealth,
    StoredHealth,
)
from shared.domain.calendar import Session
from shared.domain.notices import Event, Priority


class JobStore(Protocol):
    """What is known of the jobs; every method raises Unavailable when there is no answer."""

    def alone(self) -> AbstractAsyncContextManager[Callable[[], Awaitable[None]]]:
        """Be the account's only scheduler as long as the context lasts; waits for another to end.

        What it gives raises Unavailable once that can no longer be said.
        """
        ...

    async def begin(self, job_ids: Sequence[str], now: datetime) -> dict[str, datetime]:
        """Make the jobs known, end as INTERRUPTED what was running, say up to when each was considered.

        A job that is new is considered up to `now`: it has no past to have missed.
        """
        ...

    async def settle(self, job_id: str, backlog: Backlog, now: datetime) -> None:
        """Queue and record what `backlog` says, and consider the job up to `now`, all or nothing."""
        ...

    async def request(
        self, run_id: str, job_id: str, session_on: date, now: datetime, actor: str
    ) -> tuple[Run, bool]:
        """Queue a manual run; (the run, False) when `run_id` was asked for before.

        Raises:
            Rejected: the queue is full.
        """
        ...

    async def take(self, runner: str, now: datetime) -> Run | None:
        """The oldest queued run, now RUNNING; one that has become too late is MISSED instead.

        What `runner` took before and never finished comes first: its answer was lost.
        """
        ...

    async def finish(
        self,
        run: Run,
        state: RunState,
        now: datetime,
        duration_s: float,
        detail: str,
        figures: Figures,
    ) -> None:
        """Store how a RUNNING run ended; does nothing when it is no longer running."""
        ...

    async def pause(self, job_id: str, pause: Pause | None) -> None:
        """Have a known job not run when it is due, or again; a second pause keeps the first one's words."""
        ...

    async def paused(self) -> dict[str, Pause]:
        """The jobs that are paused."""
        ...

    async def beat(self, heartbeat: Heartbeat) -> None:
        """Store the latest run of a job that runs all the time."""
        ...

    async def histories(self) -> dict[str, JobHistory]:
        """What is stored of each job."""
        ...

    async def heartbeats(self) -> dict[str, Heartbeat]:
        """The latest beat of each job that has had one."""
        ...

    async def runs(self, job_id: str, before: int | None, limit: int) -> list[Run]:
        """Runs of a job with number < `before`, newest first."""
        ...

    async def run(self, run_id: str) -> Run | None:
        """One run."""
        ...

    async def record_health(self, found: Sequence[ServiceHealth], now: datetime) -> None:
        """Replace the latest answers; `since_at` stays where an answer says the same as the last."""
        ...

    async def health(self) -> list[StoredHealth]:
        """The latest answers, by service."""
        ...


class Peers(Protocol):
    """The four other services, by their HTTP APIs."""

    async def health(self) -> list[ServiceHealth]:
        """Ask all of them; never raises, since no answer is an answer here."""
        ...

    async def reconcile(self) -> Figures:
        """Have the executor compare its books with the broker's. Raises Unavailable or Rejected."""
        ...

    async def performance(self, on: date) -> Figures:
        """Have the executor keep how the trades closed on `on` went. Raises Unavailable or Rejected."""
        ...

    async def limits(self) -> list[dict[str, Any]]:
        """The account's limits with code, limit, usage and text. Raises Unavailable or Rejected."""
        ...

    async def catch_up(self) -> Figures:
        """Have the collector fetch what is missing of its symbols' history, and follow it to its end.

        Raises Unavailable or Rejected.
        """
        ...

    async def maintain(self, task: str) -> Figures:
        """Have the collector do a task of its maintenance, and follow it to its end.

        Raises Unavailable or Rejected.
        """
        ...

    async def check_hours(self) -> Figures:
        """Have the executor compare calendar and clock with the broker's.

        Raises Unavailable, or Rejected with one sentence where they differ.
        """
        ...

    async def ask_for_bars(self) -> None:
        """Have the collector fetch what is missing, without waiting for it. Raises Unavailable or Rejected."""
        ...

    async def budgets(self) -> list[Budget]:
        """What each provider lets us ask. Raises Unavailable or Rejected."""
        ...


class Machine(Protocol):
    """This process, and the servers that all services lean on."""

    async def health(self) -> list[ServiceHealth]:
        """PostgreSQL, Redis and the scheduler itself; never raises, since no answer is an answer here."""
        ...


class Upkeep(Protocol):
    """What is done at night on this machine."""

    async def vacuum(self) -> Figures:
        """Free what deleted rows hold and count tables anew. Raises Unavailable."""
        ...

    async def back_up(self) -> Figures:
        """Write the database into a new backup. Raises Rejected in the writer's own words."""
        ...

    async def forget_logs(self) -> Figures:
        """Remove rotated log files past the retention. Raises Unavailable."""
        ...


class PipelineReads(Protocol):
    """How far the stages have come. Both raise Unavailable."""

    async def state(self) -> PipelineState:
        """What is newest, and what waits."""
        ...

    async def runs(self, before: int | None, limit: int) -> list[PipelineRun]:
        """Batches with id < `before` and what followed each, newest first."""
        ...


@dataclass(frozen=True, slots=True)
class Portfolio:
    """What the account holds; dollars and signed shares.

    `equity` and what follows are of `marked_at`, when the risk manager last valued the positions.
    """

    cash: Decimal
    positions: dict[str, Decimal]
    equity: Decimal | None
    peak_equity: Decimal | None
    drawdown: float | None
    gross_exposure: Decimal | None
    marked_at: datetime | None
    mode: str | None


@dataclass(frozen=True, slots=True)
class DayCounts:
    """What happened on one exchange day; money in dollars, None where nothing was valued."""

    signals: int
    approved: int
    refused: int
    refused_by_code: dict[str, int]
    orders: int
    fills: int
    fees: Decimal
    equity_before: Decimal | None
    equity_after: Decimal | None
    # Between the two, less what was taken out: no result.
    paid_in: Decimal = Decimal(0)


class Views(Protocol):
    """What the other services have stored, read in one transaction each."""

    async def portfolio(self) -> Portfolio | None:
        """The account now, or None when the executor has not adopted one yet."""
        ...

    async def day(self, session: Session) -> DayCounts:
        """The figures of the session's exchange day."""
        ...


@dataclass(frozen=True, slots=True)
class KeptMessage:
    """A message in the outbox."""

    number: int
    event: Event
    title: str
    text: str
    priority: Priority
    tries: int


class Watch(Protocol):
    """What has happened lately, read from the other services."""

    async def happenings(
        self, since_at: datetime, now: datetime, *, with_limits: bool
    ) -> Happenings:
        """Everything since `since_at` that may be worth telling; limits only where they are asked for."""
        ...


class NoticeBox(Protocol):
    """The outbox of messages."""

    async def keep(self, message: Message, now: datetime, *, is_wanted: bool) -> bool:
        """Keep it once: False when its event and key were kept before."""
        ...

    async def due(self, now: datetime, now_s: float, limit: int) -> list[KeptMessage]:
        """What waits and is due, the most urgent first; what failed waits out its pause in machine time."""
        ...

    async def sent(self, number: int, at: datetime) -> None:
        """It has arrived."""
        ...

    async def failed(self, number: int, why: str, pause_s: float, *, is_last: bool) -> None:
        """It has not; try again after `pause_s`, or never."""
        ...


class Receiver(Protocol):
    """Where people are reached."""

    async def send(self, title: str, text: str, priority: Priority) -> str | None:
        """None when it arrived, else why not. Never raises, and takes a bounded time."""
        ...


class Days(Protocol):
    """Reads what a day's report is made of."""

    async def day(self, session: Session, next_session: str) -> Day:
        """The rows of the exchange day of `session`."""
        ...
