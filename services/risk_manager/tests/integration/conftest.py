"""For the tests of this folder: their event loop and the world on real servers."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from services.risk_manager.tests.integration.postgres_world import PostgresWorld
from shared.adapters.clocks import MonotonicTimer
from shared.adapters.postgres import open_database
from trader.testing.servers import SettingsFor


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def world(settings_for: SettingsFor, account: str) -> AsyncIterator[PostgresWorld]:
    async with AsyncExitStack() as stack:
        databases = {
            role: await stack.enter_async_context(
                open_database(
                    settings_for(role), MonotonicTimer(), application="test", pool_size=size
                )
            )
            for role, size in (
                ("risk_manager", 8),
                ("trade_executor", 2),
                ("strategy_engine", 1),
                ("data_collector", 1),
            )
        }
        yield PostgresWorld(account, databases)
