"""What does each word of the broker mean?

One row per documented status and one per documented event, as data. What is not in a table is not known: it is
stored as it came, the order is looked up, and nothing is concluded from it.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared.domain.orders import FINAL_STATUSES, OrderStatus


@dataclass(frozen=True, slots=True)
class StatusRow:
    """What may still happen to an order of that status; `rank` says how far on its way it is."""

    rank: int
    is_live: bool
    may_fill: bool
    can_cancel: bool
    can_replace: bool

    @property
    def is_final(self) -> bool:
        """Whether nothing can happen any more."""
        return not self.may_fill


def _row(
    rank: int,
    *,
    is_live: bool = True,
    may_fill: bool = True,
    can_cancel: bool = True,
    can_replace: bool = False,
) -> StatusRow:
    return StatusRow(rank, is_live, may_fill, can_cancel and may_fill, can_replace)


STATUSES: dict[OrderStatus, StatusRow] = {
    OrderStatus.PENDING_NEW: _row(0, is_live=False),
    OrderStatus.ACCEPTED: _row(1, is_live=False),
    OrderStatus.ACCEPTED_FOR_BIDDING: _row(2, is_live=False),
    OrderStatus.PENDING_REVIEW: _row(3, is_live=False),
    OrderStatus.HELD: _row(4, is_live=False),
    OrderStatus.NEW: _row(5, can_replace=True),
    OrderStatus.SUSPENDED: _row(6),
    OrderStatus.STOPPED: _row(7, can_cancel=False),
    OrderStatus.PARTIALLY_FILLED: _row(8, can_replace=True),
    OrderStatus.DONE_FOR_DAY: _row(9),
    OrderStatus.CALCULATED: _row(10, can_cancel=False),
    OrderStatus.PENDING_REPLACE: _row(11),
    OrderStatus.PENDING_CANCEL: _row(12),
    OrderStatus.REJECTED: _row(13, may_fill=False),
    OrderStatus.EXPIRED: _row(14, may_fill=False),
    OrderStatus.CANCELED: _row(15, may_fill=False),
    OrderStatus.REPLACED: _row(16, may_fill=False),
    OrderStatus.FILLED: _row(17, may_fill=False),
}
assert {s for s, row in STATUSES.items() if row.is_final} == FINAL_STATUSES


@dataclass(frozen=True, slots=True)
class EventRow:
    """What an event says of its order.

    `status` is where it leaves the order, None where it leaves it as it was; `is_execution` whether shares moved;
    `asks` whether only a look-up can tell what is true now.
    """

    status: OrderStatus | None
    is_execution: bool = False
    asks: bool = False


EVENTS: dict[str, EventRow] = {
    "pending_new": EventRow(OrderStatus.PENDING_NEW),
    "accepted": EventRow(OrderStatus.ACCEPTED),
    "held": EventRow(OrderStatus.HELD),
    "new": EventRow(OrderStatus.NEW),
    "partial_fill": EventRow(OrderStatus.PARTIALLY_FILLED, is_execution=True),
    "fill": EventRow(OrderStatus.FILLED, is_execution=True),
    "done_for_day": EventRow(OrderStatus.DONE_FOR_DAY),
    "canceled": EventRow(OrderStatus.CANCELED),
    "expired": EventRow(OrderStatus.EXPIRED),
    "replaced": EventRow(OrderStatus.REPLACED),
    "rejected": EventRow(OrderStatus.REJECTED),
    "stopped": EventRow(OrderStatus.STOPPED),
    "suspended": EventRow(OrderStatus.SUSPENDED),
    "calculated": EventRow(OrderStatus.CALCULATED),
    "pending_cancel": EventRow(OrderStatus.PENDING_CANCEL),
    "pending_replace": EventRow(OrderStatus.PENDING_REPLACE),
    # A request was refused after it had been taken: the order stands as it was, which only it can tell.
    "order_cancel_rejected": EventRow(None, asks=True),
    "order_replace_rejected": EventRow(None, asks=True),
    # The venue changed the order by itself.
    "restated": EventRow(None, asks=True),
}
