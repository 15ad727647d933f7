"""Every execution of an account, oldest first: fills as booked, and what was there, moved or was corrected besides."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.domain.errors import InvalidInput
from shared.domain.lots import ZERO, Execution
from shared.domain.orders import Side
from shared.domain.symbols import Symbol

# Whole histories are read at once, since the oldest lot may be sold last.
MOST = 2_000_000
# Of one instant, shares that moved leave a symbol before they come to another; fills know no such order.
_EXECUTIONS = text("""
    SELECT * FROM (
        SELECT f.execution_id, f.broker_order_id, coalesce(d.strategy, '') AS strategy, f.symbol, f.side,
               f.quantity, f.price, f.fee, f.executed_at, '' AS reason
        FROM trade_executor.v_fills f
        LEFT JOIN trade_executor.v_intents i
            ON i.account = f.account AND i.client_order_id = f.client_order_id
        LEFT JOIN risk_manager.v_decisions d
            ON d.account = f.account AND d.decision_id = i.decision_id
        WHERE f.account = :account
        UNION ALL
        SELECT key, reason, '', symbol, CASE WHEN quantity > 0 THEN 'buy' ELSE 'sell' END,
               abs(quantity), price, 0, entered_at, reason
        FROM trade_executor.v_adjustments
        WHERE account = :account AND quantity <> 0
    ) AS executions
    ORDER BY executed_at, reason, CASE WHEN reason <> '' THEN side END DESC, execution_id LIMIT :most
""")


async def executions_of(connection: AsyncConnection, account: str) -> list[Execution]:
    """See above.

    Raises:
        InvalidInput: there are more than `MOST`.
    """
    rows = await connection.execute(_EXECUTIONS, {"account": account, "most": MOST + 1})
    found = [
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
    if len(found) > MOST:
        raise InvalidInput(f"account {account} has more than {MOST} executions; export it by SQL")
    return found
