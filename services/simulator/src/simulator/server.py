"""How are the doors served?

uvicorn with what the protocols need: fragmented and binary WebSocket frames, no compression, connections that
can be cut, and a way to stop that says goodbye to the streams first.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import psutil
import uvicorn

from shared.domain.errors import Misconfigured
from simulator.app import Doors
from simulator.http_edge import AbruptProtocol


class Server(uvicorn.Server):
    """Serves `doors` on a bound socket; signals are left to whoever owns the process."""

    def __init__(self, doors: Doors) -> None:
        super().__init__(
            uvicorn.Config(
                doors.app,
                http=AbruptProtocol,
                ws="websockets-sansio",
                ws_max_size=1 << 20,
                ws_per_message_deflate=False,
                lifespan="off",
                access_log=False,
                log_config=None,
                timeout_graceful_shutdown=1,
                timeout_keep_alive=75,
            )
        )
        self._doors = doors

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none."""
        yield

    def stop(self) -> None:
        """End the streams with a goodbye, then the server."""
        self._doors.trades.end_all()
        self._doors.data.end_all()
        self.should_exit = True


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises Misconfigured with the name of whoever has the port, if it shows."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio turns Nagle's algorithm off only where it is.
    door = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind((host, port))
        door.listen(128)
    except OSError as error:
        door.close()
        raise Misconfigured(
            f"port {port} on {host} cannot be used ({error.strerror}{_holder_of(port)}); stop that "
            "program or choose another --port"
        ) from None
    return door


def _holder_of(port: int) -> str:
    with contextlib.suppress(psutil.Error, PermissionError):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
            if listens and connection.pid:
                return f" by {psutil.Process(connection.pid).name()}, pid {connection.pid}"
    return ""
