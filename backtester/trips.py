"""Which round trips do these fills make?

A trip begins with the first share of a symbol and ends when the last one is gone; what was bought and sold in parts is
one trip. Runs interpreted and compiled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from backtester import marking
from backtester.terms import ENTRY, MICROS, SHORT, SPLIT, micros
from shared.domain.arithmetic import quantised

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Trips(NamedTuple):
    """One row per trip in the order of their ends; those still open come last, with exit row and kind -1.

    Rows are bars. `bought` and `sold` are dollars without fees; a short trip sells first. `kind` is why the last
    share went, `side` LONG or SHORT. `shares` are all that entries brought, in the shares of the trip's end.
    """

    column: Ints
    entry_row: Ints
    exit_row: Ints
    kind: Ints
    shares: Floats
    bought: Floats
    sold: Floats
    fees: Floats
    slippage: Floats
    side: Ints
    closed: int


def round_trips(
    row: Sequence[int] | Ints,
    column: Sequence[int] | Ints,
    kind: Sequence[int] | Ints,
    shares: Sequence[float] | Floats,
    price: Sequence[float] | Floats,
    fee: Sequence[float] | Floats,
    slippage: Sequence[float] | Floats,
    side: Sequence[int] | Ints,
    n_columns: int,
) -> Trips:
    """Put fills, oldest first, together; the arguments are the columns of a kernel's outcome."""
    n_fills = len(row)
    whole = np.zeros((5, n_fills), np.int64)
    money = np.zeros((5, n_fills))
    # Of the trip under way, per column: is there one, its first row, its side, what is held; then shares of entries, and
    # micros bought, sold, paid in fees and lost by slippage.
    is_open = marking.flags(n_columns)
    since = marking.places(n_columns)
    turn = marking.places(n_columns)
    held = marking.numbers(n_columns)
    entered = marking.numbers(n_columns)
    bought = marking.numbers(n_columns)
    sold = marking.numbers(n_columns)
    fees = marking.numbers(n_columns)
    slipped = marking.numbers(n_columns)
    n = 0
    for i in range(n_fills):
        k = column[i]
        value = micros(shares[i] * price[i])
        if kind[i] == SPLIT:
            entered[k] *= (held[k] + shares[i]) / held[k]
            held[k] = quantised(held[k] + shares[i])
            continue
        if kind[i] == ENTRY:
            if not is_open[k]:
                is_open[k] = True
                since[k] = row[i]
                turn[k] = side[i]
                entered[k] = bought[k] = sold[k] = fees[k] = slipped[k] = 0.0
            entered[k] += shares[i]
        if side[i] == SHORT:
            held[k] = quantised(held[k] - shares[i])
            sold[k] += value
        else:
            held[k] = quantised(held[k] + shares[i])
            bought[k] += value
        fees[k] += micros(fee[i])
        slipped[k] += micros(slippage[i])
        if held[k] == 0.0:
            whole[0, n] = k
            whole[1, n] = since[k]
            whole[2, n] = row[i]
            whole[3, n] = kind[i]
            whole[4, n] = turn[k]
            money[0, n] = quantised(entered[k])
            money[1, n] = bought[k] / MICROS
            money[2, n] = sold[k] / MICROS
            money[3, n] = fees[k] / MICROS
            money[4, n] = slipped[k] / MICROS
            n += 1
            is_open[k] = False
    closed = n
    for k in range(n_columns):
        if is_open[k]:
            whole[0, n] = k
            whole[1, n] = since[k]
            whole[2, n] = -1
            whole[3, n] = -1
            whole[4, n] = turn[k]
            money[0, n] = quantised(entered[k])
            money[1, n] = bought[k] / MICROS
            money[2, n] = sold[k] / MICROS
            money[3, n] = fees[k] / MICROS
            money[4, n] = slipped[k] / MICROS
            n += 1
    return Trips(
        whole[0, :n],
        whole[1, :n],
        whole[2, :n],
        whole[3, :n],
        money[0, :n],
        money[1, :n],
        money[2, :n],
        money[3, :n],
        money[4, :n],
        whole[4, :n],
        closed,
    )
