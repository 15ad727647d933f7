"""Which shares lost their stop and target, and what is planned for them?

`lifecycle.protection_needed` decides; here its circumstances are read and the intent is written, in the transaction
of whatever laid the shares bare.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.postgres import Database
from shared.domain.ids import client_order_id
from shared.domain.money import plain
from shared.domain.orders import OrderClass, OrderType, TimeInForce
from shared.domain.symbols import Symbol
from trade_executor.lifecycle import (
    MAX_PROTECTION_REFUSALS,
    Holding,
    Intent,
    IntentPurpose,
    protection_needed,
)
from trade_executor.store.differences import Differences
from trade_executor.store.tables import (
    FINAL,
    INSERT_INTENT,
    INTENT_COLUMNS,
    LIVE,
    ORDER_COLUMNS,
    SCHEMA,
    ZERO,
    Tables,
    intent_of,
    order_of,
)

# Protection stands until it is used or withdrawn; this only bounds how long it may wait to be sent.
_PROTECTION_LASTS = timedelta(days=90)


class Protection(Tables):
    """Stops and targets for shares whose bracket could not keep them."""

    def __init__(self, db: Database, account: str, differences: Differences) -> None:
        super().__init__(db, account)
        self._differences = differences

    async def cover_bare_positions(self, *, at: datetime) -> bool:
        """Plan protection wherever shares lost it; True when there is something to send."""

        async def work(connection: AsyncConnection) -> bool:
            rows = await self._all(
                connection, f"SELECT symbol FROM {SCHEMA}.v_positions WHERE account = :account"
            )
            return await self.plan(connection, {Symbol(row.symbol) for row in rows}, at)

        return await self._db.run(work)

    async def withdraw_surplus(self, *, at: datetime) -> bool:
        """Ask to cancel stops and targets of more shares than are held or owed; True when there are some.

        When somebody else has closed a position, a broker that buys a short one in for instance, they would open one on
        the other side. What is left of the position is planned for anew where they end.
        """

        async def work(connection: AsyncConnection) -> bool:
            asked = await self._all(
                connection,
                f"""WITH guards AS (
                        SELECT o.broker_order_id, o.symbol, o.side, o.type, o.quantity - o.filled_quantity AS rest
                        FROM {SCHEMA}.orders o
                        JOIN {SCHEMA}.intents i ON i.account = o.account AND i.client_order_id = o.intent_id
                        WHERE o.account = :account AND o.status NOT IN {FINAL}
                          AND (i.purpose = 'protect'
                            OR i.purpose = 'entry' AND o.side <> i.side AND i.state NOT IN {LIVE})),
                    surplus AS (
                        SELECT g.symbol, g.side FROM guards g
                        LEFT JOIN {SCHEMA}.v_positions p ON p.account = :account AND p.symbol = g.symbol
                        WHERE g.type IN ('stop', 'stop_limit') AND NOT EXISTS (
                            SELECT FROM {SCHEMA}.orders late WHERE late.account = :account
                              AND late.symbol = g.symbol AND late.booked_quantity < late.filled_quantity)
                        GROUP BY g.symbol, g.side, p.quantity
                        HAVING sum(g.rest) > greatest(0,
                            CASE g.side WHEN 'sell' THEN 1 ELSE -1 END * coalesce(p.quantity, 0)))
                    UPDATE {SCHEMA}.orders SET cancel_asked_at = :at
                    WHERE account = :account AND cancel_asked_at IS NULL AND broker_order_id IN (
                        SELECT broker_order_id FROM guards JOIN surplus USING (symbol, side))
                    RETURNING broker_order_id""",
                at=at,
            )
            return bool(asked)

        return await self._db.run(work)

    async def plan(
        self, connection: AsyncConnection, symbols: Iterable[Symbol], at: datetime
    ) -> bool:
        """Write the protection that shares of `symbols` need now; True when there is some to send."""
        made_work = False
        for symbol in sorted(symbols):
            quantity = await self._position(connection, symbol)
            if quantity == 0 or await self._awaits_fills(connection, symbol):
                continue
            holding = await self._holding(connection, symbol, quantity)
            bare = protection_needed(holding)
            if bare > 0 and holding.last_bracket is not None:
                await connection.execute(
                    INSERT_INTENT,
                    [
                        _protection_row(
                            self.account, holding.last_bracket, bare, holding.protections, at
                        )
                    ],
                )
                made_work = True
        return made_work

    async def _awaits_fills(self, connection: AsyncConnection, symbol: Symbol) -> bool:
        """Whether shares have moved at the broker that the ledger does not show yet: what is held is not known then."""
        row = await self._one(
            connection,
            f"""SELECT 1 FROM {SCHEMA}.orders
                WHERE account = :account AND symbol = :symbol AND booked_quantity < filled_quantity LIMIT 1""",
            symbol=symbol,
        )
        return row is not None

    async def _holding(
        self, connection: AsyncConnection, symbol: Symbol, quantity: Decimal
    ) -> Holding:
        entry = await self._one(
            connection,
            f"""SELECT {INTENT_COLUMNS} FROM {SCHEMA}.intents
                WHERE account = :account AND symbol = :symbol AND order_class = 'bracket'
                  AND purpose = 'entry' AND filled_quantity > 0
                ORDER BY sequence DESC LIMIT 1""",
            symbol=symbol,
        )
        if entry is None:
            return Holding(
                quantity, (), (), None, ZERO, has_known_legs=False, protections=0, refused=0
            )
        live = await self._all(
            connection,
            f"""SELECT {INTENT_COLUMNS} FROM {SCHEMA}.intents
                WHERE account = :account AND symbol = :symbol AND state IN {LIVE}""",
            symbol=symbol,
        )
        opened = await self._all(
            connection,
            f"""SELECT {ORDER_COLUMNS} FROM {SCHEMA}.orders
                WHERE account = :account AND symbol = :symbol AND status NOT IN {FINAL}""",
            symbol=symbol,
        )
        counts = await self._one(
            connection,
            f"""SELECT count(*) AS made, count(*) FILTER (WHERE state = 'REJECTED') AS refused,
                    EXISTS (SELECT FROM {SCHEMA}.orders WHERE account = :account
                        AND parent_order_id = :entry_order) AS legs
                FROM {SCHEMA}.intents
                WHERE account = :account AND signal_id = :signal AND leg = 'protect'""",
            signal=entry.signal_id,
            entry_order=entry.broker_order_id,
        )
        assert counts is not None
        return Holding(
            quantity=quantity,
            live_intents=tuple(map(intent_of, live)),
            open_orders=tuple(map(order_of, opened)),
            last_bracket=intent_of(entry),
            bracket_shares=await self._bracket_shares(connection, intent_of(entry), quantity),
            has_known_legs=counts.legs,
            protections=int(counts.made),
            refused=int(counts.refused),
        )

    async def _bracket_shares(
        self, connection: AsyncConnection, entry: Intent, quantity: Decimal
    ) -> Decimal:
        """Shares of `entry` that are still held: shares bought bare, or later, are not its to guard."""
        row = await self._one(
            connection,
            f"""WITH bought AS (
                    SELECT max(id) AS last_id FROM {SCHEMA}.fills
                    WHERE account = :account AND broker_order_id = :order_id),
                later AS (
                    SELECT f.intent_id, f.side, f.quantity,
                           sum(CASE f.side WHEN :side THEN f.quantity ELSE -f.quantity END)
                               OVER (ORDER BY f.id DESC) AS gained_since
                    FROM {SCHEMA}.fills f, bought
                    WHERE f.account = :account AND f.symbol = :symbol AND f.id > bought.last_id)
                SELECT coalesce(max(gained_since), 0) AS gained,
                       coalesce(sum(quantity) FILTER (WHERE side <> :side AND intent_id IN (
                            SELECT client_order_id FROM {SCHEMA}.intents
                            WHERE account = :account AND decision_id = :decision)), 0) AS sold
                FROM later""",
            order_id=entry.broker_order_id,
            side=entry.side.value,
            symbol=entry.symbol,
            decision=entry.decision_id,
        )
        assert row is not None
        # What was held when least was held since the entry filled.
        least: Decimal = quantity * entry.side.sign - max(row.gained, ZERO)
        unsold: Decimal = entry.filled_quantity - row.sold
        return max(ZERO, min(unsold, least))

    async def note_refusal(
        self, connection: AsyncConnection, intent: Intent, reason: str, at: datetime
    ) -> None:
        """After the last refusal in a row a person has to see it."""
        if intent.generation + 1 < MAX_PROTECTION_REFUSALS:
            return
        await self._differences.open_within(
            connection, "PROTECTION_REFUSED", intent.client_order_id, intent.symbol,
            ours=f"OCO for {plain(intent.quantity)} shares", theirs=reason, evidence={}, at=at,
        )  # fmt: skip


def _protection_row(
    account: str, entry: Intent, quantity: Decimal, generation: int, at: datetime
) -> dict[str, Any]:
    """An OCO with the entry's own stop and target for shares that lost theirs."""
    return {
        "account": account,
        "id": client_order_id(account, entry.signal_id, IntentPurpose.PROTECT.value, generation),
        "decision_id": entry.decision_id,
        "signal_id": entry.signal_id,
        "symbol": entry.symbol,
        "side": entry.side.opposite.value,
        "purpose": IntentPurpose.PROTECT.value,
        "leg": IntentPurpose.PROTECT.value,
        "generation": generation,
        "type": OrderType.LIMIT.value,
        "time_in_force": TimeInForce.GTC.value,
        "order_class": OrderClass.OCO.value,
        "quantity": quantity,
        "limit_price": entry.take_profit,
        "stop_price": None,
        "stop_loss": entry.stop_loss,
        "take_profit": entry.take_profit,
        "trail_price": None,
        "trail_percent": None,
        "stop_loss_limit": entry.stop_loss_limit,
        "extended_hours": False,
        "replaces": None,
        "notional": None,
        "reference_price": entry.reference_price,
        "act_from": at,
        "act_until": at + _PROTECTION_LASTS,
        "at": at,
    }
