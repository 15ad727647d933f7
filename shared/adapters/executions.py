"""The executions of an account, oldest first: fills as booked, and what was there, moved or was corrected besides."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.domain.activities import CASH_IN_LIEU
from shared.domain.errors import InvalidInput
from shared.domain.lots import ZERO, Execution
from shared.domain.orders import Side
from shared.domain.symbols import Symbol

# Whole histories are read at once, since the oldest lot may be sold last.
MOST = 2_000_000
# Of one instant, shares that moved leave a symbol before they come to another, and the fraction that a split left goes
# last; fills know no such order.
_EXECUTIONS = text("""
    SELECT * FROM (
        SELECT f.execution_id, f.broker_order_id, coalesce(d.strategy, '') AS strategy, f.symbol, f.side,
               f.quantity, f.price, f.fee, f.executed_at, '' AS reason
        FROM (SELECT * FROM trade_executor.v_fills
              WHERE account = :account
                AND (CAST(:symbols AS text[]) IS NULL OR symbol = ANY(CAST(:symbols AS text[])))
                AND (CAST(:before AS timestamptz) IS NULL OR executed_at < :before)
              ORDER BY id DESC LIMIT :most) f
        LEFT JOIN trade_executor.v_intents i
            ON i.account = f.account AND i.client_order_id = f.client_order_id
        LEFT JOIN risk_manager.v_decisions d
            ON d.account = f.account AND d.decision_id = i.decision_id
        UNION ALL
        SELECT key, reason, '', symbol, CASE WHEN quantity > 0 THEN 'buy' ELSE 'sell' END,
               abs(quantity), price, 0, entered_at, reason
        FROM (SELECT * FROM trade_executor.v_adjustments
              WHERE account = :account AND quantity <> 0
                AND (CAST(:symbols AS text[]) IS NULL OR symbol = ANY(CAST(:symbols AS text[])))
                AND (CAST(:before AS timestamptz) IS NULL OR entered_at < :before)
              ORDER BY id DESC LIMIT :most) a
    ) AS executions
    ORDER BY executed_at, reason = :fraction, reason, CASE WHEN reason <> '' THEN side END DESC, execution_id
""")

_TRADED = text("""
    SELECT DISTINCT symbol FROM trade_executor.v_fills
    WHERE account = :account AND executed_at >= :start_at AND executed_at < :end_at""")


async def executions_of(
    connection: AsyncConnection, account: str, symbol: Symbol | None = None
) -> list[Execution]:
    """All of them, or those of `symbol`.

    Raises:
        InvalidInput: there are more than `MOST`.
    """
    found = await _read(connection, account, None if symbol is None else [symbol], MOST + 1)
    if len(found) > MOST:
        raise InvalidInput(f"account {account} has more than {MOST} executions; export it by SQL")
    return found


async def newest_executions(
    connection: AsyncConnection, account: str, most: int
) -> list[Execution]:
    """The newest `most` fills, and what moved shares since the first of them."""
    found = await _read(connection, account, None, most)
    fills = [number for number, each in enumerate(found) if not each.reason]
    return found if len(fills) < most else found[fills[0] :]


async def executions_of_traded(
    connection: AsyncConnection, account: str, start_at: datetime, end_at: datetime, most: int
) -> list[Execution]:
    """Those before `end_at` of the symbols traded from `start_at` on, from the first one; empty if more than `most`."""
    traded = await connection.execute(
        _TRADED, {"account": account, "start_at": start_at, "end_at": end_at}
    )
    found = await _read(connection, account, list(traded.scalars()), most + 1, before=end_at)
    return found if len(found) <= most else []


async def _read(
    connection: AsyncConnection,
    account: str,
    symbols: Sequence[str] | None,
    most: int,
    before: datetime | None = None,
) -> list[Execution]:
    rows = await connection.execute(
        _EXECUTIONS,
        {
            "account": account,
            "symbols": symbols,
            "most": most,
            "before": before,
            "fraction": CASH_IN_LIEU,
        },
    )
    return [
        Execution(
            row.execution_id,
            row.broker_order_id,
            row.strategy,
            Symbol(row.symbol),
            Side(row.side),
            row.quantity,
            row.price,
            row.fee or ZERO,
            row.executed_at,
            row.reason,
        )
        for row in rows
    ]
