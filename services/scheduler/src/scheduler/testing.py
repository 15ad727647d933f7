"""What does the scheduler see in tests? Fakes of its ports; production never imports this."""

# ruff: noqa: D102  # the ports say what each method does

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from scheduler.actions import Actions
from scheduler.backlog import Backlog
from scheduler.pipeline import PipelineRun, PipelineState, Waiting
from scheduler.ports import DayCounts, Portfolio
from scheduler.runs import (
    Budget,
    Figures,
    Heartbeat,
    JobHistory,
    Pause,
    Run,
    RunKind,
    RunState,
    ServiceHealth,
    StoredHealth,
    scheduled_run_id,
)
from scheduler.schedules import Occurrence
from shared.domain.calendar import Session, TradingCalendar
from shared.domain.errors import Rejected, TradingError, Unavailable
from shared.domain.timeframes import Timeframe
from shared.ports import Clock

MOST_QUEUED = 20


def a_week_in_march() -> TradingCalendar:
    """2026-03-02 to 2026-03-13 without the 4th and with a half day on the 6th.

    New York changes to summer time on the 8th, so the second week opens at 13:30 UTC.
    """
    sessions = []
    for day in (2, 3, 5, 6, 9, 10, 11, 12, 13):
        opens = datetime(2026, 3, day, 14 if day < 8 else 13, 30, tzinfo=UTC)
        length = timedelta(hours=3.5 if day == 6 else 6.5)
        sessions.append(Session(date(2026, 3, day), opens, opens + length))
    return TradingCalendar(sessions)


@dataclass
class MemoryJobStore:
    """A `JobStore` of dictionaries; `absent` makes the next calls of those names raise Unavailable."""

    account: str = "paper"
    considered: dict[str, datetime] = field(default_factory=dict)
    rows: dict[str, Run] = field(default_factory=dict)
    runners: dict[str, str] = field(default_factory=dict)
    beats: dict[str, Heartbeat] = field(default_factory=dict)
    answers: dict[str, StoredHealth] = field(default_factory=dict)
    pauses: dict[str, Pause] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)

    def _answer(self, name: str) -> None:
        if name in self.absent:
            self.absent.remove(name)
            raise Unavailable("PostgreSQL gave no answer")

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        async def prove_alone() -> None:
            self._answer("alone")

        yield prove_alone

    async def begin(self, job_ids: Sequence[str], now: datetime) -> dict[str, datetime]:
        self._answer("begin")
        for job_id in job_ids:
            self.considered.setdefault(job_id, now)
        for run in self.rows.values():
            if run.state is RunState.RUNNING:
                self._replace(run, state=RunState.INTERRUPTED, finished_at=now)
        return dict(self.considered)

    async def settle(self, job_id: str, backlog: Backlog, now: datetime) -> None:
        self._answer("settle")
        if backlog.missed is not None:
            missed = backlog.missed
            self._add_due(job_id, missed.first, missed.last, missed.count, RunState.MISSED, now)
        if backlog.run is not None:
            self._add_due(job_id, backlog.run, backlog.run, 1, RunState.QUEUED, None)
        self.considered[job_id] = now

    def _add_due(
        self,
        job_id: str,
        first: Occurrence,
        last: Occurrence,
        count: int,
        state: RunState,
        finished_at: datetime | None,
    ) -> None:
        run_id = scheduled_run_id(self.account, job_id, last.due_at)
        self.rows.setdefault(
            run_id,
            Run(
                len(self.rows) + 1,
                run_id,
                job_id,
                RunKind.SCHEDULED,
                state,
                last.session_on,
                first.due_at,
                last.due_at,
                last.until_at,
                count,
                "scheduler",
                None,
                finished_at,
                None,
                "too late to be worth running" if state is RunState.MISSED else "",
                {},
            ),
        )

    async def request(
        self, run_id: str, job_id: str, session_on: date, now: datetime, actor: str
    ) -> tuple[Run, bool]:
        if run_id in self.rows:
            return self.rows[run_id], False
        queued = sum(run.state is RunState.QUEUED for run in self.rows.values())
        if queued >= MOST_QUEUED:
            raise Rejected(f"{queued} runs are queued already; wait until some have ended")
        self.rows[run_id] = Run(
            len(self.rows) + 1,
            run_id,
            job_id,
            RunKind.MANUAL,
            RunState.QUEUED,
            session_on,
            now,
            now,
            None,
            1,
            actor,
            None,
            None,
            None,
            "",
            {},
        )
        return self.rows[run_id], True

    async def take(self, runner: str, now: datetime) -> Run | None:
        self._answer("take")
        for run in list(self.rows.values()):
            late = run.until_at is not None and run.until_at <= now
            if run.state is RunState.QUEUED and late:
                self._replace(
                    run,
                    state=RunState.MISSED,
                    finished_at=now,
                    detail="too late to be worth running",
                )
        lost = [r for i, r in self.rows.items() if self._runs(r) and self.runners.get(i) == runner]
        waiting = [r for r in self.rows.values() if r.state is RunState.QUEUED]
        for run in [*lost, *waiting]:
            self.runners[run.run_id] = runner
            return self._replace(run, state=RunState.RUNNING, started_at=now)
        return None

    @staticmethod
    def _runs(run: Run) -> bool:
        return run.state is RunState.RUNNING

    async def finish(
        self,
        run: Run,
        state: RunState,
        now: datetime,
        duration_s: float,
        detail: str,
        figures: Figures,
    ) -> None:
        self._answer("finish")
        if self._runs(self.rows[run.run_id]):
            self._replace(
                run,
                state=state,
                finished_at=now,
                duration_s=duration_s,
                detail=detail,
                figures=figures,
            )

    def _replace(self, run: Run, **changes: object) -> Run:
        changed = replace(self.rows[run.run_id], **changes)  # type: ignore[arg-type]  # by name
        self.rows[run.run_id] = changed
        return changed

    async def pause(self, job_id: str, pause: Pause | None) -> None:
        if pause is None:
            self.pauses.pop(job_id, None)
        else:
            self.pauses.setdefault(job_id, pause)

    async def paused(self) -> dict[str, Pause]:
        self._answer("paused")
        return dict(self.pauses)

    async def beat(self, heartbeat: Heartbeat) -> None:
        self._answer("beat")
        self.beats[heartbeat.job_id] = heartbeat

    async def histories(self) -> dict[str, JobHistory]:
        found = {}
        for job_id, considered_until_at in self.considered.items():
            runs = [run for run in self.rows.values() if run.job_id == job_id]
            ran = [r for r in runs if r.state not in (RunState.QUEUED, RunState.MISSED)]
            missed = sum(run.occurrences for run in runs if run.state is RunState.MISSED)
            found[job_id] = JobHistory(
                job_id,
                considered_until_at,
                ran[-1] if ran else None,
                missed,
                self.pauses.get(job_id),
            )
        return found

    async def heartbeats(self) -> dict[str, Heartbeat]:
        return dict(self.beats)

    async def runs(self, job_id: str, before: int | None, limit: int) -> list[Run]:
        found = [
            run
            for run in self.rows.values()
            if run.job_id == job_id and (before is None or run.number < before)
        ]
        return sorted(found, key=lambda run: -run.number)[:limit]

    async def run(self, run_id: str) -> Run | None:
        return self.rows.get(run_id)

    async def record_health(self, found: Sequence[ServiceHealth], now: datetime) -> None:
        for health in found:
            known = self.answers.get(health.service)
            same = known is not None and (known.health.alive, known.health.ready) == (
                health.alive,
                health.ready,
            )
            since_at = known.since_at if same and known is not None else now
            self.answers[health.service] = StoredHealth(health, now, since_at)

    async def health(self) -> list[StoredHealth]:
        return [self.answers[service] for service in sorted(self.answers)]


@dataclass
class FakePeers:
    """`Peers` that answer what they are told; `failures` are raised first, one per call."""

    found: list[ServiceHealth] = field(default_factory=list)
    failures: list[TradingError] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    async def health(self) -> list[ServiceHealth]:
        self.calls.append("health")
        return self.found

    async def reconcile(self) -> Figures:
        return self._answer("reconcile", {"differences": 0})

    async def performance(self, on: date) -> Figures:
        return self._answer("performance", {"day_on": on.isoformat(), "trades": 2})

    async def limits(self) -> list[dict[str, Any]]:
        return []

    async def catch_up(self) -> Figures:
        return self._answer("catch_up", {"bars_new": 3})

    async def check_hours(self) -> Figures:
        return self._answer("check_hours", {"sessions": 21, "agree": True})

    async def ask_for_bars(self) -> None:
        self._answer("ask_for_bars", {})

    async def budgets(self) -> list[Budget]:
        self.calls.append("budgets")
        return [Budget("alpaca", 3, 200, 60, "", 0)]

    async def maintain(self, task: str) -> Figures:
        return self._answer(task, {"state": "DONE"})

    def _answer(self, name: str, figures: Figures) -> Figures:
        self.calls.append(name)
        if self.failures:
            raise self.failures.pop(0)
        return figures


@dataclass
class FakeMachine:
    """A `Machine` whose servers answer."""

    found: list[ServiceHealth] = field(
        default_factory=lambda: [ServiceHealth("postgres", True, True, {}, 0.001, "")]
    )

    async def health(self) -> list[ServiceHealth]:
        return self.found


@dataclass
class FakeUpkeep:
    """An `Upkeep` that counts."""

    done: list[str] = field(default_factory=list)

    async def vacuum(self) -> Figures:
        self.done.append("vacuum")
        return {"tables": 40, "dead_rows_before": 7}

    async def back_up(self) -> Figures:
        self.done.append("back_up")
        return {"tables": 47}

    async def forget_logs(self) -> Figures:
        self.done.append("forget_logs")
        return {"files": 2}


@dataclass
class FakePipeline:
    """`PipelineReads` of a pipeline in which nothing waits."""

    now: PipelineState = field(
        default_factory=lambda: PipelineState(
            datetime(2026, 3, 2, 15, 0, tzinfo=UTC),
            None,
            {
                reader: Waiting(0, None)
                for reader in ("strategy_engine", "risk_manager", "trade_executor")
            },
        )
    )
    kept: list[PipelineRun] = field(default_factory=list)

    async def state(self) -> PipelineState:
        return self.now

    async def runs(self, before: int | None, limit: int) -> list[PipelineRun]:
        found = [run for run in self.kept if before is None or run.batch_id < before]
        return sorted(found, key=lambda run: -run.batch_id)[:limit]


@dataclass
class FakeViews:
    """`Views` of an account with one position."""

    held: Portfolio | None = field(
        default_factory=lambda: Portfolio(
            Decimal("90000.50"),
            {"GOOG": Decimal(10)},
            Decimal(100_000),
            Decimal(101_000),
            0.0099,
            Decimal("9999.50"),
            datetime(2026, 3, 2, 21, 0, tzinfo=UTC),
            "ACTIVE",
        )
    )
    counts: DayCounts = field(
        default_factory=lambda: DayCounts(
            5, 2, 3, {"DRAWDOWN": 3}, 2, 4, Decimal("1.25"), Decimal(99_000), Decimal(100_000)
        )
    )
    asked: list[date] = field(default_factory=list)

    async def portfolio(self) -> Portfolio | None:
        return self.held

    async def day(self, session: Session) -> DayCounts:
        self.asked.append(session.on)
        return self.counts


def fake_actions(
    peers: FakePeers,
    views: FakeViews,
    store: MemoryJobStore,
    calendar: TradingCalendar,
    clock: Clock,
    *,
    pipeline: FakePipeline | None = None,
    upkeep: FakeUpkeep | None = None,
    timeframe: Timeframe = Timeframe.MINUTE,
    is_replay: bool = False,
) -> Actions:
    """The jobs' work among fakes; what is not named here is well."""
    return Actions(
        peers,
        FakeMachine(),
        views,
        pipeline or FakePipeline(),
        upkeep or FakeUpkeep(),
        store,
        calendar,
        clock,
        timeframe,
        is_replay=is_replay,
    )
