"""The strategy engine's API does what it says of itself, on real servers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from services.strategy_engine.tests.integration.test_pipeline import Collector, instant
from shared.adapters.clocks import MonotonicTimer
from shared.adapters.http_api import make_app
from shared.adapters.parquet import ParquetBars
from shared.adapters.postgres import open_database
from shared.adapters.redis import RedisBarStream, RedisBells, open_redis
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.testing.bar_stores import NOON
from shared.testing.time import FakeClock
from strategy_engine.api import router
from strategy_engine.bars import AnnouncedBars
from strategy_engine.catalogue import discover
from strategy_engine.service import Meters, StrategyEngine
from strategy_engine.store import PostgresEvaluations
from strategy_engine.strategies.moving_average import MovingAverage
from strategy_engine.testing import work_off
from trader.testing.apis import TOKENS, Api, ApiContract, Served, counted_rows, living
from trader.testing.servers import Servers

ACCOUNT = "api-of-strategies"
TRACKED = [Symbol("AAPL"), Symbol("MSFT")]
ON = "moving_average"


@contextlib.asynccontextmanager
async def opened(servers: Servers, home: Path) -> AsyncIterator[Served]:
    settings = servers.settings("strategy_engine", ACCOUNT, DATA_DIR=str(home), **TOKENS)
    collecting = servers.settings("data_collector", ACCOUNT, DATA_DIR=str(home))
    timer, clock = MonotonicTimer(), FakeClock(NOON + timedelta(minutes=20))
    async with (
        open_database(settings, timer, application="test") as database,
        open_database(collecting, timer, application="test") as collectors,
        open_redis(settings) as redis,
        open_redis(collecting) as collectors_redis,
        counted_rows(servers.instance) as stored,
    ):
        store = PostgresEvaluations(database, ACCOUNT)
        history = ParquetBars(settings.history / ACCOUNT)
        app = make_app("strategy_engine", settings, {"postgres": database.is_answering}, timer)
        engine = StrategyEngine(
            ACCOUNT, Timeframe.MINUTE, [MovingAverage(short_window=2, long_window=4)], store,
            AnnouncedBars(RedisBarStream(redis, ACCOUNT), history, store),
            RedisBells(redis, ACCOUNT, timer), clock, timer, Meters(app.state.metrics),
        )  # fmt: skip
        app.include_router(router(engine, discover(), store, TRACKED, history, clock))
        collector = Collector(collecting, collectors, RedisBarStream(collectors_redis, ACCOUNT))
        for minute in range(12):
            await collector.announce(instant(minute))
        await work_off(engine)
        yield Served(
            app,
            stored,
            words={"name": (ON,), "names": ("sma20",), "symbol": TRACKED, "timeframe": ("1Min",)},
            bodies={
                "POST /settings/live": {"settings": {"LOG_LEVEL": "INFO"}, "reason": "a drill"},
                "POST /signals/generate": {"strategy": ON, "symbols": ["AAPL"], "dry_run": False},
            },
        )


@pytest.fixture(scope="class")
def api(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with living(opened(servers, tmp_path_factory.mktemp("strategies"))) as api:
        yield api


class TestStrategyEngineApi(ApiContract):
    """All of it."""
