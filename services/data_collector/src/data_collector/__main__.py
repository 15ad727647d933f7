"""The data collector's parts list."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import AsyncExitStack
from datetime import timedelta

from pydantic import SecretStr

from data_collector.adapters import alpaca_history, twelve_data
from data_collector.adapters.alpaca_actions import AlpacaActions
from data_collector.adapters.alpaca_data import PROVIDER as ALPACA
from data_collector.adapters.alpaca_data import data_keys, open_alpaca_data
from data_collector.adapters.alpaca_history import AlpacaHistory, history_feed
from data_collector.adapters.alpaca_latest import AlpacaLatest
from data_collector.adapters.alpaca_stream import AlpacaFeed
from data_collector.adapters.finviz import PROVIDER as FINVIZ
from data_collector.adapters.finviz import open_finviz
from data_collector.adapters.twelve_data import PROVIDER as TWELVE_DATA
from data_collector.adapters.universe import PostgresUniverse
from data_collector.api import CollectorFigures, Rooms, router
from data_collector.batches import GRACE_S
from data_collector.budgets import Limits
from data_collector.cross_check import CrossCheck, Tolerances
from data_collector.jobs import CollectionJobs
from data_collector.maintenance import Maintenance, Task
from data_collector.paying import PATIENCE_S, Budgets, StoredBudget
from data_collector.ports import History
from data_collector.screening import Screening, tell_off
from data_collector.screens import parse_screen
from data_collector.service import Collector
from data_collector.store import PostgresBudgets, PostgresJournal
from data_collector.tracking import tracked
from shared.adapters.clocks import MonotonicTimer, RandomIds, WallClock, clock_for
from shared.adapters.exchange_calendar import load_calendar
from shared.adapters.http_api import make_app, serve
from shared.adapters.parquet import ParquetBars
from shared.adapters.postgres import open_database
from shared.adapters.process import ServiceTasks, run_service
from shared.adapters.redis import (
    RedisBarStream,
    RedisBells,
    RedisLatestBars,
    open_redis,
    redis_is_answering,
)
from shared.config import Settings
from shared.domain.screens import SCREEN_EVERY
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.messages import BELL_CLOCK
from shared.ports import Clock, Timer

_MOST_SCREENS = 100
# A screen that would wait for longer is given up until the next is due.
_SCREEN_PATIENCE_S = 5.0


async def run(settings: Settings) -> None:
    """Assemble the collector and run it until a part fails or it is cancelled."""
    settings.require("trading_symbols", "db_password")
    account, timeframe = settings.trading_account, settings.trading_timeframe
    clock, timer = clock_for(settings.clock_file), MonotonicTimer()
    feed = AlpacaFeed(settings, timeframe)
    calendar = load_calendar(settings.sessions_dir)
    store = ParquetBars(settings.history / account)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            open_database(settings, timer, application="data_collector")
        )
        redis = await stack.enter_async_context(open_redis(settings))
        # Providers count real minutes, whatever time a replay shows.
        budgets = budgets_of(settings, PostgresBudgets(database), WallClock(), timer)
        alpaca = await stack.enter_async_context(open_alpaca_data(settings, clock, budgets[ALPACA]))
        history = AlpacaHistory(alpaca, feed=history_feed(settings))
        newest_of_alpaca = AlpacaLatest(alpaca, feed=history_feed(settings))
        histories: list[History] = [history]
        if settings.twelve_data_api_key is not None:
            opened = twelve_data.open_twelve_data(settings, WallClock(), budgets[TWELVE_DATA])
            histories.insert(0, await stack.enter_async_context(opened))
        journal = PostgresJournal(database, account)
        newest = RedisLatestBars(redis, account)
        bells = RedisBells(redis, account, timer)
        collector = Collector(
            timeframe=timeframe,
            symbols=settings.trading_symbols,
            calendar=calendar,
            clock=clock,
            timer=timer,
            feed=feed,
            history=history,
            store=store,
            newest=newest,
            stream=RedisBarStream(redis, account),
            bells=bells,
            journal=journal,
            actions=store.actions,
            max_age_bars=settings.risk_max_signal_age_bars,
            # A replay marks the end of each instant, and must not depend on this machine's speed.
            grace_s=GRACE_S if settings.clock_file is None else None,
        )
        jobs = CollectionJobs(
            histories,
            store,
            journal,
            calendar,
            clock,
            timer,
            RandomIds(),
            AlpacaActions(alpaca),
            store.actions,
            newest,
        )

        check = CrossCheck(
            histories,
            journal,
            calendar,
            clock,
            tolerances=Tolerances(
                settings.cross_check_tolerance,
                settings.cross_check_range_tolerance,
                settings.cross_check_volume_times,
            ),
            # A symbol costs one credit; the other half is the day's.
            most=max(1, settings.twelve_data_credits_per_day // 2),
        )

        async def compact() -> dict[str, object]:
            counts = {t: await asyncio.to_thread(store.compact, t) for t in Timeframe}
            return {t.value: f"{b} files became {a}" for t, (b, a) in counts.items() if b}

        async def forget_old_bars() -> dict[str, object]:
            days = settings.retention_bars_days
            if days == 0:
                return {"bars": 0, "kept": "all (RETENTION_BARS_DAYS is 0)"}
            before_at = clock.now() - timedelta(days=days)
            intraday = [t for t in Timeframe if t.is_intraday]
            return {t.value: await asyncio.to_thread(store.forget, t, before_at) for t in intraday}

        maintenance = Maintenance(
            {
                Task.COMPACT: compact,
                Task.CROSS_CHECK: lambda: check.run(collector.symbols),
                Task.RETENTION: forget_old_bars,
            },
            clock,
        )

        async def redis_answers() -> bool:
            return await redis_is_answering(redis)

        probes = {
            "postgres": database.is_answering,
            "redis": redis_answers,
            "feed": collector.is_live,
        }
        app = make_app("data_collector", settings, probes, timer)
        universe, screening = PostgresUniverse(database, account), None

        async def following() -> tuple[Symbol, ...]:
            now = clock.now()
            # More than a session has; of a longer time to live the newest count.
            screens = await universe.seen(until_at=now, limit=_MOST_SCREENS)
            held = await universe.held()
            return tracked(settings.trading_symbols, screens, held, now, settings.finviz_ttl)

        if settings.finviz_api_key is not None:
            finviz = open_finviz(settings, clock, budgets[FINVIZ])
            screening = Screening(
                parse_screen(settings.finviz_screen),
                await stack.enter_async_context(finviz),
                universe,
                calendar,
                clock,
                timer,
                newest_of_alpaca,
                collector.reconsider,
            )
            collector.tracking = following
        else:
            await tell_off(universe, clock.now())
        rooms = Rooms(
            account,
            collector,
            jobs,
            store,
            newest,
            journal,
            clock,
            store.actions,
            maintenance,
            newest_of_alpaca,
            tuple(budgets.values()),
            {ALPACA: alpaca_history.read_again, TWELVE_DATA: twelve_data.read_again},
            universe,
            screening,
        )
        app.include_router(router(rooms))
        CollectorFigures(collector, tuple(budgets.values())).register(app.state.metrics)
        async with ServiceTasks() as tasks:
            if screening is not None:
                moved = await stack.enter_async_context(bells.listen(BELL_CLOCK))
                tasks.create_task(screening.run(moved))
            tasks.create_task(serve(app, settings.api_host, settings.data_collector_port))
            tasks.create_task(collector.run())
            tasks.create_task(jobs.run())
            tasks.create_task(maintenance.run())


def budgets_of(
    settings: Settings, stored: Budgets, clock: Clock, timer: Timer
) -> dict[str, StoredBudget]:
    """What each configured provider lets the key that we have ask."""
    per_minute = settings.twelve_data_credits_per_minute
    twelve = Limits(per_minute, 60, settings.twelve_data_credits_per_day)
    key_of = {
        ALPACA: data_keys(settings)["APCA-API-KEY-ID"],
        TWELVE_DATA: _plain(settings.twelve_data_api_key),
        FINVIZ: _plain(settings.finviz_api_key),
    }
    limits = {
        ALPACA: Limits(settings.alpaca_requests_per_minute, 60),
        TWELVE_DATA: twelve,
        FINVIZ: Limits(1, int(SCREEN_EVERY.total_seconds())),
    }
    if settings.clock_file is not None:
        # The simulator's, asked once in five minutes of the venue's time: a day's screens in seconds.
        limits[FINVIZ] = Limits(10_000, 60)
    return {
        provider: StoredBudget(
            provider,
            limits[provider],
            stored,
            clock,
            timer,
            # Enough to tell keys apart, and nothing of the key itself.
            patience_s=_SCREEN_PATIENCE_S if provider == FINVIZ else PATIENCE_S,
            name=f"{provider} {hashlib.sha256(key.encode()).hexdigest()[:12]}",
        )
        for provider, key in key_of.items()
        if key is not None
    }


def _plain(key: SecretStr | None) -> str | None:
    return None if key is None else key.get_secret_value()


if __name__ == "__main__":
    run_service("data_collector", run)
