"""Which refusals were given before, and need not be told whole again?

A strategy may wish for the same at every bar and be refused for the same reason. The first refusal is kept with every
check and figure; the ones that follow keep the check that failed and their number in the row, a tenth of the size, and
are not logged. What changes the answer (another reason, an approval) ends the row. Bounded; pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from risk_manager.review import Decision, Outcome
from shared.domain.decisions import Approved, Refused

# Far more than strategies times symbols of a desk; the oldest rows are forgotten, and told whole once more.
MOST_ROWS = 10_000
_KEPT = ("mode_version", "limits_version", "price")
REPEATS = "repeats"

Row = tuple[str, str, str]
Rows = Mapping[Row, tuple[str, int]]
"""Whose wish in which symbol for what; the reason it was refused for, and how often in a row."""


def muted(outcome: Outcome, rows: Rows) -> tuple[Outcome, Rows]:
    """`outcome` with repeated refusals cut short, and the rows as they are after it."""
    after = dict(rows)
    decisions = tuple(_told(decision, after) for decision in outcome.decisions)
    while len(after) > MOST_ROWS:
        del after[next(iter(after))]
    refused = tuple(d.answer for d in decisions if isinstance(d.answer, Refused))
    return replace(
        outcome, decisions=decisions, review=replace(outcome.review, refused=refused)
    ), after


def is_repeat(decision: Decision) -> bool:
    """Whether it was told before."""
    return REPEATS in decision.figures


def _told(decision: Decision, rows: dict[Row, tuple[str, int]]) -> Decision:
    answer = decision.answer
    row = (decision.strategy, answer.symbol, answer.purpose.value)
    known = rows.pop(row, None)
    if isinstance(answer, Approved):
        return decision
    code = answer.reason_code
    count = known[1] + 1 if known is not None and known[0] == code else 1
    rows[row] = (code, count)
    if count == 1:
        return decision
    failed = tuple(check for check in answer.checks if not check.passed)
    figures = {name: decision.figures[name] for name in _KEPT if name in decision.figures}
    return replace(
        decision,
        answer=replace(answer, checks=failed),
        figures={**figures, REPEATS: str(count)},
    )
