"""The data collector's API does what it says of itself, on real servers, with providers that are scripted."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from data_collector.adapters.alpaca_history import read_again
from data_collector.adapters.universe import PostgresUniverse
from data_collector.api import Rooms, router
from data_collector.boundary import Refused
from data_collector.budgets import Limits
from data_collector.jobs import CollectionJobs, Range
from data_collector.maintenance import Maintenance
from data_collector.paying import StoredBudget
from data_collector.ports import Doubt, Hold
from data_collector.service import Collector
from data_collector.store import PostgresBudgets, PostgresJournal
from data_collector.testing import (
    ScriptedActions,
    ScriptedFeed,
    ScriptedHistory,
    ScriptedNewest,
    raw,
)
from shared.adapters.clocks import MonotonicTimer, RandomIds
from shared.adapters.http_api import make_app
from shared.adapters.parquet import ParquetBars
from shared.adapters.postgres import open_database
from shared.adapters.redis import RedisBarStream, RedisBells, RedisLatestBars, open_redis
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.testing.bar_stores import NOON, a_bar, a_block
from shared.testing.calendars import a_calendar
from shared.testing.time import FakeClock
from trader.testing.apis import TOKENS, Api, ApiContract, Served, counted_rows, living
from trader.testing.servers import Servers

ACCOUNT = "api-of-the-collector"
AAPL, MSFT = Symbol("AAPL"), Symbol("MSFT")


@contextlib.asynccontextmanager
async def opened(servers: Servers, home: Path) -> AsyncIterator[Served]:
    settings = servers.settings("data_collector", ACCOUNT, DATA_DIR=str(home), **TOKENS)
    clock, timer, calendar = FakeClock(NOON + timedelta(minutes=20)), MonotonicTimer(), a_calendar()
    async with (
        open_database(settings, timer, application="test") as database,
        open_redis(settings) as redis,
        counted_rows(servers.instance) as stored,
    ):
        store, journal = ParquetBars(settings.history / ACCOUNT), PostgresJournal(database, ACCOUNT)
        newest, history = RedisLatestBars(redis, ACCOUNT), ScriptedHistory()
        collector = Collector(
            timeframe=Timeframe.MINUTE,
            symbols=(AAPL, MSFT),
            calendar=calendar,
            clock=clock,
            timer=timer,
            feed=ScriptedFeed(),
            history=history,
            store=store,
            newest=newest,
            stream=RedisBarStream(redis, ACCOUNT),
            bells=RedisBells(redis, ACCOUNT, timer),
            journal=journal,
            actions=store.actions,
            max_age_bars=2,
        )
        jobs = CollectionJobs(
            [history], store, journal, calendar, clock, timer, RandomIds(), ScriptedActions(),
            store.actions, newest,
        )  # fmt: skip
        store.append(a_block(*(a_bar("AAPL", n) for n in range(9))), provider="p", fetched_at=NOON)
        said = json.dumps(raw(a_bar("AAPL", 9)).raw)
        bars = [Refused("AAPL", f"reason {n}", said) for n in range(2)]
        await journal.quarantine(bars, Timeframe.MINUTE, provider="alpaca", at=NOON)
        await journal.hold([Hold(AAPL, Doubt.FROZEN, "stands still", NOON)])
        (reject, *_), (hold,) = await journal.rejects(before=None, limit=1), await journal.holds()
        limits = Limits(8, 60, 800)
        budget = StoredBudget("twelve_data", limits, PostgresBudgets(database), clock, timer)
        app = make_app("data_collector", settings, {"postgres": database.is_answering}, timer)
        app.include_router(
            router(
                Rooms(
                    ACCOUNT, collector, jobs, store, newest, journal, clock, store.actions,
                    Maintenance({}, clock), ScriptedNewest(), (budget,), {"alpaca": read_again},
                    PostgresUniverse(database, ACCOUNT),
                )
            )
        )  # fmt: skip
        job = await jobs.submit(
            Range((AAPL,), Timeframe.MINUTE, NOON, NOON + timedelta(minutes=1)), None
        )
        yield Served(
            app,
            stored,
            words={
                "symbol": (AAPL,), "job_id": (job.job_id,), "reject_id": (str(reject.reject_id),),
                "hold_id": (str(hold.hold_id),), "task": ("compact",), "start": ("2026-01-15",),
            },
            bodies={
                "POST /settings/live": {"settings": {"LOG_LEVEL": "INFO"}, "reason": "a drill"},
                "POST /collect/market-data": {
                    "symbols": ["AAPL"], "timeframe": "1Min", "start": "2026-01-14",
                    "end": "2026-01-15T14:30:00Z",
                },
            },
            # As many jobs as may wait do.
            waiting={"POST /collect/market-data"},
        )  # fmt: skip


@pytest.fixture(scope="class")
def api(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with living(opened(servers, tmp_path_factory.mktemp("collector"))) as api:
        yield api


class TestDataCollectorApi(ApiContract):
    """All of it."""
