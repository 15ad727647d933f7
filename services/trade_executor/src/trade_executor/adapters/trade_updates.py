"""How does the broker tell us by itself what happens?

A WebSocket that is quick and may lose anything: no sequence numbers, no replay. So each (re)connection is
announced to whoever reconciles, frames are handed on unread, and a silent line counts as dead within ten seconds.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
import orjson
import structlog
from pydantic import SecretStr
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from shared.domain.errors import InvalidInput, Unavailable
from shared.ports import Timer
from trade_executor.adapters.alpaca import is_loopback
from trade_executor.wire import decode_frame

_log = structlog.get_logger(__name__)
# A ping, as long again for its answer, and a second to close: nine seconds until silence is known to be one.
PING_S = 4.0
_CLOSE_S = 1.0
_HANDSHAKE_S = 10.0
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
_MAX_FRAME = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Connected:
    """The subscription stands: whatever happens from now on will be told, what happened before may not have been."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """Nothing will be told until the next `Connected`."""

    why: str


StreamItem = Connected | Disconnected | str | bytes


def stream_url(base_url: str) -> str:
    """Where the stream of the trading API at `base_url` is."""
    parts = urlsplit(base_url)
    scheme = "wss" if parts.scheme == "https" else "ws"
    return f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}/stream"


class TradeUpdates:
    """Keeps one connection open and hands on what it brings."""

    def __init__(self, base_url: str, key: SecretStr, secret: SecretStr, timer: Timer) -> None:
        self._url = stream_url(base_url)
        self._key = key
        self._secret = secret
        self._timer = timer

    async def follow(self, inbox: asyncio.Queue[StreamItem]) -> None:
        """Put frames and changes of the connection into `inbox`, until cancelled; waits while it is full."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                async with self._connected() as connection:
                    await self._subscribe(connection)
                    pause_s = _FIRST_PAUSE_S
                    await inbox.put(Connected())
                    async for frame in connection:
                        await inbox.put(frame)
                why = "the broker closed the stream"
            except (WebSocketException, OSError, TimeoutError, Unavailable, InvalidInput) as error:
                why = str(error) or type(error).__name__
            _log.warning("trade stream is down", reason=why[:200], again_in_s=pause_s)
            await inbox.put(Disconnected(why[:200]))
            await self._timer.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _connected(self) -> connect:
        is_local = is_loopback(self._url)
        is_secure = self._url.startswith("wss:")
        return connect(
            self._url,
            open_timeout=_HANDSHAKE_S,
            close_timeout=_CLOSE_S,
            ping_interval=PING_S,
            ping_timeout=PING_S,
            max_size=_MAX_FRAME,
            max_queue=256,
            proxy=None if is_local else True,
            ssl=httpx.create_ssl_context() if is_secure else None,
        )

    async def _subscribe(self, connection: ClientConnection) -> None:
        async with asyncio.timeout(_HANDSHAKE_S):
            await self._say(
                connection,
                "authenticate",
                {
                    "key_id": self._key.get_secret_value(),
                    "secret_key": self._secret.get_secret_value(),
                },
            )
            answer = await self._answer(connection, "authorization")
            if answer.get("status") != "authorized":
                raise Unavailable("the trade stream refuses the keys")
            await self._say(connection, "listen", {"streams": ["trade_updates"]})
            answer = await self._answer(connection, "listening")
            streams = answer.get("streams")
            if not isinstance(streams, list) or "trade_updates" not in streams:
                raise Unavailable("the trade stream does not offer trade_updates")

    async def _say(self, connection: ClientConnection, action: str, data: object) -> None:
        await connection.send(orjson.dumps({"action": action, "data": data}).decode())

    async def _answer(self, connection: ClientConnection, stream: str) -> dict[str, object]:
        """The next control frame; no update can come before the subscription stands."""
        frame = decode_frame(await connection.recv())
        data = frame.get("data")
        if frame.get("stream") != stream or not isinstance(data, dict):
            raise Unavailable(f"the trade stream answered without {stream}: {str(frame)[:200]}")
        return data
