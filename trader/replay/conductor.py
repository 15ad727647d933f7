"""How does a replay go on in lock-step?

The simulator performs one step, the services do what follows from it, and only when all are at rest and the
books agree comes the next step. So the outcome depends on the bars alone, whatever the machine's speed,
and whatever is killed and restarted in between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from shared.domain.errors import Retryable, TradingError
from shared.messages import BELL_CLOCK
from shared.ports import Bells, Ear, Timer
from trader.replay.rest import BookLine, Progress, Step, difference, unfinished

# Bells are the quick way to hear of progress; this is how often it looks without one.
_LOOK_EVERY_S = 0.02


class Venue(Protocol):
    """What can be stepped. Raises Retryable while it gives no answer."""

    async def advance(self, number: int) -> Step:
        """Perform step `number`; again, answer the same."""
        ...

    async def changes(self, after: int) -> tuple[int, dict[str, BookLine]]:
        """The newest revision of the book, and every order that changed after revision `after`."""
        ...


class Stored(Protocol):
    """What the services have stored. Raises Retryable while the database gives no answer."""

    async def progress(self, venue_at: datetime) -> Progress:
        """How far each stage has come."""
        ...

    async def orders(self, ids: Sequence[str]) -> dict[str, BookLine]:
        """The stored state of these orders."""
        ...


class Stalled(TradingError):
    """A step was not over in time; the text says who is not done."""


class Conductor:
    """Steps one replay."""

    def __init__(
        self,
        venue: Venue,
        truth: Stored,
        bells: Bells,
        ear: Ear,
        timer: Timer,
        *,
        stall_s: float = 60.0,
        on_wait: Callable[[str], None] = lambda _: None,
        screen_due_at: Callable[[datetime], datetime | None] = lambda _: None,
    ) -> None:
        """Take what it steps with.

        Args:
            ear: listens for the bells of all stages.
            stall_s: how long a step may take before the replay is given up.
            on_wait: told what is being waited for, each time it looks.
            screen_due_at: since when a screen is due at an instant of the venue; absent: none is taken.
        """
        self._venue = venue
        self._truth = truth
        self._bells = bells
        self._ear = ear
        self._timer = timer
        self._stall_s = stall_s
        self._on_wait = on_wait
        self._screen_due_at = screen_due_at
        self._revision = 0
        self._unverified: dict[str, BookLine] = {}

    async def step(self, number: int) -> Step:
        """Perform step `number` and return when everything that follows from it is stored.

        Raises:
            Stalled: something was not done within the bound.
        """
        deadline_s = self._timer.monotonic_s() + self._stall_s
        while True:
            try:
                step = await self._venue.advance(number)
                break
            except Retryable as error:
                await self._wait(str(error), f"step {number}", deadline_s)
        await self._bells.ring(BELL_CLOCK)
        await self.settle(step)
        return step

    async def settle(self, step: Step) -> None:
        """Return when everything that follows from `step` is stored.

        Raises:
            Stalled: something was not done within the bound.
        """
        deadline_s = self._timer.monotonic_s() + self._stall_s
        while True:
            try:
                waiting = await self._waiting_for(step)
            except Retryable as error:
                waiting = str(error)
            if waiting is None:
                return
            await self._wait(waiting, f"step {step.number}", deadline_s)

    async def _wait(self, waiting_for: str, name: str, deadline_s: float) -> None:
        if self._timer.monotonic_s() >= deadline_s:
            raise Stalled(
                f"{name} was not over within {self._stall_s:.0f} s: {waiting_for}; "
                "see data/logs/error.log"
            )
        self._on_wait(waiting_for)
        await self._ear.wait(_LOOK_EVERY_S)

    async def _waiting_for(self, step: Step) -> str | None:
        """What is not done yet, or None.

        Whoever is at rest sends nothing more. So, once all are, the book cannot change any more, and
        comparing it afterwards is enough, unless booking what changed gave somebody new work.
        """
        while True:
            progress = await self._truth.progress(step.venue_at)
            waiting = unfinished(step, progress, self._screen_due_at(step.venue_at))
            if waiting is not None:
                return waiting
            self._revision, changed = await self._venue.changes(self._revision)
            self._unverified |= changed
            if not self._unverified:
                return None
            waiting = difference(self._unverified, await self._truth.orders([*self._unverified]))
            if waiting is not None:
                return waiting
            self._unverified = {}
