"""A connection to the tests' database under one role, to store what a stage would have stored or to tamper with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from trader.runtime.instance import DATABASE, Instance
from trader.runtime.ports import LOOPBACK


@asynccontextmanager
async def connected(instance: Instance, role: str) -> AsyncIterator[Any]:
    """Open for the block; closed after it, whatever happens."""
    connection = await asyncpg.connect(
        host=LOOPBACK,
        port=instance.ports.postgres,
        user=role,
        password=instance.database_password(role),
        database=DATABASE,
        ssl=False,
    )
    try:
        yield connection
    finally:
        await connection.close()
