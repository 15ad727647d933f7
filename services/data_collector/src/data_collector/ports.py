"""What does the collector need from outside, beyond what all services share?"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Protocol

from data_collector.backfill import Marker
from data_collector.boundary import RawBar, Refused
from shared.domain.bar_blocks import BarBlock
from shared.domain.corporate_actions import CorporateAction
from shared.domain.errors import Unavailable
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.ports import BarStore, LatestBar


class FeedLost(Unavailable):
    """The live stream is not there; everything up to now has to be caught up with afterwards."""


@dataclass(frozen=True, slots=True)
class InstantEnded:
    """The source says that all bars of `timeframe` up to `end_at` have been sent."""

    timeframe: Timeframe
    end_at: datetime


FeedEvent = RawBar | InstantEnded


class Feed(Protocol):
    """The live stream of one venue."""

    def connect(
        self, symbols: Sequence[Symbol]
    ) -> AbstractAsyncContextManager[AsyncIterator[FeedEvent]]:
        """Subscribe to `symbols`; events flow from entering on. Raises FeedLost, or Misconfigured for bad keys."""
        ...


class Budget(Protocol):
    """What a provider lets us ask, shared by all processes that use its key."""

    async def spend(self, cost: int, what: str) -> None:
        """Return when a request of `cost` may go out now; it counts as sent. `what` is shown meanwhile.

        Raises RateLimited when that is further away than anybody should wait here.
        """
        ...

    async def refused(self, pause_s: float, why: str) -> None:
        """The provider asked for a pause: nobody asks it again before."""
        ...


class History(Protocol):
    """A provider of past bars."""

    @property
    def provider(self) -> str:
        """Its name, kept with every bar."""
        ...

    @property
    def group(self) -> int:
        """How many symbols one request may name."""
        ...

    @property
    def max_bars(self) -> int:
        """How many bars of one symbol one request should ask for at most."""
        ...

    def pages(
        self, symbols: Sequence[Symbol], timeframe: Timeframe, start_at: datetime, end_at: datetime
    ) -> AsyncIterator[list[RawBar]]:
        """Bars that start within [start_at, end_at], page by page, to the very last page.

        Raises Unavailable or RateLimited when there was no answer; no bars is an answer. Raises SymbolsRefused
        at the very end, when everything else has been given.
        """
        ...


@dataclass(frozen=True, slots=True)
class UnappliedAction:
    """What changes a share on a day in a way that is applied to no price: a spin-off, a merger, a new name."""

    symbol: Symbol
    on: date
    kind: str


@dataclass(frozen=True, slots=True)
class ToldActions:
    """Splits and dividends that a provider told, its rows that can be none, and what it told beside these."""

    actions: tuple[CorporateAction, ...]
    refused: tuple[Refused, ...]
    unapplied: tuple[UnappliedAction, ...] = ()


class ActionSource(Protocol):
    """A provider of splits and dividends."""

    @property
    def provider(self) -> str:
        """Its name, kept with every action."""
        ...

    async def told(self, symbols: Sequence[Symbol], start_on: date, end_on: date) -> ToldActions:
        """Everything with an ex-date from `start_on` on, as far as it is announced on `end_on`.

        Raises Unavailable or RateLimited when there was no whole answer; none is an answer.
        """
        ...


class NewestSource(Protocol):
    """A provider that is asked for the newest bars of symbols that nobody follows."""

    @property
    def provider(self) -> str:
        """Its name."""
        ...

    async def bars(self, symbols: Sequence[Symbol]) -> list[RawBar]:
        """The newest minute bar of each symbol that has one.

        Raises Unavailable or RateLimited when there was no answer; none is an answer.
        """
        ...


class CollectedBars(BarStore, Protocol):
    """The store, with where a single bar came from."""

    def newest(self, timeframe: Timeframe, symbol: Symbol, until_at: datetime) -> LatestBar | None:
        """The newest bar of `symbol` with end_at <= `until_at`, or None."""
        ...


@dataclass(frozen=True, slots=True)
class Announced:
    """A batch as it was announced."""

    batch_id: int
    start_at: datetime
    end_at: datetime
    symbols: int
    decidable: bool
    announced_at: datetime


class JobState(StrEnum):
    """How far a collection job has come."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Job:
    """One request to fetch history."""

    job_id: str
    symbols: tuple[Symbol, ...]
    timeframe: Timeframe
    start_at: datetime
    end_at: datetime
    requested_at: datetime
    idempotency_key: str | None = None
    state: JobState = JobState.QUEUED
    bars_read: int = 0
    bars_new: int = 0
    bars_refused: int = 0
    error: str | None = None
    ended_at: datetime | None = None
    marker: Marker = field(default_factory=Marker)
    pieces_done: int = 0
    pieces_total: int = 0
    # Whose bars were stored, and what nobody had.
    providers: tuple[str, ...] = ()
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Reject:
    """A bar in quarantine."""

    reject_id: int
    timeframe: Timeframe
    provider: str
    symbol: str
    reason: str
    raw: str
    seen_at: datetime
    released_at: datetime | None = None
    release_reason: str | None = None


class Doubt(StrEnum):
    """Why a symbol is held."""

    DISAGREEMENT = "disagreement"
    SPLIT = "split"
    FROZEN = "frozen"
    CORPORATE_ACTION = "corporate_action"


@dataclass(frozen=True, slots=True)
class Hold:
    """A symbol in which nothing is entered while it lasts.

    `last_on` and `step_on`: the days between which a split would explain it; of another corporate action both its day.
    """

    symbol: Symbol
    kind: Doubt
    reason: str
    since_at: datetime
    last_on: date | None = None
    step_on: date | None = None
    hold_id: int = 0
    ended_at: datetime | None = None
    end_reason: str | None = None


class Journal(Protocol):
    """What the collector did, durable."""

    async def newest_batch(self, timeframe: Timeframe) -> Announced | None:
        """The batch of the latest instant announced so far."""
        ...

    async def announce(
        self, block: BarBlock, *, digest: str, decidable: bool, at: datetime
    ) -> int | None:
        """Commit the batch of `block`, one instant's bars; its id, ascending with the instants.

        None when that instant or a later one was announced before: then nothing is changed.
        """
        ...

    async def quarantine(
        self, refused: Sequence[Refused], timeframe: Timeframe, *, provider: str, at: datetime
    ) -> int:
        """Keep refused bars with their reasons; how many were not kept already."""
        ...

    async def rejects(self, *, before: int | None, limit: int) -> list[Reject]:
        """Bars in quarantine, newest first, those with an id below `before`."""
        ...

    async def reject(self, reject_id: int) -> Reject | None:
        """The bar of that id."""
        ...

    async def reject_counts(self) -> dict[str, int]:
        """How many wait in quarantine, by provider."""
        ...

    async def release(self, reject_id: int, *, reason: str, at: datetime) -> None:
        """Note that a person let the bar in; the first note stays."""
        ...

    async def hold(self, holds: Sequence[Hold]) -> int:
        """Begin each of `holds` whose symbol is not held for the same doubt already; how many began."""
        ...

    async def end_holds(
        self, symbols: Sequence[Symbol], kind: Doubt, *, reason: str, at: datetime
    ) -> int:
        """End the holds of that kind; how many ended."""
        ...

    async def release_hold(self, hold_id: int, *, reason: str, at: datetime) -> Hold | None:
        """End one, and give it; the first end stays. None when there is none of that id."""
        ...

    async def holds(
        self, *, is_open: bool = True, before: int | None = None, limit: int = 10_000
    ) -> list[Hold]:
        """Those that last (or all), newest first, those with an id below `before`."""
        ...

    async def add_job(self, job: Job) -> Job:
        """Store `job`, or give the one stored before under the same idempotency key."""
        ...

    async def job(self, job_id: str) -> Job | None:
        """The job of that id."""
        ...

    async def save_job(self, job: Job) -> None:
        """Store the progress of `job`."""
        ...

    async def unfinished_jobs(self) -> list[Job]:
        """Jobs that were asked for and have not ended, oldest first."""
        ...
