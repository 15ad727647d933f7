"""What was a symbol worth at an instant?

The close of its newest bar that had ended by then: one rule, so that the answer does not depend on when it is
asked. The cache is taken at its word only where its bar ends at that very instant, since then none can be newer;
everything else is read from the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime

from risk_manager.snapshot import Market, Price
from shared.domain.bar_blocks import BarBlock, Int64s, from_epoch_us
from shared.domain.money import MICROS, from_micros
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.ports import BarStore, LatestBars


class StoredMarket:
    """See `ports.MarketReader`."""

    def __init__(
        self, latest: LatestBars, store: BarStore, timeframe: Timeframe, history_bars: int
    ) -> None:
        """`history_bars`: closes per symbol when history is wanted."""
        self._latest = latest
        self._store = store
        self._timeframe = timeframe
        self._history_bars = history_bars

    async def at(
        self, instant_at: datetime, symbols: Iterable[Symbol], *, with_history: bool
    ) -> Market:
        """See `ports.MarketReader`."""
        asked = sorted(set(symbols))
        prices: dict[Symbol, Price] = {}
        if not with_history:
            for symbol, newest in (await self._latest.get(self._timeframe, asked)).items():
                if newest.bar.end_at == instant_at:
                    prices[symbol] = Price(newest.bar.close, newest.bar.end_at)
        missing = [symbol for symbol in asked if symbol not in prices]
        if not missing:
            return Market(frozenset(asked), prices)
        count = self._history_bars if with_history else 1
        block = await asyncio.to_thread(
            self._store.last, self._timeframe, missing, count, instant_at
        )
        closes = _by_end(block, block.close)
        for symbol, by_end in closes.items():
            end = next(reversed(by_end))
            prices[symbol] = Price(from_micros(by_end[end]), from_epoch_us(end))
        if not with_history:
            return Market(frozenset(asked), prices)
        return Market(
            frozenset(asked),
            prices,
            _dollars(closes),
            _dollars(_by_end(block, block.high)),
            _dollars(_by_end(block, block.low)),
            {
                symbol: {end: float(shares) for end, shares in by_end.items()}
                for symbol, by_end in _by_end(block, block.volume).items()
            },
        )


def _by_end(block: BarBlock, column: Int64s) -> dict[Symbol, dict[int, int]]:
    """A column's figures by the end of their bar, oldest first; blocks are sorted that way."""
    figures: dict[Symbol, dict[int, int]] = {}
    for symbol, end, figure in zip(
        block.symbols, block.end_us.tolist(), column.tolist(), strict=True
    ):
        figures.setdefault(symbol, {})[end] = figure
    return figures


def _dollars(micros: dict[Symbol, dict[int, int]]) -> dict[Symbol, dict[int, float]]:
    return {
        symbol: {end: price / MICROS for end, price in by_end.items()}
        for symbol, by_end in micros.items()
    }
