"""What did a person ask for, and what became of it?

A key names one order for ever: the same wish under it is stored and announced once, another is refused.
"""

from __future__ import annotations

import hashlib
from typing import Any

import orjson
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.postgres import Database, Outbox
from shared.domain.signals import ManualOrder
from shared.messages import MANUAL_ORDER, MANUAL_ORDERS
from trade_executor.store.tables import SCHEMA, Tables, as_json


class ManualOrders(Tables):
    """Wishes of people on their way to risk."""

    def __init__(self, db: Database, account: str) -> None:
        super().__init__(db, account)
        self._outbox = Outbox(SCHEMA, account)

    async def add(self, order: ManualOrder, *, key: str) -> bool:
        """Store and announce a person's order; False when the key was used for another order before.

        The same order under the same key is stored once.
        """
        payload = MANUAL_ORDER.encode(order)
        body = {k: v for k, v in payload["body"].items() if k not in ("requested_at", "actor")}
        digest = hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()

        async def work(connection: AsyncConnection) -> bool:
            row = await self._one(
                connection,
                f"""INSERT INTO {SCHEMA}.manual_orders
                        (account, signal_id, key, digest, payload, requested_at)
                    VALUES (:account, :signal, :key, :digest, CAST(:payload AS jsonb), :at)
                    ON CONFLICT (account, signal_id) DO NOTHING RETURNING signal_id""",
                signal=order.signal_id,
                key=key,
                digest=digest,
                payload=as_json(payload),
                at=order.requested_at,
            )
            if row is None:
                known = await self._one(
                    connection,
                    f"""SELECT digest FROM {SCHEMA}.manual_orders
                        WHERE account = :account AND signal_id = :signal""",
                    signal=order.signal_id,
                )
                return known is not None and known.digest == digest
            await self._outbox.append(
                connection,
                topic=MANUAL_ORDERS,
                key=order.signal_id,
                payload=payload,
                at=order.requested_at,
            )
            return True

        return await self._db.run(work)

    async def answer(self, signal_id: str) -> Row[Any] | None:
        """What became of a manual order so far: reason_code, reason, decided_at; None when unknown."""

        async def work(connection: AsyncConnection) -> Row[Any] | None:
            return await self._one(
                connection,
                f"""SELECT reason_code, reason, decided_at FROM {SCHEMA}.manual_orders
                    WHERE account = :account AND signal_id = :signal""",
                signal=signal_id,
            )

        return await self._db.run(work)
