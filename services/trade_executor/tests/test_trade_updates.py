"""The stream is a hint: how soon its silence is noticed, and how politely it is asked for again."""

from __future__ import annotations

import asyncio
import socket

from pydantic import SecretStr

from shared.testing.time import FakeTimer, settle
from trade_executor.adapters.trade_updates import PING_S, Disconnected, StreamItem, TradeUpdates
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


def test_silence_and_lost_lines_are_found_out_within_their_bounds() -> None:
    assert 2 * PING_S <= 10  # a ping, and as long again for its answer
    assert 2 * LIGHT_EVERY_S <= 10  # an order's lost line
    assert DEEP_EVERY_S <= 30  # a position's
