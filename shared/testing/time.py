"""How does a test move time?

By hand: nothing here waits for the machine. `FakeClock` is the venue's time and stands still until it is
set. `FakeTimer` parks whoever sleeps until the test advances it, so that a test decides what happens in
between; `InstantTimer` lets every sleep pass at once and remembers its length, for code whose pauses are the
thing to look at.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import types
from collections.abc import Generator
from datetime import UTC, datetime, timedelta

from shared.domain.bars import require_aware

# Enough for a woken task to pass through a chain of futures and park again.
_PASSES = 25


class FakeClock:
    """A `Clock` that says what it was told."""

    def __init__(self, at: datetime = datetime(2026, 1, 15, 15, 0, tzinfo=UTC)) -> None:
        self._at = require_aware(at, "at").astimezone(UTC)

    def now(self) -> datetime:
        """See `Clock`."""
        return self._at

    def set(self, at: datetime) -> None:
        """Jump to `at`, forwards or back."""
        self._at = require_aware(at, "at").astimezone(UTC)

    def advance(self, by: timedelta | float) -> None:
        """Move by a duration, or by so many seconds."""
        self._at += by if isinstance(by, timedelta) else timedelta(seconds=by)


class FakeTimer:
    """A `Timer` whose sleepers wake, in the order of their instants, as the test advances it."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = itertools.count()

    def monotonic_s(self) -> float:
        """See `Timer`."""
        return self._now_s

    async def sleep(self, pause_s: float) -> None:
        """See `Timer`. A pause of zero only lets others run, as asyncio's does."""
        if pause_s <= 0:
            await _give_way()
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now_s + pause_s, next(self._count), woken))
        await woken

    @property
    def sleeping(self) -> int:
        """How many wait to be woken."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    async def advance(self, by_s: float) -> None:
        """Let `by_s` seconds pass, waking each sleeper at its instant and letting it run."""
        until_s = self._now_s + by_s
        await settle()
        while self._sleepers and self._sleepers[0][0] <= until_s:
            at_s, _, woken = heapq.heappop(self._sleepers)
            if woken.done():
                continue  # its task was cancelled
            self._now_s = max(self._now_s, at_s)
            woken.set_result(None)
            await settle()
        self._now_s = until_s


class InstantTimer:
    """A `Timer` on which every sleep is over at once; `slept` holds their lengths, oldest first."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self.slept: list[float] = []

    def monotonic_s(self) -> float:
        """See `Timer`."""
        return self._now_s

    async def sleep(self, pause_s: float) -> None:
        """See `Timer`."""
        self.slept.append(pause_s)
        self._now_s += max(pause_s, 0.0)
        await _give_way()


class CountingIds:
    """`Ids` that can be foretold: `id-1`, `id-2` and so on."""

    def __init__(self) -> None:
        self._count = itertools.count(1)

    def new(self) -> str:
        """See `Ids`."""
        return f"id-{next(self._count)}"


async def settle() -> None:
    """Let every task that can run do so, until all wait for something."""
    for _ in range(_PASSES):
        await _give_way()


@types.coroutine
def _give_way() -> Generator[None, None, None]:
    yield
