"""How are past bars read from Alpaca's market-data REST API?

Every outcome is a type of its own: a page of bars (possibly none: a symbol without data is merely missing), a
pause asked for, a definite no, or no usable answer (timeout, 5xx, HTML, broken JSON). The last is never
taken for 'no bars'. All pages are read, up to the null token. Raw prices; no splits applied.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson

from data_collector.adapters.web import Answer, get, json_of, make_client, quoted, retry_after_s
from data_collector.boundary import RawBar
from data_collector.ports import Budget
from shared.config import Settings
from shared.domain.errors import Misconfigured, RateLimited, Rejected, Unavailable
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.ports import Clock

PROVIDER = "alpaca"
VENUE = "Alpaca's market data"
_PAGE_ROWS = 10_000
# Keeps the address of a request well below what servers take.
_SYMBOLS_PER_REQUEST = 200
_DEFAULT_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 60.0
# Past bars come from the same tape as the live ones, or a batch would depend on which way its bars came.
_HISTORY_FEEDS = frozenset({"iex", "sip", "otc", "boats"})


def data_keys(settings: Settings) -> dict[str, str]:
    """The headers that open market data: its own pair of keys, else the trading pair.

    Raises:
        Misconfigured: neither pair is complete.
    """
    for names in (
        ("alpaca_data_api_key", "alpaca_data_secret_key"),
        ("alpaca_api_key", "alpaca_secret_key"),
    ):
        key, secret = (getattr(settings, name) for name in names)
        if key is not None and secret is not None:
            return {
                "APCA-API-KEY-ID": key.get_secret_value(),
                "APCA-API-SECRET-KEY": secret.get_secret_value(),
            }
    raise Misconfigured(
        "missing setting ALPACA_DATA_API_KEY and ALPACA_DATA_SECRET_KEY: set both in .env "
        "(a paper account's pair will do), or run `make demo`, which needs none"
    )


@contextlib.asynccontextmanager
async def open_history(
    settings: Settings, clock: Clock, budget: Budget
) -> AsyncIterator[AlpacaHistory]:
    """A client with bounded connections and times; connects when first used."""
    async with make_client(settings.alpaca_data_url, data_keys(settings)) as client:
        feed = settings.alpaca_data_stream_url.rstrip("/").rsplit("/", 1)[-1]
        yield AlpacaHistory(client, feed=feed, budget=budget, clock=clock)


class AlpacaHistory:
    """See `History`."""

    def __init__(
        self, client: httpx.AsyncClient, *, feed: str, budget: Budget, clock: Clock
    ) -> None:
        self._client = client
        self._feed = feed if feed in _HISTORY_FEEDS else None
        self._budget = budget
        self._clock = clock

    @property
    def provider(self) -> str:
        """See `History`."""
        return PROVIDER

    @property
    def group(self) -> int:
        """See `History`."""
        return _SYMBOLS_PER_REQUEST

    @property
    def max_bars(self) -> int:
        """See `History`. Pages follow each other anyway; so much is one step of a job's progress."""
        return _PAGE_ROWS

    async def pages(
        self, symbols: Sequence[Symbol], timeframe: Timeframe, start_at: datetime, end_at: datetime
    ) -> AsyncIterator[list[RawBar]]:
        """See `History`."""
        for at in range(0, len(symbols), _SYMBOLS_PER_REQUEST):
            query = {
                "symbols": ",".join(symbols[at : at + _SYMBOLS_PER_REQUEST]),
                "timeframe": timeframe.value,
                "start": _rfc3339(start_at),
                "end": _rfc3339(end_at),
                "limit": str(_PAGE_ROWS),
                "adjustment": "raw",
                "sort": "asc",
            }
            if self._feed is not None:
                query["feed"] = self._feed
            seen: set[str] = set()
            while True:
                rows, token = read_page(await self._get(query))
                yield rows
                if token is None:
                    break
                if token in seen:
                    raise Unavailable("Alpaca's market data repeats a page token; try again later")
                seen.add(token)
                query["page_token"] = token

    async def _get(self, query: Mapping[str, str]) -> Any:
        await self._budget.spend(1, f"{query['timeframe']} bars")
        answer = await get(self._client, "/v2/stocks/bars", query, venue=VENUE)
        try:
            return parse_answer(answer, self._clock.now())
        except RateLimited as error:
            await self._budget.refused(error.pause_s, str(error))
            raise


def parse_answer(answer: Answer, now: datetime) -> Any:
    """The JSON of a good answer; everything else raises what the caller should do about it."""
    status = answer.status
    if status == httpx.codes.TOO_MANY_REQUESTS:
        raise RateLimited(VENUE, _pause_s(answer.headers, now))
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise Misconfigured(
            f"{VENUE} refused the keys ({status}: {_message(answer.body)}); check "
            "ALPACA_DATA_API_KEY, ALPACA_DATA_SECRET_KEY and whether the plan has this feed"
        )
    if 400 <= status < 500:
        raise Rejected(f"{VENUE} refused the request ({status}: {_message(answer.body)})")
    return json_of(answer, VENUE)


def read_page(answer: Any) -> tuple[list[RawBar], str | None]:
    """The bars of one page and the token of the next, None on the last page."""
    if not isinstance(answer, dict) or "next_page_token" not in answer:
        raise Unavailable("Alpaca's market data answered without a page of bars")
    bars, token = answer.get("bars"), answer["next_page_token"]
    if bars is None:
        bars = {}
    if not isinstance(bars, dict) or not (token is None or isinstance(token, str)):
        raise Unavailable("Alpaca's market data answered without a page of bars")
    rows = []
    for symbol, its_bars in bars.items():
        if not isinstance(its_bars, list | None):
            raise Unavailable("Alpaca's market data answered without a page of bars")
        rows += [raw_bar(symbol, bar) for bar in its_bars or ()]
    return rows, token or None


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


def _pause_s(headers: Mapping[str, str], now: datetime) -> float:
    """How long a 429 asks us to wait, bounded."""
    wanted = retry_after_s(headers)
    if wanted is None and "retry-after" not in headers:
        with contextlib.suppress(KeyError, ValueError):
            wanted = float(headers["x-ratelimit-reset"]) - now.timestamp()
    if wanted is None or not 0 < wanted < float("inf"):
        wanted = _DEFAULT_PAUSE_S
    return min(max(wanted, 1.0), _LONGEST_PAUSE_S)


def _message(body: bytes) -> str:
    """What the venue said; HTML says nothing."""
    with contextlib.suppress(orjson.JSONDecodeError):
        said = orjson.loads(body)
        if isinstance(said, dict):
            return quoted(said.get("message"))
    return "no reason given"


def _rfc3339(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
