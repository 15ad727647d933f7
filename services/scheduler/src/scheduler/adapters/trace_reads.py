"""What has happened since the last look, as rows for traces? Read from the views of all stages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.traces import Seen
from shared.adapters.postgres import Database

# Of each kind at one look; the rest comes with the next one.
MOST_ROWS = 1_000
_BATCHES = """
    SELECT id, end_at, announced_at, symbols, decidable, timeframe FROM data_collector.v_bar_batches
    WHERE account = :account AND id > :batches ORDER BY id LIMIT :most"""
_EVALUATIONS = """
    SELECT o.id, 'evaluation:' || o.key AS source, o.created_at, b.announced_at
    FROM strategy_engine.v_outbox o
    LEFT JOIN data_collector.v_bar_batches b ON b.account = o.account AND b.timeframe = split_part(o.key, ':', 1)
         AND b.end_at = CAST(substr(o.key, strpos(o.key, ':') + 1) AS timestamptz)
    WHERE o.account = :account AND o.topic = 'evaluations' AND o.id > :evaluations ORDER BY o.id LIMIT :most"""
_DECISIONS = """
    SELECT d.id, d.source, d.decision_id, d.signal_id, d.symbol, d.strategy, d.outcome, d.reason_code, d.decided_at,
           o.created_at AS evaluated_at
    FROM risk_manager.v_decisions d
    LEFT JOIN strategy_engine.v_outbox o ON o.account = d.account AND o.topic = 'evaluations'
         AND d.source LIKE 'evaluation:%' AND o.key = substr(d.source, length('evaluation:') + 1)
    WHERE d.account = :account AND d.id > :decisions ORDER BY d.id LIMIT :most"""
_ORDERS = """
    SELECT i.client_order_id, i.broker_order_id, i.decision_id, i.symbol, i.side, i.purpose, i.quantity, i.state,
           i.created_at, i.act_from, i.sent_at, i.sequence, coalesce(d.source, 'order:' || i.client_order_id) AS source
    FROM trade_executor.v_intents i
    LEFT JOIN risk_manager.v_decisions d ON d.account = i.account AND d.decision_id = i.decision_id
    WHERE i.account = :account AND i.sent_at IS NOT NULL AND (i.sent_at, i.sequence) > (:sent_at, :sequence)
    ORDER BY i.sent_at, i.sequence LIMIT :most"""
_FILLS = """
    SELECT f.id, f.execution_id, f.client_order_id, f.symbol, f.quantity, f.price, f.executed_at, i.sent_at,
           coalesce(d.source, 'order:' || f.client_order_id) AS source
    FROM trade_executor.v_fills f
    JOIN trade_executor.v_intents i ON i.account = f.account AND i.client_order_id = f.client_order_id
    LEFT JOIN risk_manager.v_decisions d ON d.account = i.account AND d.decision_id = i.decision_id
    WHERE f.account = :account AND f.id > :fills ORDER BY f.id LIMIT :most"""
_HEADS = """
    SELECT
        (SELECT coalesce(max(id), 0) FROM data_collector.v_bar_batches WHERE account = :account) AS batches,
        (SELECT coalesce(max(id), 0) FROM strategy_engine.v_outbox WHERE account = :account) AS evaluations,
        (SELECT coalesce(max(id), 0) FROM risk_manager.v_decisions WHERE account = :account) AS decisions,
        (SELECT coalesce(max(id), 0) FROM trade_executor.v_fills WHERE account = :account) AS fills"""


@dataclass(slots=True)
class _Heads:
    """Up to where each kind has been read; what was sent has its time before its number."""

    batches: int
    evaluations: int
    decisions: int
    fills: int
    sent_at: datetime
    sequence: int = 0


class PostgresSteps:
    """The way of bars and orders, for one account."""

    def __init__(self, database: Database, account: str, since_at: datetime) -> None:
        """What was sent before `since_at` is history and makes no span."""
        self._database = database
        self._account = account
        self._since_at = since_at
        self._heads: _Heads | None = None

    async def new(self) -> Seen:
        """What is new since the last call; the first one only takes note of where everything stands.

        Raises:
            Retryable: the database does not answer; the next call reads the same again.
        """

        async def work(connection: AsyncConnection) -> tuple[_Heads, Seen]:
            async def rows(query: str, **values: Any) -> list[dict[str, Any]]:
                found = await connection.execute(
                    text(query), {"account": self._account, "most": MOST_ROWS, **values}
                )
                return [dict(row._mapping) for row in found]

            heads = self._heads
            if heads is None:
                return _Heads(**(await rows(_HEADS))[0], sent_at=self._since_at), Seen()
            batches = [
                {**row, "source": f"evaluation:{row['timeframe']}:{row['end_at'].isoformat()}"}
                for row in await rows(_BATCHES, batches=heads.batches)
            ]
            evaluations = await rows(_EVALUATIONS, evaluations=heads.evaluations)
            decisions = await rows(_DECISIONS, decisions=heads.decisions)
            orders = await rows(_ORDERS, sent_at=heads.sent_at, sequence=heads.sequence)
            fills = await rows(_FILLS, fills=heads.fills)
            sent_at = orders[-1]["sent_at"] if orders else heads.sent_at
            sequence = orders[-1]["sequence"] if orders else heads.sequence
            moved = _Heads(
                batches[-1]["id"] if batches else heads.batches,
                evaluations[-1]["id"] if evaluations else heads.evaluations,
                decisions[-1]["id"] if decisions else heads.decisions,
                fills[-1]["id"] if fills else heads.fills,
                sent_at,
                sequence,
            )
            return moved, Seen(batches, evaluations, decisions, orders, fills)

        self._heads, seen = await self._database.read(work)
        return seen
