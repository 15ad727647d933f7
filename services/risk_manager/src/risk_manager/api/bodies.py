"""What may be handed to the risk manager's endpoints?

A body that says something unknown is a typing error, and refused; so are numbers that only look like numbers.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

from shared.domain.errors import InvalidSymbol
from shared.domain.money import MAX_PRICE, parse_number
from shared.domain.orders import OrderType, Side, TimeInForce
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


class ValidateBody(_Body):
    """An order to be judged; prices in dollars per share, quantity in shares."""

    symbol: GivenSymbol
    side: Side
    quantity: GivenQuantity
    type: OrderType = OrderType.MARKET
    time_in_force: TimeInForce = TimeInForce.GTC
    limit_price: GivenPrice | None = None
    stop_price: GivenPrice | None = None
    take_profit: GivenPrice | None = None
    stop_loss: GivenPrice | None = None


class ReasonBody(_Body):
    """Why; stored with the change."""

    reason: Reason


class HaltBody(_Body):
    """Why, as far as somebody has the time to say it; stored with the change."""

    reason: HaltReason = "no reason given"


class ResumeBody(_Body):
    """Why trading may go on, and the version of the mode that was looked at."""

    reason: Reason
    version: Annotated[int, Field(ge=1)]


class EnableBody(_Body):
    """Which strategy may buy which symbol again, the version of the stop that was looked at, and why."""

    strategy: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    symbol: GivenSymbol
    version: Annotated[int, Field(ge=1, le=2**31 - 1)]
    reason: Reason


class LimitsBody(_Body):
    """Limits by name, null for what the settings say; the version that was looked at, and why."""

    changes: Annotated[dict[str, float | None], Field(min_length=1, max_length=50)]
    version: Annotated[int, Field(ge=0)]
    reason: Reason
