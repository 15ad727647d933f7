"""How does a batch of bars become an evaluation?

Batches are taken one at a time, in the order they were announced. Each leaves exactly one evaluation behind, also
when no strategy wishes for anything or none could be asked, because the rest of the pipeline reads from it
that the instant is over. What a strategy may see is decided in `windows`, what its answer is worth in
`evaluation`; here is only the reading and the writing, and nothing that a crash at any line could harm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram

from shared.crashpoints import crashpoint
from shared.domain.bar_blocks import BarBlock, to_epoch_us
from shared.domain.errors import InvalidInput, Rejected, Unavailable
from shared.domain.ids import source_of_instant
from shared.domain.signals import Evaluation, Signal
from shared.domain.timeframes import Timeframe
from shared.messages import BELL_EVALUATIONS
from shared.ports import Bells, Clock, Timer
from strategy_engine.bars import AnnouncedBars
from strategy_engine.evaluation import Evaluated, evaluate, signals_of
from strategy_engine.ports import Batch, EvaluationStore, StrategyRun
from strategy_engine.seen import SeenUniverse
from strategy_engine.strategy import Strategy
from strategy_engine.windows import Windows

_log = structlog.get_logger(__name__)
_CATCH_UP_S = 5.0


class StrategyFailed(Rejected):
    """A strategy that was asked for by name raised, or answered what cannot be meant."""


class Meters:
    """What the strategy engine counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.batches = Counter(
            "strategy_batches", "Batches read.", ["decidable"], registry=registry
        )
        self.signals = Counter(
            "strategy_signals", "Signals given.", ["strategy", "direction"], registry=registry
        )
        self.failures = Counter(
            "strategy_failures", "Runs that failed.", ["strategy"], registry=registry
        )
        self.seconds = Histogram(
            "strategy_batch_seconds",
            "From reading a batch to its evaluation being stored.",
            registry=registry,
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """The signals of one batch; `stored` when they are the pipeline's own."""

    batch: Batch
    signals: tuple[Signal, ...]
    stored: bool


class StrategyEngine:
    """The pipeline's second stage, and the same road for whoever asks by hand."""

    def __init__(
        self,
        account: str,
        timeframe: Timeframe,
        strategies: Sequence[Strategy],
        store: EvaluationStore,
        bars: AnnouncedBars,
        bells: Bells,
        clock: Clock,
        timer: Timer,
        meters: Meters,
    ) -> None:
        self._account = account
        self.timeframe = timeframe
        self.strategies = {strategy.name: strategy for strategy in strategies}
        self._store = store
        self._bars = bars
        self._bells = bells
        self._clock = clock
        self._timer = timer
        self._meters = meters
        self._depth = max(strategy.bars_needed for strategy in strategies)
        self._windows = Windows(timeframe, self._depth)
        self._seen = SeenUniverse(store)
        self._runs: dict[str, StrategyRun] | None = None
        self._turn = asyncio.Lock()
        self._has_caught_up = False

    @property
    def runs(self) -> Mapping[str, StrategyRun]:
        """How each strategy fared, by name; empty until first looked up."""
        return self._runs or {}

    async def is_warm(self) -> bool:
        """Whether what was announced before this process began has been evaluated."""
        return self._has_caught_up

    async def step(self) -> bool:
        """Evaluate the next batch; False when there is none.

        Raises:
            Unavailable: database or bar store gave no answer; the same batch comes again.
        """
        async with self._turn:
            if self._runs is None:
                await self._start()
            began_s = self._timer.monotonic_s()
            batch = await self._store.next_batch()
            if batch is None:
                self._has_caught_up = True
                return False
            crashpoint("sig.received")
            evaluated = await self._ask(batch)
            evaluation = Evaluation(self._account, batch.timeframe, batch.end_at, evaluated.signals)
            if await self._store.commit(batch, evaluation, evaluated.runs, self._clock.now()):
                # Only now: an attempt that was not stored comes again, and must not count twice.
                self._remember(batch, evaluated)
            self._meters.seconds.observe(self._timer.monotonic_s() - began_s)
        crashpoint("sig.committed")
        await self._bells.ring(BELL_EVALUATIONS)
        crashpoint("sig.announced")
        return True

    async def _start(self) -> None:
        """Take up where the last process ended: what is off stays off, windows as they were."""
        last = await self._store.last_read()
        if last is not None and last.timeframe is self.timeframe:
            history = await self._bars.until_end_of(last, last.composition, self._depth)
            self._windows.forget()
            self._windows.load(last.composition, history, to_epoch_us(last.end_at))
        self._runs = dict(await self._store.runs())

    async def _ask(self, batch: Batch) -> Evaluated:
        if batch.timeframe is not self.timeframe:
            return Evaluated((), ())
        block = await self._bars.of(batch)
        await self._see(self._windows, batch, block)
        if not batch.decidable:
            return Evaluated((), ())
        arguments = (
            tuple(self.strategies.values()),
            self.runs,
            self._windows,
            block,
            batch,
            self._account,
            self._clock.now(),
            await self._seen.until_end_of(batch, tuple(self.strategies.values())),
        )
        # In a thread, since a strategy may take its time and the event loop has others to answer.
        return await asyncio.to_thread(evaluate, *arguments)

    async def _see(self, windows: Windows, batch: Batch, block: BarBlock) -> None:
        """Move `windows` on by `batch`, reading from the store what it does not follow on."""
        start_us = to_epoch_us(batch.start_at)
        if not windows.follows(start_us):
            windows.forget()
        missing = windows.missing(batch.composition)
        if missing:
            history = await self._bars.before(batch, missing, windows.depth)
            windows.load(missing, history, start_us)
        windows.push(block)

    def _remember(self, batch: Batch, evaluated: Evaluated) -> None:
        self._runs = {**self.runs, **{run.strategy: run for run in evaluated.runs}}
        correlation_id = source_of_instant(batch.timeframe.value, batch.end_at)
        _log.info(
            "evaluated",
            correlation_id=correlation_id,
            signals=len(evaluated.signals),
        )
        self._meters.batches.labels(str(batch.decidable).lower()).inc()
        for signal in evaluated.signals:
            self._meters.signals.labels(signal.strategy, signal.direction.value).inc()
            _log.info(
                "signal",
                correlation_id=correlation_id,
                signal_id=signal.signal_id,
                strategy=signal.strategy,
                symbol=signal.symbol,
                direction=signal.direction.value,
                reason=signal.reason,
                bar_end_at=signal.bar_end_at.isoformat(),
            )
        for run in evaluated.runs:
            if run.failures:
                self._meters.failures.labels(run.strategy).inc()

    async def newest_batch(self) -> Batch | None:
        """The batch announced last, evaluated or not."""
        return await self._store.newest_batch(self.timeframe)

    async def preview(self, strategy: Strategy, batch: Batch) -> Answer:
        """What `strategy` says to `batch`; nothing is stored, nothing of the pipeline is touched.

        Raises:
            StrategyFailed: the strategy raised or answered nonsense.
        """
        if not batch.decidable:
            return Answer(batch, (), stored=False)
        block = await self._bars.of(batch)
        windows = Windows(self.timeframe, strategy.bars_needed)
        await self._see(windows, batch, block)
        # Its own, since it may be asked while the pipeline is at another batch.
        universe = await SeenUniverse(self._store).until_end_of(batch, [strategy])
        try:
            signals = await asyncio.to_thread(
                signals_of, strategy, windows, block, batch, self._account, universe
            )
        except Exception as error:
            raise StrategyFailed(
                f"{strategy.name} failed: {type(error).__name__}: {error}"
            ) from error
        return Answer(batch, tuple(signals), stored=False)

    async def catch_up(self, batch: Batch) -> Answer:
        """The stored signals of `batch`, after the pipeline has evaluated everything up to it.

        Nobody but the pipeline stores, and it goes in order: an evaluation out of turn would tell
        the risk manager that earlier instants are over. So asking twice stores nothing twice.

        Raises:
            Unavailable: the pipeline has not come so far within a few seconds.
        """
        try:
            async with asyncio.timeout(_CATCH_UP_S):
                while await self._store.position() < batch.id:
                    await self.step()
        except TimeoutError:
            raise Unavailable(
                f"batch {batch.id} is not evaluated yet: earlier ones come first; ask again"
            ) from None
        return Answer(batch, tuple(await self._store.signals_of(batch.id)), stored=True)

    async def turn_off(self, strategy: str, reason: str, actor: str) -> StrategyRun:
        """Ask a strategy no more, restarts included, until somebody turns it on; stops at the broker stay.

        Raises:
            InvalidInput: it is off already.
        """
        async with self._turn:
            if self._runs is None:
                await self._start()
            if (known := self.runs.get(strategy)) is not None and known.is_off:
                raise InvalidInput(f"{strategy} is off already")
            await self._store.turn_off(strategy, f"turned off by {actor}: {reason}")
            self._runs = dict(await self._store.runs())
            _log.warning("strategy turned off", strategy=strategy, reason=reason, actor=actor)
            return self._runs[strategy]

    async def turn_on(self, strategy: str, reason: str) -> StrategyRun:
        """Let a strategy that is off, for its failures or on somebody's word, run again.

        Raises:
            InvalidInput: it is not off.
        """
        async with self._turn:
            if self._runs is None:
                await self._start()
            run = self.runs.get(strategy)
            if run is None or not run.is_off:
                raise InvalidInput(f"{strategy} is not off")
            await self._store.turn_on(strategy, reason, self._clock.now())
            self._runs = dict(await self._store.runs())
            _log.warning("strategy turned on", strategy=strategy, reason=reason)
            return self._runs[strategy]
