"""How are live bars read from Alpaca's market-data stream?

JSON over a WebSocket: log in, subscribe, then bars until the connection is lost, which the protocol has no
memory of: whoever connects again catches up by REST. A refusal that will not change by waiting (wrong keys, a
feed that is not entitled) names its mend; all else is `FeedLost`. The venue may refuse for about 90 s after an
unclean drop (406), which is waited out.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from data_collector.adapters.alpaca_data import data_keys
from data_collector.adapters.alpaca_history import raw_bar
from data_collector.ports import FeedEvent, FeedLost, InstantEnded
from shared.config import Settings
from shared.domain.errors import Misconfigured
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe

# What the stream carries; other lengths would have to be made of minutes.
_CHANNELS = {Timeframe.MINUTE: ("bars", "b"), Timeframe.DAY: ("dailyBars", "d")}
_ANSWER_S = 10.0
_PING_S = 10.0
# A burst of ten thousand bars is one message of about a megabyte and a half.
_MAX_BYTES = 16 * 1024 * 1024
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_MENDS = {
    402: "check ALPACA_DATA_API_KEY and ALPACA_DATA_SECRET_KEY",
    405: "the plan allows fewer symbols: shorten TRADING_SYMBOLS",
    409: "the plan does not have this feed: set ALPACA_DATA_STREAM_URL to one that it has",
    410: "this feed has no such bars: set TRADING_TIMEFRAME or ALPACA_DATA_STREAM_URL",
    411: "these keys may not read market data",
}


class AlpacaFeed:
    """See `Feed`."""

    def __init__(self, settings: Settings, timeframe: Timeframe) -> None:
        """Raises Misconfigured for a length the stream does not have, a bad address or missing keys."""
        if timeframe not in _CHANNELS:
            raise Misconfigured(
                f"the live stream has no {timeframe} bars: set TRADING_TIMEFRAME to "
                f"{' or '.join(known.value for known in _CHANNELS)}"
            )
        self._url = settings.alpaca_data_stream_url
        if urlsplit(self._url).scheme not in ("ws", "wss"):
            raise Misconfigured(
                "ALPACA_DATA_STREAM_URL must look like wss://stream.data.alpaca.markets/v2/iex"
            )
        self._headers = data_keys(settings)
        self._channel, self._kind = _CHANNELS[timeframe]

    @contextlib.asynccontextmanager
    async def connect(self, symbols: Sequence[Symbol]) -> AsyncIterator[AsyncIterator[FeedEvent]]:
        """See `Feed`."""
        parts = urlsplit(self._url)
        connecting = connect(
            self._url,
            open_timeout=_ANSWER_S,
            ping_interval=_PING_S,
            ping_timeout=_PING_S,
            close_timeout=2,
            max_size=_MAX_BYTES,
            user_agent_header=None,
            # A proxy never stands between two programs of one machine.
            proxy=None if parts.hostname in _LOOPBACK else True,
            # Python's own default honours SSL_CERT_FILE.
            ssl=ssl.create_default_context() if parts.scheme == "wss" else None,
        )
        try:
            socket = await connecting
        except (OSError, WebSocketException, TimeoutError) as error:
            raise FeedLost(f"the market-data stream cannot be reached: {_brief(error)}") from error
        try:
            await self._subscribe(socket, list(symbols))
            yield self._events(socket)
        finally:
            # Said goodbye to, the venue frees the connection at once.
            await socket.close()

    async def _subscribe(self, socket: ClientConnection, symbols: list[Symbol]) -> None:
        await self._await(socket, lambda m: m.get("T") == "success" and m.get("msg") == "connected")
        key, secret = self._headers.values()
        await self._send(socket, {"action": "auth", "key": key, "secret": secret})
        await self._await(
            socket, lambda m: m.get("T") == "success" and m.get("msg") == "authenticated"
        )
        await self._send(socket, {"action": "subscribe", self._channel: symbols})
        await self._await(
            socket,
            lambda m: m.get("T") == "subscription" and {*symbols} <= {*m.get(self._channel, ())},
        )

    async def _await(self, socket: ClientConnection, is_it: Any) -> None:
        try:
            async with asyncio.timeout(_ANSWER_S):
                while not any(is_it(message) for message in await _receive(socket)):
                    pass
        except TimeoutError:
            raise FeedLost(f"the market-data stream said nothing for {_ANSWER_S:.0f} s") from None

    async def _send(self, socket: ClientConnection, message: Mapping[str, Any]) -> None:
        try:
            await socket.send(orjson.dumps(message).decode())
        except WebSocketException as error:
            raise FeedLost(f"the market-data stream was lost: {_brief(error)}") from error

    async def _events(self, socket: ClientConnection) -> AsyncIterator[FeedEvent]:
        while True:
            for message in await _receive(socket):
                event = self._event(message)
                if event is not None:
                    yield event

    def _event(self, message: Mapping[str, Any]) -> FeedEvent | None:
        match message.get("T"):
            case kind if kind == self._kind:
                return raw_bar(message.get("S"), message)
            case "end":
                return _ended(message)
        return None


async def _receive(socket: ClientConnection) -> list[dict[str, Any]]:
    """The messages of the next frame; raises when one of them is an error."""
    try:
        frame = await socket.recv()
    except (OSError, WebSocketException) as error:
        raise FeedLost(f"the market-data stream was lost: {_brief(error)}") from error
    try:
        said = orjson.loads(frame)
    except orjson.JSONDecodeError:
        raise FeedLost("the market-data stream sent something that is no JSON") from None
    messages = [m for m in (said if isinstance(said, list) else [said]) if isinstance(m, dict)]
    for message in messages:
        if message.get("T") == "error":
            raise _refusal(message)
    return messages


def _refusal(message: Mapping[str, Any]) -> Exception:
    code = message.get("code")
    said = "".join(c for c in str(message.get("msg"))[:100] if c.isprintable())
    mend = _MENDS.get(code) if isinstance(code, int) else None
    if mend is not None:
        return Misconfigured(f"the market-data stream refused ({code}: {said}); {mend}")
    if code == 406:
        return FeedLost(
            "the market-data stream has a connection of these keys already; after an unclean drop it "
            "lasts up to 90 s, else stop the other program that uses them"
        )
    return FeedLost(f"the market-data stream ended it ({code}: {said})")


def _ended(message: Mapping[str, Any]) -> InstantEnded | None:
    """The simulator's marker; one that cannot be read is as good as none."""
    try:
        end_at = datetime.fromisoformat(message["t"])
        if end_at.tzinfo is None:
            return None
        return InstantEnded(Timeframe(message["tf"]), end_at)
    except (KeyError, TypeError, ValueError):
        return None


def _brief(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")[:200]
