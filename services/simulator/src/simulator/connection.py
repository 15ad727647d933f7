"""How does one stream listener get its messages, whatever its speed, and how is it heard?

A bounded queue between the venue, which never waits, and the socket. When the queue is full the listener is
told that it is too slow and is let go: no listener can hold up the venue or the others.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Coroutine
from typing import Any

import msgpack
import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect

MAX_WAITING = 10_000
# How long a listener that was told goodbye may take to hear it.
_FAREWELL_S = 2.0


class Connection:
    """One accepted WebSocket; `send` never blocks."""

    def __init__(self, socket: WebSocket, *, max_waiting: int = MAX_WAITING) -> None:
        self._socket = socket
        self._max_waiting = max_waiting
        self._waiting: deque[bytes | str] = deque()
        self._bell = asyncio.Event()
        self._ending = asyncio.Event()
        self._dropped = False
        self._close_code = 1000

    def send(self, message: bytes | str) -> bool:
        """Queue one message; False when the listener was too slow and is to be given up."""
        if self._ending.is_set():
            return True
        if len(self._waiting) >= self._max_waiting:
            return False
        self._waiting.append(message)
        self._bell.set()
        return True

    def end(self, farewell: bytes | str | None = None, code: int = 1000) -> None:
        """Close once everything queued, and `farewell`, is written."""
        if not self._ending.is_set():
            if farewell is not None:
                self._waiting.append(farewell)
            self._close_code = code
            self._ending.set()
            self._bell.set()

    def give_up(self, farewell: bytes | str) -> None:
        """Forget what is queued, say `farewell` and close: for a listener that does not keep up."""
        self._waiting.clear()
        self.end(farewell, code=1013)

    def drop(self) -> None:
        """Break off without a word, as a failing network does."""
        self._dropped = True
        self._ending.set()
        self._bell.set()

    async def serve(self, reader: Coroutine[Any, Any, None]) -> None:
        """Run `reader` and the writing until either ends; never outlives the socket."""
        reading = asyncio.create_task(reader)
        writing = asyncio.create_task(self._write())
        ending = asyncio.create_task(self._ending.wait())
        tasks = {reading, writing, ending}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._ending.is_set() and not self._dropped:
                await asyncio.wait({writing}, timeout=_FAREWELL_S)
        finally:
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Exception) and not isinstance(
                    result, WebSocketDisconnect | RuntimeError
                ):
                    raise result

    async def _write(self) -> None:
        while not self._dropped:
            await self._bell.wait()
            self._bell.clear()
            while self._waiting and not self._dropped:
                message = self._waiting.popleft()
                if isinstance(message, bytes):
                    await self._socket.send_bytes(message)
                else:
                    await self._socket.send_text(message)
            if self._ending.is_set() and not self._waiting:
                break
        if not self._dropped:
            with contextlib.suppress(RuntimeError):  # the client was quicker
                await self._socket.close(self._close_code)


async def received(socket: WebSocket) -> object:
    """What the client sends next, in JSON or msgpack, text or binary; None when it is neither.

    Raises:
        WebSocketDisconnect: the client has left.
    """
    frame = await socket.receive()
    if frame["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(frame.get("code", 1005))
    return _decoded(frame.get("text") or frame.get("bytes") or b"")


def _decoded(raw: bytes | str) -> object:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        if isinstance(raw, str):
            return None
    try:
        found: object = msgpack.unpackb(raw)
    except (ValueError, msgpack.UnpackException):
        return None
    return found
