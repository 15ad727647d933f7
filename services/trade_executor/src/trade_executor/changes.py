"""What may a person do to an order that stands?

Taking back and asking for less are always allowed while the order lives. Asking for more is a new wish and takes the
road through risk: a replacement never commits more than was approved for the order it replaces, and the price of an entry
stays as near the one it was decided at as risk's collar asked.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from shared.domain.decisions import TradingMode
from shared.domain.ids import client_order_id
from shared.domain.money import plain
from shared.domain.order_life import STATUSES
from shared.domain.orders import IntentState, OrderChange, OrderClass, OrderType, TimeInForce
from trade_executor.lifecycle import Intent, IntentPurpose, OrderRecord, change_between
from trade_executor.preflight import Problem, problem_with

# A change that could not be sent for so long is not what the person looked at any more.
_CHANGE_LASTS = timedelta(minutes=2)
_UNDECIDED = (IntentState.SENDING, IntentState.UNKNOWN)
_ANEW = "cancel it and send a new order"


def obstacle_to_cancel(intent: Intent) -> Problem | None:
    """Why this order cannot be taken back now; None when it can."""
    if intent.state.is_final:
        return Problem(
            "order_ended",
            f"the order is {intent.state.value} already",
            "there is nothing to cancel",
        )
    if intent.state in _UNDECIDED:
        return Problem(
            "outcome_unknown", "whether the broker has the order is being verified", "ask again in a moment"
        )  # fmt: skip
    if intent.purpose is IntentPurpose.PROTECT:
        return Problem(
            "protects", f"the order guards {plain(intent.quantity)} shares of {intent.symbol}",
            "close the position instead",
        )  # fmt: skip
    return None


def replacement(
    intent: Intent,
    order: OrderRecord | None,
    change: OrderChange,
    *,
    account: str,
    generation: int,
    collar: Decimal | None,
    at: datetime,
) -> Intent | Problem:
    """The intent that takes the place of `intent`, whose `order` stands at the broker, or why there is none.

    Args:
        collar: how far from its reference price risk lets an entry be, as a fraction of it; None where that is not stored.
    """
    obstacle = obstacle_to_cancel(intent)
    if obstacle is not None:
        return obstacle
    if intent.order_class is not OrderClass.SIMPLE:
        return Problem("tied_order", f"the order is part of a {intent.order_class.value}", _ANEW)
    if order is None or not STATUSES[order.status].can_replace:
        stands = "waits here" if order is None else f"is {order.status.value}"
        return Problem("not_replaceable", f"an order that {stands} cannot be replaced", _ANEW)
    changed = replace(
        intent,
        client_order_id=client_order_id(
            account, intent.signal_id, intent.purpose.value, generation
        ),
        generation=generation,
        quantity=_or(change.quantity, intent.quantity),
        filled_quantity=Decimal(0),
        limit_price=change.limit_price or intent.limit_price,
        stop_price=change.stop_price or intent.stop_price,
        trail_price=(change.trail or intent.trail_price) if intent.trail_price else None,
        trail_percent=(change.trail or intent.trail_percent) if intent.trail_percent else None,
        time_in_force=change.time_in_force or intent.time_in_force,
        state=IntentState.PENDING,
        broker_order_id=None,
        act_from=at,
        act_until=at + _CHANGE_LASTS,
        posts=0,
        probes=0,
        sent_at=None,
        replaces=intent.client_order_id,
    )
    return _obstacle(intent, order, changed, change, collar) or changed


def obstacle_to_moving(mode: TradingMode | None, halt_note: str | None) -> Problem | None:
    """Why no stop or target may be moved now; None when they may.

    What rests is cancelled first: where its successor may not leave, the shares would stand bare.
    """
    if halt_note is None and mode in (TradingMode.ACTIVE, TradingMode.REDUCING):
        return None
    why = halt_note or ("no trading mode is stored" if mode is None else f"trading is {mode.value}")
    return Problem(
        "trading_halted", f"nothing could take the place of what rests at the broker: {why}", "resume trading first"
    )  # fmt: skip


def exits_moved(
    entry: Intent,
    *,
    held: Decimal,
    is_newest: bool,
    is_alone: bool,
    take_profit: Decimal | None,
    stop_loss: Decimal | None,
    last_price: Decimal | None,
) -> Intent | Problem:
    """`entry` with another target or stop for what it brought, or why there is none; None leaves one as it is.

    What rests at the broker is cancelled then and an OCO takes its place: legs cannot be replaced while they are held or
    the exchange is closed, and a chain of replacements was seen to stick. Only the newest bracket of a symbol is surely
    still held, and nothing is guarded anew while another order in it is under way; else the exits stay where they are.
    """
    name = entry.order_class.value
    if entry.order_class is not OrderClass.BRACKET or entry.purpose is not IntentPurpose.ENTRY:
        return Problem(
            "no_legs",
            f"a {name} order for {entry.purpose.value} has no stop and target that move",
            _ANEW,
        )
    if not entry.state.is_final:
        return Problem(
            "legs_wait", "stop and target wait for their entry, which may still fill", _ANEW
        )
    if held * entry.side.sign <= 0:
        return Problem(
            "position_not_found", f"nothing of {entry.symbol} is held", "there is nothing to guard"
        )
    if not is_newest:
        return Problem(
            "older_bracket", f"another bracket in {entry.symbol} came later", "close the position, or move the exits of that one"
        )  # fmt: skip
    if not is_alone:
        return Problem(
            "symbol_busy", f"another order in {entry.symbol} is under way", "wait for its end, or cancel it first"
        )  # fmt: skip
    if entry.stop_loss_limit is not None and stop_loss is not None:
        return Problem(
            "stop_limit", "a stop with a limit of its own cannot be moved", "close the position, or give an OCO"
        )  # fmt: skip
    moved = replace(
        entry,
        take_profit=take_profit or entry.take_profit,
        stop_loss=stop_loss or entry.stop_loss,
    )
    assert moved.stop_loss is not None
    assert entry.stop_loss is not None
    if moved == entry:
        return Problem("no_change", "stop and target stand there already", "name another price")
    if (moved.stop_loss - entry.stop_loss) * entry.side.sign < 0:
        return Problem(
            "loosens_stop", f"the stop at {plain(entry.stop_loss)} only ever moves towards the price",
            "close the position, or leave the stop where it is",
        )  # fmt: skip
    pair = replace(
        moved,
        side=entry.side.opposite,
        type=OrderType.LIMIT,
        order_class=OrderClass.OCO,
        limit_price=None,
        time_in_force=TimeInForce.GTC,
        quantity=max(Decimal(int(abs(held))), Decimal(1)),
    )
    return problem_with(pair.request()) or _problem_with_price(moved, last_price) or moved


def _problem_with_price(moved: Intent, last_price: Decimal | None) -> Problem | None:
    """Why stop and target do not stand on either side of the market; None when they do."""
    if last_price is None:
        return Problem(
            "no_price", f"no price of {moved.symbol} is known to compare stop and target with",
            "ask again once a bar has come in",
        )  # fmt: skip
    for name, price, sign in (
        ("stop", moved.stop_loss, moved.side.sign),
        ("target", moved.take_profit, -moved.side.sign),
    ):
        if price is not None and (last_price - price) * sign <= 0:
            return Problem(
                f"{name}_reached", f"{moved.symbol} stands at {plain(last_price)}, which reaches a {name} of {plain(price)}",
                f"name another {name}, or close the position",
            )  # fmt: skip
    return None


def _obstacle(
    intent: Intent,
    order: OrderRecord,
    changed: Intent,
    change: OrderChange,
    collar: Decimal | None,
) -> Problem | None:
    if change.trail is not None and intent.type is not OrderType.TRAILING_STOP:
        return Problem("trail", f"a {intent.type.value} order does not trail", "leave trail out")
    if intent.notional is not None:
        return Problem("notional", "an order for a sum of money cannot be replaced", _ANEW)
    if change_between(intent, changed) == OrderChange():
        return Problem("no_change", "the order has these terms already", "name a term to change")
    if changed.quantity <= order.filled_quantity:
        return Problem(
            "quantity", f"{plain(order.filled_quantity)} shares are filled already",
            "ask for more than that, or cancel the rest",
        )  # fmt: skip
    if change.quantity is not None and change.quantity != change.quantity.to_integral_value():
        return Problem("fractional", "a replacement is for whole shares", _ANEW)
    if changed.time_in_force not in (TimeInForce.DAY, TimeInForce.GTC):
        return Problem(
            "time_in_force", "a replacement is good for the day or till cancelled", _ANEW
        )
    problem = problem_with(changed.request())
    if problem is not None:
        return problem
    is_entry = intent.purpose is IntentPurpose.ENTRY
    if changed.quantity > intent.quantity or (is_entry and _cost(changed) > _cost(intent)):
        return Problem(
            "commits_more", f"risk approved {plain(_cost(intent))} dollars and {plain(intent.quantity)} shares",
            f"ask for no more than that, or {_ANEW}, which risk reviews",
        )  # fmt: skip
    return _price_too_far(changed, change, collar) if is_entry else None


def _price_too_far(changed: Intent, change: OrderChange, collar: Decimal | None) -> Problem | None:
    """Why an entry may not have its new limit, stop or trail; None when it may."""
    reference, asked = changed.reference_price, []
    for name, price in (("limit", change.limit_price), ("stop", change.stop_price)):
        if price is not None:
            asked.append((f"a {name} of {plain(price)}", abs(price - reference) / reference))
    if change.trail is not None:
        share = change.trail / (100 if changed.trail_percent is not None else reference)
        asked.append((f"a trail of {plain(change.trail)}", share))
    for what, away in asked:
        if collar is None or away > collar:
            most = "no price but that was approved" if collar is None else f"at most {collar:.2%}"
            return Problem(
                "price_collar", f"{what} is {away:.2%} away from {plain(reference)}, which the entry was decided at; {most}",
                f"name a price nearer to it, or {_ANEW}, which risk reviews",
            )  # fmt: skip
    return None


def _cost(intent: Intent) -> Decimal:
    return intent.quantity * (intent.limit_price or intent.stop_price or intent.reference_price)


def _or(value: Decimal | None, otherwise: Decimal) -> Decimal:
    return otherwise if value is None else value
