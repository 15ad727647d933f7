"""On what do we and the broker disagree?

A difference is opened with its evidence and pauses its symbol; both sides agreeing again or a person closes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.domain.symbols import Symbol
from trade_executor.store.tables import SCHEMA, Tables, as_json

_MAX_FILLS_SHOWN = 20


class Differences(Tables):
    """What is unexplained, visible until it is explained."""

    async def settle(
        self,
        kind: str,
        subject: str,
        symbol: Symbol | None,
        *,
        ours: str,
        theirs: str,
        differs: bool,
        since: datetime,
        at: datetime,
    ) -> None:
        """Open the difference, or close it by itself when both sides agree again.

        Its evidence is what we booked last for the symbol (without one: at all), and `since` when both sides may
        have parted.
        """

        async def work(connection: AsyncConnection) -> None:
            if differs:
                evidence = {
                    "since": since.isoformat(),
                    "fills": await self._newest_fills(connection, symbol),
                }
                await self.open_within(
                    connection,
                    kind,
                    subject,
                    symbol,
                    ours=ours,
                    theirs=theirs,
                    evidence=evidence,
                    at=at,
                )
            else:
                await self._do(
                    connection,
                    f"""UPDATE {SCHEMA}.differences SET closed_at = :at, closed_by = 'agreement'
                        WHERE account = :account AND kind = :kind AND subject = :subject
                          AND closed_at IS NULL""",
                    at=at,
                    kind=kind,
                    subject=subject,
                )

        await self._db.run(work)

    async def close_days(
        self, kind: str, differing: Sequence[date], first_on: date, last_on: date, *, at: datetime
    ) -> None:
        """Close what is open of `kind`, whose subjects are days, up to `last_on`, but for the `differing` days."""

        async def work(connection: AsyncConnection) -> None:
            await self._do(
                connection,
                f"""UPDATE {SCHEMA}.differences SET closed_at = :at,
                        closed_by = CASE WHEN subject < :first THEN 'day over' ELSE 'agreement' END
                    WHERE account = :account AND kind = :kind AND subject <= :last
                      AND subject <> ALL(:differing) AND closed_at IS NULL""",
                at=at,
                kind=kind,
                first=f"{first_on}",
                last=f"{last_on}",
                differing=[f"{day}" for day in differing],
            )

        await self._db.run(work)

    async def _newest_fills(
        self, connection: AsyncConnection, symbol: Symbol | None
    ) -> list[dict[str, Any]]:
        rows = await self._all(
            connection,
            f"""SELECT execution_id, broker_order_id, symbol, side, quantity, price, executed_at
                FROM {SCHEMA}.v_fills
                WHERE account = :account AND (CAST(:symbol AS text) IS NULL OR symbol = :symbol)
                ORDER BY id DESC LIMIT {_MAX_FILLS_SHOWN}""",
            symbol=symbol,
        )
        return [dict(row._mapping) for row in rows]

    async def all_open(self) -> list[dict[str, Any]]:
        """What is open, oldest first."""

        async def work(connection: AsyncConnection) -> list[dict[str, Any]]:
            rows = await self._all(
                connection,
                f"""SELECT kind, subject, symbol, ours, theirs, evidence, opened_at FROM {SCHEMA}.differences
                    WHERE account = :account AND closed_at IS NULL ORDER BY id LIMIT 500""",
            )
            return [dict(row._mapping) for row in rows]

        return await self._db.run(work)

    async def acknowledge(self, symbols: Sequence[Symbol], *, actor: str, at: datetime) -> int:
        """A person has looked: close what is open in `symbols`, so that entries may go again."""

        async def work(connection: AsyncConnection) -> int:
            rows = await self._all(
                connection,
                f"""UPDATE {SCHEMA}.differences SET closed_at = :at, closed_by = :actor
                    WHERE account = :account AND closed_at IS NULL AND symbol = ANY(:symbols)
                    RETURNING id""",
                at=at,
                actor=actor,
                symbols=list(symbols),
            )
            return len(rows)

        return await self._db.run(work)

    async def open_within(
        self,
        connection: AsyncConnection,
        kind: str,
        subject: str,
        symbol: Symbol | None,
        *,
        ours: str,
        theirs: str,
        evidence: Mapping[str, Any],
        at: datetime,
    ) -> None:
        """Open it in the transaction of what showed it; open already, its figures are the newer ones."""
        await self._do(
            connection,
            f"""INSERT INTO {SCHEMA}.differences
                    (account, kind, subject, symbol, ours, theirs, evidence, opened_at)
                VALUES (:account, :kind, :subject, :symbol, :ours, :theirs, CAST(:evidence AS jsonb), :at)
                ON CONFLICT (account, kind, subject) WHERE closed_at IS NULL
                DO UPDATE SET ours = EXCLUDED.ours, theirs = EXCLUDED.theirs,
                    evidence = EXCLUDED.evidence""",
            kind=kind,
            subject=subject,
            symbol=symbol,
            ours=ours[:500],
            theirs=theirs[:500],
            evidence=as_json(evidence),
            at=at,
        )
