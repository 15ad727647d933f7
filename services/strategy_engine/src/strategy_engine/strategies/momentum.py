"""Which symbols have risen most, and should be held for the next weeks?

At each symbol's first bar of a new period all symbols of that instant are ranked by their return over `lookback` bars, the
newest `skip` left out since they tend to reverse. LONG for the `top` of them if they have risen, FLAT for all others: a SELL
closes the position of whoever has lost its rank. The first bar known begins no period.

Source: Jegadeesh and Titman (1993), J. of Finance 48(1), 65-91.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from strategy_engine.indicators import lag, roc
from strategy_engine.panels import Panel
from strategy_engine.parameters import InvalidParameter, Whole
from strategy_engine.strategy import VectorStrategy, Wishes

_DAY_US = 86_400_000_000
# 1970 began on a Thursday; periods of seven days should begin on Mondays.
_TO_MONDAY = 3


class Momentum(VectorStrategy):
    """Long in the symbols that have risen most of all, ranked anew every few weeks."""

    sell_means: ClassVar[str] = "closes the position of a symbol that is no longer among the best"
    compares_symbols: ClassVar[bool] = True

    lookback = Whole(126, low=2, high=900, about="bars over which the return is taken")
    skip = Whole(21, low=0, high=250, about="newest bars that are left out of it")
    top = Whole(10, low=1, high=500, about="how many symbols are held")
    every_days = Whole(28, low=1, high=366, about="calendar days from one ranking to the next")

    def check_parameters(self) -> None:
        """See `Strategy`."""
        if self.skip >= self.lookback:
            raise InvalidParameter(f"skip {self.skip} must be below lookback {self.lookback}")

    @property
    def bars_needed(self) -> int:
        """See `Strategy`."""
        return self.lookback + 1

    def wishes(self, panel: Panel) -> Wishes:
        """See `VectorStrategy`; of equal returns the first by name ranks higher."""
        returns = roc(panel.close, self.lookback - self.skip)
        if self.skip:
            returns = lag(returns, self.skip)
        number = ((panel.times - 1) // _DAY_US + _TO_MONDAY) // self.every_days
        period = np.where(np.isnan(panel.close), np.nan, number.astype(np.float64))
        ranks_now = (period != lag(period)) & ~np.isnan(lag(period)) & ~np.isnan(returns)
        # NaN sorts behind everything: those without a return are never among the best.
        order = np.argsort(-returns, axis=1, kind="stable")
        rank = np.empty(order.shape)
        np.put_along_axis(rank, order, np.arange(1.0, order.shape[1] + 1.0)[None, :], axis=1)
        among_best = (rank <= self.top) & (returns > 0.0)
        return Wishes(
            entries=ranks_now & among_best,
            exits=ranks_now & ~among_best,
            entry_reason=f"among the best {self.top} of all by {self.lookback}-bar return",
            exit_reason=f"no longer among the best {self.top} of all by {self.lookback}-bar return",
            figures={"return_percent": returns, "rank": rank, "close": panel.close},
        )
