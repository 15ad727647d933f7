"""What was a symbol worth at an instant?

The close of its newest bar that had ended by then: one rule, so that the answer does not depend on when it is
asked. The cache is taken at its word only where its bar ends at that very instant, since then none can be newer;
everything else is read from the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import groupby

from risk_manager.limits import Closes
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
        rows = _rows_by_symbol(block)
        for symbol, span in rows.items():
            prices[symbol] = Price(
                from_micros(int(block.close[span.stop - 1])),
                from_epoch_us(int(block.end_us[span.stop - 1])),
            )
        if not with_history:
            return Market(frozenset(asked), prices)
        return Market(
            frozenset(asked),
            prices,
            _ByEnd(rows, block.end_us, block.close, MICROS),
            _ByEnd(rows, block.end_us, block.high, MICROS),
            _ByEnd(rows, block.end_us, block.low, MICROS),
            _ByEnd(rows, block.end_us, block.volume, 1),
        )


class _ByEnd(Mapping[Symbol, Closes]):
    """A column's figures by symbol and end of the bar, made when asked for: few rules look at all symbols."""

    def __init__(
        self, rows: Mapping[Symbol, slice], ends: Int64s, figures: Int64s, unit: int
    ) -> None:
        """`unit`: how many of a figure make one of what rules count in."""
        self._rows, self._ends, self._figures, self._unit = rows, ends, figures, unit

    def __getitem__(self, symbol: Symbol) -> Closes:
        span = self._rows[symbol]
        values = (self._figures[span] / self._unit).tolist()
        return dict(zip(self._ends[span].tolist(), values, strict=True))

    def __iter__(self) -> Iterator[Symbol]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def _rows_by_symbol(block: BarBlock) -> dict[Symbol, slice]:
    """Where each symbol's bars stand, oldest first; blocks are sorted that way."""
    rows: dict[Symbol, slice] = {}
    begin = 0
    for symbol, run in groupby(block.symbols):
        end = begin + len(list(run))
        rows[symbol] = slice(begin, end)
        begin = end
    return rows
