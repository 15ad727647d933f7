"""How good was it, in figures that others define alike?

Pure functions of an equity curve, of exchange days and of round trips. Returns are simple, one per exchange day, and
annualised by 252, so a minute backtest and a daily one of the same trades say the same. An undefined figure is None, never
infinite and never zero by convention: a report must not invent one. Fractions: 0.1 means 10 %.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DAYS_A_YEAR = 252
# Below this a standard deviation is the rounding of a constant.
_NO_SPREAD = 1e-12


def daily_returns(cash: float, closing_equity: Floats) -> Floats:
    """Simple returns from one exchange day's last equity to the next, the first against `cash`.

    Args:
        cash: dollars before the first day. `closing_equity`: shape (days,), dollars.
    """
    before = np.empty_like(closing_equity)
    before[0] = cash
    before[1:] = closing_equity[:-1]
    returns: Floats = closing_equity / before
    returns -= 1.0
    return returns


def total_return(cash: float, final_equity: float) -> float:
    """What was gained, as a fraction of the `cash` at the beginning."""
    return final_equity / cash - 1.0


def cagr(cash: float, final_equity: float, days: int) -> float | None:
    """The yearly return that compounds to the total: (final / cash) ** (252 / days) - 1.

    None when everything was lost or owed. Source: empyrical's `annual_return` with daily periods. quantstats divides
    calendar days by 365.25 instead, and so differs by what a year's sessions differ from 252.
    """
    if final_equity <= 0.0 or days < 1:
        return None
    return float((final_equity / cash) ** (DAYS_A_YEAR / days) - 1.0)


def volatility(returns: Floats) -> float | None:
    """Standard deviation of daily returns (n - 1) times sqrt(252). Source: empyrical, quantstats alike."""
    if len(returns) < 2:
        return None
    return _deviation(returns) * sqrt(DAYS_A_YEAR)


def sharpe(returns: Floats) -> float | None:
    """Mean daily return over its standard deviation (n - 1), times sqrt(252); no riskless rate.

    Source: Sharpe (1994), J. of Portfolio Management 21(1); empyrical, quantstats alike with a rate of 0.
    """
    if len(returns) < 2:
        return None
    spread = _deviation(returns)
    return _mean(returns) / spread * sqrt(DAYS_A_YEAR) if spread > _NO_SPREAD else None


def sortino(returns: Floats) -> float | None:
    """Mean daily return over the root of the mean squared loss, times sqrt(252); all days count.

    Source: Sortino and Price (1994), J. of Investing 3(3); empyrical, quantstats alike with a target of 0.
    """
    if len(returns) < 2:
        return None
    losses = np.minimum(returns, 0.0)
    downside = sqrt(_mean(losses * losses))
    return _mean(returns) / downside * sqrt(DAYS_A_YEAR) if downside > _NO_SPREAD else None


def max_drawdown(cash: float, equity: Floats) -> float:
    """The deepest fall below the running peak as a fraction of that peak, 0 or more.

    Over every bar's close, with the `cash` at the beginning as first peak. empyrical and quantstats give the same
    with the sign turned, from daily values.
    """
    peaks = np.maximum.accumulate(np.maximum(equity, cash))
    return float(np.max((peaks - equity) / peaks))


def calmar(cagr: float | None, max_drawdown: float) -> float | None:
    """Yearly return over the deepest fall. Source: Young (1991), Futures 20(1); empyrical, quantstats alike."""
    return cagr / max_drawdown if cagr is not None and max_drawdown > 0.0 else None


def win_rate(profits: Floats) -> float | None:
    """The share of closed trades that earned more than nothing after fees."""
    return np.count_nonzero(profits > 0.0) / len(profits) if len(profits) else None


def profit_factor(profits: Floats) -> float | None:
    """What the winners earned over what the losers lost; None without a loss.

    Source: Schwager (1996), Technical Analysis; backtesting.py the same over returns instead of dollars.
    """
    lost = -float(profits[profits < 0.0].sum())
    return float(profits[profits > 0.0].sum()) / lost if lost > 0.0 else None


def expectancy(profits: Floats) -> float | None:
    """Dollars that a closed trade earned on average after fees. Source: Tharp (1998), Trade Your Way."""
    return _mean(profits) if len(profits) else None


def exposure(bars_held: int, bars: int) -> float:
    """The share of bars at whose close something was held (backtesting.py's exposure time)."""
    return bars_held / bars


def turnover(traded: float, mean_equity: float, days: int) -> float | None:
    """Dollars bought and sold, halved, over mean equity, a year: how often the account was turned over.

    Source: the mutual funds' rule (SEC form N-1A) takes the lesser of purchases and sales; half of both differs by what is
    still held.
    """
    if mean_equity <= 0.0 or days < 1:
        return None
    return traded / 2.0 / mean_equity * DAYS_A_YEAR / days


# To the last bit what `np.mean` and `np.std` give, which on ten years of days take four times as long, mostly to see what
# they were given.


def _mean(values: Floats) -> float:
    return float(values.sum()) / len(values)


def _deviation(values: Floats) -> float:
    """The standard deviation of a sample."""
    apart = values - _mean(values)
    return sqrt(float((apart * apart).sum()) / (len(values) - 1))
