"""How are past bars read from Alpaca's market-data REST API?

A page of bars may hold none: a symbol without data is merely missing. All pages are read, up to the null token. Raw
prices; no splits applied.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from data_collector.adapters.alpaca_data import (
    PROVIDER,
    SYMBOLS_PER_REQUEST,
    VENUE,
    AlpacaData,
    rfc3339,
)
from data_collector.boundary import RawBar
from shared.config import Settings
from shared.domain.errors import Unavailable
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe

_PAGE_ROWS = 10_000
# Past bars come from the same tape as the live ones, or a batch would depend on which way its bars came.
_HISTORY_FEEDS = frozenset({"iex", "sip", "otc", "boats"})


class AlpacaHistory:
    """See `History`."""

    def __init__(self, data: AlpacaData, *, feed: str | None) -> None:
        """`feed`: which tape to ask for (see `history_feed`), None for the best that the plan has."""
        self._data = data
        self._feed = feed

    @property
    def provider(self) -> str:
        """See `History`."""
        return PROVIDER

    @property
    def group(self) -> int:
        """See `History`."""
        return SYMBOLS_PER_REQUEST

    @property
    def max_bars(self) -> int:
        """See `History`. Pages follow each other anyway; so much is one step of a job's progress."""
        return _PAGE_ROWS

    async def pages(
        self, symbols: Sequence[Symbol], timeframe: Timeframe, start_at: datetime, end_at: datetime
    ) -> AsyncIterator[list[RawBar]]:
        """See `History`."""
        for at in range(0, len(symbols), SYMBOLS_PER_REQUEST):
            query = {
                "symbols": ",".join(symbols[at : at + SYMBOLS_PER_REQUEST]),
                "timeframe": timeframe.value,
                "start": rfc3339(start_at),
                "end": rfc3339(end_at),
                "limit": str(_PAGE_ROWS),
                "adjustment": "raw",
                "sort": "asc",
            }
            if self._feed is not None:
                query["feed"] = self._feed
            what = f"{timeframe.value} bars"
            async for page in self._data.pages("/v2/stocks/bars", query, what):
                yield read_page(page)


def history_feed(settings: Settings) -> str | None:
    """The tape of the live stream, where it has a history."""
    feed = settings.alpaca_data_stream_url.rstrip("/").rsplit("/", 1)[-1]
    return feed if feed in _HISTORY_FEEDS else None


def read_page(page: Mapping[str, Any]) -> list[RawBar]:
    """The bars of one page."""
    bars = page.get("bars", ())
    if bars is None:
        bars = {}
    if not isinstance(bars, dict):
        raise Unavailable(f"{VENUE} answered without a page of bars")
    rows = []
    for symbol, its_bars in bars.items():
        if not isinstance(its_bars, list | None):
            raise Unavailable(f"{VENUE} answered without a page of bars")
        rows += [raw_bar(symbol, bar) for bar in its_bars or ()]
    return rows


def raw_bar(symbol: object, bar: object) -> RawBar:
    """A bar in Alpaca's words; what is missing shows as None and is refused at the boundary."""
    said: Mapping[str, Any] = bar if isinstance(bar, dict) else {"bar": bar}
    return RawBar(
        symbol,
        said.get("t"),
        said.get("o"),
        said.get("h"),
        said.get("l"),
        said.get("c"),
        said.get("v"),
        said,
    )


def read_again(symbol: object, value: object, _timeframe: Timeframe) -> RawBar:
    """A bar from the words that were kept of it."""
    return raw_bar(symbol, value)
