"""How long, and how large, may the head of a request be?

The server bounds what is idle between two requests, and our apps the body; nothing bounded a head that comes a byte
now and then, and two hundred of those would shut everybody out. A connection whose head is not whole in time, or
grows past all measure, is closed without an answer: whoever does that reads none.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_WITHIN_S = 10.0
MAX_HEAD_BYTES = 64 * 1024


class BoundedHeads(HttpToolsProtocol):
    """The server's own protocol, with a bound on each request's head."""

    _deadline: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as its parent
        """Begin to wait for a first head."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take what came, unless the head has become too large by it."""
        if self.transport.is_closing():
            return
        # Its declared type leaves out that there is none before the first request.
        is_idle = self.cycle is None or self.cycle.response_complete  # type: ignore[redundant-expr]
        if self._deadline is None and is_idle:
            self._wait()
        if self._deadline is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        # One large piece may hold a head and much of its body, so it is looked at once it is read.
        if self._deadline is not None and self._head_bytes > MAX_HEAD_BYTES:
            self._give_up()

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._end()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is waited for any more."""
        self._end()
        super().connection_lost(exc)

    def _wait(self) -> None:
        # The loop's own timer: a bound on a socket is machine time in every run.
        self._head_bytes = 0
        self._deadline = self.loop.call_later(HEAD_WITHIN_S, self._give_up)

    def _end(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._end()
        self.transport.abort()
