"""Which of the bars that a provider hands over may come in?

Everything a provider says is checked here, once: a bar that contradicts itself is refused with its reason,
one that is none of our business (outside the session, still running) is passed over, the rest are exact
and complete. One bad bar never holds up the others. Nothing here reads a clock or a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any

import orjson

from shared.domain.bar_blocks import EPOCH
from shared.domain.bars import Bar
from shared.domain.calendar import NEW_YORK, TradingCalendar
from shared.domain.errors import InvalidBar, InvalidInput, InvalidSymbol, InvalidTime
from shared.domain.money import parse_price
from shared.domain.quality import bad_print
from shared.domain.symbols import parse_symbol
from shared.domain.timeframes import Timeframe

# How far this machine's clock may be behind the venue's before a bar counts as coming from the future.
CLOCK_SKEW = timedelta(seconds=5)
_MAX_SYMBOL = 40
_MAX_REASON = 400
_MAX_RAW = 2_000


@dataclass(frozen=True, slots=True)
class RawBar:
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
    """What came in, what was refused, and how many were none of our business."""

    bars: tuple[Bar, ...]
    refused: tuple[Refused, ...]
    passed_over: int


def admit(
    rows: Iterable[RawBar],
    timeframe: Timeframe,
    calendar: TradingCalendar,
    now: datetime,
    *,
    vouched_for: bool = False,
) -> Admitted:
    """Check every row of `rows`, bars of `timeframe` as known at `now`.

    `vouched_for`: a person says that the figures are right although no market lets them be.
    """
    bars: list[Bar] = []
    bad: list[Refused] = []
    passed_over = 0
    for row in rows:
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
            bars.append(bar)
    return Admitted(tuple(bars), tuple(bad), passed_over)


def _admit(
    row: RawBar, timeframe: Timeframe, calendar: TradingCalendar, now: datetime
) -> Bar | None:
    if not isinstance(row.symbol, str):
        raise InvalidSymbol(f"{_short(row.symbol)} is not a symbol")
    symbol = parse_symbol(row.symbol)
    start_at = _instant(row.start)
    if timeframe is Timeframe.DAY:
        # Providers stamp a day as they like; New York midnight is its one key here.
        day = start_at.astimezone(NEW_YORK).date()
        start_at = datetime.combine(day, time(0), NEW_YORK).astimezone(start_at.tzinfo)
    elif (start_at - EPOCH) % timeframe.length:
        raise InvalidTime(f"a {timeframe} bar cannot start at {start_at.isoformat()}")
    end_at = calendar.bar_end(start_at, timeframe)
    if timeframe.is_intraday and not _meets_session(start_at, end_at, calendar):
        return None
    bar = Bar(
        symbol,
        timeframe,
        start_at,
        end_at,
        parse_price(row.open),  # type: ignore[arg-type]  # it refuses what is no number
        parse_price(row.high),  # type: ignore[arg-type]
        parse_price(row.low),  # type: ignore[arg-type]
        parse_price(row.close),  # type: ignore[arg-type]
        _volume(row.volume),
    )
    if end_at > now and timeframe is Timeframe.DAY:
        # The running day's bar, which still changes.
        return None
    if start_at > now + CLOCK_SKEW:
        raise InvalidTime(f"the bar of {start_at.isoformat()} comes from the future")
    if end_at > now + CLOCK_SKEW:
        return None
    return bar


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


def refused(symbol: object, reason: str, said: Mapping[str, Any]) -> Refused:
    """What a provider said, bounded and made harmless, with why it does not come in."""
    name = symbol if isinstance(symbol, str) else repr(symbol)
    # Escaped, so that no control character of a provider reaches a terminal or the database.
    shown = name.encode("unicode_escape").decode()[:_MAX_SYMBOL]
    raw = orjson.dumps(said, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()
    return Refused(shown, reason[:_MAX_REASON], raw[:_MAX_RAW])
