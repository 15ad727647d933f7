"""What was known of each company at the end of each bar?

Figures as a screen showed them (`shared.domain.fundamentals`), each with the instant at which they were taken. A bar knows
its symbol's newest snapshot that was taken until its end, and no later one; one that is too old says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from shared.domain.bar_blocks import to_epoch_us
from shared.domain.errors import InvalidInput
from shared.domain.fundamentals import FUNDAMENTALS
from shared.domain.symbols import Symbol
from strategy_engine.parameters import UnknownName, did_you_mean

Floats = NDArray[np.float64]
Instants = NDArray[np.int64]
_Any = TypeVar("_Any", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Snapshots:
    """Figures of companies as they were taken, each symbol's together and the oldest first: see `snapshots_of`.

    `taken_us`: microseconds since 1970 UTC, shape (n,). `figures`: shape (n, one per name in FUNDAMENTALS), NaN where
    missing. `spans`: each symbol's first row and one past its last.
    """

    taken_us: Instants
    figures: Floats
    spans: Mapping[Symbol, tuple[int, int]]

    def __len__(self) -> int:
        return len(self.taken_us)

    def rows_of(self, symbols: Sequence[Symbol]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The rows of these symbols, and for each the number of its symbol among them."""
        spans = np.array([self.spans.get(symbol, (0, 0)) for symbol in symbols], np.int64)
        first, last = spans.reshape(-1, 2).T
        lengths = last - first
        column = np.repeat(np.arange(len(symbols)), lengths)
        within = np.arange(len(column)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return np.repeat(first, lengths) + within, column

    def then(self, later: Snapshots, since_us: int) -> Snapshots:
        """These and `later` ones, without what was taken before `since_us`."""
        return joined([self, later], since_us)

    def symbols(self) -> list[Symbol]:
        """Whose each row is."""
        return [symbol for symbol, (first, last) in self.spans.items() for _ in range(first, last)]


def snapshots_of(symbols: Sequence[Symbol], taken_us: Instants, figures: Floats) -> Snapshots:
    """Snapshots in any order; `symbols` and `taken_us` of shape (n,), `figures` as in `Snapshots`."""
    if figures.shape != (len(symbols), len(FUNDAMENTALS)) or len(taken_us) != len(symbols):
        raise InvalidInput(
            f"snapshots of {len(symbols)} companies cannot have figures of shape {figures.shape}"
        )
    number = {symbol: i for i, symbol in enumerate(dict.fromkeys(symbols))}
    whose = np.fromiter((number[symbol] for symbol in symbols), np.int64, len(symbols))
    order = np.lexsort((taken_us, whose))
    counts = np.bincount(whose, minlength=len(number))
    last = np.cumsum(counts)
    spans = zip((last - counts).tolist(), last.tolist(), strict=True)
    return Snapshots(taken_us[order], figures[order], dict(zip(number, spans, strict=True)))


def joined(parts: Sequence[Snapshots], since_us: int) -> Snapshots:
    """The snapshots of all `parts`, in any order, without what was taken before `since_us`."""
    parts = [NO_SNAPSHOTS, *parts]
    symbols = [symbol for part in parts for symbol in part.symbols()]
    taken_us = np.concatenate([part.taken_us for part in parts])
    figures = np.concatenate([part.figures for part in parts])
    kept = np.flatnonzero(taken_us >= since_us)
    return snapshots_of([symbols[row] for row in kept.tolist()], taken_us[kept], figures[kept])


def read_snapshots(rows: Sequence[Sequence[Any]]) -> Snapshots:
    """Rows of symbol, instant and one number or None per name in FUNDAMENTALS, in any order."""
    if not rows:
        return NO_SNAPSHOTS
    return snapshots_of(
        [Symbol(row[0]) for row in rows],
        np.array([to_epoch_us(row[1]) for row in rows], np.int64),
        np.array([row[2:] for row in rows], np.float64),
    )


NO_SNAPSHOTS = snapshots_of([], np.empty(0, np.int64), np.empty((0, len(FUNDAMENTALS))))


@dataclass(frozen=True, slots=True)
class Fundamentals:
    """What each bar of a panel, or of one symbol, knows of its company; of snapshots that no bar knows nothing is here.

    `place`: of the shape of the bars, which row of the figures each knows, 0 where it knows none. `figures`: by name, one
    value per snapshot, the first NaN.
    """

    place: NDArray[np.int32]
    figures: Mapping[str, Floats]

    def __post_init__(self) -> None:
        object.__setattr__(self, "place", _read_only(self.place))
        figures = {name: _read_only(values) for name, values in self.figures.items()}
        object.__setattr__(self, "figures", figures)

    def __getitem__(self, name: str) -> Floats:
        """A figure by its name, one value per snapshot: what is reckoned of it goes to the bars by `spread`.

        Raises:
            UnknownName: there is no such figure.
        """
        if name not in self.figures:
            raise UnknownName(
                f"there is no figure {name[:60]!r} of companies; {did_you_mean(name, self.figures)}"
            )
        return self.figures[name]

    def spread(self, values: Floats) -> Floats:
        """One value per snapshot, given to every bar that knows it; of the bars' shape."""
        return values[self.place]

    def showing(self, figures: Mapping[str, Floats]) -> Fundamentals:
        """The same bars with other figures, each one value per snapshot: what was picked or reckoned of these."""
        return Fundamentals(self.place, figures)

    def at(self, row: int, column: int) -> dict[str, float]:
        """The figures that one bar knows, by name; what is missing is left out."""
        place = self.place[row, column]
        found = {name: float(values[place]) for name, values in self.figures.items()}
        return {name: value for name, value in found.items() if value == value}

    def of_first(self) -> Fundamentals:
        """Those of the first column alone, of shape (bars,)."""
        return Fundamentals(self.place[:, 0], self.figures)

    def as_column(self) -> Fundamentals:
        """Those of one symbol, of shape (bars, 1)."""
        return Fundamentals(self.place[:, None], self.figures)

    def taken(self, place: NDArray[np.int32]) -> Fundamentals:
        """The same for other bars: `place` says what of these figures each knows, and nothing else is kept."""
        is_known = np.zeros(len(next(iter(self.figures.values()))), np.bool_)
        is_known[place] = True
        is_known[0] = True
        number = (np.cumsum(is_known) - 1).astype(np.int32)
        return Fundamentals(
            number[place], {name: values[is_known] for name, values in self.figures.items()}
        )


def fundamentals_of(
    snapshots: Snapshots, symbols: Sequence[Symbol], end_us: Instants, oldest_us: int
) -> Fundamentals:
    """What bars that ended at `end_us`, shape (bars, symbols), know of `snapshots`.

    Args:
        oldest_us: how old a snapshot may be at the end of a bar.
    """
    rows, column = snapshots.rows_of(symbols)
    taken_us = snapshots.taken_us[rows]
    bars = len(end_us)
    # The first bar of its symbol that ended after it was taken, by bisection of all at once.
    low, high = np.zeros(len(rows), np.int64), np.full(len(rows), bars)
    for _ in range(bars.bit_length()):
        middle = (low + high) // 2
        is_before = (middle < high) & (end_us[np.minimum(middle, bars - 1), column] <= taken_us)
        low, high = np.where(is_before, middle + 1, low), np.where(is_before, high, middle)
    place = np.zeros_like(end_us, np.int32)
    known = low < bars
    # Of several at one bar the last one stays, and each symbol's are in order of time.
    place[low[known], column[known]] = np.flatnonzero(known) + 1
    np.maximum.accumulate(place, axis=0, out=place)
    if len(rows) and int(end_us.max()) - int(taken_us.min()) > oldest_us:
        place[end_us - np.append(0, taken_us)[place] > oldest_us] = 0
    values = np.concatenate([np.full((1, len(FUNDAMENTALS)), np.nan), snapshots.figures[rows]])
    figures = {name: values[:, number].copy() for number, name in enumerate(FUNDAMENTALS)}
    return Fundamentals(place, figures).taken(place)


def _read_only(values: NDArray[_Any]) -> NDArray[_Any]:
    """The same numbers, which whoever made them may go on writing to."""
    seen = values.view()
    seen.flags.writeable = False
    return seen
