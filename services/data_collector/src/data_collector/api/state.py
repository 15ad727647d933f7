"""What does the collector do, and what do providers let it ask?"""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel

from data_collector.api.rooms import Rooms
from data_collector.paying import BudgetState
from shared.adapters.http_api import Role, requires


class ApiBatch(BaseModel):
    """The batch announced last."""

    batch_id: int
    start_at: datetime
    end_at: datetime
    symbols: int
    decidable: bool
    announced_at: datetime


class ApiWaiting(BaseModel):
    """A request that waits for its turn at a provider."""

    what: str
    why: str
    until_at: datetime


class ApiBudget(BaseModel):
    """What a provider lets us ask, and how much of it is used."""

    provider: str
    used: int
    limit: int
    window_s: int
    used_today: int
    day_limit: int | None
    blocked_until_at: datetime | None
    blocked_why: str
    waiting: list[ApiWaiting]


class ApiProviders(BaseModel):
    """Every provider in use, with its budget and how often it had to be passed over."""

    items: list[ApiBudget]
    failovers: dict[str, int]


class ApiStatus(BaseModel):
    """What the collector is doing, and its figures since its process started."""

    service: str
    account: str
    timeframe: str
    symbols: int
    now: datetime
    feed: str
    feed_since_at: datetime | None
    last_error: str | None
    reconnects: int
    newest_batch: ApiBatch | None
    bars_stored: int
    batches_announced: int
    late_bars: int
    bars_refused: int
    bars_passed_over: int
    unfinished_jobs: int
    budgets: list[ApiBudget]


def add_state(routes: APIRouter, rooms: Rooms) -> None:
    """Add the routes that answer that."""
    collector, clock = rooms.collector, rooms.clock

    @routes.get("/status", dependencies=[requires(Role.READ)])
    async def status() -> ApiStatus:
        """What the collector is doing."""
        batch = await rooms.journal.newest_batch(collector.timeframe)
        figures = collector.figures
        return ApiStatus(
            service="data_collector",
            account=rooms.account,
            timeframe=collector.timeframe.value,
            symbols=len(collector.symbols),
            now=clock.now(),
            feed=figures.state.value,
            feed_since_at=figures.state_since_at,
            last_error=figures.last_error,
            reconnects=figures.reconnects,
            newest_batch=None
            if batch is None
            else ApiBatch(
                batch_id=batch.batch_id,
                start_at=batch.start_at,
                end_at=batch.end_at,
                symbols=batch.symbols,
                decidable=batch.decidable,
                announced_at=batch.announced_at,
            ),
            bars_stored=figures.bars_stored,
            batches_announced=figures.batches_announced,
            late_bars=figures.late_bars,
            bars_refused=figures.bars_refused,
            bars_passed_over=figures.bars_passed_over,
            unfinished_jobs=rooms.jobs.unfinished,
            budgets=[_api_budget(await budget.state()) for budget in rooms.budgets],
        )

    @routes.get("/providers", dependencies=[requires(Role.READ)])
    async def providers() -> ApiProviders:
        """What each provider lets us ask, what is used of it, and what waits for it."""
        return ApiProviders(
            items=[_api_budget(await budget.state()) for budget in rooms.budgets],
            failovers=rooms.jobs.failovers,
        )


def _api_budget(state: BudgetState) -> ApiBudget:
    return ApiBudget(
        provider=state.provider,
        used=state.used_in_window,
        limit=state.limits.per_window,
        window_s=state.limits.window_s,
        used_today=state.used_today,
        day_limit=state.limits.per_day,
        blocked_until_at=state.blocked_until_at,
        blocked_why=state.blocked_why,
        waiting=[ApiWaiting(what=w.what, why=w.why, until_at=w.until_at) for w in state.waiting],
    )
