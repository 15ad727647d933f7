"""Which intents follow from what risk approved?

Reviews are read in order; their intents, the entries they withdraw and the cursor move in one transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.postgres import Cursor, Database, Outbox, OutboxRow, lock
from shared.domain.decisions import Approved, Purpose, Review, StopMove, TradingMode
from shared.domain.errors import InvalidInput
from shared.domain.ids import client_order_id
from shared.domain.orders import OrderClass
from shared.messages import REVIEW, REVIEWS
from trade_executor.changes import obstacle_to_moving
from trade_executor.lifecycle import bar_has_closed_over
from trade_executor.slicing import Child, Slicing, at_once, children_of
from trade_executor.store.tables import (
    FINAL,
    INSERT_INTENT,
    INTENT_COLUMNS,
    LIVE,
    SCHEMA,
    Frame,
    Tables,
    intent_of,
)

_REVIEWS_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Taken:
    """What reading the next reviews came to."""

    made_work: bool
    are_more: bool


class Reviews(Tables):
    """The way from the risk manager's outbox to intents."""

    def __init__(self, db: Database, account: str, slicing: Slicing = at_once) -> None:
        super().__init__(db, account)
        self._slicing = slicing
        self._reviews = Outbox("risk_manager", account)
        self._cursor = Cursor(SCHEMA, "risk_manager", account)

    async def take(self, *, at: datetime, halt_note: str | None) -> Taken:
        """Turn the next reviews into intents and move the cursor with them.

        Args:
            halt_note: what the halt switch says, None where it is not thrown.
        """

        async def work(connection: AsyncConnection) -> Taken:
            made_work = False
            position = await self._cursor.position(connection)
            rows = await self._reviews.after(
                connection, position, topics=(REVIEWS,), limit=_REVIEWS_AT_ONCE
            )
            reviews = []
            for row in rows:
                try:
                    reviews.append(REVIEW.decode(row.payload))
                except InvalidInput as error:
                    await self._quarantine(connection, row, str(error), at)
            has_moved = any(review.moved for review in reviews)
            if has_moved:
                # Before any row is: whoever sends takes them in this order, too.
                await lock(connection, f"account:{self.account}", shared=True)
            for review in reviews:
                made_work |= await self._apply_review(connection, review, at)
            if has_moved:
                made_work |= await self._make_room(connection, halt_note, at, is_late=False)
            if rows:
                await self._cursor.move(connection, rows[-1].id)
            made_work |= await self._withdraw_entries(connection, at)
            return Taken(made_work, are_more=len(rows) == _REVIEWS_AT_ONCE)

        return await self._db.run(work)

    async def _quarantine(
        self, connection: AsyncConnection, row: OutboxRow, problem: str, at: datetime
    ) -> None:
        raw = orjson.dumps({"outbox_id": row.id, "key": row.key, "payload": row.payload}).decode()
        await self._insert_frames(connection, [Frame(raw, "review", None, problem)], at)

    async def _apply_review(
        self, connection: AsyncConnection, review: Review, at: datetime
    ) -> bool:
        made_work = bool(review.approved)
        if review.source.startswith("evaluation:"):
            made_work |= await self._give_up_rests(connection, review.instant_at, at)
        exits = {a.symbol for a in review.approved if a.purpose is Purpose.EXIT}
        if exits:
            # What was approved before the wish to be out is not sent after it.
            await self._do(
                connection,
                f"""UPDATE {SCHEMA}.intents SET state = 'CANCELLED_UNSENT', ended_at = :at,
                        reason = 'an exit was approved before it was sent'
                    WHERE account = :account AND state = 'PENDING' AND purpose <> 'exit'
                      AND symbol = ANY(:symbols)""",
                at=at,
                symbols=sorted(exits),
            )
        rows = [
            _intent_row(approved, child, number, at)
            for approved in review.approved
            if approved.quantity > 0
            for number, child in enumerate(children_of(approved, self._slicing))
        ]
        if rows:
            await connection.execute(INSERT_INTENT, rows)
        await self._move_stops(connection, review.moved)
        answers = [(a.signal_id, None, None) for a in review.approved] + [
            (r.signal_id, r.reason_code, r.reason) for r in review.refused
        ]
        manual = [answer for answer in answers if answer[0].startswith("man-")]
        for signal, code, reason in manual:
            await self._do(
                connection,
                f"""UPDATE {SCHEMA}.manual_orders SET reason_code = :code, reason = :reason, decided_at = :at
                    WHERE account = :account AND signal_id = :signal AND decided_at IS NULL""",
                code=code,
                reason=reason,
                at=at,
                signal=signal,
            )
        return made_work

    async def make_room_for_moved_stops(self, *, at: datetime, halt_note: str | None) -> bool:
        """Ask to cancel stops that rest where a move of theirs began, if that was not done when they were moved; True for some.

        A stop that stands anywhere else was not left behind by us: the broker has put it into the shares of a split that
        its positions do not show yet, or a person has moved it there. At the price that is kept it might sell at once.
        """

        async def work(connection: AsyncConnection) -> bool:
            await lock(connection, f"account:{self.account}", shared=True)
            return await self._make_room(connection, halt_note, at, is_late=True)

        return await self._db.run(work)

    async def _move_stops(self, connection: AsyncConnection, moves: Sequence[StopMove]) -> None:
        """Keep where stops stand from now on, of brackets that have ended and of protection that has not left.

        A stop without a target stays: nothing takes its place. A stop's own limit keeps its distance. A stop stands no lower than where the
        move was seen to begin, except after a split: a move from before it is in other shares, and void. Of a short position all of
        this is turned around: its stops stand above, and tighten downwards.
        """
        for move in moves:
            await self._do(
                connection,
                f"""UPDATE {SCHEMA}.intents
                    SET stop_loss = :stop, stop_loss_limit = stop_loss_limit + (:stop - stop_loss)
                    WHERE account = :account AND decision_id = :decision
                      AND CASE WHEN (purpose = 'entry') = (side = 'buy')
                          THEN stop_loss < :stop AND stop_loss >= :previous
                          ELSE stop_loss > :stop AND stop_loss <= :previous END
                      AND (purpose = 'entry' AND order_class = 'bracket' AND state NOT IN {LIVE}
                        OR purpose = 'protect' AND state = 'PENDING')""",
                stop=move.stop_loss,
                previous=move.previous,
                decision=move.decision_id,
            )

    async def _make_room(
        self, connection: AsyncConnection, halt_note: str | None, at: datetime, *, is_late: bool
    ) -> bool:
        """Ask to cancel stops that rest too far away; where they end, protection is planned with the new ones.

        Only those of entries that have ended: the legs of one that may still fill are not armed yet, and
        cancelling them would cancel its rest. While nothing may leave, or shares moved that the ledger does not show, nothing could
        take their place: they rest where they are, and a comparison asks later. The shared lock on the account keeps the
        mode as it is seen here until this commits.

        Args:
            is_late: whether the moves were read earlier: then only what rests where one of them began is asked for.
        """
        row = await self._one(
            connection, "SELECT mode FROM risk_manager.v_mode WHERE account = :account"
        )
        mode = None if row is None else TradingMode(row.mode)
        if obstacle_to_moving(mode, halt_note) is not None:
            return False
        asked = await self._all(
            connection,
            f"""UPDATE {SCHEMA}.orders SET cancel_asked_at = :at
                WHERE account = :account AND cancel_asked_at IS NULL AND status NOT IN {FINAL}
                  AND intent_id IN (
                    SELECT o.intent_id FROM {SCHEMA}.orders o
                    JOIN {SCHEMA}.intents guard
                      ON guard.account = o.account AND guard.client_order_id = o.intent_id
                    JOIN {SCHEMA}.intents entry
                      ON entry.account = o.account AND entry.decision_id = guard.decision_id
                    WHERE o.account = :account AND o.status NOT IN {FINAL} AND o.side <> entry.side
                      AND o.type IN ('stop', 'stop_limit')
                      AND CASE WHEN entry.side = 'buy'
                          THEN o.stop_price < entry.stop_loss ELSE o.stop_price > entry.stop_loss END
                      AND entry.purpose = 'entry' AND entry.order_class = 'bracket' AND entry.state NOT IN {LIVE}
                      -- Of several moves one after another any may be where it was left.
                      AND (NOT CAST(:is_late AS boolean) OR EXISTS (
                        SELECT FROM risk_manager.v_stop_moves m WHERE m.account = :account
                          AND m.decision_id = entry.decision_id AND m.previous = o.stop_price))
                      AND NOT EXISTS (SELECT FROM {SCHEMA}.differences WHERE account = :account
                        AND kind = 'POSITION' AND closed_at IS NULL AND subject = o.symbol))
                RETURNING broker_order_id""",
            at=at,
            is_late=is_late,
        )
        return bool(asked)

    async def _withdraw_entries(self, connection: AsyncConnection, at: datetime) -> bool:
        """Unless trading is ACTIVE no entry waits, here or at the broker; what it filled stays protected.

        In the transaction of the review that may have changed the mode, so that a replay finds the same entries
        withdrawn in every run.
        """
        row = await self._one(
            connection, "SELECT mode FROM risk_manager.v_mode WHERE account = :account"
        )
        if row is None or TradingMode(row.mode) is TradingMode.ACTIVE:
            return False
        unsent = await self._all(
            connection,
            f"""UPDATE {SCHEMA}.intents SET state = 'CANCELLED_UNSENT', ended_at = :at, reason = :reason
                WHERE account = :account AND state = 'PENDING' AND purpose = 'entry'
                RETURNING client_order_id""",
            at=at,
            reason=f"trading mode is {row.mode}",
        )
        # The first order of an entry alone: its legs guard what is held.
        asked = await self._all(
            connection,
            f"""UPDATE {SCHEMA}.orders SET cancel_asked_at = :at
                WHERE account = :account AND cancel_asked_at IS NULL AND status NOT IN {FINAL}
                  AND parent_order_id IS NULL AND intent_id IN (
                    SELECT client_order_id FROM {SCHEMA}.intents
                    WHERE account = :account AND state IN {LIVE} AND purpose = 'entry')
                RETURNING broker_order_id""",
            at=at,
        )
        return bool(unsent or asked)

    async def _give_up_rests(
        self, connection: AsyncConnection, instant_at: datetime, at: datetime
    ) -> bool:
        """Ask to cancel what is left of bracket entries that a closed bar filled in part."""
        rows = await self._all(
            connection,
            f"""SELECT {INTENT_COLUMNS} FROM {SCHEMA}.intents
                WHERE account = :account AND state IN {LIVE} AND state = 'PARTIAL'
                  AND order_class = 'bracket'""",
        )
        partial = [i for i in map(intent_of, rows) if bar_has_closed_over(i, instant_at)]
        if partial:
            await self._do(
                connection,
                f"""UPDATE {SCHEMA}.orders SET cancel_asked_at = :at
                    WHERE account = :account AND client_order_id = ANY(:ids)
                      AND cancel_asked_at IS NULL AND status NOT IN {FINAL}""",
                at=at,
                ids=[intent.client_order_id for intent in partial],
            )
        return bool(partial)


def _intent_row(approved: Approved, child: Child, generation: int, at: datetime) -> dict[str, Any]:
    terms = approved.terms
    order_class = terms.order_class
    if order_class is None:
        is_bracket = (
            approved.purpose is Purpose.ENTRY
            and approved.stop_loss is not None
            and approved.take_profit is not None
        )
        order_class = OrderClass.BRACKET if is_bracket else OrderClass.SIMPLE
    has_exits = order_class is not OrderClass.SIMPLE
    leg = approved.purpose.value
    return {
        "account": approved.account,
        "id": client_order_id(approved.account, approved.signal_id, leg, generation),
        "decision_id": approved.decision_id,
        "signal_id": approved.signal_id,
        "symbol": approved.symbol,
        "side": approved.side.value,
        "purpose": leg,
        "leg": leg,
        "generation": generation,
        "type": approved.type.value,
        "time_in_force": approved.time_in_force.value,
        "order_class": order_class.value,
        "quantity": child.quantity,
        "limit_price": approved.limit_price,
        "stop_price": approved.stop_price,
        "stop_loss": approved.stop_loss if has_exits else None,
        "take_profit": approved.take_profit if has_exits else None,
        "trail_price": terms.trail_price,
        "trail_percent": terms.trail_percent,
        "stop_loss_limit": terms.stop_loss_limit if has_exits else None,
        "extended_hours": terms.extended_hours,
        "replaces": None,
        # An exit goes out in shares, since it must never sell more than is held.
        "notional": terms.notional if approved.purpose is Purpose.ENTRY else None,
        "reference_price": approved.reference_price,
        "act_from": child.act_from,
        "act_until": approved.act_until,
        "at": at,
    }
