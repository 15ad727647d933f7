"""Could this be luck?

A Sharpe ratio is an estimate; these say how sure it is, given its length, the shape of its returns and how many
others were tried before it was shown. Pure functions of daily returns and of trades' profits.
"""

from __future__ import annotations

from math import e, sqrt

import numpy as np
from numpy.typing import NDArray

from backtester.metrics import DAYS_A_YEAR

Floats = NDArray[np.float64]

# Euler's and Mascheroni's constant.
_EULER = 0.5772156649015329
RESAMPLES = 1_000
# Beyond so many trades the mean is known well enough without all of them being drawn.
_MOST_DRAWN = 2_000_000


def probabilistic_sharpe(returns: Floats, benchmark: float = 0.0) -> float | None:
    """The probability that the true Sharpe ratio is above `benchmark` (annual, as `metrics.sharpe` has it).

    None for fewer than three returns or returns without spread.
    Source: Bailey and Lopez de Prado (2012), J. of Risk 15(2): skew and fat tails widen the error.
    """
    from statistics import NormalDist

    n = len(returns)
    if n < 3:
        return None
    spread = float(np.std(returns, ddof=1))
    if spread <= 1e-12:
        return None
    centred = (returns - np.mean(returns)) / float(np.std(returns))
    skew, kurtosis = float(np.mean(centred**3)), float(np.mean(centred**4))
    daily = float(np.mean(returns)) / spread
    variance = 1.0 - skew * daily + (kurtosis - 1.0) / 4.0 * daily * daily
    if variance <= 0.0:
        return None
    return NormalDist().cdf((daily - benchmark / sqrt(DAYS_A_YEAR)) * sqrt(n - 1) / sqrt(variance))


def deflated_sharpe(returns: Floats, trials: int, spread_of_trials: float | None) -> float | None:
    """The probability that the true Sharpe ratio is above what the best of `trials` worthless ones would show.

    Args:
        spread_of_trials: standard deviation of the annual Sharpe ratios that were tried on these bars; None when it is
            not known, which leaves the error of a single estimate in its place.
    Source: Bailey and Lopez de Prado (2014), J. of Portfolio Management 40(5).
    """
    from statistics import NormalDist

    if trials < 2:
        return probabilistic_sharpe(returns)
    if len(returns) < 3:
        return None
    spread = sqrt(DAYS_A_YEAR / len(returns)) if spread_of_trials is None else spread_of_trials
    normal = NormalDist()
    best = spread * (
        (1.0 - _EULER) * normal.inv_cdf(1.0 - 1.0 / trials)
        + _EULER * normal.inv_cdf(1.0 - 1.0 / (trials * e))
    )
    return probabilistic_sharpe(returns, best)


def mean_profit_interval(profits: Floats, seed: int) -> tuple[float, float] | None:
    """Between which dollars a trade's mean profit lies with 90 % confidence; None for fewer than five trades.

    Trades are drawn again with replacement, so it takes them for independent of each other; `seed` makes it repeatable.
    Source: Efron (1979), Annals of Statistics 7(1): the percentile bootstrap.
    """
    n = len(profits)
    if n < 5:
        return None
    resamples = max(200, min(RESAMPLES, _MOST_DRAWN // n))
    drawn = np.random.default_rng(seed).integers(0, n, (resamples, n))
    means = profits[drawn].mean(axis=1)
    low, high = np.quantile(means, (0.05, 0.95))
    return float(low), float(high)
