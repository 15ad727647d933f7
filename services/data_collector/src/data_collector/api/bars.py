"""Which bars, prices and corporate actions are there of a symbol, and how old is the newest?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from data_collector.api.rooms import Rooms
from data_collector.api.said import MAX_LIMIT, ApiBar, api_bar, instant
from data_collector.boundary import admit
from data_collector.ports import CollectedBars
from shared.adapters.http_api import Day, ProblemError, Role, requires
from shared.domain.bar_blocks import BarBlock
from shared.domain.bars import Bar
from shared.domain.corporate_actions import (
    Adjustment,
    CorporateAction,
    Split,
    exchange_day,
    parse_adjustment,
)
from shared.domain.money import plain
from shared.domain.symbols import Symbol, parse_symbol
from shared.domain.timeframes import Timeframe, parse_timeframe
from shared.ports import LatestBar

# How much time one read of the store may cover, so that a page of minutes never reads years.
_STEP = {True: timedelta(days=30), False: timedelta(days=3650)}
# A UTC hour at which no bar of any length is open, so that cutting there splits none.
_CUT = time(2)


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


def add_bars(routes: APIRouter, rooms: Rooms) -> None:
    """Add the routes that answer that."""
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

    @routes.get("/data/symbols", dependencies=[requires(Role.READ)])
    async def symbols(
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 100, after: str = ""
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
            **api_bar(newest.bar).model_dump(),
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
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 100,
        adjustment: str = Adjustment.NONE.value,
        as_of: Day | None = None,
    ) -> ApiBars:
        """Stored bars of a symbol: the newest ones, or from `start` on, oldest first.

        `adjustment` none shows what was paid; split and all put it into the shares of `as_of`, today's if left out.
        """
        wanted, bars_of = parse_symbol(symbol), length(timeframe)
        seen = parse_adjustment(adjustment)
        now = clock.now()
        until_at = now if end is None else instant("end", end, is_end=True)
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
            items = [api_bar(bar) for bar in block]
            return ApiBars(adjustment=seen.value, as_of=as_of_on, items=items, next=None)
        since_at = instant("start", start)
        read = partial(rooms.store.between, adjustment=seen, as_of_on=as_of_on)
        found = await asyncio.to_thread(
            _from_start, rooms.store, read, bars_of, wanted, since_at, until_at, limit + 1
        )
        return ApiBars(
            adjustment=seen.value,
            as_of=as_of_on,
            items=[api_bar(bar) for bar in found[:limit]],
            next=found[limit].start_at.isoformat() if len(found) > limit else None,
        )

    @routes.get("/data/corporate-actions/{symbol}", dependencies=[requires(Role.READ)])
    async def corporate_actions(symbol: str) -> ApiActions:
        """The splits and dividends that are applied when prices of a symbol are read."""
        wanted = parse_symbol(symbol)
        found = await asyncio.to_thread(rooms.actions.actions, [wanted])
        return ApiActions(items=[_api_action(action) for action in found])


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
