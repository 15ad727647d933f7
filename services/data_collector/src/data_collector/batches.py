"""When is the picture of one instant complete, so that strategies may decide on it?

Bars of one timeframe that end together form a batch. It is closed by the source's end marker, when every
tracked symbol is in, or after a grace time on machine time, and never before its end. Batches close in the
order of their instants; a bar of a closed instant is late: worth storing, never decided on. Pure: the
caller says what time it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from shared.domain.bar_blocks import COLUMNS, BarBlock, from_epoch_us, joined
from shared.domain.calendar import TradingCalendar
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe

# A minute's bars arrive within about a second of each other; the next minute is far away.
GRACE_S = 2.0
# Instants that may be open at once; a source that jumps about in time has the oldest closed early.
_MAX_OPEN = 64
# A regular session; a daily bar's age is counted in these.
_SESSION = timedelta(hours=6, minutes=30)


@dataclass(slots=True)
class _Open:
    """A batch that may still grow."""

    began_s: float
    blocks: list[BarBlock] = field(default_factory=list)
    symbols: set[Symbol] = field(default_factory=set)
    ended: bool = False


class Batches:
    """Collects the bars of one stream into batches."""

    def __init__(
        self,
        timeframe: Timeframe,
        symbols: Iterable[Symbol],
        *,
        grace_s: float | None,
        announced_until: datetime | None,
    ) -> None:
        """Begin with nothing open.

        Args:
            grace_s: None where the source always marks the end, as in a replay, whose outcome must
                not depend on how fast this machine is.
            announced_until: end of the newest instant that was announced already.
        """
        self._timeframe = timeframe
        self._symbols = frozenset(symbols)
        self._grace_s = grace_s
        self._closed_until = announced_until
        self._open: dict[datetime, _Open] = {}

    @property
    def pending(self) -> int:
        """How many instants are open."""
        return len(self._open)

    def add(self, block: BarBlock, timer_s: float) -> BarBlock:
        """Take the bars of `block` into the batches of their instants; returns those of closed ones.

        Of two bars of one symbol the later one counts: a venue corrects itself that way.
        """
        ends = np.unique(block.end_us)
        late = np.zeros(len(block), dtype=np.bool_)
        for end_us in ends.tolist():
            rows = block.end_us == end_us
            end_at = from_epoch_us(end_us)
            if self._closed_until is not None and end_at <= self._closed_until:
                late |= rows
                continue
            some = block if len(ends) == 1 else block.picked(rows)
            batch = self._open.setdefault(end_at, _Open(timer_s))
            batch.blocks.append(some)
            batch.symbols.update(some.symbols)
        return block.picked(late)

    def close_until(self, end_at: datetime) -> None:
        """Note that everything up to `end_at` was announced in another way."""
        self._closed_until = end_at

    def end(self, end_at: datetime) -> None:
        """Note that the source has sent all it has up to the instant `end_at`."""
        for instant, batch in self._open.items():
            if instant <= end_at:
                batch.ended = True

    def due(self, now: datetime, timer_s: float) -> list[BarBlock]:
        """Close and return the batches that are complete at `now`, oldest first."""
        complete = [
            instant
            for instant, batch in self._open.items()
            if instant <= now and self._is_complete(batch, timer_s)
        ]
        by_age = sorted(self._open)
        if len(by_age) > _MAX_OPEN:
            complete.append(by_age[-_MAX_OPEN - 1])
        if not complete:
            return []
        # What is older than a complete instant can only be waiting for bars that will not come.
        until = max(complete)
        closed = [instant for instant in by_age if instant <= until]
        self._closed_until = until
        return [_last_ones(joined(self._timeframe, self._open.pop(at).blocks)) for at in closed]

    def _is_complete(self, batch: _Open, timer_s: float) -> bool:
        if batch.ended or batch.symbols >= self._symbols:
            return True
        return self._grace_s is not None and timer_s - batch.began_s >= self._grace_s


def _last_ones(block: BarBlock) -> BarBlock:
    """Of each symbol the bar that came last."""
    names = block.symbols
    last = np.array([i == len(names) - 1 or names[i] != names[i + 1] for i in range(len(names))])
    return block if last.all() else block.picked(last)


def digest_of(block: BarBlock) -> str:
    """64 hexadecimal characters that name exactly these bars, however they arrived."""
    digest = hashlib.sha256(block.timeframe.value.encode())
    digest.update("\x1f".join(block.symbols).encode())
    for name in COLUMNS:
        digest.update(getattr(block, name).astype("<i8").tobytes())
    return digest.hexdigest()


def age_in_bars(
    end_at: datetime, now: datetime, timeframe: Timeframe, calendar: TradingCalendar
) -> float:
    """How many bar lengths of open market have passed since `end_at`; nights do not age a bar."""
    length = _SESSION if timeframe is Timeframe.DAY else timeframe.length
    return calendar.session_time_between(end_at, now) / length
