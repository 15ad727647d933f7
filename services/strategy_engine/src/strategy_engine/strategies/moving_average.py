"""Has the short average of closes crossed the long one?

LONG when it crosses above, FLAT when it crosses below: a SELL closes the long position. With `allow_short` it
wishes to be SHORT instead. A price that does not move crosses nothing.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from strategy_engine.indicators import MAX_WINDOW, crossed_above, crossed_below, sma
from strategy_engine.panels import Panel
from strategy_engine.parameters import InvalidParameter, Switch, Whole
from strategy_engine.strategy import VectorStrategy, Wishes

# Averages this far apart, as a fraction of the long one, make for full conviction.
_CONVINCING_DISTANCE = 0.01


class MovingAverage(VectorStrategy):
    """Long while the short average of closes is above the long one."""

    sell_means: ClassVar[str] = (
        "closes the long position; with allow_short it opens a short one as well"
    )

    short_window = Whole(20, low=1, high=MAX_WINDOW - 1, about="bars of the short average")
    long_window = Whole(50, low=2, high=MAX_WINDOW, about="bars of the long average")
    allow_short = Switch(False, about="whether a cross below opens a short position")

    def check_parameters(self) -> None:
        """See `Strategy`."""
        if self.short_window >= self.long_window:
            raise InvalidParameter(
                f"short_window {self.short_window} must be below long_window {self.long_window}"
            )

    @property
    def bars_needed(self) -> int:
        """See `Strategy`: a crossing needs the long average on the bar before, too."""
        return self.long_window + 1

    def wishes(self, panel: Panel) -> Wishes:
        """See `VectorStrategy`."""
        short, long = sma(panel.close, self.short_window), sma(panel.close, self.long_window)
        distance = np.abs(short - long) / long
        below = crossed_below(short, long)
        return Wishes(
            entries=crossed_above(short, long),
            exits=np.zeros_like(below) if self.allow_short else below,
            shorts=below if self.allow_short else None,
            entry_reason=f"SMA {self.short_window} crossed above SMA {self.long_window}",
            exit_reason=f"SMA {self.short_window} crossed below SMA {self.long_window}",
            conviction=np.minimum(distance / _CONVINCING_DISTANCE, 1.0),
            figures={"sma_short": short, "sma_long": long, "close": panel.close},
        )
