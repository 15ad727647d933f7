"""Which order meets a bar first, and at what price?

The pure core between an order and a bar: `fill_rules` holds the arithmetic, the `book` keeps the
consequences. Nothing here changes anything.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from shared.domain.orders import OrderType, Side
from simulator import fill_rules

_CENT = Decimal("0.01")


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
    if terms.type is OrderType.MARKET or (terms.triggered and not terms.type.has_limit):
        return fill_rules.market_price(reference, is_buy, slippage_bps)
    if terms.type is OrderType.LIMIT or terms.triggered:
        assert terms.limit_price is not None
        price = fill_rules.limit_price(
            float(terms.limit_price), reference, bar.high, bar.low, is_buy
        )
        return None if price == fill_rules.NO_FILL else price
    assert terms.stop_price is not None
    price = fill_rules.stop_price(float(terms.stop_price), reference, bar.high, bar.low, is_buy)
    if price == fill_rules.NO_FILL or terms.type is not OrderType.STOP_LIMIT:
        return None if price == fill_rules.NO_FILL else price
    # Touched, it is a limit order from there on; what the bar did afterwards nobody can know.
    assert terms.limit_price is not None
    limit = float(terms.limit_price)
    is_within = price <= limit if is_buy else price >= limit
    return price if is_within else None


def trailing_stop(
    mark: Decimal, side: Side, trail_price: Decimal | None, trail_percent: Decimal | None
) -> Decimal:
    """Where a trailing stop stands while the best price was `mark`, in whole cents."""
    away = trail_price if trail_price is not None else mark * (trail_percent or Decimal(0)) / 100
    return (mark - away if side is Side.SELL else mark + away).quantize(_CENT)


def is_touched(bar: TapeBar, terms: Terms, reference: float) -> bool:
    """Whether `bar` wakes an order that sleeps until its stop is touched."""
    if bar.volume <= 0 or terms.triggered or not terms.type.is_triggered:
        return False
    assert terms.stop_price is not None
    is_buy = terms.side is Side.BUY
    price = fill_rules.stop_price(float(terms.stop_price), reference, bar.high, bar.low, is_buy)
    return price != fill_rules.NO_FILL


def is_crossed(close: Decimal, terms: Terms) -> bool:
    """Whether the closing auction at `close` takes an order of `terms`."""
    if terms.limit_price is None:
        return True
    return close <= terms.limit_price if terms.side is Side.BUY else close >= terms.limit_price


def turn(reduces: bool, group_sequence: int, kind: OrderType, sequence: int) -> tuple[int, ...]:
    """Sort key: exits before entries, then by submission, a pair's stop before its target."""
    return (0 if reduces else 1, group_sequence, 0 if kind.is_triggered else 1, sequence)
