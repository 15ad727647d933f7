"""Fetching history on request, beside the live work and without holding it up.

A job is stored before it is begun and after each piece, so a killed process goes on where it stopped; doing a
piece twice stores nothing twice. What the first provider cannot give the next is asked for, and every bar is
kept with the name of who gave it. Splits and dividends of its symbols come last. Few jobs run at a time, and only so many may wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

import numpy as np
import structlog

from data_collector.backfill import Piece, pieces
from data_collector.boundary import RawBar, Refused, admit, refused, said_of
from data_collector.outcomes import SymbolsRefused
from data_collector.ports import (
    ActionSource,
    CollectedBars,
    Doubt,
    History,
    Hold,
    Job,
    JobState,
    Journal,
    UnappliedAction,
)
from shared.domain.bar_blocks import BarBlock, from_epoch_us, to_epoch_us
from shared.domain.calendar import TradingCalendar
from shared.domain.corporate_actions import exchange_day, has_split
from shared.domain.errors import (
    InvalidInput,
    Misconfigured,
    RateLimited,
    Rejected,
    Retryable,
    TradingError,
    Unavailable,
)
from shared.domain.history_checks import NEIGHBOURS, SplitStep, judge
from shared.domain.money import MICROS
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.ports import ActionStore, Clock, Ids, LatestBar, LatestBars, Timer

_log = structlog.get_logger(__name__)
_AT_ONCE = 2
_MAX_WAITING = 100
_TRIES = 6
_FIRST_PAUSE_S = 1.0
_MAX_NOTE = 2_000
# A split that nobody asked about makes older bars wrong, so at least so much is asked about each time.
_ACTIONS_SINCE = timedelta(days=730)
# For so long after a spin-off or merger indicators look back at the other share; and so long before, nothing is begun.
_CHANGED_WITHIN = timedelta(days=60)
_CHANGES_WITHIN = timedelta(days=5)


@dataclass(frozen=True, slots=True)
class Range:
    """What a job is to fetch."""

    symbols: tuple[Symbol, ...]
    timeframe: Timeframe
    start_at: datetime
    end_at: datetime


@dataclass(frozen=True, slots=True)
class Paused:
    """A job that waits, why and until when."""

    why: str
    until_at: datetime


class KeyReused(InvalidInput):
    """An idempotency key came back with another request."""


class CollectionJobs:
    """Accepts jobs and does them in the background."""

    def __init__(
        self,
        histories: Sequence[History],
        store: CollectedBars,
        journal: Journal,
        calendar: TradingCalendar,
        clock: Clock,
        timer: Timer,
        ids: Ids,
        actions: ActionSource,
        kept_actions: ActionStore,
        newest: LatestBars,
    ) -> None:
        """`histories`: providers in the order in which they are asked, at least one."""
        self._histories = histories
        self._actions = actions
        self._kept_actions = kept_actions
        self._newest = newest
        self._store = store
        self._journal = journal
        self._calendar = calendar
        self._clock = clock
        self._timer = timer
        self._ids = ids
        self._waiting: asyncio.Queue[Job] = asyncio.Queue()
        self._accepted: set[str] = set()
        # Which jobs wait for a provider, for people to see, and how often each had to be passed over.
        self.paused: dict[str, Paused] = {}
        self.failovers: dict[str, int] = {}

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
        """Do `job` from where it stands, again after failures that may pass, and store the outcome."""
        pause_s = _FIRST_PAUSE_S
        failures = 0
        while True:
            try:
                job = await self._run(job)
            except TradingError as error:
                job = await self._stored(job)
                failures += not isinstance(error, RateLimited)
                if not isinstance(error, Retryable) or failures == _TRIES:
                    ended = self._failed(job, str(error))
                    break
                # A budget that is used up is no failure, however long it takes to fill again.
                wait_s = error.pause_s if isinstance(error, RateLimited) else pause_s
                until_at = self._clock.now() + timedelta(seconds=wait_s)
                self.paused[job.job_id] = Paused(str(error), until_at)
                await self._timer.sleep(wait_s)
                pause_s *= 1 if isinstance(error, RateLimited) else 2
            except Exception as error:  # noqa: BLE001  # top of the task: one job must not end the live work
                _log.error("job failed", job_id=job.job_id, exc_info=error)
                ended = self._failed(job, f"unexpected: {type(error).__name__}; see the log")
                break
            else:
                ended = replace(job, state=JobState.DONE, ended_at=self._clock.now())
                break
            finally:
                self.paused.pop(job.job_id, None)
        await self._journal.save_job(ended)

    def _failed(self, job: Job, why: str) -> Job:
        return replace(job, state=JobState.FAILED, error=why, ended_at=self._clock.now())

    async def _stored(self, job: Job) -> Job:
        """`job` with the progress that was stored of it."""
        return await self._journal.job(job.job_id) or job

    async def _run(self, job: Job) -> Job:
        """Fetch and store what is left of `job`, piece by piece; each is done once its marker is stored."""
        first = self._histories[0]
        left = list(
            pieces(
                job.symbols,
                job.timeframe,
                job.start_at,
                job.end_at,
                group=first.group,
                max_bars=first.max_bars,
                calendar=self._calendar,
                marker=job.marker,
            )
        )
        job = replace(job, state=JobState.RUNNING, pieces_total=job.pieces_done + len(left))
        await self._journal.save_job(job)
        for piece in left:
            job = await self._fetch(job, piece)
            job = replace(job, marker=piece.after, pieces_done=job.pieces_done + 1)
            await self._journal.save_job(job)
        return await self._fetch_actions(job)

    async def _cache(self, block: BarBlock, provider: str, now: datetime) -> None:
        """Let the cache follow the store; what it does not hold is read from there anyway."""
        cached = await self._newest.get(block.timeframe, sorted(set(block.symbols)))
        newer = _after_cached(block, cached)
        if len(newer):
            await self._newest.replace(newer, provider=provider, fetched_at=now)

    async def _fetch_actions(self, job: Job) -> Job:
        """Store the splits and dividends of the job's symbols; bars are good without them."""
        now = self._clock.now()
        today = exchange_day(now)
        start_on = min(exchange_day(job.start_at), today - _ACTIONS_SINCE)
        try:
            told = await self._actions.told(job.symbols, start_on, today)
        except (Unavailable, RateLimited, Rejected, Misconfigured) as error:
            _log.warning("no splits and dividends", job_id=job.job_id, reason=str(error))
            return replace(
                job, note=_noted(job.note, f"splits and dividends were not fetched: {error}")
            )
        provider = self._actions.provider
        await self._journal.quarantine(told.refused, Timeframe.DAY, provider=provider, at=now)
        new = await asyncio.to_thread(
            self._kept_actions.put, told.actions, provider=provider, fetched_at=now
        )
        if new:
            _log.info("splits and dividends", job_id=job.job_id, new=new)
        await self._hold_changed(told.unapplied, now)
        await self._end_explained_holds(job.symbols, now)
        return job

    async def _end_explained_holds(self, symbols: Sequence[Symbol], now: datetime) -> None:
        """Let go of symbols whose step between days is a split that is known by now."""
        held = [
            (hold.symbol, hold.last_on, hold.step_on)
            for hold in await self._journal.holds()
            if hold.kind is Doubt.SPLIT and hold.symbol in symbols
        ]
        actions = await asyncio.to_thread(self._kept_actions.actions, [each[0] for each in held])
        explained = [
            symbol
            for symbol, last_on, on in held
            if last_on is not None and on is not None and has_split(actions, symbol, last_on, on)
        ]
        await self._journal.end_holds(
            explained, Doubt.SPLIT, reason="a corporate action explains it", at=now
        )

    async def _fetch(self, job: Job, piece: Piece) -> Job:
        """Store one piece from the first provider that has it; what one refuses the next is asked for.

        Raises the last provider's error when none gave an answer.
        """
        symbols = piece.symbols
        for number, history in enumerate(self._histories):
            try:
                async for rows in history.pages(
                    symbols, job.timeframe, piece.start_at, piece.end_at
                ):
                    job = await self._keep(job, history.provider, symbols, rows)
                return job
            except SymbolsRefused as error:
                symbols = error.symbols
                if number == len(self._histories) - 1:
                    # Known nowhere; the others of the job are none the worse for it.
                    return replace(job, note=_noted(job.note, str(error)))
                why = str(error)
            except (Unavailable, RateLimited, Rejected, Misconfigured) as error:
                if number == len(self._histories) - 1:
                    raise
                why = str(error)
            _log.warning("asking the next provider", job_id=job.job_id, reason=why)
            self.failovers[history.provider] = self.failovers.get(history.provider, 0) + 1
        return job

    async def _keep(
        self, job: Job, provider: str, symbols: Sequence[Symbol], rows: Sequence[RawBar]
    ) -> Job:
        now = self._clock.now()
        admitted = admit(rows, job.timeframe, self._calendar, now)
        wanted, came = frozenset(symbols), admitted.block
        asked_for = np.array([symbol in wanted for symbol in came.symbols], dtype=np.bool_)
        block = came.picked(asked_for & (came.end_us <= to_epoch_us(now)))
        block, misfits = await self._beside_neighbours(block, rows, now)
        bad = (*admitted.refused, *misfits)
        await self._journal.quarantine(bad, job.timeframe, provider=provider, at=now)
        new = await asyncio.to_thread(self._store.append, block, provider=provider, fetched_at=now)
        await self._cache(block, provider, now)
        providers = job.providers
        if len(block) and provider not in providers:
            providers = (*providers, provider)
        return replace(
            job,
            providers=providers,
            bars_read=job.bars_read + len(rows),
            bars_new=job.bars_new + new,
            bars_refused=job.bars_refused + len(bad),
        )

    async def _beside_neighbours(
        self, block: BarBlock, rows: Sequence[RawBar], now: datetime
    ) -> tuple[BarBlock, list[Refused]]:
        """The bars of `block`, read from `rows`, that fit to those around them, and the others with why they do not.

        A symbol that steps as after a split of which nobody told is held; the job asks for splits when it has all bars.
        """
        if not len(block):
            return block, []
        names = sorted(set(block.symbols))
        first_at = from_epoch_us(int(block.start_us.min()))
        before = await asyncio.to_thread(
            self._store.last, block.timeframe, names, NEIGHBOURS, first_at
        )
        judged = await asyncio.to_thread(judge, block, before)
        if judged.steps:
            await self._hold(judged.steps, now)
        bad = [
            refused(
                block.symbols[row],
                f"a bad print: low {block.low[row] / MICROS:g} and high {block.high[row] / MICROS:g} while the bars "
                f"around it stand at {judged.level[row]:.4g}",
                said_of(block.bar(row), rows, self._calendar, now),
            )
            for row in np.flatnonzero(judged.far).tolist()
        ]
        return (block.picked(np.flatnonzero(~judged.far)) if bad else block), bad

    async def _hold_changed(self, told: Sequence[UnappliedAction], now: datetime) -> None:
        """Hold symbols whose share has just become another one, or will within days; each once for its day."""
        today = exchange_day(now)
        seen = await self._held_before(Doubt.CORPORATE_ACTION)
        holds = [
            Hold(
                action.symbol,
                Doubt.CORPORATE_ACTION,
                f"{action.kind} on {action.on}: it is applied to no price, so history before that day is another "
                "share's; look at positions and orders in it, then release the hold",
                now,
                action.on,
                action.on,
            )
            for action in told
            if today - _CHANGED_WITHIN <= action.on <= today + _CHANGES_WITHIN
            and (action.symbol, action.on) not in seen
        ]
        if await self._journal.hold(holds):
            _log.warning("symbols held", count=len(holds), first=holds[0].reason)

    async def _held_before(self, kind: Doubt) -> set[tuple[Symbol, date | None]]:
        """Symbols that were held for a doubt of `kind`, and the day that it was about."""
        holds = await self._journal.holds(is_open=False)
        return {(hold.symbol, hold.step_on) for hold in holds if hold.kind is kind}

    async def _hold(self, steps: Sequence[SplitStep], now: datetime) -> None:
        """Hold the symbols whose step is neither known as a split nor was let go by a person before."""
        newest = {step.symbol: step for step in steps}
        actions = await asyncio.to_thread(self._kept_actions.actions, list(newest))
        seen = await self._held_before(Doubt.SPLIT)
        holds = [
            Hold(step.symbol, Doubt.SPLIT, step.reason, now, step.last_on, step.on)
            for step in newest.values()
            if not has_split(actions, step.symbol, step.last_on, step.on)
            and (step.symbol, step.on) not in seen
        ]
        if await self._journal.hold(holds):
            _log.warning("symbols held", count=len(holds), first=holds[0].reason)


def _after_cached(block: BarBlock, cached: Mapping[Symbol, LatestBar]) -> BarBlock:
    """Of each symbol of `block` the newest bar, where it is newer than the cached one."""
    names = block.symbols
    rows = [
        i
        for i, symbol in enumerate(names)
        if (i == len(names) - 1 or names[i + 1] != symbol)
        and symbol in cached
        and int(block.start_us[i]) > to_epoch_us(cached[symbol].bar.start_at)
    ]
    return block.picked(np.array(rows, dtype=np.intp))


def _noted(before: str | None, more: str) -> str:
    return (more if before is None else f"{before}; {more}")[:_MAX_NOTE]
