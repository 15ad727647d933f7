"""Do trend, momentum, place in the range and fundamentals speak for a symbol, in a market that can be traded?

Four parts of a score from 0 to 1, three technical and one fundamental. Technical: the close above its long and short
averages; the relative strength index; where the close lies in the range of the last bars. Fundamental: whether the symbol
was in the newest FinViz screen taken by then; where no screen is known it earns nothing. Each symbol's regime
decides what is asked of the score: volatile (its range has grown) lets nobody in, ranging (it goes to and fro)
asks for more, trending takes the threshold as it is.

LONG when the score passes what its regime asks for, FLAT when it falls below `leave`, whatever the regime: a SELL closes
the long position.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from strategy_engine.indicators import (
    crossed_above,
    crossed_below,
    efficiency,
    rsi,
    sma,
    stochastic,
    true_range,
    wilder_memory,
)
from strategy_engine.panels import Floats, Panel
from strategy_engine.parameters import InvalidParameter, Number, Whole
from strategy_engine.strategy import VectorStrategy, Wishes

RANGING, TRENDING, VOLATILE = 0.0, 1.0, 2.0
_STRENGTH_BARS = 14


class Hybrid(VectorStrategy):
    """Long while technicals and fundamentals together speak for a symbol and its market is not wild."""

    sell_means: ClassVar[str] = "closes the long position, in any regime"
    uses_screens: ClassVar[bool] = True

    short_window = Whole(20, low=2, high=200, about="bars of the short average and of the regime")
    long_window = Whole(100, low=3, high=500, about="bars of the long average and usual range")
    fundamental_weight = Number(0.3, low=0.0, high=1.0, about="share of the screen in the score")
    enter = Number(0.6, low=0.05, high=1.0, about="score that lets in where the market trends")
    leave = Number(0.4, low=0.0, high=0.95, about="score below which the position is closed")
    ranging_extra = Number(0.15, low=0.0, high=1.0, about="score asked on top in a ranging market")
    trending_from = Number(0.3, low=0.0, high=1.0, about="efficiency ratio from which it trends")
    volatile_from = Number(1.5, low=1.0, high=20.0, about="range over its usual size: volatile")

    def check_parameters(self) -> None:
        """See `Strategy`."""
        if self.short_window >= self.long_window:
            raise InvalidParameter(
                f"short_window {self.short_window} must be below long_window {self.long_window}"
            )
        if self.leave >= self.enter:
            raise InvalidParameter(f"leave {self.leave:g} must be below enter {self.enter:g}")

    @property
    def bars_needed(self) -> int:
        """See `Strategy`: each figure on this bar and on the one before; a range needs the close before it."""
        return max(wilder_memory(_STRENGTH_BARS) + 1, self.long_window + 1) + 1

    def wishes(self, panel: Panel) -> Wishes:
        """See `VectorStrategy`."""
        short, long = sma(panel.close, self.short_window), sma(panel.close, self.long_window)
        strength = rsi(panel.close, _STRENGTH_BARS)
        place, _ = stochastic(panel.high, panel.low, panel.close, self.long_window, 1, 1)
        technicals = (
            _half(panel.close > long)
            + _half(short > long)
            + np.clip((strength - 30.0) / 40.0, 0, 1)
        )
        technicals = (technicals + place / 100.0) / 3.0
        passed = np.nan_to_num(panel.passed_screen, nan=0.0)
        weight = self.fundamental_weight
        score = (1.0 - weight) * technicals + weight * passed
        regime, straight, wildness = self._regime(panel)
        asked = np.where(regime == RANGING, self.enter + self.ranging_extra, self.enter)
        # How far above what is asked; where nobody is let in, as far below as can be.
        spare = np.where(regime == VOLATILE, -1.0, score - asked)
        spare = np.where(np.isnan(score) | np.isnan(regime), np.nan, spare)
        return Wishes(
            entries=crossed_above(spare, 0.0),
            exits=crossed_below(score, self.leave) & ~crossed_above(spare, 0.0),
            entry_reason="the score passed what its regime asks for",
            exit_reason=f"the score fell below {self.leave:g}",
            conviction=np.clip(score, 0.0, 1.0),
            figures={
                "score": score,
                "technicals": technicals,
                "passed_screen": passed,
                "regime": regime,
                "efficiency": straight,
                "range_over_usual": wildness,
                "rsi": strength,
                "close": panel.close,
            },
        )

    def _regime(self, panel: Panel) -> tuple[Floats, Floats, Floats]:
        """Each bar's regime, efficiency ratio, and range as a multiple of its usual size."""
        ranged = true_range(panel.high, panel.low, panel.close)
        usual = sma(ranged, self.long_window)
        # A market that does not move at all is not wild.
        with np.errstate(divide="ignore", invalid="ignore"):
            wildness = np.where(usual > 0.0, sma(ranged, self.short_window) / usual, 1.0)
        wildness = np.where(np.isnan(usual), np.nan, wildness)
        straight = efficiency(panel.close, self.short_window)
        regime = np.where(straight >= self.trending_from, TRENDING, RANGING)
        regime = np.where(wildness >= self.volatile_from, VOLATILE, regime)
        regime = np.where(np.isnan(straight) | np.isnan(wildness), np.nan, regime)
        return regime, straight, wildness


def _half(speaks_for_it: np.ndarray) -> Floats:
    return np.where(speaks_for_it, 0.5, 0.0)
