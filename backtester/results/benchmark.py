"""What would have been earned by simply holding?

Either one symbol that was named, or what was traded, bought in equal parts at the first open and kept. Daily values
beside the account's, and the figures that compare the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from backtester import metrics
from backtester.history import History, NoData

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Benchmark:
    """`closing`: dollars at the end of each of the run's exchange days, from the same cash."""

    name: str
    closing: Floats


def held(history: History, cash: float, name: str | None = None) -> Benchmark:
    """Equal parts of every symbol of `history`, each bought at its first open and kept; dividends are kept as cash."""
    panel, ends = history.in_newest_shares.panel, history.session_ends
    worth = np.zeros(len(ends))
    part = cash / len(panel.symbols)
    for column in range(len(panel.symbols)):
        closes = panel.close[:, column]
        own = np.flatnonzero(~np.isnan(closes))
        if not len(own):
            worth += part
            continue
        newest = np.searchsorted(own, ends, side="right") - 1
        prices = closes[own[np.maximum(newest, 0)]] + dividends(history, column, own[0])[ends]
        worth += part * np.where(newest >= 0, prices / panel.open[own[0], column], 1.0)
    names = (
        " and ".join(panel.symbols) if len(panel.symbols) <= 2 else f"{len(panel.symbols)} symbols"
    )
    return Benchmark(name or f"holding {names}", worth)


def dividends(history: History, column: int, since: int) -> Floats:
    """Dollars a share of the last day has been paid up to each row, for who has held it since row `since`."""
    paid = np.zeros(len(history))
    factor = history.actions_as_arrays.factor
    for row, some in history.actions_by_row.items():
        for where, _, amount in some:
            if where == column and row > since:
                ratio = factor[row, column] / factor[-1, column] if factor.size else 1.0
                paid[row] += amount * ratio
    return np.cumsum(paid)


def on_days_of(history: History, other: History, cash: float) -> Benchmark:
    """The one symbol of `other`, held over the days of `history`.

    Raises:
        NoData: it has no bar on the first day or before, so that nothing could have been bought.
    """
    (symbol,) = other.panel.symbols
    days = history.session[history.session_ends]
    first, _ = other.rows_between(history.day(0), None)
    if other.session[0] > days[0] or first >= len(other):
        raise NoData(
            f"the benchmark {symbol} has bars from {other.day(0)} to {other.day(-1)} and not from "
            f"{history.day(0)} on; give more of its bars, or leave --benchmark out"
        )
    panel, ends = other.in_newest_shares.panel, other.session_ends
    prices = panel.close[:, 0] + dividends(other, 0, first)
    at = np.searchsorted(other.session[ends], days, side="right") - 1
    return Benchmark(str(symbol), cash * prices[ends][at] / panel.open[first, 0])


def compared(cash: float, closing: Floats, benchmark: Benchmark) -> Mapping[str, float | None]:
    """The account against the benchmark, from daily returns; yearly figures by 252 days, no riskless rate.

    `alpha` is Jensen's (1968), yearly; `beta` the slope against the benchmark; tracking error and information ratio of
    the difference of returns (Goodwin 1998); `treynor` yearly return over beta.
    """
    ours = metrics.daily_returns(cash, closing)
    theirs = metrics.daily_returns(cash, benchmark.closing)
    final = float(benchmark.closing[-1])
    yearly = metrics.cagr(cash, final, len(theirs))
    found: dict[str, float | None] = {
        "benchmark_return": metrics.total_return(cash, final),
        "benchmark_cagr": yearly,
        "benchmark_volatility": metrics.volatility(theirs),
        "benchmark_sharpe": metrics.sharpe(theirs),
        "benchmark_max_drawdown": metrics.max_drawdown(cash, benchmark.closing),
        "beta": None,
        "alpha": None,
        "correlation": None,
        "tracking_error": None,
        "information_ratio": None,
        "treynor": None,
    }
    if len(ours) < 2:
        return found
    # Days scale every figure alike, as in `metrics`.
    a_year = float(metrics.DAYS_A_YEAR)
    difference = ours - theirs
    error = float(np.std(difference, ddof=1)) * sqrt(a_year)
    found["tracking_error"] = error
    if error > 1e-12:
        found["information_ratio"] = float(np.mean(difference)) * a_year / error
    covariance = np.cov(ours, theirs)
    if covariance[1, 1] > 1e-24:
        beta = float(covariance[0, 1] / covariance[1, 1])
        found["beta"] = beta
        found["alpha"] = float(np.mean(ours) - beta * np.mean(theirs)) * a_year
        if covariance[0, 0] > 1e-24:
            found["correlation"] = float(
                covariance[0, 1] / sqrt(float(covariance[0, 0] * covariance[1, 1]))
            )
        ours_yearly = metrics.cagr(cash, float(closing[-1]), len(ours))
        if ours_yearly is not None and abs(beta) > 1e-9:
            found["treynor"] = ours_yearly / beta
    return found
