"""What do prices say, on average and against each other?

Every function takes and gives panels: float64 of shape (bars, symbols), oldest first, NaN where a symbol has no
bar. Windows count the symbol's own bars, so a value depends neither on which other symbols are loaded nor
on where the series began: live (a short window) and backtest (the whole history) agree to the last bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.domain.money import MICROS
from strategy_engine.panels import Bools, Floats
from strategy_engine.parameters import InvalidParameter

# 900 bars of the highest price there may be sum to less than 2**53 micros: a float64 holds the sum exactly.
MAX_WINDOW = 900


def sma(values: Floats, window: int) -> Floats:
    """The mean of the last `window` own bars, NaN until there are so many.

    Summed as whole micros, which is exact whatever came before, and divided once: the result is the
    float64 nearest to the true mean. So a constant price has one and the same mean over any window. (Running
    sums of floats remember each rounding since the series began.)

    Args:
        values: finite, on the grid of a micro (finer is rounded to it), below 1e7.
    Raises:
        InvalidParameter: `window` is not 1 to `MAX_WINDOW`.
    """
    if not 1 <= window <= MAX_WINDOW:
        raise InvalidParameter(f"a window must be 1 to {MAX_WINDOW} bars, was {window}")
    present = ~np.isnan(values)
    if present.all():
        return _sma_of_full_columns(_micros(values), window)
    compact, places = _own_bars(values, present)
    means = np.full(values.shape, np.nan)
    means[present] = _sma_of_full_columns(_micros(compact), window)[places]
    return means


def _micros(values: Floats) -> NDArray[np.int64]:
    return np.rint(values * MICROS).astype(np.int64)


def _sma_of_full_columns(micros: NDArray[np.int64], window: int) -> Floats:
    means = np.full(micros.shape, np.nan)
    if len(micros) < window:
        return means
    # Sums over a long history wrap around 2**64; their differences do not notice.
    sums = np.cumsum(micros, axis=0)
    windows = sums[window - 1 :].copy()
    windows[1:] -= sums[:-window]
    np.divide(windows, window * MICROS, out=means[window - 1 :])
    return means


def _own_bars(
    values: Floats, present: Bools
) -> tuple[Floats, tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """`values` with each column's own bars moved to the top, zero below, and where each went."""
    rank = np.cumsum(present, axis=0) - 1
    columns = np.nonzero(present)[1]
    places = (rank[present], columns)
    compact = np.zeros(values.shape)
    compact[places] = values[present]
    return compact, places


def crossed_above(fast: Floats, slow: Floats) -> Bools:
    """Where `fast` is above `slow` and on the bar before was not; both have a value on both bars.

    The bar before is the symbol's own: rows where neither has a value are passed over.
    """
    return _crossed(fast, slow)


def crossed_below(fast: Floats, slow: Floats) -> Bools:
    """Where `fast` is below `slow` and on the bar before was not; see `crossed_above`."""
    return _crossed(slow, fast)


def _crossed(rising: Floats, other: Floats) -> Bools:
    above = rising > other  # False where either is NaN
    at_or_below = rising <= other
    crossed = np.zeros(above.shape, dtype=np.bool_)
    if len(above) < 2:
        return crossed
    absent = np.isnan(rising) & np.isnan(other)
    if not (absent[1:] & ~absent[:-1]).any():
        # Nobody misses a bar after the first: the row before is everybody's bar before.
        crossed[1:] = above[1:] & at_or_below[:-1]
        return crossed
    rows = np.arange(len(above))[:, None]
    newest_present = np.maximum.accumulate(np.where(absent, 0, rows), axis=0)
    # Where there is none yet, row 0 is looked at, which is absent there and so at neither side.
    crossed[1:] = above[1:] & np.take_along_axis(at_or_below, newest_present[:-1], axis=0)
    return crossed
