"""The collector's own HTTP routes: what is collected, how old it is, and fetching more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from pydantic import BaseModel, ConfigDict, Field

from data_collector.boundary import admit
from data_collector.catching_up import warm_up_start
from data_collector.jobs import CollectionJobs, KeyReused, Paused, Range
from data_collector.maintenance import Maintenance, Run, Task
from data_collector.paying import BudgetState, StoredBudget
from data_collector.ports import CollectedBars, Hold, Job, Journal, NewestSource, Reject
from data_collector.releasing import Readers, released_bar
from data_collector.screening import Screening, Universe
from data_collector.service import Collector
from shared.adapters.http_api import ProblemError, Role, requires
from shared.domain.bar_blocks import BarBlock, block_of
from shared.domain.bars import Bar
from shared.domain.calendar import NEW_YORK
from shared.domain.corporate_actions import (
    Adjustment,
    CorporateAction,
    Split,
    exchange_day,
    parse_adjustment,
)
from shared.domain.errors import InvalidInput, InvalidTime
from shared.domain.money import plain
from shared.domain.symbols import Symbol, parse_symbol
from shared.domain.timeframes import Timeframe, parse_timeframe
from shared.ports import ActionStore, Clock, LatestBar, LatestBars

_MAX_LIMIT = 500
_MAX_SYMBOLS = 10_000
_MAX_ID = 64
# How much time one read of the store may cover, so that a page of minutes never reads years.
_STEP = {True: timedelta(days=30), False: timedelta(days=3650)}
# A UTC hour at which no bar of any length is open, so that cutting there splits none.
_CUT = time(2)


class ApiBar(BaseModel):
    """One bar; prices in dollars as exact text, volume in shares."""

    symbol: str
    timeframe: str
    start_at: datetime
    end_at: datetime
    open: str
    high: str
    low: str
    close: str
    volume: int


class ApiLatest(ApiBar):
    """A symbol's newest bar as it was traded, how old it is and where it came from."""

    adjustment: str
    age_s: float
    provider: str
    fetched_at: datetime
    source: str


class ApiBars(BaseModel):
    """A page of bars, oldest first, in the shares of `as_of`; `next` continues it as `start`."""

    adjustment: str
    as_of: date
    items: list[ApiBar]
    next: str | None


class ApiAction(BaseModel):
    """A split (`new_rate` shares for `old_rate`) or a cash dividend (`amount` dollars a share)."""

    symbol: str
    ex_on: date
    kind: str
    new_rate: str | None = None
    old_rate: str | None = None
    amount: str | None = None


class ApiActions(BaseModel):
    """The splits and dividends of a symbol, oldest first, those announced for later days included."""

    items: list[ApiAction]


class ApiSymbol(BaseModel):
    """A tracked symbol and the end of its newest bar."""

    symbol: str
    timeframe: str
    latest_end_at: datetime | None


class ApiSymbols(BaseModel):
    """A page of tracked symbols; `next` continues it as `after`."""

    items: list[ApiSymbol]
    next: str | None


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
    items: list[ApiTaken]


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


class ApiRun(BaseModel):
    """The newest run of a maintenance task."""

    task: str
    state: str
    asked_at: datetime
    ended_at: datetime | None
    error: str | None
    figures: dict[str, Any] | None


class ReleaseRequest(BaseModel):
    """Why a refused bar is right after all, or a symbol may be traded again."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=3, max_length=400)


class CollectRequest(BaseModel):
    """Which history to fetch; what is left out is everything tracked, and the warm-up up to now."""

    model_config = ConfigDict(extra="forbid")

    symbols: list[str] | None = Field(default=None, min_length=1, max_length=_MAX_SYMBOLS)
    timeframe: str | None = None
    start: str | None = None
    end: str | None = None


class ApiJob(BaseModel):
    """A collection job and how far it has come."""

    job_id: str
    state: str
    symbols: list[str]
    timeframe: str
    start_at: datetime
    end_at: datetime
    bars_read: int
    bars_new: int
    bars_refused: int
    error: str | None
    note: str | None
    providers: list[str]
    pieces_done: int
    pieces_total: int
    waits_for: str | None
    waits_until_at: datetime | None
    requested_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Rooms:
    """What the routes lean on."""

    account: str
    collector: Collector
    jobs: CollectionJobs
    store: CollectedBars
    newest: LatestBars
    journal: Journal
    clock: Clock
    actions: ActionStore
    maintenance: Maintenance
    provider: NewestSource
    budgets: tuple[StoredBudget, ...] = ()
    readers: Readers = field(default_factory=dict)
    universe: Universe | None = None
    screening: Screening | None = None


def router(rooms: Rooms) -> APIRouter:
    """All routes of the collector beside those every service has."""
    routes = APIRouter(tags=["market data"])
    collector, clock = rooms.collector, rooms.clock

    def length(given: str | None) -> Timeframe:
        return collector.timeframe if given is None else parse_timeframe(given)

    async def newest_of(symbol: Symbol, timeframe: Timeframe) -> tuple[LatestBar, str] | None:
        cached = (await rooms.newest.get(timeframe, [symbol])).get(symbol)
        if cached is not None:
            collector.figures.cache_hits += 1
            return cached, "cache"
        collector.figures.cache_misses += 1
        stored = await asyncio.to_thread(rooms.store.newest, timeframe, symbol, clock.now())
        if stored is not None:
            return stored, "store"
        return await asked_for(symbol) if timeframe is Timeframe.MINUTE else None

    async def asked_for(symbol: Symbol) -> tuple[LatestBar, str] | None:
        """What the provider has of a symbol that nobody follows; shown, and not stored."""
        now = clock.now()
        rows = await rooms.provider.bars([symbol])
        admitted = admit(rows, Timeframe.MINUTE, collector.calendar, now)
        bars = [bar for bar in admitted.bars if bar.symbol == symbol and bar.end_at <= now]
        return (LatestBar(bars[-1], rooms.provider.provider, now), "provider") if bars else None

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

    @routes.get("/data/symbols", dependencies=[requires(Role.READ)])
    async def symbols(
        limit: Annotated[int, Query(ge=1, le=_MAX_LIMIT)] = 100, after: str = ""
    ) -> ApiSymbols:
        """Tracked symbols in alphabetical order."""
        tracked = [symbol for symbol in sorted(collector.symbols) if symbol > after]
        page = tracked[:limit]
        known = await asyncio.to_thread(rooms.store.last, collector.timeframe, page, 1, clock.now())
        ends = {bar.symbol: bar.end_at for bar in known}
        return ApiSymbols(
            items=[
                ApiSymbol(
                    symbol=symbol,
                    timeframe=collector.timeframe.value,
                    latest_end_at=ends.get(symbol),
                )
                for symbol in page
            ],
            next=page[-1] if len(tracked) > limit else None,
        )

    @routes.get("/data/latest/{symbol}", dependencies=[requires(Role.READ)])
    async def latest(symbol: str, timeframe: str | None = None) -> ApiLatest:
        """The newest bar of a symbol, with its age in seconds and its provider."""
        wanted, bars_of = parse_symbol(symbol), length(timeframe)
        found = await newest_of(wanted, bars_of)
        if found is None:
            raise ProblemError(
                404,
                "no_data",
                f"there is no {bars_of} bar of {wanted} yet; fetch some with "
                "POST /collect/market-data",
            )
        newest, source = found
        return ApiLatest(
            **_api_bar(newest.bar).model_dump(),
            adjustment=Adjustment.NONE.value,
            age_s=(clock.now() - newest.bar.end_at).total_seconds(),
            provider=newest.provider,
            fetched_at=newest.fetched_at,
            source=source,
        )

    @routes.get("/data/bars/{symbol}", dependencies=[requires(Role.READ)])
    async def bars(
        symbol: str,
        timeframe: str | None = None,
        start: str | None = None,
        end: str | None = None,
        limit: Annotated[int, Query(ge=1, le=_MAX_LIMIT)] = 100,
        adjustment: str = Adjustment.NONE.value,
        as_of: date | None = None,
    ) -> ApiBars:
        """Stored bars of a symbol: the newest ones, or from `start` on, oldest first.

        `adjustment` none shows what was paid; split and all put it into the shares of `as_of`, today's if left out.
        """
        wanted, bars_of = parse_symbol(symbol), length(timeframe)
        seen = parse_adjustment(adjustment)
        now = clock.now()
        until_at = now if end is None else _instant("end", end, is_end=True)
        # What is announced for a later day has not happened yet.
        as_of_on = min(as_of or exchange_day(now), exchange_day(now))
        if start is None:
            block = await asyncio.to_thread(
                rooms.store.last,
                bars_of,
                [wanted],
                limit,
                until_at,
                adjustment=seen,
                as_of_on=as_of_on,
            )
            items = [_api_bar(bar) for bar in block]
            return ApiBars(adjustment=seen.value, as_of=as_of_on, items=items, next=None)
        since_at = _instant("start", start)
        read = partial(rooms.store.between, adjustment=seen, as_of_on=as_of_on)
        found = await asyncio.to_thread(
            _from_start, rooms.store, read, bars_of, wanted, since_at, until_at, limit + 1
        )
        return ApiBars(
            adjustment=seen.value,
            as_of=as_of_on,
            items=[_api_bar(bar) for bar in found[:limit]],
            next=found[limit].start_at.isoformat() if len(found) > limit else None,
        )

    @routes.get("/data/corporate-actions/{symbol}", dependencies=[requires(Role.READ)])
    async def corporate_actions(symbol: str) -> ApiActions:
        """The splits and dividends that are applied when prices of a symbol are read."""
        wanted = parse_symbol(symbol)
        found = await asyncio.to_thread(rooms.actions.actions, [wanted])
        return ApiActions(items=[_api_action(action) for action in found])

    @routes.get("/data/quality", dependencies=[requires(Role.READ)])
    async def quality(
        limit: Annotated[int, Query(ge=1, le=_MAX_LIMIT)] = 100,
        before: Annotated[int | None, Query(ge=1, le=2**62)] = None,
    ) -> ApiQuality:
        """Refused bars with their reasons, newest first."""
        found = await rooms.journal.rejects(before=before, limit=limit + 1)
        return ApiQuality(
            waiting=await rooms.journal.reject_counts(),
            items=[_api_reject(reject) for reject in found[:limit]],
            next=found[limit - 1].reject_id if len(found) > limit else None,
        )

    @routes.get("/data/holds", dependencies=[requires(Role.READ)])
    async def holds(
        limit: Annotated[int, Query(ge=1, le=_MAX_LIMIT)] = 100,
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

    @routes.get("/data/universe", dependencies=[requires(Role.READ)])
    async def universe(
        at: str | None = None, limit: Annotated[int, Query(ge=1, le=_MAX_LIMIT)] = 1
    ) -> ApiUniverse:
        """The screen as it was seen at an instant (`at`), or is now, and `limit` - 1 before it."""
        now = clock.now()
        until_at = now if at is None else min(now, _instant("at", at, is_end=True))
        seen = (
            []
            if rooms.universe is None
            else await rooms.universe.seen(until_at=until_at, limit=limit)
        )
        return ApiUniverse(
            is_on=rooms.screening is not None,
            last_error=None if rooms.screening is None else rooms.screening.last_error,
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
        return _api_bar(bar)

    @routes.post("/maintenance/{task}", status_code=202, dependencies=[requires(Role.OPERATE)])
    async def maintain(task: Task, response: Response) -> ApiRun:
        """Compact the store, or compare two providers; asked again while it runs, it is the same run."""
        response.headers["Location"] = f"/maintenance/{task.value}"
        return _api_run(rooms.maintenance.ask(task))

    @routes.get("/maintenance/{task}", dependencies=[requires(Role.READ)])
    async def maintained(task: Task) -> ApiRun:
        """How far the newest run of a task has come."""
        run = rooms.maintenance.newest(task)
        if run is None:
            raise ProblemError(
                404, "no_such_run", f"{task.value} was not asked for since the collector started"
            )
        return _api_run(run)

    @routes.post("/collect/market-data", status_code=202, dependencies=[requires(Role.OPERATE)])
    async def collect(
        response: Response,
        request: CollectRequest | None = None,
        idempotency_key: Annotated[str | None, Header(min_length=1, max_length=128)] = None,
    ) -> ApiJob:
        """Fetch history in the background; follow the job at `Location`."""
        asked = request or CollectRequest()
        wanted = _range(asked, collector, clock.now())
        try:
            job = await rooms.jobs.submit(wanted, idempotency_key)
        except KeyReused as error:
            raise ProblemError(409, "idempotency_key_reused", str(error)) from None
        response.headers["Location"] = f"/collect/market-data/{job.job_id}"
        return _api_job(job, rooms.jobs.paused.get(job.job_id))

    @routes.get("/collect/market-data/{job_id}", dependencies=[requires(Role.READ)])
    async def followed(job_id: str) -> ApiJob:
        """How far a collection job has come."""
        is_id = len(job_id) <= _MAX_ID and job_id.isprintable()
        job = await rooms.journal.job(job_id) if is_id else None
        if job is None:
            raise ProblemError(404, "no_such_job", "there is no collection job of this id")
        return _api_job(job, rooms.jobs.paused.get(job.job_id))

    return routes


def _range(asked: CollectRequest, collector: Collector, now: datetime) -> Range:
    """The request with its gaps filled; raises InvalidInput naming what is wrong."""
    timeframe = collector.timeframe if asked.timeframe is None else parse_timeframe(asked.timeframe)
    names: Sequence[str] = collector.symbols if asked.symbols is None else asked.symbols
    symbols = tuple(sorted({parse_symbol(name) for name in names}))
    calendar = collector.calendar
    end_at = now if asked.end is None else min(now, _instant("end", asked.end, is_end=True))
    start_at = (
        warm_up_start(timeframe, end_at, calendar)
        if asked.start is None
        else _instant("start", asked.start)
    )
    if start_at >= end_at:
        raise InvalidTime("start must lie before end, and before now")
    if start_at.date() < calendar.first_on:
        raise InvalidTime(f"start must be {calendar.first_on} or later")
    return Range(symbols, timeframe, start_at, end_at)


def _from_start(
    store: CollectedBars,
    read: Callable[[Timeframe, Sequence[Symbol], datetime, datetime], BarBlock],
    timeframe: Timeframe,
    symbol: Symbol,
    since_at: datetime,
    until_at: datetime,
    count: int,
) -> list[Bar]:
    """The oldest `count` bars within the range, read in steps of bounded size."""
    found: list[Bar] = []
    first = store.last(timeframe, [symbol], 1, until_at)
    # Beyond the newest bar there is nothing to step through.
    until_at = min(until_at, first.bar(0).end_at) if len(first) else since_at
    while since_at < until_at and len(found) < count:
        cut = datetime.combine(
            (since_at + _STEP[timeframe.is_intraday]).date(), _CUT, since_at.tzinfo
        )
        step_until = min(cut, until_at)
        found += read(timeframe, [symbol], since_at, step_until)
        since_at = step_until
    return found[:count]


def _instant(name: str, text: str, *, is_end: bool = False) -> datetime:
    """A query's time: an instant with a zone, or a New York date (its begin, or its end)."""
    try:
        if len(text) == len("2026-01-15"):
            day = date.fromisoformat(text) + timedelta(days=is_end)
            at = datetime.combine(day, time(0), NEW_YORK)
        else:
            # A plus sign that nobody escaped arrives as a blank.
            at = datetime.fromisoformat(text.replace(" ", "+"))
        if at.tzinfo is None:
            raise InvalidTime(f"{name} needs a time zone, like 2026-01-15T14:30:00Z")
        return at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidTime(
            f"{name} must look like 2026-01-15 or 2026-01-15T14:30:00Z, was {text[:40]!r}"
        ) from None


def _api_bar(bar: Bar) -> ApiBar:
    return ApiBar(
        symbol=bar.symbol,
        timeframe=bar.timeframe.value,
        start_at=bar.start_at,
        end_at=bar.end_at,
        open=plain(bar.open),
        high=plain(bar.high),
        low=plain(bar.low),
        close=plain(bar.close),
        volume=bar.volume,
    )


def _api_action(action: CorporateAction) -> ApiAction:
    if isinstance(action, Split):
        return ApiAction(
            symbol=action.symbol,
            ex_on=action.ex_on,
            kind="split",
            new_rate=plain(action.new_rate),
            old_rate=plain(action.old_rate),
        )
    return ApiAction(
        symbol=action.symbol,
        ex_on=action.ex_on,
        kind="cash_dividend",
        amount=plain(action.amount),
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


def _api_run(run: Run) -> ApiRun:
    return ApiRun(
        task=run.task.value,
        state=run.state.value,
        asked_at=run.asked_at,
        ended_at=run.ended_at,
        error=run.error,
        figures=None if run.figures is None else dict(run.figures),
    )


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


def _api_job(job: Job, paused: Paused | None) -> ApiJob:
    return ApiJob(
        job_id=job.job_id,
        state=job.state.value,
        symbols=list(job.symbols),
        timeframe=job.timeframe.value,
        start_at=job.start_at,
        end_at=job.end_at,
        bars_read=job.bars_read,
        bars_new=job.bars_new,
        bars_refused=job.bars_refused,
        error=job.error,
        note=job.note,
        providers=list(job.providers),
        pieces_done=job.pieces_done,
        pieces_total=job.pieces_total,
        waits_for=None if paused is None else paused.why,
        waits_until_at=None if paused is None else paused.until_at,
        requested_at=job.requested_at,
        ended_at=job.ended_at,
    )


class CollectorFigures:
    """The collector's figures in Prometheus' terms, read when asked for."""

    def __init__(self, collector: Collector, budgets: Sequence[StoredBudget] = ()) -> None:
        self._collector = collector
        self._budgets = budgets

    def register(self, registry: CollectorRegistry) -> None:
        """Show the figures on `/metrics`."""
        registry.register(self)

    def collect(self) -> list[Any]:
        """The figures as they are now."""
        figures = self._collector.figures
        live = GaugeMetricFamily("collector_live", "1 while the feed is connected and caught up.")
        live.add_metric([], float(figures.state == "live"))
        counters = {
            "collector_bars_stored": ("Bars stored or revised.", figures.bars_stored),
            "collector_batches_announced": ("Batches announced.", figures.batches_announced),
            "collector_late_bars": ("Bars stored after their batch.", figures.late_bars),
            "collector_bars_refused": ("Bars put into quarantine.", figures.bars_refused),
            "collector_reconnects": ("Rounds begun anew.", figures.reconnects),
            "collector_cache_hits": ("Newest bars found in the cache.", figures.cache_hits),
            "collector_cache_misses": ("Newest bars looked up in the store.", figures.cache_misses),
        }
        spent = CounterMetricFamily(
            "collector_requests_paid", "Paid out of a provider's budget.", labels=["provider"]
        )
        waiting = GaugeMetricFamily(
            "collector_requests_waiting", "Requests that wait for a budget.", labels=["provider"]
        )
        allowed = GaugeMetricFamily(
            "collector_budget_per_minute", "What a provider allows a minute.", labels=["provider"]
        )
        for budget in self._budgets:
            spent.add_metric([budget.provider], budget.paid)
            waiting.add_metric([budget.provider], budget.waiting)
            limits = budget.limits
            allowed.add_metric([budget.provider], limits.per_window * 60 / limits.window_s)
        return [
            live,
            spent,
            waiting,
            allowed,
            *(CounterMetricFamily(name, text, value=n) for name, (text, n) in counters.items()),
        ]
