"""Has the price left the range of the last weeks?

LONG when the close passes the highest high of the bars before, FLAT when it falls below the lowest low of fewer of them: a
SELL closes the long position.
"""

from __future__ import annotations

from typing import ClassVar

from strategy_engine.indicators import crossed_above, crossed_below, highest, lag, lowest
from strategy_engine.panels import Panel
from strategy_engine.parameters import Whole
from strategy_engine.strategy import VectorStrategy, Wishes


class DonchianBreakout(VectorStrategy):
    """Long from a breakout above the channel until the shorter channel is left below."""

    sell_means: ClassVar[str] = "closes the long position; it never opens a short one"

    entry_window = Whole(20, low=2, high=500, about="bars whose highest high has to be passed")
    exit_window = Whole(10, low=2, high=500, about="bars whose lowest low ends it")

    @property
    def bars_needed(self) -> int:
        """See `Strategy`: the channels of the bar before, and of the one before that."""
        return max(self.entry_window, self.exit_window) + 2

    def wishes(self, panel: Panel) -> Wishes:
        """See `VectorStrategy`; the bar that is decided on is not part of its own channel."""
        top = lag(highest(panel.high, self.entry_window))
        bottom = lag(lowest(panel.low, self.exit_window))
        return Wishes(
            entries=crossed_above(panel.close, top),
            exits=crossed_below(panel.close, bottom),
            entry_reason=f"close passed the highest high of {self.entry_window} bars",
            exit_reason=f"close fell below the lowest low of {self.exit_window} bars",
            figures={"highest": top, "lowest": bottom, "close": panel.close},
        )
