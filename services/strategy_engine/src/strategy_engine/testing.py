"""Stand-ins for what the strategy engine leans on, for tests. Production never imports it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime

from prometheus_client import CollectorRegistry

from shared.domain.bar_blocks import block_of, to_epoch_us
from shared.domain.bars import Bar
from shared.domain.signals import Evaluation, Signal
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.testing.bar_stores import MemoryBars
from shared.testing.bus import CountedBells, MemoryBarStream
from shared.testing.time import FakeClock, InstantTimer
from strategy_engine.bars import AnnouncedBars
from strategy_engine.fundamentals import NO_SNAPSHOTS, Snapshots
from strategy_engine.ports import Batch, EvaluationStore, StoredSignal, StrategyRun
from strategy_engine.service import Meters, StrategyEngine
from strategy_engine.strategy import Strategy
from strategy_engine.universe import Screen


def batch_of(number: int, bars: Sequence[Bar], *, decidable: bool = True) -> Batch:
    """The announcement of `bars`, which all are of one instant."""
    return Batch(
        number,
        bars[0].timeframe,
        bars[0].start_at,
        bars[0].end_at,
        tuple(sorted(bar.symbol for bar in bars)),
        decidable,
    )


@dataclass
class MemoryEvaluations:
    """An `EvaluationStore` of a few lists; `outbox` holds what was announced, in order."""

    batches: list[Batch] = field(default_factory=list)
    outbox: list[Evaluation] = field(default_factory=list)
    kept: list[StoredSignal] = field(default_factory=list)
    fared: dict[str, StrategyRun] = field(default_factory=dict)
    taken: list[Screen] = field(default_factory=list)
    # By number: snapshots that were stored together.
    companies: list[Snapshots] = field(default_factory=list)
    read: int = 0

    async def position(self) -> int:
        """See `EvaluationStore`."""
        return self.read

    async def next_batch(self) -> Batch | None:
        """See `EvaluationStore`."""
        return next((batch for batch in self.batches if batch.id > self.read), None)

    async def last_read(self) -> Batch | None:
        """See `EvaluationStore`."""
        return next((batch for batch in self.batches if batch.id == self.read), None)

    async def newest_batch(self, timeframe: Timeframe) -> Batch | None:
        """See `EvaluationStore`."""
        return next((b for b in reversed(self.batches) if b.timeframe is timeframe), None)

    async def compositions(
        self, timeframe: Timeframe, instants: Sequence[datetime]
    ) -> dict[datetime, AbstractSet[Symbol]]:
        """See `EvaluationStore`."""
        return {
            batch.end_at: frozenset(batch.composition)
            for batch in self.batches
            if batch.timeframe is timeframe and batch.end_at in instants
        }

    async def screens(self, until_at: datetime, limit: int) -> list[Screen]:
        """See `EvaluationStore`."""
        known = [screen for screen in self.taken if screen.taken_us < to_epoch_us(until_at)]
        return sorted(known, key=lambda screen: screen.taken_us)[-limit:]

    async def snapshots(
        self, *, after: int, since_at: datetime, until_at: datetime, limit: int
    ) -> tuple[int, Snapshots]:
        """See `EvaluationStore`."""
        since_us, until_us = to_epoch_us(since_at), to_epoch_us(until_at)
        found, last = NO_SNAPSHOTS, after
        for number, some in list(enumerate(self.companies, 1))[after:][-limit:]:
            if len(some) and some.taken_us.max() < until_us:
                found, last = found.then(some, since_us + 1), number
        return last, found

    async def commit(
        self,
        batch: Batch,
        evaluation: Evaluation,
        runs: Sequence[StrategyRun],
        at: datetime,  # noqa: ARG002  # when it was stored shows nowhere here
    ) -> bool:
        """See `EvaluationStore`."""
        if batch.id <= self.read:
            return False
        self.read = batch.id
        known = {stored.signal.signal_id for stored in self.kept}
        for signal in evaluation.signals:
            if signal.signal_id not in known:
                self.kept.append(StoredSignal(len(self.kept) + 1, batch.id, signal))
        self.outbox.append(evaluation)
        self.fared.update({run.strategy: run for run in runs})
        return True

    async def runs(self) -> Mapping[str, StrategyRun]:
        """See `EvaluationStore`."""
        return dict(self.fared)

    async def turn_off(self, strategy: str, reason: str) -> None:
        """See `EvaluationStore`."""
        known = self.fared.get(strategy, StrategyRun(strategy))
        self.fared[strategy] = replace(known, is_off=True, last_error=reason)

    async def turn_on(
        self,
        strategy: str,
        reason: str,  # noqa: ARG002
        at: datetime,  # noqa: ARG002
    ) -> None:
        """See `EvaluationStore`."""
        if strategy in self.fared:
            self.fared[strategy] = replace(self.fared[strategy], failures=0, is_off=False)

    async def signals(
        self, limit: int, *, symbol: Symbol | None = None, before: int | None = None
    ) -> list[StoredSignal]:
        """See `EvaluationStore`."""
        found = [
            stored
            for stored in reversed(self.kept)
            if (symbol is None or stored.signal.symbol == symbol)
            and (before is None or stored.id < before)
        ]
        return found[:limit]

    async def signals_of(self, batch_id: int) -> list[Signal]:
        """See `EvaluationStore`."""
        found = [stored.signal for stored in self.kept if stored.batch_id == batch_id]
        return sorted(found, key=lambda signal: (signal.strategy, signal.symbol))


def by_instant(bars: Iterable[Bar]) -> list[list[Bar]]:
    """`bars` as the batches they make, oldest first."""
    groups: dict[datetime, list[Bar]] = {}
    for bar in bars:
        groups.setdefault(bar.end_at, []).append(bar)
    return [groups[end_at] for end_at in sorted(groups)]


class Market:
    """What happened so far: bars stored, batches announced; and engines that read it.

    Each engine is a fresh process on the same stores, so a test restarts by asking for another.
    """

    def __init__(self, account: str = "paper", timeframe: Timeframe = Timeframe.MINUTE) -> None:
        self.account = account
        self.timeframe = timeframe
        self.bars = MemoryBars()
        self.stream = MemoryBarStream()
        self.store = MemoryEvaluations()
        self.bells = CountedBells()
        self.clock = FakeClock()

    def keep(self, *bars: Bar) -> None:
        """Store `bars` without announcing them: history, or bars that came too late."""
        block = block_of(self.timeframe, bars)
        self.bars.append(block, provider="test", fetched_at=self.clock.now())

    def announce(self, *bars: Bar, decidable: bool = True) -> Batch:
        """Store `bars`, all of one instant, and announce them, as the collector does."""
        self.keep(*bars)
        batch = batch_of(len(self.store.batches) + 1, bars, decidable=decidable)
        self.store.batches.append(batch)
        self.stream.blocks[batch.id] = block_of(self.timeframe, bars)
        return batch

    def engine(self, *strategies: Strategy, store: EvaluationStore | None = None) -> StrategyEngine:
        """A strategy engine that has just been started."""
        evaluations = self.store if store is None else store
        return StrategyEngine(
            self.account,
            self.timeframe,
            strategies,
            evaluations,
            AnnouncedBars(self.stream, self.bars, evaluations),
            self.bells,
            self.clock,
            InstantTimer(),
            Meters(CollectorRegistry()),
        )


async def work_off(engine: StrategyEngine) -> None:
    """Let `engine` evaluate everything that was announced."""
    while await engine.step():
        pass
