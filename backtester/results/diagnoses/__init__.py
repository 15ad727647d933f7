"""What should make a reader doubt this result?

Each diagnosis is a pure function of the evidence: it is silent or says one sentence with its figures. The thresholds stand
beside the reason for them. A diagnosis never changes a result and never hides one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from backtester.results.diagnoses import fills, holding, profit, sample, setup
from backtester.results.diagnoses.evidence import Diagnosis, Evidence, Severity
from backtester.results.diagnoses.holding import longest_underwater

__all__ = ["CHECKS", "Diagnosis", "Evidence", "Severity", "diagnose", "longest_underwater"]

Check = Callable[[Evidence], Diagnosis | None]

CHECKS: Sequence[Check] = (
    sample.sees_the_future,
    sample.needs_more_bars,
    sample.no_trades,
    sample.few_trades,
    sample.short_history,
    sample.not_significant,
    sample.many_trials,
    sample.too_good,
    profit.one_symbol,
    profit.one_trade,
    profit.one_month,
    profit.from_gaps,
    profit.mostly_overnight,
    profit.open_profit,
    profit.long_tail,
    profit.fades,
    holding.worse_than_holding,
    holding.rarely_invested,
    holding.long_underwater,
    fills.costs_eat_the_edge,
    fills.costs_left_out,
    fills.breaks_when_fills_are_worse,
    fills.high_turnover,
    fills.beyond_capacity,
    fills.partly_filled,
    fills.filled_late,
    fills.stale_prices,
    setup.missing_bars,
    setup.unadjusted_jumps,
    setup.parameter_on_its_bound,
    setup.mostly_refused,
    setup.stopped_early,
    setup.without_risk_rules,
)
_ORDER = tuple(Severity)


def diagnose(evidence: Evidence) -> list[Diagnosis]:
    """Everything that was found, the gravest first."""
    found = [diagnosis for check in CHECKS if (diagnosis := check(evidence)) is not None]
    return sorted(found, key=lambda diagnosis: _ORDER.index(diagnosis.severity))
