"""How are screens, and what they show of companies, kept in PostgreSQL?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from data_collector.screening import Outcome, ScreenRun
from data_collector.screens import Taken
from shared.adapters.postgres import Database
from shared.domain.fundamentals import FUNDAMENTALS
from shared.domain.symbols import Symbol

# A company's figures change with its reports, its ratios with the price: a screen every five minutes says no more.
_KEPT_EVERY = timedelta(hours=1)
_NOTE_COMPANIES = text(f"""
    INSERT INTO data_collector.fundamentals (account, symbol, taken_at, {", ".join(FUNDAMENTALS)})
    SELECT :account, seen.*
    FROM (
        SELECT company, CAST(:taken_at AS timestamptz), {", ".join(FUNDAMENTALS)}
        FROM unnest(
            CAST(:symbols AS text[]),
            {", ".join(f"CAST(:{name} AS double precision[])" for name in FUNDAMENTALS)}
        ) AS shown (company, {", ".join(FUNDAMENTALS)})
    ) AS seen
    WHERE NOT EXISTS (
        SELECT FROM data_collector.fundamentals AS kept
        WHERE kept.account = :account AND kept.symbol = seen.company AND kept.taken_at > :kept_since
    )
    ON CONFLICT DO NOTHING""")  # noqa: S608  # the columns are ours
_END = text("""
    INSERT INTO data_collector.screen_runs (account, screen, due_at, outcome, ended_at, symbols, took_s, detail)
    VALUES (:account, :screen, :due_at, :outcome, :ended_at, :symbols, :took_s, :detail)
    ON CONFLICT (account, due_at) DO UPDATE SET (screen, outcome, ended_at, symbols, took_s, detail)
        = (excluded.screen, excluded.outcome, excluded.ended_at, excluded.symbols, excluded.took_s, excluded.detail)
    """)
_NEWEST_RUN = text("""
    SELECT screen, due_at, outcome, ended_at, symbols, took_s, detail FROM data_collector.screen_runs
    WHERE account = :account ORDER BY due_at DESC LIMIT 1""")


class PostgresUniverse:
    """See `Universe`."""

    def __init__(self, database: Database, account: str) -> None:
        self._database = database
        self._account = account

    async def note(
        self, taken: Taken, companies: Mapping[Symbol, Mapping[str, float | None]]
    ) -> None:
        """See `Universe`."""

        async def write(connection: AsyncConnection) -> None:
            await connection.execute(
                text(
                    "INSERT INTO data_collector.screens (account, screen, filters, taken_at, symbols) "
                    "VALUES (:account, :screen, CAST(:filters AS text[]), :taken_at, "
                    "CAST(:symbols AS text[])) ON CONFLICT DO NOTHING"
                ),
                {
                    "account": self._account,
                    "screen": taken.screen,
                    "filters": list(taken.filters),
                    "taken_at": taken.taken_at,
                    "symbols": list(taken.symbols),
                },
            )
            if companies:
                given = {name: [c.get(name) for c in companies.values()] for name in FUNDAMENTALS}
                await connection.execute(
                    _NOTE_COMPANIES,
                    {
                        "account": self._account,
                        "taken_at": taken.taken_at,
                        "kept_since": taken.taken_at - _KEPT_EVERY,
                        "symbols": list(companies),
                        **given,
                    },
                )

        await self._database.run(write)

    async def held(self) -> frozenset[Symbol]:
        """See `Universe`."""

        async def read(connection: AsyncConnection) -> frozenset[Symbol]:
            result = await connection.execute(
                text(
                    "SELECT symbol FROM trade_executor.v_positions "
                    "WHERE account = :account AND quantity <> 0"
                ),
                {"account": self._account},
            )
            return frozenset(Symbol(row.symbol) for row in result)

        return await self._database.run(read)

    async def seen(self, *, until_at: datetime, limit: int) -> list[Taken]:
        """See `Universe`."""

        async def read(connection: AsyncConnection) -> list[Taken]:
            result = await connection.execute(
                text(
                    "SELECT screen, filters, taken_at, symbols FROM data_collector.screens "
                    "WHERE account = :account AND taken_at <= :until_at "
                    "ORDER BY taken_at DESC, id DESC LIMIT :limit"
                ),
                {"account": self._account, "until_at": until_at, "limit": limit},
            )
            return [
                Taken(row.screen, tuple(row.filters), row.taken_at, tuple(row.symbols))
                for row in result
            ]

        return await self._database.run(read)

    async def ended(self, run: ScreenRun) -> None:
        """See `Universe`."""
        values = {**asdict(run), "account": self._account, "outcome": run.outcome.value}

        async def write(connection: AsyncConnection) -> None:
            await connection.execute(_END, values)

        await self._database.run(write)

    async def newest_run(self) -> ScreenRun | None:
        """See `Universe`."""

        async def read(connection: AsyncConnection) -> ScreenRun | None:
            row = (await connection.execute(_NEWEST_RUN, {"account": self._account})).one_or_none()
            if row is None:
                return None
            return ScreenRun(**{**row._mapping, "outcome": Outcome(row.outcome)})

        return await self._database.run(read)
