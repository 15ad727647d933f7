"""Has the pace of the price turned?

LONG when the distance of two exponential averages rises above its own average, FLAT when it falls below: a SELL closes the
long position.
"""

from __future__ import annotations

from typing import ClassVar

from strategy_engine.indicators import crossed_above, crossed_below, macd, macd_memory
from strategy_engine.panels import Panel
from strategy_engine.parameters import InvalidParameter, Whole
from strategy_engine.strategy import VectorStrategy, Wishes


class Macd(VectorStrategy):
    """Long while the MACD line is above its signal line."""

    sell_means: ClassVar[str] = "closes the long position; it never opens a short one"

    fast = Whole(12, low=1, high=99, about="bars of the fast exponential average")
    slow = Whole(26, low=2, high=100, about="bars of the slow exponential average")
    signal = Whole(9, low=1, high=50, about="bars of the signal line")

    def check_parameters(self) -> None:
        """See `Strategy`."""
        if self.fast >= self.slow:
            raise InvalidParameter(f"fast {self.fast} must be below slow {self.slow}")

    @property
    def bars_needed(self) -> int:
        """See `Strategy`: a crossing needs the lines on the bar before, too."""
        return macd_memory(self.slow, self.signal) + 1

    def wishes(self, panel: Panel) -> Wishes:
        """See `VectorStrategy`."""
        line, signal, difference = macd(panel.close, self.fast, self.slow, self.signal)
        return Wishes(
            entries=crossed_above(difference, 0.0),
            exits=crossed_below(difference, 0.0),
            entry_reason=f"MACD {self.fast}/{self.slow} crossed above its {self.signal}-bar signal",
            exit_reason=f"MACD {self.fast}/{self.slow} crossed below its {self.signal}-bar signal",
            figures={"macd": line, "signal": signal, "close": panel.close},
        )
