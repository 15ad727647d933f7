"""Taking screens while the exchange is open, and writing down what was seen.

A result is stored with its time before anybody uses it. Without an answer the last result stays what it is, with its
age: nothing is ever taken for an empty universe but an empty answer, given twice. Symbols that no provider of prices
knows are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog

from data_collector.screens import Candidate, Screen, Taken, missing_columns
from data_collector.tracking import is_believable
from shared.domain.calendar import TradingCalendar
from shared.domain.errors import Misconfigured, RateLimited, Retryable, Unavailable
from shared.domain.symbols import Symbol
from shared.ports import Clock, Timer

_log = structlog.get_logger(__name__)
EVERY_S = 300.0


class Unbelievable(Unavailable):
    """An answer that is more likely broken than right."""


class Screener(Protocol):
    """A provider of screens."""

    async def take(self, screen: Screen) -> tuple[list[Candidate], int, datetime]:
        """The rows that pass, how many came but did not, and when. Raises what `outcomes` names."""
        ...


class Universe(Protocol):
    """What screens have shown, durable."""

    async def note(
        self, taken: Taken, companies: Mapping[Symbol, Mapping[str, float | None]]
    ) -> None:
        """Store one result; the same one twice is stored once.

        With it goes what it showed of `companies` (see `shared.domain.fundamentals`), of each once an hour at most.
        """
        ...

    async def seen(self, *, until_at: datetime, limit: int) -> Sequence[Taken]:
        """Results up to then, newest first."""
        ...

    async def held(self) -> frozenset[Symbol]:
        """Symbols in which the account has a position."""
        ...


class Assets(Protocol):
    """Who knows which symbols have prices."""

    async def known(self, symbols: Sequence[Symbol]) -> frozenset[Symbol]:
        """Those of `symbols` that are known. Raises Unavailable or RateLimited without an answer."""
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
    assets: Assets
    # Told after each result that was stored.
    on_taken: Callable[[], None] = lambda: None
    last_error: str | None = None
    unknown: tuple[Symbol, ...] = ()
    # Columns of figures that the newest result came without.
    missing: tuple[str, ...] = ()
    _doubted: Taken | None = None

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
        """Take the screen once and store what it showed.

        Raises:
            Unbelievable: it has shrunk, and did not say so before.
        """
        found, dropped, at = await self.screener.take(self.screen)
        shown = sorted({candidate.symbol for candidate in found})
        known = await self.assets.known(shown)
        self.unknown = tuple(symbol for symbol in shown if symbol not in known)
        symbols = tuple(symbol for symbol in shown if symbol in known)
        taken = Taken(self.screen.name, self.screen.filters, at, symbols)
        await self._require_believable(taken)
        await self.universe.note(
            taken, {each.symbol: each.figures for each in found if each.symbol in known}
        )
        self.last_error = None
        self._tell_missing(found)
        self.on_taken()
        _log.info("screen taken", screen=self.screen.name, symbols=len(symbols), dropped=dropped)
        return taken

    async def _require_believable(self, taken: Taken) -> None:
        seen = await self.universe.seen(until_at=taken.taken_at, limit=1)
        doubted, self._doubted = self._doubted, None
        if not seen or seen[0].filters != taken.filters:
            return
        before = seen[0].symbols
        said_so_before = doubted is not None and is_believable(doubted.symbols, taken.symbols)
        if not is_believable(before, taken.symbols) and not said_so_before:
            self._doubted = taken
            raise Unbelievable(
                f"the screen shrank from {len(before)} to {len(taken.symbols)} symbols; the last one stays "
                "until it says so again"
            )

    def _tell_missing(self, found: Sequence[Candidate]) -> None:
        missing = missing_columns(found)
        if missing and missing != self.missing:
            _log.warning(
                "columns of figures are missing; have they been renamed?",
                screen=self.screen.name,
                columns=missing,
            )
        # Without a row nobody can tell: what was known before stays.
        if found:
            self.missing = missing

    def _failed(self, error: Exception) -> None:
        self.last_error = str(error)
        _log.warning("no screen", screen=self.screen.name, reason=str(error))
