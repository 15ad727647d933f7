"""How does a page stay up to date without asking all the time?

One listener hears every bell and wakes the pages, at most a few times a second however fast a replay runs; a slow
poll stands behind it, since bells may be lost. What several pages show is read once: a read is shared by all who ask
for it in the same moment, and kept until something has happened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from shared.domain.errors import TradingError
from shared.messages import (
    BELL_BARS,
    BELL_CLOCK,
    BELL_EVALUATIONS,
    BELL_EXECUTIONS,
    BELL_MANUAL,
    BELL_REVIEWS,
)
from shared.ports import Bells, Timer

T = TypeVar("T")
_log = structlog.get_logger(__name__)
EVERY_BELL = (BELL_BARS, BELL_CLOCK, BELL_EVALUATIONS, BELL_EXECUTIONS, BELL_MANUAL, BELL_REVIEWS)
# Twice a second is as fast as a person reads; the promise is one second from event to page.
LEAST_GAP_S = 0.4
SLOW_POLL_S = 5.0
MOST_KEPT = 500


@dataclass(slots=True)
class _Kept:
    task: asyncio.Future[Any]
    generation: int
    began_s: float


class Feed:
    """Says when to look again, and keeps what was read."""

    def __init__(self, bells: Bells, timer: Timer) -> None:
        self._bells = bells
        self._timer = timer
        self._generation = 0
        self._rung = asyncio.Event()
        self._kept: dict[object, _Kept] = {}

    @property
    def generation(self) -> int:
        """Counts what has happened."""
        return self._generation

    async def follow(self) -> None:
        """Wake the pages at each bell, and now and then without one, until cancelled."""
        async with self._bells.listen(*EVERY_BELL) as ear:
            while True:
                await ear.wait(SLOW_POLL_S)
                self.wake()
                await self._timer.sleep(LEAST_GAP_S)

    def wake(self) -> None:
        """Have every page look now."""
        self._generation += 1
        rung, self._rung = self._rung, asyncio.Event()
        rung.set()

    async def change(self, seen: int) -> int:
        """Return as soon as more than `seen` has happened, with how much has."""
        while self._generation <= seen:
            await self._rung.wait()
        return self._generation

    async def get(
        self, key: object, load: Callable[[], Awaitable[T]], *, least_age_s: float = 0.0
    ) -> T:
        """What `load` gives, shared by all who ask under `key` until something happens.

        Args:
            least_age_s: costly answers are kept for so long whatever happens.
        Raises:
            TradingError: `load` did; everybody who shares the read gets it, and it is not kept.
        """
        kept = self._kept.get(key)
        if kept is not None and self._is_good(kept, least_age_s):
            return await asyncio.shield(kept.task)
        task: asyncio.Future[Any] = asyncio.ensure_future(load())
        self._kept[key] = _Kept(task, self._generation, self._timer.monotonic_s())
        while len(self._kept) > MOST_KEPT:
            self._kept.pop(next(iter(self._kept)))
        # Whoever asked may be gone before the answer; nobody then hears of its failure.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(task)

    def _is_good(self, kept: _Kept, least_age_s: float) -> bool:
        if kept.task.done() and (kept.task.cancelled() or kept.task.exception() is not None):
            return False
        age_s = self._timer.monotonic_s() - kept.began_s
        return kept.generation == self._generation or age_s < least_age_s


async def keep_showing(
    feed: Feed,
    refresh: Callable[[], Awaitable[None]],
    trouble: Callable[[str | None], None],
    is_open: Callable[[], bool],
) -> None:
    """Call `refresh` at each change while the page is open; `trouble` is told why a page is out of date."""
    seen = -1
    while is_open():
        seen = await feed.change(seen)
        if not is_open():
            return
        try:
            await refresh()
            trouble(None)
        except TradingError as error:
            trouble(str(error))
        except Exception:  # noqa: BLE001  # the top of a page's task: one broken page must not stay silent
            _log.exception("page failed")
            trouble("this page could not be brought up to date; the dashboard's log says why")
