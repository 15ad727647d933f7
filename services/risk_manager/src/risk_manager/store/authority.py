"""Who may trade how far: which mode holds, and which limits above the settings?"""

from __future__ import annotations

from datetime import datetime

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from risk_manager.limits import Limits
from risk_manager.modes import Change, changed, first_mode, may_change
from risk_manager.ports import VersionConflict, WantedLimits, next_change
from risk_manager.snapshot import LimitChange, Mode
from risk_manager.store.rows import limit_change_of, mark_of, mode_of
from risk_manager.store.tables import Tables
from shared.adapters.postgres import lock


class Authority(Tables):
    """Modes and changes of limits, each with its versions."""

    async def mode(self, at: datetime) -> Mode:
        """See `ports.Store`."""

        async def read(connection: AsyncConnection) -> Mode:
            return await self._stored_mode(connection) or first_mode(at)

        return await self._db.run(read)

    async def change_mode(self, change: Change, limits: Limits) -> Mode:
        """See `ports.Store`."""

        async def write(connection: AsyncConnection) -> Mode:
            await lock(connection, self._lock)
            stored = await self._stored_mode(connection)
            current = stored or first_mode(change.at)
            if not may_change(current, change):
                raise VersionConflict(current)
            if stored is None:
                await self._write_mode(connection, current, None)
            last = await connection.execute(
                text(
                    "SELECT * FROM risk_manager.equity_points WHERE account = :account "
                    "ORDER BY id DESC LIMIT 1"
                ),
                {"account": self._account},
            )
            row = last.first()
            above = await self._limit_change(connection)
            mode = changed(
                current,
                change,
                None if row is None else mark_of(row, row.cash),
                limits if above is None else limits.changed_by(above.changes),
            )
            if mode is not current:
                await self._write_mode(connection, mode, current)
            return mode

        return await self._db.run(write)

    async def change_limits(self, wanted: WantedLimits, settings: Limits) -> LimitChange:
        """See `ports.Store`."""

        async def write(connection: AsyncConnection) -> LimitChange:
            await lock(connection, self._lock)
            current = await self._limit_change(connection)
            change = next_change(current, wanted, settings)
            await connection.execute(
                text(
                    "INSERT INTO risk_manager.limit_changes "
                    "(account, version, before, after, reason, actor, changed_at) VALUES "
                    "(:account, :version, CAST(:before AS jsonb), CAST(:after AS jsonb), :reason, "
                    ":actor, :at)"
                ),
                {
                    "account": self._account,
                    "version": change.version,
                    "before": orjson.dumps(dict(current.changes) if current else {}).decode(),
                    "after": orjson.dumps(dict(change.changes)).decode(),
                    "reason": change.reason,
                    "actor": change.actor,
                    "at": change.changed_at,
                },
            )
            return change

        return await self._db.run(write)

    async def limit_history(self, limit: int) -> list[LimitChange]:
        """See `ports.Store`."""

        async def read(connection: AsyncConnection) -> list[LimitChange]:
            found = await connection.execute(
                text(
                    "SELECT * FROM risk_manager.limit_changes WHERE account = :account "
                    "ORDER BY version DESC LIMIT :limit"
                ),
                {"account": self._account, "limit": limit},
            )
            return [limit_change_of(row) for row in found]

        return await self._db.run(read)

    async def _limit_change(self, connection: AsyncConnection) -> LimitChange | None:
        found = await connection.execute(
            text(
                "SELECT * FROM risk_manager.limit_changes WHERE account = :account "
                "ORDER BY version DESC LIMIT 1"
            ),
            {"account": self._account},
        )
        row = found.first()
        return None if row is None else limit_change_of(row)

    async def _stored_mode(self, connection: AsyncConnection) -> Mode | None:
        found = await connection.execute(
            text(
                "SELECT * FROM risk_manager.modes WHERE account = :account "
                "ORDER BY version DESC LIMIT 1"
            ),
            {"account": self._account},
        )
        row = found.first()
        return None if row is None else mode_of(row)

    async def _write_mode(
        self, connection: AsyncConnection, mode: Mode, previous: Mode | None
    ) -> None:
        await connection.execute(
            text(
                "INSERT INTO risk_manager.modes "
                "(account, version, mode, previous, reason, actor, restarts_peak, changed_at) "
                "VALUES (:account, :version, :mode, :previous, :reason, :actor, :restarts_peak, :at)"
            ),
            {
                "account": self._account,
                "version": mode.version,
                "mode": mode.mode,
                "previous": None if previous is None else previous.mode,
                "reason": mode.reason,
                "actor": mode.actor,
                "restarts_peak": mode.restarts_peak,
                "at": mode.changed_at,
            },
        )
