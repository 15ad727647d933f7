"""How is one bounded answer fetched from a provider over HTTP, and why was there none?

Times and sizes are limited, redirects are not followed, and every way to fail becomes one of `outcomes`. No sentence
made here holds an address, since some providers want their key in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson

from data_collector.outcomes import NotData, ServerFailed, TooSlow, Truncated, Unreachable
from shared.domain.errors import Unavailable

_CONNECT_S, _READ_S, _WHOLE_S = 3.0, 15.0, 30.0
_MAX_BYTES = 16 * 1024 * 1024
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_LONGEST_QUOTE = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def make_client(base_url: str, headers: Mapping[str, str]) -> httpx.AsyncClient:
    """A client with few connections and bounded times; connects when first used."""
    return httpx.AsyncClient(
        base_url=base_url.rstrip("/"),
        headers=dict(headers),
        timeout=httpx.Timeout(_READ_S, connect=_CONNECT_S, pool=_READ_S),
        limits=httpx.Limits(max_connections=4, max_keepalive_connections=2),
        follow_redirects=False,
        # Python's own default honours SSL_CERT_FILE, httpx' bundle of authorities does not.
        verify=ssl.create_default_context(),
        # A proxy never stands between two programs of one machine.
        trust_env=urlsplit(base_url).hostname not in _LOOPBACK,
    )


async def get(
    client: httpx.AsyncClient,
    path: str,
    query: Mapping[str, str],
    *,
    venue: str,
    whole_s: float = _WHOLE_S,
) -> Answer:
    """One GET, whatever its status.

    Raises:
        Unreachable, TooSlow, Truncated: there is no whole answer. `venue` names it in the sentence.
    """
    try:
        async with asyncio.timeout(whole_s):
            async with client.stream("GET", path, params=dict(query)) as response:
                body = await _bounded_body(response, venue)
    except (httpx.TimeoutException, TimeoutError) as error:
        # Without the original, whose request holds the address.
        raise TooSlow(f"{venue} gave no answer in time ({type(error).__name__})") from None
    except httpx.RemoteProtocolError:
        raise Truncated(f"{venue} broke off in the middle of an answer") from None
    except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL) as error:
        raise Unreachable(f"{venue} gave no answer: {type(error).__name__}") from None
    return Answer(response.status_code, response.headers, body)


async def _bounded_body(response: httpx.Response, venue: str) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > _MAX_BYTES:
            raise Unavailable(f"{venue} answered with more than {_MAX_BYTES} bytes")
    return bytes(body)


def require_data(answer: Answer, venue: str) -> bytes:
    """The body of an answer that may hold data; 4xx that mean something were dealt with before.

    Raises:
        ServerFailed, NotData: it is no data.
    """
    if answer.status >= 500:
        raise ServerFailed(f"{venue} answered {answer.status}")
    if answer.status != httpx.codes.OK:
        raise NotData(f"{venue} answered {answer.status}, which is no data")
    if is_page(answer.body):
        raise NotData(f"{venue} answered with a web page instead of data")
    return answer.body


def json_of(answer: Answer, venue: str) -> Any:
    """The JSON of a good answer.

    Raises:
        ServerFailed, NotData, Truncated: it holds none.
    """
    body = require_data(answer, venue)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        if body.lstrip()[:1] in (b"{", b"["):
            raise Truncated(f"{venue} answered with JSON that ends too early") from None
        raise NotData(f"{venue} answered with something that is no JSON") from None


def is_page(body: bytes) -> bool:
    """Whether this is HTML, which a login page is, whatever its status says."""
    return body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<"


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that `Retry-After` asks for; None when it says nothing usable."""
    with contextlib.suppress(KeyError, ValueError):
        wanted = float(headers["retry-after"])
        if 0 < wanted < float("inf"):
            return wanted
    return None


def quoted(text: object) -> str:
    """A provider's words for one of our sentences: short, on one line, without control characters."""
    if not isinstance(text, str):
        return "no reason given"
    return "".join(c if c.isprintable() else " " for c in text)[:_LONGEST_QUOTE]
