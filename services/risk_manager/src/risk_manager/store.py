"""How are decisions kept in PostgreSQL?

A review is one transaction under the advisory lock `account:<account>`: the book is read, the pure review runs, and
its decisions, mark, mode change, outbox row and cursor are written, or none of it. The book is one statement,
hence one snapshot: read in several, an approval that the executor turns into an intent between two of them
would be counted nowhere. The lock comes first and the statement after it, so it sees what the last holder did.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
from pydantic import TypeAdapter
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from risk_manager.attribution import Execution, matched, records_of
from risk_manager.limits import LONGEST_WINDOW_S, MOST_RECENT, Limits
from risk_manager.modes import Change, changed, first_mode, may_change
from risk_manager.ports import (
    Decide,
    Inbound,
    StoredDecision,
    VersionConflict,
    WantedLimits,
    next_change,
)
from risk_manager.reports import DayFigures, StoredReport
from risk_manager.review import Decision, Outcome
from risk_manager.snapshot import (
    Book,
    Holding,
    LimitChange,
    Mark,
    Mode,
    OpenSale,
    Protection,
    Recent,
    RecentEntry,
    StopHit,
    Working,
)
from shared.adapters.postgres import Cursor, Database, Outbox, lock
from shared.domain.calendar import NEW_YORK
from shared.domain.decisions import Approved, Check, Purpose, Refused, TradingMode
from shared.domain.errors import Unavailable
from shared.domain.orders import FINAL_STATUSES, IntentState, OrderType, Side, TimeInForce
from shared.domain.signals import Evaluation, ManualOrder
from shared.domain.symbols import Symbol
from shared.messages import (
    EVALUATION,
    EVALUATIONS,
    MANUAL_ORDER,
    MANUAL_ORDERS,
    REVIEW,
    REVIEWS,
    Codec,
)

SCHEMA = "risk_manager"
STRATEGIES = "strategy_engine"
EXECUTOR = "trade_executor"
# Enough entries to explain any position; what they do not cover counts as unprotected.
_LATEST_ENTRIES = 20
# By rank in `_NEXT`.
_SOURCES: tuple[tuple[str, Codec[ManualOrder] | Codec[Evaluation]], ...] = (
    (EXECUTOR, MANUAL_ORDER),
    (STRATEGIES, EVALUATION),
)
_CHECKS = TypeAdapter(tuple[Check, ...])
_OF_VALIDATION = (
    "outcome",
    "symbol",
    "side",
    "purpose",
    "quantity",
    "reason_code",
    "reason",
    "checks",
    "figures",
)


def _listed(words: Iterable[str]) -> str:
    """`words` as SQL: written out, since an index over some states helps only a statement that names them."""
    return ", ".join(f"'{word}'" for word in sorted(words))


_LIVE = _listed(state for state in IntentState if not state.is_final)
_FINAL = _listed(FINAL_STATUSES)

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

# As the index over them says it.
_SCALED_OUT = "outcome = 'approved' AND purpose = 'exit' AND strategy = 'scale_out'"

_BOOK = text(f"""
SELECT
  EXISTS (SELECT 1 FROM trade_executor.v_accounts WHERE account = :account) AS adopted,
  EXISTS (SELECT 1 FROM risk_manager.outbox
          WHERE account = :account AND topic = '{REVIEWS}' AND key = :source) AS is_reviewed,
  (SELECT cash::text FROM trade_executor.v_cash WHERE account = :account) AS cash,
  (SELECT jsonb_agg(jsonb_build_array(
      p.symbol, p.quantity::text,
      (SELECT f.price::text FROM trade_executor.v_fills f
       WHERE f.account = :account AND f.symbol = p.symbol
       ORDER BY f.executed_at DESC, f.execution_id DESC LIMIT 1),
      (SELECT jsonb_agg(jsonb_build_array(e.filled::text, coalesce((
           SELECT s.stop_loss FROM risk_manager.stop_moves s
           WHERE s.account = :account AND s.decision_id = e.decision_id ORDER BY s.id DESC LIMIT 1
         ), e.stop_loss)::text, e.strategy, e.decision_id, e.reference_price::text) ORDER BY e.id DESC)
       FROM (SELECT d.id, d.decision_id, d.stop_loss, d.strategy, d.reference_price,
                    (SELECT sum(i.filled_quantity) FROM trade_executor.v_intents i
                     WHERE i.account = :account AND i.decision_id = d.decision_id
                       AND i.purpose = 'entry') AS filled
             FROM risk_manager.decisions d
             WHERE d.account = :account AND d.symbol = p.symbol
               AND d.outcome = 'approved' AND d.purpose = 'entry'
             ORDER BY d.id DESC LIMIT :latest) e
       WHERE e.filled > 0),
      (SELECT string_agg(n.targets, ' ')
       FROM (SELECT d.figures ->> 'targets' AS targets FROM risk_manager.decisions d
             WHERE d.account = :account AND d.symbol = p.symbol AND {_SCALED_OUT}
             ORDER BY d.id DESC LIMIT :latest) n)) ORDER BY p.symbol)
   FROM trade_executor.v_positions p
   WHERE p.account = :account AND p.quantity <> 0) AS holdings,
  (SELECT jsonb_agg(jsonb_build_array(
      w.symbol, w.side, w.purpose, w.quantity::text, w.type, w.limit_price::text, w.stop_price::text,
      w.stop_loss::text, w.reference_price::text, w.strategy) ORDER BY w.symbol, w.key)
   FROM (
      SELECT client_order_id AS key, symbol, side, purpose,
             CASE state WHEN 'UNKNOWN' THEN quantity ELSE quantity - filled_quantity END AS quantity,
             type, limit_price, stop_price, stop_loss, reference_price,
             coalesce((SELECT d.strategy FROM risk_manager.decisions d
                       WHERE d.account = :account AND d.decision_id = i.decision_id), '') AS strategy
      FROM trade_executor.v_intents i
      WHERE account = :account AND state IN ({_LIVE}) AND purpose <> 'protect'
      UNION ALL
      -- Buys that somebody else gave at the broker bind cash and will be held, like our own.
      SELECT broker_order_id, symbol, side, 'entry', quantity - filled_quantity,
             type, limit_price, stop_price, NULL, coalesce(limit_price, stop_price, 0), ''
      FROM trade_executor.v_orders
      WHERE account = :account AND intent_id IS NULL AND side = 'buy' AND parent_order_id IS NULL
        AND status NOT IN ({_FINAL})
      UNION ALL
      SELECT decision_id, symbol, side, purpose, quantity,
             type, limit_price, stop_price, stop_loss, reference_price, strategy
      FROM risk_manager.decisions
      WHERE account = :account AND outcome = 'approved' AND review_id > coalesce(
        (SELECT position FROM trade_executor.v_cursors
         WHERE account = :account AND source = 'risk_manager'), 0)
   ) w WHERE w.quantity > 0) AS working,
  (SELECT jsonb_object_agg(u.symbol, u.orders) FROM (
      SELECT symbol, count(*) AS orders FROM trade_executor.v_intents
      WHERE account = :account AND state = 'UNKNOWN' GROUP BY symbol) u) AS unknown,
  (SELECT jsonb_object_agg(t.trade_on, t.entries) FROM (
      SELECT trade_on, count(*) AS entries FROM risk_manager.decisions
      WHERE account = :account AND outcome = 'approved' AND purpose = 'entry' AND trade_on >= :today
      GROUP BY trade_on) t) AS entries_by_day,
  (SELECT jsonb_agg(jsonb_build_array(r.strategy, r.symbol, r.decided_at) ORDER BY r.id) FROM (
      SELECT id, strategy, symbol, decided_at FROM risk_manager.decisions
      WHERE account = :account AND outcome = 'approved' AND purpose = 'entry'
        AND decided_at > :recent_from
      ORDER BY decided_at DESC LIMIT :most) r) AS recent_entries,
  (SELECT jsonb_agg(jsonb_build_array(s.symbol, s.at)) FROM (
      SELECT o.symbol, max(f.executed_at) AS at
      FROM (SELECT broker_order_id, executed_at FROM trade_executor.v_fills
            WHERE account = :account ORDER BY id DESC LIMIT :most) f
      JOIN trade_executor.v_orders o
        ON o.account = :account AND o.broker_order_id = f.broker_order_id
      WHERE o.side = 'sell' AND o.type IN ('stop', 'trailing_stop', 'stop_limit')
      GROUP BY o.broker_order_id, o.symbol) s) AS stops,
  (SELECT jsonb_object_agg(t.day, t.trades) FROM (
      SELECT day, count(*) AS trades FROM (
          SELECT symbol, (executed_at AT TIME ZONE 'America/New_York')::date AS day
          FROM (SELECT symbol, side, executed_at FROM trade_executor.v_fills
                WHERE account = :account ORDER BY id DESC LIMIT :most) f
          GROUP BY 1, 2 HAVING count(DISTINCT side) = 2) d
      GROUP BY day) t) AS day_trades,
  (SELECT jsonb_agg(jsonb_build_array(o.symbol, CASE WHEN o.type = 'limit' THEN o.limit_price::text END))
   FROM trade_executor.v_orders o
   WHERE o.account = :account AND o.intent_id IS NULL AND o.side = 'sell' AND o.parent_order_id IS NULL
     AND o.status NOT IN ({_FINAL})) AS open_sales,
  (SELECT jsonb_agg(DISTINCT symbol) FROM trade_executor.v_differences
   WHERE account = :account AND closed_at IS NULL AND symbol IS NOT NULL) AS paused,
  (SELECT jsonb_object_agg(q.symbol, q.at) FROM (
      SELECT symbol, max(seen_at) AS at FROM (
          SELECT symbol, seen_at FROM data_collector.v_quarantine
          -- What a person has let in is no reason for doubt any more.
          WHERE account = :account AND released_at IS NULL ORDER BY id DESC LIMIT :most) n
      GROUP BY symbol) q) AS refused_bars,
  (SELECT jsonb_object_agg(symbol, reasons) FROM (
      SELECT symbol, string_agg(reason, '; ' ORDER BY id) AS reasons FROM data_collector.v_symbol_holds
      WHERE account = :account AND ended_at IS NULL GROUP BY symbol) h) AS held,
  m.mode, m.version, m.reason, m.actor, m.changed_at, m.restarts_peak,
  e.instant_at, e.cash AS mark_cash, e.equity, e.peak_equity, e.drawdown, e.gross_exposure,
  e.net_exposure, e.mode_version, e.day_equity,
  l.version AS limits_version, l.after, l.reason AS limits_reason, l.actor AS limits_actor,
  l.changed_at AS limits_changed_at
FROM (SELECT 1) one
LEFT JOIN LATERAL (
    SELECT * FROM risk_manager.modes WHERE account = :account ORDER BY version DESC LIMIT 1) m ON true
LEFT JOIN LATERAL (
    SELECT * FROM risk_manager.equity_points WHERE account = :account ORDER BY id DESC LIMIT 1
) e ON true
LEFT JOIN LATERAL (
    SELECT * FROM risk_manager.limit_changes WHERE account = :account ORDER BY version DESC LIMIT 1
) l ON true
""")

_EXECUTIONS = text("""
SELECT f.broker_order_id, coalesce(d.strategy, '') AS strategy, f.symbol, f.side, f.quantity, f.price, f.fee,
       f.executed_at
FROM (SELECT * FROM trade_executor.v_fills WHERE account = :account ORDER BY id DESC LIMIT :most) f
LEFT JOIN trade_executor.v_intents i ON i.account = :account AND i.client_order_id = f.client_order_id
LEFT JOIN risk_manager.decisions d ON d.account = :account AND d.decision_id = i.decision_id
ORDER BY f.id
""")

_INSERT_DECISION = text("""
INSERT INTO risk_manager.decisions (
    account, decision_id, signal_id, source, review_id, instant_at, decided_at, outcome, strategy, symbol, side,
    purpose, quantity, type, time_in_force, limit_price, stop_price, stop_loss, take_profit,
    reference_price, act_from, act_until, trade_on, reason_code, reason, checks, figures)
VALUES (
    :account, :decision_id, :signal_id, :source, :review_id, :instant_at, :decided_at, :outcome, :strategy,
    :symbol, :side, :purpose, :quantity, :type, :time_in_force, :limit_price, :stop_price, :stop_loss,
    :take_profit, :reference_price, :act_from, :act_until, :trade_on, :reason_code, :reason,
    CAST(:checks AS jsonb), CAST(:figures AS jsonb))
""")

# Marks belong to their bar, decisions and changes to when they were made.
_DAY = text("""
WITH marks AS (
    SELECT * FROM risk_manager.equity_points
    WHERE account = :account AND instant_at > :after AND instant_at <= :until
), newest AS (SELECT * FROM marks ORDER BY id DESC LIMIT 1
), decided AS (
    SELECT outcome, purpose, reason_code FROM risk_manager.decisions
    WHERE account = :account AND decided_at > :after AND decided_at <= :until
)
SELECT
  (SELECT equity FROM risk_manager.equity_points
   WHERE account = :account AND instant_at <= :after ORDER BY id DESC LIMIT 1) AS equity_before,
  (SELECT equity FROM newest) AS equity,
  (SELECT cash FROM newest) AS cash,
  (SELECT peak_equity FROM newest) AS peak_equity,
  (SELECT min(equity) FROM marks) AS lowest_equity,
  (SELECT drawdown FROM newest) AS drawdown,
  (SELECT max(drawdown) FROM marks) AS worst_drawdown,
  (SELECT gross_exposure FROM newest) AS gross_exposure,
  (SELECT max(gross_exposure) FROM marks) AS highest_gross_exposure,
  (SELECT net_exposure FROM newest) AS net_exposure,
  (SELECT count(*) FROM decided WHERE outcome = 'approved' AND purpose = 'entry') AS entries,
  (SELECT count(*) FROM decided WHERE outcome = 'approved' AND purpose = 'exit') AS exits,
  (SELECT jsonb_object_agg(reason_code, n) FROM (
      SELECT reason_code, count(*) AS n FROM decided WHERE outcome = 'refused' GROUP BY 1) r) AS refused,
  (SELECT count(*) FROM risk_manager.stop_moves
   WHERE account = :account AND decided_at > :after AND decided_at <= :until) AS stops_moved,
  (SELECT array_agg(mode || ' by ' || actor || ': ' || reason ORDER BY version) FROM risk_manager.modes
   WHERE account = :account AND changed_at > :after AND changed_at <= :until) AS modes,
  (SELECT array_agg(actor || ': ' || reason || ' ' || after::text ORDER BY version)
   FROM risk_manager.limit_changes
   WHERE account = :account AND changed_at > :after AND changed_at <= :until) AS limits
""")

_INSERT_STOP_MOVE = text("""
INSERT INTO risk_manager.stop_moves (
    account, review_id, decision_id, symbol, stop_loss, previous, reason, decided_at)
VALUES (:account, :review_id, :decision_id, :symbol, :stop_loss, :previous, :reason, :at)
""")


class PostgresStore:
    """See `ports.Store`."""

    def __init__(self, database: Database, account: str, *, reads_records: bool = False) -> None:
        """`reads_records`: whether books say how each strategy's trades went, which Kelly's sizes ask for."""
        self._reads_records = reads_records
        self._database = database
        self._account = account
        self._outbox = Outbox(SCHEMA, account)
        self._cursors = {
            stream: Cursor(SCHEMA, stream, account) for stream in (EXECUTOR, STRATEGIES)
        }

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
            return Inbound(stream, row.id, codec.decode(_json(row.payload)))

        return await self._database.read(read)

    async def book(self, at: datetime) -> Book:
        """See `ports.Store`."""

        async def read(connection: AsyncConnection) -> Book:
            row = await self._book_row(connection, at, "")
            return await self._book_of(connection, row, at)

        return await self._database.run(read)

    async def record(
        self,
        source: str,
        decide: Decide,
        at: datetime,
        *,
        inbound: Inbound | None = None,
        marks_equity: bool = False,
    ) -> Outcome | None:
        """See `ports.Store`."""

        async def review(connection: AsyncConnection) -> Outcome | None:
            # The lock before the book's statement, or that would see what was before the lock.
            if inbound is None:
                await lock(connection, self._lock)
            else:
                cursor = self._cursors[inbound.stream]
                if not await cursor.move(connection, inbound.position, holding=self._lock):
                    return None
            row = await self._book_row(connection, at, source)
            if row.is_reviewed:
                return None
            book = await self._book_of(connection, row, at)
            if row.version is None:
                # Written down, so that the executor finds a mode in the view.
                await self._write_mode(connection, book.mode, None)
            outcome = decide(book)
            await self._write(connection, outcome, at, marks_equity=marks_equity)
            if outcome.reduce_because is not None:
                reduced = Mode(
                    TradingMode.REDUCING, book.mode.version + 1, outcome.reduce_because, SCHEMA, at
                )
                await self._write_mode(connection, reduced, book.mode)
            return outcome

        return await self._database.run(review)

    async def record_validation(
        self, validation_id: str, decision: Decision, actor: str, at: datetime
    ) -> None:
        """See `ports.Store`."""

        async def write(connection: AsyncConnection) -> None:
            row = _decision_row(decision)
            await connection.execute(
                text(
                    "INSERT INTO risk_manager.validations (account, validation_id, actor, asked_at, "
                    "outcome, symbol, side, purpose, quantity, reason_code, reason, checks, figures) "
                    "VALUES (:account, :validation_id, :actor, :at, :outcome, :symbol, :side, :purpose, "
                    ":quantity, :reason_code, :reason, CAST(:checks AS jsonb), "
                    "CAST(:figures AS jsonb)) ON CONFLICT (account, validation_id) DO NOTHING"
                ),
                {
                    "account": self._account,
                    "validation_id": validation_id,
                    "actor": actor,
                    "at": at,
                    **{name: row[name] for name in _OF_VALIDATION},
                },
            )

        await self._database.run(write)

    async def decisions(
        self,
        *,
        limit: int,
        before: int | None = None,
        symbol: Symbol | None = None,
        outcome: str | None = None,
        source: str | None = None,
    ) -> list[StoredDecision]:
        """See `ports.Store`."""
        wanted: dict[str, Any] = {"symbol": symbol, "outcome": outcome, "source": source}
        filters = {name: value for name, value in wanted.items() if value is not None}
        conditions = ["account = :account", *(f"{name} = :{name}" for name in filters)]
        if before is not None:
            conditions.append("id < :before")

        async def read(connection: AsyncConnection) -> list[StoredDecision]:
            found = await connection.execute(
                text(
                    f"SELECT * FROM risk_manager.decisions WHERE {' AND '.join(conditions)} "  # names from above, values are bound
                    "ORDER BY id DESC LIMIT :limit"
                ),
                {"account": self._account, "limit": limit, "before": before, **filters},
            )
            return [_stored(row) for row in found]

        return await self._database.run(read)

    async def executions(self) -> list[Execution]:
        """See `ports.Store`."""
        return await self._database.run(self._executions)

    async def _executions(self, connection: AsyncConnection) -> list[Execution]:
        found = await connection.execute(
            _EXECUTIONS, {"account": self._account, "most": MOST_RECENT}
        )
        return [
            Execution(
                row.broker_order_id,
                row.strategy,
                Symbol(row.symbol),
                Side(row.side),
                row.quantity,
                row.price,
                row.fee,
                row.executed_at,
            )
            for row in found
        ]

    async def mode(self, at: datetime) -> Mode:
        """See `ports.Store`."""

        async def read(connection: AsyncConnection) -> Mode:
            return await self._stored_mode(connection) or first_mode(at)

        return await self._database.run(read)

    async def change_mode(self, change: Change, limits: Limits) -> Mode:
        """See `ports.Store`."""

        async def write(connection: AsyncConnection) -> Mode:
            await lock(connection, self._lock)
            stored = await self._stored_mode(connection)
            current = stored or first_mode(change.at)
            if not may_change(current, change):
                raise VersionConflict(current)
            if stored is None:
                await self._write_mode(connection, current, None)
            last = await connection.execute(
                text(
                    "SELECT * FROM risk_manager.equity_points WHERE account = :account "
                    "ORDER BY id DESC LIMIT 1"
                ),
                {"account": self._account},
            )
            row = last.first()
            above = await self._limit_change(connection)
            mode = changed(
                current,
                change,
                None if row is None else _mark(row, row.cash),
                limits if above is None else limits.changed_by(above.changes),
            )
            if mode is not current:
                await self._write_mode(connection, mode, current)
            return mode

        return await self._database.run(write)

    async def change_limits(self, wanted: WantedLimits, settings: Limits) -> LimitChange:
        """See `ports.Store`."""

        async def write(connection: AsyncConnection) -> LimitChange:
            await lock(connection, self._lock)
            current = await self._limit_change(connection)
            change = next_change(current, wanted, settings)
            await connection.execute(
                text(
                    "INSERT INTO risk_manager.limit_changes "
                    "(account, version, before, after, reason, actor, changed_at) VALUES "
                    "(:account, :version, CAST(:before AS jsonb), CAST(:after AS jsonb), :reason, "
                    ":actor, :at)"
                ),
                {
                    "account": self._account,
                    "version": change.version,
                    "before": orjson.dumps(dict(current.changes) if current else {}).decode(),
                    "after": orjson.dumps(dict(change.changes)).decode(),
                    "reason": change.reason,
                    "actor": change.actor,
                    "at": change.changed_at,
                },
            )
            return change

        return await self._database.run(write)

    async def limit_history(self, limit: int) -> list[LimitChange]:
        """See `ports.Store`."""

        async def read(connection: AsyncConnection) -> list[LimitChange]:
            found = await connection.execute(
                text(
                    "SELECT * FROM risk_manager.limit_changes WHERE account = :account "
                    "ORDER BY version DESC LIMIT :limit"
                ),
                {"account": self._account, "limit": limit},
            )
            return [_limit_change(row) for row in found]

        return await self._database.run(read)

    async def day(self, after: datetime, until: datetime) -> DayFigures:
        """See `ports.Store`."""

        async def read(connection: AsyncConnection) -> DayFigures:
            found = await connection.execute(
                _DAY, {"account": self._account, "after": after, "until": until}
            )
            row = found.one()
            return DayFigures(
                row.equity_before,
                row.equity,
                row.cash,
                row.peak_equity,
                row.lowest_equity,
                row.drawdown,
                row.worst_drawdown,
                row.gross_exposure,
                row.highest_gross_exposure,
                row.net_exposure,
                row.entries,
                row.exits,
                _json(row.refused) or {},
                row.stops_moved,
                tuple(row.modes or ()),
                tuple(row.limits or ()),
            )

        return await self._database.read(read)

    async def record_report(self, report: StoredReport) -> None:
        """See `ports.Store`."""
        await self._keep(
            "daily_reports (account, trade_on, written_at, document) "
            "VALUES (:account, :on, :at, CAST(:document AS jsonb))",
            report.document,
            on=report.on,
            at=report.written_at,
        )

    async def record_snapshot(self, at: datetime, document: Mapping[str, Any]) -> None:
        """See `ports.Store`."""
        await self._keep(
            "snapshots (account, taken_at, document) "
            "VALUES (:account, :at, CAST(:document AS jsonb))",
            document,
            at=at,
        )

    async def _keep(self, into: str, document: Mapping[str, Any], **values: Any) -> None:
        async def write(connection: AsyncConnection) -> None:
            await connection.execute(
                text(f"INSERT INTO risk_manager.{into} ON CONFLICT DO NOTHING"),  # from above
                {
                    "account": self._account,
                    "document": orjson.dumps(dict(document)).decode(),
                    **values,
                },
            )

        await self._database.run(write)

    async def reports(
        self, *, limit: int, before: date | None = None, on: date | None = None
    ) -> list[StoredReport]:
        """See `ports.Store`."""

        async def read(connection: AsyncConnection) -> list[StoredReport]:
            found = await connection.execute(
                text(
                    "SELECT trade_on, written_at, document FROM risk_manager.daily_reports "
                    "WHERE account = :account AND (CAST(:before AS date) IS NULL OR trade_on < :before) "
                    "AND (CAST(:on AS date) IS NULL OR trade_on = :on) "
                    "ORDER BY trade_on DESC LIMIT :limit"
                ),
                {"account": self._account, "before": before, "on": on, "limit": limit},
            )
            return [StoredReport(r.trade_on, r.written_at, _json(r.document)) for r in found]

        return await self._database.read(read)

    async def newest_snapshot(self, until: datetime) -> dict[str, Any] | None:
        """See `ports.Store`."""

        async def read(connection: AsyncConnection) -> dict[str, Any] | None:
            found = await connection.execute(
                text(
                    "SELECT document FROM risk_manager.snapshots "
                    "WHERE account = :account AND taken_at <= :until ORDER BY taken_at DESC LIMIT 1"
                ),
                {"account": self._account, "until": until},
            )
            row = found.first()
            return None if row is None else _json(row.document)

        return await self._database.read(read)

    async def _limit_change(self, connection: AsyncConnection) -> LimitChange | None:
        found = await connection.execute(
            text(
                "SELECT * FROM risk_manager.limit_changes WHERE account = :account "
                "ORDER BY version DESC LIMIT 1"
            ),
            {"account": self._account},
        )
        row = found.first()
        return None if row is None else _limit_change(row)

    @property
    def _lock(self) -> str:
        return f"account:{self._account}"

    async def _book_row(self, connection: AsyncConnection, at: datetime, source: str) -> Row[Any]:
        """All of the account in one row, and whether `source` was reviewed before."""
        found = await connection.execute(
            _BOOK,
            {
                "account": self._account,
                "source": source,
                "latest": _LATEST_ENTRIES,
                "today": at.astimezone(NEW_YORK).date(),
                "recent_from": at - timedelta(seconds=LONGEST_WINDOW_S),
                "most": MOST_RECENT,
            },
        )
        return found.one()

    async def _book_of(self, connection: AsyncConnection, row: Row[Any], at: datetime) -> Book:
        if not row.adopted or row.cash is None:
            raise Unavailable(
                f"account {self._account} is not known yet: the trade executor has not adopted it"
            )
        book = Book(
            account=self._account,
            cash=Decimal(row.cash),
            holdings=tuple(_holding(entry) for entry in _json(row.holdings) or []),
            working=tuple(_working(entry) for entry in _json(row.working) or []),
            unknown={Symbol(s): int(n) for s, n in (_json(row.unknown) or {}).items()},
            # That of an account which has none yet began at `at`.
            mode=first_mode(at) if row.version is None else _mode(row),
            last_mark=None if row.equity is None else _mark(row, row.mark_cash),
            entries_by_day={
                date.fromisoformat(day): int(n)
                for day, n in (_json(row.entries_by_day) or {}).items()
            },
            recent=_recent(row),
            limit_change=None
            if row.limits_version is None
            else LimitChange(
                row.limits_version,
                _json(row.after),
                row.limits_reason,
                row.limits_actor,
                row.limits_changed_at,
            ),
        )
        if self._reads_records:
            found_trades = matched(await self._executions(connection)).trades
            book = replace(book, recent=replace(book.recent, records=records_of(found_trades)))
        return book

    async def _stored_mode(self, connection: AsyncConnection) -> Mode | None:
        found = await connection.execute(
            text(
                "SELECT * FROM risk_manager.modes WHERE account = :account "
                "ORDER BY version DESC LIMIT 1"
            ),
            {"account": self._account},
        )
        row = found.first()
        return None if row is None else _mode(row)

    async def _write_mode(
        self, connection: AsyncConnection, mode: Mode, previous: Mode | None
    ) -> None:
        await connection.execute(
            text(
                "INSERT INTO risk_manager.modes "
                "(account, version, mode, previous, reason, actor, restarts_peak, changed_at) "
                "VALUES (:account, :version, :mode, :previous, :reason, :actor, :restarts_peak, :at)"
            ),
            {
                "account": self._account,
                "version": mode.version,
                "mode": mode.mode,
                "previous": None if previous is None else previous.mode,
                "reason": mode.reason,
                "actor": mode.actor,
                "restarts_peak": mode.restarts_peak,
                "at": mode.changed_at,
            },
        )

    async def _write(
        self, connection: AsyncConnection, outcome: Outcome, at: datetime, *, marks_equity: bool
    ) -> None:
        review = outcome.review
        if marks_equity:
            await self._write_mark(connection, review.source, outcome.mark)
        review_id = await self._outbox.append(
            connection, topic=REVIEWS, key=review.source, payload=REVIEW.encode(review), at=at
        )
        if outcome.decisions:
            await connection.execute(
                _INSERT_DECISION,
                [
                    {
                        **_decision_row(decision),
                        "account": self._account,
                        "source": review.source,
                        "review_id": review_id,
                        "instant_at": review.instant_at,
                        "decided_at": at,
                    }
                    for decision in outcome.decisions
                ],
            )
        if review.moved:
            await connection.execute(
                _INSERT_STOP_MOVE,
                [
                    {
                        "account": self._account,
                        "review_id": review_id,
                        "decision_id": move.decision_id,
                        "symbol": move.symbol,
                        "stop_loss": move.stop_loss,
                        "previous": move.previous,
                        "reason": move.reason,
                        "at": at,
                    }
                    for move in review.moved
                ],
            )

    async def _write_mark(self, connection: AsyncConnection, source: str, mark: Mark) -> None:
        await connection.execute(
            text(
                "INSERT INTO risk_manager.equity_points (account, source, instant_at, cash, equity, "
                "peak_equity, drawdown, gross_exposure, net_exposure, mode_version, day_equity) VALUES "
                "(:account, :source, :instant_at, :cash, :equity, :peak_equity, :drawdown, "
                ":gross_exposure, :net_exposure, :mode_version, :day_equity)"
            ),
            {
                "account": self._account,
                "source": source,
                "instant_at": mark.instant_at,
                "cash": mark.cash,
                "equity": mark.equity,
                "peak_equity": mark.peak_equity,
                "drawdown": mark.drawdown,
                "gross_exposure": mark.gross_exposure,
                "net_exposure": mark.net_exposure,
                "mode_version": mark.mode_version,
                "day_equity": mark.day_equity,
            },
        )


# ------------------------------------------------------------------ rows and values


def _json(value: Any) -> Any:
    return orjson.loads(value) if isinstance(value, str | bytes) else value


def _decimal(value: str | None) -> Decimal | None:
    return None if value is None else Decimal(value)


def _holding(entry: Sequence[Any]) -> Holding:
    symbol, quantity, last_price, entries, targets = entry
    return Holding(
        Symbol(symbol),
        Decimal(quantity),
        _decimal(last_price),
        tuple(
            Protection(Decimal(filled), _decimal(stop), strategy, decision_id, _decimal(reference))
            for filled, stop, strategy, decision_id, reference in entries or []
        ),
        frozenset((targets or "").split()),
    )


def _working(entry: Sequence[Any]) -> Working:
    symbol, side, purpose, quantity, kind, limit, stop, stop_loss, reference, strategy = entry
    return Working(
        Symbol(symbol),
        Side(side),
        Purpose(purpose),
        Decimal(quantity),
        # An order that somebody else gave may be of a kind we do not give: it is met at the market.
        OrderType(kind) if kind in set(OrderType) else OrderType.MARKET,
        _decimal(limit),
        _decimal(stop),
        _decimal(stop_loss),
        Decimal(reference),
        strategy,
    )


def _mode(row: Row[Any]) -> Mode:
    return Mode(
        TradingMode(row.mode),
        row.version,
        row.reason,
        row.actor,
        row.changed_at,
        row.restarts_peak,
    )


def _mark(row: Row[Any], cash: Decimal) -> Mark:
    return Mark(
        row.instant_at,
        cash,
        row.equity,
        row.peak_equity,
        row.drawdown,
        row.gross_exposure,
        row.net_exposure,
        row.mode_version,
        row.day_equity,
    )


def _limit_change(row: Row[Any]) -> LimitChange:
    return LimitChange(row.version, _json(row.after), row.reason, row.actor, row.changed_at)


def _recent(row: Row[Any]) -> Recent:
    return Recent(
        entries=tuple(
            RecentEntry(strategy, Symbol(symbol), datetime.fromisoformat(at))
            for strategy, symbol, at in _json(row.recent_entries) or []
        ),
        stops=tuple(
            StopHit(Symbol(symbol), datetime.fromisoformat(at))
            for symbol, at in _json(row.stops) or []
        ),
        day_trades={
            date.fromisoformat(day): int(trades)
            for day, trades in (_json(row.day_trades) or {}).items()
        },
        open_sales=tuple(
            OpenSale(Symbol(symbol), _decimal(limit))
            for symbol, limit in _json(row.open_sales) or []
        ),
        paused=frozenset(Symbol(symbol) for symbol in _json(row.paused) or []),
        refused_bars={
            Symbol(symbol): datetime.fromisoformat(at)
            for symbol, at in (_json(row.refused_bars) or {}).items()
        },
        held={Symbol(symbol): why for symbol, why in (_json(row.held) or {}).items()},
    )


def _decision_row(decision: Decision) -> dict[str, Any]:
    answer = decision.answer
    row: dict[str, Any] = {
        "decision_id": answer.decision_id,
        "signal_id": answer.signal_id,
        "outcome": "approved" if decision.is_approved else "refused",
        "strategy": decision.strategy,
        "symbol": answer.symbol,
        "side": answer.side,
        "purpose": answer.purpose,
        "quantity": decision.quantity,
        "trade_on": decision.trade_on,
        "checks": _CHECKS.dump_json(answer.checks).decode(),
        "figures": orjson.dumps(decision.figures).decode(),
    }
    terms = (
        "type", "time_in_force", "limit_price", "stop_price", "stop_loss", "take_profit",
        "reference_price", "act_from", "act_until",
    )  # fmt: skip
    if isinstance(answer, Approved):
        row |= {name: getattr(answer, name) for name in terms}
        return {**row, "reason_code": None, "reason": None}
    row |= dict.fromkeys(terms)
    return {**row, "reason_code": answer.reason_code, "reason": answer.reason}


def _stored(row: Row[Any]) -> StoredDecision:
    checks = _CHECKS.validate_python(_json(row.checks))
    common = (
        row.decision_id,
        row.signal_id,
        row.account,
        Symbol(row.symbol),
        Side(row.side),
        Purpose(row.purpose),
    )
    answer: Approved | Refused
    if row.outcome == "approved":
        answer = Approved(
            *common,
            row.quantity,
            OrderType(row.type),
            TimeInForce(row.time_in_force),
            row.limit_price,
            row.stop_price,
            row.stop_loss,
            row.take_profit,
            row.reference_price,
            row.act_from,
            row.act_until,
            checks,
        )
    else:
        answer = Refused(*common, row.reason_code, row.reason, checks)
    decision = Decision(answer, row.strategy, row.quantity, row.trade_on, _json(row.figures))
    return StoredDecision(row.id, row.source, row.decided_at, decision)
