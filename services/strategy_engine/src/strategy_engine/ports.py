"""What does the strategy engine need stored, and what does it read?

One Protocol: announced batches come out of it in order, evaluations go in. PostgreSQL is behind it in
production and a few dicts in unit tests; one contract suite holds both to the same answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from shared.domain.signals import Evaluation, Signal
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from strategy_engine.fundamentals import Snapshots
from strategy_engine.universe import Screen


@dataclass(frozen=True, slots=True)
class Batch:
    """The bars of one instant as they were announced; `composition` is sorted, never empty."""

    id: int
    timeframe: Timeframe
    start_at: datetime
    end_at: datetime
    composition: tuple[Symbol, ...]
    decidable: bool


@dataclass(frozen=True, slots=True)
class StrategyRun:
    """How a strategy fared when it last ran, and whether it still may.

    `failures` counts those in a row. A strategy that is off stays off, restarts included, until a
    person turns it on again.
    """

    strategy: str
    failures: int = 0
    is_off: bool = False
    last_error: str | None = None
    instant_at: datetime | None = None
    signals: int = 0
    ran_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredSignal:
    """A signal with its place in the order of storing."""

    id: int
    batch_id: int
    signal: Signal


class EvaluationStore(Protocol):
    """Batches to read and evaluations to keep, of one account."""

    async def position(self) -> int:
        """The id of the last batch that took effect; 0 at the beginning."""
        ...

    async def next_batch(self) -> Batch | None:
        """The first batch after the position, or None when all have been read."""
        ...

    async def last_read(self) -> Batch | None:
        """The batch at the position, or None at the beginning."""
        ...

    async def newest_batch(self, timeframe: Timeframe) -> Batch | None:
        """The batch of `timeframe` that was announced last, read or not."""
        ...

    async def compositions(
        self, timeframe: Timeframe, instants: Sequence[datetime]
    ) -> dict[datetime, AbstractSet[Symbol]]:
        """The symbols announced at each of `instants` (ends of bars) that had a batch."""
        ...

    async def screens(self, until_at: datetime, limit: int) -> list[Screen]:
        """The newest `limit` screens that had been taken before `until_at`, in no order."""
        ...

    async def snapshots(
        self, *, after: int, since_at: datetime, until_at: datetime, limit: int
    ) -> tuple[int, Snapshots]:
        """The newest `limit` snapshots of companies with ids above `after`, taken since and before then; and the last id."""
        ...

    async def commit(
        self, batch: Batch, evaluation: Evaluation, runs: Sequence[StrategyRun], at: datetime
    ) -> bool:
        """Keep signals, evaluation, runs and the new position together; False when done before."""
        ...

    async def runs(self) -> Mapping[str, StrategyRun]:
        """What is known of each strategy that ever ran, by name."""
        ...

    async def turn_off(self, strategy: str, reason: str) -> None:
        """Let a strategy not run until somebody turns it on again, whether it has ever run or not."""
        ...

    async def turn_on(self, strategy: str, reason: str, at: datetime) -> None:
        """Let a strategy run again, with no failures counted."""
        ...

    async def signals(
        self, limit: int, *, symbol: Symbol | None = None, before: int | None = None
    ) -> list[StoredSignal]:
        """The newest signals first; with `before`, only those stored before that one."""
        ...

    async def signals_of(self, batch_id: int) -> list[Signal]:
        """The signals that were made of that batch, sorted by strategy, then symbol."""
        ...
