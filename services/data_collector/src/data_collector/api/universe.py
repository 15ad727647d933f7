"""Which symbols did the screen see, and when?"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from data_collector.api.rooms import Rooms
from data_collector.api.said import MAX_LIMIT, instant
from shared.adapters.http_api import Role, requires


class ApiTaken(BaseModel):
    """What a screen showed at its time."""

    screen: str
    filters: list[str]
    taken_at: datetime
    age_s: float
    symbols: list[str]


class ApiUniverse(BaseModel):
    """Screens as they were seen, newest first; `is_on` says whether any is taken."""

    is_on: bool
    last_error: str | None
    # Columns of companies' figures that the newest screen came without, as its provider names them.
    missing_columns: list[str]
    items: list[ApiTaken]


def add_universe(routes: APIRouter, rooms: Rooms) -> None:
    """Add the routes that answer that."""
    clock = rooms.clock

    @routes.get("/data/universe", dependencies=[requires(Role.READ)])
    async def universe(
        at: str | None = None, limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 1
    ) -> ApiUniverse:
        """The screen as it was seen at an instant (`at`), or is now, and `limit` - 1 before it."""
        now = clock.now()
        until_at = now if at is None else min(now, instant("at", at, is_end=True))
        seen = (
            []
            if rooms.universe is None
            else await rooms.universe.seen(until_at=until_at, limit=limit)
        )
        return ApiUniverse(
            is_on=rooms.screening is not None,
            last_error=None if rooms.screening is None else rooms.screening.last_error,
            missing_columns=[] if rooms.screening is None else list(rooms.screening.missing),
            items=[
                ApiTaken(
                    screen=taken.screen,
                    filters=list(taken.filters),
                    taken_at=taken.taken_at,
                    age_s=(now - taken.taken_at).total_seconds(),
                    symbols=list(taken.symbols),
                )
                for taken in seen
            ],
        )
