"""What is the price on average: of a window, weighted, or smoothed?

Sums over windows are sums of whole micros and so exact. A smoothed average gives each older bar a constant fraction of the
weight of the next; it is cut off where less than a billionth of the weight is left, and that rest goes to the oldest
bar that counts. Both are written so that a value is made by the same operations on the same bars wherever the
series began, and a constant price is its own average exactly.
"""

from __future__ import annotations

from math import ceil, log

import numpy as np
from numpy.typing import NDArray

from shared.domain.money import MICROS
from strategy_engine.indicators.own_bars import (
    MAX_WINDOW,
    check_window,
    over_own_bars,
    without_first,
)
from strategy_engine.panels import Floats

__all__ = ["MAX_WINDOW", "ema", "ema_memory", "sma", "wilder", "wilder_memory", "wma"]

# What is forgotten: indistinguishable from the endless formula for whoever prints nine digits.
_FORGOTTEN = 1e-9


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
    check_window(window)

    def compute(own: Floats) -> tuple[Floats]:
        micros = _micros(own)
        means = np.empty(own.shape)
        means[: window - 1] = np.nan
        if len(own) >= window:
            # Sums over a long history wrap around 2**64; their differences do not notice.
            sums = micros.cumsum(axis=0)
            windows = sums[window - 1 :].copy()
            windows[1:] -= sums[:-window]
            np.divide(windows, window * MICROS, out=means[window - 1 :])
        return (means,)

    return over_own_bars(compute, values)[0]


def wma(values: Floats, window: int) -> Floats:
    """The mean of the last `window` own bars, the newest weighing `window`, the oldest 1; NaN until there are so many.

    Args:
        values: as for `sma`; the weighted sum of micros is exact, too.
    Source:
        Linearly weighted average, e.g. Kaufman, Trading Systems and Methods (5th ed. 2013), chapter 7.
    """
    check_window(window)

    def compute(own: Floats) -> tuple[Floats]:
        n = len(own)
        means = np.full(own.shape, np.nan)
        if n >= window:
            # n times the sum up to now, less the sums up to each of the n bars before: the newest is left n times.
            sums = np.cumsum(_micros(own), axis=0)
            sums_of_sums = np.zeros((n + 2, own.shape[1]), np.int64)
            np.cumsum(sums, axis=0, out=sums_of_sums[2:])
            weighted = window * sums[window - 1 :]
            weighted -= sums_of_sums[window : n + 1] - sums_of_sums[: n - window + 1]
            np.divide(weighted, window * (window + 1) // 2 * MICROS, out=means[window - 1 :])
        return (means,)

    return over_own_bars(compute, values)[0]


def _micros(values: Floats) -> NDArray[np.int64]:
    return np.rint(values * MICROS).astype(np.int64)


def ema(values: Floats, window: int) -> Floats:
    """The exponential average with weight 2 / (window + 1) for the newest bar, NaN on the first `window` - 1 own bars.

    What no bar stands for is given to the oldest one known, at most `ema_memory(window)` bars back.

    Source:
        Brown, Smoothing, Forecasting and Prediction (1963); the weight as TA-Lib's EMA has it, which begins with a
        simple mean instead, so the two agree to a billionth once `ema_memory(window)` bars are there.
    """
    check_window(window)
    decay = _ema_decay(window)
    return over_own_bars(lambda own: (without_first(exponential(own, decay), window - 1),), values)[
        0
    ]


def ema_memory(window: int) -> int:
    """How many own bars an `ema` of `window` depends on, the newest included."""
    return memory_of(_ema_decay(window))


def wilder(values: Floats, window: int) -> Floats:
    """The exponential average with weight 1 / window for the newest bar; otherwise as `ema`.

    Source:
        Wilder, New Concepts in Technical Trading Systems (1978): the average of RSI, ATR and ADX.
    """
    check_window(window)
    decay = wilder_decay(window)
    return over_own_bars(lambda own: (without_first(exponential(own, decay), window - 1),), values)[
        0
    ]


def wilder_memory(window: int) -> int:
    """How many own bars a `wilder` average of `window` depends on, the newest included."""
    return memory_of(wilder_decay(window))


# ---------------------------------------------------------------------- for other indicators


def _ema_decay(window: int) -> float:
    return (window - 1) / (window + 1)


def wilder_decay(window: int) -> float:
    """What is left of a bar's weight one bar later in Wilder's average."""
    return (window - 1) / window


def memory_of(decay: float) -> int:
    """How many bars count until less than a billionth of the weight is left."""
    return 1 if decay == 0.0 else ceil(log(_FORGOTTEN) / log(decay))


def exponential(own: Floats, decay: float) -> Floats:
    """The exponential average of series without gaps, from their first bar on.

    The newest value less what its changes have not been forgotten yet: so it is exact for a constant.
    """
    changes = np.zeros(own.shape)
    np.subtract(own[1:], own[:-1], out=changes[1:])
    depth = memory_of(decay) - 1
    if depth == 0:
        return own.copy()
    return np.asarray(own - decay * decayed_sum(changes, decay, depth))


def decayed_sum(own: Floats, decay: float, depth: int) -> Floats:
    """The sum of the last `depth` values, each weighing `decay` times the next; what lies before the first is zero.

    By doubling: the sum of 2n values is the sum of n plus the decayed one of n bars earlier. A running sum would be one
    pass, but would remember where it began.
    """
    total: Floats | None = None
    covered, span, power = 0, 1, own
    while True:
        if depth & span:
            if total is None:
                total = power.copy()
            elif covered < len(own):
                total[covered:] += decay**covered * power[: len(own) - covered]
            covered += span
        if covered == depth:
            assert total is not None
            return total
        if span < len(own):
            longer = power.copy()
            longer[span:] += decay**span * power[: len(own) - span]
            power = longer
        span *= 2
