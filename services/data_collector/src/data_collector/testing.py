"""Hand-written stand-ins for what the collector leans on, for tests alone."""

# ruff: noqa: ARG002  # stand-ins take all that the ports hand over
from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime

from data_collector.boundary import RawBar, Refused
from data_collector.budgets import Spent
from data_collector.outcomes import SymbolsRefused
from data_collector.ports import (
    Announced,
    Doubt,
    FeedEvent,
    FeedLost,
    Hold,
    Job,
    JobState,
    Reject,
    ToldActions,
    UnappliedAction,
)
from data_collector.screening import ScreenRun
from data_collector.screens import Taken
from shared.domain.bar_blocks import BarBlock, from_epoch_us
from shared.domain.bars import Bar
from shared.domain.corporate_actions import CorporateAction
from shared.domain.errors import Unavailable
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.ports import LatestBar

_PATIENCE_S = 20.0
_PAGE = 3


def raw(bar: Bar) -> RawBar:
    """`bar` as a provider would hand it over."""
    start, volume = bar.start_at.isoformat(), bar.volume
    o, h, low, c = (float(price) for price in (bar.open, bar.high, bar.low, bar.close))
    said = {"t": start, "o": o, "h": h, "l": low, "c": c, "v": volume}
    return RawBar(bar.symbol, start, o, h, low, c, volume, said)


@dataclass
class MemoryJournal:
    """A `Journal` that forgets everything with the process."""

    batches: list[tuple[int, BarBlock, str, bool, datetime]] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    quarantined: dict[int, Reject] = field(default_factory=dict)
    held: list[Hold] = field(default_factory=list)
    jobs: dict[str, Job] = field(default_factory=dict)
    # Raised by the next announcements, one each, as a database on its way down does.
    failures: list[Exception] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def newest_batch(self, timeframe: Timeframe) -> Announced | None:
        """See `Journal`."""
        for batch_id, block, _, decidable, at in reversed(self.batches):
            if block.timeframe is timeframe:
                start_at, end_at = _span(block)
                return Announced(batch_id, start_at, end_at, len(block), decidable, at)
        return None

    async def announce(
        self, block: BarBlock, *, digest: str, decidable: bool, at: datetime
    ) -> int | None:
        """See `Journal`."""
        if self.failures:
            raise self.failures.pop(0)
        newest = await self.newest_batch(block.timeframe)
        if newest is not None and _span(block)[1] <= newest.end_at:
            return None
        batch_id = len(self.batches) + 1
        self.batches.append((batch_id, block, digest, decidable, at))
        async with self.changed:
            self.changed.notify_all()
        return batch_id

    async def quarantine(
        self, refused: Sequence[Refused], timeframe: Timeframe, *, provider: str, at: datetime
    ) -> int:
        """See `Journal`."""
        new = [bar for bar in dict.fromkeys(refused) if bar not in self.refused]
        self.refused += new
        for bar in new:
            reject_id = len(self.quarantined) + 1
            self.quarantined[reject_id] = Reject(
                reject_id, timeframe, provider, bar.symbol, bar.reason, bar.raw, at
            )
        return len(new)

    async def rejects(self, *, before: int | None, limit: int) -> list[Reject]:
        """See `Journal`."""
        ids = [i for i in sorted(self.quarantined, reverse=True) if before is None or i < before]
        return [self.quarantined[i] for i in ids[:limit]]

    async def reject(self, reject_id: int) -> Reject | None:
        """See `Journal`."""
        return self.quarantined.get(reject_id)

    async def reject_counts(self) -> dict[str, int]:
        """See `Journal`."""
        waiting = [r.provider for r in self.quarantined.values() if r.released_at is None]
        return {provider: waiting.count(provider) for provider in set(waiting)}

    async def release(self, reject_id: int, *, reason: str, at: datetime) -> None:
        """See `Journal`."""
        known = self.quarantined[reject_id]
        if known.released_at is None:
            released = replace(known, released_at=at, release_reason=reason)
            self.quarantined[reject_id] = released

    async def hold(self, holds: Sequence[Hold]) -> int:
        """See `Journal`."""
        began = 0
        for hold in holds:
            if not any(
                (known.symbol, known.kind, known.ended_at) == (hold.symbol, hold.kind, None)
                for known in self.held
            ):
                self.held.append(replace(hold, hold_id=len(self.held) + 1))
                began += 1
        return began

    async def end_holds(
        self, symbols: Sequence[Symbol], kind: Doubt, *, reason: str, at: datetime
    ) -> int:
        """See `Journal`."""
        ended = [h for h in await self.holds() if h.symbol in symbols and h.kind is kind]
        for hold in ended:
            await self.release_hold(hold.hold_id, reason=reason, at=at)
        return len(ended)

    async def release_hold(self, hold_id: int, *, reason: str, at: datetime) -> Hold | None:
        """See `Journal`."""
        if not 0 < hold_id <= len(self.held):
            return None
        known = self.held[hold_id - 1]
        if known.ended_at is None:
            self.held[hold_id - 1] = replace(known, ended_at=at, end_reason=reason)
        return self.held[hold_id - 1]

    async def holds(
        self, *, is_open: bool = True, before: int | None = None, limit: int = 10_000
    ) -> list[Hold]:
        """See `Journal`."""
        found = [
            hold
            for hold in reversed(self.held)
            if (not is_open or hold.ended_at is None) and (before is None or hold.hold_id < before)
        ]
        return found[:limit]

    async def add_job(self, job: Job) -> Job:
        """See `Journal`."""
        for known in self.jobs.values():
            if job.idempotency_key is not None and known.idempotency_key == job.idempotency_key:
                return known
        return self.jobs.setdefault(job.job_id, job)

    async def job(self, job_id: str) -> Job | None:
        """See `Journal`."""
        return self.jobs.get(job_id)

    async def save_job(self, job: Job) -> None:
        """See `Journal`."""
        self.jobs[job.job_id] = replace(job)
        async with self.changed:
            self.changed.notify_all()

    async def unfinished_jobs(self) -> list[Job]:
        """See `Journal`."""
        return [j for j in self.jobs.values() if j.state in (JobState.QUEUED, JobState.RUNNING)]

    async def until_batches(self, count: int) -> None:
        """Return when `count` batches have been announced; fails rather than hangs."""
        async with asyncio.timeout(_PATIENCE_S), self.changed:
            await self.changed.wait_for(lambda: len(self.batches) >= count)

    async def until_ended(self, job_id: str) -> Job:
        """Return the job when it has ended."""
        async with asyncio.timeout(_PATIENCE_S), self.changed:
            await self.changed.wait_for(lambda: self.jobs[job_id].ended_at is not None)
        return self.jobs[job_id]


def _span(block: BarBlock) -> tuple[datetime, datetime]:
    return from_epoch_us(int(block.start_us.min())), from_epoch_us(int(block.end_us.max()))


@dataclass
class ScriptedFeed:
    """A `Feed` that says what a test pushes; `drop` loses the connection."""

    connects: int = 0
    subscribed: list[tuple[Symbol, ...]] = field(default_factory=list)
    refusals: list[Exception] = field(default_factory=list)
    _said: asyncio.Queue[FeedEvent | Exception] = field(default_factory=asyncio.Queue)

    @contextlib.asynccontextmanager
    async def connect(self, symbols: Sequence[Symbol]) -> AsyncIterator[AsyncIterator[FeedEvent]]:
        """See `Feed`."""
        self.connects += 1
        self.subscribed.append(tuple(symbols))
        if self.refusals:
            raise self.refusals.pop(0)
        yield self._events()

    async def _events(self) -> AsyncIterator[FeedEvent]:
        while True:
            said = await self._said.get()
            if isinstance(said, Exception):
                raise said
            yield said

    def push(self, *events: FeedEvent) -> None:
        """Send `events` to whoever is connected, or will be."""
        for event in events:
            self._said.put_nowait(event)

    def drop(self) -> None:
        """Lose the connection."""
        self._said.put_nowait(FeedLost("the connection was reset"))


@dataclass
class ScriptedHistory:
    """A `History` of given bars, in small pages; `failures` are raised first, one per request (None: it answers)."""

    bars: list[Bar] = field(default_factory=list)
    bad: list[RawBar] = field(default_factory=list)
    failures: list[Exception | None] = field(default_factory=list)
    # Symbols that it does not know.
    unknown: frozenset[Symbol] = frozenset()
    name: str = "scripted"
    group_size: int = 100
    asked: list[tuple[tuple[Symbol, ...], datetime, datetime]] = field(default_factory=list)

    @property
    def provider(self) -> str:
        """See `History`."""
        return self.name

    @property
    def group(self) -> int:
        """See `History`."""
        return self.group_size

    @property
    def max_bars(self) -> int:
        """See `History`."""
        return 10_000

    async def pages(
        self, symbols: Sequence[Symbol], timeframe: Timeframe, start_at: datetime, end_at: datetime
    ) -> AsyncIterator[list[RawBar]]:
        """See `History`."""
        self.asked.append((tuple(symbols), start_at, end_at))
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        rows = [
            raw(bar)
            for bar in self.bars
            if bar.symbol in set(symbols) - self.unknown
            and bar.timeframe is timeframe
            and start_at <= bar.start_at <= end_at
        ] + self.bad
        for at in range(0, max(len(rows), 1), _PAGE):
            yield rows[at : at + _PAGE]
        refused = sorted(self.unknown & set(symbols))
        if refused:
            raise SymbolsRefused(self.name, refused, "no such symbol")


@dataclass
class ScriptedActions:
    """An `ActionSource` of given actions; `failures` are raised first, one per request."""

    actions: list[CorporateAction] = field(default_factory=list)
    bad: list[Refused] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    asked: list[tuple[tuple[Symbol, ...], date, date]] = field(default_factory=list)
    unapplied: list[UnappliedAction] = field(default_factory=list)

    @property
    def provider(self) -> str:
        """See `ActionSource`."""
        return "scripted"

    async def told(self, symbols: Sequence[Symbol], start_on: date, end_on: date) -> ToldActions:
        """See `ActionSource`."""
        self.asked.append((tuple(symbols), start_on, end_on))
        if self.failures:
            raise self.failures.pop(0)
        found = [a for a in self.actions if a.symbol in symbols and a.ex_on >= start_on]
        return ToldActions(tuple(found), tuple(self.bad), tuple(self.unapplied))


@dataclass
class ScriptedNewest:
    """A `NewestSource`, and `Assets`, of given bars; `failures` are raised first, one per request."""

    rows: list[RawBar] = field(default_factory=list)
    unknown: frozenset[Symbol] = frozenset()
    failures: list[Exception] = field(default_factory=list)

    @property
    def provider(self) -> str:
        """See `NewestSource`."""
        return "scripted"

    async def bars(self, symbols: Sequence[Symbol]) -> list[RawBar]:
        """See `NewestSource`."""
        if self.failures:
            raise self.failures.pop(0)
        return [row for row in self.rows if row.symbol in symbols]

    async def known(self, symbols: Sequence[Symbol]) -> frozenset[Symbol]:
        """See `Assets`."""
        if self.failures:
            raise self.failures.pop(0)
        return frozenset(symbols) - self.unknown


@dataclass
class MemoryUniverse:
    """A `Universe` in a list."""

    noted: list[Taken] = field(default_factory=list)
    positions: frozenset[Symbol] = frozenset()
    # What was shown last of each company.
    companies: dict[Symbol, Mapping[str, float | None]] = field(default_factory=dict)
    runs: dict[datetime, ScreenRun] = field(default_factory=dict)
    # How often `ended` gives no answer before it does.
    absent: int = 0

    async def note(
        self, taken: Taken, companies: Mapping[Symbol, Mapping[str, float | None]]
    ) -> None:
        """See `Universe`."""
        if taken not in self.noted:
            self.noted.append(taken)
            self.companies.update(companies)

    async def held(self) -> frozenset[Symbol]:
        """See `Universe`."""
        return self.positions

    async def seen(self, *, until_at: datetime, limit: int) -> Sequence[Taken]:
        """See `Universe`."""
        return [t for t in reversed(self.noted) if t.taken_at <= until_at][:limit]

    async def ended(self, run: ScreenRun) -> None:
        """See `Universe`."""
        if self.absent:
            self.absent -= 1
            raise Unavailable("the database gives no answer")
        self.runs[run.due_at] = run

    async def newest_run(self) -> ScreenRun | None:
        """See `Universe`."""
        return self.runs[max(self.runs)] if self.runs else None


@dataclass
class MemoryBudgets:
    """`Budgets` in a dictionary."""

    spent: dict[str, Spent] = field(default_factory=dict)

    async def change(self, provider: str, decide: Callable[[Spent], Spent]) -> Spent:
        """See `Budgets`."""
        self.spent[provider] = decide(self.spent.get(provider, Spent()))
        return self.spent[provider]


@dataclass
class FreeBudget:
    """A `Budget` without limits that remembers what was asked of it."""

    spent: list[tuple[int, str]] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    async def spend(self, cost: int, what: str) -> None:
        """See `Budget`."""
        self.spent.append((cost, what))

    async def refused(self, pause_s: float, why: str) -> None:
        """See `Budget`."""
        self.pauses.append(pause_s)


@dataclass
class MemoryNewest:
    """`LatestBars` in a dictionary, with every replacement in order."""

    known: dict[tuple[Timeframe, Symbol], LatestBar] = field(default_factory=dict)

    async def replace(self, block: BarBlock, *, provider: str, fetched_at: datetime) -> None:
        """See `LatestBars`."""
        for bar in block:
            self.known[block.timeframe, bar.symbol] = LatestBar(bar, provider, fetched_at)

    async def get(self, timeframe: Timeframe, symbols: Sequence[Symbol]) -> dict[Symbol, LatestBar]:
        """See `LatestBars`."""
        return {s: self.known[timeframe, s] for s in symbols if (timeframe, s) in self.known}
