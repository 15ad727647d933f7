"""How is something computed over each symbol's own bars, as if it were alone and had no gaps?

Columns without gaps are handed on as they are. The others are moved together first and the results back to where their bars
were, so a formula is written once, for series without holes. Wide panels are cut into groups of columns that fit
into the processor's cache, which changes no value: no formula looks from one column into another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from strategy_engine.panels import Bools, Floats
from strategy_engine.parameters import InvalidParameter

# 900 bars of the highest price there may be sum to less than 2**53 micros: a float64 holds the sum exactly.
MAX_WINDOW = 900
# Values worked on at once: a few arrays of them stay in the cache of one core.
_AT_ONCE = 32_768

Compute = Callable[..., tuple[Floats, ...]]


def check_window(window: int, low: int = 1) -> None:
    """Raise InvalidParameter unless `window` is a count of bars that can be summed exactly."""
    if not low <= window <= MAX_WINDOW:
        raise InvalidParameter(f"a window must be {low} to {MAX_WINDOW} bars, was {window}")


def over_own_bars(compute: Compute, *figures: Floats) -> tuple[Floats, ...]:
    """What `compute` gives for each column's own bars, NaN in every row where one of `figures` has no value.

    Args:
        compute: takes arrays of shape (own bars, columns) without gaps, gives a tuple of arrays of that shape.
        figures: all of one shape (bars, symbols).
    """
    rows, columns = figures[0].shape
    width = max(1, _AT_ONCE // max(rows, 1))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if columns <= width:
            return _of_group(compute, figures)
        results: list[Floats] = []
        for first in range(0, columns, width):
            group = slice(first, first + width)
            found = _of_group(compute, [figure[:, group].copy(order="K") for figure in figures])
            if not results:
                results = [np.empty_like(figures[0]) for _ in found]
            for result, part in zip(results, found, strict=True):
                result[:, group] = part
        return tuple(results)


def _of_group(compute: Compute, figures: Sequence[Floats]) -> tuple[Floats, ...]:
    present = np.isfinite(figures[0])
    for figure in figures[1:]:
        present &= np.isfinite(figure)
    if present.all():
        return compute(*figures)
    whole = present.all(axis=0)
    holey = ~whole
    found = _over_holey(compute, [figure[:, holey] for figure in figures], present[:, holey])
    if not whole.any():
        return found
    results = []
    whole_found = compute(*(figure[:, whole] for figure in figures))
    for of_whole, of_holey in zip(whole_found, found, strict=True):
        result = np.empty(present.shape)
        result[:, whole] = of_whole
        result[:, holey] = of_holey
        results.append(result)
    return tuple(results)


def _over_holey(compute: Compute, figures: Sequence[Floats], present: Bools) -> tuple[Floats, ...]:
    rank = np.cumsum(present, axis=0) - 1
    columns = np.nonzero(present)[1]
    places: tuple[NDArray[np.intp], NDArray[np.intp]] = (rank[present], columns)
    compact = []
    for figure in figures:
        moved = np.zeros(present.shape)
        moved[places] = figure[present]
        compact.append(moved)
    results = []
    for found in compute(*compact):
        result = np.full(present.shape, np.nan)
        result[present] = found[places]
        results.append(result)
    return tuple(results)


def before(values: Floats, bars: int = 1) -> Floats:
    """`values` of `bars` own bars earlier, NaN where there is none; for use inside a `compute`."""
    earlier = np.full(values.shape, np.nan)
    if bars < len(values):
        earlier[bars:] = values[: len(values) - bars]
    return earlier


def without_first(values: Floats, bars: int) -> Floats:
    """`values` with NaN in the first `bars` rows, in place: too little is known there."""
    values[:bars] = np.nan
    return values


def lag(values: Floats, bars: int = 1) -> Floats:
    """`values` of `bars` own bars earlier, NaN where there is none."""
    check_window(bars)
    return over_own_bars(lambda own: (before(own, bars),), values)[0]


def rolling_sum(own: Floats, window: int) -> Floats:
    """The sum of the last `window` values, NaN until there are so many; for use inside a `compute`.

    Newest first, one after another: a value is made by the same additions wherever the series began.
    """
    total = own.copy()
    for earlier in range(1, min(window, len(own))):
        total[earlier:] += own[: len(own) - earlier]
    return without_first(total, window - 1)
