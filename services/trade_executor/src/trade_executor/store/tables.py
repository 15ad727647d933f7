"""How are rows of one account read and written?

Column lists, the way back from rows to values, and the statements that several parts need. What is decided
stands in `lifecycle`; which rows a decision touches stands in the part named after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import orjson
from sqlalchemy import Row, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.postgres import Database
from shared.domain.orders import IntentState, OrderClass, OrderStatus, OrderType, Side, TimeInForce
from shared.domain.symbols import Symbol
from trade_executor.lifecycle import Intent, IntentPurpose, OrderRecord

SCHEMA = "trade_executor"
LIVE = "('PENDING', 'SENDING', 'UNKNOWN', 'ACKED', 'PARTIAL')"
FINAL = "('filled', 'canceled', 'expired', 'replaced', 'rejected')"
ZERO = Decimal(0)
_MAX_RAW = 64 * 1024
_SPLITS = "('SPLIT', 'SSP')"


@dataclass(frozen=True, slots=True)
class Frame:
    """One line of evidence as it came, kept before anybody understood it."""

    raw: str
    event: str | None = None
    broker_order_id: str | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Growth:
    """What a fill of one symbol counts in the shares of today: up to each of `last_fills` its factor, later ones as they are.

    A fill is under the least that is not below its id.
    """

    last_fills: tuple[int, ...] = ()
    factors: tuple[Decimal, ...] = ()

    def values(self) -> dict[str, list[Any]]:
        """What `GROWN` asks for."""
        return {"last_fills": list(self.last_fills), "factors": list(self.factors)}


# The factor of a fill `f`.
GROWN = """coalesce((
    SELECT s.factor FROM unnest(CAST(:last_fills AS bigint[]), CAST(:factors AS numeric[])) AS s(last_fill, factor)
    WHERE f.id <= s.last_fill ORDER BY s.last_fill LIMIT 1), 1)"""


class Tables:
    """The tables of one account; each part of the store adds what it decides."""

    def __init__(self, db: Database, account: str) -> None:
        self._db = db
        self.account = account

    async def _do(self, connection: AsyncConnection, statement: str, **values: Any) -> None:
        await connection.execute(statement_of(statement), {"account": self.account, **values})

    async def _one(
        self, connection: AsyncConnection, statement: str, **values: Any
    ) -> Row[Any] | None:
        result = await connection.execute(
            statement_of(statement), {"account": self.account, **values}
        )
        return result.first()

    async def _all(
        self, connection: AsyncConnection, statement: str, **values: Any
    ) -> Sequence[Row[Any]]:
        result = await connection.execute(
            statement_of(statement), {"account": self.account, **values}
        )
        return result.all()

    async def _insert_frames(
        self, connection: AsyncConnection, frames: Sequence[Frame], at: datetime
    ) -> None:
        if frames:
            await connection.execute(
                _INSERT_FRAME,
                [
                    {
                        "account": self.account,
                        "order_id": frame.broker_order_id,
                        "event": frame.event,
                        "raw": frame.raw.replace("\x00", "")[:_MAX_RAW],
                        "problem": frame.problem,
                        "at": at,
                    }
                    for frame in frames
                ],
            )

    async def _end(
        self,
        connection: AsyncConnection,
        intent: Intent,
        from_states: Sequence[IntentState],
        state: IntentState,
        why: str,
        at: datetime,
    ) -> None:
        assert all(one.may_become(state) for one in from_states)
        await self._do(
            connection,
            f"""UPDATE {SCHEMA}.intents SET state = :state, reason = :why, ended_at = :at
                WHERE account = :account AND client_order_id = :id AND state = ANY(:from_states)""",
            state=state.value,
            why=why[:500],
            at=at,
            id=intent.client_order_id,
            from_states=[one.value for one in from_states],
        )

    async def _position(self, connection: AsyncConnection, symbol: Symbol) -> Decimal:
        row = await self._one(
            connection,
            f"SELECT quantity FROM {SCHEMA}.v_positions WHERE account = :account AND symbol = :symbol",
            symbol=symbol,
        )
        return ZERO if row is None else row.quantity

    async def _growth(self, connection: AsyncConnection, symbol: Symbol) -> Growth:
        """What fills of `symbol` count in the shares of today."""
        rows = await self._all(
            connection,
            f"""SELECT s.held_before, s.quantity, (
                    SELECT coalesce(max(a.after_fill), (
                        SELECT max(f.id) FROM {SCHEMA}.fills f
                        WHERE f.account = s.account AND f.symbol = s.symbol AND f.booked_at <= s.booked_at), 0)
                    FROM {SCHEMA}.adjustments a
                    WHERE a.account = s.account AND a.symbol = s.symbol AND a.entered_at = s.booked_at
                      AND a.reason IN {_SPLITS}) AS last_fill
                FROM {SCHEMA}.v_splits s WHERE s.account = :account AND s.symbol = :symbol
                ORDER BY last_fill DESC""",
            symbol=symbol,
        )
        grown, factors = Fraction(1), {}
        for row in rows:
            grown *= Fraction(row.held_before + row.quantity) / Fraction(row.held_before)
            factors[int(row.last_fill)] = Decimal(grown.numerator) / Decimal(grown.denominator)
        return Growth(tuple(factors), tuple(factors.values()))

    async def _unsold(
        self, connection: AsyncConnection, entries: Sequence[Intent], growth: Growth
    ) -> dict[str, Decimal]:
        """Shares of today that each of `entries` of one symbol, by client id, brought and its own orders did not sell."""
        if not entries:
            return {}
        rows = await self._all(
            connection,
            f"""SELECT i.decision_id, i.client_order_id, f.side, sum(f.quantity * {GROWN}) AS shares
                FROM {SCHEMA}.intents i
                JOIN {SCHEMA}.orders o ON o.account = i.account AND o.intent_id = i.client_order_id
                JOIN {SCHEMA}.fills f ON f.account = o.account AND f.broker_order_id = o.broker_order_id
                WHERE i.account = :account AND i.symbol = :symbol AND i.decision_id = ANY(:decisions)
                GROUP BY i.decision_id, i.client_order_id, f.side""",
            symbol=entries[0].symbol,
            decisions=[entry.decision_id for entry in entries],
            **growth.values(),
        )
        brought = {(row.client_order_id, row.side): row.shares for row in rows}
        sold: dict[tuple[str, str], Decimal] = {}
        for row in rows:
            of_decision = (row.decision_id, row.side)
            sold[of_decision] = sold.get(of_decision, ZERO) + row.shares
        return {
            entry.client_order_id: brought.get((entry.client_order_id, entry.side.value), ZERO)
            - sold.get((entry.decision_id, entry.side.opposite.value), ZERO)
            for entry in entries
        }


def statement_of(statement: str) -> TextClause:
    """The compiled statement of that text, made once."""
    # Statements are made of constants here; values only ever travel as parameters.
    cached = _STATEMENTS.get(statement)
    if cached is None:
        cached = _STATEMENTS[statement] = text(statement)
    return cached


_STATEMENTS: dict[str, TextClause] = {}


def as_json(value: Mapping[str, Any]) -> str:
    """`value` as PostgreSQL takes it: without the one character that no text of it may hold."""
    return orjson.dumps(value, default=str).decode().replace("\\u0000", "")


INTENT_NAMES = (
    "client_order_id", "decision_id", "signal_id", "symbol", "side", "purpose", "generation", "type",
    "time_in_force", "order_class", "quantity", "filled_quantity", "limit_price", "stop_price", "stop_loss",
    "take_profit", "reference_price", "state", "broker_order_id", "act_from", "act_until", "posts", "probes",
    "sent_at", "trail_price", "trail_percent", "stop_loss_limit", "extended_hours", "replaces", "notional",
)  # fmt: skip

INTENT_COLUMNS = ", ".join(INTENT_NAMES)

ORDER_NAMES = (
    "broker_order_id", "client_order_id", "parent_order_id", "intent_id", "symbol", "side", "type",
    "order_class", "status", "quantity", "filled_quantity", "filled_average_price", "limit_price",
    "stop_price", "submitted_at", "updated_at", "booked_quantity",
)  # fmt: skip

ORDER_COLUMNS = ", ".join(ORDER_NAMES)


def prefixed_intent_columns(alias: str) -> str:
    """An intent's columns where its table is called `alias`."""
    return ", ".join(f"{alias}.{name}" for name in INTENT_NAMES)


def intent_of(row: Row[Any]) -> Intent:
    """The intent in `row`."""
    return Intent(
        client_order_id=row.client_order_id,
        decision_id=row.decision_id,
        signal_id=row.signal_id,
        symbol=Symbol(row.symbol),
        side=Side(row.side),
        purpose=IntentPurpose(row.purpose),
        generation=row.generation,
        type=OrderType(row.type),
        time_in_force=TimeInForce(row.time_in_force),
        order_class=OrderClass(row.order_class),
        quantity=row.quantity,
        filled_quantity=row.filled_quantity,
        limit_price=row.limit_price,
        stop_price=row.stop_price,
        stop_loss=row.stop_loss,
        take_profit=row.take_profit,
        reference_price=row.reference_price,
        state=IntentState(row.state),
        broker_order_id=row.broker_order_id,
        act_from=row.act_from,
        act_until=row.act_until,
        posts=row.posts,
        probes=row.probes,
        sent_at=row.sent_at,
        trail_price=row.trail_price,
        trail_percent=row.trail_percent,
        stop_loss_limit=row.stop_loss_limit,
        extended_hours=row.extended_hours,
        replaces=row.replaces,
        notional=row.notional,
    )


def order_of(row: Row[Any]) -> OrderRecord:
    """The order in `row`."""
    return OrderRecord(
        broker_order_id=row.broker_order_id,
        client_order_id=row.client_order_id,
        parent_order_id=row.parent_order_id,
        intent_id=row.intent_id,
        symbol=Symbol(row.symbol),
        side=Side(row.side),
        type=row.type,
        order_class=row.order_class,
        status=OrderStatus(row.status),
        quantity=row.quantity,
        filled_quantity=row.filled_quantity,
        filled_average_price=row.filled_average_price,
        limit_price=row.limit_price,
        stop_price=row.stop_price,
        submitted_at=row.submitted_at,
        updated_at=row.updated_at,
        booked_quantity=row.booked_quantity,
    )


INSERT_INTENT = text(
    f"""INSERT INTO {SCHEMA}.intents
        (account, client_order_id, decision_id, signal_id, symbol, side, purpose, leg, generation, type,
         time_in_force, order_class, quantity, limit_price, stop_price, stop_loss, take_profit,
         trail_price, trail_percent, stop_loss_limit, extended_hours, replaces, notional, reference_price, state,
         act_from, act_until, created_at)
    VALUES (:account, :id, :decision_id, :signal_id, :symbol, :side, :purpose, :leg, :generation, :type,
            :time_in_force, :order_class, :quantity, :limit_price, :stop_price, :stop_loss, :take_profit,
            :trail_price, :trail_percent, :stop_loss_limit, :extended_hours, :replaces, :notional, :reference_price, 'PENDING',
            :act_from, :act_until, :at)
    ON CONFLICT DO NOTHING"""
)

_INSERT_FRAME = text(
    f"""INSERT INTO {SCHEMA}.order_events (account, broker_order_id, event, raw, problem, received_at)
        VALUES (:account, :order_id, :event, :raw, :problem, :at)"""
)
