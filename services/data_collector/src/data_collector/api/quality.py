"""Which bars were refused and which symbols are held, and what does a person let go?"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from data_collector.api.rooms import Rooms
from data_collector.api.said import MAX_LIMIT, ApiBar, api_bar
from data_collector.ports import Hold, Reject
from data_collector.releasing import released_bar
from shared.adapters.http_api import ProblemError, Role, requires
from shared.domain.bar_blocks import block_of
from shared.domain.errors import InvalidInput


class ApiReject(BaseModel):
    """A bar that was refused, in its provider's words."""

    id: int
    symbol: str
    timeframe: str
    provider: str
    reason: str
    raw: str
    seen_at: datetime
    released_at: datetime | None
    release_reason: str | None


class ApiQuality(BaseModel):
    """What waits in quarantine by provider, and a page of it; `next` continues it as `before`."""

    waiting: dict[str, int]
    items: list[ApiReject]
    next: int | None


class ApiHold(BaseModel):
    """A symbol in which nothing is entered, and why."""

    id: int
    symbol: str
    kind: str
    reason: str
    since_at: datetime
    ended_at: datetime | None
    end_reason: str | None


class ApiHolds(BaseModel):
    """Held symbols, newest first; `next` continues them as `before`."""

    items: list[ApiHold]
    next: int | None


class ReleaseRequest(BaseModel):
    """Why a refused bar is right after all, or a symbol may be traded again."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=3, max_length=400)


def add_quality(routes: APIRouter, rooms: Rooms) -> None:
    """Add the routes that answer that."""
    collector, clock = rooms.collector, rooms.clock

    @routes.get("/data/quality", dependencies=[requires(Role.READ)])
    async def quality(
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 100,
        before: Annotated[int | None, Query(ge=1, le=2**62)] = None,
    ) -> ApiQuality:
        """Refused bars with their reasons, newest first."""
        found = await rooms.journal.rejects(before=before, limit=limit + 1)
        return ApiQuality(
            waiting=await rooms.journal.reject_counts(),
            items=[_api_reject(reject) for reject in found[:limit]],
            next=found[limit - 1].reject_id if len(found) > limit else None,
        )

    @routes.post("/data/quality/{reject_id}/release", dependencies=[requires(Role.OPERATE)])
    async def release(reject_id: int, request: ReleaseRequest) -> ApiBar:
        """Let a refused bar into the store, because a person knows that it is right."""
        reject = await rooms.journal.reject(reject_id) if 0 < reject_id < 2**62 else None
        if reject is None:
            raise ProblemError(404, "no_such_reject", "there is no refused bar of this id")
        now = clock.now()
        try:
            bar = released_bar(reject, rooms.readers, collector.calendar, now)
        except InvalidInput as error:
            raise ProblemError(409, "cannot_be_released", str(error)) from None
        # Stored first: a crash in between leaves it listed, and releasing it again stores nothing twice.
        block = block_of(bar.timeframe, [bar])
        await asyncio.to_thread(rooms.store.append, block, provider=reject.provider, fetched_at=now)
        await rooms.journal.release(reject_id, reason=request.reason, at=now)
        return api_bar(bar)

    @routes.get("/data/holds", dependencies=[requires(Role.READ)])
    async def holds(
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 100,
        before: Annotated[int | None, Query(ge=1, le=2**62)] = None,
        ended: bool = False,
    ) -> ApiHolds:
        """Symbols in which nothing is entered, with the reason; with `ended` also those let go."""
        found = await rooms.journal.holds(is_open=not ended, before=before, limit=limit + 1)
        return ApiHolds(
            items=[_api_hold(hold) for hold in found[:limit]],
            next=found[limit - 1].hold_id if len(found) > limit else None,
        )

    @routes.post("/data/holds/{hold_id}/release", dependencies=[requires(Role.OPERATE)])
    async def release_hold(hold_id: int, request: ReleaseRequest) -> ApiHold:
        """Let a symbol be traded again, because a person has looked at it."""
        is_id = 0 < hold_id < 2**62
        hold = (
            await rooms.journal.release_hold(hold_id, reason=request.reason, at=clock.now())
            if is_id
            else None
        )
        if hold is None:
            raise ProblemError(404, "no_such_hold", "there is no held symbol of this id")
        return _api_hold(hold)


def _api_reject(reject: Reject) -> ApiReject:
    return ApiReject(
        id=reject.reject_id,
        symbol=reject.symbol,
        timeframe=reject.timeframe.value,
        provider=reject.provider,
        reason=reject.reason,
        raw=reject.raw,
        seen_at=reject.seen_at,
        released_at=reject.released_at,
        release_reason=reject.release_reason,
    )


def _api_hold(hold: Hold) -> ApiHold:
    return ApiHold(
        id=hold.hold_id,
        symbol=hold.symbol,
        kind=hold.kind.value,
        reason=hold.reason,
        since_at=hold.since_at,
        ended_at=hold.ended_at,
        end_reason=hold.end_reason,
    )
