"""What does the broker's account activity beside trades do to cash and shares?

Dividends, interest, fees and transfers move cash by their `net_amount`. Splits, spin-offs, mergers and changes of a symbol
move shares; how many is not documented (the change, or what is held after it), so shares move only where an activity
explains exactly what the broker holds and we do not; a fraction that a split leaves may be paid out instead. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_DOWN, Decimal
from typing import Any

from shared.domain.symbols import Symbol

ZERO = Decimal(0)
# Lots keep what they cost and are counted anew.
SPLITS = frozenset({"SPLIT", "SSP"})
# Lots go over to another symbol, or for cash.
CONVERSIONS = frozenset({"NC", "SC", "MA", "REORG"})
_MOVES_SHARES = SPLITS | CONVERSIONS | {"SSO", "SPIN", "JNLS", "ACATS"}
_TAKEN_BACK = "canceled"


@dataclass(frozen=True, slots=True)
class Activity:
    """One non-trade activity in the broker's words; dollars and shares, None where it does not say."""

    activity_id: str
    kind: str
    on: date
    symbol: Symbol | None
    quantity: Decimal | None
    net_amount: Decimal | None
    status: str | None
    raw: Mapping[str, Any]

    @property
    def is_taken_back(self) -> bool:
        """Whether the broker has undone it."""
        return self.status == _TAKEN_BACK

    @property
    def moves_shares(self) -> bool:
        """Whether it is of a kind that changes how many shares are held."""
        return self.kind in _MOVES_SHARES and self.symbol is not None and bool(self.quantity)

    @property
    def cash(self) -> Decimal:
        """Dollars it brings."""
        return self.net_amount or ZERO


@dataclass(frozen=True, slots=True)
class ShareMove:
    """Shares that an activity adds (or takes), at dollars per share where cash was paid for them."""

    activity: Activity
    symbol: Symbol
    quantity: Decimal
    price: Decimal | None


def moves_between(
    ours: Decimal, theirs: Decimal, activities: Sequence[Activity]
) -> tuple[ShareMove, ...]:
    """How `activities`, all of one symbol, lead from our position to the broker's; empty when they do not."""
    told = [a for a in activities if a.moves_shares and not a.is_taken_back]
    gap = theirs - ours
    if not told or gap == ZERO:
        return ()
    if sum((a.quantity or ZERO for a in told), ZERO) == gap:
        return tuple(_move(a, a.quantity or ZERO) for a in told)
    # Also told as what is held after it.
    if len(told) == 1 and told[0].quantity == theirs:
        return (_move(told[0], gap),)
    return _without_fraction(ours, theirs, told)


def _without_fraction(
    ours: Decimal, theirs: Decimal, told: Sequence[Activity]
) -> tuple[ShareMove, ...]:
    """The moves of a split that left a fraction of a share, which the broker has paid out in cash."""
    if any(one.kind not in SPLITS for one in told):
        return ()
    *first, last = (one.quantity or ZERO for one in told)
    was_told = {ours + sum(first, last)} | ({last} if not first else set())
    if theirs not in {quantity.to_integral_value(ROUND_DOWN) for quantity in was_told}:
        return ()
    moved = [*first, theirs - ours - sum(first, ZERO)]
    return tuple(_move(one, quantity) for one, quantity in zip(told, moved, strict=True))


def _move(activity: Activity, quantity: Decimal) -> ShareMove:
    assert activity.symbol is not None
    is_paid = activity.kind in CONVERSIONS and quantity < 0 < activity.cash
    price = activity.cash / -quantity if is_paid else None
    return ShareMove(activity, activity.symbol, quantity, price)
