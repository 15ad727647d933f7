"""Is what we believe what the broker holds?

One path answers, whether at the start, after the stream was gone, every few seconds or when a person asks:
orders first, then executions, then positions and cash. What the broker knows and we did not is booked with
its evidence; what stays unexplained is shown and pauses its symbol, and is never traded away. A difference
counts when two looks in a row agree on it and nothing was booked in between.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

import structlog

from shared.crashpoints import crashpoint
from shared.domain.activities import moves_between
from shared.domain.calendar import TradingCalendar
from shared.domain.errors import AccountMismatch, Retryable, Unavailable
from shared.domain.money import plain
from shared.domain.symbols import Symbol
from shared.ports import Broker, BrokerOrder, Clock, HaltSwitch, Timer
from trade_executor.booking import Booker
from trade_executor.lending import LendingDesk
from trade_executor.lifecycle import ExecutorState
from trade_executor.store import Store
from trade_executor.unguarded import Watch
from trade_executor.wake import Wake

_log = structlog.get_logger(__name__)
LIGHT_EVERY_S = 5.0
DEEP_EVERY_S = 30.0
# Activities bear a day, and are told days after it.
_ACTIVITIES_LATE = timedelta(days=7)
_OVERLAP = timedelta(seconds=60)
_HISTORY = timedelta(days=1)
# The broker ends an order that is good till cancelled after 90 days.
_ORDERS_LAST = timedelta(days=91)
_MAX_SINGLE_LOOKS = 10
_MAX_STRAYS = 1_000
_CONFIRM_AFTER_S = 1.0
_LOOKS = 4
_CENT = Decimal("0.01")
_STREAM_WITHIN_S = 5.0
_BLOCKS = ("account_blocked", "trading_blocked")


@dataclass(slots=True)
class Report:
    """What one reconciliation saw and did."""

    is_deep: bool
    orders_seen: int = 0
    executions_seen: int = 0
    fills_booked: int = 0
    positions_agree: bool | None = None
    cash_agrees: bool | None = None
    never_existed: list[str] = field(default_factory=list)
    took_s: float = 0.0


class Reconciler:
    """Keeps belief and truth together for one term."""

    def __init__(
        self,
        store: Store,
        broker: Broker,
        calendar: TradingCalendar,
        clock: Clock,
        timer: Timer,
        wake: Wake,
        halt: HaltSwitch,
        lending: LendingDesk,
        watch: Watch,
        *,
        epoch: int,
    ) -> None:
        self._watch = watch
        self._halt = halt
        self._lending = lending
        self._store = store
        self._broker = broker
        self._calendar = calendar
        self._clock = clock
        self._timer = timer
        self._sender_wake = wake
        self._epoch = epoch
        self._booker: Booker | None = None
        self._asked = Wake()
        self._asked_deep = True
        self._connections = 0
        self._stream_is_up = False
        # Orders given at the broker whose kin was looked for in this term.
        self._looked_for: set[str] = set()
        self._alone = asyncio.Lock()
        # Set once everything was compared for the first time in this term: nothing is sent before.
        self.compared = asyncio.Event()

    def use(self, booker: Booker) -> None:
        """Name the door to the ledger; it needs `ask` itself, so it is made after us."""
        self._booker = booker

    @property
    def _door(self) -> Booker:
        assert self._booker is not None
        return self._booker

    def ask(self, deep: bool) -> None:
        """Have it looked at soon; `deep` for everything, else open orders only."""
        self._asked_deep |= deep
        self._asked.set()

    def stream_came_up(self) -> None:
        """From now on events are told; what happened before may have been missed."""
        self._connections += 1
        self._stream_is_up = True
        self.ask(True)

    async def stream_went_down(self, why: str) -> None:
        """Events may be missed from now on, so no entry until all was compared again."""
        self._stream_is_up = False
        self._asked_deep = True
        if self.compared.is_set():
            await self._say(ExecutorState.RECONCILING, f"trade stream is down: {why}")

    async def run(self) -> None:
        """Compare for as long as the term lasts."""
        # Subscribe first: what happens while orders are listed is then told by the stream.
        began_s = self._timer.monotonic_s()
        while not self._stream_is_up and self._timer.monotonic_s() - began_s < _STREAM_WITHIN_S:
            await self._asked.wait(_STREAM_WITHIN_S)
        next_deep_s = self._timer.monotonic_s()
        while True:
            is_deep = self._asked_deep or self._timer.monotonic_s() >= next_deep_s
            try:
                await self.reconcile(deep=is_deep)
                if is_deep:
                    next_deep_s = self._timer.monotonic_s() + DEEP_EVERY_S
                pause_s = LIGHT_EVERY_S
            except AccountMismatch as error:
                _log.error("wrong account", reason=str(error))
                self._halt.throw(str(error))
                await self._say(ExecutorState.ACCOUNT_MISMATCH, str(error))
                self._asked_deep, pause_s = True, DEEP_EVERY_S
            except Retryable as error:
                _log.warning("reconciliation got no answer", reason=str(error))
                self._asked_deep |= is_deep
                pause_s = 1.0
            await self._asked.wait(pause_s)

    async def reconcile(self, *, deep: bool) -> Report:
        """Compare once.

        Raises:
            AccountMismatch: the keys belong to another account than this label does.
            Unavailable, RateLimited: the broker or the database gave no answer.
        """
        async with self._alone:
            began_s = self._timer.monotonic_s()
            crashpoint("recon.started")
            report = Report(is_deep=deep)
            if deep:
                self._asked_deep = False
                await self._compare_all(report)
            else:
                await self._compare_open_orders(report)
            crashpoint("recon.applied")
            report.took_s = self._timer.monotonic_s() - began_s
            return report

    # ------------------------------------------------------------------ light

    async def _compare_open_orders(self, report: Report) -> None:
        """One list covers all open orders; those we know that are missing from it are looked up singly."""
        listed = await self._broker.orders(status="open")
        looked_up = await self._look_up_missing(listed, at_most=_MAX_SINGLE_LOOKS)
        booked = await self._door.book([*listed, *looked_up])
        report.orders_seen = len(listed) + len(looked_up)
        report.fills_booked = len(booked.fills)
        if booked.incomplete:
            since = await self._store.questions.oldest_open_question_at()
            await self._book_executions(report, (since or self._clock.now()) - _OVERLAP)

    async def _look_up_missing(
        self, listed: list[BrokerOrder], *, at_most: int
    ) -> list[BrokerOrder]:
        seen = {one.broker_order_id for order in listed for one in (order, *order.legs)}
        complete = {o.broker_order_id for o in listed if o.legs or o.order_class in ("", "simple")}
        found = []
        missing = [
            r
            for r in await self._store.questions.open_roots()
            if r not in seen or r not in complete
        ]
        for root in missing[:at_most]:
            order = await self._broker.order(root)
            if order is not None:
                found.append(order)
                seen |= {one.broker_order_id for one in (order, *order.legs)}
                complete.add(root)
        # A leg that was replaced at the broker is not listed with the others any more.
        gone = [
            leg
            for leg, root in await self._store.questions.open_legs()
            if leg not in seen and root in complete
        ]
        for leg in gone[: at_most - len(found)]:
            order = await self._broker.order(leg)
            if order is not None:
                found.append(order)
        return found

    async def _book_executions(self, report: Report, since: datetime) -> None:
        executions = await self._broker.executions(after=since)
        booked = await self._door.book((), executions)
        report.executions_seen = len(executions)
        report.fills_booked += len(booked.fills)

    # ------------------------------------------------------------------ deep

    async def _compare_all(self, report: Report) -> None:
        connection = self._connections
        began_at = self._clock.now()
        await self._check_account()
        since = await self._since()
        listed = await self._broker.orders(status="all", after=since)
        opened = await self._broker.orders(status="open")
        known = {one.broker_order_id for order in listed for one in (order, *order.legs)}
        # Legs of an entry that has ended stand on top of a list of open orders: those are nobody else's.
        older = [order for order in opened if order.broker_order_id not in known]
        looked_up = await self._look_up_missing([*listed, *older], at_most=1_000)
        await self._door.book(looked_up)
        executions = await self._broker.executions(after=since)
        booked = await self._door.book([*listed, *older], executions, is_whole=True)
        if booked.unexplained:
            # Given before we look back to, and over by now: no list shows them.
            found = [await self._broker.order(one) for one in booked.unexplained[:_MAX_STRAYS]]
            strays = [order for order in found if order is not None]
            more = await self._door.book(strays, executions, is_whole=True)
            booked = replace(
                more,
                fills=(*booked.fills, *more.fills),
                incomplete=(*booked.incomplete, *more.incomplete),
                forgotten=(*booked.forgotten, *more.forgotten),
            )
        report.orders_seen = len(listed) + len(older) + len(looked_up)
        report.executions_seen = len(executions)
        report.fills_booked = len(booked.fills)
        forgotten = (*booked.forgotten, *await self._find_families())
        if forgotten:
            self._halt.throw(
                f"the broker has {len(forgotten)} orders of ours that the database does not know "
                f"({forgotten[0]}); was it restored from an older backup? Compare both, then resume"
            )
        if booked.incomplete:
            # Of orders that came with the account, too: what they filled before may be told only now.
            await self._book_executions(report, await self._since())
        await self._prove_absence(report, listed, booked.unexplained)
        await self._book_activities(since)
        await self._compare_holdings(report, since)
        if report.positions_agree:
            await self._store.protection.withdraw_surplus(at=self._clock.now())
        is_halted = self._halt.note() is not None
        has_compared = report.positions_agree is not None
        if has_compared:
            await self._store.protection.withdraw_old_shares(
                at=self._clock.now(), is_halted=is_halted
            )
            await self._store.reviews.make_room_for_moved_stops(
                at=self._clock.now(), halt_note=self._halt.note()
            )
        await self._watch.look(has_compared=has_compared, is_halted=is_halted)
        await self._lending.begin()
        await self._store.terms.mark_reconciled(epoch=self._epoch, at=began_at)
        if self._stream_is_up and connection == self._connections:
            await self._say(ExecutorState.READY, "compared with the broker")
        elif not self.compared.is_set():
            await self._say(ExecutorState.RECONCILING, "waiting for the trade stream")
        self.compared.set()
        self._sender_wake.set()

    async def _find_families(self) -> tuple[str, ...]:
        """Look once for what orders given at the broker are tied to; returns those of ours that nobody remembers.

        A list of open orders shows the target of an entry that has ended alone, without its stop, which is held.
        """
        lonely = await self._store.guards.lonely() - self._looked_for
        if not lonely:
            return ()
        since = self._clock.now() - _ORDERS_LAST
        try:
            listed = await self._broker.orders(status="all", after=since)
            families = [
                order
                for order in listed
                if any(leg.broker_order_id in lonely for leg in order.legs)
                or (order.broker_order_id in lonely and order.legs)
            ]
            # Whether an entry filled before the ledger began or after it is told by its executions alone.
            began_at = min((order.submitted_at or since for order in families), default=None)
            executions = (
                [] if began_at is None else await self._broker.executions(after=began_at - _OVERLAP)
            )
        except Retryable as error:
            _log.warning("stops given at the broker not found yet", reason=str(error))
            return ()
        kin = {one.broker_order_id for order in families for one in (order, *order.legs)}
        booked = await self._door.book(
            families, [e for e in executions if e.broker_order_id in kin], is_whole=True
        )
        self._looked_for |= lonely
        return booked.forgotten

    async def _check_account(self) -> None:
        account = await self._broker.account()
        pinned = await self._store.opening.pinned_account()
        if pinned is None:
            await self._adopt()
        elif pinned != account.account_id:
            raise AccountMismatch(
                f"TRADING_ACCOUNT={self._store.account} is pinned to broker account {pinned}, but the keys "
                f"belong to {account.account_id}; give the new account a label of its own, or put the old keys back"
            )
        blocks = [name for name in _BLOCKS if account.raw.get(name) is True]
        if blocks:
            raise AccountMismatch(
                f"the broker says {' and '.join(blocks)} of this account; settle it there, then resume"
            )

    async def _adopt(self) -> None:
        """Open the ledger with what the account holds, at an instant without a fill around it."""
        lent = await self._lending.first_word()
        for _ in range(_LOOKS):
            since = self._clock.now() - _HISTORY
            before = await self._broker.executions(after=since)
            account = await self._broker.account()
            positions = await self._broker.positions()
            after = await self._broker.executions(after=since)
            told = await self._broker.activities(after=since - _ACTIVITIES_LATE)
            if [e.execution_id for e in before] == [e.execution_id for e in after]:
                ledger_from = max((e.executed_at for e in after), default=since)
                await self._store.activities.set_aside(told, at=self._clock.now())
                await self._store.opening.adopt(
                    account, positions, ledger_from=ledger_from, lent=lent, at=self._clock.now()
                )
                return
        raise Unavailable(
            "the account trades too fast to be adopted; stop other programs on it for a moment"
        )

    async def _since(self) -> datetime:
        """From where orders and executions may hold news."""
        status = await self._store.terms.status()
        last = status.compared_until if status is not None else None
        question = await self._store.questions.oldest_open_question_at()
        now = self._clock.now()
        return min(last or now, question or now, now) - _OVERLAP

    async def _prove_absence(
        self, report: Report, listed: list[BrokerOrder], unexplained: tuple[str, ...]
    ) -> None:
        """An order never existed when its session is over and neither list knows it."""
        names = {order.client_order_id for order in listed}
        now = self._clock.now()
        for intent in await self._store.questions.unknown_intents():
            if intent.sent_at is None or intent.client_order_id in names or unexplained:
                continue
            session = self._calendar.session_at(intent.sent_at) or self._calendar.next_session(
                intent.sent_at
            )
            if now < session.close_at:
                continue
            proof = (
                f"session of {session.on} closed; {len(listed)} orders and all executions since "
                f"{intent.sent_at.isoformat()} lack it"
            )
            await self._store.outgoing.record_never_existed(intent, proof, at=now)
            report.never_existed.append(intent.client_order_id)

    async def _book_activities(self, since: datetime) -> None:
        """Dividends, fees and transfers, and shares that moved without a trade where that explains the difference."""
        activities = await self._broker.activities(after=since - _ACTIVITIES_LATE)
        await self._store.activities.book_cash(activities, at=self._clock.now())
        moving = await self._store.activities.unbooked_moves(activities)
        if not moving:
            return
        ours, _, newest = await self._store.ledger.holdings()
        theirs = await self._broker.positions()
        # One instant for all: by it the lots that leave a symbol are found when they come to another.
        at = self._clock.now()
        for symbol, told in sorted(moving.items()):
            mine = ours.get(symbol, Decimal(0))
            moves = moves_between(mine, theirs.get(symbol, Decimal(0)), told)
            if moves and await self._store.activities.book_moves(
                moves, ours=mine, after_fill=newest, at=at
            ):
                _log.warning(
                    "shares moved without a trade", symbol=symbol, kinds=[a.kind for a in told]
                )

    async def _compare_holdings(self, report: Report, since: datetime) -> None:
        """Positions and cash; a difference needs two looks between which nothing moved."""
        suspected: tuple[object, ...] | None = None
        for _ in range(_LOOKS):
            ours, our_cash, mark = await self._store.ledger.holdings()
            theirs = await self._broker.positions()
            their_cash = (await self._broker.account()).cash
            await self._book_executions(report, since)
            if (await self._store.ledger.holdings())[2] != mark:
                continue
            unlike = {
                symbol: (ours.get(symbol, Decimal(0)), theirs.get(symbol, Decimal(0)))
                for symbol in sorted({*ours, *theirs})
                if ours.get(symbol, Decimal(0)) != theirs.get(symbol, Decimal(0))
            }
            cash_differs = abs(our_cash - their_cash) > _CENT
            picture = (tuple(unlike.items()), cash_differs)
            if (not unlike and not cash_differs) or picture == suspected:
                await self._settle(ours, theirs, unlike, since)
                await self._store.differences.settle(
                    "CASH", "cash", None, ours=plain(our_cash), theirs=plain(their_cash),
                    differs=cash_differs, since=since, at=self._clock.now(),
                )  # fmt: skip
                report.positions_agree, report.cash_agrees = not unlike, not cash_differs
                return
            suspected = picture
            await self._timer.sleep(_CONFIRM_AFTER_S)

    async def _settle(
        self,
        ours: dict[Symbol, Decimal],
        theirs: dict[Symbol, Decimal],
        unlike: dict[Symbol, tuple[Decimal, Decimal]],
        since: datetime,
    ) -> None:
        opened = {
            d["subject"]
            for d in await self._store.differences.all_open()
            if d["kind"] == "POSITION"
        }
        for symbol in sorted({*unlike, *(Symbol(name) for name in opened)}):
            mine, other = ours.get(symbol, Decimal(0)), theirs.get(symbol, Decimal(0))
            if symbol in unlike:
                _log.error("position differs", symbol=symbol, ours=str(mine), broker=str(other))
            await self._store.differences.settle(
                "POSITION", symbol, symbol, ours=plain(mine), theirs=plain(other),
                differs=symbol in unlike, since=since, at=self._clock.now(),
            )  # fmt: skip

    async def _say(self, state: ExecutorState, why: str) -> None:
        await self._store.terms.set_state(state, why, epoch=self._epoch, at=self._clock.now())
