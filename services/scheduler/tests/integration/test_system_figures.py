"""The whole system in numbers, read from real views."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import prometheus_client
from sqlalchemy import text

from scheduler.adapters.system_figures import SystemFigures
from shared.adapters.clocks import MonotonicTimer
from shared.adapters.postgres import open_database
from shared.testing.time import FakeClock
from trader.testing.servers import SettingsFor

NOW = datetime(2026, 3, 4, 17, 0, tzinfo=UTC)


def shown(settings_for: SettingsFor, account: str) -> str:
    async def main() -> str:
        settings = settings_for("scheduler")
        async with open_database(settings, MonotonicTimer(), application="test") as database:
            figures = SystemFigures(
                database, account, FakeClock(NOW), MonotonicTimer(), settings.risk_drawdown_limit
            )
            registry = prometheus_client.CollectorRegistry()
            figures.register(registry)
            await figures.look()
            return prometheus_client.generate_latest(registry).decode()

    return asyncio.run(main())


def test_an_account_without_anything_has_figures_and_no_invented_ones(
    settings_for: SettingsFor, account: str
) -> None:
    page = shown(settings_for, account)

    assert 'pipeline_messages_waiting{reader="risk_manager"} 0.0' in page
    assert "differences_open 0.0" in page
    assert "account_equity_usd" not in page.replace("# HELP account_equity_usd", "")


def test_a_batch_that_nobody_read_is_counted_with_its_age(
    settings_for: SettingsFor, account: str
) -> None:
    async def announce() -> None:
        settings = settings_for("data_collector")
        async with open_database(settings, MonotonicTimer(), application="test") as database:

            async def write(connection: Any) -> None:
                await connection.execute(
                    text(
                        "INSERT INTO data_collector.bar_batches (account, timeframe, start_at, end_at, symbols, "
                        "composition, digest, decidable, announced_at) "
                        "VALUES (:a, '1Min', :s, :e, 1, ARRAY['AAPL'], :d, true, :t)"
                    ),
                    {
                        "a": account,
                        "s": NOW - timedelta(seconds=150),
                        "e": NOW - timedelta(seconds=91),
                        "d": "0" * 64,
                        "t": NOW - timedelta(seconds=90),
                    },
                )

            await database.run(write)

    asyncio.run(announce())
    page = shown(settings_for, account)

    assert 'pipeline_messages_waiting{reader="strategy_engine"} 1.0' in page
    assert 'pipeline_oldest_waiting_seconds{reader="strategy_engine"} 90.0' in page
    assert 'pipeline_hop_seconds{hop="bar_to_batch"} 1.0' in page


def test_the_drawdown_is_shown_beside_the_limit_that_holds_for_it(
    settings_for: SettingsFor, account: str
) -> None:
    async def store(*statements: str) -> None:
        settings = settings_for("risk_manager")
        async with open_database(settings, MonotonicTimer(), application="test") as database:

            async def write(connection: Any) -> None:
                for statement in statements:
                    await connection.execute(text(statement), {"a": account, "t": NOW})

            await database.run(write)

    asyncio.run(
        store(
            "INSERT INTO risk_manager.equity_points (account, source, instant_at, cash, equity, peak_equity, "
            "drawdown, gross_exposure, net_exposure, mode_version) VALUES (:a, 's', :t, 90, 90, 100, 0.1, 0, 0, 1)"
        )
    )
    by_settings = shown(settings_for, account)
    asyncio.run(
        store(
            "INSERT INTO risk_manager.limit_changes (account, version, before, after, reason, actor, changed_at) "
            "VALUES (:a, 1, '{}', '{\"drawdown_limit\": 0.11}', 'nervous', 'test', :t)"
        )
    )
    by_person = shown(settings_for, account)

    limit = settings_for("scheduler").risk_drawdown_limit
    assert "account_drawdown_ratio 0.1\n" in by_settings
    assert f"account_drawdown_limit_ratio {limit}\n" in by_settings
    assert "account_drawdown_limit_ratio 0.11\n" in by_person
