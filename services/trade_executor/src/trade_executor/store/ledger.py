"""How does evidence become orders, fills, positions and cash?

One booking is one commit: what an order filled, its fills, its intent's state, the announcement of each fill and
the protection that follows. Fills are immutable; positions and cash are folds over them. Rows are locked in the
order of their keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.postgres import Database, Outbox, lock
from shared.domain.errors import InvalidInput
from shared.domain.ids import CLIENT_ORDER_PREFIX
from shared.domain.ledger import Fill
from shared.domain.orders import IntentState, Side
from shared.domain.symbols import Symbol
from shared.messages import EXECUTION, EXECUTIONS
from shared.ports import BrokerExecution, BrokerOrder
from trade_executor.lifecycle import (
    Intent,
    OrderRecord,
    difference_to,
    first_record,
    intent_after,
    is_same_execution,
    known_status,
    merged,
)
from trade_executor.store.differences import Differences
from trade_executor.store.protection import Protection
from trade_executor.store.tables import (
    INTENT_COLUMNS,
    ORDER_COLUMNS,
    ORDER_NAMES,
    SCHEMA,
    ZERO,
    Frame,
    Tables,
    intent_of,
    order_of,
)

FILLS_PER_MARK = 500
_NEWEST_MARK = f"""coalesce(
    (SELECT max(through_id) FROM {SCHEMA}.cash_marks WHERE account = :account), 0)"""


@dataclass(frozen=True, slots=True)
class Booked:
    """What one booking changed, and what it could not explain."""

    fills: tuple[Fill, ...] = ()
    # Orders seen on the stream that are neither ours nor known as legs: a full look must tell.
    unexplained: tuple[str, ...] = ()
    # Orders of which the broker says more was filled than executions have come.
    incomplete: tuple[str, ...] = ()
    # Orders that bear a name of ours which the database does not know.
    forgotten: tuple[str, ...] = ()
    # Whether a guard waits until the account was looked at.
    has_held_back: bool = False


@dataclass(slots=True)
class _Batch:
    """The working set of one booking."""

    at: datetime
    # Orders ended and executions made before these are inside the opening figures.
    adopted_at: datetime | None = None
    ledger_from: datetime | None = None
    records: dict[str, OrderRecord] = field(default_factory=dict)
    intents: dict[str, Intent] = field(default_factory=dict)
    # Orders with an execution that is not inside the opening figures.
    executed: set[str] = field(default_factory=set)
    new_states: dict[str, IntentState] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    fills: list[dict[str, Any]] = field(default_factory=list)
    unexplained: set[str] = field(default_factory=set)
    # Somebody else's orders, each with what of it is to be shown.
    external: list[tuple[OrderRecord, Sequence[BrokerOrder]]] = field(default_factory=list)


class Ledger(Tables):
    """The one place where orders and fills are written."""

    def __init__(
        self, db: Database, account: str, differences: Differences, protection: Protection
    ) -> None:
        super().__init__(db, account)
        self._differences = differences
        self._protection = protection
        self._outbox = Outbox(SCHEMA, account)
        # Written once when the account is adopted, so it may be remembered.
        self._opening: tuple[datetime, datetime] | None = None

    # ------------------------------------------------------------------ what is held

    async def holdings(self) -> tuple[dict[Symbol, Decimal], Decimal, int]:
        """Positions, cash, and the id of the newest fill they contain, of one instant."""

        async def work(connection: AsyncConnection) -> tuple[dict[Symbol, Decimal], Decimal, int]:
            rows = await self._all(
                connection,
                f"SELECT symbol, quantity FROM {SCHEMA}.v_positions WHERE account = :account",
            )
            cash = await self._one(
                connection,
                f"""SELECT (SELECT cash FROM {SCHEMA}.v_cash WHERE account = :account) AS cash,
                           (SELECT max(id) FROM {SCHEMA}.fills WHERE account = :account) AS newest""",
            )
            assert cash is not None
            held = {Symbol(row.symbol): row.quantity for row in rows}
            return held, cash.cash or ZERO, int(cash.newest or 0)

        return await self._db.run(work)

    async def adjustments(self, *, after: int) -> list[dict[str, Any]]:
        """What was held at the adoption, and shares that moved without a trade; the newer ones, oldest first."""

        async def work(connection: AsyncConnection) -> list[dict[str, Any]]:
            rows = await self._all(
                connection,
                f"""SELECT id, symbol, quantity, price, reason, entered_at FROM {SCHEMA}.adjustments
                    WHERE account = :account AND id > :after ORDER BY id""",
                after=after,
            )
            return [dict(row._mapping) for row in rows]

        return await self._db.run(work)

    # ------------------------------------------------------------------ booking evidence

    async def book(
        self,
        orders: Sequence[BrokerOrder],
        executions: Sequence[BrokerExecution],
        frames: Sequence[Frame] = (),
        *,
        at: datetime,
        is_whole: bool = False,
    ) -> Booked:
        """Merge evidence into orders, ledger and intents, and plan the protection that follows.

        Args:
            orders: with legs nested where the broker nests them.
            is_whole: whether `orders` lists everything, nested, so that an order unknown to us that
                stands on top is somebody else's.

        Raises:
            InvalidInput: the evidence breaks what the ledger holds to be possible; nothing was stored.
        """

        async def work(connection: AsyncConnection) -> Booked:
            await self._insert_frames(connection, frames, at)
            if not orders and not executions:
                return Booked()
            batch = _Batch(at)
            await self._load(connection, batch, orders, executions)
            if is_whole or executions:
                await self._load_opening(connection, batch)
            batch.executed = {
                e.broker_order_id
                for e in executions
                if batch.ledger_from is None or e.executed_at > batch.ledger_from
            }
            for seen in orders:
                self._merge_tree(batch, seen, None, is_whole=is_whole)
            await self._book_executions(connection, batch, executions)
            self._follow_intents(batch)
            await self._write(connection, batch)
            touched = {batch.records[order_id].symbol for order_id in batch.changed}
            has_held_back = await self._protection.plan(connection, touched, at)
            return Booked(
                fills=tuple(
                    Fill(
                        f["execution_id"], f["intent_id"] or "", Symbol(f["symbol"]), Side(f["side"]),
                        f["quantity"], f["price"],
                    )
                    for f in batch.fills
                ),
                unexplained=tuple(sorted(batch.unexplained)),
                incomplete=tuple(
                    sorted(
                        r.broker_order_id
                        for r in batch.records.values()
                        if r.booked_quantity < r.filled_quantity
                    )
                ),
                forgotten=tuple(
                    sorted(
                        record.client_order_id
                        for record, _ in batch.external
                        if record.client_order_id.startswith(CLIENT_ORDER_PREFIX)
                        and record.client_order_id not in batch.intents
                    )
                ),
                has_held_back=has_held_back,
            )  # fmt: skip

        try:
            return await self._db.run(work)
        except (IntegrityError, DataError) as error:
            raise InvalidInput(f"the ledger refuses it: {error.orig}"[:500]) from error

    async def _load(
        self,
        connection: AsyncConnection,
        batch: _Batch,
        orders: Sequence[BrokerOrder],
        executions: Sequence[BrokerExecution],
    ) -> None:
        flat = [seen for order in orders for seen in (order, *order.legs)]
        order_ids = {seen.broker_order_id for seen in flat} | {
            e.broker_order_id for e in executions
        }
        rows = await self._all(
            connection,
            f"""SELECT {ORDER_COLUMNS} FROM {SCHEMA}.orders
                WHERE account = :account AND broker_order_id = ANY(:ids)
                ORDER BY broker_order_id FOR UPDATE""",
            ids=sorted(order_ids),
        )
        batch.records = {record.broker_order_id: record for record in map(order_of, rows)}
        names = {seen.client_order_id for seen in flat}
        names |= {r.intent_id for r in batch.records.values() if r.intent_id is not None}
        rows = await self._all(
            connection,
            f"""SELECT {INTENT_COLUMNS} FROM {SCHEMA}.intents
                WHERE account = :account AND client_order_id = ANY(:ids)
                ORDER BY client_order_id FOR UPDATE""",
            ids=sorted(names),
        )
        batch.intents = {intent.client_order_id: intent for intent in map(intent_of, rows)}

    async def _load_opening(self, connection: AsyncConnection, batch: _Batch) -> None:
        if self._opening is None:
            row = await self._one(
                connection,
                f"SELECT adopted_at, ledger_from FROM {SCHEMA}.accounts WHERE account = :account",
            )
            if row is None:
                return
            self._opening = (row.adopted_at, row.ledger_from)
        batch.adopted_at, batch.ledger_from = self._opening

    def _merge_tree(
        self, batch: _Batch, seen: BrokerOrder, parent: OrderRecord | None, *, is_whole: bool
    ) -> None:
        record = batch.records.get(seen.broker_order_id)
        intent = batch.intents.get(seen.client_order_id)
        if record is None:
            if intent is not None and difference_to(intent, seen) is not None:
                intent = None
            if intent is None and parent is None and not is_whole:
                batch.unexplained.add(seen.broker_order_id)
                return
            was_over = intent is None and parent is None and _was_over(seen, batch)
            standing = [leg for leg in seen.legs if _stands(leg)]
            if was_over and not standing:
                return
            intent_id = None
            if intent is not None:
                intent_id = intent.client_order_id
            elif parent is not None:
                intent_id = parent.intent_id
            record = first_record(
                seen,
                parent_order_id=None if parent is None else parent.broker_order_id,
                intent_id=intent_id,
                side=None if intent is None else intent.side,
            )
            batch.changed.add(record.broker_order_id)
            if was_over:
                # It is kept for its legs' sake; what it filled is inside the opening figures.
                record = replace(record, booked_quantity=record.filled_quantity)
            if intent_id is None and parent is None:
                shown = standing if was_over else [seen]
                if was_over and any(leg.broker_order_id in batch.records for leg in standing):
                    shown = []  # they were told of when they were seen alone
                batch.external.append((record, shown))
        else:
            news = merged(record, seen)
            if parent is not None and record.parent_order_id is None:
                news = replace(news, parent_order_id=parent.broker_order_id)
            if news != record:
                batch.changed.add(news.broker_order_id)
            record = news
        batch.records[record.broker_order_id] = record
        for leg in seen.legs:
            self._merge_tree(batch, leg, record, is_whole=is_whole)

    async def _book_executions(
        self, connection: AsyncConnection, batch: _Batch, executions: Sequence[BrokerExecution]
    ) -> None:
        if not executions:
            return
        rows = await self._all(
            connection,
            f"""SELECT broker_order_id, execution_id, cumulative_quantity, quantity, price, executed_at
                FROM {SCHEMA}.fills WHERE account = :account AND broker_order_id = ANY(:ids)""",
            ids=sorted({e.broker_order_id for e in executions}),
        )
        booked: dict[str, list[tuple[str, Decimal | None, Decimal, Decimal]]] = {}
        since_opening: dict[str, Decimal] = {}
        for row in rows:
            booked.setdefault(row.broker_order_id, []).append(
                (row.execution_id, row.cumulative_quantity, row.quantity, row.price)
            )
            if batch.ledger_from is not None and row.executed_at > batch.ledger_from:
                total = since_opening.get(row.broker_order_id, ZERO) + row.quantity
                since_opening[row.broker_order_id] = total
        within, later = _parted_by_opening(executions, batch)
        for order_id, opening in within.items():
            record = batch.records.get(order_id)
            if record is not None:
                self._count_opening(batch, record, opening + since_opening.get(order_id, ZERO))
        for execution in later:
            record = batch.records.get(execution.broker_order_id)
            if record is None:
                batch.unexplained.add(execution.broker_order_id)
                continue
            known = booked.setdefault(execution.broker_order_id, [])
            if any(is_same_execution(execution, *one) for one in known):
                continue
            known.append(
                (execution.execution_id, execution.cumulative, execution.quantity, execution.price)
            )
            total = record.booked_quantity + execution.quantity
            batch.records[record.broker_order_id] = replace(
                record,
                booked_quantity=total,
                filled_quantity=max(record.filled_quantity, total),
            )
            batch.changed.add(record.broker_order_id)
            batch.fills.append(
                {
                    "account": self.account,
                    "execution_id": execution.execution_id,
                    "broker_order_id": record.broker_order_id,
                    "intent_id": record.intent_id,
                    "symbol": record.symbol,
                    "side": record.side.value,
                    "quantity": execution.quantity,
                    "price": execution.price,
                    "cumulative": execution.cumulative,
                    "executed_at": execution.executed_at,
                    "at": batch.at,
                }
            )

    @staticmethod
    def _count_opening(batch: _Batch, record: OrderRecord, booked: Decimal) -> None:
        """What an order filled before the ledger began is inside the opening figures: counted, and no fill of ours."""
        if booked <= record.booked_quantity:
            return
        batch.records[record.broker_order_id] = replace(
            record, booked_quantity=booked, filled_quantity=max(record.filled_quantity, booked)
        )
        batch.changed.add(record.broker_order_id)

    def _follow_intents(self, batch: _Batch) -> None:
        """Move each intent to where its own order has come; legs do not move it."""
        for order_id in batch.changed:
            record = batch.records[order_id]
            intent = batch.intents.get(record.client_order_id)
            if intent is None or record.intent_id != intent.client_order_id:
                continue
            batch.intents[intent.client_order_id] = replace(
                intent,
                state=intent_after(intent.state, record),
                quantity=_quantity_now(intent, record),
                filled_quantity=record.booked_quantity,
                broker_order_id=record.broker_order_id,
            )
            batch.new_states[intent.client_order_id] = intent.state

    async def _write(self, connection: AsyncConnection, batch: _Batch) -> None:
        rows = [
            {**_order_row(batch.records[order_id]), "account": self.account, "at": batch.at}
            for order_id in sorted(
                batch.changed, key=lambda i: (batch.records[i].parent_order_id is not None, i)
            )
        ]
        if rows:
            await connection.execute(_UPSERT_ORDER, rows)
        moved = [batch.intents[name] for name in sorted(batch.new_states)]
        if moved:
            await connection.execute(
                _MOVE_INTENT,
                [
                    {
                        "account": self.account,
                        "id": intent.client_order_id,
                        "state": intent.state.value,
                        "quantity": intent.quantity,
                        "filled": intent.filled_quantity,
                        "broker_id": intent.broker_order_id,
                        "at": batch.at,
                        "ended_at": batch.at if intent.state.is_final else None,
                    }
                    for intent in moved
                ],
            )
        if batch.fills:
            # Ids of fills become visible in the order of commit, so that a mark never leaves one out.
            await lock(connection, f"ledger:{self.account}")
            await connection.execute(_INSERT_FILL, batch.fills)
            await self._mark(connection)
        for fill in batch.fills:
            value = Fill(
                fill["execution_id"], fill["intent_id"] or "", Symbol(fill["symbol"]),
                Side(fill["side"]), fill["quantity"], fill["price"],
            )  # fmt: skip
            await self._outbox.append(
                connection,
                topic=EXECUTIONS,
                key=value.execution_id,
                payload=EXECUTION.encode(value),
                at=batch.at,
            )
        for record, shown in batch.external:
            if not shown:
                continue
            await self._differences.open_within(
                connection, "EXTERNAL_ORDER", record.broker_order_id, record.symbol,
                ours="no such order",
                theirs="; ".join(
                    f"{one.side or record.side} {one.quantity} {one.type} {one.status}" for one in shown
                ),
                evidence=dict(shown[0].raw), at=batch.at,
            )  # fmt: skip

    async def _mark(self, connection: AsyncConnection) -> None:
        """Sum up what came since the newest mark, once that is enough to be worth it."""
        row = await self._one(
            connection,
            f"""SELECT count(*) AS since, max(id) AS through_id FROM (
                    SELECT id FROM {SCHEMA}.fills
                    WHERE account = :account AND id > {_NEWEST_MARK}
                    ORDER BY id LIMIT {FILLS_PER_MARK}) AS newest""",
        )
        assert row is not None
        if row.since < FILLS_PER_MARK:
            return
        await self._do(
            connection,
            f"""WITH before AS (SELECT {_NEWEST_MARK} AS id),
                cash AS (
                    SELECT coalesce((SELECT cash FROM {SCHEMA}.cash_marks, before
                                     WHERE account = :account AND through_id = before.id), 0)
                        + sum(CASE side WHEN 'buy' THEN -quantity * price ELSE quantity * price END - fee)
                        AS cash
                    FROM {SCHEMA}.fills, before
                    WHERE account = :account AND fills.id > before.id AND fills.id <= :through),
                held AS (
                    SELECT symbol, sum(quantity) AS quantity FROM (
                        SELECT symbol, quantity FROM {SCHEMA}.position_marks, before
                        WHERE account = :account AND through_id = before.id
                        UNION ALL
                        SELECT symbol, CASE side WHEN 'buy' THEN quantity ELSE -quantity END
                        FROM {SCHEMA}.fills, before
                        WHERE account = :account AND fills.id > before.id AND fills.id <= :through) AS moves
                    GROUP BY symbol),
                marked AS (
                    INSERT INTO {SCHEMA}.cash_marks (account, through_id, cash)
                    SELECT :account, :through, cash FROM cash RETURNING through_id)
                INSERT INTO {SCHEMA}.position_marks (account, through_id, symbol, quantity)
                SELECT :account, marked.through_id, symbol, quantity FROM held, marked""",
            through=row.through_id,
        )


def _quantity_now(intent: Intent, record: OrderRecord) -> Decimal:
    """Shares that the intent stands for, now that its order's `record` is known."""
    if intent.notional is not None:
        return max(record.quantity or intent.quantity, record.booked_quantity)
    if intent.replaces is None or record.quantity is None:
        # A split may have made its order larger.
        return max(intent.quantity, record.booked_quantity)
    # What the replaced order filled is not this one's to fill any more.
    return max(min(intent.quantity, record.quantity), record.booked_quantity)


def _parted_by_opening(
    executions: Sequence[BrokerExecution], batch: _Batch
) -> tuple[dict[str, Decimal], list[BrokerExecution]]:
    """Shares that orders not of ours had filled when the ledger began, as far as is told, and what is to be booked."""
    within: dict[str, Decimal] = {}
    later = []
    for execution in executions:
        record = batch.records.get(execution.broker_order_id)
        is_ours = record is not None and record.intent_id is not None
        if is_ours or batch.ledger_from is None or execution.executed_at > batch.ledger_from:
            later.append(execution)
            continue
        told = within.get(execution.broker_order_id, ZERO)
        within[execution.broker_order_id] = max(
            told, execution.cumulative or told + execution.quantity
        )
    return within, later


def _stands(order: BrokerOrder) -> bool:
    status = known_status(order.status)
    return status is None or not status.is_final


def _was_over(seen: BrokerOrder, batch: _Batch) -> bool:
    """Whether an order had begun and ended before the account was adopted."""
    status = known_status(seen.status)
    return (
        batch.adopted_at is not None
        and status is not None
        and status.is_final
        and seen.submitted_at is not None
        and seen.submitted_at <= batch.adopted_at
        and seen.broker_order_id not in batch.executed
    )


def _order_row(record: OrderRecord) -> dict[str, Any]:
    values = {name: getattr(record, name) for name in ORDER_NAMES}
    return {**values, "side": record.side.value, "status": record.status.value}


_MOVE_INTENT = text(
    f"""UPDATE {SCHEMA}.intents
        SET state = :state, quantity = :quantity, filled_quantity = :filled, broker_order_id = :broker_id,
            sent_at = coalesce(sent_at, :at), ended_at = coalesce(ended_at, CAST(:ended_at AS timestamptz))
        WHERE account = :account AND client_order_id = :id"""
)

_UPSERT_ORDER = text(
    f"""INSERT INTO {SCHEMA}.orders (account, {ORDER_COLUMNS}, first_seen_at)
        VALUES (:account, {", ".join(f":{name}" for name in ORDER_NAMES)}, :at)
        ON CONFLICT (account, broker_order_id) DO UPDATE SET
            {", ".join(f"{name} = EXCLUDED.{name}" for name in ORDER_NAMES if name != "broker_order_id")}"""
)

_INSERT_FILL = text(
    f"""INSERT INTO {SCHEMA}.fills
        (account, execution_id, broker_order_id, intent_id, symbol, side, quantity, price,
         cumulative_quantity, executed_at, booked_at)
    VALUES (:account, :execution_id, :broker_order_id, :intent_id, :symbol, :side, :quantity, :price,
            :cumulative, :executed_at, :at)"""
)
