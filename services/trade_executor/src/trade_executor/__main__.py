"""The trade executor's parts list."""

from __future__ import annotations

from contextlib import AsyncExitStack

from shared.adapters.clocks import MonotonicTimer, RandomIds, clock_for
from shared.adapters.exchange_calendar import load_calendar
from shared.adapters.halt_file import HaltFile
from shared.adapters.http_api import make_app, serve
from shared.adapters.postgres import open_database
from shared.adapters.process import ServiceTasks, run_service
from shared.adapters.redis import RedisBells, RedisLatestBars, open_redis, redis_is_answering
from shared.config import Settings
from shared.domain.money import parse_number
from trade_executor.adapters.alpaca import open_alpaca
from trade_executor.adapters.gate import Gate
from trade_executor.adapters.holder import this_process
from trade_executor.adapters.market import open_market
from trade_executor.adapters.trade_updates import TradeUpdates
from trade_executor.api import router
from trade_executor.hours import HoursCheck
from trade_executor.lifecycle import ExecutorState
from trade_executor.market import Bounds
from trade_executor.service import Executor, Parts
from trade_executor.store import Store
from trade_executor.store.leases import PostgresLeases

_POOL = 6
# The lease has a connection of its own, so that a crowd of readers cannot make it run out.
_LEASE_POOL = 1
# Whoever takes over waits for the locks of a stopped leader no longer than this.
_IDLE_S = 5


async def run(settings: Settings) -> None:
    """Assemble the trade executor and run it until a part fails or it is cancelled."""
    settings.require("db_password", "alpaca_api_key", "alpaca_secret_key")
    key, secret = settings.alpaca_api_key, settings.alpaca_secret_key
    assert key is not None
    assert secret is not None
    clock, timer, ids = clock_for(settings.clock_file), MonotonicTimer(), RandomIds()
    account = settings.trading_account
    calendar = load_calendar(settings.sessions_dir)
    gate = Gate(settings.alpaca_requests_per_minute, timer)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            open_database(
                settings, timer, pool_size=_POOL, application="trade_executor", idle_s=_IDLE_S
            )
        )
        lease_database = await stack.enter_async_context(
            open_database(
                settings, timer, pool_size=_LEASE_POOL, application="trade_executor lease"
            )
        )
        redis = await stack.enter_async_context(open_redis(settings))
        broker = await stack.enter_async_context(
            open_alpaca(settings.alpaca_base_url, key, secret, gate)
        )
        market = await stack.enter_async_context(open_market(settings, broker, timer))
        store = Store(database, account)
        bells = RedisBells(redis, account, timer)
        updates = TradeUpdates(settings.alpaca_base_url, key, secret, timer)
        halt = HaltFile(settings.halt_file, f"the executor of account {settings.trading_account}")
        executor = Executor(
            Parts(
                store,
                PostgresLeases(lease_database, account, clock),
                broker,
                gate,
                updates,
                bells,
                calendar,
                clock,
                timer,
                halt,
                this_process(),
                market,
                Bounds(
                    max_spread=parse_number(str(settings.execution_max_spread)),
                    collar=parse_number(str(settings.execution_collar)),
                    max_quote_age_s=settings.execution_max_quote_age_s,
                ),
                broker if settings.risk_allow_short else None,
            )
        )

        async def redis_answers() -> bool:
            return await redis_is_answering(redis)

        async def may_trade() -> bool:
            status = await store.terms.status()
            return status is not None and status.state is ExecutorState.READY

        app = make_app(
            "trade_executor",
            settings,
            {"postgres": database.is_answering, "redis": redis_answers, "reconciled": may_trade},
            timer,
        )
        hours = HoursCheck(
            store, broker, calendar, clock, timer, is_replay=settings.clock_file is not None
        )
        latest = RedisLatestBars(redis, account)
        app.include_router(
            router(
                store,
                executor,
                bells,
                latest,
                clock,
                timer,
                ids,
                settings.trading_timeframe,
                market,
                hours,
                halt,
            )
        )
        async with ServiceTasks() as tasks:
            tasks.create_task(serve(app, settings.api_host, settings.trade_executor_port))
            tasks.create_task(executor.run())


if __name__ == "__main__":
    run_service("trade_executor", run)
