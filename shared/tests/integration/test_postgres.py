"""Tests of `shared.adapters.postgres` against a real server that has trouble of its own."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.postgres import open_database
from shared.domain.errors import Unavailable
from shared.testing.time import InstantTimer
from trader.testing.servers import SettingsFor

# As the server says it when it cannot extend a file.
FULL = (
    """DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'disk_full', MESSAGE = 'no space left'; END $$"""
)


def test_a_full_disk_is_waited_for_and_named_with_its_mend(settings_for: SettingsFor) -> None:
    statements = [FULL] * 5 + [FULL] + ["SELECT 1"]

    async def work(connection: AsyncConnection) -> None:
        await connection.execute(text(statements.pop(0)))

    async def scenario() -> None:
        settings, timer = settings_for("risk_manager"), InstantTimer()
        async with open_database(settings, timer, application="test") as database:
            with pytest.raises(Unavailable, match=r"disk is full \(.*no space left\); make room"):
                await database.run(work)
            # There is room again before the second try of the next one is over.
            await database.run(work)

    asyncio.run(scenario())
    assert statements == []
