"""Where is kept what may be sold short?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.domain.symbols import Symbol
from trade_executor.store.tables import SCHEMA, Tables

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Lent:
    """The broker's word: whether the account may sell short at all, and which shares are lent, as seen `at`."""

    may_short: bool
    shares: Mapping[Symbol, bool]
    at: datetime


class Lendings(Tables):
    """The broker's newest word; a share that it names no more is not lent."""

    async def record(self, lent: Lent) -> None:
        """Keep what was seen."""
        await self._db.run(lambda connection: self.write(connection, lent))

    async def write(self, connection: AsyncConnection, lent: Lent) -> None:
        """Keep what was seen, in the transaction of `connection`."""
        await self._do(
            connection,
            f"""INSERT INTO {SCHEMA}.lending (account, symbol, is_lent, seen_at)
                SELECT :account, symbol, is_lent, :at
                FROM unnest(CAST(:symbols AS text[]), CAST(:lent AS boolean[])) AS seen (symbol, is_lent)
                ORDER BY symbol
                ON CONFLICT (account, symbol)
                DO UPDATE SET is_lent = excluded.is_lent, seen_at = excluded.seen_at""",
            at=lent.at,
            symbols=list(lent.shares),
            lent=list(lent.shares.values()),
        )
        await self._do(
            connection,
            f"""UPDATE {SCHEMA}.lending SET is_lent = false, seen_at = :at
                WHERE account = :account AND is_lent AND symbol NOT IN (
                    SELECT unnest(CAST(:symbols AS text[])))""",
            at=lent.at,
            symbols=list(lent.shares),
        )
        await self._do(
            connection,
            f"""UPDATE {SCHEMA}.accounts SET may_short = :may, lending_seen_at = :at
                WHERE account = :account""",
            may=lent.may_short,
            at=lent.at,
        )

    async def expect(self) -> None:
        """Where nothing was ever seen: seen so long ago that looking is due at once, and nobody believes it."""

        async def work(connection: AsyncConnection) -> None:
            await self._do(
                connection,
                f"""UPDATE {SCHEMA}.accounts SET lending_seen_at = :long_ago
                    WHERE account = :account AND lending_seen_at IS NULL""",
                long_ago=_LONG_AGO,
            )

        await self._db.run(work)

    async def forget(self) -> None:
        """Nothing is known, since nobody asks any more."""

        async def work(connection: AsyncConnection) -> None:
            await self._do(
                connection,
                f"""UPDATE {SCHEMA}.accounts SET may_short = NULL, lending_seen_at = NULL
                    WHERE account = :account AND lending_seen_at IS NOT NULL""",
            )

        await self._db.run(work)
