"""A listener that does not keep up is let go, and nobody waits for it."""

import asyncio
from typing import Any

from simulator.connection import Connection


class Socket:
    """Writes down what it is sent; `open` says whether anything gets through."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.open = asyncio.Event()

    async def send_text(self, text: str) -> None:
        await self.open.wait()
        self.sent.append(text)

    async def send_bytes(self, data: bytes) -> None:
        await self.open.wait()
        self.sent.append(data)

    async def close(self, code: int) -> None:
        self.sent.append(code)


async def forever() -> None:
    await asyncio.Event().wait()


def connection_to(socket: Socket, *, max_waiting: int = 10) -> Connection:
    return Connection(socket, max_waiting=max_waiting)  # type: ignore[arg-type]


def test_messages_are_written_in_order_and_the_goodbye_last() -> None:
    async def scenario() -> list[Any]:
        socket = Socket()
        socket.open.set()
        connection = connection_to(socket)
        for message in ("one", b"two"):
            assert connection.send(message)
        connection.end("bye", code=1001)
        assert connection.send("too late")  # taken for sent, as it is by a closing socket
        await connection.serve(forever())
        return socket.sent

    assert asyncio.run(scenario()) == ["one", b"two", "bye", 1001]


def test_a_full_queue_refuses_and_giving_up_says_only_why() -> None:
    async def scenario() -> tuple[bool, list[Any]]:
        socket = Socket()
        connection = connection_to(socket, max_waiting=2)
        taken = [connection.send(text) for text in ("a", "b", "c")]
        connection.give_up("slow client")
        socket.open.set()
        await connection.serve(forever())
        return taken == [True, True, False], socket.sent

    assert asyncio.run(scenario()) == (True, ["slow client", 1013])


def test_a_dropped_connection_hears_nothing_more() -> None:
    async def scenario() -> list[Any]:
        socket = Socket()
        socket.open.set()
        connection = connection_to(socket)
        connection.send("never")
        connection.drop()
        await connection.serve(forever())
        return socket.sent

    assert asyncio.run(scenario()) == []


def test_a_client_that_leaves_ends_its_connection() -> None:
    async def leave() -> None:
        return

    async def scenario() -> list[Any]:
        socket = Socket()
        async with asyncio.timeout(30):
            await connection_to(socket).serve(leave())
        return socket.sent

    # It returned, and had nothing to say to somebody who is gone.
    assert asyncio.run(scenario()) == []
