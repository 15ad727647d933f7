"""With which words does the broker say no?

One function per refusal of the venue's catalogue: HTTP status, numeric code, text and extra keys. The
codes are coarse, so programs match on the texts too: change none without its contract.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from shared.domain.errors import Rejected
from shared.domain.money import plain
from shared.domain.orders import OrderStatus
from shared.domain.symbols import Symbol


class Refusal(Rejected):
    """The venue's definite no to one request."""

    def __init__(self, status: int, code: int | None, message: str, **extra: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body: dict[str, Any] = {"message": message, **extra}
        if code is not None:
            self.body = {"code": code, **self.body}


def invalid_parameter(message: str) -> Refusal:
    """A field that cannot be right whatever the account looks like."""
    return Refusal(422, 40010001, message)


def invalid_body() -> Refusal:
    """Not a JSON object."""
    return Refusal(422, 40010000, "request body format is invalid")


def unprocessable(message: str, **extra: Any) -> Refusal:
    """A request that contradicts a business rule."""
    return Refusal(422, 42210000, message, **extra)


def forbidden(message: str, **extra: Any) -> Refusal:
    """A request that this account may not make now."""
    return Refusal(403, 40310000, message, **extra)


def not_found(what: str) -> Refusal:
    """Nothing of that name here."""
    return Refusal(404, 40410000, what)


def duplicate_client_order_id() -> Refusal:
    """That name was used before, by an order living or dead."""
    return invalid_parameter("client_order_id must be unique")


def insufficient_buying_power(buying_power: Decimal, cost_basis: Decimal) -> Refusal:
    """The order costs more than is left."""
    return forbidden(
        "insufficient buying power",
        buying_power=plain(buying_power),
        cost_basis=plain(cost_basis),
    )


def insufficient_quantity(
    symbol: Symbol, wanted: Decimal, existing: Decimal, held: Decimal, related: list[str]
) -> Refusal:
    """Fewer shares are free than the order wants to sell."""
    available = max(existing - held, Decimal(0))
    return forbidden(
        f"insufficient qty available for order (requested: {plain(wanted)}, "
        f"available: {plain(available)})",
        available=plain(available),
        existing_qty=plain(existing),
        held_for_orders=plain(held),
        symbol=symbol,
        related_orders=related,
    )


def wash_trade(kind: str, existing_order_id: str) -> Refusal:
    """The order could trade against the account's own; `kind` is `market/stop` or `limit`."""
    reason = f"opposite side {kind} order exists"
    return forbidden(
        f"potential wash trade detected. {reason}",
        existing_order_id=existing_order_id,
        reject_reason=reason,
    )


def not_cancelable(status: OrderStatus) -> Refusal:
    """The order has ended in another way."""
    return unprocessable(f'order is already in "{status.value}" state')
