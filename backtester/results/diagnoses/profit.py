"""What carries the profit?"""

from __future__ import annotations

import numpy as np

from backtester.results.diagnoses.evidence import Diagnosis, Evidence, Severity
from backtester.results.diagnoses.sample import FEW_TRADES

# More than half of the profit from one place: without it the rest is another strategy.
CARRIES = 0.5
# A year of months, else the best one is half of the whole by arithmetic.
FEW_MONTHS = 6
# What nights earn an account that holds all day and night is near one half for a drifting market.
OVERNIGHT = 0.9
# A profit that was made by one kind of surprise.
FROM_GAPS = 0.5
# Valued at the last close and not sold: no spread, no slippage, no decision.
OPEN_AT_THE_END = 0.25
# A loss that undoes so many usual winners.
TAIL = 10.0


def one_symbol(evidence: Evidence) -> Diagnosis | None:
    """One symbol of several earned more than `CARRIES` of the net profit."""
    if evidence.symbols < 2 or evidence.net_profit <= 0.0 or not evidence.by_symbol:
        return None
    best = max(evidence.by_symbol, key=lambda symbol: evidence.by_symbol[symbol])
    share = evidence.by_symbol[best] / evidence.net_profit
    if share <= CARRIES:
        return None
    return Diagnosis(
        "ONE_SYMBOL",
        Severity.WARNING,
        f"{best} earned {share:.0%} of the profit; without it {evidence.symbols - 1} symbols earned "
        f"{evidence.net_profit - evidence.by_symbol[best]:,.0f} USD.",
    )


def one_trade(evidence: Evidence) -> Diagnosis | None:
    """One of several trades earned more than `CARRIES` of the net profit."""
    if len(evidence.profits) < 2 or evidence.net_profit <= 0.0:
        return None
    best = float(np.max(evidence.profits))
    if best <= CARRIES * evidence.net_profit:
        return None
    return Diagnosis(
        "ONE_TRADE",
        Severity.WARNING,
        f"The best of {len(evidence.profits)} trades earned {best:,.0f} USD, {best / evidence.net_profit:.0%} of all.",
    )


def one_month(evidence: Evidence) -> Diagnosis | None:
    """One of at least `FEW_MONTHS` months earned more than `CARRIES` of the net profit."""
    if len(evidence.by_month) < FEW_MONTHS or evidence.net_profit <= 0.0:
        return None
    best = max(evidence.by_month, key=lambda month: evidence.by_month[month])
    share = evidence.by_month[best] / evidence.net_profit
    if share <= CARRIES:
        return None
    return Diagnosis(
        "ONE_MONTH", Severity.WARNING, f"{best} alone earned {share:.0%} of the profit."
    )


def from_gaps(evidence: Evidence) -> Diagnosis | None:
    """More than `FROM_GAPS` of the profit before costs came in gaps of the open."""
    if evidence.gross_profit <= 0.0 or evidence.gaps <= FROM_GAPS * evidence.gross_profit:
        return None
    return Diagnosis(
        "FROM_GAPS",
        Severity.CAUTION,
        f"{evidence.gaps / evidence.gross_profit:.0%} of the profit before costs came in overnight gaps beyond 2 %: "
        "news decided, and no stop helps against one the other way.",
    )


def mostly_overnight(evidence: Evidence) -> Diagnosis | None:
    """More than `OVERNIGHT` of the profit before costs was made while the exchange was shut."""
    if evidence.gross_profit <= 0.0 or evidence.overnight <= OVERNIGHT * evidence.gross_profit:
        return None
    return Diagnosis(
        "OVERNIGHT",
        Severity.CAUTION,
        f"{evidence.overnight / evidence.gross_profit:.0%} of the profit before costs was made overnight, when no stop "
        "works and margin is lower.",
    )


def open_profit(evidence: Evidence) -> Diagnosis | None:
    """Positions that are still held make up more than `OPEN_AT_THE_END` of the profit."""
    if evidence.net_profit <= 0.0 or evidence.open_profit <= OPEN_AT_THE_END * evidence.net_profit:
        return None
    left = evidence.open_positions
    are = "position is" if left == 1 else "positions are"
    return Diagnosis(
        "OPEN_PROFIT",
        Severity.CAUTION,
        f"{evidence.open_profit / evidence.net_profit:.0%} of the profit is on paper: {left} {are} open at the end, "
        "valued at the last close.",
    )


def long_tail(evidence: Evidence) -> Diagnosis | None:
    """The worst trade lost more than `TAIL` average winners earned."""
    winners = evidence.profits[evidence.profits > 0.0]
    if not len(winners):
        return None
    usual, worst = float(np.mean(winners)), -float(np.min(evidence.profits))
    if worst <= TAIL * usual:
        return None
    return Diagnosis(
        "LONG_TAIL",
        Severity.CAUTION,
        f"The worst trade lost {worst:,.0f} USD, as much as {worst / usual:.0f} usual winners earn.",
    )


def fades(evidence: Evidence) -> Diagnosis | None:
    """The first half earned and the second lost."""
    n = len(evidence.equity)
    if n < 2 * FEW_TRADES:
        return None
    middle = float(evidence.equity[n // 2 - 1])
    first, second = middle - evidence.cash, float(evidence.equity[-1]) - middle
    # A day's noise is no fading.
    if first <= 0.0 or second >= -0.1 * first:
        return None
    return Diagnosis(
        "FADES",
        Severity.CAUTION,
        f"The first half earned {first:,.0f} USD, the second lost {-second:,.0f}: what worked may have ended.",
    )
