"""Is this request for an order well-formed?

JSON bodies become commands here or are refused in the broker's words; whether the account may do it is
the book's to say. Numbers may come as texts or JSON numbers: clients send both.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from shared.domain.errors import InvalidSymbol
from shared.domain.money import MAX_PRICE, plain
from shared.domain.orders import OrderClass, OrderType, Side, TimeInForce
from shared.domain.symbols import Symbol, parse_symbol
from simulator.orders import Replace, Submit
from simulator.refusals import invalid_body, invalid_parameter, unprocessable

MAX_QUANTITY = Decimal(1_000_000_000)
MAX_CLIENT_ORDER_ID = 128
_NANO_SHARE = Decimal("0.000000001")
_CENT = Decimal("0.01")
_LEAST_TRAIL_PERCENT = Decimal("0.1")
_TYPES = frozenset({"market", "limit", "stop", "stop_limit", "trailing_stop"})
_FORCES = frozenset({"day", "gtc", "opg", "cls", "ioc", "fok"})
_INTENTS = frozenset({"buy_to_open", "buy_to_close", "sell_to_open", "sell_to_close"})
_CLASSES = {
    "": OrderClass.SIMPLE,
    "simple": OrderClass.SIMPLE,
    "bracket": OrderClass.BRACKET,
    "oco": OrderClass.OCO,
    "oto": OrderClass.OTO,
}


def parse_submit(body: object, symbols: frozenset[Symbol], *, source: str | None = None) -> Submit:
    """The order that `body` asks for; `symbols` are the venue's. Raises Refusal."""
    if not isinstance(body, Mapping):
        raise invalid_body()
    symbol = _symbol(body.get("symbol"), symbols)
    if body.get("side") not in ("buy", "sell"):
        raise invalid_parameter("invalid side")
    side = Side(body["side"])
    order_class = _order_class(body.get("order_class"))
    kind = _type(body.get("type"), order_class)
    force = _force(body.get("time_in_force"))
    quantity, notional = _amount(body)
    limit_price = _price(body, "limit_price")
    stop_price = _price(body, "stop_price")
    trail_price, trail_percent = _trail(body, kind)
    if body.get("advanced_instructions"):
        raise unprocessable("account not allowed to use advanced_instructions")
    extended_hours = _flag(body.get("extended_hours"))
    if extended_hours and (
        kind is not OrderType.LIMIT or force not in (TimeInForce.DAY, TimeInForce.GTC)
    ):
        raise unprocessable("extended hours order must be DAY or GTC limit orders")
    take_profit, stop_loss, stop_loss_limit = _exits(body, order_class)
    _refuse_wrong_prices(kind, order_class, limit_price, stop_price)
    _refuse_wrong_force(kind, order_class, force)
    if order_class in (OrderClass.BRACKET, OrderClass.OTO):
        if kind not in (OrderType.MARKET, OrderType.LIMIT):
            raise unprocessable(f"{order_class.value} orders must be market or limit orders")
        if extended_hours:
            raise unprocessable(f"{order_class.value} orders cannot be extended hours orders")
    if notional is not None or quantity != quantity.to_integral_value():
        _refuse_fractional(kind, order_class, force)
    intent = body.get("position_intent")
    if intent is not None and not _is_one_of(intent, _INTENTS):
        raise invalid_parameter("invalid position_intent")
    return Submit(
        symbol=symbol,
        side=side,
        quantity=quantity,
        type=kind,
        time_in_force=force,
        order_class=order_class,
        limit_price=limit_price,
        stop_price=stop_price,
        take_profit=take_profit,
        stop_loss=stop_loss,
        client_order_id=_client_order_id(body.get("client_order_id")),
        position_intent=intent,
        source=source,
        stop_loss_limit=stop_loss_limit,
        trail_price=trail_price,
        trail_percent=trail_percent,
        notional=notional,
        extended_hours=extended_hours,
    )


def _refuse_wrong_prices(
    kind: OrderType,
    order_class: OrderClass,
    limit_price: Decimal | None,
    stop_price: Decimal | None,
) -> None:
    has_limit, has_stop = limit_price is not None, stop_price is not None
    match kind:
        case OrderType.MARKET if has_limit or has_stop:
            raise invalid_parameter("market orders require no stop or limit price")
        case OrderType.STOP if not has_stop:
            raise invalid_parameter("stop orders require a stop price")
        case OrderType.STOP if has_limit:
            raise invalid_parameter("stop orders require no limit price")
        case OrderType.LIMIT if has_stop:
            raise invalid_parameter("limit orders require no stop price")
        case OrderType.LIMIT if not has_limit and order_class is not OrderClass.OCO:
            raise invalid_parameter("limit orders require a limit price")
        case OrderType.STOP_LIMIT if not (has_limit and has_stop):
            raise invalid_parameter("stop limit orders require both stop and limit price")
        case OrderType.TRAILING_STOP if has_limit or has_stop:
            raise invalid_parameter("trailing stop orders require no stop or limit price")


def _refuse_wrong_force(kind: OrderType, order_class: OrderClass, force: TimeInForce) -> None:
    is_usual = force in (TimeInForce.DAY, TimeInForce.GTC)
    if order_class is not OrderClass.SIMPLE and not is_usual:
        raise unprocessable(f"{order_class.value} orders must be DAY or GTC orders")
    if kind is OrderType.TRAILING_STOP:
        if order_class is not OrderClass.SIMPLE:
            raise unprocessable("trailing stop orders must be simple orders")
        if not is_usual:
            raise unprocessable("trailing stop orders must be DAY or GTC orders")
    if not is_usual and kind not in (OrderType.MARKET, OrderType.LIMIT):
        raise unprocessable(f"{force.value} orders must be market or limit orders")


def _refuse_fractional(kind: OrderType, order_class: OrderClass, force: TimeInForce) -> None:
    if kind is OrderType.TRAILING_STOP:
        raise unprocessable("fractional orders must be market, limit, stop, or stop_limit orders")
    if order_class is not OrderClass.SIMPLE:
        raise unprocessable("fractional orders must be simple orders")
    if force is not TimeInForce.DAY:
        raise unprocessable("fractional orders must be DAY orders")


def parse_replace(order_id: str, body: object) -> Replace:
    """The change of an order that `body` asks for. Raises Refusal."""
    if not isinstance(body, Mapping):
        raise invalid_body()
    quantity = None
    if body.get("qty") is not None:
        quantity = _decimal(body["qty"], "qty")
        if not 0 < quantity <= MAX_QUANTITY:
            raise invalid_parameter("qty must be > 0")
        if quantity != quantity.to_integral_value():
            raise invalid_parameter("qty must be a whole number")
    force = body.get("time_in_force")
    return Replace(
        order_id=order_id,
        quantity=quantity,
        limit_price=_price(body, "limit_price"),
        stop_price=_price(body, "stop_price"),
        time_in_force=None if force is None else _force(force),
        client_order_id=_client_order_id(body.get("client_order_id")),
        trail=None if body.get("trail") is None else _above_zero(body["trail"], "trail"),
    )


def parse_quantity(text: object, name: str = "qty") -> Decimal:
    """A share count above zero with at most nine decimals. Raises Refusal."""
    quantity = _decimal(text, name)
    if not 0 < quantity <= MAX_QUANTITY:
        raise invalid_parameter(f"{name} must be > 0")
    if quantity != quantity.quantize(_NANO_SHARE):
        raise invalid_parameter(f"{name} must have at most 9 decimals")
    return quantity


def _symbol(value: object, symbols: frozenset[Symbol]) -> Symbol:
    if value is None or value == "":
        raise invalid_parameter("symbol is required")
    try:
        symbol = parse_symbol(str(value))
    except InvalidSymbol:
        raise unprocessable(f'asset "{str(value)[:20]}" not found') from None
    if symbol not in symbols:
        raise unprocessable(f'asset "{symbol}" not found')
    return symbol


def _order_class(value: object) -> OrderClass:
    found = _CLASSES.get("" if value is None else str(value))
    if found is None:
        raise invalid_parameter("invalid order_class")
    return found


def _type(value: object, order_class: OrderClass) -> OrderType:
    if not _is_one_of(value, _TYPES):
        raise invalid_parameter("invalid order type")
    if order_class is OrderClass.OCO and value != "limit":
        raise invalid_parameter("oco orders must be limit orders")
    return OrderType(str(value))


def _force(value: object) -> TimeInForce:
    if not _is_one_of(value, _FORCES):
        raise invalid_parameter("invalid time_in_force")
    return TimeInForce(str(value))


def _amount(body: Mapping[str, Any]) -> tuple[Decimal, Decimal | None]:
    """Shares, or zero and dollars."""
    has_quantity = body.get("qty") is not None
    has_notional = body.get("notional") is not None
    if has_quantity and has_notional:
        raise invalid_parameter("only one of qty or notional is accepted")
    if has_notional:
        notional = _decimal(body["notional"], "notional")
        if notional < 1:
            raise unprocessable("notional must be >= 1.00")
        if notional > MAX_QUANTITY or notional != notional.quantize(_CENT):
            raise invalid_parameter("notional must be dollars and whole cents")
        return Decimal(0), notional
    if not has_quantity:
        raise invalid_parameter("qty or notional is required")
    return parse_quantity(body["qty"]), None


def _trail(body: Mapping[str, Any], kind: OrderType) -> tuple[Decimal | None, Decimal | None]:
    has_price, has_percent = (
        body.get("trail_price") is not None,
        body.get("trail_percent") is not None,
    )
    if kind is not OrderType.TRAILING_STOP:
        if has_price or has_percent:
            raise invalid_parameter("only trailing stop orders take trail_price or trail_percent")
        return None, None
    if has_price == has_percent:
        raise invalid_parameter(
            "trailing stop orders must specify one of trail_price or trail_percent"
        )
    if has_price:
        return _price(body, "trail_price"), None
    percent = _above_zero(body["trail_percent"], "trail_percent")
    if not _LEAST_TRAIL_PERCENT <= percent < 100:
        raise unprocessable("trail_percent must be >= 0.1 and < 100")
    return None, percent


def _exits(
    body: Mapping[str, Any], order_class: OrderClass
) -> tuple[Decimal | None, Decimal | None, Decimal | None]:
    """Target, stop, and the stop's own limit."""
    profit, loss = body.get("take_profit"), body.get("stop_loss")
    if order_class is OrderClass.SIMPLE:
        if profit or loss:
            raise invalid_parameter("take_profit and stop_loss require an order_class")
        return None, None, None
    name = order_class.value
    target = profit.get("limit_price") if isinstance(profit, Mapping) else None
    stop = loss.get("stop_price") if isinstance(loss, Mapping) else None
    if order_class is OrderClass.OTO:
        if (target is None) == (stop is None):
            raise invalid_parameter(
                "oto orders require one of take_profit.limit_price and stop_loss.stop_price"
            )
    elif target is None:
        raise invalid_parameter(f"{name} orders require take_profit.limit_price")
    elif stop is None:
        raise invalid_parameter(f"{name} orders require stop_loss.stop_price")
    return (
        None if target is None else _price(profit or {}, "limit_price", "take_profit.limit_price"),
        None if stop is None else _price(loss or {}, "stop_price", "stop_loss.stop_price"),
        None if stop is None else _price(loss or {}, "limit_price", "stop_loss.limit_price"),
    )


def _price(body: Mapping[str, Any], key: str, name: str | None = None) -> Decimal | None:
    if body.get(key) is None:
        return None
    name = name or key
    price = _decimal(body[key], name)
    if not 0 < price <= MAX_PRICE:
        raise invalid_parameter(f"{name} must be > 0")
    step = Decimal("0.01") if price >= 1 else Decimal("0.0001")
    if price % step:
        raise unprocessable(
            f"invalid {name} {plain(price)}. sub-penny increment does not fulfill minimum "
            "pricing criteria"
        )
    return price


def _decimal(value: object, name: str) -> Decimal:
    """A finite number; a JSON number's shortest text, as the client wrote it."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise invalid_parameter(f"{name} must be a number")
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise invalid_parameter(f"{name} must be a number") from None
    if not number.is_finite() or abs(number.adjusted()) > 20:
        raise invalid_parameter(f"{name} must be a number")
    return number


def _above_zero(value: object, name: str) -> Decimal:
    number = _decimal(value, name)
    if number <= 0:
        raise invalid_parameter(f"{name} must be > 0")
    return number


def _is_one_of(value: object, known: frozenset[str]) -> bool:
    return isinstance(value, str) and value in known


def _flag(value: object) -> bool:
    return value is True or str(value).lower() == "true"


def _client_order_id(value: object) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise invalid_parameter("client_order_id must be a text")
    if len(value) > MAX_CLIENT_ORDER_ID:
        raise invalid_parameter("client_order_id must be no more than 128 characters")
    return value
