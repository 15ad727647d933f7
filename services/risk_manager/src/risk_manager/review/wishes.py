"""What is wished for, in one shape, wherever it comes from?

A signal, an order by hand, a flatten, or what a position itself asks for once a bar has closed.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from risk_manager import positions
from risk_manager.exposure import Exposure
from risk_manager.limits import Limits
from risk_manager.management import is_day_over
from risk_manager.review.case import Venue, Wish
from risk_manager.sizing import stop_price, target_price
from risk_manager.snapshot import ZERO, Book, figure
from shared.domain.decisions import Purpose, TradingMode
from shared.domain.ids import flatten_signal_id, management_signal_id
from shared.domain.money import plain
from shared.domain.orders import OrderType, Side, TimeInForce
from shared.domain.signals import Direction, Evaluation, ManualOrder, Signal
from shared.domain.symbols import Symbol


def entry_of(signal: Signal, limits: Limits) -> Wish:
    """A market bracket, good till cancelled so that its legs outlive the day.

    A short one has its stop above the price and its target below.
    """
    reference = figure(signal.reference_price)
    is_long = signal.direction is Direction.LONG
    if is_long:
        stop = stop_price(reference, limits.stop_loss)
        target = target_price(reference, limits.take_profit)
    else:
        stop = target_price(reference, limits.stop_loss)
        target = stop_price(reference, limits.take_profit)
    return Wish(
        signal.signal_id,
        signal.strategy,
        signal.symbol,
        Side.BUY if is_long else Side.SELL,
        Purpose.ENTRY,
        None,
        OrderType.MARKET,
        TimeInForce.GTC,
        None,
        None,
        _decimal(stop),
        _decimal(target),
        signal.reference_price,
        signal.bar_end_at,
        wants_to_hold=True,
        figures={"conviction": repr(signal.conviction), **signal.figures},
        conviction=signal.conviction,
    )


def leads_out(signal: Signal, exposure: Exposure, limits: Limits) -> bool:
    """Whether it is answered by a way out: it wishes for nothing, or for the other side of what is held or on order.

    Nothing goes through zero in one order: an entry on the other side is answered once the exit is proven filled, by
    `turn_wishes` of a later bar.
    """
    if signal.direction is Direction.FLAT:
        return True
    there = exposure.side_of(signal.symbol)
    wished = Side.BUY if signal.direction is Direction.LONG else Side.SELL
    # Where shorts are not allowed, what is owed came from elsewhere and is its owner's to turn around.
    return limits.allow_short and there is wished.opposite


def turn_wishes(
    evaluation: Evaluation,
    book: Book,
    exposure: Exposure,
    limits: Limits,
    venue: Venue,
) -> list[Wish]:
    """The entries of turns whose exit has filled, at the present price, and those that are over, which will be refused.

    An exit that has filled in part is waited for as long as any signal may wait; what is left of it then stays an exit.
    So is a store of bars that gives no answer: without a fresh price the one answer would be no.
    """
    anew = {signal.symbol for signal in evaluation.signals}
    patience = venue.bar_length * limits.max_signal_age_bars
    found = []
    for turn in sorted(book.turns, key=lambda turn: (turn.signal.symbol, turn.signal.signal_id)):
        signal = turn.signal
        symbol, price = signal.symbol, exposure.price(signal.symbol)
        age = venue.calendar.session_time_between(signal.bar_end_at, evaluation.instant_at)
        is_flat = not (
            exposure.there(symbol) or exposure.leaving.get(symbol) or exposure.unknown.get(symbol)
        )
        is_superseded = turn.is_superseded or symbol in anew
        may_enter = is_flat and exposure.market.unread is None
        if is_superseded or may_enter or age > patience:
            wish = entry_of(
                replace(signal, reference_price=price or signal.reference_price), limits
            )
            figures = {**wish.figures, "signal_id": turn.because}
            found.append(replace(wish, figures=figures, is_superseded=is_superseded))
    return found


def exit_of(signal: Signal, exposure: Exposure) -> Wish:
    """A market order out of all that is held and may still fill; one that turns around says to which side."""
    turns = {} if signal.direction is Direction.FLAT else {"turns_to": signal.direction.value}
    return _out_of(
        signal.signal_id,
        signal.strategy,
        signal.symbol,
        exposure,
        signal.reference_price,
        signal.bar_end_at,
        {**signal.figures, **turns},
    )


def manual_of(order: ManualOrder, exposure: Exposure) -> Wish:
    """What a person asked for; a sale, or a purchase against a short position, is an exit."""
    is_exit = order.side is Side.SELL or exposure.side_of(order.symbol) is Side.SELL
    return Wish(
        order.signal_id,
        "manual",
        order.symbol,
        order.side,
        Purpose.EXIT if is_exit else Purpose.ENTRY,
        order.quantity,
        order.type,
        order.time_in_force,
        order.limit_price,
        order.stop_price,
        order.stop_loss,
        order.take_profit,
        exposure.price(order.symbol) or order.limit_price or order.stop_price,
        order.requested_at,
        wants_to_hold=False,
        # The executor holds what it sends against the sum that was approved.
        figures={"actor": order.actor, **_sum_of(order)},
        terms=order.terms,
    )


def _sum_of(order: ManualOrder) -> dict[str, str]:
    money = order.terms.notional
    return {} if money is None else {"notional": plain(money)}


def flatten_wishes(
    flatten_id: str,
    asked: dict[str, str],
    book: Book,
    exposure: Exposure,
    now: datetime,
) -> list[Wish]:
    """A way out of everything held or on order."""
    return [
        _out_of(
            flatten_signal_id(book.account, flatten_id, symbol),
            "flatten",
            symbol,
            exposure,
            exposure.price(symbol),
            now,
            asked,
        )
        for symbol in sorted(book.symbols)
        if exposure.reducible(symbol) > ZERO
    ]


def management_wishes(
    evaluation: Evaluation,
    besides: AbstractSet[Symbol],
    book: Book,
    exposure: Exposure,
    limits: Limits,
    venue: Venue,
) -> list[Wish]:
    """What positions themselves ask for once a bar has closed, `besides` being wished away; under HALTED nothing could leave."""
    if book.mode.mode is TradingMode.HALTED:
        return []
    at, plan = evaluation.instant_at, limits.management
    found = positions.reductions(
        book,
        exposure,
        plan,
        max_position_size=limits.max_position_size,
        day_is_over=bool(plan.day_strategies)
        and is_day_over(at, venue.calendar, plan.flat_before_close_s),
        besides=besides,
    )
    return [
        _out_of(
            management_signal_id(book.account, reduction.kind, reduction.symbol, at),
            reduction.kind,
            reduction.symbol,
            exposure,
            exposure.price(reduction.symbol),
            at,
            {
                "reason": reduction.reason,
                "actor": "risk_manager",
                **({"targets": " ".join(reduction.targets)} if reduction.targets else {}),
            },
            quantity=reduction.quantity,
        )
        for reduction in found
    ]


def _out_of(
    signal_id: str,
    strategy: str,
    symbol: Symbol,
    exposure: Exposure,
    reference: Decimal | None,
    wished_at: datetime,
    figures: dict[str, str],
    quantity: Decimal | None = None,
) -> Wish:
    """A market order for `quantity`, else for all that is held and all that may still fill."""
    if quantity is None:
        quantity = exposure.reducible(symbol)
    return Wish(
        signal_id,
        strategy,
        symbol,
        Side.BUY if exposure.side_of(symbol) is Side.SELL else Side.SELL,
        Purpose.EXIT,
        quantity,
        OrderType.MARKET,
        # What does not sell today goes on tomorrow; the broker takes fractions for the day only.
        TimeInForce.GTC if quantity == quantity.to_integral_value() else TimeInForce.DAY,
        None,
        None,
        None,
        None,
        reference,
        wished_at,
        wants_to_hold=False,
        figures=figures,
        replaces_resting=True,
    )


def _decimal(price: float) -> Decimal:
    return Decimal(repr(price))
