"""What does the broker's account activity beside trades do to cash and shares?

Dividends, interest, fees and transfers move cash by their `net_amount`. Splits, spin-offs, mergers and changes of a symbol
move shares; how many is not documented (the change, or what is held after it), so shares move only where an activity
explains exactly what the broker holds and we do not. A fraction that a split leaves may be paid out instead: it is sold after
the split, so that the split keeps its ratio and the shares that stay keep their own cost. Pure.
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
# What moves a fraction of a share that was paid out.
CASH_IN_LIEU = "CASH_IN_LIEU"


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
    # Whether it is the fraction that a split left and the broker paid out.
    is_fraction: bool = False

    @property
    def reason(self) -> str:
        """What moved the shares: the activity's kind, or that a fraction was paid out."""
        return CASH_IN_LIEU if self.is_fraction else self.activity.kind


def moves_between(
    ours: Decimal, theirs: Decimal, activities: Sequence[Activity]
) -> tuple[ShareMove, ...]:
    """How `activities`, all of one symbol, lead from our position to the broker's; empty when they do not."""
    told = [a for a in activities if a.moves_shares and not a.is_taken_back]
    gap = theirs - ours
    if not told or gap == ZERO:
        return ()
    if sum((a.quantity or ZERO for a in told), ZERO) == gap:
        return tuple(
            _fraction(a, a.quantity or ZERO, a.cash)
            if len(told) > 1 and _is_paid_fraction(a)
            else _move(a, a.quantity or ZERO)
            for a in told
        )
    # Also told as what is held after it.
    if len(told) == 1 and told[0].quantity == theirs:
        return (_move(told[0], gap),)
    return _without_fraction(ours, theirs, told)


def _without_fraction(
    ours: Decimal, theirs: Decimal, told: Sequence[Activity]
) -> tuple[ShareMove, ...]:
    """The moves of a split that left a fraction of a share, which the broker has paid out in cash, and its sale."""
    if any(one.kind not in SPLITS for one in told):
        return ()
    *first, last = (one.quantity or ZERO for one in told)
    was_told = [ours + sum(first, last)] + ([last] if not first else [])
    for after in was_told:
        if theirs != after.to_integral_value(ROUND_DOWN):
            continue
        moved = [*first, after - ours - sum(first, ZERO)]
        moves = [_move(one, quantity) for one, quantity in zip(told, moved, strict=True)]
        cash = sum((one.cash for one in told), ZERO)
        return (*moves, _fraction(told[-1], theirs - after, cash))
    return ()


def _fraction(activity: Activity, quantity: Decimal, cash: Decimal) -> ShareMove:
    """`quantity` shares that went (or, of a short position, came) for `cash`; what it was is not always told."""
    assert activity.symbol is not None
    price = -cash / quantity if cash * quantity < 0 else None
    return ShareMove(activity, activity.symbol, quantity, price, is_fraction=True)


def _move(activity: Activity, quantity: Decimal) -> ShareMove:
    assert activity.symbol is not None
    is_paid = activity.kind in CONVERSIONS and quantity < 0 < activity.cash
    price = activity.cash / -quantity if is_paid else None
    return ShareMove(activity, activity.symbol, quantity, price)


def _is_paid_fraction(activity: Activity) -> bool:
    """Whether one of several activities of a split is no leg of it but the payment of a fraction."""
    quantity = activity.quantity or ZERO
    return activity.kind in SPLITS and abs(quantity) < 1 and activity.cash * quantity < 0
