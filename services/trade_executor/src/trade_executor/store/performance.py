"""What is kept of each day's trades?"""

from __future__ import annotations

import asyncio
from datetime import date, datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.executions import executions_of
from shared.domain.lots import match
from trade_executor.performance import DayPerformance, performance_on
from trade_executor.store.tables import SCHEMA, Tables


class Performances(Tables):
    """One row per day, computed anew from the whole ledger each time it is asked for."""

    async def record(self, day: date, at: datetime) -> DayPerformance:
        """Compute the figures of `day` and store them in place of what stood there."""

        async def work(connection: AsyncConnection) -> DayPerformance:
            executions = await executions_of(connection, self.account)
            # A long ledger takes a second, in which the executor must not stand still.
            found = await asyncio.to_thread(lambda: performance_on(day, match(executions).closings))
            await self._do(
                connection,
                f"""INSERT INTO {SCHEMA}.daily_performance
                        (account, day_on, wins, losses, gross_profit, gross_loss, computed_at)
                    VALUES (:account, :day_on, :wins, :losses, :gross_profit, :gross_loss, :at)
                    ON CONFLICT (account, day_on) DO UPDATE
                    SET wins = excluded.wins, losses = excluded.losses,
                        gross_profit = excluded.gross_profit, gross_loss = excluded.gross_loss,
                        computed_at = excluded.computed_at""",
                day_on=day,
                wins=found.wins,
                losses=found.losses,
                gross_profit=found.gross_profit,
                gross_loss=found.gross_loss,
                at=at,
            )
            return found

        return await self._db.run(work)

    async def newest(self, before: date | None, limit: int) -> list[DayPerformance]:
        """Days before `before`, newest first."""

        async def work(connection: AsyncConnection) -> list[DayPerformance]:
            rows = await self._all(
                connection,
                f"""SELECT day_on, wins, losses, gross_profit, gross_loss
                    FROM {SCHEMA}.daily_performance
                    WHERE account = :account AND (CAST(:before AS date) IS NULL OR day_on < :before)
                    ORDER BY day_on DESC LIMIT :limit""",
                before=before,
                limit=limit,
            )
            return [DayPerformance(**row._mapping) for row in rows]

        return await self._db.run(work)
