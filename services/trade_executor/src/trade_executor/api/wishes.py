"""What may a person ask for?

Bodies of requests become domain values here or are turned away with a reason and a mend. Whether risk allows it is
not asked here, and neither whether the broker has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from shared.adapters.http_api import Day, ProblemError, Role
from shared.domain.errors import InvalidInput
from shared.domain.ids import manual_signal_id
from shared.domain.money import parse_number, parse_price
from shared.domain.orders import (
    IntentState,
    OrderChange,
    OrderClass,
    OrderRequest,
    OrderTerms,
    OrderType,
    Side,
    TimeInForce,
)
from shared.domain.signals import ManualOrder
from shared.domain.symbols import Symbol, parse_symbol
from trade_executor.preflight import Problem, problem_with

_MAX_QUANTITY = Decimal(10_000_000)
_NANO_SHARE = Decimal("0.000000001")
_OPEN = [state.value for state in IntentState if not state.is_final]
_CLOSED = [state.value for state in IntentState if state.is_final]
# What went wrong decides the status; everything else cannot be asked for as it is.
_STATUSES = {
    "order_not_found": 404,
    "position_not_found": 404,
    "idempotency_conflict": 409,
    "order_ended": 409,
    "outcome_unknown": 409,
    "being_replaced": 409,
    "protects": 409,
}


class TakeProfit(BaseModel):
    """Where a bracket takes its gain."""

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)

    limit_price: str


class StopLoss(BaseModel):
    """Where a bracket gives up; with a limit of its own it is a stop-limit."""

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)

    stop_price: str
    limit_price: str | None = None


class OrderWish(BaseModel):
    """A person's order; quantities and prices as texts of exact decimals (numbers are taken too).

    `notional` in dollars stands in place of `qty`. Risk reviews the shares it pays for at the newest price; an entry is
    sent as the sum itself, a way out as those shares.
    """

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)

    symbol: str
    side: Side
    qty: str | None = None
    notional: str | None = None
    type: OrderType = OrderType.MARKET
    time_in_force: TimeInForce = TimeInForce.DAY
    order_class: OrderClass | None = None
    limit_price: str | None = None
    stop_price: str | None = None
    trail_price: str | None = None
    trail_percent: str | None = None
    take_profit: TakeProfit | None = None
    stop_loss: StopLoss | None = None
    extended_hours: bool = False
    client_key: Annotated[str | None, Field(min_length=1, max_length=128)] = None


class ChangeWish(BaseModel):
    """New terms for an order that stands; what is left out stays.

    `take_profit` and `stop_loss` move what guards the shares that a bracket brought, and come without the others.
    """

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)

    qty: str | None = None
    limit_price: str | None = None
    stop_price: str | None = None
    trail: str | None = None
    time_in_force: TimeInForce | None = None
    take_profit: TakeProfit | None = None
    stop_loss: StopLoss | None = None

    def exits(self) -> tuple[Decimal | None, Decimal | None] | None:
        """Target and stop to move to; None when the wish is about the order itself. Raises InvalidInput."""
        if self.take_profit is None and self.stop_loss is None:
            return None
        others = (self.qty, self.limit_price, self.stop_price, self.trail, self.time_in_force)
        if any(term is not None for term in others) or (
            self.stop_loss is not None and self.stop_loss.limit_price is not None
        ):
            raise InvalidInput(
                "take_profit.limit_price and stop_loss.stop_price are moved by themselves; ask for other terms apart"
            )
        return (
            _price(self.take_profit.limit_price if self.take_profit else None),
            _price(self.stop_loss.stop_price if self.stop_loss else None),
        )

    def change(self) -> OrderChange:
        """The change as a value. Raises InvalidInput."""
        return OrderChange(
            quantity=None if self.qty is None else parse_quantity(self.qty),
            limit_price=_price(self.limit_price),
            stop_price=_price(self.stop_price),
            trail=_price(self.trail),
            time_in_force=self.time_in_force,
        )


class CloseWish(BaseModel):
    """How much of a position to close; all of it when nothing is said."""

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)

    qty: str | None = None


class ReconcileWish(BaseModel):
    """Symbols whose differences a person has looked at, so that entries may go again."""

    model_config = ConfigDict(extra="forbid")

    acknowledge: Annotated[list[str], Field(max_length=500)] = []


class PerformanceWish(BaseModel):
    """The New York day whose figures are to be computed from the ledger and kept."""

    model_config = ConfigDict(extra="forbid")

    day_on: Day


def manual_order(
    wish: OrderWish, account: str, key: str, at: datetime, role: Role, last_price: Decimal | None
) -> ManualOrder:
    """The wish as the message that risk reviews.

    Raises:
        InvalidInput: a symbol, quantity or price that cannot be right.
        ProblemError: the broker would refuse it.
    """
    limit_price, stop_price = _price(wish.limit_price), _price(wish.stop_price)
    take_profit = _price(wish.take_profit.limit_price if wish.take_profit else None)
    stop_loss = _price(wish.stop_loss.stop_price if wish.stop_loss else None)
    order = ManualOrder(
        signal_id=manual_signal_id(account, key),
        account=account,
        symbol=parse_symbol(wish.symbol),
        side=wish.side,
        quantity=_quantity(wish, limit_price or stop_price or last_price),
        type=wish.type,
        time_in_force=wish.time_in_force,
        limit_price=limit_price,
        stop_price=stop_price,
        take_profit=take_profit,
        stop_loss=stop_loss,
        requested_at=at,
        actor=f"token:{role.name.lower()}",
        terms=OrderTerms(
            order_class=wish.order_class,
            trail_price=_price(wish.trail_price),
            trail_percent=_price(wish.trail_percent),
            stop_loss_limit=_price(wish.stop_loss.limit_price if wish.stop_loss else None),
            extended_hours=wish.extended_hours,
            notional=None if wish.notional is None else parse_price(wish.notional),
        ),
    )
    problem = problem_with(request_of(order))
    if problem is not None:
        raise refusal(problem)
    return order


def closing_order(
    symbol: Symbol,
    held: Decimal,
    quantity: Decimal,
    account: str,
    key: str,
    at: datetime,
    role: Role,
) -> ManualOrder:
    """A market order that takes `quantity` off what is held."""
    return ManualOrder(
        signal_id=manual_signal_id(account, key),
        account=account,
        symbol=symbol,
        side=Side.SELL if held > 0 else Side.BUY,
        quantity=min(quantity, abs(held)),
        type=OrderType.MARKET,
        time_in_force=TimeInForce.DAY,
        limit_price=None,
        stop_price=None,
        take_profit=None,
        stop_loss=None,
        requested_at=at,
        actor=f"token:{role.name.lower()}",
    )


def refusal(problem: Problem) -> ProblemError:
    """The answer that tells of `problem`."""
    return ProblemError(_STATUSES.get(problem.code, 422), problem.code, str(problem))


def request_of(order: ManualOrder) -> OrderRequest:
    """The order as it would go to the broker if risk approved all of it."""
    terms, is_bracket = order.terms, order.take_profit is not None or order.stop_loss is not None
    order_class = terms.order_class or (OrderClass.BRACKET if is_bracket else OrderClass.SIMPLE)
    return OrderRequest(
        client_order_id=order.signal_id,
        symbol=order.symbol,
        side=order.side,
        quantity=order.quantity,
        type=order.type,
        time_in_force=order.time_in_force,
        order_class=order_class,
        limit_price=order.limit_price,
        stop_price=order.stop_price,
        take_profit=order.take_profit,
        stop_loss=order.stop_loss,
        stop_loss_limit=terms.stop_loss_limit,
        trail_price=terms.trail_price,
        trail_percent=terms.trail_percent,
        extended_hours=terms.extended_hours,
        notional=terms.notional,
    )


def _quantity(wish: OrderWish, price: Decimal | None) -> Decimal:
    if wish.qty is not None and wish.notional is None:
        return parse_quantity(wish.qty)
    if wish.notional is None or wish.qty is not None:
        raise InvalidInput("give exactly one of qty and notional")
    dollars = parse_price(wish.notional)
    if dollars < 1:
        raise InvalidInput(f"notional must be at least 1 dollar, was {wish.notional[:40]!r}")
    if price is None:
        raise InvalidInput(f"no price of {wish.symbol[:16]!r} is known yet; give qty instead")
    return (dollars / price).quantize(_NANO_SHARE, ROUND_DOWN)


def parse_quantity(text: str) -> Decimal:
    """Shares, more than zero, at most nine decimals.

    Raises:
        InvalidInput: anything else.
    """
    try:
        quantity = parse_number(text.strip())
    except ValueError:
        raise InvalidInput(f"qty must be a number of shares, was {text[:40]!r}") from None
    if not (quantity.is_finite() and 0 < quantity <= _MAX_QUANTITY):
        raise InvalidInput(f"qty must be above zero and at most {_MAX_QUANTITY}, was {text[:40]!r}")
    exponent = quantity.normalize().as_tuple().exponent
    if isinstance(exponent, int) and exponent < -9:
        raise InvalidInput(f"qty may have nine decimals at most, was {text[:40]!r}")
    return quantity


def states_of(status: str) -> Sequence[str]:
    """The intent states that a filter word stands for; empty for all.

    Raises:
        InvalidInput: no such word.
    """
    words = {"all": [], "open": _OPEN, "closed": _CLOSED}
    if status.lower() in words:
        return words[status.lower()]
    if status.upper() in IntentState.__members__:
        return [status.upper()]
    raise InvalidInput(
        f"status must be all, open, closed or one of {', '.join(IntentState)}, was {status[:32]!r}"
    )


def _price(text: str | None) -> Decimal | None:
    return None if text is None else parse_price(text)
