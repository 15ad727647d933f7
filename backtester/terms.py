"""What do the engines take, and what do they give?

Arrays, numbers and named tuples, nothing else, because a compiler takes them too. Dollars and shares are float64 on the
grid of a micro. What a person chooses is checked in `plan`; what bars say is read in `history`.
"""

from __future__ import annotations

from math import floor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

MICROS = 1_000_000.0

# How an entry is sized.
BY_LIMITS = 0  # at the close that decides, as the risk manager does live
BY_FRACTION = 1  # at the open: a fraction of equity, cut to the cash there is
BY_SLOTS = 2  # at the open: a fraction of equity, or nothing when cash does not cover it
BY_RISK = 3  # at the open: so many shares that the stop loses a fraction of equity

# Why a fill happened. A split is no fill, but changes how many shares there are, at no price.
ENTRY = 0
EXIT = 1
STOP = 2
TARGET = 3
SPLIT = 4
# Sales that nobody wished for, as `risk_manager.positions.Kind` has them.
DAY_END = 5
REBALANCE = 6
SCALE_OUT = 7

# What a wish asks for: the sign of the position.
LONG = 1
FLAT = 0
SHORT = -1


class Bars(NamedTuple):
    """Dollars per share and shares, shape (bars, symbols), NaN where a symbol has no bar."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats


class Wishes(NamedTuple):
    """New wishes in the order in which they are decided: by row, exits first, then conviction, then symbol."""

    row: Ints
    column: Ints
    # LONG, FLAT or SHORT.
    direction: Ints
    conviction: Floats


class Days(NamedTuple):
    """What the calendar says of each bar, and which fees hold from which row on.

    `acts_on`: the exchange day (any number) on which what is decided at that bar's close is sent; -1 for none.
    `open_us`, `end_us`: when each bar begins and ends, microseconds since 1970.
    """

    acts_on: Ints
    open_us: Ints
    end_us: Ints
    # Per exchange day: its first row, its ordinal, when it opens, and for how long the exchange was open before.
    day_row: Ints
    day_on: Ints
    day_open_us: Ints
    day_clock_us: Ints
    # Whether a bar's close is so late that strategies of the day leave; empty where there are none.
    is_over: Bools
    fee_row: Ints
    sec_rate: Floats
    taf_per_share: Floats
    taf_most: Floats


class Actions(NamedTuple):
    """Splits and dividends, oldest first: before the open of `row`, first the split, then the dividend.

    `ratio`: new shares per old one. `amount`: dollars per share of that day. `factor`: how many shares a share from
    before all splits has become, shape of the bars; of shape (0, 0) where there is no split.
    """

    row: Ints
    column: Ints
    ratio: Floats
    amount: Floats
    factor: Floats


class Listed(NamedTuple):
    """What is known of each symbol: the number of its sector (-1: none), and what may not be done with it."""

    sector: Ints
    halted: Bools
    # Nobody lends it, so it cannot be sold short.
    unlent: Bools


class Rules(NamedTuple):
    """The limits and the sizing of the risk manager, each as `risk_manager.limits.Limits` has it."""

    max_position_size: float
    max_portfolio_risk: float
    drawdown_limit: float
    max_daily_loss: float
    flatten_on_breach: bool
    max_daily_trades: int
    max_correlation: float
    correlation_bars: int
    max_gross_exposure: float
    max_net_exposure: float
    max_sector_exposure: float
    max_strategy_exposure: float
    # The bucket of the strategy that trades; below 0 for none.
    strategy_capital: float
    max_positions: int
    max_orders_per_minute: int
    # For how many open hours a wish is worth acting on, microseconds, and whether shares may be sold short at all.
    max_age_us: int
    allow_short: bool
    # 0 where bars are too long for a symbol to be bought so often within the window.
    max_repeats: int
    repeat_window_us: int
    max_order_value: float
    max_order_shares: int
    max_volume_share: float
    cool_down_bars: int
    stop_guard_stops: int
    stop_guard_us: int
    maintenance_margin: float
    pattern_day_trader: bool
    # A bar's length in open hours, and bars a session and a year.
    bar_us: int
    bars_a_session: float
    bars_a_year: float
    method: int
    fraction: float
    risk_per_trade: float
    volatility_target: float
    atr_bars: int
    atr_multiple: float
    kelly_share: float
    kelly_cap: float
    scales_by_conviction: bool


class Managed(NamedTuple):
    """What is done with positions that are held (`risk_manager.management.ManagementPlan`)."""

    # How far stops follow the close: a fraction of it, and average true ranges of so many bars; 0 for none.
    trailing_stop: float
    atr_stop: float
    atr_bars: int
    # Gains over the entry's price, each with the share of the entry that is sold there; none for an empty pair.
    gains: Floats
    parts: Floats
    rebalance_band: float
    # Whether the strategy holds nothing overnight.
    is_of_the_day: bool


class Terms(NamedTuple):
    """How the account trades. Fractions of equity unless said otherwise."""

    cash: float
    commission_bps: float
    commission_per_share: float
    slippage_bps: float
    max_volume_share: float
    whole_shares: bool
    sizing: int
    amount: float
    # Stop and target of every entry, fractions of the deciding close.
    bracket: bool
    stop_loss: float
    take_profit: float
    managed: Managed
    # What a share sold short costs a year, a fraction of its worth.
    borrow_rate: float
    # Whether the risk manager's rules hold.
    limited: bool
    rules: Rules
    # Whether some symbol lacks some bar.
    has_gaps: bool


class Outcome(NamedTuple):
    """What happened. Arrays of fills share one length, shares are above zero but for a split that takes some; `equity` has one value per bar, dollars at its close."""

    equity: Floats
    cash: float
    fill_row: Ints
    fill_column: Ints
    fill_kind: Ints
    fill_shares: Floats
    fill_price: Floats
    fill_fee: Floats
    # What slippage cost in that fill, dollars: its value against the same fill without slippage.
    fill_slippage: Floats
    # LONG for a purchase, SHORT for a sale.
    fill_side: Ints
    refused: Ints
    # The bar at whose close a limit on losses was passed, after which no entry follows; -1 for never.
    reduced_row: int
    # Bars at whose close something was held.
    rows_held: int
    # The deepest fall of equity below its running peak, a fraction of the peak.
    max_drawdown: float
    # Dollars paid for shares that were borrowed, and received of dividends (paid ones below zero).
    borrow_fees: float
    dividends: float


def micros(dollars: float) -> float:
    """Whole micros of an amount or a price in dollars."""
    return floor(dollars * MICROS + 0.5) * 1.0
