"""Which rows do the pages show?

Reads the services' views as a role that can read nothing else and write nothing. Every list is bounded. What a
service computes (prices of positions, limits in use) is asked of that service and not computed a second time.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.postgres import Database

Row = dict[str, Any]

_EQUITY = """
    SELECT instant_at, equity, cash, drawdown, peak_equity, gross_exposure, net_exposure
    FROM risk_manager.v_equity WHERE account = :account ORDER BY id DESC LIMIT :rows
"""
# An account's first day begins with its own first valuation.
_DAY_START = """
    SELECT coalesce(
        (SELECT equity FROM risk_manager.v_equity WHERE account = :account AND instant_at < :midnight
         ORDER BY id DESC LIMIT 1),
        (SELECT equity FROM risk_manager.v_equity WHERE account = :account ORDER BY id LIMIT 1)) AS equity
"""
_MODE = """
    SELECT mode, version, reason, actor, changed_at FROM risk_manager.v_mode WHERE account = :account
"""
_STATUS = """
    SELECT state, since_at, reason, reconciled_at FROM trade_executor.v_status WHERE account = :account
"""
_COUNTS = """
    SELECT
        (SELECT count(*) FROM strategy_engine.v_signals
         WHERE account = :account AND bar_end_at >= :midnight) AS signals,
        (SELECT count(*) FROM risk_manager.v_decisions
         WHERE account = :account AND decided_at >= :midnight AND outcome = 'approved') AS approved,
        (SELECT count(*) FROM risk_manager.v_decisions
         WHERE account = :account AND decided_at >= :midnight AND outcome = 'refused') AS refused,
        (SELECT count(*) FROM trade_executor.v_intents
         WHERE account = :account AND created_at >= :midnight) AS orders,
        (SELECT count(*) FROM trade_executor.v_fills
         WHERE account = :account AND executed_at >= :midnight) AS fills,
        (SELECT count(*) FROM trade_executor.v_intents
         WHERE account = :account AND state = 'UNKNOWN') AS unknown,
        (SELECT count(*) FROM trade_executor.v_intents
         WHERE account = :account AND state IN ('PENDING', 'SENDING', 'UNKNOWN', 'ACKED', 'PARTIAL')) AS open,
        (SELECT count(*) FROM trade_executor.v_differences
         WHERE account = :account AND closed_at IS NULL) AS differences,
        (SELECT count(*) FROM data_collector.v_quarantine
         WHERE account = :account AND released_at IS NULL) AS quarantined
"""
_INTENTS = """
    SELECT client_order_id, decision_id, signal_id, symbol, side, purpose, type, order_class, time_in_force,
           quantity, filled_quantity, limit_price, stop_price, stop_loss, take_profit, state, reason, broker_order_id,
           act_from, act_until, created_at, sent_at, ended_at, sequence
    FROM trade_executor.v_intents
    WHERE account = :account AND (CAST(:symbol AS text) IS NULL OR symbol = :symbol)
    ORDER BY sequence DESC LIMIT :rows
"""
# What protects a position rests at the broker: stops and targets that are not final.
_PROTECTION = """
    SELECT symbol, type, side, status, quantity - filled_quantity AS quantity, stop_price, limit_price
    FROM trade_executor.v_orders
    WHERE account = :account AND (stop_price IS NOT NULL OR parent_order_id IS NOT NULL)
      AND status NOT IN ('filled', 'canceled', 'expired', 'replaced', 'rejected')
    ORDER BY sequence LIMIT 2000
"""
_BROKER_ORDERS = """
    SELECT broker_order_id, client_order_id, parent_order_id, intent_id, symbol, side, type, order_class, status,
           quantity, filled_quantity, filled_average_price, limit_price, stop_price, submitted_at, updated_at
    FROM trade_executor.v_orders
    WHERE account = :account AND intent_id = :id ORDER BY sequence LIMIT 200
"""
_FILLS = """
    SELECT id, execution_id, client_order_id, symbol, side, quantity, price, fee, executed_at
    FROM trade_executor.v_fills
    WHERE account = :account AND (CAST(:symbol AS text) IS NULL OR symbol = :symbol)
    ORDER BY id DESC LIMIT :rows
"""
_MODES = """
    SELECT version, mode, previous, reason, actor, changed_at FROM risk_manager.v_modes
    WHERE account = :account ORDER BY version DESC LIMIT :rows
"""


class PostgresReads:
    """Everything the pages read from the database, for one account."""

    def __init__(self, database: Database, account: str) -> None:
        self._database = database
        self.account = account

    async def equity(self, rows: int = 400) -> list[Row]:
        """The newest valuations, oldest first."""
        found = await self._rows(_EQUITY, rows=rows)
        return found[::-1]

    async def day_start(self, midnight: datetime) -> Any:
        """What the account was worth when the exchange day began; None before any valuation."""
        return (await self._rows(_DAY_START, midnight=midnight))[0]["equity"]

    async def mode(self) -> Row | None:
        """Which orders may leave."""
        return await self._first(_MODE)

    async def status(self) -> Row | None:
        """What the executor is doing."""
        return await self._first(_STATUS)

    async def counts(self, midnight: datetime) -> Row:
        """How much has happened since `midnight`, and what waits for somebody."""
        return (await self._rows(_COUNTS, midnight=midnight))[0]

    async def intents(self, rows: int = 300, symbol: str | None = None) -> list[Row]:
        """Orders as wished, newest first."""
        return await self._rows(_INTENTS, rows=rows, symbol=symbol)

    async def protection(self) -> list[Row]:
        """Stops and targets that rest at the broker."""
        return await self._rows(_PROTECTION)

    async def broker_orders(self, intent_id: str) -> list[Row]:
        """What the broker has of one of our orders, legs included."""
        return await self._rows(_BROKER_ORDERS, id=intent_id)

    async def fills(self, rows: int = 300, symbol: str | None = None) -> list[Row]:
        """Executions, newest first."""
        return await self._rows(_FILLS, rows=rows, symbol=symbol)

    async def modes(self, rows: int = 50) -> list[Row]:
        """How the mode has changed, newest first."""
        return await self._rows(_MODES, rows=rows)

    async def _first(self, query: str, **values: Any) -> Row | None:
        rows = await self._rows(query, **values)
        return rows[0] if rows else None

    async def _rows(self, query: str, **values: Any) -> list[Row]:
        async def work(connection: AsyncConnection) -> list[Row]:
            result = await connection.execute(text(query), {"account": self.account, **values})
            return [dict(row._mapping) for row in result]

        return await self._database.read(work)
