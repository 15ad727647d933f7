"""Which stops guard the shares of a symbol, which shares lost theirs, and what would put them back?

Stops and targets are legs of our brackets, orders of ours that took their place, or orders that somebody gave at the
broker: before the ledger was begun, or beside us. Nothing here reads a clock, a table or a socket.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from enum import Enum

from shared.domain.calendar import NEW_YORK
from shared.domain.orders import IntentState, OrderType, Side
from shared.domain.symbols import Symbol
from trade_executor.lifecycle import Intent, IntentPurpose, OrderRecord

ZERO = Decimal(0)
# Less than any fraction that is dealt in: what a ratio that has no end leaves over.
DUST = Decimal("1e-9")
_CENT = Decimal("0.01")
_OPEN_AFTER = timedelta(hours=9, minutes=30)
STOPS = frozenset({OrderType.STOP.value, OrderType.STOP_LIMIT.value, OrderType.TRAILING_STOP.value})
# A protective order that the broker refuses so often in a row is told to a person, and tried again ever more seldom.
REFUSALS_IN_A_ROW = 3
_FIRST_PAUSE = timedelta(minutes=1)
_LONGEST_PAUSE = timedelta(hours=1)
# A stop or target that the price has passed by more would sell at once, and more likely at a price of other shares than of
# a market that ran: the smallest splits that are usual, five for four, move it by a fifth.
FAR = Decimal("0.05")


# ---------------------------------------------------------------------- what lost its stop


@dataclass(frozen=True, slots=True)
class Cover:
    """A stop, and a target where there is one, as it is sent anew for shares that lost theirs; dollars per share."""

    signal_id: str
    # Of the entry; where nobody of ours decided on one, of the exit that took the stop out of its way.
    decision_id: str
    symbol: Symbol
    # Of the order that guards: the other one than that of what is held.
    side: Side
    stop: Decimal
    stop_limit: Decimal | None
    target: Decimal | None
    reference_price: Decimal
    # Whether the stop followed the price. It comes back fixed, where it stood: trailing anew it would begin at the price of
    # that moment, further away than it had come.
    trailed: bool = False


@dataclass(frozen=True, slots=True)
class Bracket:
    """Shares that came with a stop of their own, and what was made of them since."""

    # None where there is nothing to send in the place of what it came with.
    cover: Cover | None
    signal_id: str
    side: Side
    # Of those it came with: neither sold by its own orders, nor gone when less was held since.
    shares: Decimal
    # The intents whose orders, or the orders at the broker which, guard it.
    guarded_by: frozenset[str]
    # Orders that took the place of its legs so far, and how many of them the broker refused.
    protections: int
    # Why nothing takes their place at once; None where it may.
    held_back: HeldBack | None = None


@dataclass(frozen=True, slots=True)
class HeldBack:
    """A guard that is not put back at once; `is_paused` while it is tried again only when the price has come back."""

    why: str
    is_paused: bool


@dataclass(frozen=True, slots=True)
class Past:
    """What became of the orders that guarded a bracket."""

    # Refused by the broker in a row, up to now, and the last of them; `changed_since`: shares were bought, sold or moved.
    refused: int
    refused_at: datetime | None
    changed_since: bool
    # Whether the newest one ended at the broker without being asked to, and no split booked since then says why.
    ended_of_itself: bool


def held_back(past: Past, at: datetime) -> HeldBack | None:
    """Why a guard is not put back at once, at `at`; None when it may be.

    What the broker ends of itself may be the first it tells of a split: only a look at account and price puts it back. What
    it refuses is tried again after ever longer pauses, and at once when shares have moved since or another session began.
    """
    if past.refused >= REFUSALS_IN_A_ROW and past.refused_at is not None and not past.changed_since:
        doublings = min(past.refused - REFUSALS_IN_A_ROW, 10)
        again_at = past.refused_at + min(_FIRST_PAUSE * 2**doublings, _LONGEST_PAUSE)
        if at < again_at and _trading_day(at) == _trading_day(past.refused_at):
            why = f"the broker refused it {past.refused} times, it is tried again from {again_at:%H:%M} UTC on"
            return HeldBack(why, is_paused=True)
    if past.ended_of_itself:
        return HeldBack("the broker ended its stop without being asked", is_paused=False)
    return None


def _trading_day(at: datetime) -> date:
    """The day of New York that begins with its session."""
    return (at.astimezone(NEW_YORK) - _OPEN_AFTER).date()


class Standing(Enum):
    """Where the price stands to a stop and a target."""

    BETWEEN = "between"
    # One of them would sell at once, at a price that a market may come to in a moment.
    REACHED = "reached"
    FAR = "far"


def standing(cover: Cover, price: Decimal) -> Standing:
    """Where `price`, in dollars per share, stands to what `cover` would be sent at."""
    sign = cover.side.sign
    # Above zero where passed, as a share of it.
    passed = [sign * (price - cover.stop) / cover.stop]
    if cover.target is not None:
        passed.append(sign * (cover.target - price) / cover.target)
    if max(passed) < 0:
        return Standing.BETWEEN
    return Standing.REACHED if max(passed) <= FAR else Standing.FAR


def cover_of(entry: Intent, *, has_known_legs: bool) -> Cover | None:
    """What guards shares of `entry` in the place of its legs; None when nothing can, or they are to be looked up first.

    Args:
        has_known_legs: whether its legs were ever seen: a filled entry without them is not bare but unknown.
    """
    if entry.stop_loss is None or entry.take_profit is None:
        return None
    if entry.state is IntentState.FILLED and not has_known_legs:
        return None
    return Cover(
        entry.signal_id, entry.decision_id, entry.symbol, entry.side.opposite, entry.stop_loss,
        entry.stop_loss_limit, entry.take_profit, entry.reference_price,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Holding:
    """One symbol's situation as far as protection goes."""

    # Signed shares.
    quantity: Decimal
    live_intents: tuple[Intent, ...]
    open_orders: tuple[OrderRecord, ...]
    # Newest first; those that somebody gave at the broker last.
    brackets: tuple[Bracket, ...]


def guarded_by_others(
    quantity: Decimal, opened: Iterable[OrderRecord], brackets: Iterable[Bracket]
) -> Decimal:
    """Shares of the `quantity` held (signed) that stops given at the broker guard, beside those of `brackets`."""
    named = {name for bracket in brackets for name in bracket.guarded_by}
    return sum(
        (
            order.remaining
            for order in opened
            if order.intent_id is None
            and order.broker_order_id not in named
            and _is_stop_of(quantity, order)
        ),
        ZERO,
    )


def protection_needed(
    holding: Holding, released: Collection[str] = ()
) -> list[tuple[Bracket, Decimal]]:
    """Which brackets need a stop (and target) sent now, and for how many whole shares each; never more than is bare.

    Those that are held back are left out, unless their signal is among `released`.
    """
    return _missing(holding, lambda one: one.held_back is None or one.signal_id in released)


def bare_shares(holding: Holding) -> list[tuple[Bracket, Decimal]]:
    """Which brackets have whole shares without a stop, held back or not, and how many each."""
    return _missing(holding, lambda _: True)


def _missing(
    holding: Holding, is_wanted: Callable[[Bracket], bool]
) -> list[tuple[Bracket, Decimal]]:
    """The bare shares of the brackets that are wanted, of those that something could guard.

    What was sold by others is taken from the oldest. Legs that wait for a completed entry count as protection, since
    the broker will arm them. An exit that rests at its price, for days it may be, speaks for its own shares alone. While
    an entry, another exit or another protection is under way, the last of their events decides.
    """
    if not all(map(is_at_rest, holding.live_intents)):
        return []
    guards = [one for one in holding.live_intents if one.purpose is IntentPurpose.PROTECT]
    exits = [one for one in holding.live_intents if one.purpose is IntentPurpose.EXIT]
    resting, guarded = _resting(holding, guards, {intent.client_order_id for intent in exits})
    leaving = sum((intent.quantity - intent.filled_quantity for intent in exits), ZERO)
    held = abs(holding.quantity) - leaving
    free = held - guarded
    left = held - guarded_by_others(holding.quantity, holding.open_orders, holding.brackets)
    needed, counted = [], ZERO
    for bracket in holding.brackets:
        if holding.quantity * bracket.side.sign <= 0:
            continue
        own = max(ZERO, min(bracket.shares, left))
        left -= own
        # Fractions of a share cannot be guarded until cancelled; those of several make whole ones.
        whole = _whole(counted + own) - _whole(counted)
        counted += own
        bare = min(whole - resting[bracket.signal_id], Decimal(int(free)))
        if bare < 1 or bracket.cover is None or not is_wanted(bracket):
            continue
        needed.append((bracket, bare))
        free -= bare
    return needed


def _whole(shares: Decimal) -> Decimal:
    return Decimal(int(shares + DUST))


def is_at_rest(intent: Intent) -> bool:
    """Whether the broker has taken a live guard, or an exit that may wait long: one at the market is over in a moment.

    What is guarded is known beside those alone.
    """
    return intent.state in (IntentState.ACKED, IntentState.PARTIAL) and (
        intent.purpose is IntentPurpose.PROTECT
        or (intent.purpose is IntentPurpose.EXIT and intent.type is not OrderType.MARKET)
    )


def _resting(
    holding: Holding, guards: Sequence[Intent], besides: Collection[str]
) -> tuple[dict[str, Decimal], Decimal]:
    """Shares that stops at the broker guard: of each bracket by its signal, and in all; `besides` those of these intents."""
    signals = {name: b.signal_id for b in holding.brackets for name in b.guarded_by}
    signals |= {guard.client_order_id: guard.signal_id for guard in guards}
    # A live one counts by its intent: the broker tells of its stop a moment after it tells of its target.
    found = [(guard.client_order_id, guard.quantity - guard.filled_quantity) for guard in guards]
    found += [
        (order.intent_id or order.broker_order_id, order.remaining)
        for order in holding.open_orders
        if _is_stop_of(holding.quantity, order)
        and order.intent_id not in {*besides, *(guard.client_order_id for guard in guards)}
    ]
    resting = dict.fromkeys((bracket.signal_id for bracket in holding.brackets), ZERO)
    for name, shares in found:
        if signals.get(name) in resting:
            resting[signals[name]] += shares
    return resting, sum((shares for _, shares in found), ZERO)


def _is_stop_of(quantity: Decimal, order: OrderRecord) -> bool:
    return order.type in STOPS and order.side.sign * quantity < 0


# ---------------------------------------------------------------------- what others gave at the broker


@dataclass(frozen=True, slots=True)
class Guard:
    """A stop that somebody gave at the broker, and the target tied to it: all that it takes to put it back."""

    stop_order_id: str
    target_order_id: str | None
    quantity: Decimal
    stop: Decimal
    stop_limit: Decimal | None
    target: Decimal | None

    @property
    def signal_id(self) -> str:
        """What stands for a signal where there was none: orders that put it back are named after it."""
        return f"guard-{self.stop_order_id}"


def guards_among(orders: Sequence[OrderRecord], lonely: Collection[str]) -> list[Guard] | str:
    """The stops among `orders`, with their targets, or why one of them could not be put back once it was cancelled.

    Args:
        orders: the open ones of one symbol and side that somebody gave at the broker.
        lonely: those tied to another order that was never seen.
    """
    guards = []
    for stop in orders:
        if stop.broker_order_id in lonely:
            return f"what {stop.broker_order_id} is tied to is not known"
        if stop.type not in STOPS:
            continue
        price = _on_grid(stop.stop_price)
        if price is None or stop.remaining <= 0:
            return f"the price or size of stop {stop.broker_order_id} is not known"
        target = next((one for one in orders if _is_target_of(stop, one)), None)
        guards.append(
            Guard(
                stop.broker_order_id,
                None if target is None else target.broker_order_id,
                stop.remaining,
                price,
                _on_grid(stop.limit_price) if stop.type == OrderType.STOP_LIMIT.value else None,
                None if target is None else _on_grid(target.limit_price),
            )
        )
    return guards


def _is_target_of(stop: OrderRecord, order: OrderRecord) -> bool:
    return order.type == OrderType.LIMIT.value and (
        order.parent_order_id or order.broker_order_id
    ) == (stop.parent_order_id or stop.broker_order_id)


def _on_grid(price: Decimal | None) -> Decimal | None:
    """A price that an order may bear: a stop that trails stands anywhere."""
    if price is None:
        return None
    step = _CENT if price >= 1 else _CENT / 100
    return max(price.quantize(step, ROUND_HALF_EVEN), step)
