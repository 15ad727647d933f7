"""What is an order, which states can it be in, and which moves between them exist?

The transition tables are data: executor, simulator and checkers share them. `IntentState` is what we
know of our wish to send; `OrderStatus` is what the broker says of the order, and `order_life` what each of its
words means.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from shared.domain.symbols import Symbol


class Side(StrEnum):
    """Which way shares move."""

    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        """+1 for a buy, -1 for a sell."""
        return 1 if self is Side.BUY else -1

    @property
    def opposite(self) -> Side:
        """The side that undoes this one."""
        return Side.SELL if self is Side.BUY else Side.BUY


def deed(side: Side, *, opens: bool) -> str:
    """What an order does, in people's words; `opens` says whether it opens a position or makes one larger."""
    if opens:
        return "sell short" if side is Side.SELL else "buy"
    return "buy back" if side is Side.BUY else "sell"


class OrderType(StrEnum):
    """How the price is found."""

    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"
    STOP_LIMIT = "stop_limit"
    TRAILING_STOP = "trailing_stop"

    @property
    def has_limit(self) -> bool:
        """Whether it names the worst price it takes."""
        return self in (OrderType.LIMIT, OrderType.STOP_LIMIT)

    @property
    def is_triggered(self) -> bool:
        """Whether it sleeps until the market touches its stop."""
        return self in (OrderType.STOP, OrderType.STOP_LIMIT, OrderType.TRAILING_STOP)


class TimeInForce(StrEnum):
    """How long the order stands."""

    DAY = "day"
    GTC = "gtc"
    OPG = "opg"
    CLS = "cls"
    IOC = "ioc"
    FOK = "fok"


class OrderClass(StrEnum):
    """How orders are tied together; the broker writes a simple order's class as an empty text."""

    SIMPLE = "simple"
    BRACKET = "bracket"
    OCO = "oco"
    OTO = "oto"


class OrderStatus(StrEnum):
    """Every status the broker documents."""

    PENDING_NEW = "pending_new"
    ACCEPTED = "accepted"
    ACCEPTED_FOR_BIDDING = "accepted_for_bidding"
    NEW = "new"
    HELD = "held"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    DONE_FOR_DAY = "done_for_day"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REPLACED = "replaced"
    REJECTED = "rejected"
    PENDING_CANCEL = "pending_cancel"
    PENDING_REPLACE = "pending_replace"
    STOPPED = "stopped"
    SUSPENDED = "suspended"
    CALCULATED = "calculated"
    PENDING_REVIEW = "pending_review"

    @property
    def is_final(self) -> bool:
        """Whether nothing can fill any more."""
        return self in FINAL_STATUSES


FINAL_STATUSES = frozenset(
    {
        OrderStatus.FILLED,
        OrderStatus.CANCELED,
        OrderStatus.EXPIRED,
        OrderStatus.REPLACED,
        OrderStatus.REJECTED,
    }
)


class IntentState(StrEnum):
    """How far our wish to send one order has come."""

    PENDING = "PENDING"
    SENDING = "SENDING"
    UNKNOWN = "UNKNOWN"
    ACKED = "ACKED"
    PARTIAL = "PARTIAL"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    REPLACED = "REPLACED"
    REJECTED = "REJECTED"
    EXPIRED_UNSENT = "EXPIRED_UNSENT"
    CANCELLED_UNSENT = "CANCELLED_UNSENT"
    NEVER_EXISTED = "NEVER_EXISTED"

    @property
    def is_final(self) -> bool:
        """Whether the intent can change no more, so that it reserves nothing."""
        return not INTENT_MOVES[self]

    def may_become(self, later: IntentState) -> bool:
        """Whether the table has a move from here to `later`."""
        return later in INTENT_MOVES[self]


_LIVE_ENDS = frozenset(
    {
        IntentState.FILLED,
        IntentState.CANCELED,
        IntentState.EXPIRED,
        IntentState.REPLACED,
        IntentState.REJECTED,
    }
)
INTENT_MOVES: dict[IntentState, frozenset[IntentState]] = {
    IntentState.PENDING: frozenset(
        {IntentState.SENDING, IntentState.EXPIRED_UNSENT, IntentState.CANCELLED_UNSENT}
    ),
    # A look-up may find an order that has already gone all the way.
    IntentState.SENDING: _LIVE_ENDS | {IntentState.ACKED, IntentState.PARTIAL, IntentState.UNKNOWN},
    IntentState.UNKNOWN: _LIVE_ENDS
    | {IntentState.ACKED, IntentState.PARTIAL, IntentState.NEVER_EXISTED},
    IntentState.ACKED: _LIVE_ENDS | {IntentState.PARTIAL},
    IntentState.PARTIAL: _LIVE_ENDS,
    IntentState.FILLED: frozenset(),
    IntentState.CANCELED: frozenset(),
    IntentState.EXPIRED: frozenset(),
    IntentState.REPLACED: frozenset(),
    IntentState.REJECTED: frozenset(),
    IntentState.EXPIRED_UNSENT: frozenset(),
    IntentState.CANCELLED_UNSENT: frozenset(),
    IntentState.NEVER_EXISTED: frozenset(),
}


def intent_state_of(status: OrderStatus, filled_qty: Decimal) -> IntentState:
    """What the broker's word means for our intent."""
    ends = {
        OrderStatus.FILLED: IntentState.FILLED,
        OrderStatus.CANCELED: IntentState.CANCELED,
        OrderStatus.EXPIRED: IntentState.EXPIRED,
        OrderStatus.REPLACED: IntentState.REPLACED,
        OrderStatus.REJECTED: IntentState.REJECTED,
    }
    if status in ends:
        return ends[status]
    return IntentState.PARTIAL if filled_qty > 0 else IntentState.ACKED


@dataclass(frozen=True, slots=True)
class OrderTerms:
    """What a person may ask of an order beyond type, quantity and prices; risk passes it on as it is.

    Without an `order_class` an entry with both exits is a bracket and everything else simple.
    """

    order_class: OrderClass | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None
    # Makes the stop of a pair a stop-limit.
    stop_loss_limit: Decimal | None = None
    extended_hours: bool = False
    # Dollars that an entry spends in place of shares; `quantity` is then what they were reckoned to buy.
    notional: Decimal | None = None


PLAIN_TERMS = OrderTerms()


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """One order as it is sent to a broker; prices in dollars, quantity in shares.

    A bracket carries both `take_profit` (limit) and `stop_loss` (stop); an OCO likewise, with its own
    `side` being the exit's; an OTO one of them. `trail_percent` 1 means 1 %.
    """

    client_order_id: str
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
    stop_loss_limit: Decimal | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None
    extended_hours: bool = False
    # Dollars to spend in place of shares; `quantity` is then what they were reckoned to buy.
    notional: Decimal | None = None


@dataclass(frozen=True, slots=True)
class OrderChange:
    """New terms for an order that stands; None leaves a term as it is, one at least is set."""

    quantity: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trail: Decimal | None = None
    time_in_force: TimeInForce | None = None


@dataclass(frozen=True, slots=True)
class Execution:
    """One execution as the broker reports it: shares and dollars per share, never cumulative."""

    execution_id: str
    broker_order_id: str
    symbol: Symbol
    side: Side
    quantity: Decimal
    price: Decimal
