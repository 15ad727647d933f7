"""The risk manager's rules as scalars that a compiler takes.

`risk_manager.limits` and `risk_manager.sizing` answer with objects and sentences, which a compiled loop cannot make.
Each function here is the same arithmetic, operation by operation, with a bare answer; a property test holds each
equal to its original, so neither can change alone. Dollars and shares as float64; figures on the grid of a micro.
"""

from __future__ import annotations

from math import floor, log, sqrt

import numpy as np
from numpy.typing import NDArray

from risk_manager.limits import LEAST_LEG_DISTANCE
from risk_manager.sizing import OPEN_GAP
from shared.domain.arithmetic import NOISE

Floats = NDArray[np.float64]

# Why an entry was refused; the order is the review's, so the first that fails names the refusal.
ACCEPTED = 0
MODE = 1
EXIT_IN_PROGRESS = 2
ALREADY_HELD = 3
MARKET_HOURS = 4
DRAWDOWN = 5
DAILY_TRADES = 6
BRACKET_PRICES = 7
QUANTITY_ZERO = 8
POSITION_SIZE = 9
BUYING_POWER = 10
PORTFOLIO_RISK = 11
CORRELATION = 12
NO_CASH = 13
CODES = (
    "ACCEPTED",
    "MODE",
    "EXIT_IN_PROGRESS",
    "ALREADY_HELD",
    "MARKET_HOURS",
    "DRAWDOWN",
    "DAILY_TRADES",
    "BRACKET_PRICES",
    "QUANTITY_ZERO",
    "POSITION_SIZE",
    "BUYING_POWER",
    "PORTFOLIO_RISK",
    "CORRELATION",
    "NO_CASH",
)


def fits_bracket(price: float, stop: float, target: float) -> bool:
    """`limits.bracket_prices`."""
    distance = min(price - stop, target - price)
    return distance >= LEAST_LEG_DISTANCE - NOISE


def fits_share_of_equity(dollars: float, equity: float, limit: float) -> bool:
    """`limits.position_size` of all that one symbol is worth; `limits.portfolio_risk` of all at risk."""
    usage = dollars / equity if equity > 0.0 else limit + 1.0
    return usage <= limit + NOISE


def fits_buying_power(cost: float, available: float, price: float) -> bool:
    """`limits.buying_power`."""
    return cost <= available + NOISE * price


def shares_by_size(equity: float, price: float, max_position_size: float) -> float:
    """What the share of one position in equity allows."""
    return max(0.0, equity * max_position_size / price)


def shares_by_cash(available_cash: float, price: float) -> float:
    """What free cash allows when the open may gap up."""
    return max(0.0, available_cash / (price * (1.0 + OPEN_GAP)))


def shares_by_risk(
    equity: float, portfolio_risk: float, price: float, stop: float, max_portfolio_risk: float
) -> float:
    """What may still be put at risk allows."""
    headroom = max(0.0, equity * max_portfolio_risk - portfolio_risk)
    return headroom / (price - stop) if price > stop else 0.0


def are_alike(
    close: Floats, row: int, mine: int, other: int, count: int, limit: float, scratch: Floats
) -> bool:
    """Whether `limits.correlation` would refuse `mine` beside `other` after bar `row`.

    Args:
        close: shape (bars, symbols), NaN without a bar.
        count: log returns to look at; fewer than half of them in common refuses as well.
        scratch: room of shape (2, count + 1) that is overwritten.
    """
    found = 0
    own_mine = 0
    own_other = 0
    t = row
    while t >= 0 and own_mine <= count and own_other <= count:
        a = close[t, mine]
        b = close[t, other]
        if a == a:
            own_mine += 1
        if b == b:
            own_other += 1
        if a == a and b == b:
            scratch[0, found] = a
            scratch[1, found] = b
            found += 1
        t -= 1
    # One symbol's window may reach further back than the other's: what lies in both is all there is.
    n = found - 1
    if n < max(count // 2, 2):
        return True
    # Newest first as found; turned around in place, since the sums must run oldest first.
    for i in range(found // 2):
        j = found - 1 - i
        for s in range(2):
            kept = scratch[s, i]
            scratch[s, i] = scratch[s, j]
            scratch[s, j] = kept
    for s in range(2):
        earlier = log(scratch[s, 0])
        for i in range(n):
            later = log(scratch[s, i + 1])
            scratch[s, i] = later - earlier
            earlier = later
    return abs(coefficient(scratch[0], scratch[1], n)) > limit + NOISE


def coefficient(xs: Floats, ys: Floats, n: int) -> float:
    """`limits.correlation_of` of the first `n` values."""
    mean_x = 0.0
    mean_y = 0.0
    for i in range(n):
        mean_x += xs[i]
        mean_y += ys[i]
    mean_x /= n
    mean_y /= n
    xx = 0.0
    yy = 0.0
    xy = 0.0
    for i in range(n):
        dx = xs[i] - mean_x
        dy = ys[i] - mean_y
        xx += dx * dx
        yy += dy * dy
        xy += dx * dy
    if xx <= 0.0 or yy <= 0.0:
        return 0.0
    return max(-1.0, min(1.0, xy / (sqrt(xx) * sqrt(yy))))


def whole(shares: float) -> float:
    """Whole shares in `shares`, as `shared.domain.arithmetic.whole_shares` has them."""
    found = floor(shares + NOISE)
    return float(found) if found > 0 else 0.0


def parts(shares: float) -> float:
    """Millionths of a share in `shares`, the finest that is traded."""
    found = floor(shares * 1_000_000.0 + NOISE)
    return found / 1_000_000.0 if found > 0 else 0.0
