"""What may be handed to the risk manager's endpoints?

A body that says something unknown is a typing error, and refused; so are numbers that only look like numbers.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from shared.domain.decisions import TradingMode
from shared.domain.errors import InvalidSymbol
from shared.domain.money import MAX_PRICE, parse_number
from shared.domain.orders import OrderClass, OrderTerms, OrderType, Side, TimeInForce
from shared.domain.signals import ManualOrder
from shared.domain.symbols import Symbol, parse_symbol

# pydantic itself reads "1_0" and the digits of other scripts as numbers.
_PlainDigits = BeforeValidator(
    lambda given: parse_number(given) if isinstance(given, str) else given
)
GivenPrice = Annotated[
    Decimal, _PlainDigits, Field(gt=0, le=MAX_PRICE, decimal_places=6, allow_inf_nan=False)
]
GivenQuantity = Annotated[
    Decimal,
    _PlainDigits,
    Field(gt=0, le=Decimal(1_000_000_000), decimal_places=9, allow_inf_nan=False),
]
# Without control characters: a reason is shown in terminals, which obey them.
Reason = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, min_length=3, max_length=500, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$"
    ),
]
# A halt must not wait for words: whoever gives none is told so by the record.
HaltReason = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=500, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$"),
    AfterValidator(lambda given: given or "no reason given"),
]


def _symbol(value: object) -> Symbol:
    try:
        return parse_symbol(str(value))
    except InvalidSymbol as error:
        raise ValueError(str(error)) from None


GivenSymbol = Annotated[Symbol, BeforeValidator(_symbol)]


class _Body(BaseModel):
    """A request body: what it does not know is a typing error, and refused."""

    model_config = ConfigDict(extra="forbid")


class TakeProfit(_Body):
    """Where a bracket takes its gain, as `POST /orders` has it."""

    limit_price: GivenPrice


class StopLoss(_Body):
    """Where a bracket gives up; with a limit of its own it is a stop-limit."""

    stop_price: GivenPrice
    limit_price: GivenPrice | None = None


class ValidateBody(_Body):
    """An order to be judged, in the terms of `POST /orders`; prices in dollars per share.

    `quantity` (or `qty`) in shares, or `notional` in dollars. `take_profit` and `stop_loss` may be written as prices too.
    """

    symbol: GivenSymbol
    side: Side
    quantity: Annotated[
        GivenQuantity | None, Field(validation_alias=AliasChoices("quantity", "qty"))
    ] = None
    notional: Annotated[GivenPrice, Field(ge=1)] | None = None
    type: OrderType = OrderType.MARKET
    time_in_force: TimeInForce = TimeInForce.GTC
    order_class: OrderClass | None = None
    limit_price: GivenPrice | None = None
    stop_price: GivenPrice | None = None
    trail_price: GivenPrice | None = None
    trail_percent: Annotated[GivenPrice, Field(lt=100)] | None = None
    take_profit: TakeProfit | GivenPrice | None = None
    stop_loss: StopLoss | GivenPrice | None = None
    extended_hours: bool = False

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        """What contradicts itself is no order that could be judged."""
        is_trailing = self.type is OrderType.TRAILING_STOP
        trails = (self.trail_price is not None) + (self.trail_percent is not None)
        if (self.quantity is None) == (self.notional is None):
            raise ValueError("give exactly one of quantity and notional")
        # The prices of an OCO are those of its two exits.
        if self.order_class is not OrderClass.OCO and (
            (self.limit_price is None) == self.type.has_limit
        ):
            raise ValueError("give limit_price with a limit order only")
        if (self.stop_price is None) == (self.type in (OrderType.STOP, OrderType.STOP_LIMIT)):
            raise ValueError("give stop_price with a stop order only")
        if trails != is_trailing:
            raise ValueError("give one of trail_price and trail_percent, with a trailing stop only")
        return self

    def order(self, validation_id: str, account: str, at: datetime, actor: str) -> ManualOrder:
        """The order as a message; of a sum of money its `quantity` is one share, until a price is known."""
        stop, target = self.stop_loss, self.take_profit
        return ManualOrder(
            validation_id,
            account,
            self.symbol,
            self.side,
            Decimal(1) if self.quantity is None else self.quantity,
            self.type,
            self.time_in_force,
            self.limit_price,
            self.stop_price,
            target.limit_price if isinstance(target, TakeProfit) else target,
            stop.stop_price if isinstance(stop, StopLoss) else stop,
            at,
            actor,
            OrderTerms(
                order_class=self.order_class,
                trail_price=self.trail_price,
                trail_percent=self.trail_percent,
                stop_loss_limit=stop.limit_price if isinstance(stop, StopLoss) else None,
                extended_hours=self.extended_hours,
                notional=self.notional,
            ),
        )


class ReasonBody(_Body):
    """Why; stored with the change."""

    reason: Reason


class HaltBody(_Body):
    """Why, as far as somebody has the time to say it; stored with the change."""

    reason: HaltReason = "no reason given"


class ResumeBody(_Body):
    """Why trading may go on, how far, and the version of the mode that was looked at."""

    reason: Reason
    version: Annotated[int, Field(strict=True, ge=1)]
    # REDUCING: exits alone may leave again.
    mode: Literal[TradingMode.ACTIVE, TradingMode.REDUCING] = TradingMode.ACTIVE


class EnableBody(_Body):
    """Which strategy may buy which symbol again, the version of the stop that was looked at, and why."""

    strategy: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    symbol: GivenSymbol
    version: Annotated[int, Field(strict=True, ge=1, le=2**31 - 1)]
    reason: Reason


class LimitsBody(_Body):
    """Limits by name, null for what the settings say; the version that was looked at, and why."""

    # Strictly a number: true would be read as a limit of 100 %.
    changes: Annotated[
        dict[str, Annotated[float, Field(strict=True)] | None], Field(min_length=1, max_length=50)
    ]
    version: Annotated[int, Field(strict=True, ge=0)]
    reason: Reason
