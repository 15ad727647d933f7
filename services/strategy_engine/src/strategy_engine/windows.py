"""Which bars does a strategy see at this instant?

Each symbol's newest own bars, kept in memory and moved on by one per batch. A batch moves them only when it
follows directly on what is there; after any gap, and for a symbol seen for the first time, the bars are read
from the store again. So the windows depend on what was stored and announced, never on how long this process
has been running.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import numpy as np

from shared.domain.bar_blocks import BarBlock
from shared.domain.errors import InvalidBar
from shared.domain.money import MICROS
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from strategy_engine.panels import FIGURES, Bools, Floats, Panel

_PRICES = frozenset({"open", "high", "low", "close"})


class Windows:
    """The newest `depth` own bars of each symbol; columns are sorted by symbol, newest bar last."""

    def __init__(self, timeframe: Timeframe, depth: int) -> None:
        self.timeframe = timeframe
        self.depth = depth
        self._columns: dict[Symbol, int] = {}
        self._figures: dict[str, Floats] = {}
        self._newest_us: int | None = None
        self.forget()

    def forget(self) -> None:
        """Drop everything, so that the next batch is preceded by a fresh look at the store."""
        self._columns = {}
        self._figures = {name: np.empty((self.depth, 0)) for name in FIGURES}
        self._newest_us = None

    def follows(self, start_us: int) -> bool:
        """Whether a batch that starts at `start_us` comes directly after the newest one seen."""
        return self._newest_us == start_us

    def missing(self, symbols: Iterable[Symbol]) -> list[Symbol]:
        """Those of `symbols` that have no column yet."""
        return [symbol for symbol in symbols if symbol not in self._columns]

    def load(self, symbols: Sequence[Symbol], history: BarBlock, until_us: int) -> None:
        """Give each of `symbols` a column with the newest of its bars in `history`, up to `until_us`."""
        added = {symbol: i for i, symbol in enumerate(self.missing(dict.fromkeys(symbols)))}
        rows, columns, kept = self._places(added, history)
        names = [*self._columns, *added]
        order = sorted(range(len(names)), key=names.__getitem__)
        for name in FIGURES:
            fresh = np.full((self.depth, len(added)), np.nan)
            fresh[rows, columns] = _as_floats(name, history)[kept]
            self._figures[name] = np.concatenate([self._figures[name], fresh], axis=1)[:, order]
        self._columns = {names[old]: new for new, old in enumerate(order)}
        self._newest_us = until_us

    def _places(
        self, added: Mapping[Symbol, int], history: BarBlock
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Row and column of each bar of `history` that is wanted, and which bars those are."""
        columns = np.fromiter((added.get(s, -1) for s in history.symbols), np.int64, len(history))
        # A block is sorted by symbol, then start: bars of one symbol stand together, oldest first.
        starts = np.flatnonzero(np.diff(columns, prepend=-2))
        lengths = np.diff(np.append(starts, len(columns)))
        from_end = np.repeat(starts + lengths, lengths) - 1 - np.arange(len(columns))
        kept = np.flatnonzero((columns >= 0) & (from_end < self.depth))
        return self.depth - 1 - from_end[kept], columns[kept], kept

    def push(self, block: BarBlock) -> None:
        """Append one bar to each symbol of `block`, all of the same instant, all with a column.

        Raises:
            InvalidBar: bars of several instants, or two of one symbol.
        """
        if len(set(block.symbols)) != len(block) or len(np.unique(block.end_us)) != 1:
            raise InvalidBar("a batch must have one bar per symbol, all ending at one instant")
        at = np.fromiter((self._columns[s] for s in block.symbols), np.int64, len(block))
        everybody = len(at) == len(self._columns)
        for name, values in self._figures.items():
            if everybody:
                values[:-1] = values[1:]
            else:
                values[:-1, at] = values[1:, at]
            values[-1, at] = _as_floats(name, block)
        self._newest_us = int(block.end_us[0])

    def panel(self, symbols: Sequence[Symbol], bars: int) -> Panel:
        """The newest `bars` rows of `symbols` (sorted), as they are now: a copy."""
        at = np.fromiter((self._columns[s] for s in symbols), np.int64, len(symbols))
        everybody = len(at) == len(self._columns)
        cut = {
            name: values[-bars:].copy() if everybody else values[-bars:, at]
            for name, values in self._figures.items()
        }
        return Panel(self.timeframe, tuple(symbols), **cut)


def _as_floats(name: str, block: BarBlock) -> Floats:
    values: Floats = getattr(block, name).astype(np.float64)
    return values / MICROS if name in _PRICES else values


def on_time(block: BarBlock, compositions: Mapping[int, AbstractSet[Symbol]]) -> Bools:
    """Which bars of `block` were in time for their batch, where their instant had one.

    `compositions` holds, by end of bar in microseconds, the symbols that were announced. A bar that
    came later was seen by nobody who decided then, so it is left out now, too.
    """
    return np.fromiter(
        (
            end_us not in compositions or symbol in compositions[end_us]
            for symbol, end_us in zip(block.symbols, block.end_us.tolist(), strict=True)
        ),
        np.bool_,
        len(block),
    )


def select(block: BarBlock, chosen: Bools) -> BarBlock:
    """The bars of `block` where `chosen` is true."""
    if chosen.all():
        return block
    columns = ("start_us", "end_us", "open", "high", "low", "close", "volume")
    return BarBlock(
        block.timeframe,
        tuple(s for s, keep in zip(block.symbols, chosen.tolist(), strict=True) if keep),
        *(getattr(block, name)[chosen] for name in columns),
    )
