"""In whose shares is a price, and in whose is a position?

A split changes both, but hardly at one instant: prices from its ex-date on, the position once the broker has told of it
and the ledger has booked it. Splits that the market data knows and those that the ledger has booked go in; out comes
what a share of the position is worth until both agree, and why the symbol is left alone for so long. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from shared.domain.corporate_actions import Split

ONE = Decimal(1)
# The broker's day of a split and its ex-date in the market data lie this close together.
_APART = timedelta(days=7)
# Splits of so long ago are looked for in the ledger, whose week of the broker's activities is over by then; and those
# of the next days, since a broker may count anew on the evening before.
KNOWN_FOR = timedelta(days=30)
KNOWN_AHEAD = timedelta(days=5)
_NANO = Decimal("0.000000001")


@dataclass(frozen=True, slots=True)
class BookedSplit:
    """The ledger counts a symbol's shares anew: `ratio` present ones for each one before.

    `on` is the day that the broker names, `booked_at` when the ledger took it over.
    """

    ratio: Decimal
    on: date
    booked_at: datetime


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A share of the position is worth `factor` times the price, and why it is."""

    factor: Decimal
    why: str

    def worth(self, price: Decimal) -> Decimal:
        """Dollars per share of the position at `price`."""
        return (price * self.factor).quantize(_NANO)


def growth(booked: Iterable[BookedSplit], since_at: datetime) -> Decimal:
    """How many present shares one share of the ledger from `since_at` has become."""
    ratio = ONE
    for split in booked:
        if split.booked_at > since_at:
            ratio *= split.ratio
    return ratio


def unsettled(
    told: Iterable[Split],
    booked: Iterable[BookedSplit],
    *,
    today: date,
    priced_on: date,
    was_held: Callable[[date], bool],
) -> Unsettled | None:
    """Why price and position are not of the same shares; None when they are.

    Args:
        told: of the symbol, from the market data; the price counts those with an ex-date up to `today`.
        booked: of the symbol, from the ledger.
        priced_on: the day of the bar that the price is of.
        was_held: whether shares of the position were there before that day began: only those are counted anew.
    """
    left, factor, reasons = sorted(booked, key=lambda each: each.on), ONE, []
    for split in sorted(told, key=lambda each: each.ex_on):
        ratio = Decimal(split.ratio.numerator) / Decimal(split.ratio.denominator)
        match = next(
            (
                b
                for b in left
                if abs(b.on - split.ex_on) <= _APART and (b.ratio > ONE) == (ratio > ONE)
            ),
            None,
        )
        name = f"the split {split.new_rate.normalize():f}:{split.old_rate.normalize():f} of {split.ex_on}"
        if match is not None:
            left.remove(match)
            if split.ex_on > today:
                factor /= match.ratio
                reasons.append(f"{name} is booked, and prices follow")
        elif ratio != ONE and split.ex_on <= today and was_held(split.ex_on):
            factor *= ratio
            reasons.append(f"{name} is not booked yet")
    for extra in left:
        # The market data does not know of it: a bar from before the broker's day is of the shares before.
        if priced_on < extra.on:
            factor /= extra.ratio
            reasons.append(f"shares are counted anew since {extra.on}, and no bar is as new")
    return Unsettled(factor, "; ".join(reasons)) if reasons else None
