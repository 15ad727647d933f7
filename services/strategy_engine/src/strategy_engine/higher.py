"""What do longer bars say, as far as they were over?

The bars of a panel are joined to longer ones, which a strategy treats as a panel of their own; what it finds there is laid
back beside the short bars. A short bar is given the values of the last longer bar that was over before it began,
never of the one that it is part of. So nothing here can look ahead, no calendar is needed to know when a session ends,
and the longer bar is used at most one short bar later than it might be.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.domain.errors import InvalidInput
from shared.domain.timeframes import Timeframe
from strategy_engine.panels import Floats, Panel


@dataclass(frozen=True, slots=True)
class Higher:
    """`panel` holds the longer bars, each symbol's own from the top; `spread` brings values back to the short ones."""

    panel: Panel
    _rows: NDArray[np.int64]

    def spread(self, values: Floats) -> Floats:
        """`values` of the longer bars, of the shape of `panel`, beside the short bars; NaN where none was over yet."""
        if values.shape != self.panel.close.shape:
            raise InvalidInput(f"need one value for each longer bar, {self.panel.close.shape}")
        columns = np.arange(values.shape[1])
        # With a row of nothing behind, which is where -1 points.
        padded = np.concatenate([values, np.full((1, values.shape[1]), np.nan)])
        return np.asarray(padded[self._rows, columns], np.float64)


def higher(panel: Panel, timeframe: Timeframe) -> Higher:
    """The bars of `panel` joined to bars of `timeframe`, which must be longer.

    The first longer bar of each symbol is left out: the series may begin in the middle of it.

    Raises:
        InvalidInput: `timeframe` is not longer, or the panel has no times.
    """
    if timeframe.length <= panel.timeframe.length:
        raise InvalidInput(f"bars of {timeframe} are not longer than those of {panel.timeframe}")
    length_us = int(timeframe.length.total_seconds() * 1_000_000)
    present = ~np.isnan(panel.close)
    # Column by column, own bars only: a longer bar begins where the column or its number changes.
    columns, rows = np.nonzero(present.T)
    places = (rows, columns)
    # A session in New York lies within one day of UTC, and its hours begin on the half hour.
    offset_us = 0 if timeframe is Timeframe.DAY else 30 * 60 * 1_000_000 % length_us
    number = (panel.times[places] - 1 - offset_us) // length_us
    begins = np.ones(len(rows), np.bool_)
    begins[1:] = (columns[1:] != columns[:-1]) | (number[1:] != number[:-1])
    firsts = np.flatnonzero(begins)
    lasts = np.append(firsts, len(rows))[1:] - 1
    owner = columns[firsts]
    # Which of its symbol's longer bars each is; the first is not used.
    new_symbol = np.ones(len(firsts), np.bool_)
    new_symbol[1:] = owner[1:] != owner[:-1]
    start_of_symbol = np.flatnonzero(new_symbol)
    rank = np.arange(len(firsts)) - np.repeat(
        start_of_symbol, np.diff(np.append(start_of_symbol, len(firsts)))
    )
    used = rank > 0
    shape = (int(rank.max(initial=0)), len(panel.symbols))
    at = (rank[used] - 1, owner[used])

    def joined(name: str, how: np.ufunc | None, which: NDArray[np.int64]) -> Floats:
        values = getattr(panel, name)[places]
        found = np.full(shape, np.nan)
        if len(values):
            found[at] = (values[which] if how is None else how.reduceat(values, firsts))[used]
        return found

    ends = np.zeros(shape, np.int64)
    ends[at] = panel.times[places][lasts][used]
    longer = Panel(
        timeframe,
        panel.symbols,
        open=joined("open", None, firsts),
        high=joined("high", np.maximum, firsts),
        low=joined("low", np.minimum, firsts),
        close=joined("close", None, lasts),
        volume=joined("volume", np.add, firsts),
        end_us=ends,
    )
    before = np.full(panel.close.shape, -1, np.int64)
    # Of the bar that is still going on its symbol's number `rank`, the one before is row `rank` - 2.
    before[places] = np.maximum(rank[np.cumsum(begins) - 1] - 2, -1)
    return Higher(longer, before)
