"""The executor's API does what it says of itself, on real servers; an executor has traded at a venue, and stands by."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any, cast

import pytest

from services.trade_executor.tests.integration.conftest import HurriedTimer, desks_of
from shared.adapters.clocks import RandomIds
from shared.adapters.http_api import make_app
from shared.adapters.redis import RedisLatestBars, open_redis
from shared.domain.calendar import TradingCalendar
from shared.domain.timeframes import Timeframe
from trade_executor.api import router
from trade_executor.hours import HoursCheck
from trader.testing.apis import TOKENS, Api, ApiContract, Served, counted_rows, living
from trader.testing.servers import Servers

ACCOUNT = "api-of-the-executor"


@contextlib.asynccontextmanager
async def opened(servers: Servers, calendar: TradingCalendar) -> AsyncIterator[Served]:
    settings = servers.settings("trade_executor", ACCOUNT, **TOKENS)
    make_desk = desks_of(partial(servers.settings, account=ACCOUNT), ACCOUNT, calendar)
    async with (
        make_desk() as desk,
        open_redis(settings) as redis,
        counted_rows(servers.instance) as stored,
    ):
        # One that has filled, with its exits at the venue.
        await desk.step(3)
        await desk.review(desk.approved("sig-1"))
        await desk.rest()
        await desk.step(2)
        # What it does by itself, and when, would be taken for a refused request's doing.
        await desk.kill()
        # No decision comes here, and nobody waits long for one.
        timer, broker = HurriedTimer(1_000), cast("Any", desk.parts.broker)
        app = make_app("trade_executor", settings, {"postgres": desk.db.is_answering}, timer)
        hours = HoursCheck(desk.store, broker, calendar, desk.clock, timer, is_replay=True)
        app.include_router(
            router(
                desk.store, desk.executor, desk.bells, RedisLatestBars(redis, ACCOUNT), desk.clock,
                timer, RandomIds(), Timeframe.MINUTE, desk.parts.market, hours, desk.parts.halt,
            )
        )  # fmt: skip
        yield Served(
            app,
            stored,
            waiting={"POST /reconcile"},
            words={"order_id": ("sig-1",), "symbol": ("AAPL",)},
            bodies={
                "POST /settings/live": {"settings": {"LOG_LEVEL": "INFO"}, "reason": "a drill"},
                "POST /orders": {
                    "symbol": "AAPL", "side": "buy", "qty": "10", "type": "limit",
                    "limit_price": "99", "time_in_force": "day",
                    "take_profit": {"limit_price": "120"}, "stop_loss": {"stop_price": "90"},
                },
                "PATCH /orders/{order_id}": {
                    "take_profit": {"limit_price": "121"}, "stop_loss": {"stop_price": "91"},
                },
                "POST /positions/{symbol}/close": {"qty": "1"},
                "POST /reconcile": {"acknowledge": ["AAPL"]},
                "POST /performance": {"day_on": "2026-01-05"},
            },
        )  # fmt: skip


@pytest.fixture(scope="class")
def api(servers: Servers, calendar: TradingCalendar) -> Iterator[Api]:
    with living(opened(servers, calendar)) as api:
        yield api


class TestTradeExecutorApi(ApiContract):
    """All of it."""
