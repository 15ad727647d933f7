"""Whose turn is it to execute, and what may that executor do?

Every statement that follows from a term carries its epoch, so that nothing happens once another has taken over.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from trade_executor.lifecycle import ExecutorState
from trade_executor.store.tables import SCHEMA, Tables


@dataclass(frozen=True, slots=True)
class Status:
    """The stored state of this account's executor."""

    state: ExecutorState
    epoch: int
    # Up to where everything has been compared: at first what the opening figures contain; None before there are any.
    compared_until: datetime | None


class Terms(Tables):
    """The one row that says who executes for the account."""

    async def set_state(
        self, state: ExecutorState, reason: str, *, epoch: int, at: datetime
    ) -> None:
        """Say what this term's executor may do; nothing happens once another has taken over."""

        async def work(connection: AsyncConnection) -> None:
            await self._do(
                connection,
                f"""UPDATE {SCHEMA}.status SET state = :state, reason = :reason, since_at = :at
                    WHERE account = :account AND epoch = :epoch AND (state, reason) <> (:state, :reason)""",
                state=state.value,
                reason=reason,
                epoch=epoch,
                at=at,
            )

        await self._db.run(work)

    async def mark_reconciled(self, *, epoch: int, at: datetime) -> None:
        """Note that everything up to `at` has been compared."""

        async def work(connection: AsyncConnection) -> None:
            await self._do(
                connection,
                f"""UPDATE {SCHEMA}.status SET reconciled_at = :at
                    WHERE account = :account AND epoch = :epoch""",
                epoch=epoch,
                at=at,
            )

        await self._db.run(work)

    async def status(self) -> Status | None:
        """The stored state; None when no executor ever ran for this account."""

        async def work(connection: AsyncConnection) -> Status | None:
            row = await self._one(
                connection,
                f"""SELECT s.state, s.epoch, coalesce(s.reconciled_at, a.ledger_from) AS compared_until
                    FROM {SCHEMA}.status s LEFT JOIN {SCHEMA}.accounts a USING (account)
                    WHERE s.account = :account""",
            )
            if row is None:
                return None
            return Status(ExecutorState(row.state), int(row.epoch), row.compared_until)

        return await self._db.run(work)
