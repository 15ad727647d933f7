"""Would live trading have paid as little, and been filled like that?"""

from __future__ import annotations

import numpy as np

from backtester.results.diagnoses.evidence import Diagnosis, Evidence, Severity

# Half of what was earned goes to brokers and the spread: a little more slippage and nothing is left.
COSTS_EAT = 0.5
# The account turned over once a week.
HIGH_TURNOVER = 50.0
# A twentieth of a bar's volume: from about there impact grows beyond the spread (Almgren and others 2005, Risk 18).
LARGE_PART = 0.05
# Of fills: one in ten is no longer an exception.
OFTEN = 0.1


def costs_eat_the_edge(evidence: Evidence) -> Diagnosis | None:
    """Fees, slippage and borrowing took more than `COSTS_EAT` of what was earned before them, or all of it."""
    costs = evidence.costs
    if costs <= 0.0 or evidence.gross_profit <= 0.0 or costs <= COSTS_EAT * evidence.gross_profit:
        return None
    return Diagnosis(
        "COSTS_EAT_THE_EDGE",
        Severity.WARNING,
        f"Costs of {costs:,.0f} USD took {costs / evidence.gross_profit:.0%} of the {evidence.gross_profit:,.0f} USD that "
        "were earned before them.",
    )


def costs_left_out(evidence: Evidence) -> Diagnosis | None:
    """Market orders were assumed to fill at the very open."""
    if not (evidence.fills and evidence.is_free_of_slippage):
        return None
    return Diagnosis(
        "NO_SLIPPAGE",
        Severity.CAUTION,
        "No slippage was assumed; real market orders pay about half of the spread (try --slippage-bps 5, or "
        "--envelope).",
    )


def breaks_when_fills_are_worse(evidence: Evidence) -> Diagnosis | None:
    """The profit is a loss under the envelope's pessimistic fills."""
    if evidence.envelope is None:
        return None
    pessimistic, base = evidence.envelope
    if base <= 0.0 or pessimistic > 0.0:
        return None
    return Diagnosis(
        "FRAGILE",
        Severity.WARNING,
        f"The return of {base:.2%} is {pessimistic:.2%} under pessimistic fills: the edge is smaller than what is not "
        "known of execution.",
    )


def high_turnover(evidence: Evidence) -> Diagnosis | None:
    """The account was turned over more than `HIGH_TURNOVER` times a year."""
    if evidence.turnover is None or evidence.turnover <= HIGH_TURNOVER:
        return None
    return Diagnosis(
        "HIGH_TURNOVER",
        Severity.CAUTION,
        f"The account is turned over {evidence.turnover:.0f} times a year: each basis point of cost takes "
        f"{2 * evidence.turnover / 10_000:.2%} a year.",
    )


def beyond_capacity(evidence: Evidence) -> Diagnosis | None:
    """One fill in twenty took more than `LARGE_PART` of its bar's volume."""
    if evidence.capacity is None:
        return None
    large = float(np.quantile(evidence.participation, 0.95))
    if large <= LARGE_PART:
        return None
    return Diagnosis(
        "CAPACITY",
        Severity.WARNING,
        f"A fill in twenty took {large:.1%} of its bar's volume or more, which moves prices; at 5 % the account could be "
        f"{evidence.capacity:,.0f} USD.",
    )


def partly_filled(evidence: Evidence) -> Diagnosis | None:
    """More than `OFTEN` of the fills were parts of an order."""
    if not evidence.fills or evidence.partial_fills <= OFTEN * evidence.fills:
        return None
    return Diagnosis(
        "PARTIAL_FILLS",
        Severity.CAUTION,
        f"{evidence.partial_fills} of {evidence.fills} fills were parts of an order: the bars were too thin for it.",
    )


def filled_late(evidence: Evidence) -> Diagnosis | None:
    """More than `OFTEN` of the orders waited for a bar with volume."""
    if not evidence.fills or evidence.late_fills <= OFTEN * evidence.fills:
        return None
    return Diagnosis(
        "LATE_FILLS",
        Severity.CAUTION,
        f"{evidence.late_fills} of {evidence.fills} fills came later than the bar after the decision.",
    )


def stale_prices(evidence: Evidence) -> Diagnosis | None:
    """Fills in bars that repeat the price before: nobody may have traded there."""
    if not evidence.stale_fills:
        return None
    severity = Severity.WARNING if evidence.stale_fills > OFTEN * evidence.fills else Severity.NOTE
    return Diagnosis(
        "STALE_FILLS",
        severity,
        f"{evidence.stale_fills} of {evidence.fills} fills lie in bars that only repeat the last price.",
    )
