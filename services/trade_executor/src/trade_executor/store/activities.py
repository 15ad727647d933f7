"""What is booked of the broker's activities beside trades?

Cash entries and adjustments named after the activity, so that each is booked once. After a split the stops and targets kept
for that symbol are put into its new shares, and so are exits at the market that have not left. After any move its entries wait until a person has looked: how many shares
those guard is for a person to settle.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.postgres import Database, lock
from shared.domain.activities import SPLITS, Activity, ShareMove
from shared.domain.money import plain
from shared.domain.symbols import Symbol
from trade_executor.approvals import in_new_shares
from trade_executor.guarding import DUST
from trade_executor.store.differences import Differences
from trade_executor.store.guards import SOLD_OF_GUARD
from trade_executor.store.tables import (
    INTENT_COLUMNS,
    SCHEMA,
    ZERO,
    Growth,
    Tables,
    as_json,
    intent_of,
)

_CENT = Decimal("0.01")
INSIDE_OPENING = "INSIDE_OPENING"
# Enough entries to explain any position.
_MOST_ENTRIES = 100


class Activities(Tables):
    """Dividends, fees, transfers and corporate actions in the ledger."""

    def __init__(self, db: Database, account: str, differences: Differences) -> None:
        super().__init__(db, account)
        self._differences = differences

    async def set_aside(self, activities: Sequence[Activity], *, at: datetime) -> None:
        """What the opening figures contain already is never booked again."""

        async def work(connection: AsyncConnection) -> None:
            for activity in activities:
                await self._enter(connection, activity, _key(activity), ZERO, INSIDE_OPENING, at)

        await self._db.run(work)

    async def book_cash(self, activities: Sequence[Activity], *, at: datetime) -> None:
        """Book the dollars of each activity once; what the broker took back is taken back here."""

        async def work(connection: AsyncConnection) -> None:
            await lock(connection, f"ledger:{self.account}")
            for activity in activities:
                key = _key(activity)
                if not activity.is_taken_back:
                    if activity.cash:
                        await self._enter(
                            connection, activity, key, activity.cash, activity.kind, at
                        )
                    continue
                booked = await self._one(
                    connection,
                    f"""SELECT amount FROM {SCHEMA}.cash_entries
                        WHERE account = :account AND key = :key AND amount <> 0""",
                    key=key,
                )
                if booked is not None:
                    back, kind = f"{key}:taken-back", f"{activity.kind}_TAKEN_BACK"
                    await self._enter(connection, activity, back, -booked.amount, kind, at)

        if activities:
            await self._db.run(work)

    async def unbooked_moves(self, activities: Sequence[Activity]) -> dict[Symbol, list[Activity]]:
        """Those that move shares and have not been booked, by symbol."""
        told = [a for a in activities if a.moves_shares]
        if not told:
            return {}

        async def work(connection: AsyncConnection) -> set[str]:
            rows = await self._all(
                connection,
                f"""SELECT key FROM {SCHEMA}.adjustments WHERE account = :account AND key = ANY(:keys)
                    UNION ALL
                    SELECT key FROM {SCHEMA}.cash_entries
                    WHERE account = :account AND key = ANY(:keys) AND reason = '{INSIDE_OPENING}'""",
                keys=[_key(activity) for activity in told],
            )
            return {row.key for row in rows}

        known = await self._db.run(work)
        found: dict[Symbol, list[Activity]] = {}
        for activity in told:
            if _key(activity) not in known and activity.symbol is not None:
                found.setdefault(activity.symbol, []).append(activity)
        return found

    async def book_moves(
        self, moves: Sequence[ShareMove], *, ours: Decimal, after_fill: int, at: datetime
    ) -> bool:
        """Book shares of one symbol that moved, of which `ours` were held after that fill; False when one came since."""
        symbol, after = moves[0].symbol, ours + sum((m.quantity for m in moves), ZERO)

        async def work(connection: AsyncConnection) -> bool:
            await lock(connection, f"ledger:{self.account}")
            came_since = await self._one(
                connection,
                f"""SELECT 1 FROM {SCHEMA}.fills
                    WHERE account = :account AND symbol = :symbol AND id > :after_fill LIMIT 1""",
                symbol=symbol,
                after_fill=after_fill,
            )
            if came_since is not None:
                return False
            before, growth = ours, await self._growth(connection, symbol)
            # One split may be told as all old shares that leave and all new ones that come.
            held: Decimal | None = None
            grown = ZERO
            keys: set[str] = set()
            for move in moves:
                key = _key(move.activity)
                # One activity may tell of the split and of the fraction that it left.
                key += ":fraction" if key in keys else ""
                keys.add(key)
                if move.reason in SPLITS:
                    if held is None:
                        held = grown = before
                    grown += move.quantity
                await self._do(
                    connection,
                    f"""INSERT INTO {SCHEMA}.adjustments
                            (account, key, symbol, quantity, price, reason, evidence, entered_at, held_before,
                             after_fill)
                        VALUES (:account, :key, :symbol, :quantity, :price, :reason,
                                CAST(:evidence AS jsonb), :at, :before, :after_fill)
                        ON CONFLICT (account, key) DO NOTHING""",
                    key=key,
                    symbol=symbol,
                    quantity=move.quantity,
                    price=move.price,
                    reason=move.reason,
                    evidence=as_json(dict(move.activity.raw)),
                    at=at,
                    before=before,
                    after_fill=after_fill,
                )
                before += move.quantity
            # Shares that came from elsewhere are worth what the others are: only a split changes the price.
            if held is not None and held * grown > 0:
                await self._rescale_exits(connection, symbol, abs(held), held / grown, growth)
                await self._rescale_waiting(connection, symbol, held, grown, at)
            await self._differences.open_within(
                connection, "CORPORATE_ACTION", symbol, symbol,
                ours=f"{plain(ours)} shares before", theirs=f"{plain(after)} shares after",
                evidence={"activities": [dict(move.activity.raw) for move in moves]}, at=at,
            )  # fmt: skip
            return True

        return await self._db.run(work)

    async def _rescale_exits(
        self,
        connection: AsyncConnection,
        symbol: Symbol,
        held: Decimal,
        ratio: Decimal,
        growth: Growth,
    ) -> None:
        """Put the exits of the newest entries, as many as brought the `held` shares, into the new ones.

        Args:
            growth: what fills counted right before the split.
        """
        rows = await self._all(
            connection,
            f"""SELECT {INTENT_COLUMNS} FROM {SCHEMA}.intents
                WHERE account = :account AND symbol = :symbol AND purpose = 'entry' AND filled_quantity > 0
                ORDER BY sequence DESC LIMIT {_MOST_ENTRIES} FOR UPDATE""",
            symbol=symbol,
        )
        entries = [intent_of(row) for row in rows]
        unsold = await self._unsold(connection, entries, growth)
        brought = ZERO
        for entry in entries:
            if held - brought < DUST:
                break
            own = unsold[entry.client_order_id]
            brought += max(ZERO, own)
            if entry.stop_loss is None or own <= 0:
                continue
            await self._do(
                connection,
                f"""UPDATE {SCHEMA}.intents SET stop_loss = :stop, stop_loss_limit = :limit, take_profit = :target
                    WHERE account = :account AND client_order_id = :id""",
                stop=_scaled(entry.stop_loss, ratio),
                limit=_scaled(entry.stop_loss_limit, ratio),
                target=_scaled(entry.take_profit, ratio),
                id=entry.client_order_id,
            )
        guards = await self._all(
            connection,
            f"""SELECT stop_order_id, quantity, stop_price, stop_limit_price, target_price, {SOLD_OF_GUARD} AS sold
                FROM {SCHEMA}.withdrawn_guards g
                WHERE account = :account AND symbol = :symbol FOR UPDATE OF g""",
            symbol=symbol,
        )
        for row in guards:
            await self._do(
                connection,
                f"""UPDATE {SCHEMA}.withdrawn_guards SET quantity = :quantity, stop_price = :stop,
                        stop_limit_price = :limit, target_price = :target
                    WHERE account = :account AND stop_order_id = :id""",
                # What was sold before stays counted in the old shares.
                quantity=max(ZERO, row.quantity - row.sold) / ratio + row.sold,
                stop=_scaled(row.stop_price, ratio),
                limit=_scaled(row.stop_limit_price, ratio),
                target=_scaled(row.target_price, ratio),
                id=row.stop_order_id,
            )

    async def _rescale_waiting(
        self,
        connection: AsyncConnection,
        symbol: Symbol,
        held: Decimal,
        grown: Decimal,
        at: datetime,
    ) -> None:
        """Put exits at the market that have not left into new shares; what bears a price of the old ones is not sent."""
        # Protection is planned anew by the comparison that books the split.
        await self._do(
            connection,
            f"""UPDATE {SCHEMA}.intents SET state = 'CANCELLED_UNSENT', ended_at = :at,
                    reason = CASE purpose WHEN 'protect' THEN 'planned before a split'
                        ELSE 'withdrawn: given before a split' END
                WHERE account = :account AND symbol = :symbol AND state = 'PENDING'
                  AND (purpose = 'protect' OR purpose = 'exit' AND (type <> 'market' OR replaces IS NOT NULL))""",
            symbol=symbol,
            at=at,
        )
        rows = await self._all(
            connection,
            f"""SELECT {INTENT_COLUMNS} FROM {SCHEMA}.intents
                WHERE account = :account AND symbol = :symbol AND state = 'PENDING' AND purpose = 'exit'
                ORDER BY sequence LIMIT {_MOST_ENTRIES} FOR UPDATE""",
            symbol=symbol,
        )
        for waiting in map(intent_of, rows):
            anew = waiting.with_quantity(in_new_shares(waiting.quantity, [(held, grown)]))
            await self._do(
                connection,
                f"""UPDATE {SCHEMA}.intents SET quantity = :quantity, time_in_force = :force
                    WHERE account = :account AND client_order_id = :id""",
                quantity=anew.quantity,
                force=anew.time_in_force.value,
                id=anew.client_order_id,
            )

    async def _enter(
        self,
        connection: AsyncConnection,
        activity: Activity,
        key: str,
        amount: Decimal,
        reason: str,
        at: datetime,
    ) -> None:
        await self._do(
            connection,
            f"""INSERT INTO {SCHEMA}.cash_entries (account, key, amount, reason, evidence, entered_at)
                VALUES (:account, :key, :amount, :reason, CAST(:evidence AS jsonb), :at)
                ON CONFLICT (account, key) DO NOTHING""",
            key=key,
            amount=amount,
            reason=reason,
            evidence=as_json(dict(activity.raw)),
            at=at,
        )


def _key(activity: Activity) -> str:
    return f"activity:{activity.activity_id}"


def _scaled(price: Decimal | None, ratio: Decimal) -> Decimal | None:
    if price is None:
        return None
    return max((price * ratio).quantize(_CENT, ROUND_HALF_EVEN), _CENT)
