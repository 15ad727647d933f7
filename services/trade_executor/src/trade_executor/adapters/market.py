"""What do Alpaca's reference and market data say of a share?

Flags come from the trading API and are kept for an hour; quotes from the market-data host, never kept. One attempt per
call within two seconds: an entry can wait for the next, and an exit never asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson

from shared.config import Settings
from shared.domain.errors import InvalidInput, RateLimited, Unavailable
from shared.domain.symbols import Symbol
from shared.ports import Timer
from trade_executor import wire
from trade_executor.adapters.alpaca import AlpacaBroker, is_loopback
from trade_executor.answers import pause_asked_for
from trade_executor.market import Asset, Quote

_TOTAL_S = 2.0
_ASSET_LASTS_S = 3600.0
_MAX_ASSETS = 20_000
_MAX_ANSWER = 4 * 1024 * 1024
_SYMBOLS_AT_ONCE = 200
_FEEDS = frozenset({"sip", "iex", "delayed_sip", "otc", "boats", "overnight"})


@asynccontextmanager
async def open_market(
    settings: Settings, broker: AlpacaBroker, timer: Timer
) -> AsyncIterator[AlpacaMarket]:
    """Shares and quotes as `settings` say where to ask; connects when first used."""
    # The pair of the account that trades; the one for data alone is the collector's.
    key, secret = settings.alpaca_api_key, settings.alpaca_secret_key
    assert key is not None
    assert secret is not None
    feed = urlsplit(settings.alpaca_data_stream_url).path.rsplit("/", 1)[-1]
    async with httpx.AsyncClient(
        base_url=settings.alpaca_data_url.rstrip("/"),
        headers={
            "APCA-API-KEY-ID": key.get_secret_value(),
            "APCA-API-SECRET-KEY": secret.get_secret_value(),
            "Accept": "application/json",
            "User-Agent": "full-ai-trader",
        },
        timeout=httpx.Timeout(_TOTAL_S),
        limits=httpx.Limits(max_connections=2),
        follow_redirects=False,
        trust_env=not is_loopback(settings.alpaca_data_url),
    ) as http:
        yield AlpacaMarket(broker, http, timer, feed=feed if feed in _FEEDS else None)


class AlpacaMarket:
    """See `Market`."""

    def __init__(
        self, broker: AlpacaBroker, http: httpx.AsyncClient, timer: Timer, *, feed: str | None
    ) -> None:
        self._broker = broker
        self._http = http
        self._timer = timer
        self._feed = feed
        self._assets: dict[Symbol, tuple[float, Asset | None]] = {}

    async def asset(self, symbol: Symbol) -> Asset | None:
        """See `Market`."""
        now_s = self._timer.monotonic_s()
        kept = self._assets.get(symbol)
        if kept is not None and now_s - kept[0] < _ASSET_LASTS_S:
            return kept[1]
        asset = await self._broker.asset(symbol)
        if len(self._assets) >= _MAX_ASSETS:
            self._assets.clear()
        self._assets[symbol] = (now_s, asset)
        return asset

    async def quotes(self, symbols: list[Symbol]) -> dict[Symbol, Quote]:
        """See `Market`."""
        found: dict[Symbol, Quote] = {}
        for start in range(0, len(symbols), _SYMBOLS_AT_ONCE):
            found.update(await self._page(symbols[start : start + _SYMBOLS_AT_ONCE]))
        return found

    async def _page(self, symbols: list[Symbol]) -> dict[Symbol, Quote]:
        query = {"symbols": ",".join(symbols)}
        if self._feed is not None:
            query["feed"] = self._feed
        body = await self._get("/v2/stocks/quotes/latest", query)
        quotes = body.get("quotes") if isinstance(body, dict) else None
        if not isinstance(quotes, dict):
            raise Unavailable("the market data's answer holds no quotes")
        found: dict[Symbol, Quote] = {}
        for symbol in symbols:
            try:
                quote = wire.read_quote(quotes.get(symbol))
            except InvalidInput as error:
                raise Unavailable(str(error)) from error
            if quote is not None:
                found[symbol] = quote
        return found

    async def _get(self, path: str, query: dict[str, str]) -> Any:
        try:
            async with (
                asyncio.timeout(_TOTAL_S),
                self._http.stream("GET", path, params=query) as response,
            ):
                content = bytearray()
                async for chunk in response.aiter_bytes():
                    content += chunk
                    if len(content) > _MAX_ANSWER:
                        raise Unavailable("the market data's answer is longer than any we expect")
        except (httpx.HTTPError, OSError, TimeoutError) as error:
            raise Unavailable(f"the market data gave no answer ({type(error).__name__})") from error
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
            raise RateLimited("the market data", pause_asked_for(response.headers))
        if response.status_code != httpx.codes.OK:
            raise Unavailable(f"the market data answered {path} with {response.status_code}")
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError:
            raise Unavailable("the market data's answer is no JSON") from None
