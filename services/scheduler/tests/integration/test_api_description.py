"""The scheduler's API does what it says of itself, on real servers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scheduler.actions import Actions
from scheduler.adapters.day_reads import PostgresDays
from scheduler.adapters.machine import ThisMachine
from scheduler.adapters.peers import open_peers
from scheduler.adapters.pipeline_reads import PostgresPipeline
from scheduler.adapters.upkeep import MachineUpkeep
from scheduler.adapters.views import PostgresViews
from scheduler.api import router
from scheduler.jobs import catalogue
from scheduler.service import Timekeeper
from scheduler.store import PostgresJobStore
from shared.adapters.clocks import MonotonicTimer, RandomIds
from shared.adapters.http_api import make_app
from shared.adapters.postgres import open_database
from shared.adapters.redis import open_redis
from shared.testing.calendars import a_calendar
from shared.testing.time import FakeClock
from trader.testing.apis import TOKENS, Api, ApiContract, Served, counted_rows, living
from trader.testing.servers import Servers

ACCOUNT = "api-of-the-scheduler"
# A Monday, half an hour after the open.
NOW = datetime(2026, 1, 5, 15, 0, tzinfo=UTC)


@contextlib.asynccontextmanager
async def opened(servers: Servers, home: Path) -> AsyncIterator[Served]:
    settings = servers.settings("scheduler", ACCOUNT, LOG_DIR=str(home), **TOKENS)
    clock, timer, ids, calendar = FakeClock(NOW), MonotonicTimer(), RandomIds(), a_calendar()
    async with (
        open_database(settings, timer, application="test") as database,
        open_redis(settings) as redis,
        open_peers(settings, timer) as peers,
        counted_rows(servers.instance) as stored,
    ):
        store = PostgresJobStore(database, ACCOUNT, timer)
        pipeline = PostgresPipeline(database, ACCOUNT, settings.trading_timeframe.value)
        actions = Actions(
            peers,
            ThisMachine(database, redis, timer),
            PostgresViews(database, ACCOUNT),
            pipeline,
            MachineUpkeep(database, home, timedelta(days=1), clock),
            store,
            calendar,
            clock,
            settings.trading_timeframe,
            is_replay=True,
        )
        timekeeper = Timekeeper(catalogue(actions), store, calendar, clock, timer, ids)
        await store.begin(list(timekeeper.jobs), NOW)
        app = make_app("scheduler", settings, {"postgres": database.is_answering}, timer)
        app.include_router(
            router(
                ACCOUNT, timekeeper, store, calendar, settings.trading_window, clock, ids,
                PostgresDays(database, ACCOUNT), pipeline, lambda: actions.budgets, is_replay=True,
            )
        )  # fmt: skip
        job = next(iter(timekeeper.jobs))
        run, _ = await store.request("run-1", job, NOW.date(), NOW, "test")
        yield Served(
            app,
            stored,
            words={
                "job_id": (job, "service_health"), "run_id": (run.run_id,), "year": ("2026",),
                "month": ("1",), "session_on": ("2026-01-05",),
            },
        )  # fmt: skip


@pytest.fixture(scope="class")
def api(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with living(opened(servers, tmp_path_factory.mktemp("scheduler"))) as api:
        yield api


class TestSchedulerApi(ApiContract):
    """All of it."""
