"""The risk manager's rules as scalars that a compiler takes.

`risk_manager.limits` and `risk_manager.sizing` answer with objects and sentences, which a compiled loop cannot make.
Each function here is the same arithmetic, operation by operation, with a bare answer; a property test holds each
equal to its original, so neither can change alone. Dollars and shares as float64; figures on the grid of a micro.
"""

from __future__ import annotations

from math import floor, isfinite, log, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from risk_manager.limits import LEAST_LEG_DISTANCE, PDT_DAY_TRADES, PDT_EQUITY, PDT_SESSIONS
from risk_manager.sizing import OPEN_GAP, SHORT_RESERVE
from shared.domain.arithmetic import GRID, NOISE, quantised

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Why an entry was refused; the order is the review's, so the first that fails names the refusal.
ACCEPTED = 0
MODE = 1
SHORT_NOT_ALLOWED = 2
SUPERSEDED = 3
SIGNAL_AGE = 4
EXIT_IN_PROGRESS = 5
ALREADY_HELD = 6
MARKET_HOURS = 7
SHORT_AVAILABILITY = 8
SYMBOL_HALTED = 9
DRAWDOWN = 10
DAILY_LOSS = 11
COOL_DOWN = 12
STOP_LOSS_GUARD = 13
DAILY_TRADES = 14
ORDERS_PER_MINUTE = 15
REPEATED_EXECUTION = 16
PATTERN_DAY_TRADER = 17
BRACKET_PRICES = 18
QUANTITY_ZERO = 19
POSITION_SIZE = 20
BUYING_POWER = 21
PORTFOLIO_RISK = 22
CORRELATION = 23
ORDER_VALUE = 24
ORDER_SHARES = 25
FAT_FINGER = 26
CONCURRENT_POSITIONS = 27
GROSS_EXPOSURE = 28
NET_EXPOSURE = 29
SECTOR_EXPOSURE = 30
STRATEGY_EXPOSURE = 31
STRATEGY_CAPITAL = 32
INTRADAY_MARGIN = 33
NO_CASH = 34
# The last is a backtest's own: cash is short at the open.
CODES = (
    "ACCEPTED",
    "MODE",
    "SHORT_NOT_ALLOWED",
    "SUPERSEDED",
    "SIGNAL_AGE",
    "EXIT_IN_PROGRESS",
    "ALREADY_HELD",
    "MARKET_HOURS",
    "SHORT_AVAILABILITY",
    "SYMBOL_HALTED",
    "DRAWDOWN",
    "DAILY_LOSS",
    "COOL_DOWN",
    "STOP_LOSS_GUARD",
    "DAILY_TRADES",
    "ORDERS_PER_MINUTE",
    "REPEATED_EXECUTION",
    "PATTERN_DAY_TRADER",
    "BRACKET_PRICES",
    "QUANTITY_ZERO",
    "POSITION_SIZE",
    "BUYING_POWER",
    "PORTFOLIO_RISK",
    "CORRELATION",
    "ORDER_VALUE",
    "ORDER_SHARES",
    "FAT_FINGER",
    "CONCURRENT_POSITIONS",
    "GROSS_EXPOSURE",
    "NET_EXPOSURE",
    "SECTOR_EXPOSURE",
    "STRATEGY_EXPOSURE",
    "STRATEGY_CAPITAL",
    "INTRADAY_MARGIN",
    "NO_CASH",
)

# How the wanted size is found; see `risk_manager.sizing.SizingMethod`.
FIXED_FRACTION = 0
RISK_PER_TRADE = 1
VOLATILITY_TARGET = 2
ATR = 3
KELLY = 4
METHODS = ("fixed_fraction", "risk_per_trade", "volatility_target", "atr", "kelly")


class Record(NamedTuple):
    """How the newest closed trades went (`risk_manager.sizing.TradeRecord`); dollars."""

    wins: int
    losses: int
    won: float
    lost: float


def fits_bracket(price: float, stop: float, target: float, is_short: bool) -> bool:
    """`limits.bracket_prices`."""
    if is_short:
        distance = min(stop - price, price - target, target)
    else:
        distance = min(price - stop, target - price)
    return distance >= LEAST_LEG_DISTANCE - NOISE


def fits_share_of_equity(dollars: float, equity: float, limit: float) -> bool:
    """`limits.position_size` of all that one symbol is worth; `limits.portfolio_risk` of all at risk.

    And the exposures: gross, net, of a sector and of a strategy.
    """
    usage = dollars / equity if equity > 0.0 else limit + 1.0
    return usage <= limit + NOISE


def fits_buying_power(cost: float, available: float, price: float) -> bool:
    """`limits.buying_power`."""
    return cost <= available + GRID + NOISE * price


def fits_order_value(value: float, limit: float) -> bool:
    """`limits.order_value`."""
    return value <= limit + GRID


def fits_order_shares(shares: float, limit: float) -> bool:
    """`limits.order_shares`."""
    return shares <= limit + NOISE


def fits_volume(shares: float, average: float, limit: float) -> bool:
    """`limits.fat_finger`; an average of 0 is not known."""
    return average > 0.0 and shares / average <= limit + NOISE


def fits_margin(committed: float, value: float, equity: float, maintenance_margin: float) -> bool:
    """`limits.intraday_margin`."""
    return (committed + value) * maintenance_margin <= equity + GRID


def has_fallen(equity: float, peak: float, limit: float) -> bool:
    """Whether `limits.drawdown` refuses."""
    return peak > 0.0 and (peak - equity) / peak > limit + NOISE


def has_lost(equity: float, day_equity: float, limit: float) -> bool:
    """Whether `limits.daily_loss` refuses."""
    return day_equity > 0.0 and (day_equity - equity) / day_equity > limit + NOISE


def has_rested(since_us: int, bar_us: int, limit_bars: int) -> bool:
    """`limits.cool_down`, so many microseconds of session time after the stop."""
    return since_us / bar_us >= limit_bars - NOISE


def may_day_trade(day_trades: int, equity: float) -> bool:
    """`limits.pattern_day_trader`."""
    return equity >= PDT_EQUITY or day_trades < PDT_DAY_TRADES


def day_trades_of(per_day: Ints, days: Ints, today: int) -> int:
    """Day trades of the newest sessions up to `today`, as the review counts them.

    Args:
        per_day: day trades by number of the day. `days`: the day's ordinal, oldest first.
    """
    found = 0
    for i in range(max(0, today - PDT_SESSIONS + 1), today + 1):
        if days[i] >= days[today] - 3 * PDT_SESSIONS:
            found += per_day[i]
    return found


def shares_by_size(equity: float, price: float, max_position_size: float) -> float:
    """What the share of one position in equity allows."""
    return max(0.0, equity * max_position_size / price)


def shares_by_cash(available_cash: float, price: float, is_short: bool) -> float:
    """What free cash allows when the open may gap up, of which the broker blocks more for a short sale."""
    gap = SHORT_RESERVE if is_short else OPEN_GAP
    return max(0.0, available_cash / (price * (1.0 + gap)))


def shares_by_risk(
    equity: float,
    portfolio_risk: float,
    price: float,
    stop: float,
    max_portfolio_risk: float,
    is_short: bool,
) -> float:
    """What may still be put at risk allows."""
    distance = stop - price if is_short else price - stop
    headroom = max(0.0, equity * max_portfolio_risk - portfolio_risk)
    return headroom / distance if distance > 0.0 else 0.0


def shares_by_room(room: float, price: float) -> float:
    """What so many dollars still allow."""
    return max(0.0, room / price)


def wanted_shares(
    method: int,
    equity: float,
    price: float,
    stop: float,
    scale: float,
    fraction: float,
    risk_per_trade: float,
    volatility_target: float,
    volatility: float,
    atr_multiple: float,
    true_range: float,
    bet: float,
    kelly_share: float,
    kelly_cap: float,
    is_short: bool,
) -> float:
    """`sizing.wanted`: fractional shares that a method asks for, before any limit.

    Args:
        scale: the conviction where it counts, else 1. `volatility`, `true_range`: 0 where unknown.
        bet: `sizing.kelly` of the record.
    """
    shares = 0.0
    if method == FIXED_FRACTION:
        shares = equity * fraction / price
    elif method == RISK_PER_TRADE:
        distance = stop - price if is_short else price - stop
        if distance > 0.0:
            shares = equity * risk_per_trade / distance
    elif method == VOLATILITY_TARGET:
        if volatility > 0.0:
            shares = equity * volatility_target / (volatility * price)
    elif method == ATR:
        if true_range > 0.0:
            shares = equity * risk_per_trade / (atr_multiple * true_range)
    else:
        shares = equity * min(kelly_share * bet, kelly_cap) / price
    shares = max(0.0, shares * scale)
    return shares if isfinite(shares) else 0.0


def price_on(price: float, before: float, now: float) -> float:
    """A price of a day on which a share had become `before` shares, in the shares of a day with `now`."""
    return price if before == now else quantised(price * before / now)


def in_shares_of(figure: Floats, factor: Floats, t: int, row: int, column: int) -> float:
    """The price in bar `t` in the shares of bar `row`.

    Args:
        factor: how many shares one share has become, shape of `figure`; of shape (0, 0) without any split.
    """
    price: float = figure[t, column]
    if factor.shape[0] == 0:
        return price
    return price_on(price, factor[t, column], factor[row, column])


def newest(
    close: Floats,
    figure: Floats,
    factor: Floats,
    row: int,
    column: int,
    count: int,
    found: Floats,
) -> int:
    """Write the figures of the newest `count` bars up to `row` into `found`, oldest first; how many there are.

    Args:
        close: shape (bars, symbols), NaN without a bar. `figure`: of the same shape.
        found: room for `count` values.
    """
    n = 0
    t = row
    while t >= 0 and n < count:
        if close[t, column] == close[t, column]:
            n += 1
        t -= 1
    at = 0
    for i in range(t + 1, row + 1):
        if close[i, column] == close[i, column]:
            found[at] = in_shares_of(figure, factor, i, row, column)
            at += 1
    return n


def session_volume(
    close: Floats,
    volumes: Floats,
    factor: Floats,
    row: int,
    column: int,
    count: int,
    bars_a_session: float,
) -> float:
    """Shares of an average session from the newest `count` bars up to `row`; 0 where there are none."""
    total = 0.0
    n = 0
    t = row
    while t >= 0 and n < count:
        # Whole numbers, so that their sum does not depend on their order.
        if close[t, column] == close[t, column]:
            if factor.shape[0] == 0:
                total += volumes[t, column]
            else:
                total += floor(volumes[t, column] * (factor[row, column] / factor[t, column]) + 0.5)
            n += 1
        t -= 1
    return total / n * bars_a_session if n > 0 else 0.0


def volatility_of(
    close: Floats,
    factor: Floats,
    row: int,
    column: int,
    count: int,
    bars_a_year: float,
    scratch: Floats,
) -> float:
    """`sizing.annual_volatility` of the newest `count` closes; 0 where there are too few to say.

    Args:
        scratch: room of shape (3, count) that is overwritten.
    """
    n = newest(close, close, factor, row, column, count, scratch[0]) - 1
    if n < 2:
        return 0.0
    earlier = log(scratch[0, 0])
    for i in range(n):
        later = log(scratch[0, i + 1])
        scratch[0, i] = later - earlier
        earlier = later
    total = 0.0
    for i in range(n):
        total += scratch[0, i]
    mean = total / n
    squares = 0.0
    for i in range(n):
        squares += (scratch[0, i] - mean) * (scratch[0, i] - mean)
    return sqrt(squares / (n - 1)) * sqrt(bars_a_year)


def true_range_of(
    high: Floats,
    low: Floats,
    close: Floats,
    factor: Floats,
    row: int,
    column: int,
    count: int,
    bars: int,
    scratch: Floats,
) -> float:
    """`sizing.average_true_range` over the newest `bars` of `count` bars; 0 where there are too few."""
    n = newest(close, high, factor, row, column, count, scratch[0])
    newest(close, low, factor, row, column, count, scratch[1])
    newest(close, close, factor, row, column, count, scratch[2])
    if n < bars + 1:
        return 0.0
    total = 0.0
    for i in range(n - bars, n):
        before = scratch[2, i - 1]
        total += max(
            scratch[0, i] - scratch[1, i], abs(scratch[0, i] - before), abs(scratch[1, i] - before)
        )
    return total / bars


def are_alike(
    close: Floats,
    factor: Floats,
    row: int,
    mine: int,
    other: int,
    count: int,
    limit: float,
    scratch: Floats,
) -> bool:
    """Whether `limits.correlation` would refuse `mine` beside `other` after bar `row`.

    Args:
        close: shape (bars, symbols), NaN without a bar.
        count: log returns to look at; fewer than half of them in common refuses as well.
        scratch: room of shape (2, count + 1) or more that is overwritten.
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
            scratch[0, found] = in_shares_of(close, factor, t, row, mine)
            scratch[1, found] = in_shares_of(close, factor, t, row, other)
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
