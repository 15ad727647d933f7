"""What becomes of an account when these wishes meet these bars?

The fast engine: one loop over a whole portfolio with shared cash. Written so that the interpreter runs it as it stands
and `compiled` makes machine code of the very same lines: arrays, numbers and named tuples, nothing else. Prices
of fills come from the simulator's rules, limits and sizes from the risk manager's, so a backtest trades as
live does. `reference` does the same with the objects that trade live; a property test holds the two equal.

One bar in order: exits meet the open; entries that are sized at the open are sized with the cash that is there then;
resting stops and targets meet the bar, then entries, then the legs these wake; the account is marked at the close;
what was wished for at the close is decided. A strategy sees a bar only once it has closed.

Money is float64 in whole micros (millionths of a dollar). Sums of whole numbers below 2**53 are exact in any order, so
no result depends on how a loop was vectorised; beyond 9 billion dollars that ends, and `plan` refuses such accounts.
A symbol has at most one order at a time: an entry, its legs or an exit.
"""

from __future__ import annotations

from math import floor
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from backtester import costs, risk_rules
from risk_manager import sizing
from risk_manager.limits import MOST_RECENT
from risk_manager.sizing import OPEN_GAP
from shared.domain.arithmetic import NOISE, quantised
from simulator import fill_rules

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

MICROS = 1_000_000.0
# A price of a micro times whole shares times 1.04 is a whole number of these; see `Working.cash` live.
_CASH_UNITS = 100_000_000.0
_GAP_PERCENT = float(floor(100.0 * (1.0 + OPEN_GAP) + 0.5))
_MICROS_IN_GAP_UNITS = 100.0

# How an entry is sized.
BY_LIMITS = 0  # at the close that decides, as the risk manager does live
BY_FRACTION = 1  # at the open: a fraction of equity, cut to the cash there is
BY_SLOTS = 2  # at the open: a fraction of equity, or nothing when cash does not cover it
BY_RISK = 3  # at the open: so many shares that the stop loses a fraction of equity

# Why a fill happened.
ENTRY = 0
EXIT = 1
STOP = 2
TARGET = 3

# From so many bars on, looking at a part of an array costs less than it saves.
_WORTH_A_SLICE = 8
# What an entry that waits for its open says in place of a quantity.
UNSIZED = -1.0


class Bars(NamedTuple):
    """Dollars per share and shares, shape (bars, symbols), NaN where a symbol has no bar."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats


class Wishes(NamedTuple):
    """New wishes in the order in which they are decided: by row, exits first, then conviction, then symbol."""

    row: Ints
    column: Ints
    is_entry: Bools
    conviction: Floats


class Days(NamedTuple):
    """What the calendar says of each bar, and which fees hold from which row on.

    `acts_on`: the exchange day (any number) on which what is decided at that bar's close is sent; -1 for none.
    `open_us`, `end_us`: when each bar begins and ends, microseconds since 1970.
    """

    acts_on: Ints
    open_us: Ints
    end_us: Ints
    # Per exchange day: its first row, its ordinal, when it opens, and for how long the exchange was open before.
    day_row: Ints
    day_on: Ints
    day_open_us: Ints
    day_clock_us: Ints
    fee_row: Ints
    sec_rate: Floats
    taf_per_share: Floats
    taf_most: Floats


class Listed(NamedTuple):
    """What the settings say of each symbol: the number of its sector (-1: none), and whether it is halted."""

    sector: Ints
    halted: Bools


class Rules(NamedTuple):
    """The limits and the sizing of the risk manager, each as `risk_manager.limits.Limits` has it."""

    max_position_size: float
    max_portfolio_risk: float
    drawdown_limit: float
    max_daily_loss: float
    flatten_on_breach: bool
    max_daily_trades: int
    max_correlation: float
    correlation_bars: int
    max_gross_exposure: float
    max_net_exposure: float
    max_sector_exposure: float
    max_strategy_exposure: float
    # The bucket of the strategy that trades; below 0 for none.
    strategy_capital: float
    max_positions: int
    max_orders_per_minute: int
    # 0 where bars are too long for a symbol to be bought so often within the window.
    max_repeats: int
    repeat_window_us: int
    max_order_value: float
    max_order_shares: int
    max_volume_share: float
    cool_down_bars: int
    stop_guard_stops: int
    stop_guard_us: int
    maintenance_margin: float
    pattern_day_trader: bool
    # A bar's length in open hours, and bars a session and a year.
    bar_us: int
    bars_a_session: float
    bars_a_year: float
    method: int
    fraction: float
    risk_per_trade: float
    volatility_target: float
    atr_bars: int
    atr_multiple: float
    kelly_share: float
    kelly_cap: float
    scales_by_conviction: bool


class Terms(NamedTuple):
    """How the account trades. Fractions of equity unless said otherwise."""

    cash: float
    commission_bps: float
    commission_per_share: float
    slippage_bps: float
    max_volume_share: float
    whole_shares: bool
    sizing: int
    amount: float
    # Stop and target of every entry, fractions of the deciding close.
    bracket: bool
    stop_loss: float
    take_profit: float
    # Whether the risk manager's rules hold.
    limited: bool
    rules: Rules
    # Whether some symbol lacks some bar.
    has_gaps: bool


class Outcome(NamedTuple):
    """What happened. Arrays of fills share one length; `equity` has one value per bar, dollars at its close."""

    equity: Floats
    cash: float
    fill_row: Ints
    fill_column: Ints
    fill_kind: Ints
    fill_shares: Floats
    fill_price: Floats
    fill_fee: Floats
    # What slippage cost in that fill, dollars: its value against the same fill without slippage.
    fill_slippage: Floats
    refused: Ints
    # The bar at whose close a limit on losses was passed, after which no entry follows; -1 for never.
    reduced_row: int
    # Bars at whose close something was held.
    rows_held: int
    # The deepest fall of equity below its running peak, a fraction of the peak.
    max_drawdown: float


def micros(dollars: float) -> float:
    """Whole micros of an amount or a price in dollars."""
    return floor(dollars * MICROS + 0.5) * 1.0


def mark_rows(
    close: Floats,
    straight: Floats,  # noqa: ARG001
    has_gaps: bool,
    first: int,
    last: int,
    held: Floats,
    newest: Floats,
    live: Ints,
    n_live: int,
    cash: float,
    equity: Floats,
) -> None:
    """Write the equity at the close of rows `first` to `last`, dollars, and keep each newest close.

    For the interpreter; compiled code runs `mark_rows_one_by_one`, and a test holds them equal.

    Args:
        straight: `close` in one dimension, for an account in one symbol.
        held, newest: shares and newest close per column, of which `live` are looked at.
        cash: micros.
    """
    rows = slice(first, last + 1)
    worth: Floats | float = cash
    for k in live[:n_live]:
        prices = close[rows, k]
        if has_gaps:
            gaps = np.isnan(prices)
            places = np.maximum.accumulate(np.where(gaps, -1, np.arange(len(prices))))
            prices = np.where(places < 0, newest[k], prices[places])
        newest[k] = prices[-1]
        worth = worth + np.floor(held[k] * prices * MICROS + 0.5)
    equity[rows] = worth / MICROS


def mark_rows_one_by_one(
    close: Floats,
    straight: Floats,
    has_gaps: bool,  # noqa: ARG001
    first: int,
    last: int,
    held: Floats,
    newest: Floats,
    live: Ints,
    n_live: int,
    cash: float,
    equity: Floats,
) -> None:
    """See `mark_rows`."""
    if n_live == 0:
        flat = cash / MICROS
        for t in range(first, last + 1):
            equity[t] = flat
        return
    if n_live == 1 and close.shape[1] == 1 and last - first >= _WORTH_A_SLICE:
        # Straight through memory, which the compiler makes four bars at a time of.
        shares = held[0]
        marks = equity[first : last + 1]
        prices = straight[first : last + 1]
        gaps = 0
        for i in range(len(marks)):
            price = prices[i]
            gaps += price != price
            marks[i] = (cash + np.floor(shares * price * MICROS + 0.5)) / MICROS
        if gaps == 0:
            newest[0] = prices[-1]
            return
    for t in range(first, last + 1):
        worth = cash
        for i in range(n_live):
            k = live[i]
            price = close[t, k]
            if price == price:
                newest[k] = price
            worth += np.floor(held[k] * newest[k] * MICROS + 0.5)
        equity[t] = worth / MICROS


class Most(NamedTuple):
    """How much may be lost, fractions of the peak and of the day's beginning."""

    # Whether anybody asks: not without the rules, and not once it has happened.
    counts: bool
    drawdown: float
    daily_loss: float
    # Whether what follows a loss beyond that is different at once.
    ends: bool


class Losses(NamedTuple):
    """How the account stands against its past: dollars, and a fraction of the peak."""

    peak: float
    worst: float
    # What it was worth when the exchange day began, and the day's number.
    day_equity: float
    day: int


def follow_peak(
    equity: Floats, day_row: Ints, first: int, last: int, past: Losses, most: Most
) -> tuple[Losses, int]:
    """How the account stands after rows `first` to `last`, and the row that passed a limit.

    For the interpreter; compiled code runs `follow_peak_one_by_one`.

    Args:
        day_row: the first row of each exchange day.
    Returns:
        Also the first row in which `most` is passed, -1 for none. With `most.ends` nothing after that row is looked at.
    """
    part = equity[first : last + 1]
    passed = -1
    if most.counts:
        rows = np.arange(first, last + 1)
        days = np.searchsorted(day_row, rows, side="right") - 1
        # A day begins with what the account was worth at the last close before it.
        began = np.where(
            days == past.day, past.day_equity, equity[np.maximum(day_row[days], 1) - 1]
        )
        peaks = np.maximum.accumulate(np.maximum(part, past.peak))
        lost = (began - part) / np.where(began > 0.0, began, np.inf)
        over = np.flatnonzero(
            ((peaks - part) / peaks > most.drawdown + NOISE) | (lost > most.daily_loss + NOISE)
        )
        if len(over):
            passed = int(over[0]) + first
            if most.ends:
                last = passed
                part = equity[first : last + 1]
    peaks = np.maximum.accumulate(np.maximum(part, past.peak))
    worst = max(past.worst, float(((peaks - part) / peaks).max()))
    day = int(np.searchsorted(day_row, last, side="right")) - 1
    day_equity = (
        past.day_equity if day == past.day else float(equity[max(int(day_row[day]), 1) - 1])
    )
    return Losses(float(peaks[-1]), worst, day_equity, day), passed


def follow_peak_one_by_one(
    equity: Floats, day_row: Ints, first: int, last: int, past: Losses, most: Most
) -> tuple[Losses, int]:
    """See `follow_peak`."""
    peak, worst, day_equity, day = past.peak, past.worst, past.day_equity, past.day
    counts = most.counts
    passed = -1
    t = first
    while t <= last:
        if day + 1 < len(day_row) and day_row[day + 1] <= t:
            day += 1
            day_equity = equity[day_row[day] - 1]
            continue
        until = last + 1
        if day + 1 < len(day_row) and day_row[day + 1] < until:
            until = day_row[day + 1]
        # A division is only worth its time for what may be the new worst, or lose too much of the day's beginning.
        least = day_equity * (1.0 - most.daily_loss) * (1.0 + NOISE) if counts else -np.inf
        near = max(peak * (1.0 - worst) * (1.0 + NOISE), least)
        while t < until:
            worth = equity[t]
            if worth > peak:
                peak = worth
                near = max(peak * (1.0 - worst) * (1.0 + NOISE), least)
            elif worth < near:
                fallen = (peak - worth) / peak
                worst = max(worst, fallen)
                if counts and (
                    fallen > most.drawdown + NOISE
                    or risk_rules.has_lost(worth, day_equity, most.daily_loss)
                ):
                    passed = t
                    if most.ends:
                        return Losses(peak, worst, day_equity, day), passed
                    counts = False
                    least = -np.inf
                near = max(peak * (1.0 - worst) * (1.0 + NOISE), least)
            t += 1
    return Losses(peak, worst, day_equity, day), passed


def first_meeting(
    opens: Floats,
    highs: Floats,
    lows: Floats,
    first: int,
    last: int,
    live: Ints,
    n_live: int,
    legs: Floats,
    touched: Bools,
    stop: Floats,
    target: Floats,
) -> int:
    """The first of rows `first` to `last` in which a stop or target may fill, or last + 1.

    For the interpreter; compiled code runs `first_meeting_one_by_one`.
    """
    found = last + 1
    for k in live[:n_live]:
        if legs[k] <= 0.0:
            continue
        if touched[k]:
            return first
        rows = slice(first, found)
        met = np.flatnonzero(
            (lows[rows, k] <= stop[k]) | (opens[rows, k] <= stop[k]) | (highs[rows, k] > target[k])
        )
        if len(met):
            found = first + int(met[0])
    return found


def first_meeting_one_by_one(
    opens: Floats,
    highs: Floats,
    lows: Floats,
    first: int,
    last: int,
    live: Ints,
    n_live: int,
    legs: Floats,
    touched: Bools,
    stop: Floats,
    target: Floats,
) -> int:
    """See `first_meeting`."""
    for i in range(n_live):
        k = live[i]
        if touched[k] and legs[k] > 0.0:
            return first
    for t in range(first, last + 1):
        for i in range(n_live):
            k = live[i]
            if legs[k] > 0.0 and (
                lows[t, k] <= stop[k] or opens[t, k] <= stop[k] or highs[t, k] > target[k]
            ):
                return t
    return last + 1


def numbers(n: int) -> Floats:
    """`n` zeros to keep account in.

    Lists for the interpreter, which is several times quicker with numbers of its own; compiled, arrays.
    """
    return cast("Floats", [0.0] * n)


def flags(n: int) -> Bools:
    """`n` times False; see `numbers`."""
    return cast("Bools", [False] * n)


def places(n: int) -> Ints:
    """Room for `n` columns' numbers; see `numbers`."""
    return cast("Ints", [0] * n)


def numbers_as_array(n: int) -> Floats:
    """See `numbers`."""
    return np.zeros(n)


def flags_as_array(n: int) -> Bools:
    """See `numbers`."""
    return np.zeros(n, np.bool_)


def places_as_array(n: int) -> Ints:
    """See `numbers`."""
    return np.empty(n, np.int64)


def expect(figures: Floats, row: int, column: int) -> None:
    """Say that `figures[row, column]` will be read soon.

    Nothing for the interpreter; compiled, the processor begins to fetch it. Over a million bars a fill costs two
    waits for memory otherwise, which is half of its time.
    """


def simulate(bars: Bars, wishes: Wishes, days: Days, listed: Listed, terms: Terms) -> Outcome:
    """Trade `wishes` over `bars`. See the module's text for the order of things within a bar."""
    # Enough unless bars fill in many parts. Room that grows inside the loop would slow all of it down.
    room = 2 * len(wishes.row) + 3 * bars.close.shape[1] + 64
    while True:
        fits, outcome = trade(bars, wishes, days, listed, terms, np.empty((7, room)))
        if fits:
            return outcome
        room *= 4


def trade(
    bars: Bars, wishes: Wishes, days: Days, listed: Listed, terms: Terms, fills: Floats
) -> tuple[bool, Outcome]:
    """See `simulate`; False when `fills` (rows of an outcome's fills) has not room enough."""
    n_rows, n_columns = bars.close.shape
    n_wishes = len(wishes.row)
    # Names of their own for what the loop reads: compiled, a look into a tuple costs a count of references.
    opens, highs, lows, close, volumes = bars.open, bars.high, bars.low, bars.close, bars.volume
    straight = close.reshape(-1)
    wish_row, wish_column, wish_is_entry = wishes.row, wishes.column, wishes.is_entry
    acts_on, fee_row, day_row = days.acts_on, days.fee_row, days.day_row
    rules = terms.rules
    open_us, end_us = days.open_us, days.end_us
    sec_rate, taf_per_share, taf_most = days.sec_rate, days.taf_per_share, days.taf_most
    fits = True
    equity = np.empty(n_rows)
    refused = np.zeros(len(risk_rules.CODES), np.int64)

    # ------------------------------------------------------------------ the account
    cash = micros(terms.cash)
    peak = terms.cash
    worst = 0.0
    day = 0
    day_equity = terms.cash
    reduced_row = -1
    rows_held = 0
    held = numbers(n_columns)
    newest = numbers(n_columns)
    # Shares that stop and target still guard, and whether the stop was touched.
    legs = numbers(n_columns)
    touched = flags(n_columns)
    stop = numbers(n_columns)
    target = numbers(n_columns)
    leaving = flags(n_columns)
    # Shares of an entry that may still fill, UNSIZED before its open, and the price they were sized at.
    wanted = numbers(n_columns)
    sized_at = numbers(n_columns)
    # Columns that hold something, and those with an entry under way in the order of decision.
    live = places(n_columns)
    n_live = 0
    queue = places(n_columns)
    n_queue = 0
    n_leaving = 0
    n_legs = 0
    trade_day = -1
    trades_of_day = 0
    # Where an entry of this bar woke its legs, and what the bar's volume leaves them.
    woken_at = numbers(n_columns)
    left = numbers(n_columns)
    scratch = np.empty((3, rules.correlation_bars + 1))
    # Session time of the newest stop that was hit: per column (-1: none), and of the newest orders, oldest first.
    rested_since = np.full(n_columns, -1, np.int64)
    guard = np.empty((2, rules.stop_guard_stops), np.int64)
    n_guard = 0
    has_hit = flags(n_columns)
    # When each column's newest entries were approved, in a ring.
    approved_us = np.full((n_columns if rules.max_repeats else 0, rules.max_repeats), -1, np.int64)
    approvals = np.zeros(n_columns, np.int64)
    # Per column the days of its newest purchase, sale and day trade; day trades per day.
    dealt_on = np.full((3, n_columns if rules.pattern_day_trader else 0), -1, np.int64)
    day_trades = np.zeros(len(day_row) if rules.pattern_day_trader else 0, np.int64)
    n_fills = 0
    fee = 0

    t = 0
    w = 0
    while t < n_rows:
        next_row = wish_row[w] if w < n_wishes else n_rows
        # ---------------------------------------------------------- nothing can happen until a row
        until = -1
        if n_queue == 0 and n_leaving == 0:
            until = next_row if next_row < n_rows else n_rows - 1
            if n_legs:
                until = (
                    first_meeting(
                        opens, highs, lows, t, until, live, n_live, legs, touched, stop, target
                    )
                    - 1
                )
        if until >= t:
            mark_rows(
                close, straight, terms.has_gaps, t, until, held, newest, live, n_live, cash, equity
            )
            first = t
            t = until
            if n_live:
                past, passed = follow_peak(
                    equity,
                    day_row,
                    first,
                    until,
                    Losses(peak, worst, day_equity, day),
                    Most(
                        terms.limited and reduced_row < 0,
                        rules.drawdown_limit,
                        rules.max_daily_loss,
                        rules.flatten_on_breach,
                    ),
                )
                peak, worst, day_equity, day = past
                if passed >= 0:
                    reduced_row = passed
                    if rules.flatten_on_breach and passed < until:
                        t = passed
                        for i in range(n_live):
                            newest[live[i]] = newest_close(close, t, live[i])
                rows_held += t - first + 1
            else:
                while day + 1 < len(day_row) and day_row[day + 1] <= t:
                    day += 1
                    day_equity = cash / MICROS
        else:
            if day + 1 < len(day_row) and day_row[day + 1] <= t:
                day += 1
                day_equity = equity[t - 1]
            while fee + 1 < len(fee_row) and fee_row[fee + 1] <= t:
                fee += 1
            fees = (sec_rate[fee], taf_per_share[fee], taf_most[fee])
            # One fill each for what is held, two for its legs, three for an entry whose legs are woken.
            if n_fills + 3 * (n_live + n_queue) > fills.shape[1]:
                fits = False
                break

            # ------------------------------------------------------ exits meet the open
            if n_leaving:
                for i in range(n_live):
                    k = live[i]
                    volume = float(volumes[t, k])
                    if not (leaving[k] and volume > 0.0):
                        continue
                    price = fill_rules.market_price(float(opens[t, k]), False, terms.slippage_bps)
                    shares = min(held[k], fill_rules.volume_cap(volume, terms.max_volume_share))
                    taken = fee_of(EXIT, shares, price, terms, fees)
                    cash += micros(shares * price) - micros(taken)
                    write(fills, n_fills, t, k, EXIT, shares, price, taken, float(opens[t, k]))
                    n_fills += 1
                    held[k] = quantised(held[k] - shares)
                    if rules.pattern_day_trader:
                        note_deal(dealt_on, day_trades, day, k, True)

            # ------------------------------------------------------ entries are sized at the open
            if n_queue and terms.sizing != BY_LIMITS:
                worth = cash
                at_risk = 0.0
                reserved = 0.0
                committed = 0.0
                for i in range(n_live):
                    k = live[i]
                    price = float(opens[t, k])
                    price = price if price == price else newest[k]
                    value = micros(held[k] * price)
                    worth += value
                    committed += value
                    at_risk += risk_of(held[k], value, price, terms.bracket, stop[k])
                for i in range(n_queue):
                    k = queue[i]
                    if wanted[k] > 0.0:
                        # A micro more, so that what rounding took is never asked for twice.
                        reserved += micros(wanted[k] * sized_at[k]) + 1.0
                        committed += micros(wanted[k] * sized_at[k])
                        at_risk += open_risk(wanted[k], sized_at[k], stop[k], terms.bracket)
                for i in range(n_queue):
                    k = queue[i]
                    if wanted[k] != UNSIZED or not float(volumes[t, k]) > 0.0:
                        continue
                    price = fill_rules.market_price(float(opens[t, k]), True, terms.slippage_bps)
                    if terms.bracket and not risk_rules.fits_bracket(price, stop[k], target[k]):
                        # The broker takes no bracket whose stop or target the open has passed.
                        refused[risk_rules.BRACKET_PRICES] += 1
                        wanted[k] = 0.0
                        continue
                    sector = 0.0
                    volume = 0.0
                    if terms.limited:
                        if listed.sector[k] >= 0:
                            sector = in_sector(
                                listed, k, t, opens, live, n_live, queue, n_queue, held, newest, wanted,
                                sized_at, False,
                            )  # fmt: skip
                        volume = risk_rules.session_volume(
                            close,
                            volumes,
                            t - 1,
                            k,
                            rules.correlation_bars + 1,
                            rules.bars_a_session,
                        )
                    shares, code = size_at_open(
                        price,
                        stop[k],
                        worth,
                        cash - reserved,
                        at_risk,
                        committed,
                        sector,
                        listed.sector[k] >= 0,
                        volume,
                        terms,
                    )
                    wanted[k] = shares
                    sized_at[k] = price
                    if code != risk_rules.ACCEPTED:
                        refused[code] += 1
                        continue
                    reserved += micros(shares * price) + 1.0
                    committed += micros(shares * price)
                    taken = costs.commission(
                        shares, shares * price, terms.commission_bps, terms.commission_per_share
                    )
                    reserved += micros(taken)
                    worth -= micros(taken)
                    at_risk += open_risk(shares, price, stop[k], terms.bracket)

            # ------------------------------------------------------ entries
            kept = 0
            for i in range(n_queue):
                k = queue[i]
                volume = float(volumes[t, k])
                if volume > 0.0 and wanted[k] > 0.0:
                    cap = fill_rules.volume_cap(volume, terms.max_volume_share)
                    price = fill_rules.market_price(float(opens[t, k]), True, terms.slippage_bps)
                    shares = min(wanted[k], cap)
                    taken = fee_of(ENTRY, shares, price, terms, fees)
                    cash -= micros(shares * price) + micros(taken)
                    write(fills, n_fills, t, k, ENTRY, shares, price, taken, float(opens[t, k]))
                    n_fills += 1
                    wanted[k] = quantised(wanted[k] - shares)
                    if held[k] == 0.0:
                        live[n_live] = k
                        n_live += 1
                    held[k] = quantised(held[k] + shares)
                    if rules.pattern_day_trader:
                        note_deal(dealt_on, day_trades, day, k, False)
                    if wanted[k] == 0.0 and terms.bracket:
                        # Completed, it wakes its legs, which meet the rest of this bar from its price on.
                        legs[k] = held[k]
                        touched[k] = False
                        has_hit[k] = False
                        woken_at[k] = price
                        left[k] = quantised(cap - shares)
                        n_legs += 1
                if wanted[k] != 0.0:
                    queue[kept] = k
                    kept += 1
            n_queue = kept

            # ------------------------------------------------------ stops, then targets
            if n_legs:
                for i in range(n_live):
                    k = live[i]
                    volume = float(volumes[t, k])
                    if legs[k] <= 0.0 or not volume > 0.0:
                        continue
                    reference = float(opens[t, k])
                    if woken_at[k] > 0.0:
                        reference = woken_at[k]
                        cap = left[k]
                        woken_at[k] = 0.0
                    else:
                        cap = fill_rules.volume_cap(volume, terms.max_volume_share)
                    if touched[k]:
                        # What was left of a stop goes on as a market order.
                        unslipped = reference
                        price = fill_rules.market_price(reference, False, terms.slippage_bps)
                    else:
                        price = fill_rules.stop_price(
                            stop[k], reference, float(highs[t, k]), float(lows[t, k]), False
                        )
                        unslipped = price
                    if price != fill_rules.NO_FILL:
                        touched[k] = True
                        shares = min(legs[k], cap)
                        if shares > 0.0:
                            taken = fee_of(STOP, shares, price, terms, fees)
                            cash += micros(shares * price) - micros(taken)
                            write(fills, n_fills, t, k, STOP, shares, price, taken, unslipped)
                            n_fills += 1
                            cap = quantised(cap - shares)
                            legs[k] = quantised(legs[k] - shares)
                            held[k] = quantised(held[k] - shares)
                            clock = days.day_clock_us[day] + open_us[t] - days.day_open_us[day]
                            rested_since[k] = clock
                            n_guard = note_stop(guard, n_guard, k, clock, has_hit[k])
                            has_hit[k] = True
                            if rules.pattern_day_trader:
                                note_deal(dealt_on, day_trades, day, k, True)
                    if legs[k] > 0.0 and cap > 0.0:
                        price = fill_rules.limit_price(
                            target[k], reference, float(highs[t, k]), float(lows[t, k]), False
                        )
                        if price != fill_rules.NO_FILL:
                            shares = min(legs[k], cap)
                            taken = fee_of(TARGET, shares, price, terms, fees)
                            cash += micros(shares * price) - micros(taken)
                            write(fills, n_fills, t, k, TARGET, shares, price, taken, price)
                            n_fills += 1
                            # What one leg has sold the other does not sell again.
                            legs[k] = quantised(legs[k] - shares)
                            held[k] = quantised(held[k] - shares)
                            if rules.pattern_day_trader:
                                note_deal(dealt_on, day_trades, day, k, True)

            # ------------------------------------------------------ what is flat now is let go
            kept = 0
            n_leaving = 0
            n_legs = 0
            for i in range(n_live):
                k = live[i]
                if held[k] == 0.0:
                    leaving[k] = False
                    legs[k] = 0.0
                    continue
                live[kept] = k
                kept += 1
                if leaving[k]:
                    n_leaving += 1
                elif legs[k] > 0.0:
                    n_legs += 1
            n_live = kept

            for i in range(n_queue):
                price = float(close[t, queue[i]])
                if price == price:
                    newest[queue[i]] = price
            worth = cash
            for i in range(n_live):
                k = live[i]
                price = float(close[t, k])
                if price == price:
                    newest[k] = price
                worth += micros(held[k] * newest[k])
            worth /= MICROS
            equity[t] = worth
            if n_live:
                rows_held += 1
            if worth > peak:
                peak = worth
            elif (peak - worth) / peak > worst:
                worst = (peak - worth) / peak
            if (
                terms.limited
                and reduced_row < 0
                and (
                    risk_rules.has_fallen(worth, peak, rules.drawdown_limit)
                    or risk_rules.has_lost(worth, day_equity, rules.max_daily_loss)
                )
            ):
                reduced_row = t

        # -------------------------------------------------------------- what was wished for at this close
        if t == next_row:
            sends_on = acts_on[t]
            if sends_on != trade_day:
                trade_day = sends_on
                trades_of_day = 0
            worth = equity[t]
            clock = days.day_clock_us[day] + end_us[t] - days.day_open_us[day]
            n_approved = 0
            at_risk = 0.0
            reserved = 0.0
            committed = 0.0
            if terms.limited and terms.sizing == BY_LIMITS:
                # What is filled and open counts as it is before any answer; approvals are added as they are given.
                for i in range(n_live):
                    k = live[i]
                    value = micros(held[k] * newest[k])
                    committed += value
                    at_risk += risk_of(held[k], value, newest[k], terms.bracket, stop[k])
                for i in range(n_queue):
                    k = queue[i]
                    price = max(sized_at[k], newest[k])
                    committed += wanted[k] * micros(price)
                    reserved += wanted[k] * micros(price) * _GAP_PERCENT
                    at_risk += open_risk(wanted[k], price, stop[k], terms.bracket)
            while w < n_wishes and wish_row[w] == t:
                k = wish_column[w]
                is_entry = wish_is_entry[w]
                scale = wishes.conviction[w] if rules.scales_by_conviction else 1.0
                w += 1
                if not is_entry:
                    wanted[k] = 0.0
                    if held[k] > 0.0 and not leaving[k]:
                        leaving[k] = True
                        n_leaving += 1
                        if legs[k] > 0.0:
                            legs[k] = 0.0
                            n_legs -= 1
                    continue
                price = float(close[t, k])
                code = risk_rules.ACCEPTED
                if reduced_row >= 0 and reduced_row < t:
                    code = risk_rules.MODE
                elif leaving[k]:
                    code = risk_rules.EXIT_IN_PROGRESS
                elif held[k] > 0.0 or wanted[k] != 0.0:
                    code = risk_rules.ALREADY_HELD
                elif sends_on < 0:
                    code = risk_rules.MARKET_HOURS
                elif terms.limited:
                    # In the order of the review, since the first that refuses is named.
                    if listed.halted[k]:
                        code = risk_rules.SYMBOL_HALTED
                    elif reduced_row == t:
                        code = risk_rules.DAILY_LOSS
                        if risk_rules.has_fallen(worth, peak, rules.drawdown_limit):
                            code = risk_rules.DRAWDOWN
                    elif rested_since[k] >= 0 and not risk_rules.has_rested(
                        clock - rested_since[k], rules.bar_us, rules.cool_down_bars
                    ):
                        code = risk_rules.COOL_DOWN
                    elif n_guard == guard.shape[1] and clock - guard[1, 0] <= rules.stop_guard_us:
                        code = risk_rules.STOP_LOSS_GUARD
                    elif trades_of_day + 1 > rules.max_daily_trades:
                        code = risk_rules.DAILY_TRADES
                    elif n_approved + 1 > rules.max_orders_per_minute:
                        # No two bars end within a minute.
                        code = risk_rules.ORDERS_PER_MINUTE
                    elif rules.max_repeats:
                        oldest = approved_us[k, approvals[k] % rules.max_repeats]
                        if oldest >= 0 and oldest > end_us[t] - rules.repeat_window_us:
                            code = risk_rules.REPEATED_EXECUTION
                    if (
                        code == risk_rules.ACCEPTED
                        and rules.pattern_day_trader
                        and not risk_rules.may_day_trade(
                            risk_rules.day_trades_of(day_trades, days.day_on, day), worth
                        )
                    ):
                        code = risk_rules.PATTERN_DAY_TRADER
                shares = UNSIZED
                if code == risk_rules.ACCEPTED and terms.bracket:
                    stop[k] = sizing.stop_price(price, terms.stop_loss)
                    target[k] = sizing.target_price(price, terms.take_profit)
                    if not risk_rules.fits_bracket(price, stop[k], target[k]):
                        code = risk_rules.BRACKET_PRICES
                sector = 0.0
                volume = 0.0
                if code == risk_rules.ACCEPTED and terms.sizing == BY_LIMITS:
                    if listed.sector[k] >= 0:
                        sector = in_sector(
                            listed, k, t, opens, live, n_live, queue, n_queue, held, newest, wanted,
                            sized_at, True,
                        )  # fmt: skip
                    volume = risk_rules.session_volume(
                        close, volumes, t, k, rules.correlation_bars + 1, rules.bars_a_session
                    )
                    shares, code = size_at_close(
                        price,
                        stop[k],
                        worth,
                        cash,
                        reserved,
                        at_risk,
                        committed,
                        sector,
                        listed.sector[k] >= 0,
                        volume,
                        wanted_by_method(
                            bars, fills, n_fills, t, k, worth, price, stop[k], scale, terms, scratch
                        ),
                        terms,
                    )
                if code == risk_rules.ACCEPTED and terms.limited:
                    if is_like_another(
                        close, t, k, live, n_live, queue, n_queue, wanted, terms, scratch
                    ):
                        code = risk_rules.CORRELATION
                    else:
                        symbols = n_live + 1
                        for i in range(n_queue):
                            symbols += held[queue[i]] == 0.0 and wanted[queue[i]] != 0.0
                        code = refusal_after_correlation(
                            shares,
                            price,
                            worth,
                            committed,
                            sector,
                            listed.sector[k] >= 0,
                            volume,
                            symbols,
                            terms,
                        )
                if code != risk_rules.ACCEPTED:
                    refused[code] += 1
                    continue
                wanted[k] = shares
                sized_at[k] = price
                newest[k] = price
                if terms.sizing == BY_LIMITS:
                    committed += shares * micros(price)
                    reserved += shares * micros(price) * _GAP_PERCENT
                    at_risk += open_risk(shares, price, stop[k], terms.bracket)
                trades_of_day += 1
                n_approved += 1
                if rules.max_repeats:
                    approved_us[k, approvals[k] % rules.max_repeats] = end_us[t]
                    approvals[k] += 1
                queue[n_queue] = k
                n_queue += 1
            if w < n_wishes and wish_row[w] + 1 < n_rows:
                expect(opens, wish_row[w] + 1, wish_column[w])
                expect(volumes, wish_row[w] + 1, wish_column[w])

        if reduced_row == t and rules.flatten_on_breach:
            # Whoever may take no risk any more leaves everything.
            for i in range(n_live):
                k = live[i]
                if not leaving[k]:
                    leaving[k] = True
                    n_leaving += 1
                    if legs[k] > 0.0:
                        legs[k] = 0.0
                        n_legs -= 1
            for i in range(n_queue):
                wanted[queue[i]] = 0.0
        # An exit may have taken back an entry that was still open.
        kept = 0
        for i in range(n_queue):
            if wanted[queue[i]] != 0.0:
                queue[kept] = queue[i]
                kept += 1
        n_queue = kept

        # -------------------------------------------------------------- what a bar filled in part
        if terms.bracket and n_queue:
            # The rest of a bracket entry is given up, and what was filled is guarded by itself.
            kept = 0
            for i in range(n_queue):
                k = queue[i]
                if held[k] > 0.0:
                    wanted[k] = 0.0
                    if not leaving[k]:
                        legs[k] = held[k]
                        touched[k] = False
                        has_hit[k] = False
                        n_legs += 1
                else:
                    queue[kept] = k
                    kept += 1
            n_queue = kept
        t += 1

    return fits, Outcome(
        equity,
        cash / MICROS,
        fills[0, :n_fills].astype(np.int64),
        fills[1, :n_fills].astype(np.int64),
        fills[2, :n_fills].astype(np.int64),
        fills[3, :n_fills].copy(),
        fills[4, :n_fills].copy(),
        fills[5, :n_fills].copy(),
        fills[6, :n_fills].copy(),
        refused,
        reduced_row,
        rows_held,
        worst,
    )


def fee_of(
    kind: int, shares: float, price: float, terms: Terms, fees: tuple[float, float, float]
) -> float:
    """What a fill costs beside its price, dollars.

    Args:
        fees: the day's rate of the SEC, dollars per share for FINRA and its most.
    """
    value = micros(shares * price) / MICROS
    taken = costs.commission(shares, value, terms.commission_bps, terms.commission_per_share)
    if kind != ENTRY:
        taken += costs.regulatory_fee(shares, value, fees[0], fees[1], fees[2])
    return taken


def write(
    fills: Floats,
    at: int,
    row: int,
    column: int,
    kind: int,
    shares: float,
    price: float,
    fee: float,
    unslipped: float,
) -> None:
    """Keep one fill; `unslipped` is the price it would have had without slippage."""
    fills[0, at] = row
    fills[1, at] = column
    fills[2, at] = kind
    fills[3, at] = shares
    fills[4, at] = price
    fills[5, at] = fee
    worse = price - unslipped if kind == ENTRY else unslipped - price
    fills[6, at] = quantised(shares * worse)


def risk_of(shares: float, value: float, price: float, bracket: bool, stop: float) -> float:
    """Micros lost from here if the stop were hit; without one all of it counts (`Holding.risk`).

    While an exit is under way the stop counts on, as what was decided for these shares.
    """
    if not bracket:
        return value
    return shares * max(0.0, micros(price) - micros(stop))


def open_risk(shares: float, price: float, stop: float, bracket: bool) -> float:
    """Micros lost if an entry fills at `price` and its stop is hit (`Working.risk`)."""
    if not bracket:
        return micros(shares * price)
    return shares * max(0.0, micros(price) - micros(stop))


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
            found += micros(held[k] * price)
    for i in range(n_queue):
        k = queue[i]
        if listed.sector[k] == listed.sector[column] and wanted[k] > 0.0:
            price = max(sized_at[k], newest[k]) if at_close else sized_at[k]
            found += micros(wanted[k] * price)
    return found


def record_of(fills: Floats, n_fills: int, n_columns: int) -> risk_rules.Record:
    """How the trades went that the newest fills made whole, as `risk_manager.attribution` has it."""
    cost = np.zeros(n_columns)
    held = np.zeros(n_columns)
    wins = 0
    losses = 0
    won = 0.0
    lost = 0.0
    for i in range(max(0, n_fills - MOST_RECENT), n_fills):
        k = int(fills[1, i])
        value = micros(fills[3, i] * fills[4, i])
        if fills[2, i] == ENTRY:
            held[k] += fills[3, i]
            cost[k] += value + micros(fills[5, i])
        elif held[k] > 0.0:
            held[k] = quantised(held[k] - fills[3, i])
            cost[k] += micros(fills[5, i]) - value
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
    fills: Floats,
    n_fills: int,
    row: int,
    column: int,
    equity: float,
    price: float,
    stop: float,
    scale: float,
    terms: Terms,
    scratch: Floats,
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
            bars.close, row, column, count, rules.bars_a_year, scratch
        )
    elif rules.method == risk_rules.ATR:
        true_range = risk_rules.true_range_of(
            bars.high, bars.low, bars.close, row, column, count, rules.atr_bars, scratch
        )
    elif rules.method == risk_rules.KELLY:
        bet = sizing.kelly(record_of(fills, n_fills, bars.close.shape[1]))  # type: ignore[arg-type]
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
    )


def size_at_close(
    price: float,
    stop: float,
    equity: float,
    cash: float,
    reserved: float,
    at_risk: float,
    committed_micros: float,
    sector_micros: float,
    has_sector: bool,
    volume: float,
    wanted: float,
    terms: Terms,
) -> tuple[float, int]:
    """Shares that keep every limit, decided as live, and why there are none (`risk_rules`).

    Args:
        equity: dollars. `cash`, `at_risk`, `committed_micros`, `sector_micros`: micros. `reserved`: hundredths of one.
        volume: shares of an average session. `wanted`: fractional shares that the method asks for.
    """
    rules = terms.rules
    risk = quantised(at_risk / MICROS)
    committed = quantised(committed_micros / MICROS)
    available = quantised((cash * _MICROS_IN_GAP_UNITS - reserved) / _CASH_UNITS)
    by_size = risk_rules.shares_by_size(equity, price, rules.max_position_size)
    least = min(
        wanted,
        by_size,
        risk_rules.shares_by_cash(available, price),
        risk_rules.shares_by_risk(equity, risk, price, stop, rules.max_portfolio_risk),
        shares_by_rooms(price, equity, committed, sector_micros, has_sector, volume, terms),
    )
    shares = risk_rules.whole(least)
    # Where there is no room for one, the rules say what one share would have needed.
    tried = max(shares, 1.0)
    price_micros = micros(price)
    if not min(by_size, wanted) + NOISE >= 1.0:
        return 0.0, risk_rules.QUANTITY_ZERO
    value = quantised(tried * price_micros / MICROS)
    if not risk_rules.fits_share_of_equity(value, equity, rules.max_position_size):
        return 0.0, risk_rules.POSITION_SIZE
    cost = quantised(tried * price_micros * _GAP_PERCENT / _CASH_UNITS)
    if not risk_rules.fits_buying_power(cost, available, quantised(cost / tried)):
        return 0.0, risk_rules.BUYING_POWER
    order_risk = quantised(open_risk(tried, price, stop, True) / MICROS)
    if not risk_rules.fits_share_of_equity(risk + order_risk, equity, rules.max_portfolio_risk):
        return 0.0, risk_rules.PORTFOLIO_RISK
    return shares, risk_rules.ACCEPTED


def shares_by_rooms(
    price: float,
    equity: float,
    committed: float,
    sector_micros: float,
    has_sector: bool,
    volume: float,
    terms: Terms,
) -> float:
    """Fractional shares that the limits allow which are not about cash, risk or one position.

    The account has one strategy and no shorts, so net exposure and the strategy's are the gross one.
    """
    rules = terms.rules
    room = min(
        rules.max_order_value,
        rules.max_order_shares * price,
        rules.max_volume_share * volume * price,
        equity * rules.max_gross_exposure - committed,
        equity * rules.max_net_exposure - committed,
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
    elif not risk_rules.fits_share_of_equity(used, equity, rules.max_net_exposure):
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
    worth: float,
    free: float,
    at_risk: float,
    committed: float,
    sector: float,
    has_sector: bool,
    volume: float,
    terms: Terms,
) -> tuple[float, int]:
    """Shares to buy at `price`, the open with slippage, and why there are none (`risk_rules`).

    Args:
        worth, free, at_risk: micros: equity at the opens, cash nobody has reserved, what stops would lose.
        committed, sector: micros held and on order, altogether and in the symbol's sector.
        volume: shares of an average session.
    """
    equity = quantised(worth / MICROS)
    cash = quantised(free / MICROS)
    # Commission is paid from the same cash.
    cost = price * (1.0 + terms.commission_bps / 10_000.0) + terms.commission_per_share
    by_cash = max(0.0, cash / cost)
    if terms.sizing == BY_RISK:
        asked = equity * terms.amount / (price - stop) if price > stop else 0.0
    else:
        asked = equity * terms.amount / price
    if terms.sizing == BY_SLOTS and terms.amount < 1.0 and asked * cost > cash + NOISE * price:
        return 0.0, risk_rules.NO_CASH
    shares = min(asked, by_cash)
    if terms.limited:
        rules = terms.rules
        shares = min(shares, risk_rules.shares_by_size(equity, price, rules.max_position_size))
        risk = quantised(at_risk / MICROS)
        floor_price = stop if terms.bracket else 0.0
        by_risk = risk_rules.shares_by_risk(
            equity, risk, price, floor_price, rules.max_portfolio_risk
        )
        if by_risk <= 0.0:
            return 0.0, risk_rules.PORTFOLIO_RISK
        if volume <= 0.0:
            return 0.0, risk_rules.FAT_FINGER
        bound = quantised(committed / MICROS)
        by_rooms = shares_by_rooms(price, equity, bound, sector, has_sector, volume, terms)
        if by_rooms <= 0.0:
            return 0.0, risk_rules.GROSS_EXPOSURE
        shares = min(shares, by_risk, by_rooms)
    shares = risk_rules.whole(shares) if terms.whole_shares else risk_rules.parts(shares)
    if shares > 0.0:
        return shares, risk_rules.ACCEPTED
    return 0.0, risk_rules.NO_CASH if by_cash < 1.0 else risk_rules.QUANTITY_ZERO


def is_like_another(
    close: Floats,
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
    for i in range(n_live):
        k = live[i]
        if k != column and risk_rules.are_alike(
            close, row, column, k, rules.correlation_bars, rules.max_correlation, scratch
        ):
            return True
    for i in range(n_queue):
        k = queue[i]
        if (
            k != column
            and wanted[k] != 0.0
            and risk_rules.are_alike(
                close, row, column, k, rules.correlation_bars, rules.max_correlation, scratch
            )
        ):
            return True
    return False
