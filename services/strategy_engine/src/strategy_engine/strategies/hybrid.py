"""Do trend, momentum, place in the range and fundamentals speak for a symbol, in a market that can be traded?

A score from 0 to 1 of technicals and fundamentals. Technical: the close above its long and short averages; the relative
strength index; where the close lies in the range of the last bars. Fundamental: the mean of four parts, each
from 0 to 1, made of the figures that FinViz had shown by then.

| part | figures | full score from | idea |
| --- | --- | --- | --- |
| value | earnings over price, book value over price | 10 %, 100 % | Basu (1977), J. of Finance 32(3); Fama and French (1992), J. of Finance 47(2) |
| growth | earnings and sales of a quarter over the same a year before | 25 % each | O'Neil (1988), How to Make Money in Stocks; Jegadeesh and Livnat (2006), J. of Accounting and Economics 41 |
| quality | return on equity, operating margin | 20 % each | Novy-Marx (2013), J. of Financial Economics 108(1) |
| leverage | debt over equity | none; 0 from twice the equity on | Piotroski (2000), J. of Accounting Research 38 |

In between it is a straight line. A figure that is missing earns nothing, as does a price of zero, and is not left out of the mean: there is no P/E where a
company loses money and no return on equity where equity is negative, so leaving them out would make the weakest look like
the average. Where nothing is known the fundamental part is 0.

Each symbol's regime decides what is asked of the score: volatile (its range has grown) lets nobody in, ranging (it goes to and
fro) asks for more, trending takes the threshold as it is. LONG when the score passes what its regime asks for, FLAT when it
falls below `leave`, whatever the regime: a SELL closes the long position.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from strategy_engine.fundamentals import Fundamentals
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
_FIGURES = (
    "pe",
    "pb",
    "eps_growth_quarter",
    "sales_growth_quarter",
    "return_on_equity",
    "operating_margin",
    "debt_to_equity",
)
# What earns the full score.
_EARNINGS_YIELD = 0.10
_GROWTH = 0.25
_PROFIT = 0.20
# What earns nothing.
_DEBT = 2.0


class Hybrid(VectorStrategy):
    """Long while technicals and fundamentals together speak for a symbol and its market is not wild."""

    sell_means: ClassVar[str] = "closes the long position, in any regime"
    uses_fundamentals: ClassVar[bool] = True

    short_window = Whole(20, low=2, high=200, about="bars of the short average and of the regime")
    long_window = Whole(100, low=3, high=500, about="bars of the long average and usual range")
    fundamental_weight = Number(0.3, low=0.0, high=1.0, about="share of fundamentals in the score")
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
        known = panel.companies
        parts, total = _parts(known)
        fundamentals = known.spread(total)
        weight = self.fundamental_weight
        score = (1.0 - weight) * technicals + weight * fundamentals
        regime, straight, wildness = self._regime(panel)
        asked = np.where(regime == RANGING, self.enter + self.ranging_extra, self.enter)
        # How far above what is asked; where nobody is let in, as far below as can be.
        spare = np.where(regime == VOLATILE, -1.0, score - asked)
        spare = np.where(np.isnan(score) | np.isnan(regime), np.nan, spare)
        entries = crossed_above(spare, 0.0)
        return Wishes(
            entries=entries,
            exits=crossed_below(score, self.leave) & ~entries,
            entry_reason="the score passed what its regime asks for",
            exit_reason=f"the score fell below {self.leave:g}",
            conviction=np.clip(score, 0.0, 1.0),
            figures={
                "score": score,
                "technicals": technicals,
                "fundamentals": fundamentals,
                "regime": regime,
                "efficiency": straight,
                "range_over_usual": wildness,
                "rsi": strength,
                "close": panel.close,
            },
            companies=known.showing({**parts, **{name: known[name] for name in _FIGURES}}),
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


def _parts(known: Fundamentals) -> tuple[dict[str, Floats], Floats]:
    """Each part of the fundamental score, and their mean, per snapshot: 0 to 1."""
    earnings_yield, book_yield = _inverse(known["pe"]), _inverse(known["pb"])
    value = _earned(earnings_yield / _EARNINGS_YIELD) + _earned(book_yield)
    growth = known["eps_growth_quarter"], known["sales_growth_quarter"]
    profit = known["return_on_equity"], known["operating_margin"]
    parts = {
        "value": value / 2.0,
        "growth": (_earned(growth[0] / _GROWTH) + _earned(growth[1] / _GROWTH)) / 2.0,
        "quality": (_earned(profit[0] / _PROFIT) + _earned(profit[1] / _PROFIT)) / 2.0,
        "leverage": _earned(1.0 - known["debt_to_equity"] / _DEBT),
    }
    total = parts["value"] + parts["growth"] + parts["quality"] + parts["leverage"]
    return parts, total / len(parts)


def _inverse(multiple: Floats) -> Floats:
    """1 over `multiple`, NaN where it is not above zero: no price is nothing times earnings or book value."""
    return 1.0 / np.where(multiple > 0.0, multiple, np.nan)


def _earned(share: Floats) -> Floats:
    """`share` within 0 to 1; what is missing earns nothing."""
    return np.nan_to_num(np.clip(share, 0.0, 1.0), nan=0.0)
