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
from numpy.lib.stride_tricks import sliding_window_view

from shared.domain.bar_blocks import BarBlock
from shared.domain.errors import InvalidBar
from shared.domain.money import MICROS
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from strategy_engine.panels import FIGURES, Bools, Floats, Instants, Panel

_PRICES = frozenset({"open", "high", "low", "close"})
# A symbol's bars are moved together once in so many; until then a new one is only written behind the others.
_ROOM = 64


class Windows:
    """The newest `depth` own bars of each symbol, newest last; symbols are kept in order.

    Each symbol's bars lie side by side with some room behind them, so that a batch writes one value per symbol and
    figure, whichever symbols it has.
    """

    def __init__(self, timeframe: Timeframe, depth: int) -> None:
        self.timeframe = timeframe
        self.depth = depth
        self._places: dict[Symbol, int] = {}
        self._figures: dict[str, Floats] = {}
        self._ends: Instants = np.empty((0, 0), np.int64)
        # One past each symbol's newest bar.
        self._behind = np.empty(0, np.int64)
        self._newest_us: int | None = None
        self.forget()

    def forget(self) -> None:
        """Drop everything, so that the next batch is preceded by a fresh look at the store."""
        width = self.depth + _ROOM
        self._places = {}
        self._figures = {name: np.empty((0, width)) for name in FIGURES}
        self._ends = np.empty((0, width), np.int64)
        self._behind = np.empty(0, np.int64)
        self._newest_us = None

    def follows(self, start_us: int) -> bool:
        """Whether a batch that starts at `start_us` comes directly after the newest one seen."""
        return self._newest_us == start_us

    def missing(self, symbols: Iterable[Symbol]) -> list[Symbol]:
        """Those of `symbols` that have no window yet."""
        return [symbol for symbol in symbols if symbol not in self._places]

    def load(self, symbols: Sequence[Symbol], history: BarBlock, until_us: int) -> None:
        """Give each of `symbols` a window with the newest of its bars in `history`, up to `until_us`."""
        added = {symbol: i for i, symbol in enumerate(self.missing(dict.fromkeys(symbols)))}
        bars, places, kept = self._newest_of(added, history)
        names = [*self._places, *added]
        order = sorted(range(len(names)), key=names.__getitem__)
        # Not all at one time: moving everybody's bars together in one batch would make that one slow.
        behind = self.depth + np.arange(len(added)) % _ROOM
        bars += behind[places] - self.depth
        shape = (len(added), self.depth + _ROOM)
        for name in FIGURES:
            fresh = np.full(shape, np.nan)
            fresh[places, bars] = _as_floats(name, history)[kept]
            self._figures[name] = np.concatenate([self._figures[name], fresh])[order]
        ends = np.zeros(shape, np.int64)
        ends[places, bars] = history.end_us[kept]
        self._ends = np.concatenate([self._ends, ends])[order]
        self._behind = np.concatenate([self._behind, behind])[order]
        self._places = {names[old]: new for new, old in enumerate(order)}
        self._newest_us = until_us

    def _newest_of(
        self, added: Mapping[Symbol, int], history: BarBlock
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where in its window each bar of `history` that is wanted goes, whose it is, and which bars those are."""
        places = np.fromiter((added.get(s, -1) for s in history.symbols), np.int64, len(history))
        # A block is sorted by symbol, then start: bars of one symbol stand together, oldest first.
        starts = np.flatnonzero(np.diff(places, prepend=-2))
        lengths = np.diff(np.append(starts, len(places)))
        from_end = np.repeat(starts + lengths, lengths) - 1 - np.arange(len(places))
        kept = np.flatnonzero((places >= 0) & (from_end < self.depth))
        return self.depth - 1 - from_end[kept], places[kept], kept

    def push(self, block: BarBlock) -> None:
        """Append one bar to each symbol of `block`, all of the same instant, all with a window.

        Raises:
            InvalidBar: bars of several instants, or two of one symbol.
        """
        if len(set(block.symbols)) != len(block) or len(np.unique(block.end_us)) != 1:
            raise InvalidBar("a batch must have one bar per symbol, all ending at one instant")
        at = np.fromiter((self._places[s] for s in block.symbols), np.int64, len(block))
        full = at[self._behind[at] == self.depth + _ROOM]
        if len(full):
            for values in (*self._figures.values(), self._ends):
                values[full, : self.depth] = values[full, _ROOM:]
            self._behind[full] = self.depth
        where = self._behind[at]
        for name, values in self._figures.items():
            values[at, where] = _as_floats(name, block)
        self._ends[at, where] = block.end_us
        self._behind[at] += 1
        self._newest_us = int(block.end_us[0])

    def panel(self, symbols: Sequence[Symbol], bars: int) -> Panel:
        """The newest `bars` rows of `symbols` (sorted), as they are now: a copy."""
        at = np.fromiter((self._places[s] for s in symbols), np.int64, len(symbols))
        first = self._behind[at] - bars
        # Every run of `bars` values there is, of which one for each symbol is copied in one piece.
        cut = {
            name: sliding_window_view(values, bars, axis=1)[at, first]
            for name, values in self._figures.items()
        }
        ends = sliding_window_view(self._ends, bars, axis=1)[at, first]
        return Panel(
            self.timeframe,
            tuple(symbols),
            open=cut["open"].T,
            high=cut["high"].T,
            low=cut["low"].T,
            close=cut["close"].T,
            volume=cut["volume"].T,
            end_us=ends.T,
        )


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
