"""How is the account shown: what it is worth, what it has committed, how much of each limit is used?"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal

from pydantic import BaseModel

from risk_manager import limits as rules
from risk_manager.api.views import CheckView, ModeView, Text
from risk_manager.service import Portfolio
from risk_manager.snapshot import ZERO, Holding, figure
from shared.domain.decisions import Check
from shared.domain.orders import Side
from shared.domain.symbols import Symbol

_SIDES: dict[Side | None, Literal["long", "short"]] = {Side.BUY: "long", Side.SELL: "short"}


class PositionView(BaseModel):
    """One symbol held or on order; shares, dollars, `weight` of equity, below zero for what is owed.

    `side` is that of what is held, else of our entries on order; null for orders of others alone.
    """

    symbol: str
    side: Literal["long", "short"] | None
    quantity: Text
    entering_quantity: Text
    leaving_quantity: Text
    price: Text | None
    price_at: datetime | None
    price_age_s: float | None
    market_value: Text
    committed_value: Text
    weight: float
    risk: Text
    unknown_orders: int


class LossView(BaseModel):
    """Dollars that one bar may cost at `confidence`, at today's holdings."""

    confidence: float
    horizon: Literal["one bar"] = "one bar"
    unit: Literal["USD"] = "USD"
    observations: int
    historical_var: float
    parametric_var: float
    historical_cvar: float


class ScenarioView(BaseModel):
    """What a gap would do, in dollars; `symbol` null for everything at once, `change` and drawdown are ratios."""

    symbol: str | None
    change: float
    pnl: float
    equity_after: float
    drawdown_after: float


class CorrelationView(BaseModel):
    """How alike two holdings move, -1 to 1."""

    first: str
    second: str
    correlation: float


class AttributionView(BaseModel):
    """What a strategy has earned over the newest thousand fills; empty for nobody's. Dollars."""

    strategy: str
    realised_pnl: Text
    unrealised_pnl: Text
    market_value: Text
    closed_trades: int


class RiskView(BaseModel):
    """What the holdings could lose. `prices_age_s` is that of the oldest price it rests on, null without any.

    `beta_weighted_delta` is in dollars of the benchmark; what has too few bars stands in `uncovered`.
    """

    benchmark: str
    prices_age_s: float | None
    losses: LossView | None
    betas: dict[str, float]
    beta_weighted_delta: float | None
    correlations: list[CorrelationView]
    scenarios: list[ScenarioView]
    uncovered: list[str]


class PortfolioView(BaseModel):
    """The account as the risk manager sees it. Money in dollars; shares of equity are ratios.

    `committed` counts what is open, approved or of unknown outcome beside what is held.
    """

    account: str
    at: datetime
    currency: Literal["USD"] = "USD"
    mode: ModeView
    cash: Text
    reserved_cash: Text
    available_cash: Text
    equity: Text
    peak_equity: Text
    drawdown: float
    gross_exposure: Text
    net_exposure: Text
    gross_exposure_ratio: float | None
    net_exposure_ratio: float | None
    committed_exposure: Text
    portfolio_risk: Text
    positions: list[PositionView]
    unpriced: list[str]
    limits: list[CheckView]
    risk: RiskView
    attribution: list[AttributionView]


def portfolio_view(portfolio: Portfolio, benchmark: Symbol) -> PortfolioView:
    """The account as it is shown; `benchmark` is whose moves betas are measured against."""
    exposure, mark, book = portfolio.exposure, portfolio.mark, portfolio.book
    held = {holding.symbol: holding for holding in book.holdings}
    committed = sum(exposure.committed_value.values(), ZERO)
    return PortfolioView(
        account=book.account,
        at=portfolio.at,
        mode=ModeView.of(book.mode),
        cash=exposure.cash,
        reserved_cash=exposure.reserved_cash,
        available_cash=exposure.available_cash,
        equity=exposure.equity,
        peak_equity=mark.peak_equity,
        drawdown=mark.drawdown,
        gross_exposure=exposure.gross,
        net_exposure=exposure.net,
        gross_exposure_ratio=_ratio(exposure.gross, exposure.equity),
        net_exposure_ratio=_ratio(exposure.net, exposure.equity),
        committed_exposure=committed,
        portfolio_risk=exposure.risk,
        positions=[
            _position_view(symbol, held.get(symbol), portfolio) for symbol in sorted(book.symbols)
        ],
        unpriced=list(exposure.unpriced),
        limits=[CheckView.of(check) for check in _usage(portfolio)],
        risk=_risk_view(portfolio, benchmark),
        attribution=[
            AttributionView(
                strategy=row.strategy,
                realised_pnl=row.realised_pnl,
                unrealised_pnl=row.unrealised_pnl,
                market_value=row.market_value,
                closed_trades=row.closed_trades,
            )
            for row in portfolio.attribution
        ],
    )


def _risk_view(portfolio: Portfolio, benchmark: Symbol) -> RiskView:
    figures, losses = portfolio.figures, portfolio.figures.losses
    ages = [
        (portfolio.at - price.end_at).total_seconds()
        for symbol, price in portfolio.exposure.market.prices.items()
        if portfolio.exposure.held.get(symbol)
    ]
    return RiskView(
        benchmark=benchmark,
        prices_age_s=max(ages, default=None),
        losses=None
        if losses is None
        else LossView(
            confidence=losses.confidence,
            observations=losses.observations,
            historical_var=losses.historical_var,
            parametric_var=losses.parametric_var,
            historical_cvar=losses.historical_cvar,
        ),
        betas=dict(figures.betas),
        beta_weighted_delta=figures.beta_weighted_delta,
        correlations=[
            CorrelationView(first=first, second=second, correlation=value)
            for (first, second), value in figures.correlations.items()
        ],
        scenarios=[
            ScenarioView(
                symbol=each.symbol,
                change=each.change,
                pnl=each.pnl,
                equity_after=each.equity_after,
                drawdown_after=each.drawdown_after,
            )
            for each in figures.scenarios
        ],
        uncovered=list(figures.uncovered),
    )


def _position_view(symbol: Symbol, held: Holding | None, portfolio: Portfolio) -> PositionView:
    exposure = portfolio.exposure
    price = exposure.market.prices.get(symbol)
    quantity = held.quantity if held is not None else ZERO
    per_share = exposure.worth(held) if held is not None else ZERO
    value = quantity * per_share
    return PositionView(
        symbol=symbol,
        side=_SIDES.get(exposure.side_of(symbol)),
        quantity=quantity,
        entering_quantity=exposure.entering.get(symbol, ZERO),
        leaving_quantity=exposure.leaving.get(symbol, ZERO),
        price=None if price is None else price.amount,
        price_at=None if price is None else price.end_at,
        price_age_s=None if price is None else (portfolio.at - price.end_at).total_seconds(),
        market_value=value,
        committed_value=exposure.committed_value.get(symbol, ZERO),
        weight=_ratio(value, exposure.equity) or 0.0,
        risk=held.risk(per_share) if held is not None else ZERO,
        unknown_orders=exposure.unknown.get(symbol, 0),
    )


def _usage(portfolio: Portfolio) -> list[Check]:
    """How much of each limit of the whole account is used now, before any further order."""
    exposure, mark, limits = portfolio.exposure, portfolio.mark, portfolio.limits
    largest = max(exposure.committed_value.values(), default=ZERO)
    equity = figure(exposure.equity)
    busiest = max(exposure.entries_by_day.values(), default=0)
    return [
        rules.position_size(figure(largest), 0.0, equity, limits.max_position_size),
        rules.portfolio_risk(figure(exposure.risk), 0.0, equity, limits.max_portfolio_risk),
        rules.drawdown(equity, figure(mark.peak_equity), limits.drawdown_limit),
        rules.daily_loss(equity, figure(mark.day_equity or exposure.equity), limits.max_daily_loss),
        rules.daily_trades(busiest, limits.max_daily_trades),
        rules.concurrent_positions(len(exposure.committed_value), limits.max_positions),
        rules.gross_exposure(figure(exposure.committed), 0.0, equity, limits.max_gross_exposure),
        rules.net_exposure(
            figure(max(exposure.net_on(side) for side in Side)),
            0.0,
            equity,
            limits.max_net_exposure,
        ),
        rules.intraday_margin(figure(exposure.committed), 0.0, equity, limits.maintenance_margin),
        rules.buying_power(0.0, figure(exposure.available_cash), 0.0),
    ]


def _ratio(part: Decimal, whole: Decimal) -> float | None:
    return float(part / whole) if whole > 0 else None
