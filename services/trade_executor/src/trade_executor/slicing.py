"""Into which orders is an approval cut?

An approval is the parent order: what risk has granted, with its decision's id. Its children are intents of that decision and
leg, told apart by their generation, each with its part of the quantity and the instant from which it may leave. Everything
behind that (sending, proof of what is unknown, booking, exposure) sees children alone, and none of them outlives the
parent's hours. Today every order leaves at once; a schedule over time is another `Slicing`. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from shared.domain.decisions import Approved, Purpose
from shared.domain.errors import InvalidInput
from shared.domain.money import plain

MAX_CHILDREN = 1_000


@dataclass(frozen=True, slots=True)
class Child:
    """One order of an approval: shares, and the instant from which it may leave."""

    quantity: Decimal
    act_from: datetime


Slicing = Callable[[Approved], tuple[Child, ...]]


def at_once(approved: Approved) -> tuple[Child, ...]:
    """One order for all of it."""
    return (Child(approved.quantity, approved.act_from),)


def children_of(approved: Approved, slicing: Slicing) -> tuple[Child, ...]:
    """The orders that `approved` is sent as.

    Whole are always exits, which clear their own way, entries with exits of their own, whose legs guard one fill, and
    sums of money.

    Raises:
        InvalidInput: the children are not the whole of it, or one of them lies outside its hours.
    """
    is_bare = approved.stop_loss is None and approved.take_profit is None
    if approved.purpose is not Purpose.ENTRY or not is_bare or approved.terms.notional is not None:
        return at_once(approved)
    children = slicing(approved)
    total = sum((child.quantity for child in children), Decimal(0))
    is_inside = all(
        child.quantity > 0 and approved.act_from <= child.act_from <= approved.act_until
        for child in children
    )
    if total != approved.quantity or not is_inside or len(children) > MAX_CHILDREN:
        raise InvalidInput(
            f"decision {approved.decision_id} was cut into {len(children)} orders for {plain(total)} of "
            f"{plain(approved.quantity)} shares; the parts must add up and lie within its hours"
        )
    return children
