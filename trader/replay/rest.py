"""Is a step of a replay over?

Pure comparison of what the simulator's book says with what the services have stored. A step is over when no
service has anything left to do and the executor's books equal the venue's. The services know nothing
of steps, so this reads only what they store anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum


class Phase(StrEnum):
    """The three steps that each instant of a replay has."""

    OPEN = "OPEN"
    FILL = "FILL"
    CLOSE = "CLOSE"


@dataclass(frozen=True, slots=True)
class Step:
    """What the simulator did last."""

    number: int
    phase: Phase
    venue_at: datetime
    instant_at: datetime
    finished: bool


@dataclass(frozen=True, slots=True)
class BookLine:
    """One order's state: as the venue has it, or as we stored it."""

    status: str
    filled_quantity: Decimal
    fills: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far each stage has come, from one snapshot of the database.

    Heads are the newest ids written, positions the newest ids read; 0 where there is nothing. `screen_due_at` is when
    the screen was due that was attempted last.
    """

    executor_state: str
    pending_work: int
    newest_batch_end_at: datetime | None
    batch_head: int
    strategy_position: int
    evaluation_head: int
    risk_position: int
    manual_head: int
    manual_position: int
    review_head: int
    executor_position: int
    screen_due_at: datetime | None = None


def unfinished(step: Step, progress: Progress, screen_due_at: datetime | None = None) -> str | None:
    """Name the first stage that still has work for `step`, or None when all are at rest.

    Args:
        screen_due_at: since when a screen is due; None while none is. One that failed is no work any more.
    """
    if screen_due_at is not None and (
        progress.screen_due_at is None or progress.screen_due_at < screen_due_at
    ):
        return "data_collector has not taken the screen"
    if step.phase is Phase.CLOSE and (
        progress.newest_batch_end_at is None or progress.newest_batch_end_at < step.instant_at
    ):
        return "data_collector has not announced the bars"
    if progress.strategy_position < progress.batch_head:
        return "strategy_engine has not evaluated the bars"
    if progress.risk_position < progress.evaluation_head:
        return "risk_manager has not reviewed the signals"
    if progress.manual_position < progress.manual_head:
        return "risk_manager has not reviewed a manual order"
    if progress.executor_position < progress.review_head:
        return "trade_executor has not read the decisions"
    if progress.executor_state != "READY":
        return f"trade_executor is {progress.executor_state or 'not there'}"
    if progress.pending_work:
        return f"trade_executor has {progress.pending_work} orders in work"
    return None


def difference(venue: Mapping[str, BookLine], ours: Mapping[str, BookLine]) -> str | None:
    """Name the first order whose stored state is not the venue's, or None when all agree."""
    for order_id, line in venue.items():
        stored = ours.get(order_id)
        if stored is None:
            return f"order {order_id} of the venue is not stored"
        if stored != line:
            return (
                f"order {order_id} is {line.status} {line.filled_quantity} in {line.fills} fills at "
                f"the venue, stored as {stored.status} {stored.filled_quantity} in {stored.fills}"
            )
    return None
