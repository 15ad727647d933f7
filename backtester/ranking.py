"""In which order are the wishes of one bar decided?

Exits first, since they free cash and room, then the most convinced, then by symbol. For compiled work, where NumPy's sort
over all bars at once takes longer than to sort the few wishes of each bar; a test holds the two equal.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backtester.terms import FLAT

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def ranked(row: Ints, direction: Ints, conviction: Floats) -> Ints:
    """The places of wishes in the order in which they are decided.

    Args:
        row: never falls, and within one row wishes stand by symbol.
    """
    n = len(row)
    rank = np.empty(n)
    order = np.empty(n, np.int64)
    room = np.empty(n, np.int64)
    for i in range(n):
        rank[i] = -conviction[i] if direction[i] != FLAT else -2.0
        order[i] = i
    first = 0
    while first < n:
        last = first + 1
        while last < n and row[last] == row[first]:
            last += 1
        sort(order, room, rank, first, last)
        first = last
    return order


def sort(order: Ints, room: Ints, rank: Floats, first: int, last: int) -> None:
    """Sort places `first` to `last` - 1 of `order` by rank; equal ones stay as they stand.

    Merges ever longer runs, so that a bar with wishes for every symbol there is takes no longer per wish than others.
    """
    width = 1
    while width < last - first:
        for start in range(first, last, 2 * width):
            middle = min(start + width, last)
            end = min(start + 2 * width, last)
            if middle == end or rank[order[middle - 1]] <= rank[order[middle]]:
                continue
            for i in range(start, middle):
                room[i] = order[i]
            i, j = start, middle
            for at in range(start, end):
                if i == middle:
                    break
                if j < end and rank[order[j]] < rank[room[i]]:
                    order[at] = order[j]
                    j += 1
                else:
                    order[at] = room[i]
                    i += 1
        width *= 2
