"""Which bars does the venue play, instant by instant, and which may already be seen?

An instant is all bars that share a timeframe and an end. The tape keeps columns and makes an object only
for the instant that is asked for, so a million bars cost arrays and not a million objects. It comes in
segments: a file is one, a generated tape adds one per session when it gets there.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.domain.bar_blocks import from_epoch_us, to_epoch_us
from shared.domain.calendar import TradingCalendar
from shared.domain.money import MICROS
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from simulator.matching import TapeBar

Int64s = NDArray[np.int64]


class SeenBar(NamedTuple):
    """A bar as market data shows it: instants in microseconds since the epoch, prices in micros."""

    start_us: int
    end_us: int
    open: int
    high: int
    low: int
    close: int
    volume: int


class Instant(NamedTuple):
    """Everything that happens at one end of a bar.

    `start_at` is what the bars are stamped with, `opens_at` where the venue's clock stands before
    (a daily bar is stamped with midnight and opens with the session).
    """

    start_at: datetime
    opens_at: datetime
    end_at: datetime
    new_session: bool
    session_ends: bool
    bars: dict[Symbol, TapeBar]


@dataclass(frozen=True)
class Segment:
    """Consecutive bars as columns of shape (n,), sorted by start, then symbol number."""

    symbol: NDArray[np.int32]
    start_us: Int64s
    opens_us: Int64s
    end_us: Int64s
    session: Int64s
    open: Int64s
    high: Int64s
    low: Int64s
    close: Int64s
    volume: Int64s
    # Row where each instant begins, and one past the last row.
    edges: Int64s = field(init=False)
    rows_of: dict[int, Int64s] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        starts = np.flatnonzero(np.diff(self.start_us, prepend=self.start_us[0] - 1))
        edges = np.append(starts, len(self.start_us)).astype(np.int64)
        object.__setattr__(self, "edges", edges)

    @property
    def instants(self) -> int:
        """How many instants it holds."""
        return len(self.edges) - 1

    def rows(self, symbol: int) -> Int64s:
        """Row numbers of that symbol, oldest first; found once and kept."""
        found = self.rows_of.get(symbol)
        if found is None:
            found = np.flatnonzero(self.symbol == symbol).astype(np.int64)
            self.rows_of[symbol] = found
        return found

    def seen(self, row: int) -> SeenBar:
        """One row as market data shows it."""
        return SeenBar(
            int(self.start_us[row]),
            int(self.end_us[row]),
            int(self.open[row]),
            int(self.high[row]),
            int(self.low[row]),
            int(self.close[row]),
            int(self.volume[row]),
        )


Grow = Callable[[], Segment | None]


class Tape:
    """The bars of one replay in order, with the history before them."""

    def __init__(
        self,
        *,
        source: str,
        timeframe: Timeframe,
        symbols: Sequence[Symbol],
        calendar: TradingCalendar,
        digest: str,
        first: Segment,
        history: int = 0,
        grow: Grow | None = None,
        dropped: int = 0,
        opening_prices: dict[Symbol, int] | None = None,
    ) -> None:
        """Put the columns of a replay in order.

        Args:
        history: how many instants at the beginning are past already when the replay starts.
        grow: gives the next segment, or None at the end; absent when `first` is all there is.
        dropped: rows of the source that lay outside regular hours.
        opening_prices: last price of a symbol before its first bar, micros.
        """
        self.source = source
        self.timeframe = timeframe
        self.symbols = tuple(symbols)
        self.calendar = calendar
        self.dropped = dropped
        self._digest = digest
        self._history = history
        self._grow = grow
        self._segments = [first]
        self._ends = [first.instants]
        self._numbers = {symbol: i for i, symbol in enumerate(self.symbols)}
        self._opening_prices = opening_prices or {}

    @property
    def is_synthetic(self) -> bool:
        """Whether its prices are made up."""
        return self.source.startswith("SYNTHETIC")

    @property
    def digest(self) -> str:
        """What a journal is bound to: the bars and where among them the replay begins."""
        return hashlib.blake2b(
            f"{self._digest}|{self.timeframe}|{self._history}".encode(), digest_size=16
        ).hexdigest()

    @property
    def length(self) -> int | None:
        """Instants of the replay; None while the tape still grows."""
        return None if self._grow is not None else self._ends[-1] - self._history

    def instant(self, number: int) -> Instant | None:
        """Instant `number` of the replay, from 0; None past the end."""
        at = self._locate(number + self._history)
        if at is None:
            return None
        segment, i = at
        low, high = int(segment.edges[i]), int(segment.edges[i + 1])
        session = int(segment.session[low])
        before = self._locate(number + self._history - 1) if number > 0 else None
        after = self._locate(number + self._history + 1)
        return Instant(
            from_epoch_us(int(segment.start_us[low])),
            from_epoch_us(int(segment.opens_us[low])),
            from_epoch_us(int(segment.end_us[low])),
            before is None or _session_of(before) != session,
            after is None or _session_of(after) != session,
            {
                self.symbols[segment.symbol[row]]: TapeBar(
                    float(segment.open[row]) / MICROS,
                    float(segment.high[row]) / MICROS,
                    float(segment.low[row]) / MICROS,
                    float(segment.close[row]) / MICROS,
                    int(segment.volume[row]),
                )
                for row in range(low, high)
            },
        )

    @property
    def begins_at(self) -> datetime:
        """Where the venue's clock stands before the first step.

        The end of the history; without one, or when the replay begins with a session, the close of the
        session before; a second before its first bar for a generated tape.
        """
        first = self.instant(0)
        assert first is not None
        if self.is_synthetic:
            return from_epoch_us(to_epoch_us(first.opens_at) - MICROS)
        session = self.calendar.last_session(first.opens_at)
        earlier = session and self.calendar.last_session(
            from_epoch_us(to_epoch_us(session.open_at) - 1)
        )
        closed_at = (
            earlier.close_at if earlier else from_epoch_us(to_epoch_us(first.opens_at) - MICROS)
        )
        before = self._locate(self._history - 1) if self._history else None
        if before is None:
            return closed_at
        segment, i = before
        return max(closed_at, from_epoch_us(int(segment.end_us[segment.edges[i]])))

    def opening_prices(self) -> dict[Symbol, int]:
        """Each symbol's last price when the replay begins, micros: its last close of the history.

        A symbol without history is given its first open. It is an estimate for reservations only, and no
        part of market data.
        """
        found: dict[Symbol, int] = {}
        begins_us = to_epoch_us(self.begins_at)
        for symbol in self.symbols:
            last = self.last_before(symbol, begins_us)
            if last is not None:
                found[symbol] = last.close
            elif symbol in self._opening_prices:
                found[symbol] = self._opening_prices[symbol]
            else:
                rows = self._segments[0].rows(self._numbers[symbol])
                if len(rows):
                    found[symbol] = int(self._segments[0].open[rows[0]])
        return found

    def last_before(self, symbol: Symbol, until_us: int) -> SeenBar | None:
        """The newest bar of `symbol` that has ended by `until_us`."""
        number = self._numbers[symbol]
        for segment in reversed(self._segments):
            rows = segment.rows(number)
            n = int(np.searchsorted(segment.end_us[rows], until_us, side="right"))
            if n:
                return segment.seen(int(rows[n - 1]))
        return None

    def bars(
        self, symbol: Symbol, first_us: int, last_us: int, until_us: int, *, newest_first: bool
    ) -> Iterator[SeenBar]:
        """Bars that start within [first_us, last_us] and have ended by `until_us`."""
        number = self._numbers[symbol]
        for segment in reversed(self._segments) if newest_first else self._segments:
            rows = segment.rows(number)
            low = int(np.searchsorted(segment.start_us[rows], first_us, side="left"))
            high = min(
                int(np.searchsorted(segment.start_us[rows], last_us, side="right")),
                int(np.searchsorted(segment.end_us[rows], until_us, side="right")),
            )
            picked = range(high - 1, low - 1, -1) if newest_first else range(low, high)
            for i in picked:
                yield segment.seen(int(rows[i]))

    def _locate(self, i: int) -> tuple[Segment, int] | None:
        """Segment and place of instant `i` counted from the very first bar."""
        while i >= self._ends[-1]:
            if self._grow is None:
                return None
            more = self._grow()
            if more is None:
                self._grow = None
                return None
            self._segments.append(more)
            self._ends.append(self._ends[-1] + more.instants)
        at = bisect_right(self._ends, i)
        return self._segments[at], i - (self._ends[at - 1] if at else 0)


def _session_of(place: tuple[Segment, int]) -> int:
    segment, i = place
    return int(segment.session[segment.edges[i]])
