"""Assembles the risk manager and runs it until a part fails or it is told to stop."""

from __future__ import annotations

import asyncio
import gc
from contextlib import AsyncExitStack

from risk_manager.api import make_router
from risk_manager.limits import Limits
from risk_manager.market import Patience, StoredMarket
from risk_manager.review import Venue
from risk_manager.service import OBJECTS_BEFORE_COLLECTION, RiskManager
from risk_manager.sizing import SizingMethod
from risk_manager.store import SCHEMA, PostgresStore
from shared.adapters.clocks import MonotonicTimer, RandomIds, clock_for
from shared.adapters.exchange_calendar import load_calendar
from shared.adapters.halt_file import HaltFile
from shared.adapters.http_api import make_app, serve
from shared.adapters.parquet import ParquetBars
from shared.adapters.postgres import open_database
from shared.adapters.process import ServiceTasks, run_service
from shared.adapters.redis import RedisBells, RedisLatestBars, open_redis, redis_is_answering
from shared.config import Settings
from shared.messages import BELL_BARS, BELL_EVALUATIONS, BELL_MANUAL
from shared.stage import keep_working


async def run(settings: Settings) -> None:
    """Wire everything and work until cancelled."""
    gc.set_threshold(OBJECTS_BEFORE_COLLECTION)
    settings.require("db_password")
    account = settings.trading_account
    clock, timer = clock_for(settings.clock_file), MonotonicTimer()
    limits = Limits.of(settings)
    calendar = await asyncio.to_thread(load_calendar, settings.sessions_dir)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            open_database(settings, timer, application=SCHEMA, plans_once=True)
        )
        redis = await stack.enter_async_context(open_redis(settings))
        bells = RedisBells(redis, account, timer)
        bars = ParquetBars(settings.history / account)
        market = StoredMarket(
            RedisLatestBars(redis, account),
            bars,
            bars.actions,
            settings.trading_timeframe,
            limits.correlation_bars + 1,
            patience=None if settings.clock_file else Patience(),
        )
        manager = RiskManager(
            PostgresStore(
                database,
                account,
                reads_records=limits.sizing.method is SizingMethod.KELLY,
                reads_day_trades=limits.pattern_day_trader_rule,
            ),
            market,
            limits,
            Venue(calendar, settings.trading_window, settings.trading_timeframe),
            bells,
            clock,
            HaltFile(settings.halt_file),
            timer,
            settings.risk_benchmark_symbol,
        )

        async def redis_answers() -> bool:
            return await redis_is_answering(redis)

        probes = {"postgres": database.is_answering, "redis": redis_answers}
        app = make_app(SCHEMA, settings, probes, timer)
        app.include_router(make_router(manager, account, RandomIds()))
        ear = await stack.enter_async_context(bells.listen(BELL_EVALUATIONS, BELL_MANUAL))
        reader = await stack.enter_async_context(bells.listen(BELL_BARS))
        clerk = await stack.enter_async_context(bells.listen(BELL_EVALUATIONS))
        async with ServiceTasks() as tasks:
            tasks.create_task(
                keep_working("records", manager.keep_records, clerk, timer, poll_s=5.0),
                name="records",
            )
            tasks.create_task(
                keep_working("bars", manager.follow_bars, reader, timer, poll_s=60.0), name="bars"
            )
            tasks.create_task(keep_working("reviews", manager.work, ear, timer), name="reviews")
            tasks.create_task(serve(app, settings.api_host, settings.risk_manager_port), name="api")


if __name__ == "__main__":
    run_service(SCHEMA, run)
