"""What is an order at the venue, and what may be asked of its book?

Values only: an order as it stands, what happened to it, and the commands that change an account. They are the
venue's own and on purpose not the executor's: what both said alike, a mistake in it would hide from every test.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from shared.domain.money import plain
from shared.domain.orders import OrderClass, OrderStatus, OrderType, Side, TimeInForce
from shared.domain.symbols import Symbol
from simulator.matching import Terms

ZERO = Decimal(0)
LIVE = frozenset({OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED})
_WORKING = LIVE | {OrderStatus.ACCEPTED}


class Role(StrEnum):
    """What an order is to its group."""

    SIMPLE = "simple"
    ENTRY = "entry"
    TARGET = "target"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class BookRules:
    """How this account trades; part of what its journal is bound to."""

    cash: Decimal
    slippage_bps: float = 0.0
    max_volume_share: float = 0.1
    allow_short: bool = False
    # Shares that nobody lends here, where others are.
    not_lent: frozenset[Symbol] = frozenset()

    def lends(self, symbol: Symbol) -> bool:
        """Whether that share may be sold short by an account that may sell short at all."""
        return self.allow_short and symbol not in self.not_lent


@dataclass(frozen=True, slots=True)
class Order:
    """One order as it stands; a change makes a new value, so an event keeps what it saw."""

    id: str
    client_order_id: str
    sequence: int
    symbol: Symbol
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    order_class: OrderClass
    role: Role
    group: str
    quantity: Decimal
    limit_price: Decimal | None
    stop_price: Decimal | None
    reserve_price: Decimal
    position_intent: str
    source: str | None
    status: OrderStatus
    created_at: datetime
    updated_at: datetime
    submitted_at: datetime
    expires_at: datetime
    filled_quantity: Decimal = ZERO
    filled_value: Decimal = ZERO
    fills: int = 0
    triggered: bool = False
    filled_at: datetime | None = None
    expired_at: datetime | None = None
    canceled_at: datetime | None = None
    replaced_at: datetime | None = None
    replaced_by: str | None = None
    replaces: str | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None
    # The best closing price since a trailing stop was entered: its stop hangs on it.
    high_water_mark: Decimal | None = None
    # Dollars to spend; `quantity` is an estimate until the first fill says how many shares they buy.
    notional: Decimal | None = None
    extended_hours: bool = False

    @property
    def remaining(self) -> Decimal:
        """Shares still to fill."""
        return self.quantity - self.filled_quantity

    @property
    def is_working(self) -> bool:
        """Whether it stands on its own: not held back by its entry, and not ended."""
        return self.status in _WORKING

    @property
    def average_price(self) -> Decimal | None:
        """Dollars per share over all fills; None before the first."""
        return self.filled_value / self.filled_quantity if self.filled_quantity else None

    @property
    def terms(self) -> Terms:
        """What a bar needs to know of it."""
        return Terms(self.side, self.type, self.limit_price, self.stop_price, self.triggered)


@dataclass(frozen=True, slots=True)
class BookedExecution:
    """One execution with the order's and the position's state right after it."""

    id: str
    order_id: str
    client_order_id: str
    symbol: Symbol
    side: Side
    quantity: Decimal
    price: Decimal
    at: datetime
    cumulative: Decimal
    leaves: Decimal
    position_quantity: Decimal
    order_status: OrderStatus
    number: int


@dataclass(frozen=True, slots=True)
class TradeEvent:
    """One line of the trade_updates stream."""

    event: str
    order: Order
    at: datetime
    id: str
    execution: BookedExecution | None = None


@dataclass(frozen=True, slots=True)
class Submit:
    """A wish for a new order, already well-formed (see `order_form`).

    With `notional` the quantity is zero: the book estimates it.
    """

    symbol: Symbol
    side: Side
    quantity: Decimal
    type: OrderType
    time_in_force: TimeInForce
    order_class: OrderClass = OrderClass.SIMPLE
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    take_profit: Decimal | None = None
    stop_loss: Decimal | None = None
    client_order_id: str | None = None
    position_intent: str | None = None
    source: str | None = None
    stop_loss_limit: Decimal | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None
    notional: Decimal | None = None
    extended_hours: bool = False


@dataclass(frozen=True, slots=True)
class Cancel:
    """End an order, and with it the rest of its group."""

    order_id: str


@dataclass(frozen=True, slots=True)
class Replace:
    """Put another order in the place of one; None leaves a term as it is."""

    order_id: str
    quantity: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    time_in_force: TimeInForce | None = None
    client_order_id: str | None = None
    trail: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Configure:
    """Change account settings; `changes` has been checked."""

    changes: dict[str, Any]


Command = Submit | Cancel | Replace | Configure

DEFAULT_CONFIGURATION: dict[str, Any] = {
    "trade_confirm_email": "all",
    "suspend_trade": False,
    "no_shorting": False,
    "fractional_trading": True,
    "max_margin_multiplier": "1",
    "max_options_trading_level": 0,
    "ptp_no_exception_entry": False,
    "disable_overnight_trading": False,
}


def plain_order(order: Order) -> dict[str, Any]:
    """The order as plain values, for whoever judges the account from outside."""
    average = order.average_price
    return {
        "id": order.id,
        "client_order_id": order.client_order_id,
        "group": order.group,
        "role": order.role.value,
        "symbol": order.symbol,
        "side": order.side.value,
        "type": order.type.value,
        "order_class": order.order_class.value,
        "time_in_force": order.time_in_force.value,
        "status": order.status.value,
        "quantity": plain(order.quantity),
        "limit_price": None if order.limit_price is None else plain(order.limit_price),
        "stop_price": None if order.stop_price is None else plain(order.stop_price),
        "trail_price": None if order.trail_price is None else plain(order.trail_price),
        "trail_percent": None if order.trail_percent is None else plain(order.trail_percent),
        "notional": None if order.notional is None else plain(order.notional),
        "extended_hours": order.extended_hours,
        "filled_quantity": plain(order.filled_quantity),
        "filled_average_price": None if average is None else plain(average),
        "triggered": order.triggered,
        "submitted_at": order.submitted_at.isoformat(),
        "updated_at": order.updated_at.isoformat(),
        "replaces": order.replaces,
        "replaced_by": order.replaced_by,
        "source": order.source,
    }


def plain_execution(execution: BookedExecution) -> dict[str, Any]:
    """The execution as plain values."""
    return {
        "id": execution.id,
        "order_id": execution.order_id,
        "client_order_id": execution.client_order_id,
        "symbol": execution.symbol,
        "side": execution.side.value,
        "quantity": plain(execution.quantity),
        "price": plain(execution.price),
        "at": execution.at.isoformat(),
    }
