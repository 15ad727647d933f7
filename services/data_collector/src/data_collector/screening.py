"""Taking screens while the exchange is open, and writing down what was seen.

A screen is due once in five minutes of the venue's time, and how each went is stored, also where it failed, so that
whoever goes on in step with the venue knows that nothing more will come. A result is stored with its time before anybody
uses it. Without an answer the last result stays what it is, with its age: nothing is ever taken for an empty universe but
an empty answer, given twice. Symbols that no provider of prices knows are left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import structlog

from data_collector.screens import Candidate, Screen, Taken, missing_columns
from data_collector.tracking import is_believable
from shared.domain.calendar import TradingCalendar
from shared.domain.errors import Misconfigured, Retryable, Unavailable
from shared.domain.screens import screen_due_at
from shared.domain.symbols import Symbol
from shared.ports import Clock, Ear, Timer

_log = structlog.get_logger(__name__)
# How often the venue's clock is looked at where no bell tells that it has moved.
_LOOK_EVERY_S = 1.0
# A provider that hangs must not hold a replay; a whole export comes within seconds.
_WITHIN_S = 20.0
_LONGEST_DETAIL = 500
OFF = "no screen is taken: FINVIZ_API_KEY is not set"


class Outcome(StrEnum):
    """How a screen went; OFF where none is taken at all."""

    TAKEN = "taken"
    FAILED = "failed"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class ScreenRun:
    """One screen that was due. Instants are the venue's, `took_s` the machine's."""

    screen: str
    due_at: datetime
    outcome: Outcome
    ended_at: datetime
    symbols: int
    took_s: float
    detail: str


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

    async def ended(self, run: ScreenRun) -> None:
        """Store how a screen went; of two that were due at the same instant the later one stays."""
        ...

    async def newest_run(self) -> ScreenRun | None:
        """How the screen went that was due last."""
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
    # When the last one was due that needs no other look; None before anything is known.
    _done_at: datetime | None = None
    # How a screen went that the database has not taken yet.
    _untold: ScreenRun | None = None

    async def run(self, ear: Ear) -> None:
        """Work until cancelled; `ear` hears when the venue's clock moves. One try for each screen that is due."""
        while True:
            try:
                await self.look()
            except Retryable as error:
                _log.warning("how a screen went cannot be stored yet", reason=str(error))
            await ear.wait(_LOOK_EVERY_S)

    async def look(self) -> None:
        """Take the screen that is due and store how it went.

        Raises:
            Retryable: the database does not answer; look again.
        """
        if self._untold is None:
            due_at = screen_due_at(self.calendar, self.clock.now())
            if due_at is None or due_at == self._done_at or await self._is_taken(due_at):
                return
            self._untold = await self._attempt(due_at)
        await self.universe.ended(self._untold)
        self._done_at, self._untold = self._untold.due_at, None

    async def _is_taken(self, due_at: datetime) -> bool:
        """Whether a process before this one has taken it; what failed then is tried again."""
        if self._done_at is not None:
            return False
        newest = await self.universe.newest_run()
        if newest is None or (newest.due_at, newest.outcome) != (due_at, Outcome.TAKEN):
            return False
        self._done_at = due_at
        return True

    async def _attempt(self, due_at: datetime) -> ScreenRun:
        began_s = self.timer.monotonic_s()
        symbols, detail, outcome = 0, "", Outcome.FAILED
        try:
            async with asyncio.timeout(_WITHIN_S):
                symbols = len((await self.take()).symbols)
            outcome = Outcome.TAKEN
        except (Retryable, Misconfigured) as error:
            detail = str(error)
        except TimeoutError:
            detail = f"gave up after {_WITHIN_S:g} s"
        if outcome is Outcome.FAILED:
            self._failed(detail)
        return ScreenRun(
            self.screen.name,
            due_at,
            outcome,
            self.clock.now(),
            symbols,
            self.timer.monotonic_s() - began_s,
            detail[:_LONGEST_DETAIL],
        )

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

    def _failed(self, reason: str) -> None:
        self.last_error = reason
        _log.warning("no screen", screen=self.screen.name, reason=reason)


async def tell_off(universe: Universe, now: datetime) -> None:
    """Store, once, that no screen is taken, so that its place in the pipeline is not merely empty."""
    newest = await universe.newest_run()
    if newest is None or newest.outcome is not Outcome.OFF:
        await universe.ended(ScreenRun("", now, Outcome.OFF, now, 0, 0.0, OFF))
