"""What does volume say, and at which price was it traded?"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from strategy_engine.indicators.own_bars import over_own_bars
from strategy_engine.panels import Floats

_DAY_US = 86_400_000_000


def obv(close: Floats, volume: Floats) -> Floats:
    """On-balance volume: shares of rising bars less shares of falling ones since the first bar.

    Where it stands depends on where the series began; only how it changes means anything, and that is exact.

    Source:
        Granville, New Key to Stock Market Profits (1963); the first bar counts as rising, as in TA-Lib.
    """

    def compute(close: Floats, volume: Floats) -> tuple[Floats]:
        sign = np.ones(close.shape)
        np.sign(close[1:] - close[:-1], out=sign[1:])
        return (np.cumsum(sign * volume, axis=0),)

    return over_own_bars(compute, close, volume)[0]


def vwap(
    high: Floats, low: Floats, close: Floats, volume: Floats, end_us: NDArray[np.int64]
) -> Floats:
    """The mean typical price of the session so far, weighted by volume, dollars per share.

    NaN in the first session of the series, which may have begun before it, and until something was traded.

    Args:
        end_us: when each bar ended, microseconds since 1970 UTC (`Panel.end_us`). Regular sessions in New York lie
            within one day of UTC all year, so that day names the session.
    Source:
        Berkowitz, Logue and Noser (1988), J. of Finance 43(1); (high + low + close) / 3 stands for the bar's trades.
    """

    def compute(
        high: Floats, low: Floats, close: Floats, volume: Floats, day: Floats
    ) -> tuple[Floats]:
        worth = (high + low + close) / 3.0 * volume
        found = np.full(close.shape, np.nan)
        begins = day[1:] != day[:-1]
        if (begins == begins[:, :1]).all():
            _of_sessions(worth, volume, begins[:, 0], found)
        else:
            for k in range(close.shape[1]):
                own = slice(k, k + 1)
                _of_sessions(worth[:, own], volume[:, own], begins[:, k], found[:, own])
        return (found,)

    day = ((end_us - 1) // _DAY_US).astype(np.float64)
    return over_own_bars(compute, high, low, close, volume, np.broadcast_to(day, close.shape))[0]


def _of_sessions(worth: Floats, volume: Floats, begins: NDArray[np.bool_], found: Floats) -> None:
    """Fill `found` from the second session on; each is summed bar by bar from its own first one."""
    bounds = [*(np.flatnonzero(begins) + 1).tolist(), len(worth)]
    for first, last in pairwise(bounds):
        session = slice(first, last)
        traded = np.cumsum(volume[session], axis=0)
        means = np.cumsum(worth[session], axis=0) / traded
        found[session] = np.where(traded > 0.0, means, np.nan)
