"""Which bars belong to a batch, and which came before it?

A batch is its composition: exactly the announced symbols at exactly its instant, whether they come from the
stream or from the store. Bars before it are those that were in time; one that came after its batch had
been announced stays out of every later window, so that a restart decides as if there had been none. They are put
into the shares of the batch's own day.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from shared.domain.bar_blocks import BarBlock, from_epoch_us, to_epoch_us
from shared.domain.corporate_actions import Adjustment, exchange_day
from shared.domain.errors import Unavailable
from shared.domain.symbols import Symbol
from shared.ports import BarStore, BarStream
from strategy_engine.ports import Batch, EvaluationStore
from strategy_engine.windows import on_time, select


class AnnouncedBars:
    """Bars as they were announced, from whoever has them."""

    def __init__(self, stream: BarStream, store: BarStore, batches: EvaluationStore) -> None:
        self._stream = stream
        self._store = store
        self._batches = batches

    async def of(self, batch: Batch) -> BarBlock:
        """The bars of `batch`, sorted by symbol.

        Raises:
            Unavailable: the store does not have all of them (yet).
        """
        block = await self._stream.fetch(batch.id)
        # The stream may remember a batch of a database that is no more: only an exact match counts.
        if block is not None and _is_exactly(batch, block):
            return block
        block = await asyncio.to_thread(
            self._store.between,
            batch.timeframe,
            batch.composition,
            batch.start_at,
            batch.end_at,
        )
        if not _is_exactly(batch, block):
            absent = sorted(set(batch.composition) - set(block.symbols))
            raise Unavailable(
                f"batch {batch.id} announces {len(batch.composition)} bars and the store has "
                f"{len(block)}; {', '.join(absent[:5])} missing"
            )
        return block

    async def before(self, batch: Batch, symbols: Sequence[Symbol], count: int) -> BarBlock:
        """The newest `count` bars of each of `symbols` that ended before `batch` began, if in time."""
        return await self._until(batch, symbols, count, to_epoch_us(batch.start_at))

    async def until_end_of(self, batch: Batch, symbols: Sequence[Symbol], count: int) -> BarBlock:
        """The same, up to and with `batch`."""
        return await self._until(batch, symbols, count, to_epoch_us(batch.end_at))

    async def _until(
        self, batch: Batch, symbols: Sequence[Symbol], count: int, until_us: int
    ) -> BarBlock:
        asked = count
        while True:
            # In the shares of the deciding day: a split would else look like a crash.
            block = await asyncio.to_thread(
                self._store.last,
                batch.timeframe,
                symbols,
                asked,
                from_epoch_us(until_us),
                adjustment=Adjustment.SPLIT,
                as_of_on=exchange_day(batch.end_at),
            )
            instants = [from_epoch_us(us) for us in np.unique(block.end_us).tolist()]
            announced = await self._batches.compositions(batch.timeframe, instants)
            kept = on_time(block, {to_epoch_us(at): names for at, names in announced.items()})
            if kept.all():
                return block
            chosen = select(block, kept)
            if not _short_of(count, asked, block, chosen):
                return chosen
            asked *= 2


def _is_exactly(batch: Batch, block: BarBlock) -> bool:
    return (
        block.timeframe is batch.timeframe
        and block.symbols == batch.composition
        and bool((block.end_us == to_epoch_us(batch.end_at)).all())
    )


def _short_of(count: int, asked: int, block: BarBlock, chosen: BarBlock) -> bool:
    """Whether leaving late bars out left a symbol with fewer than `count` although it has older ones."""
    stored, left = _bars_per_symbol(block), _bars_per_symbol(chosen)
    return any(n >= asked and left.get(symbol, 0) < count for symbol, n in stored.items())


def _bars_per_symbol(block: BarBlock) -> dict[Symbol, int]:
    names, counts = np.unique(np.asarray(block.symbols, dtype=str), return_counts=True)
    return {Symbol(name): int(n) for name, n in zip(names.tolist(), counts.tolist(), strict=True)}
