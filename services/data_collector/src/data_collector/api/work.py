"""What is the collector asked to do: fetching history, and upkeep at night?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response
from pydantic import BaseModel, ConfigDict, Field

from data_collector.api.rooms import Rooms
from data_collector.api.said import instant
from data_collector.catching_up import warm_up_start
from data_collector.jobs import KeyReused, Paused, Range
from data_collector.maintenance import Run, Task
from data_collector.ports import Job
from data_collector.service import Collector
from shared.adapters.http_api import ProblemError, Role, requires
from shared.domain.errors import InvalidTime
from shared.domain.symbols import parse_symbol
from shared.domain.timeframes import parse_timeframe

_MAX_SYMBOLS = 10_000
_MAX_ID = 64


class ApiRun(BaseModel):
    """The newest run of a maintenance task."""

    task: str
    state: str
    asked_at: datetime
    ended_at: datetime | None
    error: str | None
    figures: dict[str, Any] | None


class CollectRequest(BaseModel):
    """Which history to fetch; what is left out is everything tracked, and the warm-up up to now."""

    model_config = ConfigDict(extra="forbid")

    symbols: list[str] | None = Field(default=None, min_length=1, max_length=_MAX_SYMBOLS)
    timeframe: str | None = None
    start: str | None = None
    end: str | None = None


class ApiJob(BaseModel):
    """A collection job and how far it has come."""

    job_id: str
    state: str
    symbols: list[str]
    timeframe: str
    start_at: datetime
    end_at: datetime
    bars_read: int
    bars_new: int
    bars_refused: int
    error: str | None
    note: str | None
    providers: list[str]
    pieces_done: int
    pieces_total: int
    waits_for: str | None
    waits_until_at: datetime | None
    requested_at: datetime
    ended_at: datetime | None


def add_work(routes: APIRouter, rooms: Rooms) -> None:
    """Add the routes that answer that."""
    collector, clock = rooms.collector, rooms.clock

    @routes.post("/collect/market-data", status_code=202, dependencies=[requires(Role.OPERATE)])
    async def collect(
        response: Response,
        request: CollectRequest | None = None,
        idempotency_key: Annotated[str | None, Header(min_length=1, max_length=128)] = None,
    ) -> ApiJob:
        """Fetch history in the background; follow the job at `Location`."""
        asked = request or CollectRequest()
        wanted = _range(asked, collector, clock.now())
        try:
            job = await rooms.jobs.submit(wanted, idempotency_key)
        except KeyReused as error:
            raise ProblemError(409, "idempotency_key_reused", str(error)) from None
        response.headers["Location"] = f"/collect/market-data/{job.job_id}"
        return _api_job(job, rooms.jobs.paused.get(job.job_id))

    @routes.get("/collect/market-data/{job_id}", dependencies=[requires(Role.READ)])
    async def followed(job_id: str) -> ApiJob:
        """How far a collection job has come."""
        is_id = len(job_id) <= _MAX_ID and job_id.isprintable()
        job = await rooms.journal.job(job_id) if is_id else None
        if job is None:
            raise ProblemError(404, "no_such_job", "there is no collection job of this id")
        return _api_job(job, rooms.jobs.paused.get(job.job_id))

    @routes.post("/maintenance/{task}", status_code=202, dependencies=[requires(Role.OPERATE)])
    async def maintain(task: Task, response: Response) -> ApiRun:
        """Compact the store, or compare two providers; asked again while it runs, it is the same run."""
        response.headers["Location"] = f"/maintenance/{task.value}"
        return _api_run(rooms.maintenance.ask(task))

    @routes.get("/maintenance/{task}", dependencies=[requires(Role.READ)])
    async def maintained(task: Task) -> ApiRun:
        """How far the newest run of a task has come."""
        run = rooms.maintenance.newest(task)
        if run is None:
            raise ProblemError(
                404, "no_such_run", f"{task.value} was not asked for since the collector started"
            )
        return _api_run(run)


def _range(asked: CollectRequest, collector: Collector, now: datetime) -> Range:
    """The request with its gaps filled; raises InvalidInput naming what is wrong."""
    timeframe = collector.timeframe if asked.timeframe is None else parse_timeframe(asked.timeframe)
    names: Sequence[str] = collector.symbols if asked.symbols is None else asked.symbols
    symbols = tuple(sorted({parse_symbol(name) for name in names}))
    calendar = collector.calendar
    end_at = now if asked.end is None else min(now, instant("end", asked.end, is_end=True))
    start_at = (
        warm_up_start(timeframe, end_at, calendar)
        if asked.start is None
        else instant("start", asked.start)
    )
    if start_at >= end_at:
        raise InvalidTime("start must lie before end, and before now")
    if start_at.date() < calendar.first_on:
        raise InvalidTime(f"start must be {calendar.first_on} or later")
    return Range(symbols, timeframe, start_at, end_at)


def _api_run(run: Run) -> ApiRun:
    return ApiRun(
        task=run.task.value,
        state=run.state.value,
        asked_at=run.asked_at,
        ended_at=run.ended_at,
        error=run.error,
        figures=None if run.figures is None else dict(run.figures),
    )


def _api_job(job: Job, paused: Paused | None) -> ApiJob:
    return ApiJob(
        job_id=job.job_id,
        state=job.state.value,
        symbols=list(job.symbols),
        timeframe=job.timeframe.value,
        start_at=job.start_at,
        end_at=job.end_at,
        bars_read=job.bars_read,
        bars_new=job.bars_new,
        bars_refused=job.bars_refused,
        error=job.error,
        note=job.note,
        providers=list(job.providers),
        pieces_done=job.pieces_done,
        pieces_total=job.pieces_total,
        waits_for=None if paused is None else paused.why,
        waits_until_at=None if paused is None else paused.until_at,
        requested_at=job.requested_at,
        ended_at=job.ended_at,
    )
