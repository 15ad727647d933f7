"""How do orders leave?

One at a time, from one task: what was asked to be cancelled first, then look-ups of what is unknown, then
protection, exits and entries in the order they were decided. So the broker sees the same sequence in every run.
The intent is committed as SENDING right before the POST and nothing waits in between; a POST is never repeated
unless look-ups under the same id have been answered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from typing import Protocol

import structlog

from shared.crashpoints import crashpoint
from shared.domain.errors import (
    AccountMismatch,
    OrderRejected,
    OutcomeUnknown,
    RateLimited,
    Retryable,
    Unavailable,
)
from shared.domain.orders import IntentState
from shared.ports import Broker, BrokerOrder, Clock, HaltSwitch, Timer
from trade_executor.booking import AskToReconcile, Booker
from trade_executor.budget import Lane
from trade_executor.lifecycle import (
    End,
    Go,
    Intent,
    IntentPurpose,
    OrderRecord,
    Probes,
    change_between,
    difference_to,
    quantity_to_exit,
)
from trade_executor.store import Store
from trade_executor.store.outgoing import Obstacles
from trade_executor.vetting import Vetting
from trade_executor.wake import Wake

_log = structlog.get_logger(__name__)
_WAY_CLEAR_WITHIN_S = 2.0
_LOOK_AGAIN_S = 0.5
_CANCEL_AGAIN_S = 5.0
# A process that was frozen between the commit and the write gives up: the order's age was checked before.
_STALE_AFTER_S = 1.0
_UNAUTHORIZED = 401


class Admission(Protocol):
    """Who lets requests pass at the broker's pace."""

    async def admit(self, lane: Lane) -> None:
        """Return when one request of `lane` may go."""
        ...

    @property
    def is_broken(self) -> bool:
        """Whether the broker fails so often that nothing new should be begun."""
        ...


class Holder(Protocol):
    """Whether this process is surely the one executor."""

    @property
    def is_sure(self) -> bool:
        """True while the lease was confirmed lately enough."""
        ...


class Sender:
    """The only hand that changes anything at the broker."""

    def __init__(
        self,
        store: Store,
        broker: Broker,
        gate: Admission,
        booker: Booker,
        holder: Holder,
        clock: Clock,
        timer: Timer,
        wake: Wake,
        ask_to_reconcile: AskToReconcile,
        halt: HaltSwitch,
        vetting: Vetting,
        *,
        epoch: int,
    ) -> None:
        self._store = store
        self._broker = broker
        self._gate = gate
        self._booker = booker
        self._holder = holder
        self._clock = clock
        self._timer = timer
        self._wake = wake
        self._ask = ask_to_reconcile
        self._halt = halt
        self._vetting = vetting
        self._epoch = epoch
        self._probes = Probes()
        # When each order's cancel was last sent and last looked at, by its group's first order.
        self._cancel_sent_s: dict[str, float] = {}
        self._looked_s: dict[str, float] = {}
        self._waited_for: set[str] = set()

    async def work(self) -> bool:
        """Do what is due; True when something was achieved, so that more may have become due."""
        try:
            return await self._work()
        except AccountMismatch as error:
            _log.error("the broker does not take our requests", reason=str(error))
            self._halt.throw(str(error))
            self._ask(True)
            return False

    async def _work(self) -> bool:
        todo = await self._store.outgoing.work_at(self._clock.now())
        self._probes.watch(
            [intent.client_order_id for intent in todo.unknown], self._timer.monotonic_s()
        )
        if todo.is_none:
            return False
        achieved = await self._cancel(todo.cancels)
        achieved |= await self._probe(todo.unknown)
        if achieved and todo.cancels:
            # What was cancelled may leave shares bare: their protection goes before any new entry.
            return True
        await self._vetting.look(todo.due)
        for intent in todo.due:
            achieved |= await self._send(intent)
        return achieved

    # ------------------------------------------------------------------ cancels

    async def _cancel(self, records: Sequence[OrderRecord]) -> bool:
        """Cancel each group of orders and look at what became of it; True when one was proven over."""
        groups: dict[str, list[OrderRecord]] = {}
        for record in records:
            if record.is_open:
                groups.setdefault(record.parent_order_id or record.broker_order_id, []).append(
                    record
                )
        achieved = False
        for root, members in groups.items():
            try:
                achieved |= await self._cancel_group(root, members)
            except RateLimited:
                raise
            except Unavailable as error:
                _log.warning("cancel not proven yet", order=root, reason=str(error))
        return achieved

    async def _cancel_group(self, root: str, members: Sequence[OrderRecord]) -> bool:
        now_s = self._timer.monotonic_s()
        sent_s = self._cancel_sent_s.get(root)
        if sent_s is None or now_s - sent_s >= _CANCEL_AGAIN_S:
            # Cancelling one of a group cancels all of it; the first order itself, while it is open.
            target = min(members, key=lambda record: record.parent_order_id is not None)
            self._cancel_sent_s[root] = now_s
            crashpoint("cancel.sending")
            await self._broker.cancel(target.broker_order_id)
            crashpoint("cancel.replied")
        elif now_s - self._looked_s.get(root, 0.0) < _LOOK_AGAIN_S:
            return False
        self._looked_s[root] = now_s
        found = await self._broker.order(root)
        if found is None:
            return False
        seen = {order.broker_order_id for order in (found, *found.legs)}
        # A leg that was replaced at the broker is not listed with the others any more.
        alone = [
            await self._broker.order(record.broker_order_id)
            for record in members
            if record.broker_order_id not in seen
        ]
        looked_at = [found, *(order for order in alone if order is not None)]
        await self._booker.book(looked_at)
        crashpoint("cancel.committed")
        by_id = {one.broker_order_id: one for order in looked_at for one in (order, *order.legs)}
        is_over = all(_has_ended(by_id.get(record.broker_order_id)) for record in members)
        if is_over:
            self._cancel_sent_s.pop(root, None)
            self._looked_s.pop(root, None)
        return is_over

    # ------------------------------------------------------------------ unknown outcomes

    async def _probe(self, intents: Sequence[Intent]) -> bool:
        achieved = False
        for intent in intents:
            if self._probes.is_due(intent.client_order_id, self._timer.monotonic_s()):
                achieved |= await self._look_up(intent)
        return achieved

    async def _look_up(self, intent: Intent) -> bool:
        """Ask for the order by its client id; True when its outcome is known now."""
        name = intent.client_order_id
        try:
            found = await self._broker.find(name)
        except Retryable as error:
            _log.warning("look-up got no answer", order=name, reason=str(error))
            self._probes.unanswered(name, self._timer.monotonic_s())
            return False
        if found is not None:
            self._probes.forget(name)
            await self._adopt(intent, found)
            return True
        await self._store.outgoing.record_probe(intent)
        if self._probes.answered(name, self._timer.monotonic_s()) or (
            self._probes.round_is_complete(name)
        ):
            return await self._post_again(intent)
        return False

    async def _adopt(self, intent: Intent, found: BrokerOrder) -> None:
        unlike = difference_to(intent, found)
        if unlike is None:
            await self._booker.book([found])
            _log.info("order found", order=intent.client_order_id, status=found.status)
            return
        _log.error("another order lives under our id", order=intent.client_order_id, unlike=unlike)
        await self._store.outgoing.record_mismatch(intent, found, unlike, at=self._clock.now())
        self._ask(True)

    async def _post_again(self, intent: Intent) -> bool:
        """A whole round of look-ups found nothing: the same id once more, if it may still leave."""
        if not self._holder.is_sure or self._halt.note() is not None:
            return False
        await self._gate.admit(_lane(intent))
        now, began_s = self._clock.now(), self._timer.monotonic_s()
        if not await self._store.outgoing.begin_sending_again(intent, epoch=self._epoch, now=now):
            return False
        _log.warning("posting again under the same id", order=intent.client_order_id)
        return await self._post(intent, began_s)

    # ------------------------------------------------------------------ new orders

    async def _send(self, intent: Intent) -> bool:
        """Send one PENDING intent if it may go; True when its state changed."""
        if self._halt.note() is not None:
            # It stays PENDING: whoever takes the halt back finds an entry withdrawn and an exit waiting.
            return False
        if intent.purpose is IntentPurpose.ENTRY and self._gate.is_broken:
            return False
        quantity: Decimal | None = intent.quantity
        if intent.purpose is not IntentPurpose.ENTRY and intent.replaces is None:
            # Nothing is taken away for an exit that may not follow.
            verdict = await self._store.outgoing.verdict(
                intent, epoch=self._epoch, now=self._clock.now()
            )
            if isinstance(verdict, Go):
                quantity = await self._shares_to_reduce(intent)
                if quantity is None:
                    return False
                if quantity == 0:
                    await self._store.outgoing.end_unsent(
                        intent,
                        IntentState.CANCELLED_UNSENT,
                        "nothing is held",
                        at=self._clock.now(),
                    )
                    return True
        ended = await self._vetted(intent)
        if ended is not None:
            return ended
        if not self._holder.is_sure:
            return False
        await self._gate.admit(_lane(intent))
        began_s = self._timer.monotonic_s()
        verdict = await self._store.outgoing.begin_sending(
            intent, quantity=quantity or intent.quantity, epoch=self._epoch, now=self._clock.now()
        )
        if isinstance(verdict, End):
            _log.info("intent ended unsent", order=intent.client_order_id, reason=verdict.why)
            return True
        if not isinstance(verdict, Go):
            return False
        await self._post(intent.with_quantity(quantity or intent.quantity), began_s)
        return True

    async def _vetted(self, intent: Intent) -> bool | None:
        """None when share and market let it go, True when they ended it, False while nobody answers."""
        try:
            problem = await self._vetting.problem_with(intent)
        except Retryable as error:
            _log.warning("entry waits", order=intent.client_order_id, reason=str(error))
            return False
        if problem is None:
            return None
        _log.warning("entry withdrawn", order=intent.client_order_id, reason=str(problem))
        await self._store.outgoing.end_unsent(
            intent, IntentState.CANCELLED_UNSENT, str(problem), at=self._clock.now()
        )
        return True

    async def _post(self, intent: Intent, began_s: float) -> bool:
        """Send what was just marked SENDING and record the answer; True when its outcome is known."""
        crashpoint("intent.sending")
        try:
            accepted = await self._transmit(intent, lambda: self._require_fresh(intent, began_s))
        except OrderRejected as error:
            if intent.state is IntentState.UNKNOWN:
                # The first POST may have taken the very money this one was refused for.
                found = await self._broker.find(intent.client_order_id)
                if found is not None:
                    await self._adopt(intent, found)
                    return True
            await self._refuse(intent, error)
            return True
        except OutcomeUnknown as error:
            _log.warning("outcome unknown", order=intent.client_order_id, reason=error.why)
            await self._store.outgoing.record_unknown(intent, error.why, at=self._clock.now())
            self._probes.begin(intent.client_order_id, self._timer.monotonic_s())
            # At once, even when the stream has told meanwhile: its legs are known from a look-up alone.
            return await self._look_up(intent)
        crashpoint("post.replied")
        await self._booker.sent(intent, accepted)
        crashpoint("ack.committed")
        return True

    async def _transmit(self, intent: Intent, last_look: Callable[[], None]) -> BrokerOrder:
        if intent.replaces is None:
            return await self._broker.submit(intent.request(), last_look)
        old = await self._store.outgoing.replaced_by(intent)
        if old is None or old.broker_order_id is None:
            raise OrderRejected("there is no order to replace", status=404, code=None)
        return await self._broker.replace(
            old.broker_order_id, intent.client_order_id, change_between(old, intent), last_look
        )

    def _require_fresh(self, intent: Intent, began_s: float) -> None:
        """Nothing was sent yet, but only look-ups may say so: another process may have taken over."""
        if self._timer.monotonic_s() - began_s > _STALE_AFTER_S or not self._holder.is_sure:
            raise OutcomeUnknown(intent.client_order_id, "too much time passed before the write")
        if self._halt.note() is not None:
            raise OutcomeUnknown(
                intent.client_order_id, "trading was halted right before the write"
            )

    async def _refuse(self, intent: Intent, error: OrderRejected) -> None:
        _log.warning("order refused", order=intent.client_order_id, reason=error.reason)
        why = f"{error.status} {error.code}: {error.reason}"
        if error.status == _UNAUTHORIZED:
            self._halt.throw(f"the broker refuses the keys: {error.reason}")
        if intent.purpose is IntentPurpose.EXIT:
            # The refusal is recorded whether or not its cause is found.
            with suppress(Retryable):
                in_the_way = await self._store.guards.in_the_way_of(intent)
                why += "" if in_the_way is None else f"; {in_the_way}"
        await self._store.outgoing.record_refusal(intent, why, at=self._clock.now())

    async def _shares_to_reduce(self, intent: Intent) -> Decimal | None:
        """How many shares an exit or a protection may send; None while something else may still fill."""
        if intent.purpose is IntentPurpose.PROTECT:
            return quantity_to_exit(intent, await self._store.outgoing.position(intent.symbol))
        patience_s = 0.0 if intent.client_order_id in self._waited_for else _WAY_CLEAR_WITHIN_S
        give_up_s = self._timer.monotonic_s() + patience_s
        while True:
            obstacles = await self._in_the_way_of(intent)
            if not self._blocked_by(obstacles):
                self._waited_for.discard(intent.client_order_id)
                shares = quantity_to_exit(intent, obstacles.position)
                # What nobody could find may have filled all the same: then there is something to sell.
                return shares if shares or not obstacles.unknown else None
            achieved = await self._cancel(obstacles.open_orders)
            achieved |= await self._probe(obstacles.unknown)
            if achieved:
                continue
            if self._timer.monotonic_s() >= give_up_s:
                self._waited_for.add(intent.client_order_id)
                return None
            await self._wake.wait(0.1)

    async def _in_the_way_of(self, intent: Intent) -> Obstacles:
        """What has to end before an exit may go; once nothing has, what is held by then."""
        obstacles = await self._store.outgoing.make_way(intent, at=self._clock.now())
        if self._blocked_by(obstacles):
            return obstacles
        taken = await self._store.guards.withdraw(intent, at=self._clock.now())
        if taken:
            return replace(obstacles, open_orders=taken)
        # What was looked for may be gone because it has filled, after the position was read.
        return await self._store.outgoing.make_way(intent, at=self._clock.now())

    def _blocked_by(self, obstacles: Obstacles) -> bool:
        return bool(obstacles.open_orders) or not all(
            self._probes.round_is_complete(one.client_order_id) for one in obstacles.unknown
        )


def _has_ended(order: BrokerOrder | None) -> bool:
    return order is not None and order.status in {
        "filled", "canceled", "expired", "replaced", "rejected"
    }  # fmt: skip


def _lane(intent: Intent) -> Lane:
    return Lane.ENTRY if intent.purpose is IntentPurpose.ENTRY else Lane.EXIT
