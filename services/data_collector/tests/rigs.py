"""A collector and all that it leans on, for tests of its behaviours: scripted feed and history, everything else in memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta

from data_collector.jobs import CollectionJobs, Range
from data_collector.ports import InstantEnded, Job
from data_collector.service import Collector
from data_collector.testing import (
    MemoryJournal,
    MemoryNewest,
    ScriptedActions,
    ScriptedFeed,
    ScriptedHistory,
    raw,
)
from shared.domain.bars import Bar
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.testing.bar_stores import NOON, MemoryBars, a_bar, a_block
from shared.testing.bus import CountedBells, MemoryBarStream
from shared.testing.calendars import a_calendar
from shared.testing.time import CountingIds, FakeClock, FakeTimer, InstantTimer

AAPL, MSFT, TSLA = Symbol("AAPL"), Symbol("MSFT"), Symbol("TSLA")
SYMBOLS = (AAPL, MSFT)
MINUTE = timedelta(minutes=1)
RANGE = Range((AAPL,), Timeframe.MINUTE, NOON, NOON + 5 * MINUTE)


@dataclass
class Rig:
    """A collector and all that it leans on."""

    clock: FakeClock = field(default_factory=lambda: FakeClock(NOON))
    timer: FakeTimer | InstantTimer = field(default_factory=InstantTimer)
    feed: ScriptedFeed = field(default_factory=ScriptedFeed)
    history: ScriptedHistory = field(default_factory=ScriptedHistory)
    store: MemoryBars = field(default_factory=MemoryBars)
    newest: MemoryNewest = field(default_factory=MemoryNewest)
    stream: MemoryBarStream = field(default_factory=MemoryBarStream)
    bells: CountedBells = field(default_factory=CountedBells)
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    grace_s: float | None = None

    def collector(self) -> Collector:
        return Collector(
            timeframe=Timeframe.MINUTE,
            symbols=SYMBOLS,
            calendar=a_calendar(),
            clock=self.clock,
            timer=self.timer,
            feed=self.feed,
            history=self.history,
            store=self.store,
            newest=self.newest,
            stream=self.stream,
            bells=self.bells,
            journal=self.journal,
            actions=self.store.actions,
            max_age_bars=2,
            grace_s=self.grace_s,
        )

    def play(self, minute: int, *bars: Bar) -> None:
        """What a replay's venue does at the end of a minute: clock, bars, marker."""
        end_at = NOON + minute * MINUTE + MINUTE
        self.clock.set(end_at)
        self.history.bars += bars
        self.feed.push(*map(raw, bars), InstantEnded(Timeframe.MINUTE, end_at))

    def announced(self) -> list[tuple[list[Bar], bool]]:
        return [(list(block), decidable) for _, block, _, decidable, _ in self.journal.batches]


@contextlib.asynccontextmanager
async def running(collector: Collector) -> AsyncIterator[None]:
    task = asyncio.create_task(collector.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def live(collector: Collector) -> AsyncIterator[None]:
    """Running, and following its feed already."""
    async with running(collector):
        await until_live(collector)
        yield


async def until_live(collector: Collector) -> None:
    """Return once the collector follows its feed; its threads end by themselves."""
    async with asyncio.timeout(20):
        while not await collector.is_live():
            await asyncio.to_thread(lambda: None)


async def ended(jobs: CollectionJobs, rig: Rig, job: Job) -> Job:
    task = asyncio.create_task(jobs.run())
    try:
        return await rig.journal.until_ended(job.job_id)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def jobs_of(
    rig: Rig, *more: ScriptedHistory, actions: ScriptedActions | None = None
) -> CollectionJobs:
    return CollectionJobs(
        [rig.history, *more],
        rig.store,
        rig.journal,
        a_calendar(),
        rig.clock,
        rig.timer,
        CountingIds(),
        actions or ScriptedActions(),
        rig.store.actions,
        rig.newest,
    )


def a_morning_after_a_split(rig: Rig) -> Bar:
    """Yesterday's minutes are in the store; the bar is today's first, at a seventh."""
    yesterday = [
        replace(
            bar,
            start_at=bar.start_at - timedelta(days=1),
            end_at=bar.end_at - timedelta(days=1),
            **{n: getattr(bar, n) * 7 for n in ("open", "high", "low", "close")},
        )
        for bar in quiet_minutes()
    ]
    rig.store.append(a_block(*yesterday), provider="p", fetched_at=NOON)
    return a_bar("AAPL", 0, close=100)


def quiet_minutes(count: int = 20) -> list[Bar]:
    """Minutes of AAPL that end at NOON."""
    return [
        a_bar("AAPL", n - count, close=100 + n % 3 / 10, volume=1_000 + n) for n in range(count)
    ]
