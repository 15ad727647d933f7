"""How are jobs and their runs kept in PostgreSQL?

Everything is safe to do again, since a transaction whose answer was lost is repeated: rows are named by what
they are, and what a runner took without ever hearing of it is given to it once more.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import date, datetime
from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.backlog import Backlog
from scheduler.runs import (
    Figures,
    Heartbeat,
    JobHistory,
    Pause,
    Run,
    RunKind,
    RunState,
    ServiceHealth,
    StoredHealth,
    scheduled_run_id,
)
from scheduler.schedules import Occurrence
from shared.adapters.postgres import Database, lock, lock_key
from shared.domain.errors import Rejected, Unavailable
from shared.ports import Timer

# A person who asks for more than these at once is a script gone wrong.
MOST_QUEUED = 20
_STANDBY_S = 1.0
_RUN = (
    "number, run_id, job_id, kind, state, session_on, first_due_at, due_at, until_at, occurrences, "
    "actor, started_at, finished_at, duration_s, detail, figures"
)


class PostgresJobStore:
    """See `JobStore`."""

    def __init__(self, database: Database, account: str, timer: Timer) -> None:
        self._database = database
        self._account = account
        self._timer = timer

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """See `JobStore`: a session-level advisory lock on a connection of its own."""
        key = {"key": lock_key(f"scheduler:{self._account}")}
        async with self._database.connection() as connection:

            async def prove_alone() -> None:
                # The lock lives as long as its session; one that still answers still holds it.
                try:
                    await connection.execute(text("SELECT 1"))
                    await connection.commit()
                except (DBAPIError, OSError) as error:
                    raise Unavailable(
                        "the connection that holds the scheduler's lock is lost"
                    ) from error

            while not await connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), key):
                await connection.commit()
                await self._timer.sleep(_STANDBY_S)
            await connection.commit()
            try:
                yield prove_alone
            finally:
                # Back in the pool the session would keep the lock.
                await connection.invalidate()

    async def begin(self, job_ids: Sequence[str], now: datetime) -> dict[str, datetime]:
        """See `JobStore`."""

        async def work(connection: AsyncConnection) -> dict[str, datetime]:
            await connection.execute(
                text(
                    "INSERT INTO scheduler.jobs (account, job_id, considered_until_at) "
                    "SELECT :account, job_id, :now FROM unnest(CAST(:jobs AS text[])) AS job_id "
                    "ON CONFLICT (account, job_id) DO NOTHING"
                ),
                {"account": self._account, "jobs": list(job_ids), "now": now},
            )
            await connection.execute(
                text(
                    "UPDATE scheduler.job_runs SET state = 'INTERRUPTED', finished_at = :now, "
                    "detail = 'the scheduler ended during the run; trigger it again if it is needed' "
                    "WHERE account = :account AND state = 'RUNNING'"
                ),
                {"account": self._account, "now": now},
            )
            rows = await connection.execute(
                text(
                    "SELECT job_id, considered_until_at FROM scheduler.jobs WHERE account = :account"
                ),
                {"account": self._account},
            )
            return {row[0]: row[1] for row in rows}

        return await self._database.run(work)

    async def settle(self, job_id: str, backlog: Backlog, now: datetime) -> None:
        """See `JobStore`."""

        async def work(connection: AsyncConnection) -> None:
            if backlog.missed is not None:
                missed = backlog.missed
                await self._insert_due(
                    connection,
                    job_id,
                    missed.first,
                    missed.last,
                    missed.count,
                    RunState.MISSED,
                    now,
                )
            if backlog.run is not None:
                await self._insert_due(
                    connection, job_id, backlog.run, backlog.run, 1, RunState.QUEUED, None
                )
            await connection.execute(
                text(
                    "UPDATE scheduler.jobs SET considered_until_at = :now "
                    "WHERE account = :account AND job_id = :job_id"
                ),
                {"account": self._account, "job_id": job_id, "now": now},
            )

        await self._database.run(work)

    async def _insert_due(
        self,
        connection: AsyncConnection,
        job_id: str,
        first: Occurrence,
        last: Occurrence,
        count: int,
        state: RunState,
        finished_at: datetime | None,
    ) -> None:
        await connection.execute(
            text(
                "INSERT INTO scheduler.job_runs (run_id, account, job_id, kind, state, session_on, "
                "first_due_at, due_at, until_at, occurrences, actor, finished_at, detail) VALUES "
                "(:run_id, :account, :job_id, 'scheduled', :state, :session_on, :first_due_at, :due_at, "
                ":until_at, :count, 'scheduler', :finished_at, :detail) ON CONFLICT DO NOTHING"
            ),
            {
                "run_id": scheduled_run_id(self._account, job_id, last.due_at),
                "account": self._account,
                "job_id": job_id,
                "state": state.value,
                "session_on": last.session_on,
                "first_due_at": first.due_at,
                "due_at": last.due_at,
                "until_at": last.until_at,
                "count": count,
                "finished_at": finished_at,
                "detail": "too late to be worth running" if state is RunState.MISSED else "",
            },
        )

    async def request(
        self, run_id: str, job_id: str, session_on: date, now: datetime, actor: str
    ) -> tuple[Run, bool]:
        """See `JobStore`."""

        async def work(connection: AsyncConnection) -> tuple[Run, bool]:
            await lock(connection, f"job_queue:{self._account}")
            known = await self._one(connection, run_id)
            if known is not None:
                return known, False
            queued = await connection.scalar(
                text(
                    "SELECT count(*) FROM scheduler.job_runs "
                    "WHERE account = :account AND state = 'QUEUED'"
                ),
                {"account": self._account},
            )
            if int(queued or 0) >= MOST_QUEUED:
                raise Rejected(f"{queued} runs are queued already; wait until some have ended")
            row = await connection.execute(
                text(
                    "INSERT INTO scheduler.job_runs (run_id, account, job_id, kind, state, session_on, "  # a constant
                    "first_due_at, due_at, occurrences, actor) VALUES (:run_id, :account, :job_id, "
                    f"'manual', 'QUEUED', :session_on, :now, :now, 1, :actor) RETURNING {_RUN}"
                ),
                {
                    "run_id": run_id,
                    "account": self._account,
                    "job_id": job_id,
                    "session_on": session_on,
                    "now": now,
                    "actor": actor,
                },
            )
            return _run(row.one()), True

        return await self._database.run(work)

    async def take(self, runner: str, now: datetime) -> Run | None:
        """See `JobStore`."""

        async def work(connection: AsyncConnection) -> Run | None:
            await connection.execute(
                text(
                    "UPDATE scheduler.job_runs SET state = 'MISSED', finished_at = :now, "
                    "detail = 'too late to be worth running' "
                    "WHERE account = :account AND state = 'QUEUED' AND until_at <= :now"
                ),
                {"account": self._account, "now": now},
            )
            row = await connection.execute(
                text(
                    "UPDATE scheduler.job_runs SET state = 'RUNNING', runner = :runner, "  # a constant
                    "started_at = :now WHERE number = (SELECT number FROM scheduler.job_runs "
                    "WHERE account = :account "
                    "AND (state = 'QUEUED' OR (state = 'RUNNING' AND runner = :runner)) "
                    f"ORDER BY number LIMIT 1) RETURNING {_RUN}"
                ),
                {"account": self._account, "runner": runner, "now": now},
            )
            found = row.first()
            return None if found is None else _run(found)

        return await self._database.run(work)

    async def finish(
        self,
        run: Run,
        state: RunState,
        now: datetime,
        duration_s: float,
        detail: str,
        figures: Figures,
    ) -> None:
        """See `JobStore`."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(
                text(
                    "UPDATE scheduler.job_runs SET state = :state, finished_at = :now, "
                    "duration_s = :duration_s, detail = :detail, figures = CAST(:figures AS jsonb) "
                    "WHERE account = :account AND run_id = :run_id AND state = 'RUNNING'"
                ),
                {
                    "account": self._account,
                    "run_id": run.run_id,
                    "state": state.value,
                    "now": now,
                    "duration_s": duration_s,
                    "detail": detail,
                    "figures": orjson.dumps(figures).decode(),
                },
            )

        await self._database.run(work)

    async def pause(self, job_id: str, pause: Pause | None) -> None:
        """See `JobStore`."""
        told = {
            "account": self._account,
            "job_id": job_id,
            "at": pause.since_at if pause else None,
            "by": pause.actor if pause else None,
            "why": pause.reason if pause else None,
        }

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(
                text(
                    "UPDATE scheduler.jobs SET paused_at = CAST(:at AS timestamptz), "
                    "paused_by = CAST(:by AS text), paused_why = CAST(:why AS text) "
                    "WHERE account = :account AND job_id = :job_id "
                    "AND (paused_at IS NULL OR CAST(:at AS timestamptz) IS NULL)"
                ),
                told,
            )

        await self._database.run(work)

    async def paused(self) -> dict[str, Pause]:
        """See `JobStore`."""

        async def work(connection: AsyncConnection) -> dict[str, Pause]:
            rows = await connection.execute(
                text(
                    "SELECT job_id, paused_at, paused_by, paused_why FROM scheduler.jobs "
                    "WHERE account = :account AND paused_at IS NOT NULL"
                ),
                {"account": self._account},
            )
            return {row[0]: Pause(row[1], row[2], row[3]) for row in rows}

        return await self._database.read(work)

    async def beat(self, heartbeat: Heartbeat) -> None:
        """See `JobStore`."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(
                text(
                    "INSERT INTO scheduler.jobs (account, job_id, considered_until_at, beat_at, "
                    "beat_state, beat_duration_s, beat_detail) "
                    "VALUES (:account, :job_id, :at, :at, :state, :duration_s, :detail) "
                    "ON CONFLICT (account, job_id) DO UPDATE SET beat_at = EXCLUDED.beat_at, "
                    "beat_state = EXCLUDED.beat_state, beat_duration_s = EXCLUDED.beat_duration_s, "
                    "beat_detail = EXCLUDED.beat_detail"
                ),
                {
                    "account": self._account,
                    "job_id": heartbeat.job_id,
                    "at": heartbeat.at,
                    "state": heartbeat.state.value,
                    "duration_s": heartbeat.duration_s,
                    "detail": heartbeat.detail,
                },
            )

        await self._database.run(work)

    async def histories(self) -> dict[str, JobHistory]:
        """See `JobStore`."""

        async def work(connection: AsyncConnection) -> dict[str, JobHistory]:
            rows = await connection.execute(
                text(
                    f"SELECT DISTINCT ON (job_id) {_RUN} FROM scheduler.job_runs "  # a constant
                    "WHERE account = :account AND state NOT IN ('QUEUED', 'MISSED') "
                    "ORDER BY job_id, number DESC"
                ),
                {"account": self._account},
            )
            last = {row.job_id: _run(row) for row in rows}
            counts = await connection.execute(
                text(
                    "SELECT job_id, considered_until_at, (SELECT coalesce(sum(r.occurrences), 0) "
                    "FROM scheduler.job_runs r WHERE r.account = j.account AND r.job_id = j.job_id "
                    "AND r.state = 'MISSED'), paused_at, paused_by, paused_why "
                    "FROM scheduler.jobs j WHERE account = :account"
                ),
                {"account": self._account},
            )
            return {
                c[0]: JobHistory(
                    c[0], c[1], last.get(c[0]), int(c[2]), Pause(*c[3:6]) if c[3] else None
                )
                for c in counts
            }

        return await self._database.run(work)

    async def heartbeats(self) -> dict[str, Heartbeat]:
        """See `JobStore`."""

        async def work(connection: AsyncConnection) -> dict[str, Heartbeat]:
            rows = await connection.execute(
                text(
                    "SELECT job_id, beat_at, beat_state, beat_duration_s, beat_detail "
                    "FROM scheduler.jobs WHERE account = :account AND beat_at IS NOT NULL"
                ),
                {"account": self._account},
            )
            return {r[0]: Heartbeat(r[0], r[1], RunState(r[2]), r[3], r[4]) for r in rows}

        return await self._database.run(work)

    async def runs(self, job_id: str, before: int | None, limit: int) -> list[Run]:
        """See `JobStore`."""

        async def work(connection: AsyncConnection) -> list[Run]:
            rows = await connection.execute(
                text(
                    f"SELECT {_RUN} FROM scheduler.job_runs "  # a constant
                    "WHERE account = :account AND job_id = :job_id "
                    "AND number < coalesce(CAST(:before AS bigint), 9223372036854775807) "
                    "ORDER BY number DESC LIMIT :limit"
                ),
                {"account": self._account, "job_id": job_id, "before": before, "limit": limit},
            )
            return [_run(row) for row in rows]

        return await self._database.run(work)

    async def run(self, run_id: str) -> Run | None:
        """See `JobStore`."""
        return await self._database.run(lambda connection: self._one(connection, run_id))

    async def _one(self, connection: AsyncConnection, run_id: str) -> Run | None:
        found = await connection.execute(
            text(
                f"SELECT {_RUN} FROM scheduler.job_runs "  # a constant
                "WHERE run_id = :run_id AND account = :account"
            ),
            {"run_id": run_id, "account": self._account},
        )
        row = found.first()
        return None if row is None else _run(row)

    async def record_health(self, found: Sequence[ServiceHealth], now: datetime) -> None:
        """See `JobStore`."""
        rows = [
            {
                "account": self._account,
                "service": health.service,
                "alive": health.alive,
                "ready": health.ready,
                "checks": orjson.dumps(health.checks).decode(),
                "answered_in_s": health.answered_in_s,
                "detail": health.detail,
                "cpu_share": health.cpu_share,
                "memory_bytes": health.memory_bytes,
                "now": now,
            }
            for health in found
        ]

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(
                text(
                    "INSERT INTO scheduler.service_health AS known (account, service, alive, ready, "
                    "checks, answered_in_s, detail, cpu_share, memory_bytes, checked_at, since_at) "
                    "VALUES (:account, :service, :alive, :ready, CAST(:checks AS jsonb), "
                    ":answered_in_s, :detail, :cpu_share, :memory_bytes, :now, :now) "
                    "ON CONFLICT (account, service) DO UPDATE SET alive = EXCLUDED.alive, "
                    "ready = EXCLUDED.ready, checks = EXCLUDED.checks, "
                    "answered_in_s = EXCLUDED.answered_in_s, detail = EXCLUDED.detail, "
                    "cpu_share = EXCLUDED.cpu_share, memory_bytes = EXCLUDED.memory_bytes, "
                    "checked_at = EXCLUDED.checked_at, since_at = CASE "
                    "WHEN (known.alive, known.ready) = (EXCLUDED.alive, EXCLUDED.ready) "
                    "THEN known.since_at ELSE EXCLUDED.since_at END"
                ),
                rows,
            )

        if rows:
            await self._database.run(work)

    async def health(self) -> list[StoredHealth]:
        """See `JobStore`."""

        async def work(connection: AsyncConnection) -> list[StoredHealth]:
            rows = await connection.execute(
                text(
                    "SELECT service, alive, ready, checks, answered_in_s, detail, cpu_share, "
                    "memory_bytes, checked_at, since_at FROM scheduler.service_health WHERE account = :account ORDER BY service"
                ),
                {"account": self._account},
            )
            return [StoredHealth(ServiceHealth(*row[:8]), row[8], row[9]) for row in rows]

        return await self._database.run(work)


def _run(row: Any) -> Run:
    return Run(
        number=int(row.number),
        run_id=row.run_id,
        job_id=row.job_id,
        kind=RunKind(row.kind),
        state=RunState(row.state),
        session_on=row.session_on,
        first_due_at=row.first_due_at,
        due_at=row.due_at,
        until_at=row.until_at,
        occurrences=row.occurrences,
        actor=row.actor,
        started_at=row.started_at,
        finished_at=row.finished_at,
        duration_s=row.duration_s,
        detail=row.detail,
        figures=row.figures,
    )
