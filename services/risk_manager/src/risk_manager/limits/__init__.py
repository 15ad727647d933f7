"""Which rules may refuse an order, and what does each one measure?

The catalogue, by family: figures go in, a `Check` with limit and usage comes out. Reason codes are stable: tables,
reports and people refer to them. How large an order should be is asked in `sizing`; in which order the rules
are applied, and to what, in `review`. Nothing here reads a clock, a table or a socket. Arithmetic as
`shared.domain.arithmetic` says: what comes in is quantised, so live trading and backtests agree.
"""

from __future__ import annotations

from risk_manager.limits.allowed import (
    BOUNDS,
    CHANGEABLE,
    LONGEST_WINDOW_S,
    MAX_LEVERAGE,
    MOST_RECENT,
    Changes,
    Limits,
)
from risk_manager.limits.codes import Code
from risk_manager.limits.conduct import (
    already_held,
    crosses_zero,
    entry_during_exit,
    exit_in_progress,
    mode,
    no_position,
    short_not_allowed,
    symbol_halted,
    symbol_quarantined,
    unknown_order,
    wash_trade,
)
from risk_manager.limits.correlations import (
    Closes,
    common_ends,
    correlation,
    correlation_of,
    log_returns,
)
from risk_manager.limits.exposures import (
    buying_power,
    concurrent_positions,
    gross_exposure,
    intraday_margin,
    net_exposure,
    portfolio_risk,
    position_size,
    sector_exposure,
    strategy_capital,
    strategy_exposure,
)
from risk_manager.limits.freshness import market_hours, signal_age, stale_price, unpriced_position
from risk_manager.limits.losses import (
    cool_down,
    daily_loss,
    drawdown,
    drawdown_of,
    loss_of,
    stop_loss_guard,
)
from risk_manager.limits.order_terms import (
    LEAST_FRACTION,
    LEAST_LEG_DISTANCE,
    bracket_prices,
    fat_finger,
    order_shares,
    order_value,
    price_collar,
    quantity_zero,
    whole_shares_only,
)
from risk_manager.limits.rates import (
    PDT_DAY_TRADES,
    PDT_EQUITY,
    PDT_SESSIONS,
    daily_trades,
    orders_per_minute,
    pattern_day_trader,
    repeated_execution,
)

__all__ = [
    "BOUNDS",
    "CHANGEABLE",
    "LEAST_FRACTION",
    "LEAST_LEG_DISTANCE",
    "LONGEST_WINDOW_S",
    "MAX_LEVERAGE",
    "MOST_RECENT",
    "PDT_DAY_TRADES",
    "PDT_EQUITY",
    "PDT_SESSIONS",
    "Changes",
    "Closes",
    "Code",
    "Limits",
    "already_held",
    "bracket_prices",
    "buying_power",
    "common_ends",
    "concurrent_positions",
    "cool_down",
    "correlation",
    "correlation_of",
    "crosses_zero",
    "daily_loss",
    "daily_trades",
    "drawdown",
    "drawdown_of",
    "entry_during_exit",
    "exit_in_progress",
    "fat_finger",
    "gross_exposure",
    "intraday_margin",
    "log_returns",
    "loss_of",
    "market_hours",
    "mode",
    "net_exposure",
    "no_position",
    "order_shares",
    "order_value",
    "orders_per_minute",
    "pattern_day_trader",
    "portfolio_risk",
    "position_size",
    "price_collar",
    "quantity_zero",
    "repeated_execution",
    "sector_exposure",
    "short_not_allowed",
    "signal_age",
    "stale_price",
    "stop_loss_guard",
    "strategy_capital",
    "strategy_exposure",
    "symbol_halted",
    "symbol_quarantined",
    "unknown_order",
    "unpriced_position",
    "wash_trade",
    "whole_shares_only",
]
