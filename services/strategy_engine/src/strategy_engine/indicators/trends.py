"""Does the price go somewhere, or only to and fro?"""

from __future__ import annotations

import numpy as np

from shared.domain.money import MICROS
from strategy_engine.indicators.averages import (
    decayed_sum,
    exponential,
    memory_of,
    wilder_decay,
    wilder_memory,
)
from strategy_engine.indicators.own_bars import before, check_window, over_own_bars, without_first
from strategy_engine.indicators.ranges import true_range_of
from strategy_engine.panels import Floats


def adx(
    high: Floats, low: Floats, close: Floats, window: int = 14
) -> tuple[Floats, Floats, Floats]:
    """The average directional index and the two directional indicators, +DI and -DI; each 0 to 100.

    NaN on the first 2 `window` - 1 own bars (the indicators: `window`); depends on `adx_memory(window)` bars. 0 where
    the price has not moved.

    Source:
        Wilder, New Concepts in Technical Trading Systems (1978), section IV.
    """
    check_window(window)
    decay = wilder_decay(window)
    depth = memory_of(decay)

    def compute(high: Floats, low: Floats, close: Floats) -> tuple[Floats, Floats, Floats]:
        up, down = high - before(high), before(low) - low
        # The first bar has none before it: it has gone nowhere.
        ranged = true_range_of(high, low, close)
        ranged[:1] = up[:1] = down[:1] = 0.0
        upward = decayed_sum(np.where((up > down) & (up > 0.0), up, 0.0), decay, depth)
        downward = decayed_sum(np.where((down > up) & (down > 0.0), down, 0.0), decay, depth)
        ranged = decayed_sum(ranged, decay, depth)
        plus = np.where(ranged > 0.0, 100.0 * (upward / ranged), 0.0)
        minus = np.where(ranged > 0.0, 100.0 * (downward / ranged), 0.0)
        moved = upward + downward
        index = np.where(moved > 0.0, 100.0 * (np.abs(upward - downward) / moved), 0.0)
        average = without_first(exponential(index, decay), 2 * window - 1)
        return average, without_first(plus, window), without_first(minus, window)

    average, plus, minus = over_own_bars(compute, high, low, close)
    return average, plus, minus


def adx_memory(window: int) -> int:
    """How many own bars an `adx` depends on, the newest included."""
    return 2 * wilder_memory(window)


def efficiency(values: Floats, window: int = 20) -> Floats:
    """How much of the way gone in `window` own bars was in one direction: 1 a straight line, 0 back where it was.

    0 where the price has not moved. The way is summed as whole micros, so it is exact.

    Source:
        Kaufman, Smarter Trading (1995): the efficiency ratio.
    """
    check_window(window)

    def compute(own: Floats) -> tuple[Floats]:
        micros = np.rint(own * MICROS).astype(np.int64)
        way = np.zeros(micros.shape, np.int64)
        np.abs(micros[1:] - micros[:-1], out=way[1:])
        gone = np.cumsum(way, axis=0)
        found = np.full(own.shape, np.nan)
        if len(own) > window:
            far = np.abs(micros[window:] - micros[:-window])
            long = gone[window:] - gone[:-window]
            found[window:] = np.where(long > 0, far / long, 0.0)
        return (found,)

    return over_own_bars(compute, values)[0]
