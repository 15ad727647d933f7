"""Where does one series pass another, or a level?"""

from __future__ import annotations

import numpy as np

from strategy_engine.panels import Bools, Floats


def crossed_above(fast: Floats, slow: Floats | float) -> Bools:
    """Where `fast` is above `slow` and on the bar before was not; both have a value on both bars.

    The bar before is the symbol's own: rows where neither has a value are passed over. A number for `slow` is a
    level that never moves.
    """
    return _crossed(fast, _as_series(slow, fast))


def crossed_below(fast: Floats, slow: Floats | float) -> Bools:
    """Where `fast` is below `slow` and on the bar before was not; see `crossed_above`."""
    return _crossed(_as_series(slow, fast), fast)


def _as_series(level: Floats | float, like: Floats) -> Floats:
    if isinstance(level, np.ndarray):
        return level
    # Where the series has no bar the level has none either, so that the row is passed over.
    return np.where(np.isnan(like), np.nan, level)


def _crossed(rising: Floats, other: Floats) -> Bools:
    above = rising > other  # False where either is NaN
    at_or_below = rising <= other
    crossed = np.zeros(above.shape, dtype=np.bool_)
    if len(above) < 2:
        return crossed
    absent = np.isnan(rising) & np.isnan(other)
    if not (absent[1:] > absent[:-1]).any():
        # Nobody misses a bar after the first: the row before is everybody's bar before.
        crossed[1:] = above[1:] & at_or_below[:-1]
        return crossed
    rows = np.arange(len(above))[:, None]
    newest_present = np.maximum.accumulate(np.where(absent, 0, rows), axis=0)
    # Where there is none yet, row 0 is looked at, which is absent there and so at neither side.
    crossed[1:] = above[1:] & np.take_along_axis(at_or_below, newest_present[:-1], axis=0)
    return crossed
