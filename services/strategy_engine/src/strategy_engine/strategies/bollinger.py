"""Has the price come back from below the range that it usually keeps to?

LONG when the close rises above the lower band again, FLAT when it rises above the middle: a SELL closes the long
position at the mean, where the reason for it ends.
"""

from __future__ import annotations

from typing import ClassVar

from strategy_engine.indicators import bollinger, crossed_above
from strategy_engine.panels import Panel
from strategy_engine.parameters import Number, Whole
from strategy_engine.strategy import VectorStrategy, Wishes


class Bollinger(VectorStrategy):
    """Long from the return above the lower band until the mean is reached."""

    sell_means: ClassVar[str] = "closes the long position at the mean"

    window = Whole(20, low=2, high=500, about="bars of mean and deviation")
    width = Number(2.0, low=0.1, high=10.0, about="standard deviations between mean and band")

    @property
    def bars_needed(self) -> int:
        """See `Strategy`: a crossing needs the bands on the bar before, too."""
        return self.window + 1

    def wishes(self, panel: Panel) -> Wishes:
        """See `VectorStrategy`; where one bar leads from the band to above the mean, it is out that counts."""
        lower, middle, _ = bollinger(panel.close, self.window, self.width)
        exits = crossed_above(panel.close, middle)
        return Wishes(
            entries=crossed_above(panel.close, lower) & ~exits,
            exits=exits,
            entry_reason=f"close rose above the lower band of {self.window} bars again",
            exit_reason=f"close rose above the mean of {self.window} bars",
            figures={"lower_band": lower, "mean": middle, "close": panel.close},
        )
