"""The scheduler's parts list."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import timedelta
from zoneinfo import ZoneInfo

from scheduler.actions import Actions
from scheduler.adapters.day_reads import PostgresDays
from scheduler.adapters.happenings import PostgresWatch
from scheduler.adapters.machine import ThisMachine
from scheduler.adapters.notice_box import PostgresNoticeBox
from scheduler.adapters.peers import open_peers
from scheduler.adapters.pipeline_reads import PostgresPipeline
from scheduler.adapters.receivers import read_templates, receiver_of
from scheduler.adapters.span_export import Tracer, otlp_exporter
from scheduler.adapters.system_figures import SystemFigures
from scheduler.adapters.trace_reads import PostgresSteps
from scheduler.adapters.upkeep import MachineUpkeep
from scheduler.adapters.views import PostgresViews
from scheduler.api import router
from scheduler.jobs import BeatingJob, catalogue
from scheduler.notices import Rules
from scheduler.notifier import Notifier
from scheduler.service import Timekeeper
from scheduler.store import PostgresJobStore
from shared.adapters.clocks import MonotonicTimer, RandomIds, WallClock, clock_for
from shared.adapters.exchange_calendar import load_calendar
from shared.adapters.http_api import make_app, serve
from shared.adapters.postgres import open_database
from shared.adapters.process import ServiceTasks, run_service
from shared.adapters.redis import open_redis
from shared.config import Settings

_KNOWN_AHEAD = timedelta(days=7)


def rules_of(settings: Settings) -> Rules:
    """What a person has decided about notices."""
    return Rules.of(
        settings.notify_events,
        settings.quiet_hours,
        ZoneInfo(settings.trading_timezone),
        read_templates(settings.notify_templates),
    )


async def run(settings: Settings) -> None:
    """Assemble the scheduler and run it until a part fails or it is cancelled."""
    settings.require("db_password")
    clock, timer, ids = clock_for(settings.clock_file), MonotonicTimer(), RandomIds()
    account = settings.trading_account
    calendar = load_calendar(settings.sessions_dir)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            open_database(settings, timer, application="scheduler")
        )
        peers = await stack.enter_async_context(open_peers(settings, timer))
        store = PostgresJobStore(database, account, timer)
        views = PostgresViews(database, account)
        redis = await stack.enter_async_context(open_redis(settings))
        pipeline = PostgresPipeline(database, account, settings.trading_timeframe.value)
        actions = Actions(
            peers,
            ThisMachine(database, redis, timer),
            views,
            pipeline,
            MachineUpkeep(
                database,
                settings.log_dir,
                timedelta(days=settings.retention_logs_days),
                WallClock(),
            ),
            store,
            calendar,
            clock,
            settings.trading_timeframe,
            is_replay=settings.clock_file is not None,
        )
        jobs = catalogue(actions)
        timekeeper = Timekeeper(jobs, store, calendar, clock, timer, ids)

        async def calendar_known() -> bool:
            return clock.now().date() + _KNOWN_AHEAD <= calendar.last_on

        receiver = receiver_of(settings)
        box = PostgresNoticeBox(database, account)
        notifier = Notifier(
            PostgresWatch(database, account, peers),
            box,
            receiver,
            rules_of(settings),
            calendar,
            clock,
            timer,
        )
        app = make_app(
            "scheduler",
            settings,
            {"postgres": database.is_answering, "calendar": calendar_known},
            timer,
        )
        app.state.live_settings.follow(lambda now: notifier.follow(rules_of(now)))
        figures = SystemFigures(database, account, clock, timer, settings.risk_drawdown_limit)
        figures.register(app.state.metrics)
        app.include_router(
            router(
                account,
                timekeeper,
                store,
                calendar,
                settings.trading_window,
                clock,
                ids,
                PostgresDays(database, account),
                pipeline,
                lambda: actions.budgets,
                is_replay=settings.clock_file is not None,
            )
        )
        tracer = None
        if settings.otel_exporter_otlp_endpoint is not None:
            exporter = otlp_exporter(settings.otel_exporter_otlp_endpoint)
            stack.callback(exporter.shutdown)
            steps = PostgresSteps(database, account, clock.now())
            tracer = Tracer(account, steps, exporter, timer)
        async with ServiceTasks() as tasks:
            if tracer is not None:
                tasks.create_task(tracer.keep_telling())
            tasks.create_task(serve(app, settings.api_host, settings.scheduler_port))
            tasks.create_task(timekeeper.keep_time())
            tasks.create_task(notifier.keep_telling())
            tasks.create_task(figures.keep_looking())
            for job in jobs:
                if isinstance(job, BeatingJob):
                    tasks.create_task(timekeeper.keep_beating(job))


if __name__ == "__main__":
    run_service("scheduler", run)
