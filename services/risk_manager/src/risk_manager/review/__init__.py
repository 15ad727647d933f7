"""What is the answer to each wish?

Everything wished for at one instant goes in with one snapshot of the account; approvals and refusals come out,
each with all its checks. Exits go first, then entries by conviction, then symbol; each approval counts before the
next wish is looked at, so no two share the last of the room. The pipeline, `POST /risk/validate` and flatten
take this one road. Pure: the same inputs give the same answers, in live trading as in a backtest.

How exits meet entries that have not filled: an exit is approved for all that is held *and* all that may still
fill. The executor cancels what is open, then sells what was filled, which may be nothing.
"""

from __future__ import annotations

from risk_manager.review.case import Decision, Outcome, Venue, decision_id
from risk_manager.review.road import (
    flatten_source,
    review_evaluation,
    review_flatten,
    review_manual,
    source_of,
)

__all__ = [
    "Decision",
    "Outcome",
    "Venue",
    "decision_id",
    "flatten_source",
    "review_evaluation",
    "review_flatten",
    "review_manual",
    "source_of",
]
