"""What was a symbol worth at an instant?

The close of its newest bar that had ended by then: one rule, so that the answer does not depend on when it is
asked. The cache is taken at its word only where its bar ends at that very instant, since then none can be newer;
everything else is read from the store. What was read is kept for as long as the store says that it holds. All of it is
in the shares of the instant's day, or a split would look like a crash, and twins from before it like strangers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable, Iterator, Mapping
from datetime import date, datetime
from itertools import groupby

from risk_manager.limits import Closes
from risk_manager.share_counts import KNOWN_AHEAD, KNOWN_FOR
from risk_manager.snapshot import Market, Price
from shared.domain.bar_blocks import BarBlock, Int64s, from_epoch_us
from shared.domain.corporate_actions import Adjustment, Split, adjusted, exchange_day
from shared.domain.money import MICROS, from_micros
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.ports import ActionStore, BarStore, LatestBars


class StoredMarket:
    """See `ports.MarketReader`."""

    def __init__(
        self,
        latest: LatestBars,
        store: BarStore,
        actions: ActionStore,
        timeframe: Timeframe,
        history_bars: int,
    ) -> None:
        """`history_bars`: closes per symbol when history is wanted."""
        self._latest = latest
        self._store = store
        self._actions = actions
        self._timeframe = timeframe
        self._history_bars = history_bars
        # The newest history that was read, and the version of the store that it was read from.
        self._kept: tuple[Hashable, Market] | None = None
        # All splits of the days around an instant's, and what they were read for.
        self._splits: tuple[Hashable, list[Split]] = (None, [])

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
        if with_history:
            return await asyncio.to_thread(self._history, asked, instant_at)
        return await asyncio.to_thread(self._prices_alone, asked, prices, instant_at)

    def _prices_alone(
        self, asked: list[Symbol], prices: dict[Symbol, Price], instant_at: datetime
    ) -> Market:
        """`prices` and those that are missing there."""
        version = self._store.version(self._timeframe, instant_at)
        splits = self._splits_around(instant_at, version)
        missing = [symbol for symbol in asked if symbol not in prices]
        if missing:
            block = self._block(missing, 1, instant_at, splits)
            prices |= _prices(block, _rows_by_symbol(block))
        on = exchange_day(instant_at)
        return Market(frozenset(asked), prices, splits=_around(splits, asked, on), on=on)

    def _block(
        self, symbols: list[Symbol], count: int, instant_at: datetime, splits: list[Split]
    ) -> BarBlock:
        """Each symbol's newest bars in the shares of the instant's day."""
        raw = self._store.last(self._timeframe, symbols, count, instant_at)
        on = exchange_day(instant_at)
        return adjusted(raw, splits, Adjustment.SPLIT, on, lambda _symbol, _at: None)

    def _splits_around(self, instant_at: datetime, version: Hashable) -> list[Split]:
        """Every split up to some days after the instant; looked for anew when there are new bars, or another day."""
        until_on = exchange_day(instant_at) + KNOWN_AHEAD
        if self._splits[0] != (version, until_on):
            found = [a for a in self._actions.actions(until_on=until_on) if isinstance(a, Split)]
            self._splits = (version, until_on), found
        return self._splits[1]

    def _history(self, asked: list[Symbol], instant_at: datetime) -> Market:
        version = self._store.version(self._timeframe, instant_at), exchange_day(instant_at)
        if self._kept is not None:
            known, market = self._kept
            if known == version and market.asked.issuperset(asked):
                return market
        splits = self._splits_around(instant_at, version)
        block = self._block(asked, self._history_bars, instant_at, splits)
        rows = _rows_by_symbol(block)
        market = Market(
            frozenset(asked),
            _prices(block, rows),
            _ByEnd(rows, block.end_us, block.close, MICROS),
            _ByEnd(rows, block.end_us, block.high, MICROS),
            _ByEnd(rows, block.end_us, block.low, MICROS),
            _ByEnd(rows, block.end_us, block.volume, 1),
            _around(splits, asked, version[1]),
            version[1],
        )
        # What came in while it was read may or may not be there, so that is kept by no version.
        if self._store.version(self._timeframe, instant_at) == version[0]:
            self._kept = version, market
        return market


def _around(
    splits: Iterable[Split], asked: Iterable[Symbol], on: date
) -> dict[Symbol, tuple[Split, ...]]:
    """Those that a position, or a price, may still wait for on that day."""
    found: dict[Symbol, tuple[Split, ...]] = {}
    wanted = set(asked)
    for split in splits:
        if split.symbol in wanted and split.ex_on >= on - KNOWN_FOR:
            found[split.symbol] = (*found.get(split.symbol, ()), split)
    return found


def _prices(block: BarBlock, rows: Mapping[Symbol, slice]) -> dict[Symbol, Price]:
    """The close of each symbol's last row."""
    return {
        symbol: Price(
            from_micros(int(block.close[span.stop - 1])),
            from_epoch_us(int(block.end_us[span.stop - 1])),
        )
        for symbol, span in rows.items()
    }


class _ByEnd(Mapping[Symbol, Closes]):
    """A column's figures by symbol and end of the bar, made when asked for: few rules look at all symbols."""

    def __init__(
        self, rows: Mapping[Symbol, slice], ends: Int64s, figures: Int64s, unit: int
    ) -> None:
        """`unit`: how many of a figure make one of what rules count in."""
        self._rows, self._ends, self._figures, self._unit = rows, ends, figures, unit
        self._made: dict[Symbol, Closes] = {}

    def __getitem__(self, symbol: Symbol) -> Closes:
        made = self._made.get(symbol)
        if made is None:
            span = self._rows[symbol]
            values = (self._figures[span] / self._unit).tolist()
            made = dict(zip(self._ends[span].tolist(), values, strict=True))
            self._made[symbol] = made
        return made

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
