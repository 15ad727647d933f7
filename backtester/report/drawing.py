"""How are a million points drawn with a few thousand, without hiding any extreme?

A line keeps the first, lowest, highest and last point of each of its buckets (the M4 aggregation), so every peak and every
fall is on the screen; candles are joined as candles are: first open, highest high, lowest low, last close.

Source: Jugel and others (2014), M4: A Visualization-Oriented Time Series Data Aggregation, VLDB 7(10).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def points_of_line(values: Floats, most: int) -> Ints:
    """Which points of `values` are drawn, at most `most` (from 4): all of them, or four of each bucket."""
    n = len(values)
    if n <= most:
        return np.arange(n)
    edges = np.linspace(0, n, most // 4 + 1).astype(np.int64)
    kept: set[int] = set()
    for first, after in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        part = values[first:after]
        kept.update((first, first + int(np.argmin(part)), first + int(np.argmax(part)), after - 1))
    return np.array(sorted(kept), np.int64)


@dataclass(frozen=True)
class Candles:
    """Joined bars: each stands for up to `joined` of them; `first`: the row of each one's first bar."""

    first: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    joined: int

    def of(self, row: int) -> int:
        """The candle that holds the bar of `row`."""
        return max(0, int(np.searchsorted(self.first, row, side="right")) - 1)


def joined_candles(
    rows: Ints, opens: Floats, highs: Floats, lows: Floats, closes: Floats, most: int
) -> Candles:
    """At most `most` candles of a symbol's own bars, oldest first; `rows` are their places in the panel."""
    joined = -(-len(rows) // most)
    starts = np.arange(0, len(rows), joined)
    ends = np.minimum(starts + joined, len(rows)) - 1
    return Candles(
        rows[starts],
        opens[starts],
        np.maximum.reduceat(highs, starts),
        np.minimum.reduceat(lows, starts),
        closes[ends],
        joined,
    )
