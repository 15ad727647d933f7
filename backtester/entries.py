"""May an entry be made, and how large is it?

The risk manager's rules (`risk_rules`) put to the state of a backtest's account: at the close that decides, as live, or at
the open for the sizings that live trading does not know.
"""

from __future__ import annotations

from math import floor

import numpy as np

from backtester import risk_rules
from backtester.terms import (
    BY_RISK,
    BY_SLOTS,
    ENTRY,
    MICROS,
    SPLIT,
    Bars,
    Floats,
    Ints,
    Listed,
    Terms,
    micros,
)
from risk_manager import sizing
from risk_manager.limits import MOST_RECENT
from risk_manager.sizing import OPEN_GAP, SHORT_RESERVE
from shared.domain.arithmetic import NOISE, quantised

# A price of a micro times whole shares times 1.04 is a whole number of these; see `Working.cash` live.
_CASH_UNITS = 100_000_000.0
GAP_PERCENT = float(floor(100.0 * (1.0 + OPEN_GAP) + 0.5))
SHORT_GAP_PERCENT = float(floor(100.0 * (1.0 + SHORT_RESERVE) + 0.5))
MICROS_IN_GAP_UNITS = 100.0
# What the broker asks to be free for a dollar sold short; the simulator's rule.
SHORT_MARGIN = 1.03
# What an entry that waits for its open says in place of a quantity.
UNSIZED = -1.0


def note_stop(guard: Ints, n: int, column: int, clock: int, is_known: bool) -> int:
    """Keep a stop that was hit among the newest, oldest first; how many are kept then.

    Args:
        guard: columns and session times, shape (2, most). `is_known`: the same order was hit before.
    """
    found = -1
    if is_known:
        for i in range(n):
            if guard[0, i] == column:
                found = i
    if found < 0:
        found = 0
        if n < guard.shape[1]:
            n += 1
            found = n - 1
    for i in range(found, n - 1):
        guard[0, i] = guard[0, i + 1]
        guard[1, i] = guard[1, i + 1]
    guard[0, n - 1] = column
    guard[1, n - 1] = clock
    return n


def note_deal(dealt_on: Ints, day_trades: Ints, day: int, column: int, is_sale: bool) -> None:
    """Count a symbol that is bought and sold on one day, once."""
    dealt_on[1 if is_sale else 0, column] = day
    if dealt_on[0, column] == dealt_on[1, column] and dealt_on[2, column] != day:
        dealt_on[2, column] = day
        day_trades[day] += 1


def newest_close(close: Floats, row: int, column: int) -> float:
    """The close of the newest bar up to `row`."""
    while row > 0 and close[row, column] != close[row, column]:
        row -= 1
    return float(close[row, column])


def in_sector(
    listed: Listed,
    column: int,
    row: int,
    opens: Floats,
    live: Ints,
    n_live: int,
    queue: Ints,
    n_queue: int,
    held: Floats,
    newest: Floats,
    wanted: Floats,
    sized_at: Floats,
    at_close: bool,
) -> float:
    """Micros held and on order in the sector of `column`, at the close or at the open of `row`."""
    found = 0.0
    for i in range(n_live):
        k = live[i]
        if listed.sector[k] == listed.sector[column]:
            price = newest[k]
            if not at_close and opens[row, k] == opens[row, k]:
                price = float(opens[row, k])
            found += abs(micros(held[k] * price))
    for i in range(n_queue):
        k = queue[i]
        if listed.sector[k] == listed.sector[column] and wanted[k] > 0.0:
            price = max(sized_at[k], newest[k]) if at_close else sized_at[k]
            found += micros(wanted[k] * price)
    return found


def usual_volume(
    close: Floats,
    volumes: Floats,
    factor: Floats,
    row: int,
    column: int,
    most: float,
    terms: Terms,
) -> float:
    """Shares of an average session up to `row`, or infinity where that many cannot limit `most` shares.

    One bar is at least its part of the average, and mostly says enough: sixty bars of another column cost more than
    all else that an entry is asked.
    """
    rules = terms.rules
    count = rules.correlation_bars + 1
    if row >= 0 and factor.shape[0] == 0 and close[row, column] == close[row, column]:
        least = float(volumes[row, column]) / count * rules.bars_a_session
        if max(most, 1.0) <= least * rules.max_volume_share * (1.0 - NOISE):
            return np.inf
    return risk_rules.session_volume(
        close, volumes, factor, row, column, count, rules.bars_a_session
    )


def record_of(fills: Floats, n_fills: int, reckoned: Floats) -> risk_rules.Record:
    """How the trades went that the newest fills made whole, as `risk_manager.attribution` has it.

    Args:
        reckoned: room of shape (2, symbols) that is overwritten.
    """
    cost, held = reckoned[0], reckoned[1]
    for k in range(len(cost)):
        cost[k] = held[k] = 0.0
    wins = 0
    losses = 0
    won = 0.0
    lost = 0.0
    for i in range(max(0, n_fills - MOST_RECENT), n_fills):
        k = int(fills[1, i])
        side = fills[7, i]
        paid = side * micros(fills[3, i] * fills[4, i]) + micros(fills[5, i])
        if fills[2, i] == SPLIT:
            if held[k] != 0.0:
                held[k] = quantised(held[k] + fills[3, i])
        elif fills[2, i] == ENTRY:
            held[k] += side * fills[3, i]
            cost[k] += paid
        elif held[k] != 0.0:
            held[k] = quantised(held[k] + side * fills[3, i])
            cost[k] += paid
            if held[k] == 0.0:
                if cost[k] < 0.0:
                    wins += 1
                    won -= cost[k]
                else:
                    losses += 1
                    lost += cost[k]
                cost[k] = 0.0
    return risk_rules.Record(wins, losses, won / MICROS, lost / MICROS)


def wanted_by_method(
    bars: Bars,
    factor: Floats,
    fills: Floats,
    n_fills: int,
    row: int,
    column: int,
    equity: float,
    price: float,
    stop: float,
    is_short: bool,
    scale: float,
    terms: Terms,
    scratch: Floats,
    reckoned: Floats,
) -> float:
    """Shares that the method of the settings asks for, before any limit."""
    rules = terms.rules
    volatility = 0.0
    true_range = 0.0
    bet = 0.0
    # The same bars as correlations are made of.
    count = rules.correlation_bars + 1
    if rules.method == risk_rules.VOLATILITY_TARGET:
        volatility = risk_rules.volatility_of(
            bars.close, factor, row, column, count, rules.bars_a_year, scratch
        )
    elif rules.method == risk_rules.ATR:
        true_range = risk_rules.true_range_of(
            bars.high, bars.low, bars.close, factor, row, column, count, rules.atr_bars, scratch
        )
    elif rules.method == risk_rules.KELLY:
        bet = sizing.kelly(record_of(fills, n_fills, reckoned))  # type: ignore[arg-type]
    return risk_rules.wanted_shares(
        rules.method,
        equity,
        price,
        stop,
        scale,
        rules.fraction,
        rules.risk_per_trade,
        rules.volatility_target,
        volatility,
        rules.atr_multiple,
        true_range,
        bet,
        rules.kelly_share,
        rules.kelly_cap,
        is_short,
    )


def risk_of(shares: float, value: float, price: float, bracket: bool, stop: float) -> float:
    """Micros lost from here if the stop were hit; without one all of it counts (`Holding.risk`).

    While an exit is under way the stop counts on, as what was decided for these shares.
    """
    if not bracket:
        return abs(value)
    return abs(shares) * max(
        0.0, micros(price) - micros(stop) if shares > 0.0 else micros(stop) - micros(price)
    )


def reserved_for(shares: float, price: float, is_short: bool) -> float:
    """Hundredths of a micro that an entry on order may come to bind (`Working.cash`)."""
    return shares * micros(price) * (SHORT_GAP_PERCENT if is_short else GAP_PERCENT)


def open_risk(shares: float, price: float, stop: float, bracket: bool, is_short: bool) -> float:
    """Micros lost if an entry fills at `price` and its stop is hit (`Working.risk`)."""
    if not bracket:
        return micros(shares * price)
    if is_short:
        return shares * max(0.0, micros(stop) - micros(price))
    return shares * max(0.0, micros(price) - micros(stop))


def size_at_close(
    price: float,
    stop: float,
    is_short: bool,
    equity: float,
    cash: float,
    reserved: float,
    at_risk: float,
    committed_micros: float,
    net_micros: float,
    sector_micros: float,
    has_sector: bool,
    volume: float,
    wanted: float,
    terms: Terms,
) -> tuple[float, int]:
    """Shares that keep every limit, decided as live, and why there are none (`risk_rules`).

    Args:
        equity: dollars. `cash`, `at_risk`, `committed_micros`, `sector_micros`: micros. `reserved`: hundredths of one.
        net_micros: what may come to be held net on the order's own side, above zero (`Exposure.net_on`).
        volume: shares of an average session. `wanted`: fractional shares that the method asks for.
    """
    rules = terms.rules
    risk = quantised(at_risk / MICROS)
    committed = quantised(committed_micros / MICROS)
    net = quantised(net_micros / MICROS)
    available = quantised((cash * MICROS_IN_GAP_UNITS - reserved) / _CASH_UNITS)
    by_size = risk_rules.shares_by_size(equity, price, rules.max_position_size)
    least = min(
        wanted,
        by_size,
        risk_rules.shares_by_cash(available, price, is_short),
        risk_rules.shares_by_risk(equity, risk, price, stop, rules.max_portfolio_risk, is_short),
        shares_by_rooms(price, equity, committed, net, sector_micros, has_sector, volume, terms),
    )
    shares = risk_rules.whole(least)
    # Where there is no room for one, the rules say what one share would have needed.
    tried = max(shares, 1.0)
    if not min(by_size, wanted) + NOISE >= 1.0:
        return 0.0, risk_rules.QUANTITY_ZERO
    value = quantised(tried * micros(price) / MICROS)
    if not risk_rules.fits_share_of_equity(value, equity, rules.max_position_size):
        return 0.0, risk_rules.POSITION_SIZE
    cost = quantised(reserved_for(tried, price, is_short) / _CASH_UNITS)
    if not risk_rules.fits_buying_power(cost, available, quantised(cost / tried)):
        return 0.0, risk_rules.BUYING_POWER
    order_risk = quantised(open_risk(tried, price, stop, True, is_short) / MICROS)
    if not risk_rules.fits_share_of_equity(risk + order_risk, equity, rules.max_portfolio_risk):
        return 0.0, risk_rules.PORTFOLIO_RISK
    return shares, risk_rules.ACCEPTED


def shares_by_rooms(
    price: float,
    equity: float,
    committed: float,
    net: float,
    sector_micros: float,
    has_sector: bool,
    volume: float,
    terms: Terms,
) -> float:
    """Fractional shares that the limits allow which are not about cash, risk or one position.

    The account has one strategy, so that all that is committed is the strategy's. `net` counts what is on the
    order's own side above zero.
    """
    rules = terms.rules
    room = min(
        rules.max_order_value,
        rules.max_order_shares * price,
        rules.max_volume_share * volume * price,
        equity * rules.max_gross_exposure - committed,
        equity * rules.max_net_exposure - net,
        equity * rules.max_strategy_exposure - committed,
        equity / rules.maintenance_margin - committed,
    )
    if has_sector:
        room = min(room, equity * rules.max_sector_exposure - quantised(sector_micros / MICROS))
    if rules.strategy_capital >= 0.0:
        room = min(room, equity * rules.strategy_capital - committed)
    return risk_rules.shares_by_room(room, price)


def refusal_after_correlation(
    shares: float,
    price: float,
    equity: float,
    committed_micros: float,
    net_micros: float,
    sector_micros: float,
    has_sector: bool,
    volume: float,
    symbols: int,
    terms: Terms,
) -> int:
    """The first rule of the review's second half that refuses an entry, decided at the close.

    Args:
        shares: UNSIZED where the size is found at the open, which keeps all these but one.
        symbols: held or on order, this one included. The rest as for `size_at_close`.
    """
    rules = terms.rules
    if shares == UNSIZED:
        fits = symbols <= rules.max_positions
        return risk_rules.ACCEPTED if fits else risk_rules.CONCURRENT_POSITIONS
    tried = max(shares, 1.0)
    value = quantised(tried * micros(price) / MICROS)
    committed = quantised(committed_micros / MICROS)
    used = committed + value
    code = risk_rules.ACCEPTED
    if not risk_rules.fits_order_value(value, rules.max_order_value):
        code = risk_rules.ORDER_VALUE
    elif not risk_rules.fits_order_shares(tried, rules.max_order_shares):
        code = risk_rules.ORDER_SHARES
    elif not risk_rules.fits_volume(tried, volume, rules.max_volume_share):
        code = risk_rules.FAT_FINGER
    elif symbols > rules.max_positions:
        code = risk_rules.CONCURRENT_POSITIONS
    elif not risk_rules.fits_share_of_equity(used, equity, rules.max_gross_exposure):
        code = risk_rules.GROSS_EXPOSURE
    elif not risk_rules.fits_share_of_equity(
        quantised(net_micros / MICROS) + value, equity, rules.max_net_exposure
    ):
        code = risk_rules.NET_EXPOSURE
    elif has_sector and not risk_rules.fits_share_of_equity(
        quantised(sector_micros / MICROS) + value, equity, rules.max_sector_exposure
    ):
        code = risk_rules.SECTOR_EXPOSURE
    elif not risk_rules.fits_share_of_equity(used, equity, rules.max_strategy_exposure):
        code = risk_rules.STRATEGY_EXPOSURE
    elif rules.strategy_capital >= 0.0 and not risk_rules.fits_share_of_equity(
        used, equity, rules.strategy_capital
    ):
        code = risk_rules.STRATEGY_CAPITAL
    elif not risk_rules.fits_margin(committed, value, equity, rules.maintenance_margin):
        code = risk_rules.INTRADAY_MARGIN
    return code


def size_at_open(
    price: float,
    stop: float,
    is_short: bool,
    worth: float,
    free: float,
    at_risk: float,
    committed: float,
    net: float,
    sector: float,
    has_sector: bool,
    volume: float,
    terms: Terms,
) -> tuple[float, int]:
    """Shares to buy or to sell short at `price`, the open with slippage, and why there are none (`risk_rules`).

    Args:
        worth, free, at_risk: micros: equity at the opens, cash nobody has reserved, what stops would lose.
        committed, net, sector: micros held and on order: altogether, with its sign, in the symbol's sector.
        volume: shares of an average session.
    """
    equity = quantised(worth / MICROS)
    cash = quantised(free / MICROS)
    # Commission is paid from the same cash, and the broker asks for more than a short sale brings.
    cost = price * (1.0 + terms.commission_bps / 10_000.0) + terms.commission_per_share
    distance = price - stop
    if is_short:
        cost += price * (SHORT_MARGIN - 1.0)
        distance = stop - price
    by_cash = max(0.0, cash / cost)
    if terms.sizing == BY_RISK:
        asked = equity * terms.amount / distance if distance > 0.0 else 0.0
    else:
        asked = equity * terms.amount / price
    if terms.sizing == BY_SLOTS and terms.amount < 1.0 and asked * cost > cash + NOISE * price:
        return 0.0, risk_rules.NO_CASH
    shares = min(asked, by_cash)
    if terms.limited:
        rules = terms.rules
        shares = min(shares, risk_rules.shares_by_size(equity, price, rules.max_position_size))
        at_stake = distance if terms.bracket else price
        headroom = max(0.0, equity * rules.max_portfolio_risk - quantised(at_risk / MICROS))
        by_risk = headroom / at_stake if at_stake > 0.0 else 0.0
        if by_risk <= 0.0:
            return 0.0, risk_rules.PORTFOLIO_RISK
        if volume <= 0.0:
            return 0.0, risk_rules.FAT_FINGER
        bound = quantised(committed / MICROS)
        own_side = quantised(-net / MICROS if is_short else net / MICROS)
        by_rooms = shares_by_rooms(
            price, equity, bound, own_side, sector, has_sector, volume, terms
        )
        if by_rooms <= 0.0:
            return 0.0, risk_rules.GROSS_EXPOSURE
        shares = min(shares, by_risk, by_rooms)
    # Fractions of a share cannot be borrowed.
    if terms.whole_shares or is_short:
        shares = risk_rules.whole(shares)
    else:
        shares = risk_rules.parts(shares)
    if shares > 0.0:
        return shares, risk_rules.ACCEPTED
    return 0.0, risk_rules.NO_CASH if by_cash < 1.0 else risk_rules.QUANTITY_ZERO


def is_like_another(
    close: Floats,
    factor: Floats,
    row: int,
    column: int,
    live: Ints,
    n_live: int,
    queue: Ints,
    n_queue: int,
    wanted: Floats,
    terms: Terms,
    scratch: Floats,
) -> bool:
    """Whether `column` moves too much like something held or on order."""
    rules = terms.rules
    if rules.max_correlation >= 1.0 and row >= rules.correlation_bars and not terms.has_gaps:
        return False  # no coefficient is above 1, and there are enough returns
    for i in range(n_live + n_queue):
        k = live[i] if i < n_live else queue[i - n_live]
        if k == column or (i >= n_live and wanted[k] == 0.0):
            continue
        if risk_rules.are_alike(
            close, factor, row, column, k, rules.correlation_bars, rules.max_correlation, scratch
        ):
            return True
    return False
