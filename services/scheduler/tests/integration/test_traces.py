"""Traces are read from the real views: what is new once, and what was there before never."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text

from scheduler.adapters.trace_reads import PostgresSteps
from scheduler.traces import Seen, spans_of, trace_id_of
from shared.adapters.clocks import MonotonicTimer
from shared.adapters.postgres import open_database
from trader.testing.servers import SettingsFor

AT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
_BATCH = (
    "INSERT INTO data_collector.bar_batches (account, timeframe, start_at, end_at, symbols, composition, digest, "
    "decidable, announced_at) VALUES (:account, '1Min', :start, :end, 1, ARRAY['AAPL'], :digest, true, :end)"
)


async def announce(settings_for: SettingsFor, account: str, minute: int) -> None:
    settings = settings_for("data_collector")
    end = AT + timedelta(minutes=minute)
    values = {"account": account, "start": end - timedelta(minutes=1), "end": end, "digest": "0" * 64}  # fmt: skip

    async def write(connection: Any) -> None:
        await connection.execute(text(_BATCH), values)

    async with open_database(settings, MonotonicTimer(), application="test") as database:
        await database.run(write)


def test_only_what_is_new_is_told_and_only_once(settings_for: SettingsFor, account: str) -> None:
    async def main() -> list[Seen]:
        await announce(settings_for, account, 0)
        settings = settings_for("scheduler")
        async with open_database(settings, MonotonicTimer(), application="test") as database:
            steps = PostgresSteps(database, account, AT)
            looks = [await steps.new()]
            await announce(settings_for, account, 1)
            return [*looks, await steps.new(), await steps.new()]

    before, new, after = asyncio.run(main())

    assert spans_of(account, before) == spans_of(account, after) == []
    [span] = spans_of(account, new)
    source = f"evaluation:1Min:{(AT + timedelta(minutes=1)).isoformat()}"
    assert span.trace_id == trace_id_of(account, source)
