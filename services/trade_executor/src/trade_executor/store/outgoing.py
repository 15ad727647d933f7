"""What is to be sent, may it leave now, and what came of sending it?

The last look before the wire is a transaction: mode, state, epoch and pauses are read and the intent marked SENDING
under one lock. Nothing here speaks to the broker.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.postgres import Database, lock
from shared.domain.calendar import NEW_YORK
from shared.domain.decisions import Purpose, TradingMode
from shared.domain.money import plain
from shared.domain.orders import IntentState, OrderType, Side
from shared.domain.symbols import Symbol
from shared.ports import BrokerOrder
from trade_executor.approvals import Approval, in_new_shares, unlike_approval
from trade_executor.lifecycle import (
    Circumstances,
    End,
    ExecutorState,
    Go,
    Intent,
    IntentPurpose,
    OrderRecord,
    Verdict,
    Wait,
    may_be_posted_again,
    may_leave,
    order_of_work,
)
from trade_executor.store.differences import Differences
from trade_executor.store.protection import Protection
from trade_executor.store.tables import (
    FINAL,
    INTENT_COLUMNS,
    LIVE,
    ORDER_COLUMNS,
    SCHEMA,
    Frame,
    Tables,
    intent_of,
    order_of,
)


@dataclass(frozen=True, slots=True)
class Work:
    """What the sender has to do now, each list in the order it is done."""

    cancels: tuple[OrderRecord, ...]
    unknown: tuple[Intent, ...]
    due: tuple[Intent, ...]

    @property
    def is_none(self) -> bool:
        """Whether there is nothing at all."""
        return not (self.cancels or self.unknown or self.due)


@dataclass(frozen=True, slots=True)
class Obstacles:
    """What must have ended before an exit in a symbol may be sent."""

    open_orders: tuple[OrderRecord, ...]
    unknown: tuple[Intent, ...]
    position: Decimal

    @property
    def none(self) -> bool:
        """Whether the way is clear."""
        return not (self.open_orders or self.unknown)


class Outgoing(Tables):
    """Intents on their way to the broker."""

    def __init__(
        self, db: Database, account: str, differences: Differences, protection: Protection
    ) -> None:
        super().__init__(db, account)
        self._differences = differences
        self._protection = protection

    # ------------------------------------------------------------------ what is to be done

    async def work_at(self, now: datetime) -> Work:
        """Everything the sender has to do at venue time `now`."""

        async def work(connection: AsyncConnection) -> Work:
            intents = await self._all(
                connection,
                f"""SELECT sequence, {INTENT_COLUMNS} FROM {SCHEMA}.intents
                    WHERE account = :account AND state IN {LIVE}
                      AND (state = 'UNKNOWN' OR (state = 'PENDING' AND act_from <= :now))
                    ORDER BY sequence LIMIT 1000""",
                now=now,
            )
            cancels = await self._all(
                connection,
                f"""SELECT {ORDER_COLUMNS} FROM {SCHEMA}.orders
                    WHERE account = :account AND cancel_asked_at IS NOT NULL AND status NOT IN {FINAL}
                    ORDER BY sequence LIMIT 1000""",
            )
            by_sequence = {int(row.sequence): intent_of(row) for row in intents}
            pending = [
                (n, i.purpose) for n, i in by_sequence.items() if i.state is IntentState.PENDING
            ]
            return Work(
                cancels=tuple(map(order_of, cancels)),
                unknown=tuple(i for i in by_sequence.values() if i.state is IntentState.UNKNOWN),
                due=tuple(by_sequence[n] for n in order_of_work(pending)),
            )

        return await self._db.run(work)

    async def make_way(self, exit_intent: Intent, *, at: datetime) -> Obstacles:
        """Withdraw what is unsent in the exit's symbol, ask to cancel what is open, and say what remains.

        Exits that were decided before it stay, since each sells its part: unsent ones unless this one is for everything,
        which they would only take off the market again, open ones unless all together would close more than is held.
        """

        async def work(connection: AsyncConnection) -> Obstacles:
            mine = {"symbol": exit_intent.symbol, "mine": exit_intent.client_order_id, "at": at}
            beside = await self._one(
                connection,
                f"""SELECT coalesce(sum(shares), 0) AS shares FROM (
                        SELECT max(o.quantity - o.filled_quantity) AS shares
                        FROM {SCHEMA}.orders o JOIN {SCHEMA}.intents i
                            ON i.account = o.account AND i.client_order_id = o.intent_id
                        WHERE o.account = :account AND o.symbol = :symbol AND o.status NOT IN {FINAL}
                          AND o.intent_id <> :mine AND i.purpose = 'exit'
                        GROUP BY o.intent_id) one""",
                symbol=exit_intent.symbol,
                mine=exit_intent.client_order_id,
            )
            assert beside is not None
            # After what rests beside it: a fill booked between the two makes less fit, and what rests is cancelled.
            # The other way round its shares would count as held and as sold already, and both exits could stand.
            held = abs(await self._position(connection, exit_intent.symbol))
            await self._do(
                connection,
                f"""UPDATE {SCHEMA}.intents SET state = 'CANCELLED_UNSENT', ended_at = :at,
                        reason = 'gives way to an exit'
                    WHERE account = :account AND symbol = :symbol AND state = 'PENDING'
                      AND client_order_id <> :mine AND (purpose <> 'exit' OR (:for_all AND sequence < (
                          SELECT sequence FROM {SCHEMA}.intents
                          WHERE account = :account AND client_order_id = :mine)))""",
                **mine,
                for_all=exit_intent.quantity >= held,
            )
            opened = await self._all(
                connection,
                f"""UPDATE {SCHEMA}.orders SET cancel_asked_at = coalesce(cancel_asked_at, :at)
                    WHERE account = :account AND symbol = :symbol AND status NOT IN {FINAL}
                      AND intent_id IS NOT NULL AND intent_id <> :mine
                      AND NOT (:all_fit AND cancel_asked_at IS NULL AND intent_id IN (
                          SELECT client_order_id FROM {SCHEMA}.intents
                          WHERE account = :account AND symbol = :symbol AND purpose = 'exit'))
                    RETURNING {ORDER_COLUMNS}""",
                **mine,
                all_fit=beside.shares + exit_intent.quantity <= held,
            )
            unknown = await self._all(
                connection,
                f"""SELECT {INTENT_COLUMNS} FROM {SCHEMA}.intents
                    WHERE account = :account AND symbol = :symbol AND state IN ('SENDING', 'UNKNOWN')
                      AND client_order_id <> :mine ORDER BY sequence""",
                symbol=exit_intent.symbol,
                mine=exit_intent.client_order_id,
            )
            incomplete = await self._all(
                connection,
                f"""SELECT {ORDER_COLUMNS} FROM {SCHEMA}.orders
                    WHERE account = :account AND symbol = :symbol AND booked_quantity < filled_quantity""",
                symbol=exit_intent.symbol,
            )
            position = await self._position(connection, exit_intent.symbol)
            return Obstacles(
                tuple(map(order_of, [*opened, *incomplete])),
                tuple(map(intent_of, unknown)),
                position,
            )

        return await self._db.run(work)

    async def end_unsent(
        self, intent: Intent, state: IntentState, why: str, *, at: datetime
    ) -> None:
        """End an intent that has not left."""

        async def work(connection: AsyncConnection) -> None:
            await self._end(connection, intent, (IntentState.PENDING,), state, why, at)
            await self._protection.plan(connection, {intent.symbol}, at)

        await self._db.run(work)

    async def position(self, symbol: Symbol) -> Decimal:
        """Signed shares held."""

        async def work(connection: AsyncConnection) -> Decimal:
            return await self._position(connection, symbol)

        return await self._db.run(work)

    # ------------------------------------------------------------------ may it leave?

    async def verdict(self, intent: Intent, *, epoch: int, now: datetime) -> Verdict:
        """Whether it may leave now; nothing is changed."""

        async def work(connection: AsyncConnection) -> Verdict:
            return await self._verdict(connection, intent, epoch, now)

        return await self._db.run(work)

    async def begin_sending(
        self, intent: Intent, *, quantity: Decimal, epoch: int, now: datetime
    ) -> Verdict:
        """Mark a PENDING intent SENDING, if at this moment it may leave: the last look before the wire.

        The shared lock on the account keeps mode and limits as they are seen here until this commits.
        """

        async def work(connection: AsyncConnection) -> Verdict:
            verdict = await self._verdict(connection, intent, epoch, now)
            if isinstance(verdict, End):
                await self._end(
                    connection, intent, (IntentState.PENDING,), verdict.state, verdict.why, now
                )
                # What it had taken out of its way is put back at once.
                await self._protection.plan(connection, {intent.symbol}, now)
            if not isinstance(verdict, Go):
                return verdict
            row = await self._one(
                connection,
                f"""UPDATE {SCHEMA}.intents SET state = 'SENDING', sent_at = :now, posts = posts + 1,
                        quantity = :quantity, time_in_force = :force, epoch = :epoch
                    WHERE account = :account AND client_order_id = :id AND state = 'PENDING'
                      AND quantity = :decided
                    RETURNING client_order_id""",
                now=now,
                # A split may have put it into new shares since it was read.
                decided=intent.quantity,
                quantity=quantity,
                force=intent.with_quantity(quantity).time_in_force.value,
                epoch=epoch,
                id=intent.client_order_id,
            )
            return verdict if row is not None else Wait("it is not PENDING any more")

        return await self._db.run(work)

    async def replaced_by(self, intent: Intent) -> Intent | None:
        """The intent whose order `intent` takes the place of, as it is now."""

        async def work(connection: AsyncConnection) -> Intent | None:
            row = await self._one(
                connection,
                f"""SELECT {INTENT_COLUMNS} FROM {SCHEMA}.intents
                    WHERE account = :account AND client_order_id = :id""",
                id=intent.replaces,
            )
            return None if row is None else intent_of(row)

        return await self._db.read(work)

    async def begin_sending_again(self, intent: Intent, *, epoch: int, now: datetime) -> bool:
        """Count one more POST of an UNKNOWN intent, if it may be posted again."""

        async def work(connection: AsyncConnection) -> bool:
            await lock(connection, f"account:{self.account}", shared=True)
            seen = await self._circumstances(connection, intent, epoch, now, is_again=True)
            row = await self._one(
                connection,
                f"""SELECT {INTENT_COLUMNS} FROM {SCHEMA}.intents
                    WHERE account = :account AND client_order_id = :id FOR UPDATE""",
                id=intent.client_order_id,
            )
            if seen is None or row is None or not may_be_posted_again(intent_of(row), seen):
                return False
            await self._do(
                connection,
                f"""UPDATE {SCHEMA}.intents SET posts = posts + 1, epoch = :epoch
                    WHERE account = :account AND client_order_id = :id""",
                epoch=epoch,
                id=intent.client_order_id,
            )
            return True

        return await self._db.run(work)

    async def _verdict(
        self, connection: AsyncConnection, intent: Intent, epoch: int, now: datetime
    ) -> Verdict:
        await lock(connection, f"account:{self.account}", shared=True)
        seen = await self._circumstances(connection, intent, epoch, now)
        if seen is None:
            return Wait("another executor has taken over")
        return may_leave(intent, seen)

    async def _circumstances(
        self,
        connection: AsyncConnection,
        intent: Intent,
        epoch: int,
        now: datetime,
        *,
        is_again: bool = False,
    ) -> Circumstances | None:
        """What `may_leave` asks for; None when this term is over.

        Args:
            is_again: whether `may_be_posted_again` asks: exits that were decided later are looked for then alone.
        """
        row = await self._one(
            connection,
            f"""SELECT s.state,
                    (SELECT mode FROM risk_manager.v_mode WHERE account = :account) AS mode,
                    EXISTS (SELECT FROM {SCHEMA}.differences WHERE account = :account
                        AND symbol = :symbol AND closed_at IS NULL) AS paused,
                    EXISTS (SELECT FROM {SCHEMA}.differences WHERE account = :account
                        AND closed_at IS NULL
                        AND (kind = 'CLOCK' OR (kind = 'SESSION' AND subject = :today))) AS disputed,
                    EXISTS (SELECT FROM {SCHEMA}.intents WHERE account = :account AND symbol = :symbol
                        AND state IN ('SENDING', 'UNKNOWN') AND client_order_id <> :mine) AS unknown,
                    CAST(:is_again AS boolean) AND EXISTS (
                        SELECT FROM {SCHEMA}.intents WHERE account = :account AND symbol = :symbol
                        AND purpose = 'exit' AND sequence > (SELECT sequence FROM {SCHEMA}.intents
                            WHERE account = :account AND client_order_id = :mine)) AS is_left_since,
                    coalesce((d.figures ->> 'limits_version')::int, 0) < (
                        SELECT max(version) FROM risk_manager.v_limit_changes
                        WHERE account = :account) AS limits_changed,
                    d.symbol, d.side, d.purpose, d.quantity, d.type, d.limit_price, d.stop_price, d.act_until,
                    d.figures ->> 'notional' AS notional,
                    (SELECT array_agg(ARRAY[held_before, held_before + quantity]) FROM {SCHEMA}.v_splits
                        WHERE account = :account AND symbol = d.symbol AND booked_at > d.decided_at) AS splits,
                    (SELECT quantity FROM {SCHEMA}.v_positions
                        WHERE account = :account AND symbol = :symbol) AS position
                FROM {SCHEMA}.status s
                LEFT JOIN risk_manager.v_decisions d ON d.account = s.account
                    AND d.decision_id = :decision AND d.outcome = 'approved'
                WHERE s.account = :account AND s.epoch = :epoch""",
            symbol=intent.symbol,
            today=f"{now.astimezone(NEW_YORK):%Y-%m-%d}",
            mine=intent.client_order_id,
            decision=intent.decision_id,
            epoch=epoch,
            is_again=is_again,
        )
        if row is None:
            return None
        return Circumstances(
            now=now,
            mode=None if row.mode is None else TradingMode(row.mode),
            state=ExecutorState(row.state),
            is_symbol_paused=row.paused,
            has_unknown_in_symbol=row.unknown,
            are_hours_disputed=row.disputed,
            limits_have_changed=bool(row.limits_changed),
            unlike_approval=unlike_approval(intent, _approval(row)),
            position=row.position or Decimal(0),
            is_left_since=row.is_left_since,
        )

    # ------------------------------------------------------------------ what came of sending

    async def record_refusal(self, intent: Intent, reason: str, *, at: datetime) -> None:
        """The broker said a definite no."""

        async def work(connection: AsyncConnection) -> None:
            states = (IntentState.SENDING, IntentState.UNKNOWN)
            await self._end(connection, intent, states, IntentState.REJECTED, reason, at)
            if intent.purpose is IntentPurpose.PROTECT:
                await self._protection.note_refusal(connection, intent, reason, at)
            await self._protection.plan(connection, {intent.symbol}, at)

        await self._db.run(work)

    async def record_unknown(self, intent: Intent, why: str, *, at: datetime) -> None:
        """Nobody knows whether the order lives; unless the stream has already told."""

        async def work(connection: AsyncConnection) -> None:
            await self._do(
                connection,
                f"""UPDATE {SCHEMA}.intents SET state = 'UNKNOWN', reason = :why
                    WHERE account = :account AND client_order_id = :id AND state = 'SENDING'""",
                why=why[:500],
                id=intent.client_order_id,
            )
            await self._insert_frames(
                connection,
                [Frame("", "outcome_unknown", None, f"{intent.client_order_id}: {why}")],
                at,
            )

        await self._db.run(work)

    async def record_probe(self, intent: Intent) -> None:
        """A look-up was answered with a 404."""

        async def work(connection: AsyncConnection) -> None:
            await self._do(
                connection,
                f"""UPDATE {SCHEMA}.intents SET probes = probes + 1
                    WHERE account = :account AND client_order_id = :id""",
                id=intent.client_order_id,
            )

        await self._db.run(work)

    async def record_mismatch(
        self, intent: Intent, found: BrokerOrder, unlike: str, *, at: datetime
    ) -> None:
        """Under the intent's id another order lives: ours never came to be, and the symbol is paused."""

        async def work(connection: AsyncConnection) -> None:
            states = (IntentState.SENDING, IntentState.UNKNOWN)
            why = f"the broker has another order under this id: {unlike}"
            await self._end(connection, intent, states, IntentState.REJECTED, why, at)
            await self._differences.open_within(
                connection, "ORDER_MISMATCH", intent.client_order_id, intent.symbol,
                ours=f"{intent.side} {plain(intent.quantity)} {intent.type}", theirs=unlike,
                evidence=dict(found.raw), at=at,
            )  # fmt: skip

        await self._db.run(work)

    async def record_never_existed(self, intent: Intent, proof: str, *, at: datetime) -> None:
        """The session is over and neither orders nor executions know it."""

        async def work(connection: AsyncConnection) -> None:
            await self._end(
                connection, intent, (IntentState.UNKNOWN,), IntentState.NEVER_EXISTED, proof, at
            )
            await self._insert_frames(
                connection, [Frame(proof, "never_existed", None, intent.client_order_id)], at
            )
            await self._protection.plan(connection, {intent.symbol}, at)

        await self._db.run(work)


def _approval(row: Row[Any]) -> Approval | None:
    if row.symbol is None:
        return None
    return Approval(
        Symbol(row.symbol),
        Side(row.side),
        Purpose(row.purpose),
        in_new_shares(row.quantity, row.splits or ()),
        OrderType(row.type),
        row.limit_price,
        row.stop_price,
        row.act_until,
        None if row.notional is None else Decimal(row.notional),
    )
