"""What is common to all requests to Alpaca's market data?

Keys, budget, bounds, and what an answer means: JSON, a pause asked for, a definite no, or no usable answer (timeout, 5xx,
HTML, broken JSON), each a type of its own. Whatever comes in pages is read up to the null token.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson

from data_collector.adapters.web import Answer, get, json_of, make_client, quoted, retry_after_s
from data_collector.ports import Budget
from shared.config import Settings
from shared.domain.errors import Misconfigured, RateLimited, Rejected, Unavailable
from shared.ports import Clock

PROVIDER = "alpaca"
VENUE = "Alpaca's market data"
# Keeps the address of a request well below what servers take.
SYMBOLS_PER_REQUEST = 200
_DEFAULT_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 60.0


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


class AlpacaData:
    """One client of the market-data host, paid out of one budget."""

    def __init__(self, client: httpx.AsyncClient, budget: Budget, clock: Clock) -> None:
        self._client = client
        self._budget = budget
        self._clock = clock

    async def get(self, path: str, query: Mapping[str, str], what: str) -> Any:
        """The JSON of one answer; `what` is shown while the request waits for its turn."""
        await self._budget.spend(1, what)
        answer = await get(self._client, path, query, venue=VENUE)
        try:
            return parse_answer(answer, self._clock.now())
        except RateLimited as error:
            await self._budget.refused(error.pause_s, str(error))
            raise

    async def pages(
        self, path: str, query: Mapping[str, str], what: str
    ) -> AsyncIterator[Mapping[str, Any]]:
        """Every page, up to the null token. Raises Unavailable for what is no page."""
        asked = dict(query)
        seen: set[str] = set()
        while True:
            page = await self.get(path, asked, what)
            token = page.get("next_page_token", 0) if isinstance(page, dict) else 0
            if not isinstance(token, str | None):
                raise Unavailable(f"{VENUE} answered without a page of {what}")
            yield page
            if not token:
                return
            if token in seen:
                raise Unavailable(f"{VENUE} repeats a page token; try again later")
            seen.add(token)
            asked["page_token"] = token


@contextlib.asynccontextmanager
async def open_alpaca_data(
    settings: Settings, clock: Clock, budget: Budget
) -> AsyncIterator[AlpacaData]:
    """A client with bounded connections and times; connects when first used."""
    async with make_client(settings.alpaca_data_url, data_keys(settings)) as client:
        yield AlpacaData(client, budget, clock)


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


def rfc3339(at: datetime) -> str:
    """How Alpaca writes an instant."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
