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

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Instants = NDArray[np.int64]

FIGURES = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True, slots=True)
class Panel:
    """Bars of many symbols; every array has shape (bars, symbols).

    Rows are instants in backtests. Live, each column is that symbol's own newest bars, and only the last
    row is the same instant for all; so what compares symbols with each other must do it in the last row.

    `end_us`: when each bar ended, microseconds since 1970 UTC; of no meaning where there is no bar. It may be left
    out where no strategy asks for times, and is then None.
    """

    timeframe: Timeframe
    symbols: tuple[Symbol, ...]
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    end_us: Instants | None = field(default=None, kw_only=True)

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
        if self.end_us is not None:
            if self.end_us.shape != shape or self.end_us.dtype != np.int64:
                raise InvalidInput(f"end_us of a panel must be int64 of shape {shape}")
            ends = self.end_us.view()
            ends.flags.writeable = False
            object.__setattr__(self, "end_us", ends)

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
        ends = None if self.end_us is None else self.end_us[rows, columns].copy()
        return Panel(self.timeframe, symbols, **cut, end_us=ends)

    def view(self, column: int) -> View:
        """That symbol's own bars; `column` must have at least one."""
        alone = self.of(column)
        return View(
            self.timeframe,
            self.symbols[column],
            *(getattr(alone, name)[:, 0] for name in FIGURES),
            end_us=None if alone.end_us is None else alone.end_us[:, 0],
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

    def __len__(self) -> int:
        return len(self.close)

    def as_panel(self) -> Panel:
        """The same bars as a panel of one symbol."""
        return Panel(
            self.timeframe,
            (self.symbol,),
            *(getattr(self, name)[:, None] for name in FIGURES),
            end_us=None if self.end_us is None else self.end_us[:, None],
        )
