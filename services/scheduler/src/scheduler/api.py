"""What does the scheduler answer over HTTP?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from scheduler.daily_report import as_html, as_text
from scheduler.jobs import BeatingJob, CalendarJob, Job, likely
from scheduler.market import market_day, month_of, words_of_next
from scheduler.pipeline import PipelineRun, stage_times
from scheduler.ports import Days, JobStore, PipelineReads
from scheduler.runs import Budget, Heartbeat, JobHistory, Pause, Run, requested_run_id
from scheduler.service import Timekeeper
from shared.adapters.http_api import Day, ProblemError, Role, requires
from shared.domain.calendar import TradingCalendar, TradingWindow
from shared.domain.errors import Rejected
from shared.ports import Clock, Ids


class MarketStatus(BaseModel):
    """The market's phase now, in the venue's time, and when entries may be sent."""

    now_at: datetime
    clock: str
    phase: str
    market_phase: str
    session_on: date | None
    session_open_at: datetime | None
    session_close_at: datetime | None
    half_day: bool
    next_open_at: datetime | None
    next_close_at: datetime | None
    trading_window: str
    entries_allowed: bool
    entries_from_at: datetime | None
    entries_until_at: datetime | None


class RunBody(BaseModel):
    """One run; a MISSED one may stand for several `occurrences`."""

    run_id: str
    job_id: str
    kind: str
    state: str
    session_on: date
    first_due_at: datetime
    due_at: datetime
    until_at: datetime | None
    occurrences: int
    actor: str
    started_at: datetime | None
    finished_at: datetime | None
    duration_s: float | None
    detail: str
    figures: dict[str, Any]


class LastRun(BaseModel):
    """How the latest run went. Instants are the venue's, durations the machine's."""

    run_id: str | None
    state: str
    at: datetime | None
    duration_s: float | None
    detail: str


class PauseBody(BaseModel):
    """Since when a job is not run when it is due, by whom, and why."""

    since_at: datetime
    actor: str
    reason: str


class PauseWish(BaseModel):
    """Why a job is to rest."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(min_length=1, max_length=500)]


class JobBody(BaseModel):
    """A job: when it runs, how it went last, how often it was missed, and whether it is paused."""

    job_id: str
    description: str
    schedule: str
    last_run: LastRun | None
    next_due_at: datetime | None
    next_in_s: float | None
    missed: int
    may_rest: bool
    paused: PauseBody | None


class JobPage(BaseModel):
    """All jobs."""

    items: list[JobBody]
    next: str | None


class RunPage(BaseModel):
    """Runs, newest first; `next` is the cursor of the page after."""

    items: list[RunBody]
    next: str | None


class ServiceBody(BaseModel):
    """How a service answered last, and since when it has been answering like that."""

    service: str
    state: str
    alive: bool
    ready: bool
    checks: dict[str, bool]
    answered_in_s: float | None
    detail: str
    cpu_share: float | None
    memory_bytes: int | None
    checked_at: datetime
    since_at: datetime


class ReportBody(BaseModel):
    """A day's report; `html` is a page of its own without script or address."""

    session_on: date
    text: str
    html: str


class CalendarDayBody(BaseModel):
    """A day of the exchange: session, half_day, holiday, weekend, or unknown (beyond the calendar)."""

    on: date
    kind: str
    open_at: datetime | None
    close_at: datetime | None


class CalendarPage(BaseModel):
    """The days of a month, oldest first."""

    items: list[CalendarDayBody]
    next: None = None


class BudgetBody(BaseModel):
    """What a provider lets one key ask within so many seconds, and how many requests wait for it."""

    provider: str
    used: int
    limit: int
    per_s: int
    blocked_why: str
    waits: int


class ServicePage(BaseModel):
    """Services and servers, and the budgets of providers as last seen."""

    items: list[ServiceBody]
    next: str | None
    budgets: list[BudgetBody]


class ScreeningBody(BaseModel):
    """The screen that was due last before the bars ended: taken, failed, or off where none is taken; why in `detail`.

    `ended_at` is the venue's, `took_s` the machine's.
    """

    screen: str
    due_at: datetime
    outcome: str
    ended_at: datetime
    symbols: int
    took_s: float
    detail: str


class StageBody(BaseModel):
    """When a stage of a run was done, and how long after the one before; a screener's is how long it took."""

    stage: str
    done_at: datetime
    took_s: float


class PipelineRunBody(BaseModel):
    """One batch of bars and what followed it, stage by stage; a stage that is missing has not happened."""

    batch_id: int
    timeframe: str
    start_at: datetime
    end_at: datetime
    symbols: int
    decidable: bool
    screened_at: datetime | None
    screening: ScreeningBody | None
    stages: list[StageBody]
    signals: int
    approved: int
    refused: int
    orders: int
    fills: int


class PipelinePage(BaseModel):
    """Runs, newest first; `next` is the cursor of the page after."""

    items: list[PipelineRunBody]
    next: str | None


class Accepted(BaseModel):
    """The run that was queued; the same one again for the same Idempotency-Key."""

    run_id: str
    job_id: str
    state: str


def router(
    account: str,
    timekeeper: Timekeeper,
    store: JobStore,
    calendar: TradingCalendar,
    window: TradingWindow,
    clock: Clock,
    ids: Ids,
    days: Days,
    pipeline: PipelineReads,
    known_budgets: Callable[[], Sequence[Budget]],
    *,
    is_replay: bool,
) -> APIRouter:
    """The scheduler's own routes."""
    routes = APIRouter()
    read = [requires(Role.READ)]

    def known(job_id: str) -> Job:
        job = timekeeper.jobs.get(job_id)
        if job is None:
            raise ProblemError(404, "unknown_job", likely(job_id, timekeeper.jobs))
        return job

    @routes.get("/status", tags=["market"], dependencies=read)
    async def status() -> MarketStatus:
        """The market's phase, the next open and close, and the window for entries."""
        day = market_day(calendar, window, clock.now())
        return MarketStatus(
            now_at=day.now_at,
            clock="replay" if is_replay else "machine",
            phase=day.phase.value,
            market_phase=day.market_phase.value,
            session_on=day.session.on if day.session else None,
            session_open_at=day.session.open_at if day.session else None,
            session_close_at=day.session.close_at if day.session else None,
            half_day=day.is_half_day,
            next_open_at=day.next_open_at,
            next_close_at=day.next_close_at,
            trading_window=f"{window.start:%H:%M}-{window.end:%H:%M} {window.timezone.key}",
            entries_allowed=day.entries_allowed,
            entries_from_at=day.entries_from_at,
            entries_until_at=day.entries_until_at,
        )

    @routes.get("/calendar/{year}/{month}", tags=["market"], dependencies=read)
    async def month(
        year: Annotated[int, Path(ge=1990, le=2100)], month: Annotated[int, Path(ge=1, le=12)]
    ) -> CalendarPage:
        """What the exchange does on each day of a month, half-days and holidays included."""
        return CalendarPage(
            items=[
                CalendarDayBody(
                    on=day.on,
                    kind=day.kind.value,
                    open_at=day.session.open_at if day.session else None,
                    close_at=day.session.close_at if day.session else None,
                )
                for day in month_of(calendar, year, month)
            ]
        )

    @routes.get("/jobs", tags=["jobs"], dependencies=read)
    async def jobs() -> JobPage:
        """Every job with its last and next run."""
        histories, beats = await store.histories(), await store.heartbeats()
        items = [
            _job_body(timekeeper, job, histories.get(job.job_id), beats.get(job.job_id))
            for job in timekeeper.jobs.values()
        ]
        return JobPage(items=items, next=None)

    @routes.post("/jobs/{job_id}/trigger", tags=["jobs"], status_code=202)
    async def trigger(
        job_id: str,
        response: Response,
        role: Annotated[Role, requires(Role.OPERATE)],
        idempotency_key: Annotated[str | None, Header(min_length=1, max_length=128)] = None,
    ) -> Accepted:
        """Run a job now; the answer comes at once, the run is found under `Location`."""
        known(job_id)
        key = idempotency_key or ids.new()
        try:
            run, _ = await store.request(
                requested_run_id(account, job_id, key),
                job_id,
                timekeeper.day_of_request(),
                clock.now(),
                role.name.lower(),
            )
        except Rejected as error:
            raise ProblemError(409, "queue_full", str(error)) from None
        timekeeper.nudge.ask()
        response.headers["Location"] = f"/jobs/{job_id}/runs/{run.run_id}"
        return Accepted(run_id=run.run_id, job_id=run.job_id, state=run.state.value)

    @routes.post("/jobs/{job_id}/pause", tags=["jobs"])
    async def pause(
        job_id: str, body: PauseWish, role: Annotated[Role, requires(Role.OPERATE)]
    ) -> JobBody:
        """Do not run a job when it is due, until it is resumed; a person may still trigger it."""
        job = known(job_id)
        if isinstance(job, BeatingJob) and not job.may_rest:
            raise ProblemError(409, "never_rests", f"{job_id} watches the others and never rests")
        await store.pause(job_id, Pause(clock.now(), role.name.lower(), body.reason))
        return await shown(job)

    @routes.post("/jobs/{job_id}/resume", tags=["jobs"], dependencies=[requires(Role.OPERATE)])
    async def resume(job_id: str) -> JobBody:
        """Run a job again from its next due time on; what came due meanwhile stays missed."""
        job = known(job_id)
        await store.pause(job_id, None)
        return await shown(job)

    async def shown(job: Job) -> JobBody:
        histories, beats = await store.histories(), await store.heartbeats()
        return _job_body(timekeeper, job, histories.get(job.job_id), beats.get(job.job_id))

    @routes.get("/jobs/{job_id}/runs", tags=["jobs"], dependencies=read)
    async def runs(
        job_id: str,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
        cursor: Annotated[int | None, Query(ge=1, le=2**62)] = None,
    ) -> RunPage:
        """A job's runs, newest first. A job that beats in machine time lists only triggered runs."""
        known(job_id)
        found = await store.runs(job_id, cursor, limit + 1)
        page = found[:limit]
        return RunPage(
            items=[_run_body(run) for run in page],
            next=str(page[-1].number) if len(found) > limit else None,
        )

    @routes.get("/jobs/{job_id}/runs/{run_id}", tags=["jobs"], dependencies=read)
    async def one_run(job_id: str, run_id: str) -> RunBody:
        """One run with its figures."""
        known(job_id)
        run = await store.run(run_id[:64])
        if run is None or run.job_id != job_id:
            raise ProblemError(404, "unknown_run", f"job {job_id} has no run {run_id[:64]!r}")
        return _run_body(run)

    @routes.get("/services", tags=["services"], dependencies=read)
    async def services() -> ServicePage:
        """How services, PostgreSQL and Redis answered last; one never asked is not listed."""
        items = [
            ServiceBody(
                service=stored.health.service,
                state=stored.health.state,
                alive=stored.health.alive,
                ready=stored.health.ready,
                checks=stored.health.checks,
                answered_in_s=stored.health.answered_in_s,
                detail=stored.health.detail,
                cpu_share=stored.health.cpu_share,
                memory_bytes=stored.health.memory_bytes,
                checked_at=stored.checked_at,
                since_at=stored.since_at,
            )
            for stored in await store.health()
        ]
        budgets = [
            BudgetBody.model_validate(budget, from_attributes=True) for budget in known_budgets()
        ]
        return ServicePage(items=items, next=None, budgets=budgets)

    @routes.get("/pipeline/runs", tags=["pipeline"], dependencies=read)
    async def pipeline_runs(
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
        cursor: Annotated[int | None, Query(ge=1, le=2**62)] = None,
    ) -> PipelinePage:
        """Batches of bars on their way from collection to fills, newest first, with the time of each stage."""
        found = await pipeline.runs(cursor, limit + 1)
        page = found[:limit]
        return PipelinePage(
            items=[_pipeline_body(run) for run in page],
            next=str(page[-1].batch_id) if len(found) > limit else None,
        )

    @routes.get("/reports/{session_on}", tags=["reports"], dependencies=read)
    async def report(session_on: Day) -> ReportBody:
        """What a person should read about an exchange day, as text and as one HTML page; made when asked for."""
        session = calendar.session_on(session_on)
        if session is None or session.open_at > clock.now():
            raise ProblemError(
                404,
                "no_such_session",
                f"{session_on} has no session that has begun; choose a day of trading",
            )
        day = await days.day(session, words_of_next(calendar, session.close_at))
        return ReportBody(session_on=session_on, text=as_text(day), html=as_html(day))

    return routes


def _pipeline_body(run: PipelineRun) -> PipelineRunBody:
    made = {"stages", "screening"}
    shown = {name: getattr(run, name) for name in PipelineRunBody.model_fields if name not in made}
    screening = (
        None
        if run.screening is None
        else ScreeningBody.model_validate(run.screening, from_attributes=True)
    )
    stages = [StageBody.model_validate(each, from_attributes=True) for each in stage_times(run)]
    return PipelineRunBody(**shown, screening=screening, stages=stages)


def _run_body(run: Run) -> RunBody:
    return RunBody.model_validate(run, from_attributes=True)


def _job_body(
    timekeeper: Timekeeper, job: Job, history: JobHistory | None, beat: Heartbeat | None
) -> JobBody:
    last = history.last if history else None
    last_run = None
    if last is not None:
        at = last.finished_at or last.started_at
        last_run = LastRun(
            run_id=last.run_id,
            state=last.state.value,
            at=at,
            duration_s=last.duration_s,
            detail=last.detail,
        )
    if isinstance(job, BeatingJob) and beat is not None:
        last_run = LastRun(
            run_id=None,
            state=beat.state.value,
            at=beat.at,
            duration_s=beat.duration_s,
            detail=beat.detail,
        )
    next_due_at = timekeeper.next_due_at(job)
    return JobBody(
        job_id=job.job_id,
        description=job.description,
        schedule=job.when if isinstance(job, CalendarJob | BeatingJob) else "",
        last_run=last_run,
        next_due_at=next_due_at,
        next_in_s=timekeeper.next_beat_in_s(job)
        if isinstance(job, BeatingJob) and next_due_at is None
        else None,
        may_rest=not isinstance(job, BeatingJob) or job.may_rest,
        missed=history.missed if history else 0,
        paused=None
        if history is None or history.pause is None
        else PauseBody.model_validate(history.pause, from_attributes=True),
    )
