"""The database is reached through a program beside it, where this machine sees none of its addresses."""

import asyncio
import os

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.clocks import MonotonicTimer
from shared.adapters.postgres import open_database
from shared.config import Settings
from shared.domain.errors import Unavailable
from trader.runtime.ports import Ports
from trader.runtime.tunnel import relay_words, tunnel
from trader.testing.servers import SettingsFor

# More than any buffer on the way holds.
LONG = 3_000_000


def answer(settings: Settings) -> str:
    """What the server says to a long statement with a long answer."""

    async def ask(connection: AsyncConnection) -> str:
        said = await connection.execute(text("SELECT reverse(:long)"), {"long": "ab" * LONG})
        return str(said.scalar_one())

    async def work() -> str:
        async with open_database(settings, MonotonicTimer(), application="test") as database:
            return await database.read(ask)

    return asyncio.run(work())


def test_all_that_is_asked_and_answered_comes_through_and_the_door_is_closed_afterwards(
    settings_for: SettingsFor,
) -> None:
    port = settings_for("operator").db_port

    with tunnel(relay_words(port), os.environ, port) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        told = settings_for("operator", DB_HOST=str(folder))
        assert answer(told) == "ba" * LONG

    assert not folder.exists()
    with pytest.raises(Unavailable):
        answer(told)


def test_a_server_that_is_away_is_said_to_be(settings_for: SettingsFor) -> None:
    nobody = Ports.free().postgres

    with (
        tunnel(relay_words(nobody), os.environ, nobody) as folder,
        pytest.raises(Unavailable),
    ):
        answer(settings_for("operator", DB_HOST=str(folder), DB_PORT=str(nobody)))
