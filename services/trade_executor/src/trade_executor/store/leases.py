"""Where does the lease of an account rest?

Taking it is one transaction under the account's lock, which every sending transaction holds as well: so a sending
that saw the old epoch has committed before the new one begins, and what it marked SENDING is UNKNOWN from then on.
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.postgres import Database, lock
from shared.ports import Clock
from trade_executor.lease import LeaseRow
from trade_executor.store.tables import SCHEMA, Tables


class PostgresLeases(Tables):
    """See `Leases`."""

    def __init__(self, db: Database, account: str, clock: Clock) -> None:
        """`db`: connections of its own, so that no crowd of other work can make the lease run out."""
        super().__init__(db, account)
        self._clock = clock

    async def look(self) -> LeaseRow | None:
        """See `Leases`."""

        async def work(connection: AsyncConnection) -> LeaseRow | None:
            row = await self._one(
                connection,
                f"SELECT epoch, beats, holder FROM {SCHEMA}.leases WHERE account = :account",
            )
            return None if row is None else LeaseRow(int(row.epoch), int(row.beats), row.holder)

        return await self._db.read(work)

    async def take(self, seen: LeaseRow | None, holder: str) -> int | None:
        """See `Leases`; what was SENDING when the last holder went is UNKNOWN."""

        async def work(connection: AsyncConnection) -> int | None:
            await lock(connection, f"account:{self.account}")
            row = await self._one(
                connection,
                f"""INSERT INTO {SCHEMA}.leases AS held (account, epoch, beats, holder)
                    VALUES (:account, 1, 0, :holder)
                    ON CONFLICT (account) DO UPDATE
                        SET epoch = held.epoch + 1, beats = 0, holder = EXCLUDED.holder
                        WHERE held.epoch = :epoch AND held.beats = :beats
                    RETURNING epoch""",
                holder=holder,
                epoch=0 if seen is None else seen.epoch,
                beats=0 if seen is None else seen.beats,
            )
            if row is None:
                return None
            await self._do(
                connection,
                f"""INSERT INTO {SCHEMA}.status (account, state, since_at, reason, epoch)
                    VALUES (:account, 'RECONCILING', :at, 'took over', :epoch)
                    ON CONFLICT (account) DO UPDATE SET state = EXCLUDED.state, since_at = EXCLUDED.since_at,
                        reason = EXCLUDED.reason, epoch = EXCLUDED.epoch""",
                at=self._clock.now(),
                epoch=row.epoch,
            )
            await self._do(
                connection,
                f"""UPDATE {SCHEMA}.intents SET state = 'UNKNOWN', reason = 'was being sent when its sender ended'
                    WHERE account = :account AND state = 'SENDING'""",
            )
            return int(row.epoch)

        return await self._db.run(work)

    async def beat(self, epoch: int) -> bool:
        """See `Leases`."""

        async def work(connection: AsyncConnection) -> bool:
            row = await self._one(
                connection,
                f"""UPDATE {SCHEMA}.leases SET beats = beats + 1
                    WHERE account = :account AND epoch = :epoch RETURNING epoch""",
                epoch=epoch,
            )
            return row is not None

        return await self._db.read(work)

    async def release(self, epoch: int) -> None:
        """See `Leases`."""

        async def work(connection: AsyncConnection) -> None:
            await self._do(
                connection,
                f"UPDATE {SCHEMA}.leases SET holder = NULL WHERE account = :account AND epoch = :epoch",
                epoch=epoch,
            )

        await self._db.read(work)
