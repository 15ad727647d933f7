"""Who is the one executor of this account?

Whoever holds a session-level lock in PostgreSQL, on a connection of its own. The lock goes with the connection; so
the holder asks for a sign of life every second and gives everything up when none comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.postgres import Database, lock_key
from shared.domain.errors import Unavailable
from shared.ports import Timer

_CHECK_S = 1.0
_ANSWER_WITHIN_S = 3.0


class TenureLost(Unavailable):
    """The lock may have gone to another process."""


class Tenure:
    """Held as long as its connection answers."""

    def __init__(self, connection: AsyncConnection, timer: Timer) -> None:
        self._connection = connection
        self._timer = timer
        self._heard_s = timer.monotonic_s()
        self._lost = False

    @property
    def is_sure(self) -> bool:
        """Whether a sign of life came lately enough to send an order on it."""
        age_s = self._timer.monotonic_s() - self._heard_s
        return not self._lost and age_s < _CHECK_S + _ANSWER_WITHIN_S

    async def watch(self) -> None:
        """Ask for signs of life until one is missing. Raises TenureLost."""
        while True:
            await self._timer.sleep(_CHECK_S)
            try:
                async with asyncio.timeout(_ANSWER_WITHIN_S):
                    await self._connection.execute(text("SELECT 1"))
                    # An open transaction would be ended by the server's idle limit, and the lock with it.
                    await self._connection.commit()
            except (DBAPIError, OSError, TimeoutError) as error:
                self._lost = True
                raise TenureLost(
                    f"the lock on the account is lost ({type(error).__name__})"
                ) from error
            self._heard_s = self._timer.monotonic_s()


@asynccontextmanager
async def tenure(db: Database, account: str, timer: Timer) -> AsyncIterator[Tenure]:
    """Wait until the lock on `account` is ours and hold it as long as the context lasts."""
    async with db.connection() as connection:
        key = lock_key(f"executor:{account}")
        while True:
            taken = await connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": key})
            await connection.commit()
            if taken:
                break
            await timer.sleep(_CHECK_S)
        held = Tenure(connection, timer)
        try:
            yield held
        finally:
            # The pool would keep the connection, and with it the lock: closing it is what lets go.
            await connection.invalidate()
