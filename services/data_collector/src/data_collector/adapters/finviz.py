"""How is a screen exported from FinViz Elite?

The token can only travel in the address, so the new path is asked directly (a redirect would repeat it), and no
sentence made here holds an address. A wrong token is a login page with status 200. Columns are always named.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import datetime

import httpx

from data_collector.adapters.web import get, is_page, make_client, require_data, retry_after_s
from data_collector.ports import Budget
from data_collector.screens import COLUMNS, Candidate, Screen, read_export
from shared.config import Settings
from shared.domain.errors import Misconfigured, RateLimited
from shared.ports import Clock

PROVIDER = "finviz"
VENUE = "FinViz"
_PATH = "/export/screener"
_CUSTOM_VIEW = "152"
_PAUSE_S = 60.0
_LONGEST_PAUSE_S = 3_600.0
# A bare library's name has been refused by the network in front of it.
_AGENT = "Mozilla/5.0 (X11; Linux x86_64) full-ai-trader"


@contextlib.asynccontextmanager
async def open_finviz(settings: Settings, clock: Clock, budget: Budget) -> AsyncIterator[Finviz]:
    """The client of the configured key. Raises Misconfigured without one."""
    key = settings.finviz_api_key
    if key is None:
        raise Misconfigured("missing setting FINVIZ_API_KEY: set it in .env")
    async with make_client(settings.finviz_url, {"User-Agent": _AGENT}) as client:
        yield Finviz(client, key.get_secret_value(), budget, clock)


class Finviz:
    """See `Screener`."""

    def __init__(self, client: httpx.AsyncClient, token: str, budget: Budget, clock: Clock) -> None:
        self._client = client
        self._token = token
        self._budget = budget
        self._clock = clock

    async def take(self, screen: Screen) -> tuple[list[Candidate], int, datetime]:
        """See `Screener`."""
        await self._budget.spend(1, f"screen {screen.name}")
        query = {
            "v": _CUSTOM_VIEW,
            "f": ",".join(screen.filters),
            "c": ",".join(COLUMNS),
            "auth": self._token,
        }
        answer = await get(self._client, _PATH, query, venue=VENUE)
        if answer.status in (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.FORBIDDEN):
            wanted_s = retry_after_s(answer.headers) or _PAUSE_S
            pause_s = min(max(wanted_s, _PAUSE_S), _LONGEST_PAUSE_S)
            await self._budget.refused(pause_s, f"{VENUE} answered {answer.status}")
            raise RateLimited(VENUE, pause_s)
        if answer.status == httpx.codes.UNAUTHORIZED or (
            answer.status == httpx.codes.OK and is_page(answer.body)
        ):
            raise Misconfigured(f"{VENUE} answered with its login page; check FINVIZ_API_KEY")
        found, dropped = read_export(require_data(answer, VENUE), screen)
        return found, dropped, self._clock.now()
