"""What must every broker request pass, and what may go wrong with its answer?

Before a route: keys, request limit, faults that refuse. After it: faults that hold or lose the answer, which by
then is the truth. Bodies are bounded and read whole before anything happens. Admin and health requests pass by.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from shared.ports import Clock, Timer
from simulator import wire
from simulator.faults import AFTER, BEFORE, Fault, Faults
from simulator.rate_limit import Allowance, RateLimit
from simulator.refusals import Refusal, invalid_body

MAX_BODY_BYTES = 256 * 1024
_TRANSPORT = "simulator.transport"
_DATA_PATHS = ("/v2/stocks", "/v1/", "/v1beta1/")


class AbruptProtocol(HttpToolsProtocol):
    """uvicorn's HTTP, with the connection within the request's reach so that it can be cut."""

    def on_message_begin(self) -> None:
        """Called when a request begins."""
        super().on_message_begin()
        self.scope["extensions"] = {_TRANSPORT: self.transport}  # type: ignore[dict-item]


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(wire.json_text(value), status, headers, media_type="application/json")


def refused(refusal: Refusal) -> Response:
    """The broker's words for a refusal."""
    return answer(refusal.body, refusal.status)


async def json_body(request: Request) -> object:
    """The request's body, or a refusal when it is no JSON."""
    try:
        return orjson.loads(await request.body())
    except orjson.JSONDecodeError:
        raise invalid_body() from None


def is_data_path(path: str) -> bool:
    """Whether a path belongs to the market-data API, which words its errors in its own way."""
    return path.startswith(_DATA_PATHS)


class BrokerEdge:
    """ASGI middleware around all routes."""

    def __init__(
        self,
        app: ASGIApp,
        faults: Faults,
        limits: Callable[[bool], RateLimit],
        timer: Timer,
        machine_clock: Clock,
    ) -> None:
        """`limits` gives the counter of the data API (True) or the trading API (False)."""
        self._app = app
        self._faults = faults
        self._limits = limits
        self._timer = timer
        self._machine_clock = machine_clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or not scope["path"].startswith("/v"):
            await self._app(scope, receive, send)
            return
        body = await _read_body(receive)
        if body is None:
            await answer({"message": "request body too large"}, 413)(scope, receive, send)
            return
        path, method = scope["path"], scope["method"]
        is_data = is_data_path(path)
        headers = dict(scope["headers"])
        key = _key(headers)
        if key is None:
            words: dict[str, Any] = {"message": "forbidden."}
            if not is_data:
                words = {"code": 40110000, "message": "request is not authorized"}
            await answer(words, 401)(scope, receive, send)
            return
        limit = self._limits(is_data)
        allowance = limit.take(key, self._timer.monotonic_s()) if limit.is_on else None
        fault = self._faults.take(BEFORE, method=method, path=path)
        if fault is not None:
            await self._refuse(fault, allowance)(scope, receive, send)
            return
        if allowance is not None and not allowance.allowed:
            await self._too_many(allowance)(scope, receive, send)
            return
        later = self._faults.take(AFTER, method=method, path=path)
        extra = [] if allowance is None else self._limit_headers(allowance)
        replies: list[Message] = []

        async def replay() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def collect(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *extra]
            if later is None:
                await send(message)
            else:
                replies.append(message)

        await self._app(scope, replay, collect)
        if later is None:
            return
        if later.kind == "lose_reply":
            await cut_connection(scope, receive)
            return
        if later.kind == "truncate":
            replies = truncated(replies)
        await self._timer.sleep(later.delay_s)
        for message in replies:
            await send(message)

    def _refuse(self, fault: Fault, allowance: Allowance | None) -> Response:
        if fault.kind == "rate_limit":
            return self._too_many(allowance or Allowance(False, 200, 0, 1.0), fault.body)
        if fault.body is not None:
            return Response(fault.body, fault.status, media_type="text/html")
        return answer({"message": "simulated fault"}, fault.status)

    def _too_many(self, allowance: Allowance, body: str | None = None) -> Response:
        headers = {k.decode(): v.decode() for k, v in self._limit_headers(allowance)}
        if body is not None:
            return Response(body, 429, headers, media_type="application/json")
        return answer({"code": 42910000, "message": "rate limit exceeded"}, 429, headers)

    def _limit_headers(self, allowance: Allowance) -> list[tuple[bytes, bytes]]:
        reset = math.ceil(self._machine_clock.now().timestamp() + allowance.reset_s)
        return [
            (b"x-ratelimit-limit", str(allowance.limit).encode()),
            (b"x-ratelimit-remaining", str(allowance.remaining).encode()),
            (b"x-ratelimit-reset", str(reset).encode()),
        ]


async def cut_connection(scope: Scope, receive: Receive) -> None:
    """Break the request's connection off without a word, and wait until that is noticed."""
    scope["extensions"][_TRANSPORT].abort()
    while (await receive())["type"] != "http.disconnect":
        pass


def truncated(replies: list[Message]) -> list[Message]:
    """The first half of a whole answer, told as if it were all of it."""
    whole = b"".join(message.get("body", b"") for message in replies[1:])
    half = whole[: len(whole) // 2]
    headers = [(k, v) for k, v in replies[0]["headers"] if k != b"content-length"]
    start = {**replies[0], "headers": [*headers, (b"content-length", str(len(half)).encode())]}
    return [start, {"type": "http.response.body", "body": half}]


def _key(headers: dict[bytes, bytes]) -> str | None:
    """Who asks: the key id, or the token of an OAuth client; None when neither is there."""
    key, secret = headers.get(b"apca-api-key-id"), headers.get(b"apca-api-secret-key")
    if key and secret:
        return key.decode("latin-1")
    token = headers.get(b"authorization", b"").removeprefix(b"Bearer ").strip()
    return token.decode("latin-1") if token else None


async def _read_body(receive: Receive) -> bytes | None:
    """The whole body, or None when it is larger than allowed."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b""
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > MAX_BODY_BYTES:
            return None
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)
