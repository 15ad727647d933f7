"""The strategy engine's parts list."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial

import structlog

from shared.adapters.clocks import MonotonicTimer, clock_for
from shared.adapters.http_api import make_app, serve
from shared.adapters.parquet import ParquetBars
from shared.adapters.postgres import open_database
from shared.adapters.process import ServiceTasks, run_service
from shared.adapters.redis import RedisBarStream, RedisBells, open_redis, redis_is_answering
from shared.config import Settings
from shared.messages import BELL_BARS
from shared.stage import keep_working
from strategy_engine.api import router
from strategy_engine.bars import AnnouncedBars
from strategy_engine.catalogue import discover
from strategy_engine.choosing import chosen_strategy
from strategy_engine.service import Meters, StrategyEngine
from strategy_engine.store import PostgresEvaluations

_log = structlog.get_logger(__name__)
SERVICE = "strategy_engine"


async def run(settings: Settings) -> None:
    """Assemble the strategy engine and run it until a part fails or it is cancelled."""
    settings.require("db_password")
    clock, timer = clock_for(settings.clock_file), MonotonicTimer()
    account = settings.trading_account
    catalogue = discover()
    for where, why in catalogue.broken.items():
        _log.warning("strategy cannot be used", where=where, why=why)
    strategy = chosen_strategy(settings, catalogue)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            open_database(settings, timer, application=SERVICE)
        )
        redis = await stack.enter_async_context(open_redis(settings))
        store = PostgresEvaluations(database, account)
        history = ParquetBars(settings.history / account)
        bars = AnnouncedBars(RedisBarStream(redis, account), history, store)
        bells = RedisBells(redis, account, timer)
        ear = await stack.enter_async_context(bells.listen(BELL_BARS))

        # The probes are read at each request, so the engine may be made after the app.
        async def is_warm() -> bool:
            return await engine.is_warm()

        app = make_app(
            SERVICE,
            settings,
            {
                "postgres": database.is_answering,
                "redis": partial(redis_is_answering, redis),
                "warmed_up": is_warm,
            },
            timer,
        )
        engine = StrategyEngine(
            account,
            settings.trading_timeframe,
            [strategy],
            store,
            bars,
            bells,
            clock,
            timer,
            Meters(app.state.metrics),
        )
        app.include_router(
            router(engine, catalogue, store, settings.trading_symbols, history, clock)
        )
        async with ServiceTasks() as tasks:
            tasks.create_task(serve(app, settings.api_host, settings.strategy_engine_port))
            tasks.create_task(keep_working("evaluate", engine.step, ear, timer))


if __name__ == "__main__":
    run_service(SERVICE, run)
