"""How does the collector's journal stand in PostgreSQL?

Everything is safe to do again, since a transaction whose answer was lost is repeated as a whole. Batches of
one account are written under one advisory lock and only forwards in time, so their ids become visible in the
order of their instants and a reader's cursor can never step over one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from data_collector.backfill import Marker
from data_collector.boundary import Refused
from data_collector.budgets import Spent
from data_collector.ports import Announced, Doubt, Hold, Job, JobState, Reject
from shared.adapters.postgres import Database, lock
from shared.domain.bar_blocks import BarBlock, from_epoch_us
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe

_MAX_WHY = 400
_HOLD = "id, symbol, kind, reason, last_on, step_on, since_at, ended_at, end_reason"
_JOB = (
    "job_id, symbols, timeframe, start_at, end_at, requested_at, idempotency_key, state, bars_read, "
    "bars_new, bars_refused, error, ended_at, through, group_through, reached_at, pieces_done, "
    "pieces_total, providers, note"
)


class PostgresJournal:
    """See `Journal`."""

    def __init__(self, database: Database, account: str) -> None:
        self._database = database
        self._account = account

    async def newest_batch(self, timeframe: Timeframe) -> Announced | None:
        """See `Journal`."""

        async def read(connection: AsyncConnection) -> Announced | None:
            result = await connection.execute(
                text(
                    "SELECT id, start_at, end_at, symbols, decidable, announced_at "
                    "FROM data_collector.bar_batches "
                    "WHERE account = :account AND timeframe = :timeframe "
                    "ORDER BY end_at DESC LIMIT 1"
                ),
                {"account": self._account, "timeframe": timeframe.value},
            )
            row = result.first()
            return None if row is None else Announced(*row)

        return await self._database.run(read)

    async def announce(
        self, block: BarBlock, *, digest: str, decidable: bool, at: datetime
    ) -> int | None:
        """See `Journal`."""
        values = {
            "account": self._account,
            "timeframe": block.timeframe.value,
            "start_at": from_epoch_us(int(block.start_us.min())),
            "end_at": from_epoch_us(int(block.end_us.max())),
            "symbols": len(block),
            "composition": list(block.symbols),
            "digest": digest,
            "decidable": decidable,
            "at": at,
        }

        async def write(connection: AsyncConnection) -> int | None:
            await lock(connection, f"bar_batches:{self._account}")
            result = await connection.execute(
                text(
                    "INSERT INTO data_collector.bar_batches (account, timeframe, start_at, end_at, "
                    "symbols, composition, digest, decidable, announced_at) "
                    "SELECT :account, :timeframe, :start_at, :end_at, :symbols, "
                    "CAST(:composition AS text[]), :digest, :decidable, :at "
                    "WHERE NOT EXISTS (SELECT 1 FROM data_collector.bar_batches "
                    "WHERE account = :account AND timeframe = :timeframe AND end_at >= :end_at) "
                    "RETURNING id"
                ),
                values,
            )
            row = result.first()
            return None if row is None else int(row[0])

        return await self._database.run(write)

    async def quarantine(
        self, refused: Sequence[Refused], timeframe: Timeframe, *, provider: str, at: datetime
    ) -> int:
        """See `Journal`."""
        rows = [
            {
                "account": self._account,
                "timeframe": timeframe.value,
                "provider": provider,
                "symbol": bar.symbol,
                "reason": bar.reason,
                "raw": bar.raw,
                "raw_digest": hashlib.sha256(bar.raw.encode()).hexdigest(),
                "at": at,
            }
            for bar in refused
        ]

        async def write(connection: AsyncConnection) -> int:
            new = 0
            for row in rows:
                result = await connection.execute(
                    text(
                        "INSERT INTO data_collector.quarantine (account, timeframe, provider, symbol, "
                        "reason, raw, raw_digest, seen_at) VALUES (:account, :timeframe, :provider, "
                        ":symbol, :reason, :raw, :raw_digest, :at) "
                        "ON CONFLICT (account, timeframe, provider, symbol, raw_digest) DO NOTHING"
                    ),
                    row,
                )
                new += result.rowcount
            return new

        return await self._database.run(write) if rows else 0

    async def rejects(self, *, before: int | None, limit: int) -> list[Reject]:
        """See `Journal`."""
        return await self._rejects(
            "(CAST(:before AS bigint) IS NULL OR id < :before) ORDER BY id DESC LIMIT :limit",
            before=before,
            limit=limit,
        )

    async def reject(self, reject_id: int) -> Reject | None:
        """See `Journal`."""
        found = await self._rejects("id = :reject_id", reject_id=reject_id)
        return found[0] if found else None

    async def _rejects(self, where: str, **values: int | None) -> list[Reject]:
        async def read(connection: AsyncConnection) -> list[Reject]:
            result = await connection.execute(
                text(
                    "SELECT id, timeframe, provider, symbol, reason, raw, seen_at, released_at, "
                    "release_reason FROM data_collector.quarantine "
                    f"WHERE account = :account AND {where}"
                ),
                {"account": self._account, **values},
            )
            return [Reject(row[0], Timeframe(row[1]), *row[2:]) for row in result]

        return await self._database.run(read)

    async def reject_counts(self) -> dict[str, int]:
        """See `Journal`."""

        async def read(connection: AsyncConnection) -> dict[str, int]:
            result = await connection.execute(
                text(
                    "SELECT provider, count(*) FROM data_collector.quarantine "
                    "WHERE account = :account AND released_at IS NULL GROUP BY provider"
                ),
                {"account": self._account},
            )
            return {row[0]: int(row[1]) for row in result}

        return await self._database.run(read)

    async def release(self, reject_id: int, *, reason: str, at: datetime) -> None:
        """See `Journal`."""

        async def write(connection: AsyncConnection) -> None:
            await connection.execute(
                text(
                    "UPDATE data_collector.quarantine SET released_at = :at, release_reason = :reason "
                    "WHERE account = :account AND id = :reject_id AND released_at IS NULL"
                ),
                {"account": self._account, "reject_id": reject_id, "reason": reason, "at": at},
            )

        await self._database.run(write)

    async def hold(self, holds: Sequence[Hold]) -> int:
        """See `Journal`."""

        async def write(connection: AsyncConnection) -> int:
            began = 0
            for hold in holds:
                result = await connection.execute(
                    text(
                        "INSERT INTO data_collector.symbol_holds (account, symbol, kind, reason, "
                        "last_on, step_on, since_at) VALUES (:account, :symbol, :kind, :reason, "
                        ":last_on, :step_on, :since_at) "
                        "ON CONFLICT (account, symbol, kind) WHERE ended_at IS NULL DO NOTHING"
                    ),
                    {
                        "account": self._account,
                        "symbol": hold.symbol,
                        "kind": hold.kind.value,
                        "reason": hold.reason[:_MAX_WHY],
                        "last_on": hold.last_on,
                        "step_on": hold.step_on,
                        "since_at": hold.since_at,
                    },
                )
                began += result.rowcount
            return began

        return await self._database.run(write) if holds else 0

    async def end_holds(
        self, symbols: Sequence[Symbol], kind: Doubt, *, reason: str, at: datetime
    ) -> int:
        """See `Journal`."""

        async def write(connection: AsyncConnection) -> int:
            result = await connection.execute(
                text(
                    "UPDATE data_collector.symbol_holds SET ended_at = :at, end_reason = :reason "
                    "WHERE account = :account AND kind = :kind AND ended_at IS NULL "
                    "AND symbol = ANY(CAST(:symbols AS text[]))"
                ),
                {
                    "account": self._account,
                    "kind": kind.value,
                    "symbols": list(symbols),
                    "reason": reason[:_MAX_WHY],
                    "at": at,
                },
            )
            return int(result.rowcount)

        return await self._database.run(write) if symbols else 0

    async def release_hold(self, hold_id: int, *, reason: str, at: datetime) -> Hold | None:
        """See `Journal`."""

        async def write(connection: AsyncConnection) -> Hold | None:
            await connection.execute(
                text(
                    "UPDATE data_collector.symbol_holds SET ended_at = :at, end_reason = :reason "
                    "WHERE account = :account AND id = :id AND ended_at IS NULL"
                ),
                {"account": self._account, "id": hold_id, "reason": reason, "at": at},
            )
            result = await connection.execute(
                text(
                    f"SELECT {_HOLD} FROM data_collector.symbol_holds WHERE account = :a AND id = :id"
                ),
                {"a": self._account, "id": hold_id},
            )
            row = result.first()
            return None if row is None else _hold(row)

        return await self._database.run(write)

    async def holds(
        self, *, is_open: bool = True, before: int | None = None, limit: int = 10_000
    ) -> list[Hold]:
        """See `Journal`."""

        async def read(connection: AsyncConnection) -> list[Hold]:
            result = await connection.execute(
                text(
                    f"SELECT {_HOLD} FROM data_collector.symbol_holds WHERE account = :account "
                    "AND (NOT :is_open OR ended_at IS NULL) "
                    "AND (CAST(:before AS bigint) IS NULL OR id < :before) "
                    "ORDER BY id DESC LIMIT :limit"
                ),
                {
                    "account": self._account,
                    "is_open": is_open,
                    "before": before,
                    "limit": limit,
                },
            )
            return [_hold(row) for row in result]

        return await self._database.run(read)

    async def add_job(self, job: Job) -> Job:
        """See `Journal`."""

        async def write(connection: AsyncConnection) -> Job:
            # Repeated after a lost answer, the job is found by its own id.
            await connection.execute(
                text(
                    f"INSERT INTO data_collector.collection_jobs (account, {_JOB}) "
                    "VALUES (:account, :job_id, CAST(:symbols AS text[]), :timeframe, :start_at, "
                    ":end_at, :requested_at, :idempotency_key, :state, 0, 0, 0, NULL, NULL, '', '', "
                    "NULL, 0, 0, '{}', NULL) "
                    "ON CONFLICT DO NOTHING"
                ),
                {
                    "account": self._account,
                    "job_id": job.job_id,
                    "symbols": list(job.symbols),
                    "timeframe": job.timeframe.value,
                    "start_at": job.start_at,
                    "end_at": job.end_at,
                    "requested_at": job.requested_at,
                    "idempotency_key": job.idempotency_key,
                    "state": job.state.value,
                },
            )
            result = await connection.execute(
                text(
                    f"SELECT {_JOB} FROM data_collector.collection_jobs "
                    "WHERE account = :account AND (job_id = :job_id OR idempotency_key = :key)"
                ),
                {"account": self._account, "job_id": job.job_id, "key": job.idempotency_key},
            )
            return _job(result.one())

        return await self._database.run(write)

    async def job(self, job_id: str) -> Job | None:
        """See `Journal`."""
        found = await self._jobs("job_id = :job_id", job_id=job_id)
        return found[0] if found else None

    async def unfinished_jobs(self) -> list[Job]:
        """See `Journal`."""
        return await self._jobs("state IN ('QUEUED', 'RUNNING')")

    async def _jobs(self, where: str, **values: str) -> list[Job]:
        async def read(connection: AsyncConnection) -> list[Job]:
            result = await connection.execute(
                text(
                    f"SELECT {_JOB} FROM data_collector.collection_jobs "
                    f"WHERE account = :account AND {where} ORDER BY requested_at, job_id LIMIT 1000"
                ),
                {"account": self._account, **values},
            )
            return [_job(row) for row in result]

        return await self._database.run(read)

    async def save_job(self, job: Job) -> None:
        """See `Journal`."""

        async def write(connection: AsyncConnection) -> None:
            await connection.execute(
                text(
                    "UPDATE data_collector.collection_jobs SET state = :state, bars_read = :bars_read, "
                    "bars_new = :bars_new, bars_refused = :bars_refused, error = :error, "
                    "ended_at = :ended_at, through = :through, group_through = :group_through, "
                    "reached_at = :reached_at, pieces_done = :pieces_done, "
                    "pieces_total = :pieces_total, providers = CAST(:providers AS text[]), "
                    "note = :note WHERE account = :account AND job_id = :job_id"
                ),
                {
                    "account": self._account,
                    "job_id": job.job_id,
                    "state": job.state.value,
                    "bars_read": job.bars_read,
                    "bars_new": job.bars_new,
                    "bars_refused": job.bars_refused,
                    "error": job.error,
                    "ended_at": job.ended_at,
                    "through": job.marker.through,
                    "group_through": job.marker.group_through,
                    "reached_at": job.marker.reached_at,
                    "pieces_done": job.pieces_done,
                    "pieces_total": job.pieces_total,
                    "providers": list(job.providers),
                    "note": job.note,
                },
            )

        await self._database.run(write)


def _hold(row: Any) -> Hold:
    return Hold(
        symbol=Symbol(row.symbol),
        kind=Doubt(row.kind),
        reason=row.reason,
        since_at=row.since_at,
        last_on=row.last_on,
        step_on=row.step_on,
        hold_id=row.id,
        ended_at=row.ended_at,
        end_reason=row.end_reason,
    )


def _job(row: Any) -> Job:
    return Job(
        job_id=row.job_id,
        symbols=tuple(Symbol(name) for name in row.symbols),
        timeframe=Timeframe(row.timeframe),
        start_at=row.start_at,
        end_at=row.end_at,
        requested_at=row.requested_at,
        idempotency_key=row.idempotency_key,
        state=JobState(row.state),
        bars_read=row.bars_read,
        bars_new=row.bars_new,
        bars_refused=row.bars_refused,
        error=row.error,
        ended_at=row.ended_at,
        marker=Marker(row.through, row.group_through, row.reached_at),
        pieces_done=row.pieces_done,
        pieces_total=row.pieces_total,
        providers=tuple(row.providers),
        note=row.note,
    )


class PostgresBudgets:
    """See `Budgets`. A change whose answer was lost counts twice, which errs on the safe side."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def change(self, provider: str, decide: Callable[[Spent], Spent]) -> Spent:
        """See `Budgets`."""

        async def write(connection: AsyncConnection) -> Spent:
            await connection.execute(
                text(
                    "INSERT INTO data_collector.budgets (provider) VALUES (:provider) "
                    "ON CONFLICT DO NOTHING"
                ),
                {"provider": provider},
            )
            result = await connection.execute(
                text(
                    "SELECT recent, day_on, day_used, blocked_until_at, blocked_why "
                    "FROM data_collector.budgets WHERE provider = :provider FOR UPDATE"
                ),
                {"provider": provider},
            )
            row = result.one()
            recent = tuple((int(second), int(cost)) for second, cost in row.recent)
            before = Spent(recent, row.day_on, row.day_used, row.blocked_until_at, row.blocked_why)
            after = decide(before)
            if after != before:
                await connection.execute(
                    text(
                        "UPDATE data_collector.budgets SET recent = CAST(:recent AS jsonb), "
                        "day_on = :day_on, day_used = :day_used, "
                        "blocked_until_at = :blocked_until_at, blocked_why = :blocked_why "
                        "WHERE provider = :provider"
                    ),
                    {
                        "provider": provider,
                        "recent": json.dumps(after.recent),
                        "day_on": after.day_on,
                        "day_used": after.day_used,
                        "blocked_until_at": after.blocked_until_at,
                        "blocked_why": after.blocked_why[:_MAX_WHY],
                    },
                )
            return after

        return await self._database.run(write)
