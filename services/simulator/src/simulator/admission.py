"""May this account enter that order now?

The venue's business rules, each a refusal in its own words; the account is read and never changed.
"""

from __future__ import annotations

from datetime import datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING

from shared.domain.calendar import NEW_YORK
from shared.domain.money import plain
from shared.domain.orders import OrderClass, OrderType, Side, TimeInForce
from simulator import refusals

if TYPE_CHECKING:
    from simulator.account import Account
    from simulator.orders import Order, Replace, Submit

ZERO = Decimal(0)
_PENNY = Decimal("0.01")
# Orders for an auction are taken from the evening before until shortly before it.
_AUCTIONS_FROM = time(19, 0)
_AUCTIONS_UNTIL = {TimeInForce.OPG: time(9, 28), TimeInForce.CLS: time(15, 50)}


def refuse_outside_its_auction(force: TimeInForce, now: datetime) -> None:
    """Orders for the opening or closing auction are taken in their hours only."""
    until = _AUCTIONS_UNTIL.get(force)
    if until is None:
        return
    at = now.astimezone(NEW_YORK).time()
    if until <= at < _AUCTIONS_FROM:
        raise refusals.unprocessable(
            f"{force.value} orders are accepted from 19:00 to {until:%H:%M} New York time"
        )


def refuse_terms_it_has_not(old: Order, wish: Replace) -> None:
    """A replacement changes the terms that the order has, and no others."""
    if old.notional is not None:
        raise refusals.unprocessable("notional orders cannot be replaced")
    if wish.limit_price is not None and not old.type.has_limit:
        raise refusals.invalid_parameter(f"{old.type.value} orders require no limit price")
    if wish.stop_price is not None and old.type not in (OrderType.STOP, OrderType.STOP_LIMIT):
        raise refusals.invalid_parameter(f"{old.type.value} orders require no stop price")
    if wish.trail is not None and old.type is not OrderType.TRAILING_STOP:
        raise refusals.invalid_parameter("only trailing stop orders take trail")


def refuse_wash_trade(account: Account, wish: Submit) -> None:
    """Two orders of one account must not meet; pairs and trailing stops are let through."""
    if wish.order_class is not OrderClass.SIMPLE:
        return
    for order in account.open_orders():
        if (
            order.symbol != wish.symbol
            or order.side is wish.side
            or order.order_class is not OrderClass.SIMPLE
        ):
            continue
        if OrderType.TRAILING_STOP in (order.type, wish.type):
            continue
        if not (order.type.has_limit and wish.type.has_limit):
            raise refusals.wash_trade("market/stop", order.id)
        assert order.limit_price is not None
        assert wish.limit_price is not None
        buys_at, sells_at = (
            (wish.limit_price, order.limit_price)
            if wish.side is Side.BUY
            else (order.limit_price, wish.limit_price)
        )
        if buys_at >= sells_at:
            raise refusals.wash_trade("limit", order.id)


def intent_of(account: Account, wish: Submit) -> str:
    """What the order does to the position, which a client may state and must then get right."""
    held = account.quantity_of(wish.symbol)
    if wish.side is Side.BUY:
        intent = "buy_to_close" if held < 0 else "buy_to_open"
    else:
        intent = "sell_to_close" if held > 0 else "sell_to_open"
    if wish.position_intent is not None and wish.position_intent != intent:
        raise refusals.unprocessable(
            f"position intent mismatch, inferred: {intent}, specified: {wish.position_intent}"
        )
    return intent


def refuse_bad_exits(wish: Submit, base_price: Decimal) -> None:
    """A target lies on the gaining side of the base price and a stop on the losing one, by a cent at least."""
    if wish.order_class is OrderClass.SIMPLE:
        return
    target, stop = wish.take_profit, wish.stop_loss
    exits_by_selling = (wish.side is Side.BUY) is not (wish.order_class is OrderClass.OCO)
    base = plain(base_price)
    if target is not None and stop is not None:
        if exits_by_selling and target <= stop:
            raise refusals.unprocessable(
                "take_profit.limit_price must be > stop_loss.stop_price", base_price=base
            )
        if not exits_by_selling and target >= stop:
            raise refusals.unprocessable(
                "take_profit.limit_price must be < stop_loss.stop_price", base_price=base
            )
    if wish.order_class is OrderClass.OCO or base_price <= 0:
        return
    if exits_by_selling:
        if stop is not None and stop > base_price - _PENNY:
            raise refusals.unprocessable(
                "stop_loss.stop_price must be <= base_price - 0.01", base_price=base
            )
        if target is not None and target < base_price + _PENNY:
            raise refusals.unprocessable(
                "take_profit.limit_price must be >= base_price + 0.01", base_price=base
            )
    elif (stop is not None and stop < base_price + _PENNY) or (
        target is not None and target > base_price - _PENNY
    ):
        raise refusals.unprocessable(
            "stop_loss.stop_price must be >= base_price + 0.01 and "
            "take_profit.limit_price <= base_price - 0.01",
            base_price=base,
        )


def refuse_unaffordable(account: Account, wish: Submit, reserve_price: Decimal) -> None:
    """Enough money for what is opened; enough shares, that no other open order has bound, for what is closed."""
    existing = account.quantity_of(wish.symbol)
    if existing * wish.side.sign < 0:
        # Nothing goes through zero: what is beyond the position would open another one.
        held, related = account.held_for_orders(wish.symbol)
        if wish.quantity > abs(existing) - held:
            raise refusals.insufficient_quantity(
                wish.symbol, wish.quantity, abs(existing), held, related
            )
        return
    if wish.order_class is OrderClass.OCO:
        raise refusals.insufficient_quantity(wish.symbol, wish.quantity, ZERO, ZERO, [])
    price = reserve_price
    if wish.side is Side.SELL:
        _refuse_unlent(account, wish)
        price = account.short_price(wish.symbol, wish.limit_price)
    _refuse_both_openings(account, wish)
    cost = wish.quantity * price
    if cost > account.buying_power:
        raise refusals.insufficient_buying_power(account.buying_power, cost)


def _refuse_unlent(account: Account, wish: Submit) -> None:
    """A short sale is for whole shares that are lent, in an account that may."""
    if not account.rules.allow_short or account.configuration["no_shorting"]:
        raise refusals.forbidden("account is not allowed to short")
    if not account.rules.lends(wish.symbol):
        raise refusals.unprocessable(f'asset "{wish.symbol}" cannot be sold short')
    if wish.notional is not None or wish.quantity != wish.quantity.to_integral_value():
        raise refusals.unprocessable("fractional orders cannot be sold short")


def _refuse_both_openings(account: Account, wish: Submit) -> None:
    """While an order that opens a position on one side is open, none opens one on the other."""
    for order in account.open_orders():
        if (
            order.symbol == wish.symbol
            and order.side is not wish.side
            and order.position_intent.endswith("_to_open")
        ):
            raise refusals.forbidden(
                "cannot open a long buy while a short sell order is open"
                if wish.side is Side.BUY
                else "cannot open a short sell while a long buy order is open"
            )
