"""The report's rows on real PostgreSQL."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from scheduler.adapters.day_reads import PostgresDays
from scheduler.daily_report import Day, as_text
from shared.adapters.clocks import MonotonicTimer
from shared.adapters.postgres import open_database
from shared.domain.calendar import Session
from trader.testing.servers import SettingsFor

OPEN = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
SESSION = Session(OPEN.date(), OPEN, OPEN.replace(hour=21, minute=0))


def test_a_day_without_anything_is_read_and_told(settings_for: SettingsFor, account: str) -> None:
    async def main() -> Day:
        settings = settings_for("scheduler")
        async with open_database(settings, MonotonicTimer(), application="test") as database:
            return await PostgresDays(database, account).day(SESSION, "Tuesday")

    day = asyncio.run(main())

    assert (day.fills, day.exceptions, day.equity_after, day.signals) == ([], [], None, 0)
    assert "Nothing was filled." in as_text(day)
