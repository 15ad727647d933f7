"""How do intents, orders, fills and cash rest in PostgreSQL?

Each method is one transaction and leaves the tables whole: what an order filled, its fills, its intent's
state, the announcement of each fill and the protection that follows are one commit. Decisions come from
`lifecycle`; here they are read, applied and written. Rows are locked in the order of their keys.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
from sqlalchemy import Row, TextClause, text
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.postgres import Cursor, Database, Outbox, OutboxRow, lock
from shared.domain.decisions import Approved, Purpose, Review, TradingMode
from shared.domain.errors import InvalidInput
from shared.domain.ids import client_order_id
from shared.domain.ledger import Fill
from shared.domain.money import plain
from shared.domain.orders import (
    IntentState,
    OrderClass,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
)
from shared.domain.signals import ManualOrder
from shared.domain.symbols import Symbol
from shared.messages import EXECUTION, EXECUTIONS, MANUAL_ORDER, MANUAL_ORDERS, REVIEW, REVIEWS
from shared.ports import BrokerAccount, BrokerExecution, BrokerOrder
from trade_executor.lifecycle import (
    MAX_PROTECTION_REFUSALS,
    Circumstances,
    End,
    ExecutorState,
    Go,
    Holding,
    Intent,
    IntentPurpose,
    OrderRecord,
    Verdict,
    Wait,
    bar_has_closed_over,
    difference_to,
    first_record,
    intent_after,
    is_same_execution,
    known_status,
    may_be_posted_again,
    may_leave,
    merged,
    order_of_work,
    protection_needed,
)

SCHEMA = "trade_executor"
_LIVE = "('PENDING', 'SENDING', 'UNKNOWN', 'ACKED', 'PARTIAL')"
_FINAL = "('filled', 'canceled', 'expired', 'replaced', 'rejected')"
# Protection stands until it is used or withdrawn; this only bounds how long it may wait to be sent.
_PROTECTION_LASTS = timedelta(days=90)
_MAX_RAW = 64 * 1024
_REVIEWS_AT_ONCE = 100
_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Frame:
    """One line of evidence as it came, kept before anybody understood it."""

    raw: str
    event: str | None = None
    broker_order_id: str | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Booked:
    """What one booking changed, and what it could not explain."""

    fills: tuple[Fill, ...] = ()
    # Orders seen on the stream that are neither ours nor known as legs: a full look must tell.
    unexplained: tuple[str, ...] = ()
    # Orders of which the broker says more was filled than executions have come.
    incomplete: tuple[str, ...] = ()
    made_work: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """What reading the next reviews came to."""

    made_work: bool
    are_more: bool


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


@dataclass(frozen=True, slots=True)
class Status:
    """The stored state of this account's executor."""

    state: ExecutorState
    epoch: int
    reconciled_at: datetime | None


@dataclass(slots=True)
class _Batch:
    """The working set of one booking."""

    at: datetime
    # Orders ended and executions made before these are inside the opening figures.
    adopted_at: datetime | None = None
    ledger_from: datetime | None = None
    records: dict[str, OrderRecord] = field(default_factory=dict)
    intents: dict[str, Intent] = field(default_factory=dict)
    new_states: dict[str, IntentState] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    fills: list[dict[str, Any]] = field(default_factory=list)
    unexplained: set[str] = field(default_factory=set)
    external: list[OrderRecord] = field(default_factory=list)


class Store:
    """Everything of one account."""

    def __init__(self, db: Database, account: str) -> None:
        self._db = db
        self.account = account
        self._outbox = Outbox(SCHEMA, account)
        self._reviews = Outbox("risk_manager", account)
        self._cursor = Cursor(SCHEMA, "risk_manager", account)
        # Written once when the account is adopted, so it may be remembered.
        self._opening: tuple[datetime, datetime] | None = None

    # ------------------------------------------------------------------ terms of office

    async def begin_term(self, at: datetime) -> int:
        """Take over: a new epoch, and what was SENDING when the last holder went is UNKNOWN."""

        async def work(connection: AsyncConnection) -> int:
            row = await self._one(
                connection,
                f"""INSERT INTO {SCHEMA}.status (account, state, since_at, reason, epoch)
                    VALUES (:account, 'RECONCILING', :at, 'took over', 1)
                    ON CONFLICT (account) DO UPDATE SET state = 'RECONCILING', since_at = EXCLUDED.since_at,
                        reason = EXCLUDED.reason, epoch = status.epoch + 1
                    RETURNING epoch""",
                at=at,
            )
            await self._do(
                connection,
                f"""UPDATE {SCHEMA}.intents SET state = 'UNKNOWN', reason = 'was being sent when its sender ended'
                    WHERE account = :account AND state = 'SENDING'""",
            )
            assert row is not None
            return int(row.epoch)

        return await self._db.run(work)

    async def set_state(
        self, state: ExecutorState, reason: str, *, epoch: int, at: datetime
    ) -> None:
        """Say what this term's executor may do; nothing happens once another has taken over."""

        async def work(connection: AsyncConnection) -> None:
            await self._do(
                connection,
                f"""UPDATE {SCHEMA}.status SET state = :state, reason = :reason, since_at = :at
                    WHERE account = :account AND epoch = :epoch AND (state, reason) <> (:state, :reason)""",
                state=state.value,
                reason=reason,
                epoch=epoch,
                at=at,
            )

        await self._db.run(work)

    async def mark_reconciled(self, *, epoch: int, at: datetime) -> None:
        """Note that everything up to `at` has been compared."""

        async def work(connection: AsyncConnection) -> None:
            await self._do(
                connection,
                f"""UPDATE {SCHEMA}.status SET reconciled_at = :at
                    WHERE account = :account AND epoch = :epoch""",
                epoch=epoch,
                at=at,
            )

        await self._db.run(work)

    async def status(self) -> Status | None:
        """The stored state; None when no executor ever ran for this account."""

        async def work(connection: AsyncConnection) -> Status | None:
            row = await self._one(
                connection,
                f"SELECT state, epoch, reconciled_at FROM {SCHEMA}.status WHERE account = :account",
            )
            if row is None:
                return None
            return Status(ExecutorState(row.state), int(row.epoch), row.reconciled_at)

        return await self._db.run(work)

    # ------------------------------------------------------------------ the account

    async def pinned_account(self) -> str | None:
        """The broker account this label belongs to; None before the first adoption."""

        async def work(connection: AsyncConnection) -> str | None:
            row = await self._one(
                connection,
                f"SELECT broker_account_id FROM {SCHEMA}.accounts WHERE account = :account",
            )
            return None if row is None else str(row.broker_account_id)

        return await self._db.run(work)

    async def adopt(
        self,
        account: BrokerAccount,
        positions: Mapping[Symbol, Decimal],
        *,
        ledger_from: datetime,
        at: datetime,
    ) -> None:
        """Pin the broker's account and open the ledger with what it holds now. Once; later calls do nothing."""

        async def work(connection: AsyncConnection) -> None:
            await lock(connection, f"account:{self.account}")
            row = await self._one(
                connection,
                f"""INSERT INTO {SCHEMA}.accounts (account, broker_account_id, adopted_at, ledger_from)
                    VALUES (:account, :broker_id, :at, :ledger_from)
                    ON CONFLICT (account) DO NOTHING RETURNING account""",
                broker_id=account.account_id,
                at=at,
                ledger_from=ledger_from,
            )
            if row is None:
                return
            await self._do(
                connection,
                f"""INSERT INTO {SCHEMA}.cash_entries (account, key, amount, reason, evidence, entered_at)
                    VALUES (:account, 'opening', :cash, 'OPENING_BALANCE', CAST(:evidence AS jsonb), :at)""",
                cash=account.cash,
                evidence=_json(dict(account.raw)),
                at=at,
            )
            for symbol, quantity in sorted(positions.items()):
                await self._do(
                    connection,
                    f"""INSERT INTO {SCHEMA}.adjustments
                            (account, key, symbol, quantity, reason, evidence, entered_at)
                        VALUES (:account, :key, :symbol, :quantity, 'OPENING_POSITION',
                                CAST(:evidence AS jsonb), :at)""",
                    key=f"opening:{symbol}",
                    symbol=symbol,
                    quantity=quantity,
                    evidence=_json({"broker_quantity": plain(quantity)}),
                    at=at,
                )

        await self._db.run(work)

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
            return held, cash.cash or _ZERO, int(cash.newest or 0)

        return await self._db.run(work)

    # ------------------------------------------------------------------ reviews become intents

    async def take_reviews(self, *, at: datetime) -> Taken:
        """Turn the next reviews into intents and move the cursor with them."""

        async def work(connection: AsyncConnection) -> Taken:
            made_work = False
            position = await self._cursor.position(connection)
            rows = await self._reviews.after(
                connection, position, topics=(REVIEWS,), limit=_REVIEWS_AT_ONCE
            )
            for row in rows:
                try:
                    review = REVIEW.decode(row.payload)
                except InvalidInput as error:
                    await self._quarantine(connection, row, str(error), at)
                    continue
                made_work |= await self._apply_review(connection, review, at)
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
        rows = [_intent_row(approved, at) for approved in review.approved if approved.quantity > 0]
        if rows:
            await connection.execute(_INSERT_INTENT, rows)
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
                WHERE account = :account AND cancel_asked_at IS NULL AND status NOT IN {_FINAL}
                  AND parent_order_id IS NULL AND intent_id IN (
                    SELECT client_order_id FROM {SCHEMA}.intents
                    WHERE account = :account AND state IN {_LIVE} AND purpose = 'entry')
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
            f"""SELECT {_INTENT_COLUMNS} FROM {SCHEMA}.intents
                WHERE account = :account AND state IN {_LIVE} AND state = 'PARTIAL'
                  AND order_class = 'bracket'""",
        )
        partial = [i for i in map(_intent, rows) if bar_has_closed_over(i, instant_at)]
        if partial:
            await self._do(
                connection,
                f"""UPDATE {SCHEMA}.orders SET cancel_asked_at = :at
                    WHERE account = :account AND client_order_id = ANY(:ids)
                      AND cancel_asked_at IS NULL AND status NOT IN {_FINAL}""",
                at=at,
                ids=[intent.client_order_id for intent in partial],
            )
        return bool(partial)

    # ------------------------------------------------------------------ what is to be done

    async def work_at(self, now: datetime) -> Work:
        """Everything the sender has to do at venue time `now`."""

        async def work(connection: AsyncConnection) -> Work:
            intents = await self._all(
                connection,
                f"""SELECT sequence, {_INTENT_COLUMNS} FROM {SCHEMA}.intents
                    WHERE account = :account AND state IN {_LIVE}
                      AND (state = 'UNKNOWN' OR (state = 'PENDING' AND act_from <= :now))
                    ORDER BY sequence LIMIT 1000""",
                now=now,
            )
            cancels = await self._all(
                connection,
                f"""SELECT {_ORDER_COLUMNS} FROM {SCHEMA}.orders
                    WHERE account = :account AND cancel_asked_at IS NOT NULL AND status NOT IN {_FINAL}
                    ORDER BY sequence LIMIT 1000""",
            )
            by_sequence = {int(row.sequence): _intent(row) for row in intents}
            pending = [
                (n, i.purpose) for n, i in by_sequence.items() if i.state is IntentState.PENDING
            ]
            return Work(
                cancels=tuple(map(_order, cancels)),
                unknown=tuple(i for i in by_sequence.values() if i.state is IntentState.UNKNOWN),
                due=tuple(by_sequence[n] for n in order_of_work(pending)),
            )

        return await self._db.run(work)

    async def make_way(self, exit_intent: Intent, *, at: datetime) -> Obstacles:
        """Withdraw what is unsent in the exit's symbol, ask to cancel what is open, and say what remains."""

        async def work(connection: AsyncConnection) -> Obstacles:
            mine = {"symbol": exit_intent.symbol, "mine": exit_intent.client_order_id, "at": at}
            await self._do(
                connection,
                f"""UPDATE {SCHEMA}.intents SET state = 'CANCELLED_UNSENT', ended_at = :at,
                        reason = 'gives way to an exit'
                    WHERE account = :account AND symbol = :symbol AND state = 'PENDING'
                      AND purpose <> 'exit' AND client_order_id <> :mine""",
                **mine,
            )
            opened = await self._all(
                connection,
                f"""UPDATE {SCHEMA}.orders SET cancel_asked_at = coalesce(cancel_asked_at, :at)
                    WHERE account = :account AND symbol = :symbol AND status NOT IN {_FINAL}
                      AND intent_id IS NOT NULL AND intent_id <> :mine
                    RETURNING {_ORDER_COLUMNS}""",
                **mine,
            )
            unknown = await self._all(
                connection,
                f"""SELECT {_INTENT_COLUMNS} FROM {SCHEMA}.intents
                    WHERE account = :account AND symbol = :symbol AND state IN ('SENDING', 'UNKNOWN')
                      AND client_order_id <> :mine ORDER BY sequence""",
                symbol=exit_intent.symbol,
                mine=exit_intent.client_order_id,
            )
            incomplete = await self._all(
                connection,
                f"""SELECT {_ORDER_COLUMNS} FROM {SCHEMA}.orders
                    WHERE account = :account AND symbol = :symbol AND booked_quantity < filled_quantity""",
                symbol=exit_intent.symbol,
            )
            position = await self._position(connection, exit_intent.symbol)
            return Obstacles(
                tuple(map(_order, [*opened, *incomplete])), tuple(map(_intent, unknown)), position
            )

        return await self._db.run(work)

    async def end_unsent(
        self, intent: Intent, state: IntentState, why: str, *, at: datetime
    ) -> None:
        """End an intent that has not left."""

        async def work(connection: AsyncConnection) -> None:
            await self._end(connection, intent, (IntentState.PENDING,), state, why, at)
            await self._protect(connection, {intent.symbol}, at)

        await self._db.run(work)

    async def verdict(self, intent: Intent, *, epoch: int, now: datetime) -> Verdict:
        """Whether it may leave now; nothing is changed."""

        async def work(connection: AsyncConnection) -> Verdict:
            return await self._verdict(connection, intent, epoch, now)

        return await self._db.run(work)

    async def position(self, symbol: Symbol) -> Decimal:
        """Signed shares held."""

        async def work(connection: AsyncConnection) -> Decimal:
            return await self._position(connection, symbol)

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
            if not isinstance(verdict, Go):
                return verdict
            row = await self._one(
                connection,
                f"""UPDATE {SCHEMA}.intents SET state = 'SENDING', sent_at = :now, posts = posts + 1,
                        quantity = :quantity, epoch = :epoch
                    WHERE account = :account AND client_order_id = :id AND state = 'PENDING'
                    RETURNING client_order_id""",
                now=now,
                quantity=quantity,
                epoch=epoch,
                id=intent.client_order_id,
            )
            return verdict if row is not None else Wait("it is not PENDING any more")

        return await self._db.run(work)

    async def begin_sending_again(self, intent: Intent, *, epoch: int, now: datetime) -> bool:
        """Count one more POST of an UNKNOWN intent, if it may be posted again."""

        async def work(connection: AsyncConnection) -> bool:
            await lock(connection, f"account:{self.account}", shared=True)
            seen = await self._circumstances(connection, intent, epoch, now)
            row = await self._one(
                connection,
                f"""SELECT {_INTENT_COLUMNS} FROM {SCHEMA}.intents
                    WHERE account = :account AND client_order_id = :id FOR UPDATE""",
                id=intent.client_order_id,
            )
            if seen is None or row is None or not may_be_posted_again(_intent(row), seen):
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
        self, connection: AsyncConnection, intent: Intent, epoch: int, now: datetime
    ) -> Circumstances | None:
        """What `may_leave` asks for; None when this term is over."""
        row = await self._one(
            connection,
            f"""SELECT s.state,
                    (SELECT mode FROM risk_manager.v_mode WHERE account = :account) AS mode,
                    EXISTS (SELECT FROM {SCHEMA}.differences WHERE account = :account
                        AND symbol = :symbol AND closed_at IS NULL) AS paused,
                    EXISTS (SELECT FROM {SCHEMA}.intents WHERE account = :account AND symbol = :symbol
                        AND state IN ('SENDING', 'UNKNOWN') AND client_order_id <> :mine) AS unknown
                FROM {SCHEMA}.status s WHERE s.account = :account AND s.epoch = :epoch""",
            symbol=intent.symbol,
            mine=intent.client_order_id,
            epoch=epoch,
        )
        if row is None:
            return None
        return Circumstances(
            now=now,
            mode=None if row.mode is None else TradingMode(row.mode),
            state=ExecutorState(row.state),
            is_symbol_paused=row.paused,
            has_unknown_in_symbol=row.unknown,
        )

    # ------------------------------------------------------------------ what came of sending

    async def record_refusal(self, intent: Intent, reason: str, *, at: datetime) -> None:
        """The broker said a definite no."""

        async def work(connection: AsyncConnection) -> None:
            states = (IntentState.SENDING, IntentState.UNKNOWN)
            await self._end(connection, intent, states, IntentState.REJECTED, reason, at)
            if intent.purpose is IntentPurpose.PROTECT:
                await self._note_refused_protection(connection, intent, reason, at)
            await self._protect(connection, {intent.symbol}, at)

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
            await self._open_difference(
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
            await self._protect(connection, {intent.symbol}, at)

        await self._db.run(work)

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
            for seen in orders:
                self._merge_tree(batch, seen, None, is_whole=is_whole)
            await self._book_executions(connection, batch, executions)
            self._follow_intents(batch)
            await self._write(connection, batch)
            touched = {batch.records[order_id].symbol for order_id in batch.changed}
            made_work = await self._protect(connection, touched, at)
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
                made_work=made_work,
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
            f"""SELECT {_ORDER_COLUMNS} FROM {SCHEMA}.orders
                WHERE account = :account AND broker_order_id = ANY(:ids)
                ORDER BY broker_order_id FOR UPDATE""",
            ids=sorted(order_ids),
        )
        batch.records = {record.broker_order_id: record for record in map(_order, rows)}
        names = {seen.client_order_id for seen in flat}
        names |= {r.intent_id for r in batch.records.values() if r.intent_id is not None}
        rows = await self._all(
            connection,
            f"""SELECT {_INTENT_COLUMNS} FROM {SCHEMA}.intents
                WHERE account = :account AND client_order_id = ANY(:ids)
                ORDER BY client_order_id FOR UPDATE""",
            ids=sorted(names),
        )
        batch.intents = {intent.client_order_id: intent for intent in map(_intent, rows)}

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
            if intent is None and parent is None and _was_over(seen, batch.adopted_at):
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
            if intent_id is None and parent is None:
                batch.external.append(record)
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
            f"""SELECT broker_order_id, execution_id, cumulative_quantity, quantity, price
                FROM {SCHEMA}.fills WHERE account = :account AND broker_order_id = ANY(:ids)""",
            ids=sorted({e.broker_order_id for e in executions}),
        )
        booked: dict[str, list[tuple[str, Decimal | None, Decimal, Decimal]]] = {}
        for row in rows:
            booked.setdefault(row.broker_order_id, []).append(
                (row.execution_id, row.cumulative_quantity, row.quantity, row.price)
            )
        for execution in executions:
            record = batch.records.get(execution.broker_order_id)
            if record is None:
                if batch.ledger_from is not None and execution.executed_at <= batch.ledger_from:
                    continue  # it is inside the opening figures
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
                        "filled": intent.filled_quantity,
                        "broker_id": intent.broker_order_id,
                        "at": batch.at,
                        "ended_at": batch.at if intent.state.is_final else None,
                    }
                    for intent in moved
                ],
            )
        if batch.fills:
            await connection.execute(_INSERT_FILL, batch.fills)
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
        for record in batch.external:
            await self._open_difference(
                connection, "EXTERNAL_ORDER", record.broker_order_id, record.symbol,
                ours="no such order",
                theirs=f"{record.side} {record.quantity} {record.type} {record.status}",
                evidence={"client_order_id": record.client_order_id}, at=batch.at,
            )  # fmt: skip

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

    # ------------------------------------------------------------------ protection

    async def protect_bare_positions(self, *, at: datetime) -> bool:
        """Plan protection wherever shares lost it; True when there is something to send."""

        async def work(connection: AsyncConnection) -> bool:
            rows = await self._all(
                connection, f"SELECT symbol FROM {SCHEMA}.v_positions WHERE account = :account"
            )
            return await self._protect(connection, {Symbol(row.symbol) for row in rows}, at)

        return await self._db.run(work)

    async def _protect(
        self, connection: AsyncConnection, symbols: Iterable[Symbol], at: datetime
    ) -> bool:
        made_work = False
        for symbol in sorted(symbols):
            quantity = await self._position(connection, symbol)
            if quantity == 0:
                continue
            holding = await self._holding(connection, symbol, quantity)
            bare = protection_needed(holding)
            if bare > 0 and holding.last_bracket is not None:
                await connection.execute(
                    _INSERT_INTENT,
                    [
                        _protection_row(
                            self.account, holding.last_bracket, bare, holding.protections, at
                        )
                    ],
                )
                made_work = True
        return made_work

    async def _holding(
        self, connection: AsyncConnection, symbol: Symbol, quantity: Decimal
    ) -> Holding:
        entry = await self._one(
            connection,
            f"""SELECT {_INTENT_COLUMNS} FROM {SCHEMA}.intents
                WHERE account = :account AND symbol = :symbol AND order_class = 'bracket'
                  AND purpose = 'entry' AND filled_quantity > 0
                ORDER BY sequence DESC LIMIT 1""",
            symbol=symbol,
        )
        if entry is None:
            return Holding(quantity, (), (), None, has_known_legs=False, protections=0, refused=0)
        live = await self._all(
            connection,
            f"""SELECT {_INTENT_COLUMNS} FROM {SCHEMA}.intents
                WHERE account = :account AND symbol = :symbol AND state IN {_LIVE}""",
            symbol=symbol,
        )
        opened = await self._all(
            connection,
            f"""SELECT {_ORDER_COLUMNS} FROM {SCHEMA}.orders
                WHERE account = :account AND symbol = :symbol AND status NOT IN {_FINAL}""",
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
            live_intents=tuple(map(_intent, live)),
            open_orders=tuple(map(_order, opened)),
            last_bracket=_intent(entry),
            has_known_legs=counts.legs,
            protections=int(counts.made),
            refused=int(counts.refused),
        )

    async def _note_refused_protection(
        self, connection: AsyncConnection, intent: Intent, reason: str, at: datetime
    ) -> None:
        if intent.generation + 1 < MAX_PROTECTION_REFUSALS:
            return
        await self._open_difference(
            connection, "PROTECTION_REFUSED", intent.client_order_id, intent.symbol,
            ours=f"OCO for {plain(intent.quantity)} shares", theirs=reason, evidence={}, at=at,
        )  # fmt: skip

    async def _position(self, connection: AsyncConnection, symbol: Symbol) -> Decimal:
        row = await self._one(
            connection,
            f"SELECT quantity FROM {SCHEMA}.v_positions WHERE account = :account AND symbol = :symbol",
            symbol=symbol,
        )
        return _ZERO if row is None else row.quantity

    # ------------------------------------------------------------------ reconciliation

    async def open_roots(self) -> list[str]:
        """Orders of ours to look up: open ones by their first order, and brackets whose legs we never saw."""

        async def work(connection: AsyncConnection) -> list[str]:
            rows = await self._all(
                connection,
                f"""SELECT DISTINCT coalesce(o.parent_order_id, o.broker_order_id) AS root
                    FROM {SCHEMA}.orders o
                    WHERE o.account = :account AND o.status NOT IN {_FINAL}
                    UNION
                    SELECT o.broker_order_id FROM {SCHEMA}.orders o
                    JOIN {SCHEMA}.intents i ON i.account = o.account AND i.client_order_id = o.intent_id
                    WHERE o.account = :account AND o.parent_order_id IS NULL
                      AND i.order_class <> 'simple' AND o.status <> 'rejected'
                      AND o.client_order_id = i.client_order_id
                      AND NOT EXISTS (SELECT FROM {SCHEMA}.orders leg WHERE leg.account = o.account
                          AND leg.parent_order_id = o.broker_order_id)
                    LIMIT 1000""",
            )
            return sorted(str(row.root) for row in rows)

        return await self._db.run(work)

    async def oldest_open_question_at(self) -> datetime | None:
        """Since when executions or outcomes are missing; None when nothing is."""

        async def work(connection: AsyncConnection) -> datetime | None:
            row = await self._one(
                connection,
                f"""SELECT least(
                        (SELECT min(sent_at) FROM {SCHEMA}.intents
                         WHERE account = :account AND state IN {_LIVE} AND state = 'UNKNOWN'),
                        (SELECT min(coalesce(submitted_at, first_seen_at)) FROM {SCHEMA}.orders
                         WHERE account = :account AND booked_quantity < filled_quantity)) AS since""",
            )
            return None if row is None else row.since

        return await self._db.run(work)

    async def unknown_intents(self) -> list[Intent]:
        """Intents whose outcome nobody knows."""

        async def work(connection: AsyncConnection) -> list[Intent]:
            rows = await self._all(
                connection,
                f"""SELECT {_INTENT_COLUMNS} FROM {SCHEMA}.intents
                    WHERE account = :account AND state IN {_LIVE} AND state = 'UNKNOWN' ORDER BY sequence""",
            )
            return list(map(_intent, rows))

        return await self._db.run(work)

    async def settle_difference(
        self,
        kind: str,
        subject: str,
        symbol: Symbol | None,
        *,
        ours: str,
        theirs: str,
        differs: bool,
        at: datetime,
    ) -> None:
        """Open the difference, or close it by itself when both sides agree again."""

        async def work(connection: AsyncConnection) -> None:
            if differs:
                await self._open_difference(
                    connection, kind, subject, symbol, ours=ours, theirs=theirs, evidence={}, at=at
                )
            else:
                await self._do(
                    connection,
                    f"""UPDATE {SCHEMA}.differences SET closed_at = :at, closed_by = 'agreement'
                        WHERE account = :account AND kind = :kind AND subject = :subject
                          AND closed_at IS NULL""",
                    at=at,
                    kind=kind,
                    subject=subject,
                )

        await self._db.run(work)

    async def open_differences(self) -> list[dict[str, Any]]:
        """What is open, oldest first."""

        async def work(connection: AsyncConnection) -> list[dict[str, Any]]:
            rows = await self._all(
                connection,
                f"""SELECT kind, subject, symbol, ours, theirs, opened_at FROM {SCHEMA}.differences
                    WHERE account = :account AND closed_at IS NULL ORDER BY id LIMIT 500""",
            )
            return [dict(row._mapping) for row in rows]

        return await self._db.run(work)

    async def acknowledge(self, symbols: Sequence[Symbol], *, actor: str, at: datetime) -> int:
        """A person has looked: close what is open in `symbols`, so that entries may go again."""

        async def work(connection: AsyncConnection) -> int:
            rows = await self._all(
                connection,
                f"""UPDATE {SCHEMA}.differences SET closed_at = :at, closed_by = :actor
                    WHERE account = :account AND closed_at IS NULL AND symbol = ANY(:symbols)
                    RETURNING id""",
                at=at,
                actor=actor,
                symbols=list(symbols),
            )
            return len(rows)

        return await self._db.run(work)

    async def _open_difference(
        self,
        connection: AsyncConnection,
        kind: str,
        subject: str,
        symbol: Symbol | None,
        *,
        ours: str,
        theirs: str,
        evidence: Mapping[str, Any],
        at: datetime,
    ) -> None:
        await self._do(
            connection,
            f"""INSERT INTO {SCHEMA}.differences
                    (account, kind, subject, symbol, ours, theirs, evidence, opened_at)
                VALUES (:account, :kind, :subject, :symbol, :ours, :theirs, CAST(:evidence AS jsonb), :at)
                ON CONFLICT (account, kind, subject) WHERE closed_at IS NULL
                DO UPDATE SET ours = EXCLUDED.ours, theirs = EXCLUDED.theirs""",
            kind=kind,
            subject=subject,
            symbol=symbol,
            ours=ours[:500],
            theirs=theirs[:500],
            evidence=_json(evidence),
            at=at,
        )

    # ------------------------------------------------------------------ manual orders

    async def add_manual_order(self, order: ManualOrder, *, key: str) -> bool:
        """Store and announce a person's order; False when the key was used for another order before.

        The same order under the same key is stored once.
        """
        payload = MANUAL_ORDER.encode(order)
        body = {k: v for k, v in payload["body"].items() if k not in ("requested_at", "actor")}
        digest = hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()

        async def work(connection: AsyncConnection) -> bool:
            row = await self._one(
                connection,
                f"""INSERT INTO {SCHEMA}.manual_orders
                        (account, signal_id, key, digest, payload, requested_at)
                    VALUES (:account, :signal, :key, :digest, CAST(:payload AS jsonb), :at)
                    ON CONFLICT (account, signal_id) DO NOTHING RETURNING signal_id""",
                signal=order.signal_id,
                key=key,
                digest=digest,
                payload=_json(payload),
                at=order.requested_at,
            )
            if row is None:
                known = await self._one(
                    connection,
                    f"""SELECT digest FROM {SCHEMA}.manual_orders
                        WHERE account = :account AND signal_id = :signal""",
                    signal=order.signal_id,
                )
                return known is not None and known.digest == digest
            await self._outbox.append(
                connection,
                topic=MANUAL_ORDERS,
                key=order.signal_id,
                payload=payload,
                at=order.requested_at,
            )
            return True

        return await self._db.run(work)

    async def manual_answer(self, signal_id: str) -> Row[Any] | None:
        """What became of a manual order so far: reason_code, reason, decided_at; None when unknown."""

        async def work(connection: AsyncConnection) -> Row[Any] | None:
            return await self._one(
                connection,
                f"""SELECT reason_code, reason, decided_at FROM {SCHEMA}.manual_orders
                    WHERE account = :account AND signal_id = :signal""",
                signal=signal_id,
            )

        return await self._db.run(work)

    # ------------------------------------------------------------------ reads for people

    async def find_orders(
        self,
        *,
        any_id: str | None = None,
        states: Sequence[str] = (),
        symbol: Symbol | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[dict[str, Any]]:
        """Intents, newest first, each with its `orders` (first order and legs) as mappings.

        Args:
            any_id: our client order id, the signal's or decision's, or the broker's of an order or leg.
        """

        async def work(connection: AsyncConnection) -> list[dict[str, Any]]:
            rows = await self._all(
                connection,
                f"""SELECT i.sequence, i.reason, i.leg, i.created_at, i.ended_at, {_prefixed("i")}
                    FROM {SCHEMA}.intents i
                    WHERE i.account = :account
                      AND (CAST(:any_id AS text) IS NULL OR i.client_order_id = :any_id
                           OR i.signal_id = :any_id OR i.decision_id = :any_id
                           OR i.client_order_id = (SELECT o.intent_id FROM {SCHEMA}.orders o
                                WHERE o.account = :account AND o.broker_order_id = :any_id))
                      AND (:any_state OR i.state = ANY(:states))
                      AND (CAST(:symbol AS text) IS NULL OR i.symbol = :symbol)
                      AND (CAST(:before AS bigint) IS NULL OR i.sequence < :before)
                    ORDER BY i.sequence DESC LIMIT :limit""",
                any_id=any_id,
                any_state=not states,
                states=list(states),
                symbol=symbol,
                before=before,
                limit=limit,
            )
            found = [dict(row._mapping) for row in rows]
            orders = await self._all(
                connection,
                f"""SELECT {_ORDER_COLUMNS} FROM {SCHEMA}.orders
                    WHERE account = :account AND intent_id = ANY(:ids) ORDER BY sequence""",
                ids=[row["client_order_id"] for row in found],
            )
            for row in found:
                row["orders"] = [
                    dict(o._mapping) for o in orders if o.intent_id == row["client_order_id"]
                ]
            return found

        return await self._db.run(work)

    async def external_order(self, broker_order_id: str) -> dict[str, Any] | None:
        """An order that somebody else gave."""

        async def work(connection: AsyncConnection) -> dict[str, Any] | None:
            row = await self._one(
                connection,
                f"""SELECT {_ORDER_COLUMNS} FROM {SCHEMA}.orders
                    WHERE account = :account AND broker_order_id = :id AND intent_id IS NULL""",
                id=broker_order_id,
            )
            return None if row is None else dict(row._mapping)

        return await self._db.run(work)

    async def fills(
        self,
        *,
        after: int = 0,
        before: int | None = None,
        orders: Sequence[str] = (),
        symbol: Symbol | None = None,
        limit: int = 100,
        oldest_first: bool = False,
    ) -> list[dict[str, Any]]:
        """Booked executions, newest first unless asked otherwise."""
        direction = "ASC" if oldest_first else "DESC"

        async def work(connection: AsyncConnection) -> list[dict[str, Any]]:
            rows = await self._all(
                connection,
                f"""SELECT id, execution_id, broker_order_id, client_order_id, symbol, side, quantity, price,
                           fee, executed_at, booked_at
                    FROM {SCHEMA}.v_fills
                    WHERE account = :account AND id > :after
                      AND (CAST(:before AS bigint) IS NULL OR id < :before)
                      AND (:any_order OR broker_order_id = ANY(:orders))
                      AND (CAST(:symbol AS text) IS NULL OR symbol = :symbol)
                    ORDER BY id {direction} LIMIT :limit""",
                after=after,
                before=before,
                any_order=not orders,
                orders=list(orders),
                symbol=symbol,
                limit=limit,
            )
            return [dict(row._mapping) for row in rows]

        return await self._db.run(work)

    async def account_row(self) -> dict[str, Any] | None:
        """The account with its state and cash; None before the first adoption."""

        async def work(connection: AsyncConnection) -> dict[str, Any] | None:
            row = await self._one(
                connection,
                f"""SELECT s.state, s.since_at, s.reason, s.reconciled_at, a.broker_account_id, a.adopted_at,
                           (SELECT cash FROM {SCHEMA}.v_cash WHERE account = :account) AS cash
                    FROM {SCHEMA}.status s LEFT JOIN {SCHEMA}.accounts a ON a.account = s.account
                    WHERE s.account = :account""",
            )
            return None if row is None else dict(row._mapping)

        return await self._db.run(work)

    async def opening_positions(self) -> dict[Symbol, Decimal]:
        """What was held when the account was adopted, and adjustments since."""

        async def work(connection: AsyncConnection) -> dict[Symbol, Decimal]:
            rows = await self._all(
                connection,
                f"""SELECT symbol, sum(quantity) AS quantity FROM {SCHEMA}.adjustments
                    WHERE account = :account GROUP BY symbol""",
            )
            return {Symbol(row.symbol): row.quantity for row in rows}

        return await self._db.run(work)

    # ------------------------------------------------------------------ plumbing

    async def _do(self, connection: AsyncConnection, statement: str, **values: Any) -> None:
        await connection.execute(_sql(statement), {"account": self.account, **values})

    async def _one(
        self, connection: AsyncConnection, statement: str, **values: Any
    ) -> Row[Any] | None:
        result = await connection.execute(_sql(statement), {"account": self.account, **values})
        return result.first()

    async def _all(
        self, connection: AsyncConnection, statement: str, **values: Any
    ) -> Sequence[Row[Any]]:
        result = await connection.execute(_sql(statement), {"account": self.account, **values})
        return result.all()


def _sql(statement: str) -> TextClause:
    # Statements are made of constants here; values only ever travel as parameters.
    cached = _STATEMENTS.get(statement)
    if cached is None:
        cached = _STATEMENTS[statement] = text(statement)
    return cached


_STATEMENTS: dict[str, TextClause] = {}


def _was_over(seen: BrokerOrder, adopted_at: datetime | None) -> bool:
    """Whether an order had begun and ended before the account was adopted."""
    status = known_status(seen.status)
    return (
        adopted_at is not None
        and status is not None
        and status.is_final
        and seen.submitted_at is not None
        and seen.submitted_at <= adopted_at
    )


def _json(value: Mapping[str, Any]) -> str:
    return orjson.dumps(value, default=str).decode().replace("\\u0000", "")


_INTENT_NAMES = (
    "client_order_id", "decision_id", "signal_id", "symbol", "side", "purpose", "generation", "type",
    "time_in_force", "order_class", "quantity", "filled_quantity", "limit_price", "stop_price", "stop_loss",
    "take_profit", "reference_price", "state", "broker_order_id", "act_from", "act_until", "posts", "probes",
    "sent_at",
)  # fmt: skip
_INTENT_COLUMNS = ", ".join(_INTENT_NAMES)
_ORDER_NAMES = (
    "broker_order_id", "client_order_id", "parent_order_id", "intent_id", "symbol", "side", "type",
    "order_class", "status", "quantity", "filled_quantity", "filled_average_price", "limit_price",
    "stop_price", "submitted_at", "updated_at", "booked_quantity",
)  # fmt: skip
_ORDER_COLUMNS = ", ".join(_ORDER_NAMES)


def _prefixed(alias: str) -> str:
    return ", ".join(f"{alias}.{name}" for name in _INTENT_NAMES)


def _intent(row: Row[Any]) -> Intent:
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
    )


def _order(row: Row[Any]) -> OrderRecord:
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


def _order_row(record: OrderRecord) -> dict[str, Any]:
    values = {name: getattr(record, name) for name in _ORDER_NAMES}
    return {**values, "side": record.side.value, "status": record.status.value}


def _intent_row(approved: Approved, at: datetime) -> dict[str, Any]:
    is_bracket = (
        approved.purpose is Purpose.ENTRY
        and approved.stop_loss is not None
        and approved.take_profit is not None
    )
    leg = approved.purpose.value
    return {
        "account": approved.account,
        "id": client_order_id(approved.account, approved.signal_id, leg, 0),
        "decision_id": approved.decision_id,
        "signal_id": approved.signal_id,
        "symbol": approved.symbol,
        "side": approved.side.value,
        "purpose": leg,
        "leg": leg,
        "generation": 0,
        "type": approved.type.value,
        "time_in_force": approved.time_in_force.value,
        "order_class": (OrderClass.BRACKET if is_bracket else OrderClass.SIMPLE).value,
        "quantity": approved.quantity,
        "limit_price": approved.limit_price,
        "stop_price": approved.stop_price,
        "stop_loss": approved.stop_loss if is_bracket else None,
        "take_profit": approved.take_profit if is_bracket else None,
        "reference_price": approved.reference_price,
        "act_from": approved.act_from,
        "act_until": approved.act_until,
        "at": at,
    }


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
        "reference_price": entry.reference_price,
        "act_from": at,
        "act_until": at + _PROTECTION_LASTS,
        "at": at,
    }


_INSERT_INTENT = text(
    f"""INSERT INTO {SCHEMA}.intents
        (account, client_order_id, decision_id, signal_id, symbol, side, purpose, leg, generation, type,
         time_in_force, order_class, quantity, limit_price, stop_price, stop_loss, take_profit,
         reference_price, state, act_from, act_until, created_at)
    VALUES (:account, :id, :decision_id, :signal_id, :symbol, :side, :purpose, :leg, :generation, :type,
            :time_in_force, :order_class, :quantity, :limit_price, :stop_price, :stop_loss, :take_profit,
            :reference_price, 'PENDING', :act_from, :act_until, :at)
    ON CONFLICT DO NOTHING"""
)
_MOVE_INTENT = text(
    f"""UPDATE {SCHEMA}.intents
        SET state = :state, filled_quantity = :filled, broker_order_id = :broker_id,
            sent_at = coalesce(sent_at, :at), ended_at = coalesce(ended_at, CAST(:ended_at AS timestamptz))
        WHERE account = :account AND client_order_id = :id"""
)
_UPSERT_ORDER = text(
    f"""INSERT INTO {SCHEMA}.orders (account, {_ORDER_COLUMNS}, first_seen_at)
        VALUES (:account, {", ".join(f":{name}" for name in _ORDER_NAMES)}, :at)
        ON CONFLICT (account, broker_order_id) DO UPDATE SET
            {", ".join(f"{name} = EXCLUDED.{name}" for name in _ORDER_NAMES if name != "broker_order_id")}"""
)
_INSERT_FILL = text(
    f"""INSERT INTO {SCHEMA}.fills
        (account, execution_id, broker_order_id, intent_id, symbol, side, quantity, price,
         cumulative_quantity, executed_at, booked_at)
    VALUES (:account, :execution_id, :broker_order_id, :intent_id, :symbol, :side, :quantity, :price,
            :cumulative, :executed_at, :at)"""
)
_INSERT_FRAME = text(
    f"""INSERT INTO {SCHEMA}.order_events (account, broker_order_id, event, raw, problem, received_at)
        VALUES (:account, :order_id, :event, :raw, :problem, :at)"""
)
