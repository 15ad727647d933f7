"""Fetching history on request, beside the live work and without holding it up.

A job is stored before it is begun, so a killed process takes it up again; doing it twice stores nothing twice.
Few run at a time, and only so many may wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from data_collector.boundary import admit
from data_collector.ports import CollectedBars, History, Job, JobState, Journal
from shared.domain.bar_blocks import block_of
from shared.domain.calendar import TradingCalendar
from shared.domain.errors import InvalidInput, RateLimited, Retryable, TradingError, Unavailable
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.ports import Clock, Ids, Timer

_log = structlog.get_logger(__name__)
_AT_ONCE = 2
_MAX_WAITING = 100
_TRIES = 6
_FIRST_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Range:
    """What a job is to fetch."""

    symbols: tuple[Symbol, ...]
    timeframe: Timeframe
    start_at: datetime
    end_at: datetime


class KeyReused(InvalidInput):
    """An idempotency key came back with another request."""


class CollectionJobs:
    """Accepts jobs and does them in the background."""

    def __init__(
        self,
        history: History,
        store: CollectedBars,
        journal: Journal,
        calendar: TradingCalendar,
        clock: Clock,
        timer: Timer,
        ids: Ids,
    ) -> None:
        self._history = history
        self._store = store
        self._journal = journal
        self._calendar = calendar
        self._clock = clock
        self._timer = timer
        self._ids = ids
        self._waiting: asyncio.Queue[Job] = asyncio.Queue()
        self._accepted: set[str] = set()

    @property
    def unfinished(self) -> int:
        """How many wait or run."""
        return len(self._accepted)

    async def submit(self, wanted: Range, idempotency_key: str | None) -> Job:
        """Store and queue a job; the same key gives the same job again.

        Raises:
            Unavailable: too many wait already.
            KeyReused: the key belongs to another request.
        """
        if len(self._accepted) >= _MAX_WAITING:
            raise Unavailable(f"{_MAX_WAITING} collection jobs wait already; ask again later")
        job = await self._journal.add_job(
            Job(
                self._ids.new(),
                wanted.symbols,
                wanted.timeframe,
                wanted.start_at,
                wanted.end_at,
                self._clock.now(),
                idempotency_key,
            )
        )
        if Range(job.symbols, job.timeframe, job.start_at, job.end_at) != wanted:
            raise KeyReused("this Idempotency-Key was used for another request; send a new one")
        if job.state in (JobState.QUEUED, JobState.RUNNING):
            self._queue([job])
        return job

    async def run(self) -> None:
        """Take up what was left unfinished, then work until cancelled."""
        while True:
            try:
                self._queue(await self._journal.unfinished_jobs())
                break
            except Retryable:
                await self._timer.sleep(_FIRST_PAUSE_S)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_AT_ONCE):
                tasks.create_task(self._work(), name="collection job")

    def _queue(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if job.job_id not in self._accepted:
                self._accepted.add(job.job_id)
                self._waiting.put_nowait(job)

    async def _work(self) -> None:
        while True:
            job = await self._waiting.get()
            try:
                await self._do(job)
            except Retryable as error:
                _log.warning("job interrupted", job_id=job.job_id, reason=str(error))
                await self._timer.sleep(_FIRST_PAUSE_S)
                self._waiting.put_nowait(job)
            else:
                self._accepted.discard(job.job_id)

    async def _do(self, job: Job) -> None:
        """Do `job` from its beginning, again after failures that may pass, and store the outcome."""
        pause_s = _FIRST_PAUSE_S
        for attempt in range(1, _TRIES + 1):
            try:
                done = await self._fetch(job)
                ended = replace(done, state=JobState.DONE, ended_at=self._clock.now())
                break
            except TradingError as error:
                if not isinstance(error, Retryable) or attempt == _TRIES:
                    ended = replace(
                        job, state=JobState.FAILED, error=str(error), ended_at=self._clock.now()
                    )
                    break
                await self._timer.sleep(
                    error.pause_s if isinstance(error, RateLimited) else pause_s
                )
                pause_s *= 2
            except Exception as error:  # noqa: BLE001  # top of the task: one job must not end the live work
                _log.error("job failed", job_id=job.job_id, exc_info=error)
                ended = replace(
                    job,
                    state=JobState.FAILED,
                    error="the job failed unexpectedly; see the collector's log",
                    ended_at=self._clock.now(),
                )
                break
        await self._journal.save_job(ended)
        _log.info("job ended", job_id=job.job_id, state=ended.state.value, bars_new=ended.bars_new)

    async def _fetch(self, job: Job) -> Job:
        progress = replace(job, state=JobState.RUNNING, bars_read=0, bars_new=0, bars_refused=0)
        await self._journal.save_job(progress)
        async for rows in self._history.pages(job.symbols, job.timeframe, job.start_at, job.end_at):
            now = self._clock.now()
            admitted = admit(rows, job.timeframe, self._calendar, now)
            bars = [b for b in admitted.bars if b.end_at <= now and b.symbol in job.symbols]
            await self._journal.quarantine(
                admitted.refused, job.timeframe, provider=self._history.provider, at=now
            )
            new = await asyncio.to_thread(
                self._store.append,
                block_of(job.timeframe, bars),
                provider=self._history.provider,
                fetched_at=now,
            )
            progress = replace(
                progress,
                bars_read=progress.bars_read + len(rows),
                bars_new=progress.bars_new + new,
                bars_refused=progress.bars_refused + len(admitted.refused),
            )
            await self._journal.save_job(progress)
        return progress
