"""Which orders and outcomes must the broker be asked about?"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from trade_executor.lifecycle import Intent
from trade_executor.store.tables import FINAL, INTENT_COLUMNS, LIVE, SCHEMA, Tables, intent_of


class Questions(Tables):
    """What reconciliation goes through."""

    async def open_roots(self) -> list[str]:
        """Orders of ours to look up: open ones by their first order, and brackets whose legs we never saw."""

        async def work(connection: AsyncConnection) -> list[str]:
            rows = await self._all(
                connection,
                f"""SELECT DISTINCT coalesce(o.parent_order_id, o.broker_order_id) AS root
                    FROM {SCHEMA}.orders o
                    WHERE o.account = :account AND o.status NOT IN {FINAL}
                    UNION
                    SELECT o.broker_order_id FROM {SCHEMA}.orders o
                    JOIN {SCHEMA}.intents i ON i.account = o.account AND i.client_order_id = o.intent_id
                    WHERE o.account = :account AND o.parent_order_id IS NULL
                      AND i.order_class <> 'simple' AND o.status <> 'rejected'
                      AND o.client_order_id = i.client_order_id
                      AND NOT EXISTS (SELECT FROM {SCHEMA}.orders leg WHERE leg.account = o.account
                          AND leg.parent_order_id = o.broker_order_id)
                    LIMIT 1000""",
            )
            return sorted(str(row.root) for row in rows)

        return await self._db.run(work)

    async def open_legs(self) -> list[tuple[str, str]]:
        """Legs that are open as far as we know, each with its first order."""

        async def work(connection: AsyncConnection) -> list[tuple[str, str]]:
            rows = await self._all(
                connection,
                f"""SELECT broker_order_id, parent_order_id FROM {SCHEMA}.orders
                    WHERE account = :account AND status NOT IN {FINAL} AND parent_order_id IS NOT NULL
                    ORDER BY sequence LIMIT 1000""",
            )
            return [(row.broker_order_id, row.parent_order_id) for row in rows]

        return await self._db.run(work)

    async def oldest_open_question_at(self) -> datetime | None:
        """Since when executions or outcomes are missing; None when nothing is."""

        async def work(connection: AsyncConnection) -> datetime | None:
            row = await self._one(
                connection,
                f"""SELECT least(
                        (SELECT min(sent_at) FROM {SCHEMA}.intents
                         WHERE account = :account AND state IN {LIVE} AND state = 'UNKNOWN'),
                        (SELECT min(coalesce(submitted_at, first_seen_at)) FROM {SCHEMA}.orders
                         WHERE account = :account AND booked_quantity < filled_quantity)) AS since""",
            )
            return None if row is None else row.since

        return await self._db.run(work)

    async def unknown_intents(self) -> list[Intent]:
        """Intents whose outcome nobody knows."""

        async def work(connection: AsyncConnection) -> list[Intent]:
            rows = await self._all(
                connection,
                f"""SELECT {INTENT_COLUMNS} FROM {SCHEMA}.intents
                    WHERE account = :account AND state IN {LIVE} AND state = 'UNKNOWN' ORDER BY sequence""",
            )
            return list(map(intent_of, rows))

        return await self._db.run(work)
