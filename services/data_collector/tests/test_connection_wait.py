"""The real client and the real collector against a venue that keeps a lost connection for 90 s, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from websockets.asyncio.server import ServerConnection, serve

from data_collector.adapters.alpaca_stream import AlpacaFeed
from data_collector.ports import FeedLost
from data_collector.service import Collector, FeedState
from data_collector.testing import MemoryJournal, MemoryNewest, ScriptedHistory
from shared.config import load_settings
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.testing.bar_stores import NOON, MemoryBars, a_bar
from shared.testing.bus import CountedBells, MemoryBarStream
from shared.testing.calendars import a_calendar
from shared.testing.time import FakeClock, InstantTimer

MINUTE = timedelta(minutes=1)
GHOST_S = 90.0
AAPL = Symbol("AAPL")


@dataclass
class Venue:
    """One connection per key, and a lost one counts for 90 s of the timer that the client waits on."""

    timer: InstantTimer
    attempts_s: list[float] = field(default_factory=list)
    let_in_s: list[float] = field(default_factory=list)
    lost_at_s: float | None = None
    drop: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, socket: ServerConnection) -> None:
        await self._say(socket, {"T": "success", "msg": "connected"})
        await socket.recv()
        now_s = self.timer.monotonic_s()
        self.attempts_s.append(now_s)
        if self.lost_at_s is not None and now_s < self.lost_at_s + GHOST_S:
            await self._say(socket, {"T": "error", "code": 406, "msg": "connection limit exceeded"})
            return
        self.let_in_s.append(now_s)
        await self._say(socket, {"T": "success", "msg": "authenticated"})
        asked = json.loads(await socket.recv())
        await self._say(socket, {"T": "subscription", "bars": asked["bars"]})
        if self.lost_at_s is not None:
            await socket.wait_closed()
            return
        await self.drop.wait()
        self.lost_at_s = self.timer.monotonic_s()
        # Cut, as by a router that dies: no goodbye.
        socket.transport.abort()

    @staticmethod
    async def _say(socket: ServerConnection, message: Any) -> None:
        await socket.send(json.dumps([message]))


def test_a_connection_that_the_venue_keeps_for_90_seconds_is_waited_out_with_few_attempts() -> None:
    timer, clock, journal = InstantTimer(), FakeClock(NOON), MemoryJournal()
    history, store = ScriptedHistory(), MemoryBars()

    async def story() -> Venue:
        venue = Venue(timer)
        async with serve(venue.serve, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            settings = load_settings(
                {
                    "ALPACA_DATA_API_KEY": "key",
                    "ALPACA_DATA_SECRET_KEY": "secret",
                    "ALPACA_DATA_STREAM_URL": f"ws://127.0.0.1:{port}/v2/iex",
                }
            )
            collector = Collector(
                timeframe=Timeframe.MINUTE,
                symbols=(AAPL,),
                calendar=a_calendar(),
                clock=clock,
                timer=timer,
                feed=AlpacaFeed(settings, Timeframe.MINUTE),
                history=history,
                store=store,
                newest=MemoryNewest(),
                stream=MemoryBarStream(),
                bells=CountedBells(),
                journal=journal,
                actions=store.actions,
                max_age_bars=2,
                grace_s=None,
            )
            task = asyncio.create_task(collector.run())
            await state(collector, FeedState.LIVE)
            # Two minutes pass on the venue while the collector is shut out.
            history.bars += [a_bar("AAPL", 0), a_bar("AAPL", 1)]
            clock.set(NOON + 2 * MINUTE)
            venue.drop.set()
            await state(collector, FeedState.LIVE, reconnects=1)
            assert "up to 90 s" in str(collector.figures.last_error)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, FeedLost):
                await task
        return venue

    venue = asyncio.run(story())

    assert venue.lost_at_s is not None
    _, again = venue.let_in_s
    assert GHOST_S <= again - venue.lost_at_s <= GHOST_S + 30
    assert len(venue.attempts_s) - 1 <= 8
    # What it missed was fetched, and announced in its order.
    assert [list(block) for _, block, *_ in journal.batches] == [[bar] for bar in history.bars]


async def state(collector: Collector, wanted: FeedState, reconnects: int = 0) -> None:
    """Return once the collector is in that state, after so many reconnects at least."""
    async with asyncio.timeout(30):
        while collector.figures.state is not wanted or collector.figures.reconnects < reconnects:
            await asyncio.to_thread(lambda: None)
