"""What have the services stored lately that a person may want to know of? Bounded reads of their views."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.notices import Happenings
from scheduler.ports import Peers
from shared.adapters.postgres import Database
from shared.domain.errors import TradingError

_QUERIES = {
    "modes": """
        SELECT version, mode, reason, actor, changed_at FROM risk_manager.v_modes
        WHERE account = :account AND changed_at >= :since ORDER BY version DESC LIMIT 50""",
    "fills": """
        SELECT f.execution_id, f.symbol, f.side, f.quantity, f.price, f.fee, f.executed_at,
               i.purpose = 'entry' AND i.side = f.side AS opens
        FROM trade_executor.v_fills f
        LEFT JOIN trade_executor.v_intents i ON i.account = f.account AND i.client_order_id = f.client_order_id
        WHERE f.account = :account AND f.executed_at >= :since ORDER BY f.id DESC LIMIT 200""",
    "stops": """
        SELECT DISTINCT ON (f.broker_order_id) f.broker_order_id, f.symbol, f.side, o.filled_quantity AS quantity,
               f.price, f.executed_at, i.purpose = 'entry' AND i.side = f.side AS opens
        FROM trade_executor.v_fills f
        JOIN trade_executor.v_orders o ON o.account = f.account AND o.broker_order_id = f.broker_order_id
        LEFT JOIN trade_executor.v_intents i ON i.account = f.account AND i.client_order_id = f.client_order_id
        WHERE f.account = :account AND f.executed_at >= :since AND o.stop_price IS NOT NULL
        ORDER BY f.broker_order_id, f.id DESC LIMIT 200""",
    "unknown": """
        SELECT client_order_id, symbol, side, quantity, sent_at, purpose = 'entry' AS opens
        FROM trade_executor.v_intents
        WHERE account = :account AND state = 'UNKNOWN' ORDER BY sequence LIMIT 200""",
    "rejected": """
        SELECT client_order_id, symbol, side, quantity, reason, ended_at, purpose = 'entry' AS opens
        FROM trade_executor.v_intents
        WHERE account = :account AND state = 'REJECTED' AND ended_at >= :since
        ORDER BY sequence DESC LIMIT 200""",
    "differences": """
        SELECT id, kind, subject, ours, theirs, opened_at FROM trade_executor.v_differences
        WHERE account = :account AND closed_at IS NULL ORDER BY id LIMIT 200""",
    "guarded": """
        SELECT id, kind, subject, opened_at, closed_at FROM trade_executor.v_differences
        WHERE account = :account AND kind = 'UNGUARDED' AND closed_by = 'agreement' AND closed_at >= :since
        ORDER BY id DESC LIMIT 200""",
    "providers": """
        SELECT provider, blocked_why, blocked_until_at FROM data_collector.v_budgets
        WHERE blocked_until_at > :now LIMIT 50""",
    "services": """
        SELECT service, alive, detail, checked_at, since_at FROM scheduler.v_service_health
        WHERE account = :account AND NOT ready LIMIT 50""",
    "runs": """
        SELECT run_id, job_id, state, due_at, detail, figures FROM scheduler.v_job_runs
        WHERE account = :account AND coalesce(finished_at, due_at) >= :since
          AND state IN ('DONE', 'FAILED', 'MISSED')
        ORDER BY number DESC LIMIT 100""",
}


class PostgresWatch:
    """See `Watch`."""

    def __init__(self, database: Database, account: str, peers: Peers) -> None:
        self._database = database
        self._account = account
        self._peers = peers

    async def happenings(
        self, since_at: datetime, now: datetime, *, with_limits: bool
    ) -> Happenings:
        """See `Watch`."""

        async def work(connection: AsyncConnection) -> dict[str, list[dict[str, Any]]]:
            found = {}
            for kind, query in _QUERIES.items():
                # Only what a statement names may be handed to it.
                known = {"account": self._account, "since": since_at, "now": now}
                values = {name: value for name, value in known.items() if f":{name}" in query}
                rows = await connection.execute(text(query), values)
                found[kind] = [dict(row._mapping) for row in rows]
            return found

        found = await self._database.run(work)
        limits: list[dict[str, Any]] = []
        if with_limits:
            try:
                limits = await self._peers.limits()
            except TradingError:
                # That the risk manager does not answer is told as a service's health.
                limits = []
        return Happenings(**found, limits=limits)
