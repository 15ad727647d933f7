"""What does the fast engine keep of an account while bars pass?

One book of arrays with a place per column of the bars, made anew for each run, and what every step writes into it.
Which step changes what is decided in `kernel` and the steps it calls. Lists for the interpreter, arrays for the
compiler: see `marking.numbers`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from backtester import costs, marking, risk_rules
from backtester.terms import MICROS, Bools, Floats, Ints, Rules, Terms, micros
from shared.domain.arithmetic import quantised


class Book(NamedTuple):
    """The state of every column; dollars per share and shares unless said otherwise."""

    # Shares, below zero where they are owed, and the newest close.
    held: Floats
    newest: Floats
    # Shares that stop and target still guard, and whether the stop was touched.
    legs: Floats
    touched: Bools
    stop: Floats
    target: Floats
    # Those of an entry that turns a position around, which has to go first; 0 for none.
    next_stop: Floats
    next_target: Floats
    # Whether it is being sold or bought back, how many shares of it still are, and why.
    leaving: Bools
    selling: Floats
    exit_kind: Ints
    # Shares of an entry that may still fill, UNSIZED before its open, the price they were sized at, whether it sells.
    wanted: Floats
    sized_at: Floats
    is_short: Bools
    is_dropped: Bools
    # The wish for the other side whose entry waits until nothing is left, by its number (-1: none), and its session time.
    turn: Ints
    turned_at: Ints
    # Shares that the newest entry brought, which targets of scaling out it has met (bits), and whether a wish of this
    # close takes it away.
    entered: Floats
    met: Ints
    is_away: Bools
    # The day on which the order under way, or the legs, were placed.
    placed_on: Ints
    # Columns that hold something, and those with an entry under way in the order of decision.
    live: Ints
    queue: Ints
    # Where an entry of this bar woke its legs, and what the bar's volume leaves them.
    woken_at: Floats
    left: Floats
    # What an exit has taken of a bar's volume, and of which bar, for the entry that turns it around.
    spent: Floats
    spent_row: Floats
    # Session time of the newest stop that was hit: per column (-1: none), and of the newest orders, oldest first.
    rested_since: Ints
    guard: Ints
    has_hit: Bools
    # When each column's newest entries were approved, in a ring.
    approved_us: Ints
    approvals: Ints
    # Per column the days of its newest purchase, sale and day trade; day trades per day.
    dealt_on: Ints
    day_trades: Ints
    # How often each rule has refused an entry.
    refused: Ints
    # Rows of an outcome's fills; room to compare closes in, and to reckon each column's trades in.
    fills: Floats
    scratch: Floats
    reckoned: Floats


def opened(n_columns: int, n_days: int, rules: Rules, fills: Floats) -> Book:
    """The book of an account that holds nothing yet."""
    n_repeating = n_columns if rules.max_repeats else 0
    n_day_trading = n_columns if rules.pattern_day_trader else 0
    n_days = n_days if rules.pattern_day_trader else 0
    n_reckoned = n_columns if rules.method == risk_rules.KELLY else 0
    # By position, because the compiler takes no call with so many names.
    return Book(
        marking.numbers(n_columns),  # held
        marking.numbers(n_columns),  # newest
        marking.numbers(n_columns),  # legs
        marking.flags(n_columns),  # touched
        marking.numbers(n_columns),  # stop
        marking.numbers(n_columns),  # target
        marking.numbers(n_columns),  # next_stop
        marking.numbers(n_columns),  # next_target
        marking.flags(n_columns),  # leaving
        marking.numbers(n_columns),  # selling
        marking.places(n_columns),  # exit_kind
        marking.numbers(n_columns),  # wanted
        marking.numbers(n_columns),  # sized_at
        marking.flags(n_columns),  # is_short
        marking.flags(n_columns),  # is_dropped
        np.full(n_columns, -1, np.int64),  # turn
        marking.places(n_columns),  # turned_at
        marking.numbers(n_columns),  # entered
        marking.places(n_columns),  # met
        marking.flags(n_columns),  # is_away
        marking.places(n_columns),  # placed_on
        marking.places(n_columns),  # live
        marking.places(n_columns),  # queue
        marking.numbers(n_columns),  # woken_at
        marking.numbers(n_columns),  # left
        marking.numbers(n_columns),  # spent
        marking.numbers(n_columns),  # spent_row
        np.full(n_columns, -1, np.int64),  # rested_since
        np.empty((2, rules.stop_guard_stops), np.int64),  # guard
        marking.flags(n_columns),  # has_hit
        np.full((n_repeating, rules.max_repeats), -1, np.int64),  # approved_us
        marking.places(n_columns),  # approvals
        np.full((3, n_day_trading), -1, np.int64),  # dealt_on
        np.zeros(n_days, np.int64),  # day_trades
        np.zeros(len(risk_rules.CODES), np.int64),  # refused
        fills,
        np.empty((3, rules.correlation_bars + 1)),  # scratch
        np.empty((2, n_reckoned)),  # reckoned
    )


def under_way(book: Book, n_live: int) -> tuple[int, int]:
    """How many of what is held is being sold out, and how many legs guard."""
    n_leaving = 0
    n_legs = 0
    for i in range(n_live):
        k = book.live[i]
        if book.leaving[k]:
            n_leaving += 1
        elif book.legs[k] > 0.0:
            n_legs += 1
    return n_leaving, n_legs


def without(queue: Ints, n_queue: int, column: int) -> int:
    """Take `column` out of the queue; how many are left."""
    kept = 0
    for i in range(n_queue):
        if queue[i] != column:
            queue[kept] = queue[i]
            kept += 1
    return kept


def booked(
    fills: Floats,
    at: int,
    row: int,
    column: int,
    kind: int,
    buys: bool,
    shares: float,
    price: float,
    unslipped: float,
    terms: Terms,
    fees: tuple[float, float, float],
) -> float:
    """Keep one fill and what it costs (see `write`); what it brings to the cash, micros.

    Args:
        fees: the day's rate of the SEC, dollars per share for FINRA and its most. Both take them from sales.
    """
    value = micros(shares * price)
    dollars = value / MICROS
    fee = costs.commission(shares, dollars, terms.commission_bps, terms.commission_per_share)
    if not buys:
        fee += costs.regulatory_fee(shares, dollars, fees[0], fees[1], fees[2])
    write(fills, at, row, column, kind, buys, shares, price, fee, unslipped)
    return (-value if buys else value) - micros(fee)


def write(
    fills: Floats,
    at: int,
    row: int,
    column: int,
    kind: int,
    buys: bool,
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
    fills[6, at] = quantised(shares * (price - unslipped if buys else unslipped - price))
    fills[7, at] = 1 if buys else -1
