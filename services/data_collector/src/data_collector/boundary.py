"""Which of the bars that a provider hands over may come in?

Everything a provider says is checked here, once: a bar that contradicts itself is refused with its reason,
one that is none of our business (outside the session, still running) is passed over, the rest are exact
and complete. One bad bar never holds up the others. Nothing here reads a clock or a table.

The whole market's minute comes in at once, so what is written plainly (figures as numbers, exact to a micro) is checked
column by column. A row that does not pass there is looked at by itself, and only that decides about it, so both ways
come to the same bars.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import orjson

from shared.domain.bar_blocks import EPOCH, BarBlock, block_of, in_order, joined, to_epoch_us
from shared.domain.bars import MAX_VOLUME, Bar
from shared.domain.calendar import NEW_YORK, TradingCalendar
from shared.domain.errors import InvalidBar, InvalidInput, InvalidSymbol, InvalidTime
from shared.domain.money import MAX_PRICE, MICROS, parse_price
from shared.domain.quality import WIDEST_INTRADAY, bad_print
from shared.domain.symbols import Symbol, parse_symbol
from shared.domain.timeframes import Timeframe

# How far this machine's clock may be behind the venue's before a bar counts as coming from the future.
CLOCK_SKEW = timedelta(seconds=5)
_MAX_SYMBOL = 40
_MAX_REASON = 400
_MAX_RAW = 2_000


class RawBar(NamedTuple):
    """A bar in a provider's words, nothing of it believed yet; `raw` is kept as evidence."""

    symbol: object
    start: object
    open: object
    high: object
    low: object
    close: object
    volume: object
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Refused:
    """A bar that cannot be right, bounded for storage."""

    symbol: str
    reason: str
    raw: str


@dataclass(frozen=True, slots=True)
class Admitted:
    """What came in, what was refused, and how many were none of our business.

    `block` is sorted by symbol, then start; of a bar that came twice both are there, in the order of arrival.
    """

    block: BarBlock
    refused: tuple[Refused, ...]
    passed_over: int

    @property
    def bars(self) -> tuple[Bar, ...]:
        """What came in, one by one."""
        return tuple(self.block)


def admit(
    rows: Sequence[RawBar],
    timeframe: Timeframe,
    calendar: TradingCalendar,
    now: datetime,
    *,
    vouched_for: bool = False,
) -> Admitted:
    """Check every row of `rows`, bars of `timeframe` as known at `now`.

    `vouched_for`: a person says that the figures are right although no market lets them be.
    """
    plain, rest = _plain_ones(rows, timeframe, calendar, now)
    blocks: list[BarBlock] = [plain]
    bad: list[Refused] = []
    passed_over = 0
    for number in rest:
        row = rows[number]
        try:
            bar = _admit(row, timeframe, calendar, now)
            if bar is not None and not vouched_for:
                why = bad_print(timeframe, float(bar.high), float(bar.low))
                if why is not None:
                    raise InvalidBar(why)
        except InvalidInput as error:
            bad.append(refused(row.symbol, str(error), row.raw))
            continue
        if bar is None:
            passed_over += 1
        else:
            blocks.append(block_of(timeframe, [bar]))
    return Admitted(joined(timeframe, blocks), tuple(bad), passed_over)


def _plain_ones(
    rows: Sequence[RawBar], timeframe: Timeframe, calendar: TradingCalendar, now: datetime
) -> tuple[BarBlock, Sequence[int]]:
    """The rows that are good beyond doubt, as columns, and the numbers of all others."""
    # Thousands of rows of one minute share one text.
    texts = {row.start for row in rows if isinstance(row.start, str)}
    spans = {text: _span(text, timeframe, calendar, now) for text in texts}
    numbers = [number for number, row in enumerate(rows) if _is_plain(row, spans)]
    figures = np.array([rows[i][2:7] for i in numbers], dtype=np.float64).reshape(-1, 5).T
    prices, volume = figures[:4], figures[4]
    # What is no price may be as large as it likes.
    with np.errstate(over="ignore", invalid="ignore"):
        micros = np.rint(prices * MICROS)
        good = (
            # Written with no more than six places: then this is exactly the price that was written.
            (micros / MICROS == prices).all(axis=0)
            & (micros > 0).all(axis=0)
            & (micros <= float(MAX_PRICE) * MICROS).all(axis=0)
            & (prices[1] >= prices.max(axis=0))
            & (prices[2] <= prices.min(axis=0))
            & (volume >= 0)
            & (volume <= MAX_VOLUME)
            & (volume == np.rint(volume))
        )
        if timeframe.is_intraday:
            good &= prices[1] <= prices[2] * WIDEST_INTRADAY
    rest = set(range(len(rows))).difference(numbers[i] for i in np.flatnonzero(good))
    # A bar that came twice is one of these as a whole, so that its order of arrival is kept.
    odd = {rows[i].symbol for i in rest if isinstance(rows[i].symbol, str)}
    kept = [i for i in np.flatnonzero(good).tolist() if rows[numbers[i]].symbol not in odd]
    bounds = np.array([spans[rows[numbers[i]].start] for i in kept], dtype=np.int64)  # type: ignore[index]
    block = BarBlock(
        timeframe,
        tuple(Symbol(str(rows[numbers[i]].symbol)) for i in kept),
        *(
            *bounds.reshape(-1, 2).T,
            *micros[:, kept].astype(np.int64),
            volume[kept].astype(np.int64),
        ),
    )
    taken = {numbers[i] for i in kept}
    return in_order(block), [i for i in range(len(rows)) if i not in taken]


def _is_plain(row: RawBar, spans: Mapping[str, tuple[int, int] | None]) -> bool:
    """Whether a row's symbol and time are good, and its figures numbers that columns can hold."""
    symbol, start = row.symbol, row.start
    if not (isinstance(symbol, str) and isinstance(start, str)):
        return False
    for value in row[2:7]:
        # A bool is an int as well, and no figure.
        if type(value) is not float and (type(value) is not int or abs(value) > MAX_VOLUME):
            return False
    return spans[start] is not None and _is_symbol(symbol)


@lru_cache(maxsize=1 << 16)
def _is_symbol(text: str) -> bool:
    try:
        parse_symbol(text)
    except InvalidSymbol:
        return False
    return True


def _span(
    text: str, timeframe: Timeframe, calendar: TradingCalendar, now: datetime
) -> tuple[int, int] | None:
    """Start and end, in microseconds, of the bars stamped like this; None when they need a closer look."""
    try:
        found = _bounds(text, timeframe, calendar, now)
    except InvalidInput:
        return None
    return None if found is None else (to_epoch_us(found[0]), to_epoch_us(found[1]))


def _admit(
    row: RawBar, timeframe: Timeframe, calendar: TradingCalendar, now: datetime
) -> Bar | None:
    if not isinstance(row.symbol, str):
        raise InvalidSymbol(f"{_short(row.symbol)} is not a symbol")
    symbol = parse_symbol(row.symbol)
    found = _bounds(row.start, timeframe, calendar, now)
    if found is None:
        return None
    return Bar(
        symbol,
        timeframe,
        *found,
        parse_price(row.open),  # type: ignore[arg-type]  # it refuses what is no number
        parse_price(row.high),  # type: ignore[arg-type]
        parse_price(row.low),  # type: ignore[arg-type]
        parse_price(row.close),  # type: ignore[arg-type]
        _volume(row.volume),
    )


def _bounds(
    start: object, timeframe: Timeframe, calendar: TradingCalendar, now: datetime
) -> tuple[datetime, datetime] | None:
    """Start and end of a bar; None when it is outside of the session, or not over yet.

    Raises:
        InvalidTime: no bar can be stamped like this.
    """
    start_at = _instant(start)
    if timeframe is Timeframe.DAY:
        # Providers stamp a day as they like; New York midnight is its one key here.
        day = start_at.astimezone(NEW_YORK).date()
        start_at = datetime.combine(day, time(0), NEW_YORK).astimezone(start_at.tzinfo)
    elif (start_at - EPOCH) % timeframe.length:
        raise InvalidTime(f"a {timeframe} bar cannot start at {start_at.isoformat()}")
    end_at = calendar.bar_end(start_at, timeframe)
    if timeframe.is_intraday and not _meets_session(start_at, end_at, calendar):
        return None
    if end_at > now and timeframe is Timeframe.DAY:
        # The running day's bar, which still changes.
        return None
    if start_at > now + CLOCK_SKEW:
        raise InvalidTime(f"the bar of {start_at.isoformat()} comes from the future")
    if end_at > now + CLOCK_SKEW:
        return None
    return start_at, end_at


def _meets_session(start_at: datetime, end_at: datetime, calendar: TradingCalendar) -> bool:
    last_moment = end_at - timedelta(microseconds=1)
    return calendar.session_at(start_at) is not None or calendar.session_at(last_moment) is not None


def _instant(value: object) -> datetime:
    if not isinstance(value, str) or len(value) > _MAX_SYMBOL:
        raise InvalidTime(
            f"a bar's time must be a text like 2026-01-15T14:30:00Z, was {_short(value)}"
        )
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        raise InvalidTime(
            f"a bar's time must look like 2026-01-15T14:30:00Z, was {_short(value)}"
        ) from None
    if at.tzinfo is None:
        raise InvalidTime(f"a bar's time must carry a time zone, was {_short(value)}")
    return EPOCH + (at - EPOCH)


def _volume(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise InvalidBar(f"volume must be a whole number of shares, was {_short(value)}")
    return int(value)


def _short(value: object) -> str:
    return repr(value)[:_MAX_SYMBOL]


def said_of(
    bar: Bar, rows: Sequence[RawBar], calendar: TradingCalendar, now: datetime
) -> Mapping[str, Any]:
    """The provider's words for `bar`, which was read from one of `rows`."""
    for row in reversed(rows):
        if row.symbol == bar.symbol and admit([row], bar.timeframe, calendar, now).bars == (bar,):
            words: Mapping[str, Any] = row.raw
            return words
    return {}


def refused(symbol: object, reason: str, said: Mapping[str, Any]) -> Refused:
    """What a provider said, bounded and made harmless, with why it does not come in."""
    name = symbol if isinstance(symbol, str) else repr(symbol)
    # Escaped, so that no control character of a provider reaches a terminal or the database.
    shown = name.encode("unicode_escape").decode()[:_MAX_SYMBOL]
    try:
        raw = orjson.dumps(said, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:
        # A whole number beyond 64 bits, which no provider's JSON holds.
        raw = repr(said)
    return Refused(shown, reason[:_MAX_REASON], raw[:_MAX_RAW])
