"""What did trading really cost, and what had a backtest assumed?

Each order with fills is held against two prices: the one it was decided on (for a stop or a limit, the one it stood
at), and the one that was last known when it was sent, the arrival price. A difference to our disadvantage is a cost
and counts above zero, in dollars and in basis points of the value at that price (implementation shortfall; Perold
1988, The Journal of Portfolio Management 14(3)). The model is the backtest's own: its slippage, its regulatory fees. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from backtester.costs import FeePeriod, regulatory_fee
from shared.domain.calendar import NEW_YORK
from shared.domain.orders import Side
from shared.domain.symbols import Symbol

BPS = 10_000.0


@dataclass(frozen=True, slots=True)
class FilledOrder:
    """One order with all its fills: shares, dollars per share on average, dollars of fees."""

    order_id: str
    strategy: str
    symbol: Symbol
    side: Side
    type: str
    quantity: float
    price: float
    fees: float
    decision_price: float
    # The last price known when it was sent; None where no bar had come by then.
    arrival_price: float | None
    sent_at: datetime

    @property
    def value(self) -> float:
        """Dollars that changed hands."""
        return self.quantity * self.price

    @property
    def against_decision(self) -> float:
        """Dollars lost against the price decided on."""
        return self.side.sign * self.quantity * (self.price - self.decision_price)

    @property
    def against_arrival(self) -> float | None:
        """Dollars lost against the price at sending."""
        if self.arrival_price is None:
            return None
        return self.side.sign * self.quantity * (self.price - self.arrival_price)


@dataclass(frozen=True, slots=True)
class Model:
    """What a backtest charges: basis points against market orders, and regulators' fees by day."""

    slippage_bps: float
    fee_periods: Sequence[FeePeriod]

    def cost(self, order: FilledOrder) -> float:
        """Dollars that the backtest would have charged for `order`."""
        slippage = (
            order.quantity * order.decision_price * self.slippage_bps / BPS
            if order.type == "market"
            else 0.0
        )
        return slippage + self._fee(order)

    def _fee(self, order: FilledOrder) -> float:
        if order.side is Side.BUY:
            return 0.0
        day = order.sent_at.astimezone(NEW_YORK).date()
        known = [period for period in self.fee_periods if period.from_on <= day]
        if not known:
            return 0.0
        rates = known[-1]
        return regulatory_fee(
            order.quantity, order.value, rates.sec_rate, rates.taf_per_share, rates.taf_most
        )


@dataclass(frozen=True, slots=True)
class Cost:
    """A group of orders; dollars, and basis points of the value at the reference price."""

    group: str
    orders: int
    value: float
    decision_bps: float
    # Of those orders alone whose arrival price is known; None without any.
    arrival_bps: float | None
    fees: float
    live: float
    modelled: float

    @property
    def above_model(self) -> float:
        """Dollars that trading cost more than the backtest assumes."""
        return self.live - self.modelled


def by_strategy(order: FilledOrder) -> str:
    """Orders of nobody's strategy are a person's."""
    return order.strategy or "manual"


def by_hour(order: FilledOrder) -> str:
    """New York's hour of sending, e.g. `09:00`."""
    return f"{order.sent_at.astimezone(NEW_YORK):%H}:00"


def by_type(order: FilledOrder) -> str:
    """Market, limit, stop."""
    return order.type


def costs(
    orders: Iterable[FilledOrder], group: Callable[[FilledOrder], str], model: Model
) -> list[Cost]:
    """What each group cost, by its name; `live` is slippage against the decision, and fees."""
    groups: dict[str, list[FilledOrder]] = {}
    for order in orders:
        groups.setdefault(group(order), []).append(order)
    return [_cost(name, groups[name], model) for name in sorted(groups)]


def _cost(name: str, orders: Sequence[FilledOrder], model: Model) -> Cost:
    decided = sum(order.quantity * order.decision_price for order in orders)
    slipped = sum(order.against_decision for order in orders)
    arrived = [
        (order.quantity * order.arrival_price, order.against_arrival)
        for order in orders
        if order.arrival_price is not None and order.against_arrival is not None
    ]
    at_arrival = sum(value for value, _ in arrived)
    fees = sum(order.fees for order in orders)
    return Cost(
        name,
        len(orders),
        sum(order.value for order in orders),
        slipped / decided * BPS if decided else 0.0,
        sum(lost for _, lost in arrived) / at_arrival * BPS if at_arrival else None,
        fees,
        slipped + fees,
        sum(model.cost(order) for order in orders),
    )
