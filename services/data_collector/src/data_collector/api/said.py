"""What more than one group of routes says or reads: a bar, an instant, how long a page may be."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from pydantic import BaseModel

from shared.domain.bars import Bar
from shared.domain.calendar import NEW_YORK
from shared.domain.errors import InvalidTime
from shared.domain.money import plain

MAX_LIMIT = 500


class ApiBar(BaseModel):
    """One bar; prices in dollars as exact text, volume in shares."""

    symbol: str
    timeframe: str
    start_at: datetime
    end_at: datetime
    open: str
    high: str
    low: str
    close: str
    volume: int


def instant(name: str, text: str, *, is_end: bool = False) -> datetime:
    """A query's time: an instant with a zone, or a New York date (its begin, or its end)."""
    try:
        if len(text) == len("2026-01-15"):
            day = date.fromisoformat(text) + timedelta(days=is_end)
            at = datetime.combine(day, time(0), NEW_YORK)
        else:
            # A plus sign that nobody escaped arrives as a blank.
            at = datetime.fromisoformat(text.replace(" ", "+"))
        if at.tzinfo is None:
            raise InvalidTime(f"{name} needs a time zone, like 2026-01-15T14:30:00Z")
        return at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidTime(
            f"{name} must look like 2026-01-15 or 2026-01-15T14:30:00Z, was {text[:40]!r}"
        ) from None


def api_bar(bar: Bar) -> ApiBar:
    """`bar` as it is answered."""
    return ApiBar(
        symbol=bar.symbol,
        timeframe=bar.timeframe.value,
        start_at=bar.start_at,
        end_at=bar.end_at,
        open=plain(bar.open),
        high=plain(bar.high),
        low=plain(bar.low),
        close=plain(bar.close),
        volume=bar.volume,
    )
