"""Which rows do the pages show?

Reads the services' views as a role that can read nothing else and write nothing. Every list is bounded. What a
service computes (prices of positions, limits in use) is asked of that service and not computed a second time.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from dashboard.shown.texts import MOST_COUNTED
from shared.adapters.postgres import Database
from shared.domain.ids import wish_of

Row = dict[str, Any]
# An instant, which source, and the place there.
ActCursor = tuple[datetime, int, int]
MOST_MATCHED = 5_000
# Below every cursor of a list that begins with its newest row.
_NEWEST = 2**63 - 1
# The executor's own words for orders that may still do something; its index of live orders has the same condition.
_OPEN = "state IN ('PENDING', 'SENDING', 'UNKNOWN', 'ACKED', 'PARTIAL')"
_WHICH = {
    "all": "true",
    "open": _OPEN,
    "filled": "filled_quantity > 0",
    "unknown": "state = 'UNKNOWN'",
}

_EQUITY = """
    SELECT instant_at, equity, cash, drawdown, peak_equity, gross_exposure, net_exposure
    FROM risk_manager.v_equity WHERE account = :account ORDER BY id DESC LIMIT :rows
"""
# At most so many points of a span: the last mark of each bucket, with the deepest drawdown within it, so that thinning
# hides no dip.
_CURVE = """
    SELECT DISTINCT ON (bucket) instant_at, equity, peak_equity, max(drawdown) OVER (PARTITION BY bucket) AS drawdown
    FROM (SELECT id, instant_at, equity, peak_equity, drawdown,
                 (row_number() OVER (ORDER BY id) - 1) * :points / count(*) OVER () AS bucket
          FROM risk_manager.v_equity WHERE account = :account AND instant_at >= :since) AS marks
    ORDER BY bucket, id DESC
"""
# An account's first day begins with its own first valuation. What was paid in since counts as if it had been there.
_DAY_START = """
    SELECT began.equity + coalesce(newest.paid_in - began.paid_in, 0) AS equity
    FROM (SELECT coalesce(
        (SELECT id FROM risk_manager.v_equity WHERE account = :account AND instant_at < :midnight
         ORDER BY id DESC LIMIT 1),
        (SELECT id FROM risk_manager.v_equity WHERE account = :account ORDER BY id LIMIT 1)) AS id,
        (SELECT paid_in FROM risk_manager.v_equity WHERE account = :account ORDER BY id DESC LIMIT 1) AS paid_in) newest
    LEFT JOIN risk_manager.v_equity began ON began.account = :account AND began.id = newest.id
"""
_MODE = """
    SELECT mode, version, reason, actor, changed_at FROM risk_manager.v_mode WHERE account = :account
"""
_STATUS = """
    SELECT state, since_at, reason, reconciled_at FROM trade_executor.v_status WHERE account = :account
"""
# Each counts :most rows at most, and none reads back beyond that: today's rows are the newest ones.
_COUNTS = """
    SELECT
        (SELECT count(*) FROM (SELECT bar_end_at FROM strategy_engine.v_signals
                               WHERE account = :account ORDER BY id DESC LIMIT :most) AS newest
         WHERE bar_end_at >= :midnight) AS signals,
        (SELECT count(*) FROM (SELECT 1 FROM risk_manager.v_decisions WHERE account = :account
                               AND decided_at >= :midnight AND outcome = 'approved' LIMIT :most) AS found) AS approved,
        (SELECT count(*) FROM (SELECT 1 FROM risk_manager.v_decisions WHERE account = :account
                               AND decided_at >= :midnight AND outcome = 'refused' LIMIT :most) AS found) AS refused,
        (SELECT count(*) FROM (SELECT executed_at FROM trade_executor.v_fills
                               WHERE account = :account ORDER BY id DESC LIMIT :most) AS newest
         WHERE executed_at >= :midnight) AS fills,
        (SELECT count(*) FROM trade_executor.v_intents
         WHERE account = :account AND state = 'UNKNOWN') AS unknown,
        (SELECT count(*) FROM trade_executor.v_intents
         WHERE account = :account AND state IN ('PENDING', 'SENDING', 'UNKNOWN', 'ACKED', 'PARTIAL')) AS open,
        (SELECT count(*) FROM trade_executor.v_differences
         WHERE account = :account AND closed_at IS NULL) AS differences,
        (SELECT count(*) FROM (SELECT 1 FROM data_collector.v_quarantine
                               WHERE account = :account AND released_at IS NULL LIMIT :most) AS found) AS quarantined,
        (SELECT count(*) FROM (SELECT state, tries FROM scheduler.v_notices
                               WHERE account = :account ORDER BY number DESC LIMIT :most) AS newest
         WHERE state = 'GIVEN_UP' OR (state = 'WAITING' AND tries > 0)) AS undelivered
"""
_INTENT_COLUMNS = """
    SELECT client_order_id, decision_id, signal_id, symbol, side, purpose, type, order_class, time_in_force,
           quantity, filled_quantity, limit_price, stop_price, stop_loss, take_profit, state, reason, broker_order_id,
           act_from, act_until, created_at, sent_at, ended_at, sequence
    FROM trade_executor.v_intents
"""
_INTENTS = {
    which: f"""
    {_INTENT_COLUMNS}
    WHERE account = :account AND sequence < :before AND (CAST(:symbol AS text) IS NULL OR symbol = :symbol)
      AND {condition}
    ORDER BY sequence DESC LIMIT :rows
"""
    for which, condition in _WHICH.items()
}
_INTENT = f"{_INTENT_COLUMNS} WHERE account = :account AND client_order_id = :id"
# What protects a position rests at the broker: stops and targets that are not final.
_PROTECTION = """
    SELECT symbol, type, side, status, quantity - filled_quantity AS quantity, stop_price, limit_price
    FROM trade_executor.v_orders
    WHERE account = :account AND (stop_price IS NOT NULL OR parent_order_id IS NOT NULL OR order_class = 'oco')
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
_DECISIONS = """
    SELECT id, decision_id, signal_id, decided_at, instant_at, strategy, symbol, side, purpose, outcome, quantity,
           reason_code, reason, stop_loss, take_profit, reference_price
    FROM risk_manager.v_decisions
    WHERE account = :account AND id < :before AND (CAST(:symbol AS text) IS NULL OR symbol = :symbol)
      AND (CAST(:outcome AS text) IS NULL OR outcome = :outcome)
    ORDER BY id DESC LIMIT :rows
"""
# By any id that stands in the chain: the decision's, the signal's, ours of an order, or the broker's.
_DECISION = """
    SELECT d.* FROM risk_manager.v_decisions d
    WHERE d.account = :account AND (d.decision_id = :id OR d.signal_id = :id OR d.decision_id IN (
        SELECT i.decision_id FROM trade_executor.v_intents i
        WHERE i.account = :account AND (i.client_order_id = :id OR i.broker_order_id = :id)))
    ORDER BY d.id DESC LIMIT 1
"""
_SIGNAL = "SELECT * FROM strategy_engine.v_signals WHERE account = :account AND signal_id = :id"
_SIGNALS = """
    SELECT id, signal_id, strategy, symbol, timeframe, bar_end_at, direction, conviction, reason, reference_price, figures
    FROM strategy_engine.v_signals
    WHERE account = :account AND id < :before AND (CAST(:symbol AS text) IS NULL OR symbol = :symbol)
    ORDER BY id DESC LIMIT :rows
"""
_INTENTS_OF = """
    SELECT client_order_id, symbol, side, purpose, type, order_class, quantity, filled_quantity, limit_price, stop_price,
           state, reason, broker_order_id, created_at, sent_at, ended_at
    FROM trade_executor.v_intents WHERE account = :account AND decision_id = :id ORDER BY sequence LIMIT 50
"""
_FILLS_OF = """
    SELECT execution_id, symbol, side, quantity, price, fee, executed_at
    FROM trade_executor.v_fills
    WHERE account = :account AND client_order_id IN (
        SELECT client_order_id FROM trade_executor.v_intents WHERE account = :account AND decision_id = :id)
    ORDER BY id LIMIT 200
"""
_ORDERS_OF = """
    SELECT broker_order_id, parent_order_id, side, type, status, quantity, filled_quantity, filled_average_price,
           limit_price, stop_price, submitted_at
    FROM trade_executor.v_orders
    WHERE account = :account AND intent_id IN (
        SELECT client_order_id FROM trade_executor.v_intents WHERE account = :account AND decision_id = :id)
    ORDER BY sequence LIMIT 200
"""
_STOP_MOVES_OF = """
    SELECT previous, stop_loss, reason, decided_at FROM risk_manager.v_stop_moves
    WHERE account = :account AND decision_id = :id ORDER BY id LIMIT 500
"""
_STOP_MOVES = """
    SELECT decision_id, stop_loss, decided_at FROM risk_manager.v_stop_moves
    WHERE account = :account AND symbol = :symbol ORDER BY id DESC LIMIT :rows
"""
_BATCH = """
    SELECT id, digest, announced_at, decidable FROM data_collector.v_bar_batches
    WHERE account = :account AND timeframe = :timeframe AND end_at = :end_at AND :symbol = ANY(composition) LIMIT 1
"""
# Matching lots needs a symbol's executions from the first on; beyond the bound nothing is reckoned.
_FILLS_OF_SYMBOL = """
    SELECT f.execution_id, f.broker_order_id, f.side, f.quantity, f.price, f.fee, f.executed_at, i.decision_id
    FROM trade_executor.v_fills f
    LEFT JOIN trade_executor.v_intents i ON i.account = f.account AND i.client_order_id = f.client_order_id
    WHERE f.account = :account AND f.symbol = :symbol ORDER BY f.id LIMIT :rows
"""
# How far the newest instant has come with one symbol.
_STANDING = """
    SELECT b.end_at, b.timeframe, b.decidable, :symbol = ANY(b.composition) AS has_symbol,
        coalesce((SELECT position FROM strategy_engine.v_cursors
                  WHERE account = :account AND source = 'data_collector'), 0) >= b.id AS is_evaluated,
        (SELECT count(*) FROM strategy_engine.v_signals
         WHERE account = :account AND symbol = :symbol AND bar_end_at = b.end_at) AS signals,
        (SELECT reason FROM data_collector.v_symbol_holds
         WHERE account = :account AND symbol = :symbol AND ended_at IS NULL ORDER BY since_at DESC LIMIT 1) AS held,
        (SELECT reason FROM data_collector.v_quarantine
         WHERE account = :account AND symbol = :symbol AND seen_at >= b.start_at ORDER BY id DESC LIMIT 1) AS bar_refused
    FROM data_collector.v_bar_batches b WHERE b.account = :account ORDER BY b.end_at DESC, b.id DESC LIMIT 1
"""
_REFUSALS = """
    SELECT reason_code, count(*) AS many, max(decided_at) AS last_at
    FROM risk_manager.v_decisions
    WHERE account = :account AND outcome = 'refused' AND decided_at >= :midnight
    GROUP BY reason_code ORDER BY many DESC, reason_code LIMIT 50
"""
_BATCHES = """
    SELECT id, timeframe, start_at, end_at, symbols, decidable, announced_at
    FROM data_collector.v_bar_batches WHERE account = :account ORDER BY id DESC LIMIT :rows
"""
# In how many of the newest instants each symbol had a bar.
_COVERAGE = """
    SELECT symbol, count(*) AS present, max(many) AS instants FROM (
        SELECT composition, count(*) OVER () AS many FROM (
            SELECT composition FROM data_collector.v_bar_batches
            WHERE account = :account AND timeframe = (
                SELECT timeframe FROM data_collector.v_bar_batches WHERE account = :account ORDER BY id DESC LIMIT 1)
            ORDER BY id DESC LIMIT :instants) AS newest) AS counted, unnest(composition) AS symbol
    GROUP BY symbol ORDER BY symbol LIMIT 2000
"""
_COLLECTIONS = """
    SELECT job_id, timeframe, cardinality(symbols) AS symbols, start_at, end_at, state, bars_read, bars_new, bars_refused,
           error, requested_at, ended_at
    FROM data_collector.v_collection_jobs WHERE account = :account ORDER BY requested_at DESC LIMIT :rows
"""
_RUNS = """
    SELECT number, run_id, job_id, kind, state, due_at, occurrences, actor, started_at, finished_at, duration_s, detail, figures
    FROM scheduler.v_job_runs
    WHERE account = :account AND number < :before AND (CAST(:job AS text) IS NULL OR job_id = :job)
    ORDER BY number DESC LIMIT :rows
"""
_DIFFERENCES = """
    SELECT id, kind, subject, symbol, ours, theirs, opened_at, closed_at, closed_by
    FROM trade_executor.v_differences WHERE account = :account ORDER BY closed_at IS NOT NULL, id DESC LIMIT :rows
"""
# Everything that a person had done, from wherever it is stored; the place within its instant makes each row's cursor
# its own.
_AUDIT = """
    SELECT at, source, number, actor, what, reason FROM (
        SELECT changed_at AS at, 1 AS source, CAST(version AS bigint) AS number, actor, 'mode ' || mode AS what, reason
        FROM risk_manager.v_modes WHERE account = :account
        UNION ALL
        SELECT changed_at, 2, version, actor, 'limits, version ' || version, reason
        FROM risk_manager.v_limit_changes WHERE account = :account
        UNION ALL
        SELECT coalesce(started_at, due_at), 3, number, actor, 'job ' || job_id, detail
        FROM scheduler.v_job_runs WHERE account = :account AND kind = 'manual'
        UNION ALL
        SELECT created_at, 4, id, coalesce(payload -> 'body' ->> 'actor', ''),
               'order ' || coalesce(payload -> 'body' ->> 'side', '') || ' ' || coalesce(payload -> 'body' ->> 'symbol', ''),
               coalesce(payload -> 'body' ->> 'quantity', '') || ' shares'
        FROM trade_executor.v_outbox WHERE account = :account AND topic = 'manual_orders'
        UNION ALL
        SELECT closed_at, 5, id, closed_by, 'difference ' || kind || ' ' || subject, 'closed'
        FROM trade_executor.v_differences WHERE account = :account AND closed_at IS NOT NULL
    ) AS acts
    WHERE CAST(:at AS timestamptz) IS NULL OR (at, source, number) < (:at, :source, :number)
    ORDER BY at DESC, source DESC, number DESC LIMIT :rows
"""
_HOLDS = """
    SELECT id, symbol, kind, reason, since_at FROM data_collector.v_symbol_holds
    WHERE account = :account AND ended_at IS NULL ORDER BY since_at DESC, symbol LIMIT :rows
"""
_NOTICES = """
    SELECT number, event, title, body, priority, state, tries, error, created_at, due_at, sent_at
    FROM scheduler.v_notices WHERE account = :account AND number < :before ORDER BY number DESC LIMIT :rows
"""
_LAGS = """
    SELECT 'strategy_engine' AS reader, coalesce(max(b.id), 0) - coalesce(
        (SELECT position FROM strategy_engine.v_cursors WHERE account = :account AND source = 'data_collector'), 0)
        AS waiting
    FROM data_collector.v_bar_batches b WHERE b.account = :account
    UNION ALL
    SELECT 'risk_manager', coalesce(max(o.id), 0) - coalesce(
        (SELECT position FROM risk_manager.v_cursors WHERE account = :account AND source = 'strategy_engine'), 0)
    FROM strategy_engine.v_outbox o WHERE o.account = :account AND o.topic = 'evaluations'
    UNION ALL
    SELECT 'trade_executor', coalesce(max(o.id), 0) - coalesce(
        (SELECT position FROM trade_executor.v_cursors WHERE account = :account AND source = 'risk_manager'), 0)
    FROM risk_manager.v_outbox o WHERE o.account = :account AND o.topic = 'reviews'
"""


class PostgresReads:
    """Everything the pages read from the database, for one account."""

    def __init__(self, database: Database, account: str) -> None:
        self._database = database
        self.account = account

    async def curve(self, since: datetime, points: int = 800) -> list[Row]:
        """What the account was worth since then, oldest first, thinned to at most `points` marks."""
        return await self._rows(_CURVE, since=since, points=points)

    async def equity(self, rows: int = 400) -> list[Row]:
        """The newest valuations, oldest first."""
        found = await self._rows(_EQUITY, rows=rows)
        return found[::-1]

    async def day_start(self, midnight: datetime) -> Any:
        """What the account was worth when the exchange day began, with what was paid in since; None before any valuation."""
        return (await self._rows(_DAY_START, midnight=midnight))[0]["equity"]

    async def mode(self) -> Row | None:
        """Which orders may leave."""
        return await self._first(_MODE)

    async def status(self) -> Row | None:
        """What the executor is doing."""
        return await self._first(_STATUS)

    async def counts(self, midnight: datetime) -> Row:
        """How much has happened since `midnight`, and what waits for somebody; MOST_COUNTED + 1 is more than that."""
        return (await self._rows(_COUNTS, midnight=midnight, most=MOST_COUNTED + 1))[0]

    async def intents(
        self,
        rows: int = 300,
        symbol: str | None = None,
        which: str = "all",
        before: int | None = None,
    ) -> list[Row]:
        """Orders as wished, newest first: all, or those open, filled or unknown; below the sequence `before`."""
        older = _older(before)
        return await self._rows(_INTENTS[which], rows=rows, symbol=symbol, before=older)

    async def intent(self, client_order_id: str) -> Row | None:
        """One order as wished."""
        return await self._first(_INTENT, id=client_order_id)

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

    async def decisions(
        self,
        rows: int = 300,
        symbol: str | None = None,
        outcome: str | None = None,
        before: int | None = None,
    ) -> list[Row]:
        """What was approved and refused, newest first, below the id `before`."""
        older = _older(before)
        return await self._rows(_DECISIONS, rows=rows, symbol=symbol, outcome=outcome, before=older)

    async def decision(self, any_id: str) -> Row | None:
        """The decision that belongs to an id of its chain, whole."""
        return await self._first(_DECISION, id=any_id)

    async def signal(self, signal_id: str) -> Row | None:
        """The wish of a strategy that an answer under that id stands for, whole."""
        return await self._first(_SIGNAL, id=wish_of(signal_id))

    async def signals(
        self, rows: int = 300, symbol: str | None = None, before: int | None = None
    ) -> list[Row]:
        """What strategies wished for, newest first, below the id `before`."""
        return await self._rows(_SIGNALS, rows=rows, symbol=symbol, before=_older(before))

    async def intents_of(self, decision_id: str) -> list[Row]:
        """The orders that a decision led to."""
        return await self._rows(_INTENTS_OF, id=decision_id)

    async def orders_of(self, decision_id: str) -> list[Row]:
        """What the broker has of those orders, legs included."""
        return await self._rows(_ORDERS_OF, id=decision_id)

    async def stop_moves_of(self, decision_id: str) -> list[Row]:
        """How the stop of an entry followed the price, oldest first."""
        return await self._rows(_STOP_MOVES_OF, id=decision_id)

    async def stop_moves(self, symbol: str, rows: int = 500) -> list[Row]:
        """Moves of all stops in a symbol, newest first."""
        return await self._rows(_STOP_MOVES, symbol=symbol, rows=rows)

    async def batch(self, timeframe: str, end_at: datetime, symbol: str) -> Row | None:
        """The announced instant in which a symbol's bar came."""
        return await self._first(_BATCH, timeframe=timeframe, end_at=end_at, symbol=symbol)

    async def fills_of_symbol(self, symbol: str) -> list[Row]:
        """All executions of a symbol with the decision of each, oldest first; the oldest MOST_MATCHED of more."""
        return await self._rows(_FILLS_OF_SYMBOL, symbol=symbol, rows=MOST_MATCHED)

    async def standing(self, symbol: str) -> Row | None:
        """How far the newest instant has come with `symbol`; None before the first one."""
        return await self._first(_STANDING, symbol=symbol)

    async def coverage(self, instants: int) -> list[Row]:
        """In how many of the newest `instants` each symbol had a bar."""
        return await self._rows(_COVERAGE, instants=instants)

    async def fills_of(self, decision_id: str) -> list[Row]:
        """The executions of those orders."""
        return await self._rows(_FILLS_OF, id=decision_id)

    async def refusals(self, midnight: datetime) -> list[Row]:
        """How often each reason refused since `midnight`."""
        return await self._rows(_REFUSALS, midnight=midnight)

    async def batches(self, rows: int = 100) -> list[Row]:
        """The newest announced instants."""
        return await self._rows(_BATCHES, rows=rows)

    async def collections(self, rows: int = 50) -> list[Row]:
        """History that was asked for, newest first."""
        return await self._rows(_COLLECTIONS, rows=rows)

    async def runs(
        self, rows: int = 200, before: int | None = None, job: str | None = None
    ) -> list[Row]:
        """Runs of all jobs or of one, newest first, below the number `before`."""
        return await self._rows(_RUNS, rows=rows, before=_older(before), job=job)

    async def differences(self, rows: int = 300) -> list[Row]:
        """What we and the broker disagreed on, open ones first."""
        return await self._rows(_DIFFERENCES, rows=rows)

    async def audit(self, rows: int = 300, before: ActCursor | None = None) -> list[Row]:
        """What people had done, newest first, below the instant, source and number `before`."""
        at, source, number = before or (None, 0, 0)
        return await self._rows(_AUDIT, rows=rows, at=at, source=source, number=number)

    async def holds(self, rows: int = 200) -> list[Row]:
        """Symbols that take no entry while their bars are in doubt."""
        return await self._rows(_HOLDS, rows=rows)

    async def notices(self, rows: int = 200, before: int | None = None) -> list[Row]:
        """What people were told, or should have been, newest first, below the number `before`."""
        return await self._rows(_NOTICES, rows=rows, before=_older(before))

    async def lags(self) -> list[Row]:
        """How many messages each stage has not read yet."""
        return await self._rows(_LAGS)

    async def _first(self, query: str, **values: Any) -> Row | None:
        rows = await self._rows(query, **values)
        return rows[0] if rows else None

    async def _rows(self, query: str, **values: Any) -> list[Row]:
        async def work(connection: AsyncConnection) -> list[Row]:
            result = await connection.execute(text(query), {"account": self.account, **values})
            return [dict(row._mapping) for row in result]

        return await self._database.read(work)


def _older(before: int | None) -> int:
    return _NEWEST if before is None else before
