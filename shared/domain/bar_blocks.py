"""How do many bars travel together?

Column by column: arrays of equal length, one row per bar, sorted by symbol, then start. Ten thousand
symbols' minute is then a handful of arrays and not ten thousand objects. Prices are whole micros
(int64), instants microseconds since the Unix epoch (int64, UTC), volumes shares (int64).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from shared.domain.bars import Bar
from shared.domain.errors import InvalidBar
from shared.domain.money import from_micros, to_micros
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe

Int64s = NDArray[np.int64]
COLUMNS = ("start_us", "end_us", "open", "high", "low", "close", "volume")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_epoch_us(at: datetime) -> int:
    """Whole microseconds from the Unix epoch to `at`; exact, unlike float timestamps."""
    return (at - EPOCH) // _MICROSECOND


def from_epoch_us(us: int) -> datetime:
    """The aware UTC instant `us` microseconds after the Unix epoch."""
    return EPOCH + timedelta(microseconds=int(us))


@dataclass(frozen=True, slots=True)
class BarBlock:
    """Bars of one timeframe as columns of shape (n,); see the module's text for units."""

    timeframe: Timeframe
    symbols: tuple[Symbol, ...]
    start_us: Int64s
    end_us: Int64s
    open: Int64s
    high: Int64s
    low: Int64s
    close: Int64s
    volume: Int64s

    def __post_init__(self) -> None:
        n = len(self.symbols)
        for name in COLUMNS:
            if getattr(self, name).shape != (n,):
                raise InvalidBar(f"column {name} must have one value for each of {n} bars")

    def __len__(self) -> int:
        return len(self.symbols)

    def __iter__(self) -> Iterator[Bar]:
        return (self.bar(i) for i in range(len(self)))

    def picked(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> BarBlock:
        """The rows that `rows` names, by number or by mask."""
        numbers = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        names = self.symbols
        return BarBlock(
            self.timeframe,
            tuple(names[i] for i in numbers.tolist()),
            *(getattr(self, name)[numbers] for name in COLUMNS),
        )

    def bar(self, i: int) -> Bar:
        """Row `i` as a value object."""
        return Bar(
            self.symbols[i],
            self.timeframe,
            from_epoch_us(int(self.start_us[i])),
            from_epoch_us(int(self.end_us[i])),
            from_micros(int(self.open[i])),
            from_micros(int(self.high[i])),
            from_micros(int(self.low[i])),
            from_micros(int(self.close[i])),
            int(self.volume[i]),
        )


def block_of(timeframe: Timeframe, bars: Sequence[Bar]) -> BarBlock:
    """Columns of `bars`, sorted by symbol, then start; each bar must have that timeframe."""
    for bar in bars:
        if bar.timeframe is not timeframe:
            raise InvalidBar(f"a {bar.timeframe} bar does not belong into a {timeframe} block")
    rows = sorted(bars, key=lambda bar: (bar.symbol, bar.start_at))

    def column(values: list[int]) -> Int64s:
        return np.asarray(values, dtype=np.int64)

    return BarBlock(
        timeframe,
        tuple(bar.symbol for bar in rows),
        column([to_epoch_us(bar.start_at) for bar in rows]),
        column([to_epoch_us(bar.end_at) for bar in rows]),
        column([to_micros(bar.open) for bar in rows]),
        column([to_micros(bar.high) for bar in rows]),
        column([to_micros(bar.low) for bar in rows]),
        column([to_micros(bar.close) for bar in rows]),
        column([bar.volume for bar in rows]),
    )


def joined(timeframe: Timeframe, blocks: Sequence[BarBlock]) -> BarBlock:
    """All rows of `blocks` in order; of rows with one symbol and start those of earlier blocks first."""
    if len(blocks) == 1:
        return in_order(blocks[0])
    empty = np.empty(0, np.int64)
    return in_order(
        BarBlock(
            timeframe,
            tuple(symbol for block in blocks for symbol in block.symbols),
            *(np.concatenate([empty, *(getattr(b, name) for b in blocks)]) for name in COLUMNS),
        )
    )


def in_order(block: BarBlock) -> BarBlock:
    """`block` sorted by symbol, then start; rows that have both in common stay as they came."""
    names, starts = block.symbols, block.start_us.tolist()
    keys = list(zip(names, starts, strict=True))
    if all(earlier <= later for earlier, later in pairwise(keys)):
        return block
    return block.picked(np.array(sorted(range(len(names)), key=keys.__getitem__), dtype=np.intp))
