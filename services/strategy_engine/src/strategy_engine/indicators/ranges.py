"""How far does a price move, and between which bounds?"""

from __future__ import annotations

import numpy as np

from strategy_engine.indicators.averages import exponential, sma, wilder_decay
from strategy_engine.indicators.own_bars import (
    before,
    check_window,
    over_own_bars,
    without_first,
)
from strategy_engine.panels import Floats


def highest(values: Floats, window: int) -> Floats:
    """The highest of the last `window` own bars, the newest included, NaN until there are so many."""
    check_window(window)
    return over_own_bars(lambda own: (rolling_extreme(own, window, np.maximum),), values)[0]


def lowest(values: Floats, window: int) -> Floats:
    """The lowest of the last `window` own bars, the newest included, NaN until there are so many."""
    check_window(window)
    return over_own_bars(lambda own: (rolling_extreme(own, window, np.minimum),), values)[0]


def rolling_extreme(own: Floats, window: int, pick: np.ufunc) -> Floats:
    """`highest` or `lowest` (`pick`) of series without gaps, by doubling; for use inside a `compute`."""
    found = own.copy()
    span = 1
    while span < window:
        # Twice what is known, or as much as is missing: windows that overlap do no harm.
        step = min(span, window - span)
        if step < len(own):
            longer = found.copy()
            pick(found[step:], found[: len(own) - step], out=longer[step:])
            found = longer
        span += step
    return without_first(found, window - 1)


def donchian(high: Floats, low: Floats, window: int = 20) -> tuple[Floats, Floats]:
    """The lowest low and the highest high of the last `window` own bars, the newest included.

    For a breakout compare with the channel of the bar before (`own_bars.lag`).

    Source:
        Donchian's four-week rule, e.g. Faith, Way of the Turtle (2007), chapter 10.
    """
    return lowest(low, window), highest(high, window)


def standard_deviation(values: Floats, window: int) -> Floats:
    """The standard deviation of the last `window` own bars around their mean, of the window alone (divided by n).

    Each window's squares are summed afresh around its own exact mean: running sums of squares overflow, and lose what
    they are for where the price is high and still.

    Args:
        values: as for `sma`.
    """
    check_window(window)

    def compute(own: Floats) -> tuple[Floats]:
        mean = sma(own, window)
        squares = (own - mean) ** 2
        for earlier in range(1, min(window, len(own))):
            away = own[:-earlier] - mean[earlier:]
            away *= away
            squares[earlier:] += away
        return (np.sqrt(squares / window),)

    return over_own_bars(compute, values)[0]


def bollinger(
    values: Floats, window: int = 20, width: float = 2.0
) -> tuple[Floats, Floats, Floats]:
    """Lower band, mean and upper band: `width` standard deviations around the `sma`. Equal where nothing moves.

    Source:
        Bollinger, Bollinger on Bollinger Bands (2001), chapter 7; the deviation is the window's own, as in TA-Lib.
    """
    mean = sma(values, window)
    reach = width * standard_deviation(values, window)
    return mean - reach, mean, mean + reach


def true_range(high: Floats, low: Floats, close: Floats) -> Floats:
    """The bar's range, gaps from the close before included; the first own bar has no close before.

    Source:
        Wilder, New Concepts in Technical Trading Systems (1978), section III.
    """
    return over_own_bars(lambda *bars: (true_range_of(*bars),), high, low, close)[0]


def true_range_of(high: Floats, low: Floats, close: Floats) -> Floats:
    """`true_range` of series without gaps; for use inside a `compute`."""
    last = before(close)
    # fmax passes over the close that the first bar does not have.
    return np.fmax(high, last) - np.fmin(low, last)


def atr(high: Floats, low: Floats, close: Floats, window: int = 14) -> Floats:
    """Wilder's average of the true range, in the unit of prices; NaN on the first `window` own bars.

    Depends on `wilder_memory(window)` + 1 bars.

    Source:
        As `true_range`; TA-Lib's ATR begins with a simple mean instead and agrees once the memory is filled.
    """
    check_window(window)
    decay = wilder_decay(window)

    def compute(high: Floats, low: Floats, close: Floats) -> tuple[Floats]:
        return (without_first(exponential(true_range_of(high, low, close), decay), window),)

    return over_own_bars(compute, high, low, close)[0]
