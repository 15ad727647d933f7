"""How are the other services' views read for snapshots and reports?"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, time, timedelta
from decimal import Decimal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.ports import DayCounts, Portfolio
from shared.adapters.postgres import Database
from shared.domain.calendar import NEW_YORK, Session

_ENDS = text("""
    SELECT began.equity AS began, ended.equity AS ended, coalesce(ended.paid_in - began.paid_in, 0) AS paid_in
    FROM (SELECT 1) one
    LEFT JOIN LATERAL (
        SELECT equity, paid_in FROM (
            (SELECT 1 AS rank, equity, paid_in FROM risk_manager.v_equity
             WHERE account = :account AND instant_at < :start_at ORDER BY id DESC LIMIT 1)
            UNION ALL
            (SELECT 2, equity, paid_in FROM risk_manager.v_equity
             WHERE account = :account AND instant_at >= :start_at AND instant_at < :end_at ORDER BY id LIMIT 1)
        ) ends ORDER BY rank LIMIT 1) began ON true
    LEFT JOIN LATERAL (
        SELECT equity, paid_in FROM risk_manager.v_equity
        WHERE account = :account AND instant_at < :end_at ORDER BY id DESC LIMIT 1) ended ON true
""")
_Ends = tuple[Decimal | None, Decimal | None, Decimal]


class PostgresViews:
    """See `Views`."""

    def __init__(self, database: Database, account: str) -> None:
        self._database = database
        self._account = account

    async def portfolio(self) -> Portfolio | None:
        """See `Views`."""
        account = {"account": self._account}

        async def work(connection: AsyncConnection) -> Portfolio | None:
            cash = await connection.scalar(
                text("SELECT cash FROM trade_executor.v_cash WHERE account = :account"), account
            )
            if cash is None:
                return None
            held = await connection.execute(
                text(
                    "SELECT symbol, quantity FROM trade_executor.v_positions "
                    "WHERE account = :account AND quantity <> 0 ORDER BY symbol"
                ),
                account,
            )
            positions = {row[0]: Decimal(row[1]) for row in held}
            marks = await connection.execute(
                text(
                    "SELECT equity, peak_equity, drawdown, gross_exposure, instant_at "
                    "FROM risk_manager.v_equity WHERE account = :account "
                    "ORDER BY id DESC LIMIT 1"
                ),
                account,
            )
            mark = marks.first()
            mode = await connection.scalar(
                text("SELECT mode FROM risk_manager.v_mode WHERE account = :account"), account
            )
            if mark is None:
                return Portfolio(Decimal(cash), positions, None, None, None, None, None, mode)
            return Portfolio(
                Decimal(cash), positions, mark[0], mark[1], float(mark[2]), mark[3], mark[4], mode
            )

        return await self._database.run(work)

    async def day(self, session: Session) -> DayCounts:
        """See `Views`."""
        midnight = datetime.combine(session.on, time(), NEW_YORK)
        span = {
            "account": self._account,
            "start_at": midnight,
            "end_at": midnight + timedelta(days=1),
        }

        async def work(connection: AsyncConnection) -> DayCounts:
            signals = await connection.scalar(
                text(
                    "SELECT count(*) FROM strategy_engine.v_signals WHERE account = :account "
                    "AND bar_end_at >= :start_at AND bar_end_at < :end_at"
                ),
                span,
            )
            decided = await connection.execute(
                text(
                    "SELECT outcome, reason_code, count(*) FROM risk_manager.v_decisions "
                    "WHERE account = :account AND instant_at >= :start_at AND instant_at < :end_at "
                    "GROUP BY 1, 2 ORDER BY 2"
                ),
                span,
            )
            approved, by_code = 0, dict[str, int]()
            for outcome, code, count in decided:
                if outcome == "approved":
                    approved += int(count)
                else:
                    by_code[str(code)] = by_code.get(str(code), 0) + int(count)
            orders = await connection.scalar(
                text(
                    "SELECT count(*) FROM trade_executor.v_orders WHERE account = :account "
                    "AND submitted_at >= :start_at AND submitted_at < :end_at "
                    "AND parent_order_id IS NULL"
                ),
                span,
            )
            filled = await connection.execute(
                text(
                    "SELECT count(*), coalesce(sum(fee), 0) FROM trade_executor.v_fills "
                    "WHERE account = :account AND executed_at >= :start_at AND executed_at < :end_at"
                ),
                span,
            )
            fills, fees = filled.one()
            equity_before, equity_after, paid_in = await self._equity(connection, span)
            return DayCounts(
                signals=int(signals or 0),
                approved=approved,
                refused=sum(by_code.values()),
                refused_by_code=by_code,
                orders=int(orders or 0),
                fills=int(fills),
                fees=Decimal(fees),
                equity_before=equity_before,
                equity_after=equity_after,
                paid_in=paid_in,
            )

        return await self._database.run(work)

    async def _equity(self, connection: AsyncConnection, span: Mapping[str, object]) -> _Ends:
        """The valuations that the day began and ended with, and what was paid in between them.

        An account's first day begins with its own first valuation.
        """
        found = await connection.execute(_ENDS, span)
        row = found.one()
        return row.began, row.ended, row.paid_in
