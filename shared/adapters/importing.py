"""How does a table of somebody else's bars come into the store?

Column by column, so that a million rows take a second: what contradicts itself, lies outside of the session, is not
over yet, spans a split within a minute or lies far from all bars around it (those of the store before it too) stays out
and is counted by its reason; the rest is stored exactly, in slices that bound the memory. A step that looks like a split
comes in, and is told. Doing it again stores nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time
from typing import Protocol

import numpy as np
import polars as pl

from shared.domain.bar_blocks import BarBlock, from_epoch_us, to_epoch_us
from shared.domain.bars import MAX_VOLUME
from shared.domain.calendar import NEW_YORK, TradingCalendar
from shared.domain.errors import InvalidInput, InvalidSymbol
from shared.domain.history_checks import NEIGHBOURS, SplitStep, judge
from shared.domain.money import MAX_PRICE, MICROS
from shared.domain.quality import WIDEST_INTRADAY
from shared.domain.symbols import Symbol, parse_symbol
from shared.domain.timeframes import Timeframe

_SLICE_ROWS = 2_000_000
_PRICES = ("open", "high", "low", "close")


class Appends(Protocol):
    """The store, as far as it is needed here."""

    def last(
        self, timeframe: Timeframe, symbols: Sequence[Symbol], count: int, until_at: datetime
    ) -> BarBlock:
        """See `BarStore`."""
        ...

    def append(self, block: BarBlock, *, provider: str, fetched_at: datetime) -> int:
        """See `BarStore`."""
        ...


@dataclass(slots=True)
class Imported:
    """What became of the rows of one table."""

    rows: int = 0
    stored: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    # What looks like a split, whether it is known or not.
    steps: list[SplitStep] = field(default_factory=list)
    # Bars whose volume had a fraction of a share, which is not stored: less traded is the careful reading.
    rounded: int = 0

    def add(self, other: Imported) -> None:
        """Count what became of another table as well."""
        self.rows += other.rows
        self.stored += other.stored
        self.steps += other.steps
        self.rounded += other.rounded
        for why, count in other.left_out.items():
            self.left_out[why] = self.left_out.get(why, 0) + count


def import_table(
    table: pl.DataFrame,
    timeframe: Timeframe,
    calendar: TradingCalendar,
    store: Appends,
    *,
    provider: str,
    now: datetime,
    progress: Callable[[int], None] = lambda _: None,
) -> Imported:
    """Store the bars of `table` (see `bar_files.read_bars`); `progress` hears of rows done."""
    done = Imported(rows=len(table))
    spans = _spans(table, timeframe, calendar)
    table = table.sort("symbol", "start_us", maintain_order=True)
    for at in range(0, len(table), _SLICE_ROWS):
        rows = table.slice(at, _SLICE_ROWS)
        block = _beside_neighbours(_block(rows, timeframe, spans, now, done), store, done)
        done.stored += store.append(block, provider=provider, fetched_at=now)
        progress(len(rows))
    return done


_Spans = tuple[np.ndarray, np.ndarray]
# A session that no bar meets, where there is none, so that nothing below has to ask.
_NEVER = np.array([2**62], np.int64)


def _spans(table: pl.DataFrame, timeframe: Timeframe, calendar: TradingCalendar) -> _Spans:
    """Of each session that the table touches, its bounds in microseconds, oldest first."""
    if table.is_empty():
        return _NEVER, _NEVER
    low, high = table.select(
        pl.col("start_us").min().alias("low"), pl.col("start_us").max().alias("high")
    ).row(0)
    if low is None:
        raise InvalidInput("the table has rows without a time")
    sessions = calendar.between(
        from_epoch_us(low).astimezone(NEW_YORK).date(),
        from_epoch_us(high).astimezone(NEW_YORK).date(),
    )
    if not sessions:
        return _NEVER, _NEVER
    starts = [
        to_epoch_us(
            s.open_at if timeframe.is_intraday else datetime.combine(s.on, time(0), NEW_YORK)
        )
        for s in sessions
    ]
    ends = [to_epoch_us(s.close_at) for s in sessions]
    return np.array(starts, np.int64), np.array(ends, np.int64)


def _block(
    rows: pl.DataFrame, timeframe: Timeframe, spans: _Spans, now: datetime, done: Imported
) -> BarBlock:
    """The rows that may come in, counting the others in `done`."""
    start_us = rows["start_us"].to_numpy()
    prices = {name: rows[name].fill_null(float("nan")).to_numpy() for name in _PRICES}
    volume = rows["volume"].fill_null(-1).to_numpy()
    length_us = int(timeframe.length.total_seconds()) * MICROS
    opens, closes = spans
    keep = np.ones(len(rows), dtype=np.bool_)

    def leave_out(why: str, which: np.ndarray) -> None:
        nonlocal keep
        count = int((keep & which).sum())
        if count:
            done.left_out[why] = done.left_out.get(why, 0) + count
            keep = keep & ~which

    leave_out("no symbol, or a text that can be none", ~_known_symbols(rows))
    with np.errstate(invalid="ignore"):
        lowest = np.minimum.reduce(list(prices.values()))
        highest = np.maximum.reduce(list(prices.values()))
        sound = (lowest > 0) & (highest <= float(MAX_PRICE))
        leave_out("prices that are no finite number above zero", ~sound)
        leave_out(
            "open or close outside of low and high",
            (prices["high"] < highest) | (prices["low"] > lowest),
        )
    leave_out("an impossible volume", (volume < 0) | (volume > MAX_VOLUME))
    if timeframe.is_intraday:
        leave_out("a start at which no bar begins", start_us % length_us != 0)
        # The session that closes after the bar's start, and whether the bar meets it.
        session = np.searchsorted(closes, start_us, side="right")
        inside = session < len(closes)
        session = np.minimum(session, len(closes) - 1)
        inside &= start_us + length_us > opens[session]
        end_us = np.where(
            start_us >= opens[session],
            np.minimum(start_us + length_us, closes[session]),
            start_us + length_us,
        )
        leave_out("outside of regular hours", ~inside)
        wide = prices["high"] > prices["low"] * WIDEST_INTRADAY
        leave_out("a bad print: the bar spans more than any market lets it", wide)
    else:
        session = np.searchsorted(opens, start_us, side="right") - 1
        known = (session >= 0) & (
            start_us < np.where(session >= 0, opens[session], 0) + 86_400 * MICROS
        )
        leave_out("a day without session", ~known)
        session = np.maximum(session, 0)
        start_us, end_us = opens[session], closes[session]
    leave_out("not over yet", end_us > to_epoch_us(now))
    kept = np.flatnonzero(keep)
    shares = np.floor(volume[kept])
    done.rounded += int((volume[kept] > shares).sum())
    micros = {name: np.rint(prices[name][kept] * MICROS).astype(np.int64) for name in _PRICES}
    return BarBlock(
        timeframe,
        tuple(rows["symbol"].gather(kept).to_list()),
        start_us[kept].astype(np.int64),
        end_us[kept].astype(np.int64),
        micros["open"],
        micros["high"],
        micros["low"],
        micros["close"],
        shares.astype(np.int64),
    )


def _beside_neighbours(block: BarBlock, store: Appends, done: Imported) -> BarBlock:
    """The bars of `block` (sorted by symbol, then start) that do not lie far from those around them."""
    if not len(block):
        return block
    names = sorted(set(block.symbols))
    first_at = from_epoch_us(int(block.start_us.min()))
    judged = judge(block, store.last(block.timeframe, names, NEIGHBOURS, first_at))
    done.steps += judged.steps
    count = int(judged.far.sum())
    if not count:
        return block
    why = "a bad print: it lies far from all bars around it"
    done.left_out[why] = done.left_out.get(why, 0) + count
    return block.picked(np.flatnonzero(~judged.far))


def _known_symbols(rows: pl.DataFrame) -> np.ndarray:
    """Which rows name a symbol that can be one."""
    good = []
    for name in rows["symbol"].unique().drop_nulls().to_list():
        try:
            good.append(parse_symbol(name))
        except InvalidSymbol:
            continue
    return rows["symbol"].is_in(good).fill_null(value=False).to_numpy()
