"""What is kept of a day, and of what could have been lost?"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from risk_manager.reports import DayFigures, StoredReport
from risk_manager.store.rows import unjson
from risk_manager.store.tables import Tables

# Marks belong to their bar, decisions and changes to when they were made.
_DAY = text("""
WITH marks AS (
    SELECT * FROM risk_manager.equity_points
    WHERE account = :account AND instant_at > :after AND instant_at <= :until
), newest AS (SELECT * FROM marks ORDER BY id DESC LIMIT 1
), decided AS (
    SELECT outcome, purpose, reason_code FROM risk_manager.decisions
    WHERE account = :account AND decided_at > :after AND decided_at <= :until
)
SELECT
  (SELECT equity FROM risk_manager.equity_points
   WHERE account = :account AND instant_at <= :after ORDER BY id DESC LIMIT 1) AS equity_before,
  (SELECT equity FROM newest) AS equity,
  (SELECT paid_in FROM newest) - (
      SELECT paid_in FROM risk_manager.equity_points
      WHERE account = :account AND instant_at <= :after ORDER BY id DESC LIMIT 1) AS paid_in,
  (SELECT cash FROM newest) AS cash,
  (SELECT peak_equity FROM newest) AS peak_equity,
  (SELECT min(equity) FROM marks) AS lowest_equity,
  (SELECT drawdown FROM newest) AS drawdown,
  (SELECT max(drawdown) FROM marks) AS worst_drawdown,
  (SELECT gross_exposure FROM newest) AS gross_exposure,
  (SELECT max(gross_exposure) FROM marks) AS highest_gross_exposure,
  (SELECT net_exposure FROM newest) AS net_exposure,
  (SELECT count(*) FROM decided WHERE outcome = 'approved' AND purpose = 'entry') AS entries,
  (SELECT count(*) FROM decided WHERE outcome = 'approved' AND purpose = 'exit') AS exits,
  (SELECT jsonb_object_agg(reason_code, n) FROM (
      SELECT reason_code, count(*) AS n FROM decided WHERE outcome = 'refused' GROUP BY 1) r) AS refused,
  (SELECT count(*) FROM risk_manager.stop_moves
   WHERE account = :account AND decided_at > :after AND decided_at <= :until) AS stops_moved,
  (SELECT array_agg(mode || ' by ' || actor || ': ' || reason ORDER BY version) FROM risk_manager.modes
   WHERE account = :account AND changed_at > :after AND changed_at <= :until) AS modes,
  (SELECT array_agg(actor || ': ' || reason || ' ' || after::text ORDER BY version)
   FROM risk_manager.limit_changes
   WHERE account = :account AND changed_at > :after AND changed_at <= :until) AS limits
""")


class Reports(Tables):
    """Documents for people."""

    async def day(self, after: datetime, until: datetime) -> DayFigures:
        """See `ports.Store`."""

        async def read(connection: AsyncConnection) -> DayFigures:
            found = await connection.execute(
                _DAY, {"account": self._account, "after": after, "until": until}
            )
            row = found.one()
            return DayFigures(
                row.equity_before,
                row.paid_in,
                row.equity,
                row.cash,
                row.peak_equity,
                row.lowest_equity,
                row.drawdown,
                row.worst_drawdown,
                row.gross_exposure,
                row.highest_gross_exposure,
                row.net_exposure,
                row.entries,
                row.exits,
                unjson(row.refused) or {},
                row.stops_moved,
                tuple(row.modes or ()),
                tuple(row.limits or ()),
            )

        return await self._db.read(read)

    async def record_report(self, report: StoredReport) -> None:
        """See `ports.Store`."""
        await self._keep(
            "daily_reports (account, trade_on, written_at, document) "
            "VALUES (:account, :on, :at, CAST(:document AS jsonb))",
            report.document,
            on=report.on,
            at=report.written_at,
        )

    async def record_snapshot(self, at: datetime, document: Mapping[str, Any]) -> None:
        """See `ports.Store`."""
        await self._keep(
            "snapshots (account, taken_at, document) "
            "VALUES (:account, :at, CAST(:document AS jsonb))",
            document,
            at=at,
        )

    async def _keep(self, into: str, document: Mapping[str, Any], **values: Any) -> None:
        async def write(connection: AsyncConnection) -> None:
            await connection.execute(
                text(f"INSERT INTO risk_manager.{into} ON CONFLICT DO NOTHING"),  # from above
                {
                    "account": self._account,
                    "document": orjson.dumps(dict(document)).decode(),
                    **values,
                },
            )

        await self._db.run(write)

    async def reports(
        self, *, limit: int, before: date | None = None, on: date | None = None
    ) -> list[StoredReport]:
        """See `ports.Store`."""

        async def read(connection: AsyncConnection) -> list[StoredReport]:
            found = await connection.execute(
                text(
                    "SELECT trade_on, written_at, document FROM risk_manager.daily_reports "
                    "WHERE account = :account AND (CAST(:before AS date) IS NULL OR trade_on < :before) "
                    "AND (CAST(:on AS date) IS NULL OR trade_on = :on) "
                    "ORDER BY trade_on DESC LIMIT :limit"
                ),
                {"account": self._account, "before": before, "on": on, "limit": limit},
            )
            return [StoredReport(r.trade_on, r.written_at, unjson(r.document)) for r in found]

        return await self._db.read(read)

    async def newest_snapshot(self, until: datetime) -> dict[str, Any] | None:
        """See `ports.Store`."""

        async def read(connection: AsyncConnection) -> dict[str, Any] | None:
            found = await connection.execute(
                text(
                    "SELECT document FROM risk_manager.snapshots "
                    "WHERE account = :account AND taken_at <= :until ORDER BY taken_at DESC LIMIT 1"
                ),
                {"account": self._account, "until": until},
            )
            row = found.first()
            return None if row is None else unjson(row.document)

        return await self._db.read(read)
