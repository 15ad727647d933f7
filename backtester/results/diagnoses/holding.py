"""Was it better than doing nothing?"""

from __future__ import annotations

import numpy as np

from backtester.results.diagnoses.evidence import Diagnosis, Evidence, Floats, Severity
from backtester.results.diagnoses.sample import SHORT_DAYS

# Held for less than this share of bars, returns are a matter of very few moments.
RARELY_IN = 0.05
# Longer than this below the peak is more than most people hold out.
LONG_UNDERWATER = 0.5


def worse_than_holding(evidence: Evidence) -> Diagnosis | None:
    """Less was earned than by the benchmark, and no less risky."""
    ours = float(evidence.equity[-1]) / evidence.cash - 1.0
    theirs = float(evidence.benchmark[-1]) / evidence.cash - 1.0
    if ours >= theirs or evidence.sharpe is None or evidence.benchmark_sharpe is None:
        return None
    if evidence.sharpe >= evidence.benchmark_sharpe:
        return None
    return Diagnosis(
        "WORSE_THAN_HOLDING",
        Severity.WARNING,
        f"{evidence.benchmark_name} returned {theirs:.1%} at a Sharpe ratio of {evidence.benchmark_sharpe:.2f}; this "
        f"{ours:.1%} at {evidence.sharpe:.2f}.",
    )


def rarely_invested(evidence: Evidence) -> Diagnosis | None:
    """Something was held in less than `RARELY_IN` of the bars."""
    if not evidence.fills or evidence.exposure >= RARELY_IN:
        return None
    return Diagnosis(
        "RARELY_INVESTED",
        Severity.NOTE,
        f"Something was held in {evidence.exposure:.1%} of the bars; ratios by the day flatter or hide that.",
    )


def long_underwater(evidence: Evidence) -> Diagnosis | None:
    """Equity was below an earlier peak for more than `LONG_UNDERWATER` of the time without a break."""
    n = len(evidence.equity)
    if n < SHORT_DAYS:
        return None
    longest = longest_underwater(evidence.cash, evidence.equity)
    if longest <= LONG_UNDERWATER * n:
        return None
    return Diagnosis(
        "LONG_UNDERWATER",
        Severity.CAUTION,
        f"Equity stayed below an earlier peak for {longest} days in a row, {longest / n:.0%} of the time.",
    )


def longest_underwater(cash: float, equity: Floats) -> int:
    """The longest run of days whose equity is below the peak so far."""
    peaks = np.maximum.accumulate(np.maximum(equity, cash))
    longest = run = 0
    for is_below in (equity < peaks).tolist():
        run = run + 1 if is_below else 0
        longest = max(longest, run)
    return longest
