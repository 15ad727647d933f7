"""In which pieces is a long stretch of history fetched, and where does an interrupted one go on?

Symbols in groups, each group's time in slices that fit into one answer. Pieces come in one fixed order, so that a
marker of three values says everything that is done. A group that was begun keeps its symbols when the work
goes on with another provider, whose groups may be larger. Nothing here reads a clock or a table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from shared.domain.calendar import NEW_YORK, TradingCalendar
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe

_SESSION_MINUTES = 390
# A UTC hour at which no bar of any length is open, so that cutting there splits none.
_CUT = time(2)


@dataclass(frozen=True, slots=True)
class Marker:
    """How far a job has come.

    All symbols up to `through` are done; of the group up to `group_through`, everything that starts before
    `reached_at` is done as well.
    """

    through: str = ""
    group_through: str = ""
    reached_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """One request's worth, and the marker that holds once it is stored."""

    symbols: tuple[Symbol, ...]
    start_at: datetime
    end_at: datetime
    after: Marker


def pieces(
    symbols: Sequence[Symbol],
    timeframe: Timeframe,
    start_at: datetime,
    end_at: datetime,
    *,
    group: int,
    max_bars: int,
    calendar: TradingCalendar,
    marker: Marker = Marker(),
) -> Iterator[Piece]:
    """What is left to fetch of [start_at, end_at), in order.

    Args:
        group: how many symbols one request may name.
        max_bars: how many bars of one symbol one answer may hold.
    """
    left = sorted(symbol for symbol in set(symbols) if symbol > marker.through)
    while left:
        begun = [symbol for symbol in left if symbol <= marker.group_through]
        some = tuple(begun or left[:group])
        since_at = start_at
        if begun and marker.reached_at is not None:
            since_at = max(start_at, marker.reached_at)
        for low, high in slices(timeframe, since_at, end_at, max_bars, calendar):
            after = Marker(marker.through, some[-1], high)
            yield Piece(some, low, high, Marker(some[-1]) if high >= end_at else after)
        left = left[len(some) :]
        marker = Marker(some[-1])


def slices(
    timeframe: Timeframe,
    start_at: datetime,
    end_at: datetime,
    max_bars: int,
    calendar: TradingCalendar,
) -> Iterator[tuple[datetime, datetime]]:
    """[start_at, end_at) cut at nights so that no slice holds more than `max_bars` bars of a symbol."""
    per_session = 1
    if timeframe.is_intraday:
        minutes = int(timeframe.length.total_seconds()) // 60
        # An hour that begins before the open counts as well, hence one more.
        per_session = _SESSION_MINUTES // minutes + 1
    sessions = max(1, max_bars // per_session)
    while start_at < end_at:
        days = calendar.between(
            start_at.astimezone(NEW_YORK).date(), end_at.astimezone(NEW_YORK).date()
        )
        if len(days) <= sessions:
            yield start_at, end_at
            return
        cut = datetime.combine(days[sessions - 1].on + timedelta(days=1), _CUT, UTC)
        cut = min(max(cut, start_at + timedelta(hours=1)), end_at)
        yield start_at, cut
        start_at = cut
