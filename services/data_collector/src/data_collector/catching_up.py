"""What has to be fetched after a start or a lost connection, and what of it is announced?

Pure arithmetic on what is stored and what was announced. History before the first announcement only warms
strategies up and needs no batches. After it, no instant may be left out, or a running strategy's windows would
have holes; but what is too old to act on is announced as not decidable.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from shared.domain.bar_blocks import BarBlock
from shared.domain.calendar import TradingCalendar
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe

# Enough for averages over 200 bars.
WARM_UP_BARS = 250
# Corrections come late: this much before the newest stored bar is fetched again.
_OVERLAP_BARS = 10
# A longer absence is a backfill (`POST /collect/market-data`), and must not hold up trading.
_LONGEST = timedelta(days=30)
_SESSION_MINUTES = 390


@dataclass(frozen=True, slots=True)
class Wanted:
    """One stretch of history to fetch."""

    symbols: tuple[Symbol, ...]
    start_at: datetime
    end_at: datetime


def plan(
    timeframe: Timeframe,
    symbols: Sequence[Symbol],
    stored_until: Mapping[Symbol, datetime],
    announced_until: datetime | None,
    now: datetime,
    calendar: TradingCalendar,
) -> list[Wanted]:
    """What to fetch so that the store holds everything up to `now`.

    Args:
        stored_until: start of the newest stored bar of each symbol that has one.
        announced_until: end of the newest announced instant; None when there is none yet.
    """
    warm_up_at = warm_up_start(timeframe, now, calendar)
    earliest_at = min(warm_up_at, now - _LONGEST)
    groups: dict[datetime, list[Symbol]] = defaultdict(list)
    for symbol in symbols:
        newest_at = stored_until.get(symbol)
        start_at = warm_up_at
        if newest_at is not None:
            # A backfill may have stored bars beyond a hole, so the announced instants count as well.
            start_at = min(newest_at, announced_until or newest_at)
            start_at = max(_back(start_at, _OVERLAP_BARS, timeframe, calendar), earliest_at)
        groups[start_at].append(symbol)
    return [
        Wanted(tuple(some), start_at, now)
        for start_at, some in sorted(groups.items())
        if start_at < now
    ]


def warm_up_start(timeframe: Timeframe, now: datetime, calendar: TradingCalendar) -> datetime:
    """From when on history is needed for `WARM_UP_BARS` bars before `now`."""
    return _back(now, WARM_UP_BARS, timeframe, calendar)


def _back(at: datetime, bars: int, timeframe: Timeframe, calendar: TradingCalendar) -> datetime:
    """A session's open with at least `bars` bars of open market between it and `at`."""
    per_session = 1
    if timeframe.is_intraday:
        minutes = int(timeframe.length.total_seconds()) // 60
        per_session = max(1, _SESSION_MINUTES // minutes)
    # The session of `at` may have hardly begun, and half days are short: one more than needed.
    sessions = -(-bars // per_session) + 1
    days = timedelta(days=sessions * 2 + 10)
    past = [s for s in calendar.between((at - days).date(), at.date()) if s.open_at <= at]
    if not past:
        return at - days
    first = past[max(0, len(past) - 1 - sessions)]
    # A daily bar is stamped at the beginning of its day, before the open.
    return first.open_at - timedelta(hours=12) if timeframe is Timeframe.DAY else first.open_at


def by_instant(block: BarBlock) -> Iterator[BarBlock]:
    """`block` cut into one block per instant at which bars end, oldest first."""
    for end_us in np.unique(block.end_us):
        yield block.picked(block.end_us == end_us)
