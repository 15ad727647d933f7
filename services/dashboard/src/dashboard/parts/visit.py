"""What a page is handed: where to read, in whose name to act, and whether that person may."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any

from dashboard.adapters.backtests import Backtests
from dashboard.adapters.log_files import LogPage, Place, lines_before
from dashboard.adapters.services import HttpServices
from dashboard.service import Feed
from dashboard.sessions import Rights, Session, Sessions
from dashboard.store import PostgresReads
from shared.config import Settings
from shared.domain.calendar import NEW_YORK
from shared.domain.errors import Rejected, TradingError
from shared.ports import Clock, Ids, Timer

Refresh = Callable[[], Awaitable[None]]
MOST_SYMBOLS = 3_000
# Reads of whole tables are kept for so many seconds; the notices above each page need their counts within one.
_COSTLY = {"counts": 0.8, "curve": 0.8, "coverage": 20.0, "fills_of_symbol": 2.0, "audit": 2.0}


@dataclass(frozen=True, slots=True)
class Rooms:
    """What all pages lean on."""

    reads: PostgresReads
    services: HttpServices
    feed: Feed
    sessions: Sessions
    clock: Clock
    timer: Timer
    ids: Ids
    settings: Settings
    backtests: Backtests


@dataclass(frozen=True, slots=True)
class Visit:
    """One page that one person has open."""

    rooms: Rooms
    session: Session
    query: Mapping[str, str]

    @property
    def rights(self) -> Rights:
        """What that person may do."""
        return self.session.rights

    def now(self) -> datetime:
        """The venue's time."""
        return self.rooms.clock.now()

    def midnight(self) -> datetime:
        """When the present day began in New York."""
        today = self.now().astimezone(NEW_YORK).date()
        return datetime.combine(today, time(), NEW_YORK)

    async def rows(self, name: str, *arguments: Any) -> Any:
        """What `PostgresReads.<name>` gives, shared with other pages that ask now."""
        read = getattr(self.rooms.reads, name)
        least_age_s = _COSTLY.get(name, 0.0)
        return await self.rooms.feed.get(
            (name, arguments), lambda: read(*arguments), least_age_s=least_age_s
        )

    async def answer(
        self, service: str, path: str, least_age_s: float = 0.0, **query: str | int
    ) -> dict[str, Any]:
        """What a service answers, shared with other pages that ask now."""
        key = (service, path, tuple(sorted(query.items())))
        return await self.rooms.feed.get(
            key,
            lambda: self.rooms.services.read(service, path, **query),
            least_age_s=least_age_s,
        )

    async def answer_or(
        self, service: str, path: str, least_age_s: float = 0.0, **query: str | int
    ) -> tuple[dict[str, Any], str | None]:
        """The same for what a page can do without: the answer, or nothing and why."""
        try:
            return await self.answer(service, path, least_age_s, **query), None
        except TradingError as error:
            return {}, str(error)

    async def symbols(self, least_age_s: float) -> list[dict[str, Any]]:
        """Every tracked symbol, at most MOST_SYMBOLS; none where the collector does not answer."""
        found: list[dict[str, Any]] = []
        after: dict[str, str | int] = {}
        while len(found) < MOST_SYMBOLS:
            page, _ = await self.answer_or(
                "data_collector", "/data/symbols", least_age_s, limit=500, **after
            )
            found += page.get("items", [])
            if not page.get("next"):
                break
            after = {"after": str(page["next"])}
        return found

    async def log_lines(self, least: str, most: int, before: Place | None) -> LogPage:
        """Lines of all services' log from level `least` on, newest first, before a place in it."""
        folder = self.rooms.settings.log_dir
        return await self.rooms.feed.get(
            ("log", least, most, before),
            lambda: lines_before(folder, before, least=least, most=most),
            least_age_s=2.0,
        )

    async def act(
        self,
        service: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        once: bool = False,
        method: str = "POST",
    ) -> dict[str, Any]:
        """Have a service do something in this person's name, then have every page look.

        Args:
            once: a lost answer must not lead to doing it twice.
        Raises:
            TradingError: the refusal, as a sentence.
        """
        if not self.rooms.sessions.lives(self.session):
            raise Rejected("your session has ended; log in again")
        self.rooms.sessions.touch(self.session)
        key = f"dashboard-{self.rooms.ids.new()}" if once else None
        try:
            return await self.rooms.services.act(
                self.session.token, service, path, body, key=key, method=method
            )
        finally:
            self.rooms.feed.wake()
