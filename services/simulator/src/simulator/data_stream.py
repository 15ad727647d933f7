"""Which bars have just ended (`/v2/iex`, `/v2/sip`, `/v2/test`)?

Alpaca's market-data stream: JSON in text frames, msgpack with the Timestamp extension when the handshake asks
for it. Minute bars go to the channel `bars`, daily ones to `dailyBars`; after each instant JSON clients get an
end marker of our own, so that who batches an instant need not guess when it is complete.
"""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.websockets import WebSocket

from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.ports import Timer
from simulator import wire
from simulator.connection import Connection, received
from simulator.crowd import Crowd
from simulator.faults import Fault
from simulator.matching import TapeBar
from simulator.tape import Instant

FEEDS = ("iex", "sip", "delayed_sip", "test")
_AUTH_S = 10.0
_MAX_SYMBOLS = 20_000
_CHANNELS = ("trades", "quotes", "bars", "updatedBars", "dailyBars", "statuses", "lulds")
# What a client may name but the broker derives from `trades`.
_FOLLOWERS = ("corrections", "cancelErrors")
_ERRORS = {
    400: "invalid syntax",
    401: "not authenticated",
    402: "auth failed",
    403: "already authenticated",
    404: "auth timeout",
    405: "symbol limit exceeded",
    406: "connection limit exceeded",
    407: "slow client",
    410: "invalid subscribe action for this feed",
}
Messages = list[dict[str, Any]]


class _Listener:
    """One client with its encoding and subscriptions."""

    def __init__(self, socket: WebSocket, feed: str) -> None:
        self.connection = Connection(socket)
        self.feed = feed
        self.path = _path_of(feed)
        self.as_msgpack = "msgpack" in socket.headers.get("content-type", "")
        self.key: str | None = None
        self.wanted: dict[str, set[str]] = {channel: set() for channel in _CHANNELS}

    def encode(self, messages: Messages) -> bytes | str:
        return (
            wire.msgpack_bytes(messages) if self.as_msgpack else wire.json_text(messages).decode()
        )

    def tell(self, messages: Messages) -> None:
        self.put(self.encode(messages))

    def put(self, message: bytes | str) -> None:
        if not self.connection.send(message):
            self.connection.give_up(self.encode(_error(407)))

    def fail(self, code: int, *, end: bool = False) -> None:
        if end:
            self.connection.end(self.encode(_error(code)))
        else:
            self.tell(_error(code))

    def wants(self, channel: str, symbol: Symbol) -> bool:
        wanted = self.wanted[channel]
        return "*" in wanted or symbol in wanted

    def wants_all_of(self, channel: str) -> bool:
        """Whether this and nothing else is subscribed, so that all such clients get the same bytes."""
        return "*" in self.wanted[channel] and not self.wanted["trades"] | self.wanted["quotes"]


class DataStream:
    """All listeners of all feeds; every feed plays the same tape."""

    def __init__(self, timeframe: Timeframe, timer: Timer) -> None:
        self._timeframe = timeframe
        self._crowd: Crowd[_Listener] = Crowd(timer, [_path_of(feed) for feed in FEEDS])

    @property
    def listeners(self) -> int:
        """How many clients have subscribed to anything."""
        return sum(any(listener.wanted.values()) for listener in self._crowd)

    def publish(self, instant: Instant) -> None:
        """Send the instant's bars to whoever wants them, then the end marker."""
        if not self._crowd:
            return
        is_daily = self._timeframe is Timeframe.DAY
        kind, channel = ("d", "dailyBars") if is_daily else ("b", "bars")
        bars = {
            symbol: wire.stream_bar(kind, symbol, instant.start_at, bar)
            for symbol, bar in instant.bars.items()
        }
        marker = wire.end_marker(instant, self._timeframe)
        # Encoded once for all who want everything.
        whole: dict[bool, bytes | str] = {}
        for listener in self._crowd:
            if listener.key is None or not any(listener.wanted.values()):
                continue
            if listener.wants_all_of(channel):
                if listener.as_msgpack not in whole:
                    messages = list(bars.values())
                    if not listener.as_msgpack:
                        messages.append(marker)
                    whole[listener.as_msgpack] = listener.encode(messages)
                listener.put(whole[listener.as_msgpack])
                continue
            messages = []
            for symbol, message in bars.items():
                if listener.wants("trades", symbol):
                    messages.append(_tick("t", symbol, instant, instant.bars[symbol]))
                if listener.wants("quotes", symbol):
                    messages.append(_tick("q", symbol, instant, instant.bars[symbol]))
                if listener.wants(channel, symbol):
                    messages.append(message)
            if not listener.as_msgpack:
                messages.append(marker)
            if messages:
                listener.tell(messages)

    def drop_all(self, fault: Fault) -> int:
        """Break off every connection that the fault matches; returns how many."""
        return self._crowd.drop(fault)

    def end_all(self) -> None:
        """Say goodbye to everybody, as a server that stops does."""
        self._crowd.end()

    async def endpoint(self, socket: WebSocket) -> None:
        """One client, from its handshake to its end."""
        await self._crowd.serve(socket, self._welcomed, self._read)

    def _welcomed(self, socket: WebSocket) -> _Listener:
        listener = _Listener(socket, socket.url.path.rsplit("/", 1)[-1])
        listener.tell([{"T": "success", "msg": "connected"}])
        key, secret = (socket.headers.get(f"apca-api-{n}") for n in ("key-id", "secret-key"))
        if key and secret:
            self._authenticate(listener, key)
        return listener

    async def _read(self, socket: WebSocket, listener: _Listener) -> None:
        try:
            async with asyncio.timeout(_AUTH_S):
                while listener.key is None:
                    self._answer(listener, await received(socket))
        except TimeoutError:
            listener.fail(404, end=True)
            return
        while True:
            self._answer(listener, await received(socket))

    def _answer(self, listener: _Listener, message: object) -> None:
        if not isinstance(message, dict):
            listener.fail(400)
            return
        match message.get("action"):
            case "auth" if listener.key is not None:
                listener.fail(403)
            case "auth":
                key, secret = message.get("key"), message.get("secret")
                if not (isinstance(key, str) and key and secret):
                    listener.fail(402, end=True)
                else:
                    self._authenticate(listener, key)
            case "subscribe" | "unsubscribe" if listener.key is None:
                listener.fail(401)
            case "subscribe" | "unsubscribe" as action:
                self._subscribe(listener, message, is_more=action == "subscribe")
            case _:
                listener.fail(400)

    def _authenticate(self, listener: _Listener, key: str) -> None:
        taken = any(
            other.key == key and other.feed == listener.feed
            for other in self._crowd
            if other is not listener
        )
        if taken:
            listener.fail(406, end=True)
            return
        listener.key = key
        listener.tell([{"T": "success", "msg": "authenticated"}])

    @staticmethod
    def _subscribe(listener: _Listener, message: dict[str, Any], *, is_more: bool) -> None:
        changes: dict[str, set[str]] = {}
        for channel, symbols in message.items():
            if channel == "action" or channel in _FOLLOWERS:
                continue
            if channel not in _CHANNELS:
                listener.fail(410)
                return
            if not isinstance(symbols, list) or not all(_is_symbol(s) for s in symbols):
                listener.fail(400)
                return
            before = listener.wanted[channel]
            changes[channel] = before | set(symbols) if is_more else before - set(symbols)
        if sum(map(len, changes.values())) > _MAX_SYMBOLS:
            listener.fail(405)
            return
        listener.wanted.update(changes)
        current: dict[str, Any] = {c: sorted(s) for c, s in listener.wanted.items()}
        followers = dict.fromkeys(_FOLLOWERS, current["trades"])
        listener.tell([{"T": "subscription", **current, **followers}])


def _path_of(feed: str) -> str:
    return f"/v2/{feed}"


def _error(code: int) -> Messages:
    return [{"T": "error", "code": code, "msg": _ERRORS[code]}]


def _is_symbol(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 16 and value.isprintable()


def _tick(kind: str, symbol: Symbol, instant: Instant, bar: TapeBar) -> dict[str, Any]:
    make = wire.latest_trade if kind == "t" else wire.latest_quote
    return {"T": kind, "S": symbol, **make(bar.close, instant.end_at)}
