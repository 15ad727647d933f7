"""Would the broker take this order, as far as its own rules can be known beforehand?

Each documented rule on the shape of an order is one line here, with what to do about it: a reason and a mend before
the order leaves say more than the broker's refusal after it. What the share and its market allow is asked in `market`;
what depends on the account stays the broker's to say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from shared.domain.ids import MAX_CLIENT_ORDER_ID
from shared.domain.money import plain
from shared.domain.orders import OrderClass, OrderRequest, OrderType, Side, TimeInForce

_PENNY = Decimal("0.01")
_NANO_SHARE = Decimal("0.000000001")
_MOST_SHARES = Decimal(1_000_000_000)
_LEAST_TRAIL_PERCENT = Decimal("0.1")
_USUAL_FORCES = frozenset({TimeInForce.DAY, TimeInForce.GTC})
_PLAIN_TYPES = frozenset({OrderType.MARKET, OrderType.LIMIT})


@dataclass(frozen=True, slots=True)
class Problem:
    """Why the broker would refuse, and what to ask for instead."""

    code: str
    reason: str
    mend: str

    def __str__(self) -> str:
        return f"{self.reason}; {self.mend}"


def problem_with(order: OrderRequest) -> Problem | None:
    """The first rule that `order` breaks; None when it breaks none."""
    return next(_problems(order), None)


def _problems(order: OrderRequest) -> Iterator[Problem]:
    yield from _of_amount(order)
    yield from _of_prices(order)
    yield from _of_trail(order)
    yield from _of_force(order)
    yield from _of_class(order)


def _of_amount(order: OrderRequest) -> Iterator[Problem]:
    if len(order.client_order_id) > MAX_CLIENT_ORDER_ID:
        yield Problem(
            "client_order_id", f"a client order id has at most {MAX_CLIENT_ORDER_ID} characters",
            "take a shorter one",
        )  # fmt: skip
    quantity = order.quantity
    if not 0 < quantity <= _MOST_SHARES:
        yield Problem(
            "quantity", f"quantity is {plain(quantity)}", f"ask for more than 0 and at most {_MOST_SHARES} shares",
        )  # fmt: skip
        return
    if quantity != quantity.quantize(_NANO_SHARE):
        yield Problem("quantity", "quantity has more than nine decimals", "round it to nine")
    if order.notional is not None:
        if order.notional < 1 or order.notional % _PENNY:
            yield Problem(
                "notional", f"notional is {plain(order.notional)} dollars", "ask for 1 dollar or more, in whole cents"
            )  # fmt: skip
    elif quantity == quantity.to_integral_value():
        return
    if order.order_class is not OrderClass.SIMPLE:
        yield Problem(
            "fractional", f"a {order.order_class.value} order cannot hold a fraction of a share",
            "ask for whole shares, or for a simple order and guard it after it has filled",
        )  # fmt: skip
    if order.type is OrderType.TRAILING_STOP:
        yield Problem(
            "fractional",
            "a trailing stop cannot hold a fraction of a share",
            "ask for whole shares",
        )
    if order.time_in_force is not TimeInForce.DAY:
        yield Problem(
            "fractional", "an order for a fraction of a share is good for the day only",
            "ask for time_in_force day, or for whole shares",
        )  # fmt: skip


def _of_prices(order: OrderRequest) -> Iterator[Problem]:
    named = {
        "limit_price": order.limit_price,
        "stop_price": order.stop_price,
        "take_profit": order.take_profit,
        "stop_loss": order.stop_loss,
        "stop_loss_limit": order.stop_loss_limit,
        "trail_price": order.trail_price,
    }
    for name, price in named.items():
        if price is None:
            continue
        step = _PENNY if price >= 1 else Decimal("0.0001")
        if price <= 0 or price % step:
            yield Problem(
                "price_step", f"{name} {plain(price)} is not on the broker's grid",
                f"round it to a multiple of {step}",
            )  # fmt: skip
    kind, is_oco = order.type, order.order_class is OrderClass.OCO
    wants_limit = kind.has_limit and not is_oco
    if wants_limit and order.limit_price is None:
        yield Problem(
            "limit_price", f"a {kind.value} order needs a limit price", "give limit_price"
        )
    if not kind.has_limit and order.limit_price is not None:
        yield Problem(
            "limit_price", f"a {kind.value} order has no limit price", "leave limit_price out"
        )
    wants_stop = kind in (OrderType.STOP, OrderType.STOP_LIMIT)
    if wants_stop and order.stop_price is None:
        yield Problem("stop_price", f"a {kind.value} order needs a stop price", "give stop_price")
    if not wants_stop and order.stop_price is not None:
        yield Problem(
            "stop_price", f"a {kind.value} order has no stop price", "leave stop_price out"
        )


def _of_trail(order: OrderRequest) -> Iterator[Problem]:
    given = [t for t in (order.trail_price, order.trail_percent) if t is not None]
    if order.type is not OrderType.TRAILING_STOP:
        if given:
            yield Problem(
                "trail", f"a {order.type.value} order does not trail",
                "leave trail_price and trail_percent out, or ask for type trailing_stop",
            )  # fmt: skip
        return
    if len(given) != 1:
        yield Problem(
            "trail",
            "a trailing stop needs exactly one of trail_price and trail_percent",
            "give one",
        )
    if order.trail_percent is not None and not _LEAST_TRAIL_PERCENT <= order.trail_percent < 100:
        yield Problem(
            "trail", f"trail_percent is {plain(order.trail_percent)}",
            "ask for 0.1 or more and less than 100",
        )  # fmt: skip


def _of_force(order: OrderRequest) -> Iterator[Problem]:
    force, kind = order.time_in_force, order.type
    if force not in _USUAL_FORCES and kind not in _PLAIN_TYPES:
        yield Problem(
            "time_in_force", f"{force.value} goes with market and limit orders only",
            "ask for time_in_force day or gtc",
        )  # fmt: skip
    if order.extended_hours and (kind is not OrderType.LIMIT or force not in _USUAL_FORCES):
        yield Problem(
            "extended_hours", "outside regular hours only limit orders good for the day or till cancelled work",
            "ask for type limit with time_in_force day or gtc",
        )  # fmt: skip


def _of_class(order: OrderRequest) -> Iterator[Problem]:
    kind, order_class = order.type, order.order_class
    exits = [e for e in (order.take_profit, order.stop_loss) if e is not None]
    if order.stop_loss_limit is not None and order.stop_loss is None:
        yield Problem("stop_loss", "the stop's limit comes without a stop", "give the stop's price")
    if order_class is OrderClass.SIMPLE:
        if exits:
            yield Problem(
                "order_class", "a simple order has neither target nor stop",
                "ask for a bracket, oco or oto order",
            )  # fmt: skip
        return
    name = order_class.value
    if kind is OrderType.TRAILING_STOP or order.time_in_force not in _USUAL_FORCES:
        yield Problem(
            "order_class", f"a {name} order is a market or limit order, good for the day or till cancelled",
            "ask for a simple order",
        )  # fmt: skip
    if order_class is OrderClass.OCO:
        if kind is not OrderType.LIMIT:
            yield Problem("order_class", "an oco order is of type limit", "ask for type limit")
    elif kind not in _PLAIN_TYPES or order.extended_hours:
        yield Problem(
            "order_class", f"the entry of a {name} order is a market or limit order in regular hours",
            "ask for type market or limit, or for a simple order",
        )  # fmt: skip
    wanted = 1 if order_class is OrderClass.OTO else 2
    if len(exits) != wanted:
        yield Problem(
            "order_class",
            f"a {name} order needs {'one' if wanted == 1 else 'both'} of take_profit and stop_loss",
            "give them",
        )
    yield from _of_exits(order)


def _of_exits(order: OrderRequest) -> Iterator[Problem]:
    """Targets lie on the gaining side of the base price and stops on the losing one, by a cent at least."""
    is_long = (order.side is Side.BUY) is not (order.order_class is OrderClass.OCO)
    sign = 1 if is_long else -1
    target, stop = order.take_profit, order.stop_loss
    if target is not None and stop is not None and (target - stop) * sign <= 0:
        yield Problem(
            "exits", f"the target {plain(target)} lies on the losing side of the stop {plain(stop)}",
            "put the target above the stop of a long position, below that of a short one",
        )  # fmt: skip
    base = order.limit_price
    if order.order_class is OrderClass.OCO or base is None:
        return
    if target is not None and (target - base) * sign < _PENNY:
        yield Problem(
            "exits", f"the target {plain(target)} does not gain a cent on the entry at {plain(base)}",
            "put it further away",
        )  # fmt: skip
    if stop is not None and (base - stop) * sign < _PENNY:
        yield Problem(
            "exits", f"the stop {plain(stop)} does not lie a cent behind the entry at {plain(base)}",
            "put it further away",
        )  # fmt: skip
