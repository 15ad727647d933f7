"""What do we know of an order, what follows from it, and may an intent leave now?

Evidence comes late, twice and in any order: from answers, from the stream, from look-ups. Merging it is a
join: the same pieces give the same record in whatever order they arrive. Everything that must be done
(send, cancel, protect, probe) follows from what is stored, so a restart does what was left undone and
nothing twice. Nothing here reads a clock, a table or a socket.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from shared.domain.decisions import TradingMode
from shared.domain.errors import InvalidInput
from shared.domain.money import plain
from shared.domain.order_life import STATUSES
from shared.domain.orders import (
    IntentState,
    OrderChange,
    OrderClass,
    OrderRequest,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
    intent_state_of,
)
from shared.domain.symbols import Symbol
from shared.ports import BrokerExecution, BrokerOrder
from trade_executor.preflight import problem_with

ZERO = Decimal(0)
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
PROBE_OFFSETS_S = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0)


class IntentPurpose(StrEnum):
    """What an intent does; `protect` guards shares whose bracket could not."""

    ENTRY = "entry"
    EXIT = "exit"
    PROTECT = "protect"


class ExecutorState(StrEnum):
    """Whether this account's executor may send entries, and if not, why."""

    STANDBY = "STANDBY"
    RECONCILING = "RECONCILING"
    READY = "READY"
    ACCOUNT_MISMATCH = "ACCOUNT_MISMATCH"


@dataclass(frozen=True, slots=True)
class Intent:
    """Our wish to send one order, as stored."""

    client_order_id: str
    decision_id: str
    signal_id: str
    symbol: Symbol
    side: Side
    purpose: IntentPurpose
    generation: int
    type: OrderType
    time_in_force: TimeInForce
    order_class: OrderClass
    quantity: Decimal
    filled_quantity: Decimal
    limit_price: Decimal | None
    stop_price: Decimal | None
    stop_loss: Decimal | None
    take_profit: Decimal | None
    reference_price: Decimal
    state: IntentState
    broker_order_id: str | None
    act_from: datetime
    act_until: datetime
    posts: int
    probes: int
    sent_at: datetime | None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None
    stop_loss_limit: Decimal | None = None
    extended_hours: bool = False
    # Dollars to spend; `quantity` is an estimate until the broker says how many shares they bought.
    notional: Decimal | None = None
    # The intent whose order this one takes the place of; its quantity then counts what that one filled.
    replaces: str | None = None

    def with_quantity(self, quantity: Decimal) -> Intent:
        """The same wish for so many shares; an exit of a fraction is good for the day, as no broker takes it for longer."""
        is_fraction = quantity != quantity.to_integral_value()
        if is_fraction and self.purpose is IntentPurpose.EXIT:
            return replace(self, quantity=quantity, time_in_force=TimeInForce.DAY)
        return replace(self, quantity=quantity)

    def request(self) -> OrderRequest:
        """The order as it goes to the broker."""
        return OrderRequest(
            client_order_id=self.client_order_id,
            symbol=self.symbol,
            side=self.side,
            quantity=self.quantity,
            type=self.type,
            time_in_force=self.time_in_force,
            order_class=self.order_class,
            limit_price=self.limit_price,
            stop_price=self.stop_price,
            take_profit=self.take_profit,
            stop_loss=self.stop_loss,
            stop_loss_limit=self.stop_loss_limit,
            trail_price=self.trail_price,
            trail_percent=self.trail_percent,
            extended_hours=self.extended_hours,
            notional=self.notional,
        )


@dataclass(frozen=True, slots=True)
class OrderRecord:
    """One order at the broker as far as the evidence goes.

    `filled_quantity` is what the broker says, `booked_quantity` what the ledger holds; the first may run
    ahead until the executions have come.
    """

    broker_order_id: str
    client_order_id: str
    parent_order_id: str | None
    intent_id: str | None
    symbol: Symbol
    side: Side
    type: str
    order_class: str
    status: OrderStatus
    quantity: Decimal | None
    filled_quantity: Decimal
    filled_average_price: Decimal | None
    limit_price: Decimal | None
    stop_price: Decimal | None
    submitted_at: datetime | None
    updated_at: datetime
    booked_quantity: Decimal = ZERO

    @property
    def is_open(self) -> bool:
        """Whether it may still fill, or fills of it are still to be booked."""
        return not self.status.is_final

    @property
    def remaining(self) -> Decimal:
        """Shares that may still fill."""
        return ZERO if self.quantity is None else self.quantity - self.filled_quantity


def known_status(word: str) -> OrderStatus | None:
    """The broker's word as a status, or None when it is not documented."""
    try:
        return OrderStatus(word)
    except ValueError:
        return None


def first_record(
    seen: BrokerOrder,
    *,
    parent_order_id: str | None,
    intent_id: str | None,
    side: Side | None = None,
) -> OrderRecord:
    """The record of an order seen for the first time.

    Args:
        side: what we know it to be, should the broker not say.
    Raises:
        InvalidInput: nobody knows its side.
    """
    status = known_status(seen.status)
    if not seen.side and side is None:
        raise InvalidInput(f"order {seen.broker_order_id} came without its side")
    return OrderRecord(
        broker_order_id=seen.broker_order_id,
        client_order_id=seen.client_order_id,
        parent_order_id=parent_order_id,
        intent_id=intent_id,
        symbol=seen.symbol,
        side=Side(seen.side) if seen.side else side or Side.BUY,
        type=seen.type,
        order_class=seen.order_class,
        # A word we do not know says only that the order is there.
        status=status or OrderStatus.PENDING_NEW,
        quantity=seen.quantity,
        filled_quantity=seen.filled_quantity,
        filled_average_price=seen.filled_average_price,
        limit_price=seen.limit_price,
        stop_price=seen.stop_price,
        submitted_at=seen.submitted_at,
        updated_at=(status and (seen.updated_at or seen.submitted_at)) or _LONG_AGO,
    )


def merged(record: OrderRecord, seen: BrokerOrder) -> OrderRecord:
    """`record` with one more piece of evidence: commutative, associative, and idempotent.

    A terminal word stands against any other; else the word with more filled, then the later one. Filled shares
    only grow, an order's own quantity only shrinks (the broker restates a leg when its pair fills in part), but not below
    what it filled: one that a split made larger may fill more than it was given for.
    """
    news = first_record(seen, parent_order_id=None, intent_id=None, side=record.side)
    best = max(record, news, key=_standing)
    more = max(record, news, key=lambda r: (r.filled_quantity, r.filled_average_price or ZERO))
    return replace(
        record,
        status=best.status,
        updated_at=best.updated_at,
        quantity=_quantity_of(record, news, more.filled_quantity),
        limit_price=best.limit_price,
        stop_price=best.stop_price,
        filled_quantity=more.filled_quantity,
        filled_average_price=more.filled_average_price,
        submitted_at=min(filter(None, (record.submitted_at, news.submitted_at)), default=None),
    )


def _quantity_of(one: OrderRecord, other: OrderRecord, filled: Decimal) -> Decimal | None:
    told = [quantity for quantity in (one.quantity, other.quantity) if quantity]
    # More than anybody says it was given for is no evidence.
    return min(max(min(told), filled), max(told)) if told else None


def _standing(record: OrderRecord) -> tuple[Any, ...]:
    """Which of two pieces of evidence is further; the broker's own times are only the fourth witness.

    An answer may bear a later time than the event that overtook it, so stages and fills come first.
    """
    row = STATUSES[record.status]
    return (
        row.rank if row.is_final else -1,
        row.is_live,
        record.filled_quantity,
        0 if row.is_live else row.rank,
        record.updated_at,
        row.rank,
        # Ties are broken by content, so that the outcome never depends on who came first.
        record.limit_price or ZERO,
        record.stop_price or ZERO,
    )


def intent_after(state: IntentState, record: OrderRecord) -> IntentState:
    """Where an intent stands once its order's `record` is known; never backwards.

    An order that has ended ends its intent only when all its executions are in the ledger.
    """
    status = record.status
    if status.is_final and record.booked_quantity < record.filled_quantity:
        status = OrderStatus.PARTIALLY_FILLED
    goal = intent_state_of(status, record.booked_quantity)
    if state is IntentState.PENDING:
        # The broker has an order that we do not remember sending: it was sent.
        state = IntentState.SENDING
    return goal if state.may_become(goal) else state


def is_same_execution(
    execution: BrokerExecution,
    name: str,
    cumulative: Decimal | None,
    quantity: Decimal,
    price: Decimal,
) -> bool:
    """Whether `execution` is the booked one of that name, place in the order, quantity and price.

    The stream's execution id is the tail of the activity's id. Should a broker not keep to that, the place in
    the order tells: no two executions of one order end at the same cumulative quantity.
    """
    if execution.execution_id == name:
        return True
    return (
        cumulative is not None
        and execution.cumulative == cumulative
        and (execution.quantity, execution.price) == (quantity, price)
    )


def difference_to(intent: Intent, found: BrokerOrder) -> str | None:
    """Why the order found under the intent's id is not the one we wanted; None when it is."""
    wanted = (
        ("symbol", intent.symbol, found.symbol),
        # What the broker leaves out says nothing against it.
        ("side", intent.side.value, found.side or intent.side.value),
        ("type", intent.type.value, found.type or intent.type.value),
        ("quantity", intent.quantity, _quantity_meant(intent, found)),
        ("notional", intent.notional, found.notional or intent.notional),
    )
    unlike = [f"{what} {theirs}, not {ours}" for what, ours, theirs in wanted if ours != theirs]
    return "; ".join(unlike) or None


def _quantity_meant(intent: Intent, found: BrokerOrder) -> Decimal:
    if found.quantity is None or intent.notional is not None:
        return intent.quantity
    if intent.replaces is not None and found.quantity < intent.quantity:
        return intent.quantity  # the rest was filled by the order it replaced
    return found.quantity


def change_between(old: Intent, new: Intent) -> OrderChange:
    """What has to change in the order of `old` to make it the order of `new`."""
    return OrderChange(
        quantity=new.quantity if new.quantity != old.quantity else None,
        limit_price=new.limit_price if new.limit_price != old.limit_price else None,
        stop_price=new.stop_price if new.stop_price != old.stop_price else None,
        trail=next(
            (
                after
                for before, after in (
                    (old.trail_price, new.trail_price),
                    (old.trail_percent, new.trail_percent),
                )
                if after != before
            ),
            None,
        ),
        time_in_force=new.time_in_force if new.time_in_force != old.time_in_force else None,
    )


# ---------------------------------------------------------------------- may it leave?


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What is checked inside the transaction that marks an intent SENDING."""

    now: datetime
    mode: TradingMode | None
    state: ExecutorState
    is_symbol_paused: bool
    has_unknown_in_symbol: bool
    # On this day of the exchange we and the broker keep other hours, or our clocks differ.
    are_hours_disputed: bool
    # Since the decision was made, so that nobody knows whether it would be made again.
    limits_have_changed: bool
    # Why the stored approval does not allow it (see `approvals`); None when it does.
    unlike_approval: str | None = None
    # Signed shares held in the symbol.
    position: Decimal = ZERO
    # An exit of the symbol was decided after it; looked for only when it is to be posted again.
    is_left_since: bool = False


@dataclass(frozen=True, slots=True)
class Go:
    """It may leave."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now."""

    why: str


@dataclass(frozen=True, slots=True)
class End:
    """It never leaves."""

    state: IntentState
    why: str


Verdict = Go | Wait | End


def may_leave(intent: Intent, seen: Circumstances) -> Verdict:
    """Whether an unsent intent may go to the broker now.

    An entry that the mode or a pause forbids is withdrawn, not kept: sent after the fact it would
    surprise. Exits and protection wait, since they only ever reduce.
    """
    is_entry = intent.purpose is IntentPurpose.ENTRY
    if seen.now > intent.act_until:
        return End(IntentState.EXPIRED_UNSENT, f"not sent before {intent.act_until.isoformat()}")
    problem = problem_with(intent.request())
    if problem is not None:
        return End(IntentState.CANCELLED_UNSENT, f"the broker would refuse it: {problem}")
    if seen.unlike_approval is not None:
        return End(IntentState.CANCELLED_UNSENT, seen.unlike_approval)
    if seen.now < intent.act_from:
        return Wait(f"to be sent from {intent.act_from.isoformat()}")
    if seen.mode is None:
        return Wait("no trading mode is stored")
    if is_entry and seen.mode is not TradingMode.ACTIVE:
        return End(IntentState.CANCELLED_UNSENT, f"trading mode is {seen.mode.value}")
    if seen.mode is TradingMode.HALTED:
        return Wait("trading is HALTED")
    if is_entry and seen.is_symbol_paused:
        return End(
            IntentState.CANCELLED_UNSENT,
            f"{intent.symbol} is paused until a person has looked at its differences",
        )
    if is_entry and seen.position * intent.side.sign < 0:
        return End(
            IntentState.CANCELLED_UNSENT,
            f"{plain(seen.position)} shares are held: nothing goes through zero in one order",
        )
    if is_entry and seen.are_hours_disputed:
        return End(
            IntentState.CANCELLED_UNSENT,
            "we and the broker differ over today's hours or the time; see the differences of GET /account",
        )
    if is_entry and seen.limits_have_changed:
        return End(
            IntentState.CANCELLED_UNSENT, "the limits it was approved under have been changed"
        )
    if seen.state is ExecutorState.READY:
        if is_entry and seen.has_unknown_in_symbol:
            return Wait(f"another order in {intent.symbol} has an unknown outcome")
        return Go()
    if seen.state is ExecutorState.RECONCILING and not is_entry:
        return Go()
    return Wait(f"the executor is {seen.state.value}")


def may_be_posted_again(intent: Intent, seen: Circumstances) -> bool:
    """Whether an UNKNOWN intent may be POSTed once more under the same id.

    The broker's uniqueness check then proves the outcome. Never more POSTs than probes were answered,
    plus the first. No entry that somebody has wished to be out of since: it would be bought after that wish.
    """
    return (
        intent.state is IntentState.UNKNOWN
        and not (intent.purpose is IntentPurpose.ENTRY and seen.is_left_since)
        and intent.posts < 1 + intent.probes
        and isinstance(may_leave(intent, replace(seen, has_unknown_in_symbol=False)), Go)
    )


# ---------------------------------------------------------------------- what must be done


def bar_has_closed_over(entry: Intent, instant_at: datetime) -> bool:
    """Whether a partly filled bracket entry must give up its rest, as the bar it filled in is over."""
    return (
        entry.purpose is IntentPurpose.ENTRY
        and entry.order_class is OrderClass.BRACKET
        and entry.state is IntentState.PARTIAL
        and entry.sent_at is not None
        and entry.sent_at < instant_at
    )


def quantity_to_exit(exit_intent: Intent, position: Decimal) -> Decimal:
    """Shares an exit may send once nothing else can fill: never more than decided, nor than is held."""
    return max(ZERO, min(exit_intent.quantity, -position * exit_intent.side.sign))


def order_of_work(intents: Iterable[tuple[int, IntentPurpose]]) -> list[int]:
    """Positions (decision order) sorted as they are sent: protection, exits, then entries."""
    ranks = {IntentPurpose.PROTECT: 0, IntentPurpose.EXIT: 1, IntentPurpose.ENTRY: 2}
    return [i for i, _ in sorted(intents, key=lambda pair: (ranks[pair[1]], pair[0]))]


class Probes:
    """When to look up orders whose outcome is unknown: at 0, 1, 2, 4, 8 and 15 s, then every 15 s.

    Times are seconds of a monotonic timer. A round is complete when its last look-up was answered; a
    look-up without an answer is made again and counts for nothing.
    """

    def __init__(self) -> None:
        self._began: dict[str, float] = {}
        self._step: dict[str, int] = {}
        self._next: dict[str, float] = {}
        self._complete: set[str] = set()

    def watch(self, intents: Sequence[str], now_s: float) -> None:
        """Begin a round for whichever of `intents` has none, and forget all others."""
        for intent in list(self._began):
            if intent not in intents:
                self.forget(intent)
        for intent in intents:
            if intent not in self._began:
                self.begin(intent, now_s)

    def begin(self, intent: str, now_s: float) -> None:
        """Begin a new round."""
        self._began[intent], self._step[intent], self._next[intent] = now_s, 0, now_s

    def forget(self, intent: str) -> None:
        """It is known now."""
        for table in (self._began, self._step, self._next):
            table.pop(intent, None)
        self._complete.discard(intent)

    def is_due(self, intent: str, now_s: float) -> bool:
        """Whether to look it up now."""
        return intent in self._next and now_s >= self._next[intent]

    def answered(self, intent: str, now_s: float) -> bool:
        """The look-up found nothing: plan the next; True when this completed a round."""
        step = self._step[intent] + 1
        if step < len(PROBE_OFFSETS_S):
            self._step[intent] = step
            self._next[intent] = max(now_s, self._began[intent] + PROBE_OFFSETS_S[step])
            return False
        self._next[intent] = now_s + PROBE_OFFSETS_S[-1]
        self._complete.add(intent)
        return True

    def unanswered(self, intent: str, now_s: float) -> None:
        """The look-up got no answer: again in a second."""
        self._next[intent] = now_s + 1.0

    def round_is_complete(self, intent: str) -> bool:
        """Whether at least one whole round found nothing."""
        return intent in self._complete
