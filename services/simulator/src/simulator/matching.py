"""Which order meets a bar first, and at what price?

The pure core between an order and a bar: `fill_rules` holds the arithmetic, the `book` keeps the
consequences. Nothing here changes anything.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from shared.domain.orders import OrderType, Side
from simulator import fill_rules


class TapeBar(NamedTuple):
    """One symbol's figures of one instant: dollars per share as float64 on the micro grid, shares."""

    open: float
    high: float
    low: float
    close: float
    volume: int


class Terms(NamedTuple):
    """What a bar needs to know of an order; `triggered` marks a stop that was touched earlier."""

    side: Side
    type: OrderType
    limit_price: Decimal | None
    stop_price: Decimal | None
    triggered: bool


def price_in(bar: TapeBar, terms: Terms, reference: float, slippage_bps: float) -> float | None:
    """The price at which `bar` fills an order of `terms`, or None.

    Args:
        reference: where the order meets the bar: its open, or for a bracket leg that came alive
            inside the bar the price of the entry that woke it.
    """
    if bar.volume <= 0:
        return None
    is_buy = terms.side is Side.BUY
    if terms.type is OrderType.MARKET or terms.triggered:
        return fill_rules.market_price(reference, is_buy, slippage_bps)
    if terms.type is OrderType.LIMIT:
        assert terms.limit_price is not None
        price = fill_rules.limit_price(
            float(terms.limit_price), reference, bar.high, bar.low, is_buy
        )
    else:
        assert terms.stop_price is not None
        price = fill_rules.stop_price(float(terms.stop_price), reference, bar.high, bar.low, is_buy)
    return None if price == fill_rules.NO_FILL else price


def turn(reduces: bool, group_sequence: int, kind: OrderType, sequence: int) -> tuple[int, ...]:
    """Sort key: exits before entries, then by submission, a pair's stop before its target."""
    return (0 if reduces else 1, group_sequence, 0 if kind is OrderType.STOP else 1, sequence)
