"""Which shares lost their stop and target, and what is planned for them?

`guarding.protection_needed` decides; here its circumstances are read and the intent is written, in the transaction
of whatever laid the shares bare.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import structlog
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.postgres import Database
from shared.domain.decisions import TradingMode
from shared.domain.ids import client_order_id
from shared.domain.money import plain
from shared.domain.orders import IntentState, OrderClass, OrderType, Side, TimeInForce
from shared.domain.symbols import Symbol
from trade_executor.guarding import (
    DUST,
    REFUSALS_IN_A_ROW,
    STOPS,
    Bracket,
    Cover,
    Guard,
    Holding,
    bare_shares,
    cover_of,
    guarded_by_others,
    held_back,
    is_at_rest,
    protection_needed,
)
from trade_executor.lifecycle import Intent, IntentPurpose
from trade_executor.store.differences import Differences
from trade_executor.store.guards import SOLD_OF_GUARD, STANDS
from trade_executor.store.pasts import Pasts
from trade_executor.store.tables import (
    FINAL,
    GROWN,
    INSERT_INTENT,
    INTENT_COLUMNS,
    LIVE,
    ORDER_NAMES,
    SCHEMA,
    ZERO,
    Growth,
    Tables,
    intent_of,
    order_of,
)

_log = structlog.get_logger(__name__)
# Protection stands until it is used or withdrawn; this only bounds how long it may wait to be sent.
_PROTECTION_LASTS = timedelta(days=90)
# Of one symbol, with shares left in each; what more brackets hold is a person's business.
_MOST_BRACKETS = 20
# With none left as well, of one symbol that is never without a position.
_MOST_LOOKED_AT = 500
_PAGE = 100
# Its subject is a symbol whose shares have no stop.
UNGUARDED = "UNGUARDED"
_ORDER_COLUMNS = ", ".join(f"o.{name}" for name in ORDER_NAMES)

# What is tied together, a stop and its target, belongs to one intent and counts once: by its stop, if one is known.
# Legs that wait for their order to fill close nothing yet, and cancelling one would cancel the order.
# A replaced order ends when its successor is taken, which may be told first.
# Of exits at the market, which wait for the open or an auction, the oldest stay that fit into what is held.
_WITHDRAW_SURPLUS = f"""
    WITH resting AS (
        SELECT o.broker_order_id, o.intent_id, o.symbol, o.side, o.type, i.sequence,
            i.purpose = 'exit' AND o.type = 'market' AS at_market,
            coalesce(o.quantity, i.quantity) - o.filled_quantity AS rest
        FROM {SCHEMA}.orders o
        JOIN {SCHEMA}.intents i ON i.account = o.account AND i.client_order_id = o.intent_id
        WHERE o.account = :account AND o.status NOT IN {FINAL}
          AND CASE WHEN i.purpose = 'protect' THEN true
                   WHEN o.side <> i.side THEN i.state NOT IN {LIVE}
                   ELSE i.purpose = 'exit' END
          AND NOT EXISTS (
              SELECT FROM {SCHEMA}.intents successor
              JOIN {SCHEMA}.orders taken ON taken.account = successor.account
                  AND taken.intent_id = successor.client_order_id AND taken.status NOT IN {FINAL}
              WHERE successor.account = i.account AND successor.replaces = i.client_order_id)),
    closing AS (
        SELECT intent_id, symbol, side, sequence, bool_and(at_market) AS at_market,
            coalesce(max(rest) FILTER (WHERE type = ANY(:stops)), max(rest)) AS rest
        FROM resting GROUP BY intent_id, symbol, side, sequence),
    summed AS (
        SELECT c.intent_id, c.symbol, c.side, c.at_market,
            sum(c.rest) OVER (PARTITION BY c.symbol, c.side) AS total,
            sum(c.rest) FILTER (WHERE c.at_market)
                OVER (PARTITION BY c.symbol, c.side ORDER BY c.sequence) AS at_market_so_far,
            greatest(0, sign.of * coalesce(p.quantity, 0)) AS held
        FROM closing c
        CROSS JOIN LATERAL (SELECT CASE c.side WHEN 'sell' THEN 1 ELSE -1 END AS of) sign
        LEFT JOIN {SCHEMA}.v_positions p ON p.account = :account AND p.symbol = c.symbol),
    surplus AS (
        SELECT intent_id, symbol, side FROM summed c
        WHERE total > held AND NOT (at_market AND at_market_so_far <= held) AND NOT EXISTS (
            SELECT FROM {SCHEMA}.orders late WHERE late.account = :account
              AND late.symbol = c.symbol AND late.booked_quantity < late.filled_quantity))
    UPDATE {SCHEMA}.orders SET cancel_asked_at = :at
    WHERE account = :account AND cancel_asked_at IS NULL AND broker_order_id IN (
        SELECT broker_order_id FROM resting JOIN surplus USING (intent_id, symbol, side))
    RETURNING broker_order_id, intent_id"""

# A symbol of which the broker holds another number than the ledger.
_UNLIKE = "kind = 'POSITION' AND closed_at IS NULL AND subject"
# Guards `o` of ours, and exits at a price, that were sent before a split, which a broker may have left as they were, put
# into new shares, or both. What it did is not told in a way that can be relied on, and a known order's quantity never grows.
_IN_OLD_SHARES = f"""o.account = :account AND o.status NOT IN {FINAL} AND EXISTS (
    SELECT FROM {SCHEMA}.intents i
    JOIN {SCHEMA}.v_splits s ON s.account = i.account AND s.symbol = i.symbol
    WHERE i.account = o.account AND i.client_order_id = o.intent_id
      AND coalesce(i.sent_at, o.first_seen_at) < s.booked_at
      AND (i.purpose = 'protect' OR i.purpose = 'exit' AND i.type <> 'market'
           OR i.purpose = 'entry' AND i.order_class = 'bracket'
           AND i.side <> o.side AND i.state NOT IN {LIVE}))"""

# The stop beside a guard `o`, or itself, stands where the kept one does since the split, to the cent.
_IS_COUNTED_ANEW = f"""EXISTS (
    SELECT FROM {SCHEMA}.orders stop
    JOIN {SCHEMA}.intents i ON i.account = stop.account AND i.client_order_id = stop.intent_id
    WHERE stop.account = o.account AND stop.intent_id = o.intent_id AND stop.side = o.side
      AND stop.status NOT IN {FINAL} AND stop.type = ANY(:stops)
      AND 0.01 >= abs(stop.stop_price - coalesce(
          (SELECT e.stop_loss FROM {SCHEMA}.intents e WHERE e.account = i.account
             AND e.signal_id = i.signal_id AND e.purpose = 'entry' ORDER BY e.sequence LIMIT 1),
          (SELECT g.stop_price FROM {SCHEMA}.withdrawn_guards g WHERE g.account = i.account
             AND 'guard-' || g.stop_order_id = i.signal_id))))"""


class Protection(Tables):
    """Stops and targets for shares whose bracket could not keep them."""

    def __init__(self, db: Database, account: str, differences: Differences) -> None:
        super().__init__(db, account)
        self._differences = differences
        self._pasts = Pasts(db, account)

    async def cover_bare_positions(self, *, at: datetime, released: Collection[str] = ()) -> None:
        """Plan protection wherever shares lost it; what is held back for brackets of the signals `released` alone."""

        async def work(connection: AsyncConnection) -> None:
            symbols = set(await self._held(connection))
            await self.plan(connection, symbols, at, released)

        await self._db.run(work)

    async def bare(
        self, *, at: datetime, is_halted: bool
    ) -> dict[Symbol, list[tuple[Bracket, Decimal]]]:
        """Brackets with whole shares that no stop guards, by the symbols held; a symbol that is unsettled or in motion is left out.

        In motion is also what the broker has taken and ends in a moment, or fills an entry: until then nothing is missing,
        but nothing is guarded either.

        Args:
            is_halted: whether nothing leaves, whatever the mode: then what waits to be sent guards nothing.
        """

        async def work(
            connection: AsyncConnection,
        ) -> dict[Symbol, list[tuple[Bracket, Decimal]]]:
            found = {}
            halted = is_halted or await self._is_halted(connection)
            for symbol, quantity in (await self._held(connection)).items():
                if await self._is_unsettled(connection, symbol):
                    continue
                holding = await self._holding(connection, symbol, quantity, at)
                if halted:
                    live = holding.live_intents
                    live = tuple(i for i in live if i.state is not IntentState.PENDING)
                    holding = replace(holding, live_intents=live)
                bare = bare_shares(holding)
                if bare or all(is_at_rest(intent) for intent in holding.live_intents):
                    found[symbol] = bare
            return found

        return await self._db.run(work)

    async def _is_halted(self, connection: AsyncConnection) -> bool:
        row = await self._one(
            connection, "SELECT mode FROM risk_manager.v_mode WHERE account = :account"
        )
        return row is not None and row.mode == TradingMode.HALTED.value

    async def _held(self, connection: AsyncConnection) -> dict[Symbol, Decimal]:
        rows = await self._all(
            connection,
            f"SELECT symbol, quantity FROM {SCHEMA}.v_positions WHERE account = :account ORDER BY symbol",
        )
        return {Symbol(row.symbol): row.quantity for row in rows}

    async def withdraw_surplus(self, *, at: datetime) -> bool:
        """Ask to cancel what rests to close more shares than are held or owed; True when there is some.

        Stops and targets of ours, and exits that a person let rest: when somebody else has closed a position, a broker
        that buys a short one in for instance, they would open one on the other side. What is left of the position is
        planned for anew where they end. So are exits at the market: taken before the open, they rest until then.
        """

        async def work(connection: AsyncConnection) -> bool:
            asked = await self._all(connection, _WITHDRAW_SURPLUS, stops=sorted(STOPS), at=at)
            if asked:
                await self._explain(
                    connection, asked, "withdrawn: more would be closed than is held or owed"
                )
                _log.warning(
                    "orders at the broker would close more than is held or owed, and are withdrawn",
                    cancelled=sorted(row.broker_order_id for row in asked),
                )
            return bool(asked)

        return await self._db.run(work)

    async def withdraw_old_shares(self, *, at: datetime, is_halted: bool) -> bool:
        """Ask to cancel stops and targets of ours from before a split, so that new ones guard every share; True when some are.

        Exits at a price that rest since then go with them: their price and number are of old shares. While trading is
        halted nothing takes their place: then those stay whose stop the broker has put into the new shares, and the others
        go too, since at an old price they would sell at once.
        """

        async def work(connection: AsyncConnection) -> bool:
            halted = is_halted or await self._is_halted(connection)
            asked = await self._all(
                connection,
                f"""UPDATE {SCHEMA}.orders o SET cancel_asked_at = :at
                    WHERE {_IN_OLD_SHARES} AND o.cancel_asked_at IS NULL AND NOT EXISTS (
                        SELECT FROM {SCHEMA}.differences WHERE account = :account AND {_UNLIKE} = o.symbol)
                    AND NOT (:halted AND {_IS_COUNTED_ANEW})
                    RETURNING o.broker_order_id, o.intent_id""",
                at=at,
                halted=halted,
                stops=sorted(STOPS),
            )
            if asked:
                await self._explain(connection, asked, "withdrawn: given before a split")
                _log.warning(
                    "stops and targets from before a split are withdrawn and given anew",
                    cancelled=sorted(row.broker_order_id for row in asked),
                )
            return bool(asked)

        return await self._db.run(work)

    async def _explain(
        self, connection: AsyncConnection, asked: Sequence[Row[Any]], why: str
    ) -> None:
        """Say with the exits among the orders `asked` to be cancelled why they are."""
        await self._do(
            connection,
            f"""UPDATE {SCHEMA}.intents SET reason = :why
                WHERE account = :account AND client_order_id = ANY(:ids) AND purpose = 'exit'""",
            why=why,
            ids=[row.intent_id for row in asked],
        )

    async def plan(
        self,
        connection: AsyncConnection,
        symbols: Iterable[Symbol],
        at: datetime,
        released: Collection[str] = (),
    ) -> bool:
        """Write the protection that shares of `symbols` need now; True when some waits for a look at the account.

        Args:
            released: signals of brackets that were looked at: they are not held back.
        """
        waits = False
        for symbol in sorted(symbols):
            quantity = await self._position(connection, symbol)
            if quantity == 0 or await self._is_unsettled(connection, symbol):
                continue
            holding = await self._holding(connection, symbol, quantity, at)
            rows = []
            waits |= any(
                bracket.held_back is not None and bracket.signal_id not in released
                for bracket, _ in bare_shares(holding)
            )
            for bracket, shares in protection_needed(holding, released):
                cover = bracket.cover
                if cover is None:
                    continue
                rows.append(_protection_row(self.account, cover, shares, bracket.protections, at))
                if cover.trailed and bracket.protections == 0:
                    await self._differences.open_within(
                        connection, "PROTECTION_REFUSED", cover.signal_id, symbol,
                        ours=f"a fixed stop at {plain(cover.stop)} for {plain(shares)} shares",
                        theirs="nothing that trails the price any more: that order gave way to an exit; "
                        "give it there once more if it is to follow",
                        evidence={}, at=at,
                    )  # fmt: skip
            if rows:
                await connection.execute(INSERT_INTENT, rows)
        return waits

    async def _is_unsettled(self, connection: AsyncConnection, symbol: Symbol) -> bool:
        """Whether what is held, or what guards it, is not known.

        Shares have moved at the broker that the ledger does not show yet, in a split for instance, after which a stop at the
        old price would sell at once; or guards from before a split stand.
        """
        row = await self._one(
            connection,
            f"""SELECT 1 FROM {SCHEMA}.orders
                WHERE account = :account AND symbol = :symbol AND booked_quantity < filled_quantity
                UNION ALL
                SELECT 1 FROM {SCHEMA}.differences WHERE account = :account AND {_UNLIKE} = :symbol
                UNION ALL
                SELECT 1 FROM {SCHEMA}.orders o WHERE o.symbol = :symbol AND {_IN_OLD_SHARES}
                LIMIT 1""",
            symbol=symbol,
        )
        return row is not None

    async def _holding(
        self, connection: AsyncConnection, symbol: Symbol, quantity: Decimal, at: datetime
    ) -> Holding:
        opened = await self._all(
            connection,
            f"""SELECT {_ORDER_COLUMNS} FROM {SCHEMA}.orders o
                WHERE o.account = :account AND o.symbol = :symbol AND o.status NOT IN {FINAL}
                  AND (o.intent_id IS NOT NULL OR {STANDS})""",
            symbol=symbol,
        )
        orders = tuple(map(order_of, opened))
        growth = await self._growth(connection, symbol)
        withdrawn = await self._withdrawn(connection, symbol, quantity, growth, at)
        older = sum((one.shares for one in withdrawn[_MOST_BRACKETS:]), ZERO)
        del withdrawn[_MOST_BRACKETS:]
        live = await self._all(
            connection,
            f"""SELECT {INTENT_COLUMNS} FROM {SCHEMA}.intents
                WHERE account = :account AND symbol = :symbol AND state IN {LIVE}""",
            symbol=symbol,
        )
        intents = tuple(map(intent_of, live))
        # While an exit is under way it may sell them all: nothing is missing yet, and its end looks again.
        is_leaving = any(one.purpose is IntentPurpose.EXIT for one in intents)
        # Those come last: what they were given for was held before what we bought.
        left = abs(quantity) - guarded_by_others(quantity, orders, withdrawn)
        brackets, more = await self._brackets(connection, symbol, quantity, left, growth, at)
        if more > 0 and not is_leaving:
            await self._differences.open_within(
                connection, "PROTECTION_REFUSED", f"brackets of {symbol}", symbol,
                ours=f"stops of the newest {_MOST_BRACKETS} brackets are put back",
                theirs=f"{plain(more)} shares more are held", evidence={}, at=at,
            )  # fmt: skip
        brackets += withdrawn
        if not brackets:
            return Holding(quantity, (), orders, ())
        bare = min(left - sum((one.shares for one in brackets), ZERO), older)
        if bare > 0 and not is_leaving:
            await self._differences.open_within(
                connection, "PROTECTION_REFUSED", f"stops given at the broker for {symbol}", symbol,
                ours=f"the newest {_MOST_BRACKETS} that gave way to an exit are put back",
                theirs=f"{plain(bare)} shares more had one", evidence={}, at=at,
            )  # fmt: skip
        return Holding(quantity, intents, orders, tuple(brackets))

    async def _brackets(
        self,
        connection: AsyncConnection,
        symbol: Symbol,
        quantity: Decimal,
        left: Decimal,
        growth: Growth,
        at: datetime,
    ) -> tuple[list[Bracket], Decimal]:
        """Our brackets that `left` of the `quantity` held (signed) may have come from, newest first.

        Beside them how many shares are held of more brackets than are put back.
        """
        found: list[Bracket] = []
        before: int | None = None
        looked_at, page = 0, 1
        while left > DUST and looked_at < _MOST_LOOKED_AT:
            rows = await self._entries(connection, symbol, before, page)
            entries = [intent_of(row) for row in rows]
            unsold = await self._unsold(connection, entries, growth)
            for entry in entries:
                own = unsold[entry.client_order_id]
                if own <= DUST or left <= DUST:
                    continue
                if len(found) == _MOST_BRACKETS:
                    return found, left
                least = await self._least_since(
                    connection, symbol, quantity, growth,
                    f"""SELECT max(id) FROM {SCHEMA}.fills
                        WHERE account = :account AND broker_order_id = :since""",
                    since=entry.broker_order_id,
                )  # fmt: skip
                if least * entry.side.sign <= 0:
                    return found, ZERO  # nothing was held once since then, so nothing older is left
                shares = min(own, abs(least))
                left -= shares
                made = await self._pasts.of_bracket(
                    connection, symbol, entry.signal_id, entry.side.opposite, entry
                )
                found.append(
                    Bracket(
                        cover_of(entry, has_known_legs=made.has_known_legs),
                        entry.signal_id,
                        entry.side,
                        shares,
                        frozenset({entry.client_order_id}),
                        made.number,
                        held_back(made.past, at),
                    )
                )
            if len(rows) < page:
                return found, ZERO
            looked_at += page
            # The newest alone explains most positions.
            before, page = rows[-1].sequence, _PAGE
        if left > DUST:
            _log.warning("older brackets are not looked at", symbol=symbol, looked_at=looked_at)
        return found, ZERO

    async def _entries(
        self, connection: AsyncConnection, symbol: Symbol, before: int | None, most: int
    ) -> Sequence[Row[Any]]:
        """The newest filled brackets in a symbol, below the sequence `before`."""
        return await self._all(
            connection,
            f"""SELECT sequence, {INTENT_COLUMNS} FROM {SCHEMA}.intents
                WHERE account = :account AND symbol = :symbol AND order_class = 'bracket'
                  AND purpose = 'entry' AND filled_quantity > 0
                  AND (CAST(:before AS bigint) IS NULL OR sequence < :before)
                ORDER BY sequence DESC LIMIT :most""",
            symbol=symbol,
            before=before,
            most=most,
        )

    async def _withdrawn(
        self,
        connection: AsyncConnection,
        symbol: Symbol,
        quantity: Decimal,
        growth: Growth,
        at: datetime,
    ) -> list[Bracket]:
        """Stops given at the broker that an exit took out of its way, while something is held since; newest first.

        One more than are put back, to tell that there are more.
        """
        rows = await self._all(
            connection,
            f"""SELECT g.*, e.decision_id AS exit_decision, {SOLD_OF_GUARD} AS sold,
                    (SELECT o.type = 'trailing_stop' FROM {SCHEMA}.orders o
                     WHERE o.account = g.account AND o.broker_order_id = g.stop_order_id) AS trailed
                FROM {SCHEMA}.withdrawn_guards g
                JOIN {SCHEMA}.intents e ON e.account = g.account AND e.client_order_id = g.exit_id
                WHERE g.account = :account AND g.symbol = :symbol AND g.side = :side
                ORDER BY g.withdrawn_at DESC, g.stop_order_id LIMIT {_MOST_BRACKETS + 1}""",
            symbol=symbol,
            side=(Side.SELL if quantity > 0 else Side.BUY).value,
        )
        found = []
        for row in rows:
            least = await self._least_since(
                connection, symbol, quantity, growth,
                f"""SELECT coalesce(max(id), 0) FROM {SCHEMA}.fills
                    WHERE account = :account AND symbol = :symbol AND booked_at < :since""",
                since=row.withdrawn_at,
            )  # fmt: skip
            if least * quantity <= 0:
                break  # nothing was held once since then
            guard = Guard(
                row.stop_order_id, row.target_order_id, row.quantity, row.stop_price,
                row.stop_limit_price, row.target_price,
            )  # fmt: skip
            made = await self._pasts.of_bracket(connection, symbol, guard.signal_id, Side(row.side))
            found.append(
                Bracket(
                    Cover(
                        guard.signal_id, row.exit_decision, symbol, Side(row.side), guard.stop,
                        guard.stop_limit, guard.target, guard.stop, row.trailed,
                    ),
                    guard.signal_id,
                    Side(row.side).opposite,
                    max(ZERO, min(guard.quantity - row.sold, abs(least))),
                    frozenset({guard.stop_order_id}),
                    made.number,
                    held_back(made.past, at),
                )
            )  # fmt: skip
        return found

    async def _least_since(
        self,
        connection: AsyncConnection,
        symbol: Symbol,
        quantity: Decimal,
        growth: Growth,
        last_fill: str,
        **since: Any,
    ) -> Decimal:
        """Signed shares of today held when least was held after a fill, 0 if there were none: what came later is others'.

        Args:
            last_fill: the statement that selects the id of that fill.
        """
        row = await self._one(
            connection,
            f"""SELECT coalesce(max(gained), 0) AS gained FROM (
                    SELECT sum(CASE f.side WHEN :side THEN f.quantity ELSE -f.quantity END * {GROWN})
                               OVER (ORDER BY f.id DESC) AS gained
                    FROM {SCHEMA}.fills f
                    WHERE f.account = :account AND f.symbol = :symbol AND f.id > ({last_fill})) AS later""",
            symbol=symbol,
            side=(Side.BUY if quantity > 0 else Side.SELL).value,
            **growth.values(),
            **since,
        )
        assert row is not None
        least: Decimal = abs(quantity) - max(ZERO, row.gained)
        if least < DUST:
            return ZERO
        return least if quantity > 0 else -least

    async def note_refusal(
        self, connection: AsyncConnection, intent: Intent, reason: str, at: datetime
    ) -> None:
        """After several refusals in a row a person has to see it; another is shown in the place of the last."""
        made = await self._pasts.of_bracket(
            connection, intent.symbol, intent.signal_id, intent.side
        )
        if made.past.refused < REFUSALS_IN_A_ROW:
            return
        await self._differences.open_within(
            connection, UNGUARDED, intent.symbol, intent.symbol,
            ours=f"a stop for {plain(intent.quantity)} shares, tried again later",
            theirs=f"none: refused {made.past.refused} times, {reason}", evidence={}, at=at,
        )  # fmt: skip


def _protection_row(
    account: str, cover: Cover, quantity: Decimal, generation: int, at: datetime
) -> dict[str, Any]:
    """The order that guards shares which lost their stop: an OCO, or a stop alone where there was no target."""
    has_target = cover.target is not None
    kind = OrderType.STOP if cover.stop_limit is None else OrderType.STOP_LIMIT
    return {
        "account": account,
        "id": client_order_id(account, cover.signal_id, IntentPurpose.PROTECT.value, generation),
        "decision_id": cover.decision_id,
        "signal_id": cover.signal_id,
        "symbol": cover.symbol,
        "side": cover.side.value,
        "purpose": IntentPurpose.PROTECT.value,
        "leg": IntentPurpose.PROTECT.value,
        "generation": generation,
        "type": (OrderType.LIMIT if has_target else kind).value,
        "time_in_force": TimeInForce.GTC.value,
        "order_class": (OrderClass.OCO if has_target else OrderClass.SIMPLE).value,
        "quantity": quantity,
        "limit_price": cover.target if has_target else cover.stop_limit,
        "stop_price": None if has_target else cover.stop,
        "stop_loss": cover.stop if has_target else None,
        "take_profit": cover.target,
        "trail_price": None,
        "trail_percent": None,
        "stop_loss_limit": cover.stop_limit if has_target else None,
        "extended_hours": False,
        "replaces": None,
        "notional": None,
        "reference_price": cover.reference_price,
        "act_from": at,
        "act_until": at + _PROTECTION_LASTS,
        "at": at,
    }
