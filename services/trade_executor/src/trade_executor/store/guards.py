"""Which orders that somebody gave at the broker hold the shares that an exit is to sell?

An exit of all that is held, at the market and at once, takes them out of its way and keeps what it takes to put them back, in one commit; any other
exit leaves them. `guarding` decides what can be put back; `Protection` does so for what such an exit left.
"""

from __future__ import annotations

from datetime import datetime

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.domain.money import plain
from trade_executor.guarding import guards_among
from trade_executor.lifecycle import Intent, OrderRecord
from trade_executor.market import meets_the_market
from trade_executor.store.tables import FINAL, ORDER_NAMES, SCHEMA, Tables, order_of

_log = structlog.get_logger(__name__)
_MOST_ORDERS = 500
_TIED = "('bracket', 'oco', 'oto')"
# Legs that wait for an entry to fill hold nothing, and cancelling one would cancel the entry.
STANDS = f"""o.status NOT IN {FINAL} AND o.intent_id IS NULL AND NOT EXISTS (
    SELECT FROM {SCHEMA}.orders entry WHERE entry.account = o.account
      AND entry.broker_order_id = o.parent_order_id AND entry.status NOT IN {FINAL} AND entry.side <> o.side)"""
_IS_LONELY = f"""o.order_class IN {_TIED} AND o.parent_order_id IS NULL AND NOT EXISTS (
    SELECT FROM {SCHEMA}.orders leg WHERE leg.account = o.account AND leg.parent_order_id = o.broker_order_id)"""
# Shares that a withdrawn guard `g`, and what was put in its place, sold since it was withdrawn.
SOLD_OF_GUARD = f"""(
    SELECT coalesce(sum(f.quantity), 0) FROM {SCHEMA}.fills f
    JOIN {SCHEMA}.orders o ON o.account = f.account AND o.broker_order_id = f.broker_order_id
    WHERE f.account = g.account AND f.symbol = g.symbol AND f.side = g.side AND f.booked_at >= g.withdrawn_at
      AND (o.broker_order_id IN (g.stop_order_id, g.target_order_id) OR o.intent_id IN (
          SELECT client_order_id FROM {SCHEMA}.intents i
          WHERE i.account = g.account AND i.signal_id = 'guard-' || g.stop_order_id)))"""
_COLUMNS = ", ".join(f"o.{name}" for name in ORDER_NAMES)


class Guards(Tables):
    """Stops and targets that are nobody's order of ours."""

    async def withdraw(self, exit_intent: Intent, *, at: datetime) -> tuple[OrderRecord, ...]:
        """Ask to cancel what holds the shares of an exit that sells all, and keep what puts it back; else leave it.

        To be asked once no order of ours can change what is held. An exit that may rest, at a limit or a stop, takes
        nothing away, nor one that waits for an auction: the shares would be bare as long. Returns what has to end before
        the exit may go.
        """
        if not meets_the_market(exit_intent.request()):
            return ()

        async def work(connection: AsyncConnection) -> tuple[OrderRecord, ...]:
            found = await self._all(
                connection,
                f"""SELECT {_COLUMNS}, {_IS_LONELY} AS is_lonely FROM {SCHEMA}.orders o
                    WHERE o.account = :account AND o.symbol = :symbol AND o.side = :side AND {STANDS}
                    ORDER BY o.broker_order_id LIMIT {_MOST_ORDERS} FOR UPDATE OF o""",
                symbol=exit_intent.symbol,
                side=exit_intent.side.value,
            )
            held = -exit_intent.side.sign * await self._position(connection, exit_intent.symbol)
            if not found or not 0 < held <= exit_intent.quantity:
                return ()
            orders = tuple(map(order_of, found))
            guards = guards_among(orders, {o.broker_order_id for o in found if o.is_lonely})
            if isinstance(guards, str):
                _log.warning(
                    "orders given at the broker are left in the way of an exit",
                    order=exit_intent.client_order_id,
                    symbol=exit_intent.symbol,
                    reason=guards,
                )
                return ()
            for guard in guards:
                await connection.execute(
                    _INSERT_GUARD,
                    {
                        "account": self.account,
                        "stop_order_id": guard.stop_order_id,
                        "target_order_id": guard.target_order_id,
                        "exit_id": exit_intent.client_order_id,
                        "symbol": exit_intent.symbol,
                        "side": exit_intent.side.value,
                        "quantity": guard.quantity,
                        "stop_price": guard.stop,
                        "stop_limit_price": guard.stop_limit,
                        "target_price": guard.target,
                        "at": at,
                    },
                )
            asked = await self._all(
                connection,
                f"""UPDATE {SCHEMA}.orders SET cancel_asked_at = :at
                    WHERE account = :account AND broker_order_id = ANY(:ids) AND cancel_asked_at IS NULL
                    RETURNING broker_order_id""",
                at=at,
                ids=[order.broker_order_id for order in orders],
            )
            if asked:
                _log.warning(
                    "orders given at the broker give way to an exit of all that is held",
                    order=exit_intent.client_order_id,
                    symbol=exit_intent.symbol,
                    cancelled=sorted(row.broker_order_id for row in asked),
                )
            return orders

        return await self._db.run(work)

    async def in_the_way_of(self, exit_intent: Intent) -> str | None:
        """What a person has to know of a refused exit: which orders given at the broker may hold its shares, if any."""

        async def work(connection: AsyncConnection) -> str | None:
            rows = await self._all(
                connection,
                f"""SELECT o.broker_order_id FROM {SCHEMA}.orders o
                    WHERE o.account = :account AND o.symbol = :symbol AND o.side = :side AND {STANDS}
                    ORDER BY o.sequence LIMIT 3""",
                symbol=exit_intent.symbol,
                side=exit_intent.side.value,
            )
            if not rows:
                return None
            held = -exit_intent.side.sign * await self._position(connection, exit_intent.symbol)
            mend = "cancel them there"
            if exit_intent.quantity < held or not meets_the_market(exit_intent.request()):
                mend += f", or leave all {plain(held)} shares at the market, at once"
            names = ", ".join(row.broker_order_id for row in rows)
            return (
                f"orders given at the broker hold shares of {exit_intent.symbol} ({names}); {mend}"
            )

        return await self._db.read(work)

    async def lonely(self) -> set[str]:
        """Open orders that somebody gave, each tied to another that we never saw."""

        async def work(connection: AsyncConnection) -> set[str]:
            rows = await self._all(
                connection,
                f"""SELECT o.broker_order_id FROM {SCHEMA}.orders o
                    WHERE o.account = :account AND {STANDS} AND {_IS_LONELY} LIMIT {_MOST_ORDERS}""",
            )
            return {str(row.broker_order_id) for row in rows}

        return await self._db.run(work)


_INSERT_GUARD = text(
    f"""INSERT INTO {SCHEMA}.withdrawn_guards
            (account, stop_order_id, target_order_id, exit_id, symbol, side, quantity, stop_price,
             stop_limit_price, target_price, withdrawn_at)
        VALUES (:account, :stop_order_id, :target_order_id, :exit_id, :symbol, :side, :quantity, :stop_price,
                :stop_limit_price, :target_price, :at)
        ON CONFLICT (account, stop_order_id) DO NOTHING"""
)
