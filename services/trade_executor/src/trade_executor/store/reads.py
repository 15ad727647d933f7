"""What do people see of orders, fills and the account?

Reads alone; nothing here decides or changes anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.domain.symbols import Symbol
from trade_executor.store.tables import ORDER_COLUMNS, SCHEMA, Tables, prefixed_intent_columns


class Reads(Tables):
    """Rows as mappings, newest first unless asked otherwise."""

    async def sources(self, orders: Sequence[str]) -> dict[str, str]:
        """What each of `orders` (client order ids of ours) came of: the source of the review that approved it."""

        async def work(connection: AsyncConnection) -> dict[str, str]:
            rows = await self._all(
                connection,
                f"""SELECT i.client_order_id, d.source FROM {SCHEMA}.intents i
                    JOIN risk_manager.v_decisions d
                        ON d.account = i.account AND d.decision_id = i.decision_id
                    WHERE i.account = :account AND i.client_order_id = ANY(:ids)""",
                ids=list(orders),
            )
            return {row.client_order_id: row.source for row in rows}

        return await self._db.run(work)

    async def find_orders(
        self,
        *,
        any_id: str | None = None,
        states: Sequence[str] = (),
        symbol: Symbol | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[dict[str, Any]]:
        """Intents, newest first, each with its `orders` (first order and legs) as mappings.

        Args:
            any_id: our client order id, the signal's or decision's, or the broker's of an order or leg.
        """

        async def work(connection: AsyncConnection) -> list[dict[str, Any]]:
            rows = await self._all(
                connection,
                f"""SELECT i.sequence, i.reason, i.leg, i.created_at, i.ended_at, {prefixed_intent_columns("i")}
                    FROM {SCHEMA}.intents i
                    WHERE i.account = :account
                      AND (CAST(:any_id AS text) IS NULL OR i.client_order_id = :any_id
                           OR i.signal_id = :any_id OR i.decision_id = :any_id
                           OR i.client_order_id = (SELECT o.intent_id FROM {SCHEMA}.orders o
                                WHERE o.account = :account AND o.broker_order_id = :any_id))
                      AND (:any_state OR i.state = ANY(:states))
                      AND (CAST(:symbol AS text) IS NULL OR i.symbol = :symbol)
                      AND (CAST(:before AS bigint) IS NULL OR i.sequence < :before)
                    ORDER BY i.sequence DESC LIMIT :limit""",
                any_id=any_id,
                any_state=not states,
                states=list(states),
                symbol=symbol,
                before=before,
                limit=limit,
            )
            found = [dict(row._mapping) for row in rows]
            orders = await self._all(
                connection,
                f"""SELECT {ORDER_COLUMNS} FROM {SCHEMA}.orders
                    WHERE account = :account AND intent_id = ANY(:ids) ORDER BY sequence""",
                ids=[row["client_order_id"] for row in found],
            )
            for row in found:
                row["orders"] = [
                    dict(o._mapping) for o in orders if o.intent_id == row["client_order_id"]
                ]
            return found

        return await self._db.run(work)

    async def external_order(self, broker_order_id: str) -> dict[str, Any] | None:
        """An order that somebody else gave."""

        async def work(connection: AsyncConnection) -> dict[str, Any] | None:
            row = await self._one(
                connection,
                f"""SELECT {ORDER_COLUMNS} FROM {SCHEMA}.orders
                    WHERE account = :account AND broker_order_id = :id AND intent_id IS NULL""",
                id=broker_order_id,
            )
            return None if row is None else dict(row._mapping)

        return await self._db.run(work)

    async def fills(
        self,
        *,
        after: int = 0,
        before: int | None = None,
        orders: Sequence[str] = (),
        symbol: Symbol | None = None,
        limit: int = 100,
        oldest_first: bool = False,
    ) -> list[dict[str, Any]]:
        """Booked executions, newest first unless asked otherwise."""
        direction = "ASC" if oldest_first else "DESC"

        async def work(connection: AsyncConnection) -> list[dict[str, Any]]:
            rows = await self._all(
                connection,
                f"""SELECT id, execution_id, broker_order_id, client_order_id, symbol, side, quantity, price,
                           fee, executed_at, booked_at
                    FROM {SCHEMA}.v_fills
                    WHERE account = :account AND id > :after
                      AND (CAST(:before AS bigint) IS NULL OR id < :before)
                      AND (:any_order OR broker_order_id = ANY(:orders))
                      AND (CAST(:symbol AS text) IS NULL OR symbol = :symbol)
                    ORDER BY id {direction} LIMIT :limit""",
                after=after,
                before=before,
                any_order=not orders,
                orders=list(orders),
                symbol=symbol,
                limit=limit,
            )
            return [dict(row._mapping) for row in rows]

        return await self._db.run(work)

    async def account_row(self) -> dict[str, Any] | None:
        """The account with its state and cash; None before the first adoption."""

        async def work(connection: AsyncConnection) -> dict[str, Any] | None:
            row = await self._one(
                connection,
                f"""SELECT s.state, s.since_at, s.reason, s.reconciled_at, a.broker_account_id, a.adopted_at,
                           (SELECT cash FROM {SCHEMA}.v_cash WHERE account = :account) AS cash
                    FROM {SCHEMA}.status s LEFT JOIN {SCHEMA}.accounts a ON a.account = s.account
                    WHERE s.account = :account""",
            )
            return None if row is None else dict(row._mapping)

        return await self._db.run(work)
