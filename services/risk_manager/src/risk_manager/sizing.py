"""How many shares, and where do stop and target stand?

A fixed share of equity, capped by what is free to spend and by what may still be put at risk. Figures go in,
whole shares come out; rules that refuse live in `limits`, and a size found here passes them by construction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from risk_manager.limits import OPEN_GAP
from shared.domain.arithmetic import to_tick, whole_shares


@dataclass(frozen=True, slots=True)
class Sizing:
    """Shares to buy, with each bound in (fractional) shares, so that the arithmetic can be stored."""

    shares: int
    by_position_size: float
    by_buying_power: float
    by_portfolio_risk: float
    # The room that each further limit leaves, by its name.
    by_others: Mapping[str, float] = field(default_factory=dict)


def size(
    *,
    equity: float,
    price: float,
    stop: float,
    available_cash: float,
    portfolio_risk: float,
    max_position_size: float,
    max_portfolio_risk: float,
    rooms: Mapping[str, float] | None = None,
) -> Sizing:
    """The most whole shares that keep every limit.

    Args:
        equity, available_cash, portfolio_risk: dollars; the last is what is at risk already.
        price, stop: dollars per share. A market order may fill above `price` by `OPEN_GAP`.
        max_position_size, max_portfolio_risk: fractions of equity.
        rooms: dollars that each further limit still lets this order be worth, by the limit's name.
    """
    by_size = max(0.0, equity * max_position_size / price)
    by_cash = max(0.0, available_cash / (price * (1.0 + OPEN_GAP)))
    headroom = max(0.0, equity * max_portfolio_risk - portfolio_risk)
    # A stop that the tick has rounded onto the price protects nothing, so nothing may be risked on it.
    by_risk = headroom / (price - stop) if price > stop else 0.0
    others = {name: max(0.0, room / price) for name, room in (rooms or {}).items()}
    least = min(by_size, by_cash, by_risk, *others.values())
    return Sizing(whole_shares(least), by_size, by_cash, by_risk, others)


def stop_price(reference: float, stop_loss: float) -> float:
    """Where the protective stop of a long entry stands, dollars on the exchange's tick."""
    return to_tick(reference * (1.0 - stop_loss))


def target_price(reference: float, take_profit: float) -> float:
    """Where the profit target of a long entry stands, dollars on the exchange's tick."""
    return to_tick(reference * (1.0 + take_profit))
