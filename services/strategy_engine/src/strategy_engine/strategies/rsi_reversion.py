"""Has a price that fell too fast begun to recover?

LONG when the relative strength index rises above `oversold` again, FLAT when it rises above `recovered`: a SELL closes the
long position once the price is back among its own habits. It waits for the turn, since what falls may go on falling.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from strategy_engine.indicators import crossed_above, lag, rsi, wilder_memory
from strategy_engine.panels import Panel
from strategy_engine.parameters import InvalidParameter, Number, Whole
from strategy_engine.strategy import VectorStrategy, Wishes


class RsiReversion(VectorStrategy):
    """Long from the turn of an oversold price until it has recovered."""

    sell_means: ClassVar[str] = "closes the long position once the price has recovered"

    window = Whole(14, low=2, high=90, about="bars of Wilder's average")
    oversold = Number(30.0, low=1.0, high=50.0, about="RSI that has to be risen above again")
    recovered = Number(55.0, low=10.0, high=99.0, about="RSI above which the position is closed")

    def check_parameters(self) -> None:
        """See `Strategy`."""
        if self.oversold >= self.recovered:
            raise InvalidParameter(
                f"oversold {self.oversold:g} must be below recovered {self.recovered:g}"
            )

    @property
    def bars_needed(self) -> int:
        """See `Strategy`: the index of this bar and of the one before."""
        return wilder_memory(self.window) + 2

    def wishes(self, panel: Panel) -> Wishes:
        """See `VectorStrategy`; the deeper it had fallen, the more convinced. One bar that passes both levels is out."""
        strength = rsi(panel.close, self.window)
        depth = (self.oversold - lag(strength)) / self.oversold
        exits = crossed_above(strength, self.recovered)
        return Wishes(
            entries=crossed_above(strength, self.oversold) & ~exits,
            exits=exits,
            entry_reason=f"RSI {self.window} rose above {self.oversold:g} again",
            exit_reason=f"RSI {self.window} rose above {self.recovered:g}",
            conviction=0.5 + 0.5 * np.clip(depth, 0.0, 1.0),
            figures={"rsi": strength, "close": panel.close},
        )
