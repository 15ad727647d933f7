"""What may be asked of the executor over HTTP?"""

from __future__ import annotations

from fastapi import APIRouter

from shared.domain.timeframes import Timeframe
from shared.ports import Bells, Clock, HaltSwitch, Ids, LatestBars, Timer
from trade_executor.api.changes import Desk, add_changes
from trade_executor.api.reads import add_reads
from trade_executor.hours import HoursCheck
from trade_executor.market import Market
from trade_executor.positions import PositionFold
from trade_executor.service import Executor
from trade_executor.store import Store


def router(
    store: Store,
    executor: Executor,
    bells: Bells,
    latest: LatestBars,
    clock: Clock,
    timer: Timer,
    ids: Ids,
    timeframe: Timeframe,
    market: Market,
    hours: HoursCheck,
    halt: HaltSwitch,
) -> APIRouter:
    """The executor's own routes."""
    routes, fold = APIRouter(tags=["execution"]), PositionFold(store)
    desk = Desk(
        store, executor, fold, bells, latest, clock, timer, ids, timeframe, market, hours, halt
    )
    add_changes(routes, desk)
    add_reads(routes, store, fold, latest, timeframe)
    return routes
