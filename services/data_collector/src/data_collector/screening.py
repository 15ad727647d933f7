"""Taking screens while the exchange is open, and writing down what was seen.

A result is stored with its time before anybody uses it. Without an answer the last result stays what it is, with its
age: nothing is ever taken for an empty universe but an empty answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog

from data_collector.screens import Candidate, Screen, Taken
from shared.domain.calendar import TradingCalendar
from shared.domain.errors import Misconfigured, RateLimited, Retryable
from shared.ports import Clock, Timer

_log = structlog.get_logger(__name__)
EVERY_S = 300.0


class Screener(Protocol):
    """A provider of screens."""

    async def take(self, screen: Screen) -> tuple[list[Candidate], int, datetime]:
        """The rows that pass, how many came but did not, and when. Raises what `outcomes` names."""
        ...


class Universe(Protocol):
    """What screens have shown, durable."""

    async def note(self, taken: Taken) -> None:
        """Store one result; the same one twice is stored once."""
        ...

    async def seen(self, *, until_at: datetime, limit: int) -> Sequence[Taken]:
        """Results up to then, newest first."""
        ...


@dataclass(slots=True)
class Screening:
    """Takes one screen again and again."""

    screen: Screen
    screener: Screener
    universe: Universe
    calendar: TradingCalendar
    clock: Clock
    timer: Timer
    last_error: str | None = None

    async def run(self) -> None:
        """Work until cancelled; a provider that fails is asked again, never too soon."""
        while True:
            pause_s = EVERY_S
            if self.calendar.session_at(self.clock.now()) is not None:
                try:
                    await self.take()
                except RateLimited as error:
                    pause_s = max(pause_s, error.pause_s)
                    self._failed(error)
                except (Retryable, Misconfigured) as error:
                    self._failed(error)
            await self.timer.sleep(pause_s)

    async def take(self) -> Taken:
        """Take the screen once and store what it showed."""
        found, dropped, at = await self.screener.take(self.screen)
        symbols = tuple(sorted({candidate.symbol for candidate in found}))
        taken = Taken(self.screen.name, self.screen.filters, at, symbols)
        await self.universe.note(taken)
        self.last_error = None
        _log.info("screen taken", screen=self.screen.name, symbols=len(symbols), dropped=dropped)
        return taken

    def _failed(self, error: Exception) -> None:
        self.last_error = str(error)
        _log.warning("no screen", screen=self.screen.name, reason=str(error))
