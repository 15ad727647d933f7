"""What had been seen of screens and companies by the end of a batch?

Screens are few and read anew. Snapshots of companies are many and never change, so each is read once and kept for as long as the
bar before the one that is decided on may know it.
"""

from __future__ import annotations

from collections.abc import Sequence

from shared.domain.bar_blocks import to_epoch_us
from strategy_engine.fundamentals import NO_SNAPSHOTS
from strategy_engine.ports import Batch, EvaluationStore
from strategy_engine.strategy import Strategy
from strategy_engine.universe import OLDEST, Universe

# Two days of them, one every five minutes: a decision compares this bar with the one before.
_SCREENS = 200
# The bar before may lie a long weekend back, and know what was taken `OLDEST` before it.
KEPT = 2 * OLDEST
# Of every symbol that can be followed, one for each hour of open market.
_SNAPSHOTS = 100_000


class SeenUniverse:
    """What strategies that ask may know, read from `store`."""

    def __init__(self, store: EvaluationStore) -> None:
        self._store = store
        self._snapshots = NO_SNAPSHOTS
        self._last_id = 0

    async def until_end_of(self, batch: Batch, strategies: Sequence[Strategy]) -> Universe:
        """What `batch` may know, as far as one of `strategies` asks for it; batches come in order of time."""
        screens = []
        if any(strategy.uses_screens for strategy in strategies):
            screens = await self._store.screens(batch.end_at, _SCREENS)
        if any(strategy.uses_fundamentals for strategy in strategies):
            await self._read(batch)
        return Universe(screens, self._snapshots)

    async def _read(self, batch: Batch) -> None:
        since_at = batch.end_at - KEPT
        last_id, newer = await self._store.snapshots(
            after=self._last_id, since_at=since_at, until_at=batch.end_at, limit=_SNAPSHOTS
        )
        if len(newer):
            self._snapshots = self._snapshots.then(newer, to_epoch_us(since_at))
            self._last_id = last_id
