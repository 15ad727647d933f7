"""The risk manager's API does what it says of itself, on real servers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from risk_manager.api import make_router
from risk_manager.limits import Limits
from risk_manager.market import StoredMarket
from risk_manager.review import Venue
from risk_manager.service import RiskManager
from risk_manager.store import PostgresStore
from risk_manager.testing import NOW
from services.risk_manager.tests.integration.postgres_world import PostgresWorld
from shared.adapters.clocks import MonotonicTimer, RandomIds
from shared.adapters.halt_file import HaltFile
from shared.adapters.http_api import make_app
from shared.adapters.parquet import ParquetBars
from shared.adapters.postgres import open_database
from shared.adapters.redis import RedisBells, RedisLatestBars, open_redis
from shared.testing.calendars import a_calendar
from shared.testing.time import FakeClock
from trader.testing.apis import TOKENS, Api, ApiContract, Served, counted_rows, living
from trader.testing.servers import Servers

ACCOUNT = "api-of-risk"
ORDER = {"symbol": "AAPL", "side": "buy", "quantity": "10", "stop_loss": "95", "take_profit": "110"}


@contextlib.asynccontextmanager
async def opened(servers: Servers, home: Path) -> AsyncIterator[Served]:
    settings = servers.settings(
        "risk_manager", ACCOUNT, DATA_DIR=str(home), HALT_FILE=str(home / "halt"), **TOKENS
    )
    timer, limits = MonotonicTimer(), Limits.of(settings)
    async with (
        open_database(settings, timer, application="test") as database,
        open_database(
            servers.settings("trade_executor", ACCOUNT), timer, application="test"
        ) as executor,
        open_redis(settings) as redis,
        counted_rows(servers.instance) as stored,
    ):
        bars = ParquetBars(settings.history / ACCOUNT)
        latest = RedisLatestBars(redis, ACCOUNT)
        timeframe = settings.trading_timeframe
        manager = RiskManager(
            PostgresStore(database, ACCOUNT),
            StoredMarket(latest, bars, bars.actions, timeframe, limits.correlation_bars + 1),
            limits,
            Venue(a_calendar(), settings.trading_window, timeframe),
            RedisBells(redis, ACCOUNT, timer),
            FakeClock(NOW),
            HaltFile(settings.halt_file),
            timer,
            settings.risk_benchmark_symbol,
        )
        roles = {"risk_manager": database, "trade_executor": executor}
        await PostgresWorld(ACCOUNT, roles).adopt(100_000)
        app = make_app("risk_manager", settings, {"postgres": database.is_answering}, timer)
        app.include_router(make_router(manager, ACCOUNT, RandomIds()))
        yield Served(
            app,
            stored,
            words={"on": ("2026-01-05",)},
            bodies={
                "POST /settings/live": {"settings": {"LOG_LEVEL": "INFO"}, "reason": "a drill"},
                "POST /risk/validate": ORDER,
                "POST /risk/resume": {"reason": "a drill", "version": 1},
                "POST /risk/limits": {
                    "changes": {"max_positions": 5.0}, "version": 0, "reason": "a drill",
                },
                "POST /risk/throttles/enable": {
                    "strategy": "moving_average", "symbol": "AAPL", "version": 1, "reason": "a drill",
                },
            },
        )  # fmt: skip


@pytest.fixture(scope="class")
def api(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with living(opened(servers, tmp_path_factory.mktemp("risk"))) as api:
        yield api


class TestRiskManagerApi(ApiContract):
    """All of it."""
