"""Which round trips do these fills make?

A trip begins with the first share of a symbol and ends when the last one is gone; what was bought and sold in parts is
one trip. Runs interpreted and compiled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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
    since = np.full(n_columns, -1, np.int64)
    held = np.zeros(n_columns)
    turn = np.zeros(n_columns, np.int64)
    # Shares of entries, dollars bought and sold, fees, slippage of the trip under way, per column; money in micros.
    sums = np.zeros((5, n_columns))
    n = 0
    for i in range(n_fills):
        k = column[i]
        value = micros(shares[i] * price[i])
        if kind[i] == SPLIT:
            sums[0, k] *= (held[k] + shares[i]) / held[k]
            held[k] = quantised(held[k] + shares[i])
            continue
        if kind[i] == ENTRY:
            if since[k] < 0:
                since[k] = row[i]
                turn[k] = side[i]
                for j in range(5):
                    sums[j, k] = 0.0
            sums[0, k] += shares[i]
        if side[i] == SHORT:
            held[k] = quantised(held[k] - shares[i])
            sums[2, k] += value
        else:
            held[k] = quantised(held[k] + shares[i])
            sums[1, k] += value
        sums[3, k] += micros(fee[i])
        sums[4, k] += micros(slippage[i])
        if held[k] == 0.0:
            whole[0, n] = k
            whole[1, n] = since[k]
            whole[2, n] = row[i]
            whole[3, n] = kind[i]
            whole[4, n] = turn[k]
            money[0, n] = quantised(sums[0, k])
            for j in range(1, 5):
                money[j, n] = sums[j, k] / MICROS
            n += 1
            since[k] = -1
    closed = n
    for k in range(n_columns):
        if since[k] >= 0:
            whole[0, n] = k
            whole[1, n] = since[k]
            whole[2, n] = -1
            whole[3, n] = -1
            whole[4, n] = turn[k]
            money[0, n] = quantised(sums[0, k])
            for j in range(1, 5):
                money[j, n] = sums[j, k] / MICROS
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
