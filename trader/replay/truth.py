"""What have the services stored?

Reads through the views, under the operator's role, which can write nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.executions import executions_of
from shared.adapters.postgres import Database
from shared.domain.lots import Execution
from shared.domain.symbols import Symbol
from trader.replay.rest import BookLine, Progress

_PROGRESS = text("""
    SELECT
      coalesce((SELECT state FROM trade_executor.v_status WHERE account = :account), ''),
      (SELECT count(*) FROM trade_executor.v_pending_work
        WHERE account = :account AND due_from <= :now),
      (SELECT max(end_at) FROM data_collector.v_bar_batches WHERE account = :account),
      coalesce((SELECT max(id) FROM data_collector.v_bar_batches WHERE account = :account), 0),
      coalesce((SELECT position FROM strategy_engine.v_cursors
        WHERE account = :account AND source = 'data_collector'), 0),
      coalesce((SELECT max(id) FROM strategy_engine.v_outbox
        WHERE account = :account AND topic = 'evaluations'), 0),
      coalesce((SELECT position FROM risk_manager.v_cursors
        WHERE account = :account AND source = 'strategy_engine'), 0),
      coalesce((SELECT max(id) FROM trade_executor.v_outbox
        WHERE account = :account AND topic = 'manual_orders'), 0),
      coalesce((SELECT position FROM risk_manager.v_cursors
        WHERE account = :account AND source = 'trade_executor'), 0),
      coalesce((SELECT max(id) FROM risk_manager.v_outbox
        WHERE account = :account AND topic = 'reviews'), 0),
      coalesce((SELECT position FROM trade_executor.v_cursors
        WHERE account = :account AND source = 'risk_manager'), 0),
      (SELECT max(due_at) FROM data_collector.v_screen_runs WHERE account = :account)
""")
_ORDERS = text("""
    SELECT o.broker_order_id, o.status, o.filled_quantity,
      (SELECT count(*) FROM trade_executor.v_fills f
        WHERE f.account = :account AND f.broker_order_id = o.broker_order_id)
    FROM trade_executor.v_orders o
    WHERE o.account = :account AND o.broker_order_id = ANY(:ids)
""")
_TOTALS = text("""
    SELECT
      (SELECT coalesce(sum(symbols), 0) FROM data_collector.v_bar_batches WHERE account = :account),
      (SELECT count(*) FROM strategy_engine.v_signals WHERE account = :account),
      (SELECT count(*) FROM risk_manager.v_decisions
        WHERE account = :account AND outcome = 'approved'),
      (SELECT count(*) FROM risk_manager.v_decisions
        WHERE account = :account AND outcome = 'refused'),
      (SELECT count(*) FROM trade_executor.v_orders WHERE account = :account),
      (SELECT count(*) FROM trade_executor.v_fills WHERE account = :account),
      (SELECT count(*) FROM trade_executor.v_intents WHERE account = :account AND state = 'UNKNOWN')
""")
_EQUITY = text("""
    SELECT instant_at, equity, cash, drawdown FROM risk_manager.v_equity
    WHERE account = :account ORDER BY instant_at DESC LIMIT :limit
""")


@dataclass(frozen=True, slots=True)
class Totals:
    """How much an account has seen so far."""

    bars: int
    signals: int
    approved: int
    refused: int
    orders: int
    fills: int
    unknown_orders: int


class Truth:
    """What is stored under one account."""

    def __init__(self, database: Database, account: str) -> None:
        self._database = database
        self._account = account

    async def progress(self, venue_at: datetime) -> Progress:
        """How far each stage has come; work due after `venue_at` is not counted."""
        row = await self._one(_PROGRESS, now=venue_at)
        return Progress(*row)

    async def orders(self, ids: Sequence[str]) -> dict[str, BookLine]:
        """Our stored state of the orders with these broker ids."""
        rows = await self._all(_ORDERS, ids=list(ids))
        return {row[0]: BookLine(row[1], Decimal(row[2]), int(row[3])) for row in rows}

    async def totals(self) -> Totals:
        """Counts over the whole life of the account."""
        return Totals(*await self._one(_TOTALS))

    async def equity(self, limit: int) -> list[tuple[datetime, Decimal, Decimal, float]]:
        """The newest `limit` marks, oldest first: instant, equity, cash, drawdown."""
        rows = await self._all(_EQUITY, limit=limit)
        return [(row[0], row[1], row[2], float(row[3])) for row in reversed(rows)]

    async def executions(self, symbol: Symbol) -> list[Execution]:
        """Every execution in `symbol`, oldest first."""
        return await self._database.read(
            lambda connection: executions_of(connection, self._account, symbol)
        )

    async def latest(self, query: str, **values: Any) -> list[Any]:
        """Rows of one of the screen's own queries."""
        return await self._all(text(query), **values)

    async def _one(self, query: Any, **values: Any) -> Any:
        return (await self._all(query, **values))[0]

    async def _all(self, query: Any, **values: Any) -> list[Any]:
        async def read(connection: AsyncConnection) -> list[Any]:
            result = await connection.execute(query, {"account": self._account, **values})
            return list(result)

        return await self._database.read(read)
