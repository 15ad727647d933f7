"""Which message is answered next?"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from risk_manager.ports import Inbound
from risk_manager.store.rows import unjson
from risk_manager.store.tables import EXECUTOR, STRATEGIES, Tables
from shared.domain.signals import Evaluation, ManualOrder
from shared.messages import EVALUATION, EVALUATIONS, MANUAL_ORDER, MANUAL_ORDERS, Codec

# By rank in `_NEXT`.
_SOURCES: tuple[tuple[str, Codec[ManualOrder] | Codec[Evaluation]], ...] = (
    (EXECUTOR, MANUAL_ORDER),
    (STRATEGIES, EVALUATION),
)
# The next message of each source, those of the source looked at first before the others.
_NEXT = text("""
(SELECT 0 AS rank, id, payload FROM trade_executor.v_outbox
 WHERE account = :account AND topic = :manual_orders AND id > coalesce(
   (SELECT position FROM risk_manager.cursors WHERE account = :account AND source = 'trade_executor'), 0)
 ORDER BY id LIMIT 1)
UNION ALL
(SELECT 1, id, payload FROM strategy_engine.v_outbox
 WHERE account = :account AND topic = :evaluations AND id > coalesce(
   (SELECT position FROM risk_manager.cursors WHERE account = :account AND source = 'strategy_engine'), 0)
 ORDER BY id LIMIT 1)
ORDER BY rank LIMIT 1
""")


class Inbounds(Tables):
    """The messages that nobody has answered."""

    async def next_inbound(self) -> Inbound | None:
        """See `ports.Store`."""

        async def read(connection: AsyncConnection) -> Inbound | None:
            found = await connection.execute(
                _NEXT,
                {
                    "account": self._account,
                    "manual_orders": MANUAL_ORDERS,
                    "evaluations": EVALUATIONS,
                },
            )
            row = found.first()
            if row is None:
                return None
            stream, codec = _SOURCES[row.rank]
            return Inbound(stream, row.id, codec.decode(unjson(row.payload)))

        return await self._db.read(read)
