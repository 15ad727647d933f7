"""The night's upkeep on a real database and real files, with no more rights than the scheduler has."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.adapters.machine import ThisMachine
from scheduler.adapters.pipeline_reads import PostgresPipeline
from scheduler.adapters.upkeep import MachineUpkeep
from shared.adapters.clocks import MonotonicTimer
from shared.adapters.postgres import open_database
from shared.adapters.redis import open_redis
from shared.testing.time import FakeClock
from trader.testing.servers import SettingsFor

NOW = datetime(2026, 3, 3, 2, 30, tzinfo=UTC)


def test_every_table_of_every_service_is_vacuumed_and_none_may_be_emptied(
    settings_for: SettingsFor, tmp_path: Path
) -> None:
    async def scenario() -> None:
        timer = MonotonicTimer()
        async with open_database(settings_for("scheduler"), timer, application="t") as database:
            upkeep = MachineUpkeep(database, tmp_path, timedelta(days=30), FakeClock(NOW))
            figures = await upkeep.vacuum()

            async def tables(connection: AsyncConnection) -> list[str]:
                rows = await connection.execute(
                    text(
                        "SELECT schemaname || '.' || relname FROM pg_stat_user_tables "
                        "WHERE schemaname <> 'public' AND vacuum_count = 0"
                    )
                )
                return [row[0] for row in rows]

            async def empty(connection: AsyncConnection) -> None:
                await connection.execute(text("DELETE FROM trade_executor.fills"))

            assert await database.run(tables) == []
            assert figures["tables"] > 40
            with pytest.raises(DBAPIError, match="permission denied"):
                await database.run(empty)

    asyncio.run(scenario())


def test_rotated_logs_past_their_age_go_and_those_that_are_written_stay(
    settings_for: SettingsFor, tmp_path: Path
) -> None:
    for name, days in {"a.log": 99, "a.log.1": 1, "a.log.2": 99, "a.log.lock": 99}.items():
        (tmp_path / name).touch()
        at = (NOW - timedelta(days=days)).timestamp()
        os.utime(tmp_path / name, (at, at))

    async def scenario() -> None:
        timer = MonotonicTimer()
        async with open_database(settings_for("scheduler"), timer, application="t") as database:
            upkeep = MachineUpkeep(database, tmp_path, timedelta(days=30), FakeClock(NOW))
            assert await upkeep.forget_logs() == {"files": 1}

    asyncio.run(scenario())

    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.log", "a.log.1", "a.log.lock"]


def test_the_servers_and_this_process_are_well_and_say_what_they_use(
    settings_for: SettingsFor,
) -> None:
    async def scenario() -> None:
        settings, timer = settings_for("scheduler"), MonotonicTimer()
        async with (
            open_database(settings, timer, application="t") as database,
            open_redis(settings) as redis,
        ):
            machine = ThisMachine(database, redis, timer)
            await machine.health()
            found = {health.service: health for health in await machine.health()}

            assert {name: health.state for name, health in found.items()} == {
                "postgres": "ready",
                "redis": "ready",
                "scheduler": "ready",
            }
            assert (found["redis"].memory_bytes or 0) > 100_000
            assert (found["scheduler"].memory_bytes or 0) > 10_000_000
            assert found["scheduler"].cpu_share is not None

    asyncio.run(scenario())


def test_a_pipeline_that_has_not_begun_has_no_runs_and_nothing_waits(
    settings_for: SettingsFor,
) -> None:
    async def scenario() -> None:
        timer = MonotonicTimer()
        async with open_database(settings_for("scheduler"), timer, application="t") as database:
            pipeline = PostgresPipeline(database, "nobody", "1Min")
            state = await pipeline.state()

            assert (state.newest_end_at, state.newest_screen_at) == (None, None)
            assert {name: each.count for name, each in state.waiting.items()} == {
                "strategy_engine": 0,
                "risk_manager": 0,
                "trade_executor": 0,
            }
            assert await pipeline.runs(None, 10) == []

    asyncio.run(scenario())
