"""How many shares does an entry ask for, and how much room does each limit leave?"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from risk_manager import limits as rules
from risk_manager.exposure import Exposure
from risk_manager.limits import Limits
from risk_manager.review.case import SESSION, Case, Wish, float_of
from risk_manager.sizing import (
    Sizing,
    SizingMethod,
    TradeRecord,
    Wanted,
    annual_volatility,
    average_true_range,
    size,
    wanted,
)
from risk_manager.snapshot import ZERO, Working, figure
from shared.domain.orders import Side
from shared.domain.symbols import Symbol

_SESSIONS_A_YEAR = 252


@dataclass(frozen=True, slots=True)
class Sized:
    """A size with what it was found from."""

    sizing: Sizing
    wanted: Wanted
    method: SizingMethod


def quantity_of(
    wish: Wish, reference: Decimal, exposure: Exposure, case: Case
) -> tuple[Decimal, Sized | None]:
    """The shares that were asked for, or found by the sizing method under all limits; then with the arithmetic."""
    if wish.quantity is not None:
        return wish.quantity, None
    one, market = candidate_of(wish, Decimal(1), reference), exposure.price(wish.symbol)
    price, risk_price = one.price(market), figure(one.risk_price(market))
    wish_for = _wanted(wish, figure(price), risk_price, exposure, case)
    sized = size(
        by_method=wish_for.shares,
        equity=figure(exposure.equity),
        price=figure(price),
        stop=float_of(wish.stop_loss) or 0.0,
        available_cash=figure(exposure.available_cash),
        portfolio_risk=figure(exposure.risk),
        max_position_size=case.limits.max_position_size,
        max_portfolio_risk=case.limits.max_portfolio_risk,
        rooms=_rooms(wish, figure(price), exposure, case),
        is_short=wish.side is Side.SELL,
        risk_price=risk_price,
    )
    return Decimal(sized.shares), Sized(sized, wish_for, case.limits.sizing.method)


def _wanted(wish: Wish, price: float, risk_price: float, exposure: Exposure, case: Case) -> Wanted:
    """What the sizing method asks for, from the bars and trades that are known."""
    plan, market, symbol = case.limits.sizing, exposure.market, wish.symbol
    closes = market.closes.get(symbol, {})
    # The same bars as correlations are made of, and no more: how many happen to be loaded must not count.
    ends = list(closes)[-(case.limits.correlation_bars + 1) :]
    highs, lows = market.highs.get(symbol, {}), market.lows.get(symbol, {})
    has_ranges = all(end in highs and end in lows for end in ends)
    return wanted(
        plan,
        equity=figure(exposure.equity),
        price=price,
        stop=float_of(wish.stop_loss) or 0.0,
        conviction=wish.conviction,
        volatility=annual_volatility(
            rules.log_returns(closes, ends), _SESSIONS_A_YEAR * (SESSION / case.venue.bar_length)
        ),
        true_range=average_true_range(
            [highs[end] for end in ends],
            [lows[end] for end in ends],
            [closes[end] for end in ends],
            plan.atr_bars,
        )
        if has_ranges
        else None,
        record=case.recent.records.get(wish.strategy, TradeRecord()),
        is_short=wish.side is Side.SELL,
        risk_price=risk_price,
    )


def _rooms(wish: Wish, price: float, exposure: Exposure, case: Case) -> dict[str, float]:
    """Dollars that an entry may be worth under each limit that is not about cash, risk or its position."""
    limits, equity = case.limits, figure(exposure.equity)
    committed = figure(exposure.committed)
    mine = figure(exposure.by_strategy.get(wish.strategy, ZERO))
    volume = session_volume(wish.symbol, exposure, case) or 0.0
    rooms = {
        "order_value": limits.max_order_value,
        "order_shares": limits.max_order_shares * price,
        "volume": limits.max_volume_share * volume * price,
        "gross_exposure": equity * limits.max_gross_exposure - committed,
        "net_exposure": equity * limits.max_net_exposure - figure(exposure.net_on(wish.side)),
        "strategy_exposure": equity * limits.max_strategy_exposure - mine,
        "intraday_margin": equity / limits.maintenance_margin - committed,
    }
    if wish.symbol in limits.sectors:
        sector = figure(sector_value(wish.symbol, exposure, limits))
        rooms["sector_exposure"] = equity * limits.max_sector_exposure - sector
    if wish.strategy in limits.strategy_capital:
        rooms["strategy_capital"] = equity * limits.strategy_capital[wish.strategy] - mine
    return rooms


def sector_value(symbol: Symbol, exposure: Exposure, limits: Limits) -> Decimal:
    """Dollars held and on order in the symbol's sector; 0 where it has none."""
    sector = limits.sectors.get(symbol)
    if sector is None:
        return ZERO
    return sum(
        (v for s, v in exposure.committed_value.items() if limits.sectors.get(s) == sector), ZERO
    )


def session_volume(symbol: Symbol, exposure: Exposure, case: Case) -> float | None:
    """Shares that trade in an average session, from the bars that are known; None without any."""
    volumes = exposure.market.volumes.get(symbol)
    if not volumes:
        return None
    total = 0.0
    for volume in volumes.values():
        total += volume
    return total / len(volumes) * (SESSION / case.venue.bar_length)


def candidate_of(wish: Wish, quantity: Decimal, reference: Decimal) -> Working:
    """The order as it would count once approved."""
    return Working(
        wish.symbol,
        wish.side,
        wish.purpose,
        quantity,
        wish.type,
        wish.limit_price,
        wish.stop_price,
        wish.stop_loss,
        reference,
    )


def arithmetic_of(given: Sized | None) -> dict[str, str]:
    """Every bound of a size in shares, so that anybody can do the sum again."""
    if given is None:
        return {}
    sized = given.sizing
    return {
        "sizing_method": given.method.value,
        **{name: repr(value) for name, value in given.wanted.figures.items()},
        "shares_by_method": repr(given.wanted.shares),
        "shares_by_position_size": repr(sized.by_position_size),
        "shares_by_buying_power": repr(sized.by_buying_power),
        "shares_by_portfolio_risk": repr(sized.by_portfolio_risk),
        **{f"shares_by_{name}": repr(shares) for name, shares in sized.by_others.items()},
    }
