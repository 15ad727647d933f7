"""The scheduler's parts list."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from datetime import timedelta

from scheduler.actions import Actions
from scheduler.adapters.peers import open_peers
from scheduler.adapters.views import PostgresViews
from scheduler.api import router
from scheduler.jobs import BeatingJob, catalogue
from scheduler.service import Timekeeper
from scheduler.store import PostgresJobStore
from shared.adapters.clocks import MonotonicTimer, RandomIds, clock_for
from shared.adapters.exchange_calendar import load_calendar
from shared.adapters.http_api import make_app, serve
from shared.adapters.postgres import open_database
from shared.adapters.process import run_service
from shared.config import Settings

_KNOWN_AHEAD = timedelta(days=7)


async def run(settings: Settings) -> None:
    """Assemble the scheduler and run it until a part fails or it is cancelled."""
    settings.require("db_password")
    clock, timer, ids = clock_for(settings.clock_file), MonotonicTimer(), RandomIds()
    account = settings.trading_account
    calendar = load_calendar(settings.data_dir)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            open_database(settings, timer, application="scheduler")
        )
        peers = await stack.enter_async_context(open_peers(settings, timer))
        store = PostgresJobStore(database, account, timer)
        views = PostgresViews(database, account)
        jobs = catalogue(Actions(peers, views, store, calendar, clock))
        timekeeper = Timekeeper(jobs, store, calendar, clock, timer, ids)

        async def calendar_known() -> bool:
            return clock.now().date() + _KNOWN_AHEAD <= calendar.last_on

        app = make_app(
            "scheduler",
            settings,
            {"postgres": database.is_answering, "calendar": calendar_known},
            timer,
        )
        app.include_router(
            router(
                account,
                timekeeper,
                store,
                calendar,
                settings.trading_window,
                clock,
                ids,
                is_replay=settings.clock_file is not None,
            )
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(serve(app, settings.api_host, settings.scheduler_port))
            tasks.create_task(timekeeper.keep_time())
            for job in jobs:
                if isinstance(job, BeatingJob):
                    tasks.create_task(timekeeper.keep_beating(job))


if __name__ == "__main__":
    sys.exit(run_service("scheduler", run))
