"""How does Alembic reach the database?

With the address the caller puts into `config.attributes["url"]` (the local runtime does), else with the settings'
own role, which must then be the owner. All steps of one upgrade are one transaction: a half-migrated
database does not exist.
"""

from __future__ import annotations

import asyncio

from alembic import context
from sqlalchemy import Connection, pool
from sqlalchemy.ext.asyncio import create_async_engine

from shared.adapters.postgres import database_url
from shared.config import load_settings


def _migrate(connection: Connection) -> None:
    context.configure(connection=connection, version_table="alembic_version")
    with context.begin_transaction():
        context.run_migrations()


async def _run() -> None:
    url = context.config.attributes.get("url") or database_url(load_settings())
    engine = create_async_engine(url, poolclass=pool.NullPool)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_migrate)
            await connection.commit()
    finally:
        await engine.dispose()


asyncio.run(_run())
