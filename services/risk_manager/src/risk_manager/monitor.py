"""How much could the portfolio lose?

Signed values of what is held and the closes of the same symbols go in; value at risk, expected shortfall, correlations,
betas and what gaps would do come out. Losses are positive dollars. Returns are those of one bar at today's holdings:
the horizon is one bar. What has too few bars is named and left out, never guessed. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, exp, floor, sqrt
from statistics import NormalDist

from risk_manager.limits import Closes, correlation_of, drawdown_of, log_returns

CONFIDENCE = 0.95
# What a whole market, or one holding alone, may do overnight; rises are asked about where something is owed.
FALLS = (-0.10, -0.20)
RISES = (0.10, 0.20)


@dataclass(frozen=True, slots=True)
class LossFigures:
    """Dollars lost in one bar at `confidence`; `observations` returns tell."""

    confidence: float
    observations: int
    historical_var: float
    parametric_var: float
    historical_cvar: float


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a gap would do: `symbol` None for everything held at once; `change` of the price, -0.1 for a tenth."""

    symbol: str | None
    change: float
    pnl: float
    equity_after: float
    drawdown_after: float


@dataclass(frozen=True, slots=True)
class RiskFigures:
    """What is known of the portfolio's risk; None or left out where bars are too few.

    `beta_weighted_delta` is how many dollars of the benchmark the holdings move like.
    """

    losses: LossFigures | None
    correlations: Mapping[tuple[str, str], float]
    betas: Mapping[str, float]
    beta_weighted_delta: float | None
    scenarios: tuple[Scenario, ...]
    # Held, but with too few bars in common with the others to be counted.
    uncovered: tuple[str, ...]


def risk_figures(
    values: Mapping[str, float],
    closes: Mapping[str, Closes],
    *,
    equity: float,
    peak_equity: float,
    benchmark: str,
    returns: int,
    least_returns: int,
) -> RiskFigures:
    """Measure the holdings.

    Args:
        values: dollars of each symbol held, short ones below zero.
        closes: of each symbol held and of the benchmark, by the end of the bar, oldest first.
        equity, peak_equity: dollars.
        returns: how many of the newest are looked at; fewer than `least_returns` in common tell nothing.
    """
    covered = sorted(s for s in values if len(closes.get(s, {})) > least_returns)
    ends = _common(covered, closes, returns)
    moves = {s: log_returns(closes[s], ends) for s in covered}
    is_known = bool(covered) and len(ends) > least_returns
    pairs = {
        (a, b): correlation_of(moves[a], moves[b])
        for i, a in enumerate(covered)
        for b in covered[i + 1 :]
        if is_known
    }
    betas: dict[str, float] = {}
    if len(closes.get(benchmark, {})) > least_returns:
        for symbol in covered:
            both = _common([symbol, benchmark], closes, returns)
            if len(both) > least_returns:
                beta = beta_of(
                    log_returns(closes[symbol], both), log_returns(closes[benchmark], both)
                )
                if beta is not None:
                    betas[symbol] = beta
    return RiskFigures(
        _losses(covered, values, moves) if is_known else None,
        pairs,
        betas,
        sum(values[s] * beta for s, beta in betas.items())
        if values and len(betas) == len(values)
        else None,
        tuple(_scenarios(values, equity, peak_equity)),
        tuple(sorted(set(values) - set(covered if is_known else []))),
    )


def _common(symbols: Sequence[str], closes: Mapping[str, Closes], returns: int) -> tuple[int, ...]:
    if not symbols:
        return ()
    first, *others = symbols
    shared = [end for end in closes[first] if all(end in closes[s] for s in others)]
    return tuple(shared[-(returns + 1) :])


def _losses(
    symbols: Sequence[str], values: Mapping[str, float], moves: Mapping[str, Sequence[float]]
) -> LossFigures:
    count = len(moves[symbols[0]])
    pnl = [sum(values[s] * (exp(moves[s][i]) - 1.0) for s in symbols) for i in range(count)]
    return LossFigures(
        CONFIDENCE,
        count,
        historical_var(pnl, CONFIDENCE),
        parametric_var(pnl, CONFIDENCE),
        historical_cvar(pnl, CONFIDENCE),
    )


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of `values` lies, linear between neighbours (numpy's default)."""
    ranked = sorted(values)
    at = share * (len(ranked) - 1)
    low, high = ranked[floor(at)], ranked[ceil(at)]
    return low + (high - low) * (at - floor(at))


def historical_var(pnl: Sequence[float], confidence: float) -> float:
    """Dollars that were not lost in `confidence` of the bars; 0 where not even the worst of them lost."""
    return max(0.0, -quantile(pnl, 1.0 - confidence))


def historical_cvar(pnl: Sequence[float], confidence: float) -> float:
    """Mean dollars lost in the bars that lost as much as the value at risk, or more.

    Source: Rockafellar and Uryasev (2000), J. of Risk 2(3), 21-41.
    """
    edge = quantile(pnl, 1.0 - confidence)
    tail = [each for each in pnl if each <= edge]
    return max(0.0, -sum(tail) / len(tail)) if tail else max(0.0, -min(pnl))


def parametric_var(pnl: Sequence[float], confidence: float) -> float:
    """Dollars lost at `confidence` were the bars normal with this mean and deviation."""
    n = len(pnl)
    mean = sum(pnl) / n
    deviation = sqrt(sum((each - mean) ** 2 for each in pnl) / (n - 1)) if n > 1 else 0.0
    return max(0.0, NormalDist().inv_cdf(confidence) * deviation - mean)


def beta_of(mine: Sequence[float], benchmark: Sequence[float]) -> float | None:
    """How far the symbol moves when the benchmark moves by one; None while that stands still."""
    n = len(benchmark)
    mean_x, mean_y = sum(benchmark) / n, sum(mine) / n
    variance = sum((x - mean_x) ** 2 for x in benchmark)
    if variance <= 0.0:
        return None
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(benchmark, mine, strict=True)) / variance


def _scenarios(values: Mapping[str, float], equity: float, peak: float) -> list[Scenario]:
    """Each gap of everything at once, and those of each holding alone that it loses by."""
    owes = any(value < 0.0 for value in values.values())
    everything: list[tuple[str | None, float, float]] = [
        (None, change, sum(values.values()) * change)
        for change in ((*FALLS, *RISES) if owes else FALLS)
    ]
    alone = [
        (symbol, change, values[symbol] * change)
        for symbol in sorted(values)
        for change in (RISES if values[symbol] < 0.0 else FALLS)
    ]
    return [
        Scenario(symbol, change, pnl, equity + pnl, drawdown_of(equity + pnl, peak))
        for symbol, change, pnl in (*everything, *alone)
    ]
