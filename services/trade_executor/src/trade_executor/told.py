"""Which line of the log belongs to which bar?

Each line about an order or a fill names the source of the review that approved it, like the lines of the services before:
one search for it finds the whole way from a batch of bars to its fills. It is looked up after the effect, never before
an order leaves, and a database that does not answer costs the name and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from shared.domain.errors import Retryable
from shared.domain.ledger import Fill
from shared.domain.money import plain
from trade_executor.lifecycle import Intent
from trade_executor.store import Store

_log = structlog.get_logger(__name__)
# Of orders whose fills may still come; older ones are looked up again.
_MOST_KNOWN = 10_000


class Told:
    """Says what happened to orders, each with the way it had come."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sources: dict[str, str] = {}

    async def order(self, intent: Intent, broker_order_id: str) -> None:
        """An order was accepted by the broker."""
        sources = await self._sources_of([intent.client_order_id])
        _log.info(
            "order sent",
            correlation_id=sources.get(intent.client_order_id),
            signal_id=intent.signal_id,
            decision=intent.decision_id,
            order=intent.client_order_id,
            broker_order_id=broker_order_id,
        )

    async def fills(self, fills: Sequence[Fill]) -> None:
        """Executions were booked."""
        sources = await self._sources_of([fill.client_order_id for fill in fills])
        for fill in fills:
            _log.info(
                "fill booked",
                correlation_id=sources.get(fill.client_order_id),
                order=fill.client_order_id,
                execution=fill.execution_id,
                symbol=fill.symbol,
                side=fill.side.value,
                quantity=plain(fill.quantity),
                price=plain(fill.price),
            )

    async def _sources_of(self, orders: Sequence[str]) -> dict[str, str]:
        missing = sorted({order for order in orders if order and order not in self._sources})
        if missing:
            try:
                self._sources |= await self._store.reads.sources(missing)
            except Retryable as error:
                _log.debug("a line without its way", reason=str(error))
            while len(self._sources) > _MOST_KNOWN:
                self._sources.pop(next(iter(self._sources)))
        return self._sources
