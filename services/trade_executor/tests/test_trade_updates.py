"""The stream is a hint: how soon its silence is noticed, and how politely it is asked for again."""

from __future__ import annotations

import asyncio
import http
import selectors
import socket
from collections.abc import Awaitable, Callable

import orjson
import pytest
from pydantic import SecretStr
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from shared.adapters.clocks import MonotonicTimer
from shared.testing.time import FakeTimer, settle
from trade_executor.adapters.trade_updates import (
    Connected,
    Disconnected,
    StreamItem,
    TradeUpdates,
)
from trade_executor.recovery import DEEP_EVERY_S, LIGHT_EVERY_S

KEY = SecretStr("K")


def test_a_venue_that_refuses_the_stream_for_ninety_seconds_is_asked_eight_times_at_most() -> None:
    async def scenario() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # bound and not listening: every connection is refused
            timer = FakeTimer()
            updates = TradeUpdates(f"http://127.0.0.1:{taken.getsockname()[1]}", KEY, KEY, timer)
            inbox: asyncio.Queue[StreamItem] = asyncio.Queue()
            following = asyncio.create_task(updates.follow(inbox))
            asked_s: list[float] = []
            while timer.monotonic_s() < 90:
                while inbox.empty():
                    await settle()
                    if timer.sleeping and inbox.empty():
                        await timer.advance(0.5)
                assert isinstance(inbox.get_nowait(), Disconnected)
                asked_s.append(timer.monotonic_s())
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        assert len(asked_s) <= 8
        assert asked_s[:4] == [0, 1, 3, 7]

    asyncio.run(scenario())


def test_lost_lines_are_looked_for_within_their_bounds() -> None:
    assert 2 * LIGHT_EVERY_S <= 10  # an order's lost line
    assert DEEP_EVERY_S <= 30  # a position's


# ---------------------------------------------------------------------- the real client, on time that jumps


class _Impatient(selectors.DefaultSelector):
    """A selector that never waits: where nothing is ready, the loop's time jumps to what is due next."""

    loop: JumpingLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout:
            # The kernel may need a moment to carry bytes from one end of a connection to the other.
            ready = super().select(0.002)
            if not ready:
                self.loop.passed_s += timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop with real sockets, on which an hour passes as soon as everybody waits for it."""

    def __init__(self) -> None:
        selector = _Impatient()
        selector.loop = self
        self.passed_s = 0.0
        super().__init__(selector)

    def time(self) -> float:
        return self.passed_s


class Venue:
    """The broker's end of the stream: answers the handshake, and does to the line what a test says."""

    def __init__(self) -> None:
        self.asked_s: list[float] = []
        self.refuses_until_s = 0.0
        self.silent_from_s: float | None = None
        self.connection: ServerConnection | None = None

    def admit(self, connection: ServerConnection, _: Request) -> Response | None:
        now_s = asyncio.get_running_loop().time()
        self.asked_s.append(now_s)
        if now_s < self.refuses_until_s:
            return connection.respond(
                http.HTTPStatus.TOO_MANY_REQUESTS, "connection limit exceeded"
            )
        return None

    async def serve(self, connection: ServerConnection) -> None:
        self.connection = connection
        await connection.recv()
        done = {"status": "authorized", "action": "authenticate"}
        await connection.send(orjson.dumps({"stream": "authorization", "data": done}))
        await connection.recv()
        streams = {"streams": ["trade_updates"]}
        await connection.send(orjson.dumps({"stream": "listening", "data": streams}))
        await connection.wait_closed()

    async def fall_silent(self) -> None:
        """The connection stands, and nothing comes from it any more, not even an answer to a ping."""
        assert self.connection is not None
        self.connection.transport.pause_reading()
        self.silent_from_s = asyncio.get_running_loop().time()


def on_jumping_time(
    scenario: Callable[[Venue, asyncio.Queue[StreamItem]], Awaitable[None]],
) -> None:
    """Run `scenario` with the real client following a venue of its own."""

    async def main() -> None:
        venue, inbox = Venue(), asyncio.Queue[StreamItem]()
        async with serve(
            venue.serve, "127.0.0.1", 0, process_request=venue.admit, ping_interval=None
        ) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            updates = TradeUpdates(f"http://127.0.0.1:{port}", KEY, KEY, MonotonicTimer())
            following = asyncio.create_task(updates.follow(inbox))
            try:
                assert isinstance(await inbox.get(), Connected)
                await scenario(venue, inbox)
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(main())


@pytest.mark.parametrize("after_s", [0.0, 3.0, 5.0, 7.5, 60.0])
def test_a_stream_that_falls_silent_is_noticed_within_ten_seconds(after_s: float) -> None:
    async def scenario(venue: Venue, inbox: asyncio.Queue[StreamItem]) -> None:
        await MonotonicTimer().sleep(after_s)
        await venue.fall_silent()
        assert isinstance(await inbox.get(), Disconnected)
        assert venue.silent_from_s is not None
        assert 0 < asyncio.get_running_loop().time() - venue.silent_from_s <= 10

    on_jumping_time(scenario)


def test_a_quiet_line_that_answers_pings_is_left_alone() -> None:
    async def scenario(venue: Venue, inbox: asyncio.Queue[StreamItem]) -> None:
        await MonotonicTimer().sleep(300)
        assert inbox.empty()
        assert len(venue.asked_s) == 1

    on_jumping_time(scenario)


def test_after_an_unclean_drop_the_venues_ninety_seconds_are_outlasted_with_few_attempts() -> None:
    async def scenario(venue: Venue, inbox: asyncio.Queue[StreamItem]) -> None:
        dropped_s = asyncio.get_running_loop().time()
        venue.refuses_until_s = dropped_s + 90
        assert venue.connection is not None
        venue.connection.transport.abort()
        while not isinstance(await inbox.get(), Connected):
            pass
        again_s = [at - dropped_s for at in venue.asked_s[1:]]
        assert len(again_s) <= 8
        assert again_s[-1] <= 125

    on_jumping_time(scenario)
