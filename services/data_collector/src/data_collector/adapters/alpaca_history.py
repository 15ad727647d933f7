"""How are past bars read from Alpaca's market-data REST API?

Every outcome is a type of its own: a page of bars (possibly none: a symbol without data is merely missing), a
pause asked for, a definite no, or no usable answer (timeout, 5xx, HTML, broken JSON). The last is never
taken for 'no bars'. All pages are read, up to the null token. Raw prices; no splits applied.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson

from data_collector.boundary import RawBar
from shared.config import Settings
from shared.domain.errors import Misconfigured, RateLimited, Rejected, Unavailable
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.ports import Clock, Timer

PROVIDER = "alpaca"
_PAGE_ROWS = 10_000
# Keeps the address of a request well below what servers take.
_SYMBOLS_PER_REQUEST = 200
_CONNECT_S, _READ_S, _WHOLE_S = 3.0, 15.0, 30.0
_MAX_BYTES = 16 * 1024 * 1024
_DEFAULT_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 60.0
_MINUTE_S = 60.0
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
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
    settings: Settings, clock: Clock, timer: Timer
) -> AsyncIterator[AlpacaHistory]:
    """A client with bounded connections and times; connects when first used."""
    host = urlsplit(settings.alpaca_data_url).hostname
    client = httpx.AsyncClient(
        base_url=settings.alpaca_data_url.rstrip("/"),
        headers=data_keys(settings),
        timeout=httpx.Timeout(_READ_S, connect=_CONNECT_S, pool=_READ_S),
        limits=httpx.Limits(max_connections=4, max_keepalive_connections=2),
        follow_redirects=False,
        # Python's own default honours SSL_CERT_FILE, httpx' bundle of authorities does not.
        verify=ssl.create_default_context(),
        # A proxy never stands between two programs of one machine.
        trust_env=host not in _LOOPBACK,
    )
    async with client:
        yield AlpacaHistory(
            client,
            feed=settings.alpaca_data_stream_url.rstrip("/").rsplit("/", 1)[-1],
            pace=Pace(settings.alpaca_requests_per_minute, timer),
            clock=clock,
        )


class Pace:
    """At most so many requests in any minute of machine time."""

    def __init__(self, per_minute: int, timer: Timer) -> None:
        self._timer = timer
        self._sent_s: deque[float] = deque(maxlen=per_minute)

    async def turn(self) -> None:
        """Return when the next request may go out."""
        while len(self._sent_s) == self._sent_s.maxlen:
            wait_s = self._sent_s[0] + _MINUTE_S - self._timer.monotonic_s()
            if wait_s <= 0:
                break
            await self._timer.sleep(wait_s)
        self._sent_s.append(self._timer.monotonic_s())


class AlpacaHistory:
    """See `History`."""

    def __init__(self, client: httpx.AsyncClient, *, feed: str, pace: Pace, clock: Clock) -> None:
        self._client = client
        self._feed = feed if feed in _HISTORY_FEEDS else None
        self._pace = pace
        self._clock = clock

    @property
    def provider(self) -> str:
        """See `History`."""
        return PROVIDER

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
        await self._pace.turn()
        try:
            async with asyncio.timeout(_WHOLE_S):
                async with self._client.stream("GET", "/v2/stocks/bars", params=query) as response:
                    body = await _bounded_body(response)
        except (httpx.HTTPError, httpx.StreamError, TimeoutError) as error:
            raise Unavailable(
                f"Alpaca's market data gave no answer: {type(error).__name__}"
            ) from error
        return parse_answer(response.status_code, response.headers, body, self._clock.now())


async def _bounded_body(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > _MAX_BYTES:
            raise Unavailable(f"Alpaca's market data answered with more than {_MAX_BYTES} bytes")
    return bytes(body)


def parse_answer(status: int, headers: Mapping[str, str], body: bytes, now: datetime) -> Any:
    """The JSON of a good answer; everything else raises what the caller should do about it."""
    if status == httpx.codes.TOO_MANY_REQUESTS:
        raise RateLimited("Alpaca's market data", _pause_s(headers, now))
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise Misconfigured(
            f"Alpaca's market data refused the keys ({status}: {_message(body)}); check "
            "ALPACA_DATA_API_KEY, ALPACA_DATA_SECRET_KEY and whether the plan has this feed"
        )
    if 400 <= status < 500:
        raise Rejected(f"Alpaca's market data refused the request ({status}: {_message(body)})")
    if status != httpx.codes.OK:
        raise Unavailable(f"Alpaca's market data answered {status}")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Unavailable("Alpaca's market data answered with something that is no JSON") from None


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


def _pause_s(headers: Mapping[str, str], now: datetime) -> float:
    """How long a 429 asks us to wait, bounded."""
    wanted = _DEFAULT_PAUSE_S
    with contextlib.suppress(KeyError, ValueError):
        wanted = float(headers["x-ratelimit-reset"]) - now.timestamp()
    with contextlib.suppress(KeyError, ValueError):
        wanted = float(headers["retry-after"])
    if not 0 < wanted < float("inf"):
        wanted = _DEFAULT_PAUSE_S
    return min(max(wanted, 1.0), _LONGEST_PAUSE_S)


def _message(body: bytes) -> str:
    """What the venue said, shortened and without control characters; HTML says nothing."""
    with contextlib.suppress(orjson.JSONDecodeError):
        said = orjson.loads(body)
        if isinstance(said, dict) and isinstance(said.get("message"), str):
            return "".join(c if c.isprintable() else " " for c in said["message"])[:200]
    return "no reason given"


def _rfc3339(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
