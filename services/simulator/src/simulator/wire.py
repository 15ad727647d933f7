"""How does Alpaca write it?

Book and tape values become the broker's JSON objects here and nowhere else: in the trading API figures are
texts and absent values null, in market data figures are numbers.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgpack
import orjson

from shared.domain.bar_blocks import from_epoch_us
from shared.domain.calendar import NEW_YORK, Session
from shared.domain.money import MICROS, parse_price, plain
from shared.domain.orders import OrderClass, OrderStatus, Side
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from simulator.book import Book
from simulator.matching import TapeBar
from simulator.orders import BookedExecution, Order, TradeEvent
from simulator.tape import Instant, SeenBar

_NAMESPACE = uuid.UUID("0d4f2c1e-77b3-4c39-8a55-5b5a1f0e9d42")
_SIX_PLACES = Decimal("0.000001")
_EXCHANGE = "NASDAQ"
# Half of the spread that is shown around the last price, and the size on either side.
_HALF_SPREAD = 0.01
_QUOTE_SIZE = 100


def stamp(at: datetime) -> str:
    """RFC 3339 in UTC."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _maybe(at: datetime | None) -> str | None:
    return None if at is None else stamp(at)


def _figure(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)


def _rounded(value: Decimal) -> str:
    return plain(value.quantize(_SIX_PLACES))


def asset_id(symbol: Symbol) -> str:
    """The one id of that share here."""
    return str(uuid.uuid5(_NAMESPACE, symbol))


# ---------------------------------------------------------------------- trading


def order(value: Order, legs: Sequence[Order] | None = None) -> dict[str, Any]:
    """The order object of all endpoints; `legs` as full orders where they are asked for."""
    average = value.average_price
    return {
        "id": value.id,
        "client_order_id": value.client_order_id,
        "created_at": stamp(value.created_at),
        "updated_at": stamp(value.updated_at),
        "submitted_at": stamp(value.submitted_at),
        "filled_at": _maybe(value.filled_at),
        "expired_at": _maybe(value.expired_at),
        "expires_at": stamp(value.expires_at),
        "cancel_requested_at": _maybe(value.canceled_at),
        "canceled_at": _maybe(value.canceled_at),
        "failed_at": None,
        "replaced_at": _maybe(value.replaced_at),
        "replaced_by": value.replaced_by,
        "replaces": value.replaces,
        "asset_id": asset_id(value.symbol),
        "symbol": value.symbol,
        "asset_class": "us_equity",
        "notional": _figure(value.notional),
        "qty": None if value.notional is not None and not value.fills else plain(value.quantity),
        "filled_qty": plain(value.filled_quantity),
        "filled_avg_price": None if average is None else _rounded(average),
        "order_class": "" if value.order_class is OrderClass.SIMPLE else value.order_class.value,
        "order_type": value.type.value,
        "type": value.type.value,
        "side": value.side.value,
        "position_intent": value.position_intent,
        "time_in_force": value.time_in_force.value,
        "limit_price": _figure(value.limit_price),
        "stop_price": _figure(value.stop_price),
        "status": value.status.value,
        "extended_hours": value.extended_hours,
        "legs": [order(leg) for leg in legs] if legs else None,
        "trail_percent": _figure(value.trail_percent),
        "trail_price": _figure(value.trail_price),
        "hwm": _figure(value.high_water_mark),
        "subtag": None,
        "source": value.source,
    }


def acknowledged(value: Order, legs: Sequence[Order]) -> dict[str, Any]:
    """A new order as the POST answers it: what is live already is only pending in the answer."""
    body = order(value, legs)
    if value.status is OrderStatus.NEW:
        body["status"] = OrderStatus.PENDING_NEW.value
    return body


def trade_update(event: TradeEvent) -> dict[str, Any]:
    """One message of the trade_updates stream."""
    data: dict[str, Any] = {
        "event": event.event,
        "event_id": event.id,
        "execution_id": event.id,
        "timestamp": stamp(event.at),
        "order": order(event.order),
    }
    if event.execution is not None:
        data["price"] = plain(event.execution.price)
        data["qty"] = plain(event.execution.quantity)
        data["position_qty"] = plain(event.execution.position_quantity)
    return {"stream": "trade_updates", "data": data}


def activity_id(execution: BookedExecution) -> str:
    """Sorts by time, then by the order of booking."""
    at = execution.at.astimezone(NEW_YORK)
    return f"{at:%Y%m%d%H%M%S}{execution.number % 1000:03d}::{execution.id}"


def fill_activity(execution: BookedExecution, is_short: bool) -> dict[str, Any]:
    """One FILL of the account's activities."""
    is_done = execution.order_status is OrderStatus.FILLED
    return {
        "id": activity_id(execution),
        "activity_type": "FILL",
        "transaction_time": stamp(execution.at),
        "type": "fill" if is_done else "partial_fill",
        "price": plain(execution.price),
        "qty": plain(execution.quantity),
        "cum_qty": plain(execution.cumulative),
        "leaves_qty": plain(execution.leaves),
        "side": "sell_short" if is_short else execution.side.value,
        "symbol": execution.symbol,
        "order_id": execution.order_id,
        "order_status": execution.order_status.value,
    }


def account(book: Book) -> dict[str, Any]:
    """The account object; the fields of the old day-trading rule are gone."""
    values = [book.market_value(symbol) for symbol in book.positions]
    long = sum((v for v in values if v > 0), Decimal(0))
    short = sum((v for v in values if v < 0), Decimal(0))
    cash, power, equity = _rounded(book.cash), _rounded(book.buying_power), _rounded(book.equity)
    return {
        "id": book.account_id,
        "account_number": f"SIM{book.account_id[:8].upper()}",
        "status": "ACTIVE",
        "crypto_status": "INACTIVE",
        "currency": "USD",
        "cash": cash,
        "buying_power": power,
        "regt_buying_power": power,
        "non_marginable_buying_power": power,
        "effective_buying_power": power,
        "options_buying_power": "0",
        "equity": equity,
        "last_equity": _rounded(book.last_equity),
        "portfolio_value": equity,
        "long_market_value": _rounded(long),
        "short_market_value": _rounded(short),
        "position_market_value": _rounded(long + short),
        "initial_margin": _rounded(long - short),
        "maintenance_margin": _rounded(long - short),
        "last_maintenance_margin": "0",
        "sma": "0",
        # A short sale is one on margin; what is lent on purchases beyond is not simulated.
        "multiplier": "2" if book.rules.allow_short else "1",
        "accrued_fees": "0",
        "pending_reg_taf_fees": "0",
        "intraday_adjustments": "0",
        "balance_asof": book.now.astimezone(NEW_YORK).date().isoformat(),
        "created_at": stamp(book.created_at),
        "trading_blocked": False,
        "transfers_blocked": False,
        "account_blocked": False,
        "trade_suspended_by_user": book.configuration["suspend_trade"],
        "shorting_enabled": book.rules.allow_short and not book.configuration["no_shorting"],
        "options_approved_level": 0,
        "options_trading_level": 0,
        "crypto_tier": 0,
        "admin_configurations": {},
        "user_configurations": None,
    }


def position(book: Book, symbol: Symbol) -> dict[str, Any]:
    """One open position."""
    held = book.positions[symbol]
    price = book.prices.get(symbol, held.average_price)
    last_day = book.last_day_prices.get(symbol, price)
    value = held.quantity * price
    cost = held.quantity * held.average_price
    profit = value - cost
    is_fresh = book.opening_positions.get(symbol, Decimal(0)) == 0
    intraday_base = cost if is_fresh else held.quantity * last_day
    intraday = value - intraday_base
    bound, _ = book.held_for_orders(symbol)
    # Signed like the position: of what is owed, too, only what no order has bound is free.
    free = max(abs(held.quantity) - bound, Decimal(0))
    available = free if held.quantity > 0 else -free
    return {
        "asset_id": asset_id(symbol),
        "symbol": symbol,
        "exchange": _EXCHANGE,
        "asset_class": "us_equity",
        "asset_marginable": book.rules.lends(symbol),
        "qty": plain(held.quantity),
        "qty_available": plain(available),
        "avg_entry_price": _rounded(held.average_price),
        "side": "long" if held.quantity > 0 else "short",
        "market_value": _rounded(value),
        "cost_basis": _rounded(cost),
        "unrealized_pl": _rounded(profit),
        "unrealized_plpc": _rounded(profit / abs(cost)),
        "unrealized_intraday_pl": _rounded(intraday),
        "unrealized_intraday_plpc": _rounded(intraday / abs(intraday_base)),
        "current_price": _rounded(price),
        "lastday_price": _rounded(last_day),
        "change_today": _rounded(price / last_day - 1),
    }


def asset(symbol: Symbol, *, shortable: bool) -> dict[str, Any]:
    """One share of the tape."""
    return {
        "id": asset_id(symbol),
        "class": "us_equity",
        "exchange": _EXCHANGE,
        "symbol": symbol,
        "name": f"{symbol} (simulated)",
        "status": "active",
        "tradable": True,
        # A short sale is one on margin.
        "marginable": shortable,
        "shortable": shortable,
        "easy_to_borrow": shortable,
        "borrow_status": "easy_to_borrow" if shortable else "hard_to_borrow",
        "fractionable": True,
        "cusip": None,
        "maintenance_margin_requirement": 100,
        "margin_requirement_long": "100",
        "margin_requirement_short": "100",
        "attributes": [],
    }


def clock(at: datetime, is_open: bool, next_open: datetime, next_close: datetime) -> dict[str, Any]:
    """The venue's clock, written in New York's time as the broker does."""
    return {
        "timestamp": at.astimezone(NEW_YORK).isoformat(),
        "is_open": is_open,
        "next_open": next_open.astimezone(NEW_YORK).isoformat(),
        "next_close": next_close.astimezone(NEW_YORK).isoformat(),
    }


def calendar_day(session: Session, settles: Session | None) -> dict[str, Any]:
    """One trading day; sales settle with the next session."""
    opens, closes = session.open_at.astimezone(NEW_YORK), session.close_at.astimezone(NEW_YORK)
    return {
        "date": session.on.isoformat(),
        "open": f"{opens:%H:%M}",
        "close": f"{closes:%H:%M}",
        "session_open": "0400",
        "session_close": f"{min(closes.hour + 4, 20):02d}00",
        "settlement_date": (settles or session).on.isoformat(),
    }


# ---------------------------------------------------------------------- market data


def data_bar(bar: SeenBar) -> dict[str, Any]:
    """A bar of history; trades are not on the tape, so their count is an estimate of a hundred each."""
    return {
        "t": stamp(from_epoch_us(bar.start_us)),
        "o": bar.open / MICROS,
        "h": bar.high / MICROS,
        "l": bar.low / MICROS,
        "c": bar.close / MICROS,
        "v": bar.volume,
        "n": _trades(bar.volume),
        "vw": _typical(bar.high / MICROS, bar.low / MICROS, bar.close / MICROS),
    }


def stream_bar(kind: str, symbol: Symbol, start_at: datetime, bar: TapeBar) -> dict[str, Any]:
    """A bar message; `t` stays an instant until the encoding is known."""
    return {
        "T": kind,
        "S": symbol,
        "o": bar.open,
        "h": bar.high,
        "l": bar.low,
        "c": bar.close,
        "v": bar.volume,
        "n": _trades(bar.volume),
        "vw": _typical(bar.high, bar.low, bar.close),
        "t": start_at,
    }


def latest_quote(price: float, at: datetime) -> dict[str, Any]:
    """A made-up quote of two cents around the last price."""
    bid = float(parse_price(max(price - _HALF_SPREAD, 0.0001)))
    return {
        "t": at,
        "ax": "V",
        "ap": float(parse_price(price + _HALF_SPREAD)),
        "as": _QUOTE_SIZE,
        "bx": "V",
        "bp": bid,
        "bs": _QUOTE_SIZE,
        "c": ["R"],
        "z": "C",
    }


def latest_trade(price: float, at: datetime) -> dict[str, Any]:
    """The last price as a trade."""
    return {
        "t": at,
        "x": "V",
        "p": price,
        "s": _QUOTE_SIZE,
        "c": ["@"],
        "i": int(at.timestamp()),
        "z": "C",
    }


def end_marker(instant: Instant, timeframe: Timeframe) -> dict[str, Any]:
    """Our own addition: nothing more comes of that instant. Alpaca's clients pass over it."""
    return {"T": "end", "tf": timeframe.value, "t": instant.end_at}


def _trades(volume: int) -> int:
    return max(volume // 100, 1) if volume else 0


def _typical(high: float, low: float, close: float) -> float:
    return float(parse_price((high + low + close) / 3))


# ---------------------------------------------------------------------- encodings


def json_text(value: Any) -> bytes:
    """JSON with instants as RFC 3339."""
    return orjson.dumps(value, option=orjson.OPT_UTC_Z)


def msgpack_bytes(value: Any) -> bytes:
    """Msgpack with instants as the Timestamp extension, which the official client insists on."""
    packed: bytes = msgpack.packb(value, datetime=True)
    return packed


def is_short_sale(execution: BookedExecution) -> bool:
    """Whether the sale opened or enlarged a short position."""
    return execution.side is Side.SELL and execution.position_quantity < 0
