"""Has the price gone far for its own habits?

Figures without a unit that swing around a middle: 0 to 100 for RSI and stochastic, around 0 for the others.
"""

from __future__ import annotations

import numpy as np

from shared.domain.money import MICROS
from strategy_engine.indicators.averages import (
    decayed_sum,
    ema_memory,
    exponential,
    memory_of,
    sma,
    wilder_decay,
)
from strategy_engine.indicators.own_bars import (
    before,
    check_window,
    over_own_bars,
    rolling_sum,
    without_first,
)
from strategy_engine.indicators.ranges import rolling_extreme
from strategy_engine.panels import Floats
from strategy_engine.parameters import InvalidParameter


def rsi(values: Floats, window: int = 14) -> Floats:
    """The relative strength index, 0 to 100: Wilder's average gain as a share of average gain and loss.

    NaN on the first `window` own bars; depends on `wilder_memory(window)` + 1 bars. 50 where the price has not moved at
    all, since that speaks for neither side (TA-Lib says 0).

    Source:
        Wilder, New Concepts in Technical Trading Systems (1978), section VI.
    """
    check_window(window)
    decay = wilder_decay(window)

    def compute(own: Floats) -> tuple[Floats]:
        changes = np.zeros(own.shape)
        np.subtract(own[1:], own[:-1], out=changes[1:])
        gains = decayed_sum(np.maximum(changes, 0.0), decay, memory_of(decay))
        losses = decayed_sum(np.maximum(-changes, 0.0), decay, memory_of(decay))
        moved = gains + losses
        strength = 100.0 * np.where(moved > 0.0, gains / moved, 0.5)
        return (without_first(strength, window),)

    return over_own_bars(compute, values)[0]


def macd(
    values: Floats, fast: int = 12, slow: int = 26, signal: int = 9
) -> tuple[Floats, Floats, Floats]:
    """How far a fast `ema` is from a slow one, the `ema` of that, and their difference; in the unit of `values`.

    NaN on the first `slow` + `signal` - 2 own bars; depends on `macd_memory(slow, signal)` bars.

    Raises:
        InvalidParameter: `fast` is not below `slow`.
    Source:
        Appel, The Moving Average Convergence-Divergence Trading Method (1985).
    """
    for window in (fast, slow, signal):
        check_window(window)
    if fast >= slow:
        raise InvalidParameter(f"the fast window {fast} must be below the slow window {slow}")

    def compute(own: Floats) -> tuple[Floats, Floats, Floats]:
        quick = exponential(own, (fast - 1) / (fast + 1))
        distance = quick - exponential(own, (slow - 1) / (slow + 1))
        average = exponential(distance, (signal - 1) / (signal + 1))
        unknown = slow + signal - 2
        difference = without_first(distance - average, unknown)
        return without_first(distance, unknown), without_first(average, unknown), difference

    line, average, difference = over_own_bars(compute, values)
    return line, average, difference


def macd_memory(slow: int, signal: int) -> int:
    """How many own bars a `macd` depends on, the newest included."""
    return ema_memory(slow) + ema_memory(signal) - 1


def roc(values: Floats, window: int) -> Floats:
    """The rate of change over `window` own bars in percent: 1.0 means 1 % higher.

    Source:
        As TA-Lib's ROC.
    """
    check_window(window)
    return over_own_bars(lambda own: (100.0 * (own / before(own, window) - 1.0),), values)[0]


def stochastic(
    high: Floats, low: Floats, close: Floats, window: int = 14, smoothing: int = 3, signal: int = 3
) -> tuple[Floats, Floats]:
    """Where the close lies in the range of the last `window` bars, 0 to 100: slow %K and its mean %D.

    %K is smoothed over `smoothing` bars, %D over `signal` of those. 50 where there was no range (TA-Lib says 0).

    Source:
        Lane, Lane's Stochastics, Technical Analysis of Stocks & Commodities 2:3 (1984).
    """
    for bars in (window, smoothing, signal):
        check_window(bars)

    def compute(high: Floats, low: Floats, close: Floats) -> tuple[Floats, Floats]:
        top = rolling_extreme(high, window, np.maximum)
        bottom = rolling_extreme(low, window, np.minimum)
        place = np.where(top > bottom, 100.0 * ((close - bottom) / (top - bottom)), 50.0)
        without_first(place, window - 1)
        slow = rolling_sum(place, smoothing) / smoothing
        return slow, rolling_sum(slow, signal) / signal

    slow, average = over_own_bars(compute, high, low, close)
    return slow, average


def cci(high: Floats, low: Floats, close: Floats, window: int = 20) -> Floats:
    """The commodity channel index: how many mean deviations the typical price is from its mean, times 1 / 0.015.

    0 where the typical price did not move.

    Source:
        Lambert, Commodities 10 (1980): three quarters of values lie within 100 of zero.
    """
    check_window(window)

    def compute(high: Floats, low: Floats, close: Floats) -> tuple[Floats]:
        # Three times the typical price, which is on the grid of a micro and changes no ratio.
        typical = np.rint((high + low + close) * MICROS) / MICROS
        mean = sma(typical, window)
        away = np.abs(typical - mean)
        for earlier in range(1, min(window, len(typical))):
            away[earlier:] += np.abs(typical[:-earlier] - mean[earlier:])
        deviation = away / window
        index = np.where(deviation > 0.0, (typical - mean) / (0.015 * deviation), 0.0)
        return (without_first(index, window - 1),)

    return over_own_bars(compute, high, low, close)[0]
