"""How are the broker's words read and written?

Every field but ids, symbol and status may be absent, null, a text or a number; keys we do not know are
ignored, statuses we do not know are kept as text. What lacks an id is no order. Parsing never guesses: it
returns a value or raises InvalidInput, and the caller has kept the raw text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

from shared.domain.activities import Activity
from shared.domain.calendar import NEW_YORK, Session
from shared.domain.errors import InvalidInput
from shared.domain.money import plain
from shared.domain.order_life import EVENTS, EventRow
from shared.domain.orders import OrderChange, OrderClass, OrderRequest
from shared.domain.symbols import Symbol
from shared.ports import BrokerAccount, BrokerExecution, BrokerOrder
from trade_executor.market import Asset, Quote

# Larger figures are no quantity, price or sum of money of ours and would not fit the ledger's columns.
_LARGEST = Decimal(10) ** 15
_MAX_TEXT = 200
_MAX_LEGS = 8


def order_body(order: OrderRequest) -> dict[str, Any]:
    """The JSON body of a new order; unset fields are left out."""
    body: dict[str, Any] = {
        "symbol": order.symbol,
        # One of the two, never both.
        **_amount(order),
        "side": order.side.value,
        "type": order.type.value,
        "time_in_force": order.time_in_force.value,
        "client_order_id": order.client_order_id,
    }
    # In an OCO the target's price stands in `take_profit` alone.
    if order.limit_price is not None and order.order_class is not OrderClass.OCO:
        body["limit_price"] = plain(order.limit_price)
    if order.stop_price is not None:
        body["stop_price"] = plain(order.stop_price)
    if order.trail_price is not None:
        body["trail_price"] = plain(order.trail_price)
    if order.trail_percent is not None:
        body["trail_percent"] = plain(order.trail_percent)
    if order.extended_hours:
        body["extended_hours"] = True
    if order.order_class is not OrderClass.SIMPLE:
        body["order_class"] = order.order_class.value
        if order.take_profit is not None:
            body["take_profit"] = {"limit_price": plain(order.take_profit)}
        if order.stop_loss is not None:
            body["stop_loss"] = {"stop_price": plain(order.stop_loss)}
            if order.stop_loss_limit is not None:
                body["stop_loss"]["limit_price"] = plain(order.stop_loss_limit)
    return body


def _amount(order: OrderRequest) -> dict[str, str]:
    if order.notional is not None:
        return {"notional": plain(order.notional)}
    return {"qty": plain(order.quantity)}


def change_body(client_order_id: str, change: OrderChange) -> dict[str, Any]:
    """The JSON body that puts another order, of that client id, in the place of one."""
    figures = {
        "qty": change.quantity,
        "limit_price": change.limit_price,
        "stop_price": change.stop_price,
        "trail": change.trail,
    }
    body: dict[str, Any] = {
        name: plain(value) for name, value in figures.items() if value is not None
    }
    if change.time_in_force is not None:
        body["time_in_force"] = change.time_in_force.value
    return {**body, "client_order_id": client_order_id}


def read_order(raw: Any) -> BrokerOrder:
    """The order in `raw`, with its legs.

    Raises:
        InvalidInput: not an object, or id, symbol or status missing.
    """
    fields = _object(raw, "order")
    legs = fields.get("legs")
    return BrokerOrder(
        broker_order_id=_text(fields, "id"),
        client_order_id=str(fields.get("client_order_id") or "")[:_MAX_TEXT],
        symbol=Symbol(_text(fields, "symbol")),
        side=_side(fields["side"]) if fields.get("side") else "",
        type=str(fields.get("type") or fields.get("order_type") or "")[:_MAX_TEXT],
        order_class=str(fields.get("order_class") or "simple")[:_MAX_TEXT],
        status=_text(fields, "status"),
        quantity=_number(fields, "qty"),
        filled_quantity=_number(fields, "filled_qty") or Decimal(0),
        filled_average_price=_number(fields, "filled_avg_price"),
        limit_price=_number(fields, "limit_price"),
        stop_price=_number(fields, "stop_price"),
        submitted_at=_instant(fields.get("submitted_at") or fields.get("created_at")),
        legs=tuple(read_order(leg) for leg in legs[:_MAX_LEGS]) if isinstance(legs, list) else (),
        raw=fields,
        updated_at=_instant(fields.get("updated_at")),
        notional=_number(fields, "notional"),
    )


def read_asset(raw: Any) -> Asset:
    """The share in `raw`; what the broker leaves out is not known.

    Raises:
        InvalidInput: not an object, or without its symbol.
    """
    fields = _object(raw, "asset")
    attributes = fields.get("attributes")
    # `easy_to_borrow` gives way to `borrow_status`; for a while either may come.
    borrow = fields.get("borrow_status")
    easy = _flag(fields, "easy_to_borrow")
    return Asset(
        symbol=Symbol(_text(fields, "symbol")),
        status=str(fields["status"])[:_MAX_TEXT] if fields.get("status") else None,
        is_tradable=_flag(fields, "tradable"),
        is_fractionable=_flag(fields, "fractionable"),
        is_shortable=_flag(fields, "shortable"),
        is_easy_to_borrow=borrow == "easy_to_borrow" if easy is None and borrow else easy,
        is_marginable=_flag(fields, "marginable"),
        attributes=frozenset(map(str, attributes)) if isinstance(attributes, list) else None,
    )


def read_quote(raw: Any) -> Quote | None:
    """The quote in `raw`; None when there is none, or one side of it is empty.

    Raises:
        InvalidInput: figures that are no figures.
    """
    if raw is None:
        return None
    fields = _object(raw, "quote")
    bid, ask, quoted_at = _number(fields, "bp"), _number(fields, "ap"), _instant(fields.get("t"))
    # The market data writes a side that nobody offers as 0.
    if quoted_at is None or bid is None or ask is None or bid <= 0 or ask <= 0:
        return None
    return Quote(bid, ask, quoted_at)


def read_activity(raw: Any) -> BrokerExecution:
    """The execution in one FILL activity.

    Activity ids are `<time>::<uuid>`, and the uuid is the stream's execution id, so that both roads
    give one execution one name.

    Raises:
        InvalidInput: no such activity.
    """
    fields = _object(raw, "activity")
    executed_at = _instant(fields.get("transaction_time"))
    quantity, price = _number(fields, "qty"), _number(fields, "price")
    if executed_at is None or quantity is None or price is None or quantity <= 0 or price <= 0:
        raise InvalidInput("a FILL activity of the broker lacks time, qty or price")
    return BrokerExecution(
        execution_id=_text(fields, "id").rsplit("::", 1)[-1],
        broker_order_id=_text(fields, "order_id"),
        symbol=Symbol(_text(fields, "symbol")),
        side=_side(fields.get("side")),
        quantity=quantity,
        price=price,
        executed_at=executed_at,
        raw=fields,
        cumulative=_number(fields, "cum_qty"),
    )


def read_account(raw: Any) -> BrokerAccount:
    """The account in `raw`.

    Raises:
        InvalidInput: id, cash or equity missing.
    """
    fields = _object(raw, "account")
    cash = _number(fields, "cash")
    if cash is None:
        raise InvalidInput("the broker's account has no cash figure")
    equity = _number(fields, "equity")
    buying_power = _number(fields, "buying_power")
    return BrokerAccount(
        account_id=_text(fields, "id"),
        status=str(fields.get("status") or "")[:_MAX_TEXT],
        cash=cash,
        equity=cash if equity is None else equity,
        buying_power=cash if buying_power is None else buying_power,
        raw=fields,
    )


def read_non_trade(raw: Any) -> Activity:
    """A dividend, fee, transfer or corporate action.

    Raises:
        InvalidInput: without id, type or day.
    """
    fields = _object(raw, "activity")
    try:
        on = date.fromisoformat(str(fields.get("date"))[:10])
    except ValueError:
        raise InvalidInput("an activity of the broker lacks its date") from None
    symbol = fields.get("symbol")
    return Activity(
        activity_id=_text(fields, "id"),
        kind=_text(fields, "activity_type").upper(),
        on=on,
        symbol=Symbol(_text(fields, "symbol")) if symbol else None,
        quantity=_number(fields, "qty"),
        net_amount=_number(fields, "net_amount"),
        status=str(fields["status"]) if fields.get("status") else None,
        raw=fields,
    )


def read_position(raw: Any) -> tuple[Symbol, Decimal, Decimal | None]:
    """Symbol, signed shares and average entry price (None when not told) of one position.

    Raises:
        InvalidInput: symbol or quantity missing.
    """
    fields = _object(raw, "position")
    quantity = _number(fields, "qty")
    if quantity is None:
        raise InvalidInput("a position of the broker has no qty")
    if fields.get("side") == "short":
        quantity = -abs(quantity)
    return Symbol(_text(fields, "symbol")), quantity, _number(fields, "avg_entry_price")


@dataclass(frozen=True, slots=True)
class TradeUpdate:
    """One line of the stream: what happened, the order as it was then, and the execution if it was one."""

    event: str
    order: BrokerOrder
    execution: BrokerExecution | None

    @property
    def meaning(self) -> EventRow | None:
        """What the broker's documentation says of the event; None when it says nothing."""
        return EVENTS.get(self.event)


def decode_frame(raw: str | bytes) -> Mapping[str, Any]:
    """The JSON object in a frame, text or binary.

    Raises:
        InvalidInput: none is in it.
    """
    try:
        frame = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"a frame of the trade stream is no JSON: {error}") from None
    return _object(frame, "frame")


def read_update(frame: Mapping[str, Any]) -> TradeUpdate | None:
    """The trade update in a decoded frame; None for the stream's own control messages.

    Raises:
        InvalidInput: a trade update that cannot be read, or the stream's own error message.
    """
    if frame.get("stream") != "trade_updates":
        if frame.get("action") == "error":
            raise InvalidInput(
                f"the trade stream reported an error: {str(frame.get('data'))[:200]}"
            )
        return None
    data = _object(frame.get("data"), "trade update")
    order = read_order(data.get("order"))
    event = _text(data, "event")
    meaning = EVENTS.get(event)
    if meaning is None or not meaning.is_execution:
        return TradeUpdate(event, order, None)
    quantity, price = _number(data, "qty"), _number(data, "price")
    executed_at = _instant(data.get("timestamp")) or order.updated_at
    name = data.get("execution_id")
    if quantity is None or price is None or executed_at is None or quantity <= 0 or price <= 0:
        raise InvalidInput(
            f"a {event} of order {order.broker_order_id} lacks qty, price or timestamp"
        )
    if not isinstance(name, str) or not name:
        # Without a name it is told apart by where it stands in its order.
        name = f"{order.broker_order_id}:{plain(order.filled_quantity)}"
    execution = BrokerExecution(
        execution_id=name[:_MAX_TEXT],
        broker_order_id=order.broker_order_id,
        symbol=order.symbol,
        side=order.side,
        quantity=quantity,
        price=price,
        executed_at=executed_at,
        raw=data,
        cumulative=order.filled_quantity if order.filled_quantity > 0 else None,
    )
    return TradeUpdate(event, order, execution)


def _object(raw: Any, what: str) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise InvalidInput(f"the broker sent {type(raw).__name__} where a {what} was expected")
    return raw


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value or len(value) > _MAX_TEXT or "\x00" in value:
        raise InvalidInput(f"the broker sent no usable {name!r}")
    return value


def _side(value: Any) -> str:
    """`buy` or `sell`; activities call a short sale `sell_short`."""
    side = str(value or "")
    if side.startswith("sell"):
        return "sell"
    if side.startswith("buy"):
        return "buy"
    raise InvalidInput(f"the broker sent side {side[:20]!r}")


def _number(fields: Mapping[str, Any], name: str) -> Decimal | None:
    value = fields.get(name)
    if value is None or value == "" or isinstance(value, bool):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidInput(f"the broker sent {name} {value}")
    try:
        number = Decimal(repr(value) if isinstance(value, float) else value)
    except (InvalidOperation, TypeError, ValueError):
        raise InvalidInput(
            f"the broker sent {name} {str(value)[:40]!r}, which is no number"
        ) from None
    if not number.is_finite() or abs(number) > _LARGEST:
        raise InvalidInput(f"the broker sent {name} {str(value)[:40]!r}, which is out of bounds")
    return number


def _flag(fields: Mapping[str, Any], name: str) -> bool | None:
    value = fields.get(name)
    return value if isinstance(value, bool) else None


def read_clock(raw: Any) -> datetime:
    """The broker's clock in `raw`.

    Raises:
        InvalidInput: it shows no instant.
    """
    fields = _object(raw, "clock")
    at = _instant(fields.get("timestamp"))
    if at is None:
        raise InvalidInput("the broker's clock shows no instant")
    return at


def read_session(raw: Any) -> Session:
    """The regular hours of one day of the broker's calendar, which writes them in New York time.

    Raises:
        InvalidInput: no such day.
    """
    fields = _object(raw, "calendar day")
    try:
        on = date.fromisoformat(str(fields["date"]))
        opens, closes = (
            datetime.combine(on, time.fromisoformat(str(fields[edge])), NEW_YORK).astimezone(UTC)
            for edge in ("open", "close")
        )
    except (KeyError, ValueError):
        raise InvalidInput("a day of the broker's calendar lacks date, open or close") from None
    return Session(on, opens, closes)


def _instant(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    return at.astimezone(UTC) if at.tzinfo is not None else None
