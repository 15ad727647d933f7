"""Who may trade how far: which mode holds, and which limits above the settings?"""

from __future__ import annotations

from datetime import datetime

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from risk_manager.limits import Limits
from risk_manager.modes import Change, changed, first_mode, may_change
from risk_manager.ports import Enabling, VersionConflict, WantedLimits, enabled, next_change
from risk_manager.snapshot import LimitChange, Mode, Throttle
from risk_manager.store.rows import limit_change_of, mark_of, mode_of, throttle_of
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
                None if row is None else mark_of(row, row.cash, row.paid_in),
                limits if above is None else limits.with_stored(above.changes),
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

    async def throttles(self) -> list[Throttle]:
        """See `ports.Store`."""

        async def read(connection: AsyncConnection) -> list[Throttle]:
            found = await connection.execute(
                text(
                    "SELECT * FROM risk_manager.v_throttles WHERE account = :account "
                    "ORDER BY is_stopped DESC, changed_at DESC, strategy, symbol LIMIT 500"
                ),
                {"account": self._account},
            )
            return [throttle_of(row) for row in found]

        return await self._db.read(read)

    async def enable(self, wanted: Enabling) -> Throttle:
        """See `ports.Store`."""

        async def write(connection: AsyncConnection) -> Throttle:
            await lock(connection, self._lock)
            found = await connection.execute(
                text(
                    "SELECT * FROM risk_manager.v_throttles "
                    "WHERE account = :account AND strategy = :strategy AND symbol = :symbol"
                ),
                {"account": self._account, "strategy": wanted.strategy, "symbol": wanted.symbol},
            )
            row = found.first()
            throttle = enabled(None if row is None else throttle_of(row), wanted)
            await self._write_throttle(connection, throttle)
            return throttle

        return await self._db.run(write)

    async def _write_throttle(self, connection: AsyncConnection, throttle: Throttle) -> None:
        await connection.execute(
            text(
                "INSERT INTO risk_manager.throttles "
                "(account, strategy, symbol, version, is_stopped, reason, actor, changed_at) VALUES "
                "(:account, :strategy, :symbol, :version, :is_stopped, :reason, :actor, :at)"
            ),
            {
                "account": self._account,
                "strategy": throttle.strategy,
                "symbol": throttle.symbol,
                "version": throttle.version,
                "is_stopped": throttle.is_stopped,
                "reason": throttle.reason,
                "actor": throttle.actor,
                "at": throttle.changed_at,
            },
        )

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
                "(account, version, mode, previous, reason, actor, restarts_peak, restarts_day, "
                "changed_at) VALUES (:account, :version, :mode, :previous, :reason, :actor, "
                ":restarts_peak, :restarts_day, :at)"
            ),
            {
                "account": self._account,
                "version": mode.version,
                "mode": mode.mode,
                "previous": None if previous is None else previous.mode,
                "reason": mode.reason,
                "actor": mode.actor,
                "restarts_peak": mode.restarts_peak,
                "restarts_day": mode.restarts_day,
                "at": mode.changed_at,
            },
        )
