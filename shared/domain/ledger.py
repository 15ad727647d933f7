"""What do we hold and what is it worth?

Positions and cash are folds over immutable entries, in exact decimals; nothing else writes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from shared.domain.orders import Side
from shared.domain.symbols import Symbol

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution as booked: shares, dollars per share, dollars of fees."""

    execution_id: str
    client_order_id: str
    symbol: Symbol
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal = ZERO

    @property
    def cash_effect(self) -> Decimal:
        """What the fill does to cash: negative for a buy."""
        return -self.side.sign * self.quantity * self.price - self.fee


@dataclass(frozen=True, slots=True)
class Position:
    """Net shares in one instrument with their average entry price and what closed shares earned."""

    symbol: Symbol
    quantity: Decimal = ZERO
    average_price: Decimal = ZERO
    realised_pnl: Decimal = ZERO

    def after(self, fill: Fill) -> Position:
        """The position once `fill` is booked; crossing zero opens the rest at the fill's price."""
        signed = fill.side.sign * fill.quantity
        new_quantity = self.quantity + signed
        realised = self.realised_pnl - fill.fee
        if self.quantity * signed >= 0:
            cost = self.average_price * abs(self.quantity) + fill.price * fill.quantity
            average = cost / abs(new_quantity) if new_quantity else ZERO
            return Position(self.symbol, new_quantity, average, realised)
        closed = min(abs(self.quantity), fill.quantity)
        direction = 1 if self.quantity > 0 else -1
        realised += direction * closed * (fill.price - self.average_price)
        if new_quantity == 0:
            return Position(self.symbol, ZERO, ZERO, realised)
        average = self.average_price if new_quantity * self.quantity > 0 else fill.price
        return Position(self.symbol, new_quantity, average, realised)


def fold_positions(fills: Iterable[Fill]) -> dict[Symbol, Position]:
    """Positions after `fills`, oldest first; flat ones stay listed for their realised result."""
    positions: dict[Symbol, Position] = {}
    for fill in fills:
        held = positions.get(fill.symbol, Position(fill.symbol))
        positions[fill.symbol] = held.after(fill)
    return positions


def fold_cash(opening: Decimal, fills: Iterable[Fill]) -> Decimal:
    """Cash after `fills`, from `opening` dollars."""
    return opening + sum((fill.cash_effect for fill in fills), ZERO)


def equity_of(
    cash: Decimal, positions: Iterable[Position], prices: Mapping[Symbol, Decimal]
) -> Decimal:
    """Cash plus positions at `prices` (dollars per share).

    Raises:
        KeyError: a held symbol has no price; equity would be a guess.
    """
    return cash + sum((p.quantity * prices[p.symbol] for p in positions if p.quantity), ZERO)
