"""At what price, and how many shares, does one bar let one order fill?

Scalar float64 rules, built only from + - * / floor and comparisons, so that a compiler and the
interpreter agree to the last bit: simulator and backtests share them. They know no order, book or
clock. Prices are dollars per share on the grid of a micro; NO_FILL means the bar does not fill.
"""

from __future__ import annotations

from math import floor

from shared.domain.arithmetic import NOISE, to_tick

# A negative price cannot occur, so it stands for "no fill" where a compiled rule cannot return None.
NO_FILL = -1.0
# A price stays above zero however far slippage takes it: one tick below a dollar.
LEAST_PRICE = 0.0001


def market_price(reference: float, is_buy: bool, slippage_bps: float) -> float:
    """Where a market order fills: at `reference` (the bar's open), moved against its sender."""
    moved = slippage_bps / 10_000.0
    price = to_tick(reference * (1.0 + moved) if is_buy else reference * (1.0 - moved))
    return price if price > LEAST_PRICE else LEAST_PRICE


def limit_price(limit: float, reference: float, high: float, low: float, is_buy: bool) -> float:
    """Where a limit order fills: only when the bar traded through it; a gap gives the better open."""
    if is_buy:
        if low >= limit:
            return NO_FILL
        return reference if reference < limit else limit
    if high <= limit:
        return NO_FILL
    return reference if reference > limit else limit


def stop_price(stop: float, reference: float, high: float, low: float, is_buy: bool) -> float:
    """Where a stop order fills once touched: the worse of stop and `reference`, as gaps hurt."""
    if is_buy:
        if high < stop and reference < stop:
            return NO_FILL
        return reference if reference > stop else stop
    if low > stop and reference > stop:
        return NO_FILL
    return reference if reference < stop else stop


def volume_cap(volume: float, share: float) -> float:
    """Whole shares that one bar gives to all orders together: at least one where anything traded."""
    if volume <= 0.0:
        return 0.0
    shares = floor(volume * share + NOISE)
    return float(shares) if shares >= 1 else 1.0
