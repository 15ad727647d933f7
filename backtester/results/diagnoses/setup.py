"""Are the data, the parameters and the rules such that the figures mean something?"""

from __future__ import annotations

from backtester.results.diagnoses.evidence import Diagnosis, Evidence, Severity

# One bar in a hundred.
MANY_GAPS = 0.01
# More than every other one: then the refusals are the strategy.
MOSTLY = 0.5


def missing_bars(evidence: Evidence) -> Diagnosis | None:
    """More than `MANY_GAPS` of the bars are missing."""
    if evidence.missing_share <= MANY_GAPS:
        return None
    return Diagnosis(
        "MISSING_BARS",
        Severity.CAUTION,
        f"{evidence.missing_share:.1%} of the bars are missing; a symbol's orders wait while they are.",
    )


def unadjusted_jumps(evidence: Evidence) -> Diagnosis | None:
    """A traded symbol jumped overnight as splits make prices jump."""
    if not evidence.jumps:
        return None
    return Diagnosis(
        "JUMPS",
        Severity.WARNING,
        f"There are overnight moves of more than a third ({evidence.jumps[0]}"
        + (f" and {len(evidence.jumps) - 1} more" if len(evidence.jumps) > 1 else "")
        + "): look whether these are splits that the prices were not adjusted for.",
    )


def parameter_on_its_bound(evidence: Evidence) -> Diagnosis | None:
    """A parameter stands on its lowest or highest value: the best may lie beyond."""
    found = [
        f"{name}={value:g}"
        for name, (value, low, high) in evidence.parameters.items()
        if not isinstance(value, bool) and value in (low, high)
    ]
    if not found:
        return None
    return Diagnosis(
        "ON_BOUND",
        Severity.NOTE,
        f"{', '.join(found)} stands on its bound: the strategy was not made for it.",
    )


def mostly_refused(evidence: Evidence) -> Diagnosis | None:
    """More than half of the wished entries were refused by rules other than holding already."""
    refused = {code: n for code, n in evidence.refused.items() if code != "ALREADY_HELD" and n}
    total = sum(refused.values())
    if not evidence.wishes or total <= MOSTLY * evidence.wishes:
        return None
    first = max(refused, key=lambda code: refused[code])
    return Diagnosis(
        "MOSTLY_REFUSED",
        Severity.CAUTION,
        f"{total} of {evidence.wishes} wished entries were refused, {refused[first]} of them by {first}: the rules "
        "traded, not the strategy.",
    )


def stopped_early(evidence: Evidence) -> Diagnosis | None:
    """The limit on drawdown or on a day's loss ended all entries on the way."""
    if evidence.stopped_on is None:
        return None
    return Diagnosis(
        "STOPPED_EARLY",
        Severity.WARNING,
        f"The limit on drawdown or on a day's loss was passed on {evidence.stopped_on}; no entry followed, so the time after it says nothing of "
        "the strategy.",
    )


def without_risk_rules(evidence: Evidence) -> Diagnosis | None:
    """The rules that hold live were off."""
    if not evidence.is_free_of_risk_rules:
        return None
    return Diagnosis(
        "NO_RISK_RULES",
        Severity.CAUTION,
        "The risk rules were off: live trading would refuse, size and stop otherwise.",
    )
