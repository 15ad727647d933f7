"""The dashboard's parts list."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack

from fastapi import FastAPI
from nicegui import core, ui

from dashboard.adapters.backtests import Backtests
from dashboard.adapters.services import open_services
from dashboard.api import Door
from dashboard.pages import PAGES
from dashboard.parts.frame import add_pages
from dashboard.parts.visit import Rooms
from dashboard.service import Feed
from dashboard.sessions import Sessions
from dashboard.store import PostgresReads
from shared.adapters.clocks import MonotonicTimer, RandomIds, clock_for
from shared.adapters.http_api import Tokens, make_app, serve
from shared.adapters.postgres import open_database
from shared.adapters.process import ServiceTasks, run_service
from shared.adapters.redis import RedisBells, open_redis, redis_is_answering
from shared.config import Settings

# As long as a laptop's lid is closed for a moment; then the browser loads the page anew.
_RECONNECT_WITHIN_S = 20.0


async def run(settings: Settings) -> None:
    """Assemble the dashboard and run it until a part fails or it is cancelled."""
    settings.require("db_password")
    # It notes each socket that opens, with the page's id; nobody needs that in the trading log.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    clock, timer, ids = clock_for(settings.clock_file), MonotonicTimer(), RandomIds()
    account = settings.trading_account
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            open_database(settings, timer, application="dashboard")
        )
        redis = await stack.enter_async_context(open_redis(settings))
        services = await stack.enter_async_context(open_services(settings))
        feed = Feed(RedisBells(redis, account, timer), timer)
        sessions = Sessions(timer, ids, settings.dashboard_session_s)
        backtests = Backtests(settings, timer)
        stack.push_async_callback(backtests.close)
        rooms = Rooms(
            PostgresReads(database, account),
            services,
            feed,
            sessions,
            clock,
            timer,
            ids,
            settings,
            backtests,
        )

        async def report_of(day: str) -> str:
            return str((await services.read("scheduler", f"/reports/{day}")).get("html", ""))

        async def redis_answers() -> bool:
            return await redis_is_answering(redis)

        common = make_app(
            "dashboard",
            settings,
            {"postgres": database.is_answering, "redis": redis_answers},
            timer,
        )
        add_pages(rooms, PAGES)
        pages = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
        # Long polling would pass by the check of sockets; see `api`.
        core.app.config.socket_io_js_transports = ["websocket"]
        ui.run_with(
            pages,
            title="Trading",
            dark=None,
            tailwind=False,
            reconnect_timeout=_RECONNECT_WITHIN_S,
            binding_refresh_interval=None,
            show_welcome_message=False,
            message_history_length=100,
        )
        await stack.enter_async_context(pages.router.lifespan_context(pages))
        async with ServiceTasks() as tasks:
            tasks.create_task(feed.follow())
            tasks.create_task(
                serve(
                    Door(common, pages, sessions, Tokens(settings), report_of, backtests.report),
                    settings.api_host,
                    settings.dashboard_port,
                )
            )


if __name__ == "__main__":
    run_service("dashboard", run)
