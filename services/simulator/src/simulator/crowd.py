"""Who listens to a stream, who may come, and how are they all sent away?

What both streams do alike: a bound on connections, a time of refusal after an unclean drop, and goodbyes. What is said to a
listener is its stream's own business.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

from starlette.responses import Response
from starlette.websockets import WebSocket

from shared.ports import Timer
from simulator.connection import Connection
from simulator.faults import Fault, agrees

MAX_CONNECTIONS = 100


class Listening(Protocol):
    """One client of a stream."""

    @property
    def connection(self) -> Connection:
        """Its socket."""
        ...

    @property
    def path(self) -> str:
        """Where it knocked."""
        ...


L = TypeVar("L", bound=Listening)


class Crowd(Generic[L]):
    """All listeners of one stream, which may be found under several paths."""

    def __init__(self, timer: Timer, paths: Sequence[str]) -> None:
        self._timer = timer
        self._paths = paths
        self._all: set[L] = set()
        self._refused_until_s = 0.0

    def __iter__(self) -> Iterator[L]:
        return iter(self._all)

    def __bool__(self) -> bool:
        return bool(self._all)

    def drop(self, fault: Fault) -> int:
        """Break off every connection that the fault matches, and refuse new ones for its time; returns how many."""
        match = {k: v for k, v in fault.match.items() if k == "path"}
        if any(agrees(match, {"path": path}) for path in self._paths):
            self._refused_until_s = self._timer.monotonic_s() + fault.delay_s
        dropped = [one for one in self._all if agrees(match, {"path": one.path})]
        for listener in dropped:
            listener.connection.drop()
        return len(dropped)

    def end(self) -> None:
        """Say goodbye to everybody, as a server that stops does."""
        for listener in self._all:
            listener.connection.end(code=1001)

    async def serve(
        self,
        socket: WebSocket,
        welcome: Callable[[WebSocket], L],
        read: Callable[[WebSocket, L], Coroutine[Any, Any, None]],
    ) -> None:
        """One client, from its handshake to its end."""
        is_refused = self._timer.monotonic_s() < self._refused_until_s
        if is_refused or len(self._all) >= MAX_CONNECTIONS:
            await socket.send_denial_response(Response("too many connections", 429))
            return
        await socket.accept()
        listener = welcome(socket)
        self._all.add(listener)
        try:
            await listener.connection.serve(read(socket, listener))
        finally:
            self._all.discard(listener)
