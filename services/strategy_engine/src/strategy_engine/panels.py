"""What does a strategy see?

A panel: one column per symbol, one row per bar, oldest first, NaN where a symbol has no bar. Or a view: one
symbol's own bars up to the deciding one. What comes after it is not hidden in them, it is not there.
Prices are dollars per share on the grid of a micro, volumes shares, both float64. When each bar ended stands beside them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shared.domain.errors import InvalidInput
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from strategy_engine.fundamentals import Fundamentals

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Instants = NDArray[np.int64]

FIGURES = ("open", "high", "low", "close", "volume")
_OPTIONAL = {"end_us": np.int64, "screened": np.float64}


@dataclass(frozen=True, slots=True)
class Panel:
    """Bars of many symbols; every array has shape (bars, symbols).

    Rows are instants in backtests. Live, each column is that symbol's own newest bars, and only the last
    row is the same instant for all; so what compares symbols with each other must do it in the last row.

    `end_us`: when each bar ended, microseconds since 1970 UTC; of no meaning where there is no bar. It may be left
    out where no strategy asks for times, and is then None. `screened`: 1 where the newest screen that had been taken by then
    let the symbol through, 0 where it did not, NaN where none is known (see `universe`); None is NaN everywhere.
    `fundamentals`: what was known of the companies by then; None where no strategy asks.
    """

    timeframe: Timeframe
    symbols: tuple[Symbol, ...]
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    end_us: Instants | None = field(default=None, kw_only=True)
    screened: Floats | None = field(default=None, kw_only=True)
    fundamentals: Fundamentals | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        shape = self.close.shape
        if len(shape) != 2 or shape[1] != len(self.symbols):
            raise InvalidInput(
                f"a panel of {len(self.symbols)} symbols cannot have columns of shape {shape}"
            )
        for name in FIGURES:
            column: Floats = getattr(self, name)
            if column.shape != shape or column.dtype != np.float64:
                raise InvalidInput(f"{name} of a panel must be float64 of shape {shape}")
            # A window on the caller's array: that one may go on changing, this one cannot be written.
            window = column.view()
            window.flags.writeable = False
            object.__setattr__(self, name, window)
        for name, kind in _OPTIONAL.items():
            optional = getattr(self, name)
            if optional is None:
                continue
            if optional.shape != shape or optional.dtype != kind:
                raise InvalidInput(f"{name} of a panel must be {kind.__name__} of shape {shape}")
            window = optional.view()
            window.flags.writeable = False
            object.__setattr__(self, name, window)
        if self.fundamentals is not None and self.fundamentals.place.shape != shape:
            raise InvalidInput(f"fundamentals of a panel must be of shape {shape}")

    def __len__(self) -> int:
        return len(self.close)

    @property
    def times(self) -> Instants:
        """`end_us`, for a strategy that cannot do without.

        Raises:
            InvalidInput: this panel was made without.
        """
        if self.end_us is None:
            raise InvalidInput("these bars came without their times, which the strategy needs")
        return self.end_us

    @property
    def passed_screen(self) -> Floats:
        """`screened`, NaN everywhere when this panel was made without."""
        return np.full(self.close.shape, np.nan) if self.screened is None else self.screened

    @property
    def companies(self) -> Fundamentals:
        """`fundamentals`, for a strategy that cannot do without.

        Raises:
            InvalidInput: this panel was made without.
        """
        return _required(self.fundamentals)

    def fundamental(self, name: str) -> Floats:
        """The figure called `name` (see `shared.domain.fundamentals`) as each bar knows it, NaN where it is not known.

        Raises:
            InvalidInput: there is no such figure, or this panel was made without.
        """
        return self.companies.spread(self.companies[name])

    def until(self, row: int) -> Panel:
        """The panel as it was when row `row` was its newest."""
        return self._cut(slice(0, row + 1), slice(None), self.symbols)

    def of(self, column: int) -> Panel:
        """One symbol alone, with its own bars only."""
        return self._cut(
            ~np.isnan(self.close[:, column]), slice(column, column + 1), (self.symbols[column],)
        )

    def _cut(self, rows: slice | Bools, columns: slice, symbols: tuple[Symbol, ...]) -> Panel:
        # Copies, because from a NumPy slice one gets back to the whole, future included.
        cut = {name: getattr(self, name)[rows, columns].copy() for name in FIGURES}
        optional = {
            name: getattr(self, name)[rows, columns].copy()
            for name in _OPTIONAL
            if getattr(self, name) is not None
        }
        known = self.fundamentals
        if known is not None:
            known = known.taken(known.place[rows, columns])
        return Panel(self.timeframe, symbols, **cut, **optional, fundamentals=known)

    def newest(self, row: int, count: int) -> Panel:
        """What a live strategy sees when row `row` is the newest: the last `count` own bars of each symbol that has one.

        Only the last row is one instant for all, as live.
        """
        columns = np.flatnonzero(~np.isnan(self.close[row]))
        first = max(0, row + 1 - count)
        rows = np.arange(row + 1 - count, row + 1)[:, None]
        if np.isnan(self.close[first : row + 1, columns]).any():
            # Each symbol's own bars, found by counting backwards from the newest.
            present = ~np.isnan(self.close[: row + 1, columns])
            from_end = np.cumsum(present[::-1], axis=0)[::-1]
            rows = np.full((count, len(columns)), -1)
            kept = present & (from_end <= count)
            at, column = np.nonzero(kept)
            rows[count - from_end[kept], column] = at
        known, at = rows >= 0, np.maximum(rows, 0)
        cut = {name: np.where(known, getattr(self, name)[at, columns], np.nan) for name in FIGURES}
        optional = {
            name: getattr(self, name)[at, columns]
            for name in _OPTIONAL
            if getattr(self, name) is not None
        }
        symbols = tuple(self.symbols[column] for column in columns.tolist())
        of_companies = self.fundamentals
        if of_companies is not None:
            of_companies = of_companies.taken(of_companies.place[at, columns])
        return Panel(self.timeframe, symbols, **cut, **optional, fundamentals=of_companies)

    def view(self, column: int) -> View:
        """That symbol's own bars; `column` must have at least one."""
        alone = self.of(column)
        return View(
            self.timeframe,
            self.symbols[column],
            *(getattr(alone, name)[:, 0] for name in FIGURES),
            end_us=None if alone.end_us is None else alone.end_us[:, 0],
            screened=None if alone.screened is None else alone.screened[:, 0],
            fundamentals=None if alone.fundamentals is None else alone.fundamentals.of_first(),
        )


@dataclass(frozen=True, slots=True)
class View:
    """One symbol's own bars up to the one that is decided on, which is the last: shape (n,), n >= 1."""

    timeframe: Timeframe
    symbol: Symbol
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    end_us: Instants | None = field(default=None, kw_only=True)
    screened: Floats | None = field(default=None, kw_only=True)
    fundamentals: Fundamentals | None = field(default=None, kw_only=True)

    def __len__(self) -> int:
        return len(self.close)

    def fundamental(self, name: str) -> Floats:
        """As of `Panel`, shape (n,)."""
        known = _required(self.fundamentals)
        return known.spread(known[name])

    def as_panel(self) -> Panel:
        """The same bars as a panel of one symbol."""
        return Panel(
            self.timeframe,
            (self.symbol,),
            *(getattr(self, name)[:, None] for name in FIGURES),
            end_us=None if self.end_us is None else self.end_us[:, None],
            screened=None if self.screened is None else self.screened[:, None],
            fundamentals=None if self.fundamentals is None else self.fundamentals.as_column(),
        )


def _required(fundamentals: Fundamentals | None) -> Fundamentals:
    if fundamentals is None:
        raise InvalidInput(
            "these bars came without fundamentals, which the strategy needs; say uses_fundamentals = True"
        )
    return fundamentals
