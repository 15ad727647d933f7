"""How does the account trade in this backtest?

What a person chooses, checked once and turned into the numbers that the engines take. With the risk rules on, the
account obeys the limits of the settings as it would live; sized by the limits, it trades exactly what live would.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from typing import Any

import numpy as np

from backtester import risk_rules
from backtester.costs import FeePeriod, us_fee_periods
from backtester.terms import (
    BY_FRACTION,
    BY_LIMITS,
    BY_RISK,
    BY_SLOTS,
    Listed,
    Managed,
    Rules,
    Terms,
)
from risk_manager.limits import Limits
from risk_manager.management import ManagementPlan
from shared.domain.errors import InvalidInput
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe

# Up to here whole micros are exact in float64 with room for an account that grows nine times.
MAX_CASH = 1_000_000_000.0
MAX_BPS = 10_000.0
# As the review counts: a daily bar is a regular session long.
_SESSION = timedelta(hours=6, minutes=30)
_SESSIONS_A_YEAR = 252
_MICROSECOND = timedelta(microseconds=1)
_SIZINGS = {
    "limits": BY_LIMITS,
    "all_in": BY_FRACTION,
    "fraction": BY_FRACTION,
    "risk": BY_RISK,
    "equal_weight": BY_SLOTS,
}
# The settings' own defaults: what an account obeys when nothing else is said.
DEFAULT_LIMITS = Limits(
    max_position_size=0.05,
    max_portfolio_risk=0.02,
    drawdown_limit=0.15,
    max_daily_trades=50,
    max_correlation=0.9,
    correlation_bars=60,
    stop_loss=0.05,
    take_profit=0.10,
    max_signal_age_bars=2,
)


@dataclass(frozen=True, slots=True)
class Sizing:
    """How an entry becomes shares; `amount` is a fraction of equity."""

    name: str
    amount: float = 1.0

    @property
    def kind(self) -> int:
        """The kernel's number for it."""
        return _SIZINGS[self.name]


def read_sizing(text: str) -> Sizing:
    """The sizing written as `limits`, `all_in`, `fraction=0.2`, `risk=0.01` or `equal_weight=10`.

    Raises:
        InvalidInput: none of these, or an amount that cannot be meant.
    """
    name, equals, given = (part.strip() for part in text.partition("="))
    if name not in _SIZINGS:
        raise InvalidInput(
            f"{text[:40]!r} is not a sizing: use limits, all_in, fraction=0.2, risk=0.01 or equal_weight=10"
        )
    if name in ("limits", "all_in"):
        if equals:
            raise InvalidInput(
                f"the sizing {name} takes no amount; leave out {text[len(name) :]!r}"
            )
        return Sizing(name)
    try:
        amount = float(given)
    except ValueError:
        amount = math.nan
    if name == "equal_weight":
        if not (1 <= amount <= 10_000 and amount == int(amount)):
            raise InvalidInput(f"equal_weight must be a number of positions from 1, was {given!r}")
        return Sizing(name, 1.0 / amount)
    if not 0.0 < amount <= 1.0:
        raise InvalidInput(
            f"{name} must be a fraction of equity above 0 and at most 1, was {given!r}"
        )
    return Sizing(name, amount)


@dataclass(frozen=True, slots=True)
class Plan:
    """The terms of a backtest. `limits` None trades without the risk rules, stops and targets."""

    cash: float = 100_000.0
    commission_bps: float = 0.0
    commission_per_share: float = 0.0
    slippage_bps: float = 0.0
    max_volume_share: float = 0.1
    fractional: bool = False
    sizing: Sizing = Sizing("limits")
    limits: Limits | None = field(default=DEFAULT_LIMITS)
    # Whether entries carry stop and target; they come with the limits.
    bracket: bool = True
    regulatory_fees: bool = True
    # How far stops follow the close, a fraction of it; 0 leaves them where they were decided.
    trail: float = 0.0
    # What a year with borrowed shares costs, a fraction of their worth: what brokers ask for shares that are easy to
    # borrow. And the symbols that nobody lends.
    borrow_rate: float = 0.003
    unlent: frozenset[Symbol] = frozenset()

    def __post_init__(self) -> None:
        for name, low, high in (
            ("cash", 0.01, MAX_CASH),
            ("commission_bps", 0.0, MAX_BPS),
            ("commission_per_share", 0.0, 1_000.0),
            ("slippage_bps", 0.0, MAX_BPS / 2),
            ("max_volume_share", 1e-6, 1.0),
            ("trail", 0.0, 0.99),
            ("borrow_rate", 0.0, 10.0),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                said = name.replace("_", "-")
                raise InvalidInput(f"--{said} must be {low:g} to {high:g}, was {value:g}")
        if self.sizing.name == "limits" and self.limits is None:
            raise InvalidInput(
                "without the risk rules nothing says how much to buy: add --sizing all_in, fraction=, "
                "risk= or equal_weight="
            )
        if self.sizing.name == "limits" and self.fractional:
            raise InvalidInput(
                "the risk rules buy whole shares, as live; with --fractional choose another --sizing"
            )

    def terms(self, timeframe: Timeframe, strategy: str, *, has_gaps: bool) -> Terms:
        """What the fast engine takes to trade `strategy` on bars of `timeframe`."""
        rules = self.limits or DEFAULT_LIMITS
        return Terms(
            cash=float(self.cash),
            commission_bps=float(self.commission_bps),
            commission_per_share=float(self.commission_per_share),
            slippage_bps=float(self.slippage_bps),
            max_volume_share=float(self.max_volume_share),
            whole_shares=not self.fractional,
            sizing=self.sizing.kind,
            amount=float(self.sizing.amount),
            # A size that is risked against a stop needs one, with the rules or without.
            bracket=(self.limits is not None and self.bracket) or self.sizing.name == "risk",
            stop_loss=float(rules.stop_loss),
            take_profit=float(rules.take_profit),
            managed=_managed(self.managed, rules.sizing.atr_bars, strategy),
            borrow_rate=float(self.borrow_rate),
            limited=self.limits is not None,
            rules=_rules(rules, timeframe, strategy),
            has_gaps=has_gaps,
        )

    def listed(self, symbols: Sequence[Symbol]) -> Listed:
        """What the limits say of each symbol."""
        rules = self.limits or DEFAULT_LIMITS
        sectors = sorted({rules.sectors[s] for s in symbols if s in rules.sectors})
        return Listed(
            np.array(
                [sectors.index(rules.sectors[s]) if s in rules.sectors else -1 for s in symbols],
                np.int64,
            ),
            np.array([s in rules.halted_symbols for s in symbols], np.bool_),
            np.array([s in self.unlent for s in symbols], np.bool_),
        )

    @property
    def managed(self) -> ManagementPlan:
        """What is done with positions: what the settings say, with this plan's own trail above it."""
        plan = self.limits.management if self.limits is not None else ManagementPlan()
        return replace(plan, trailing_stop=self.trail) if self.trail else plan

    def flat_before_s(self, strategy: str) -> int | None:
        """How long before the close `strategy` begins to hold nothing; None for one that holds overnight."""
        plan = self.managed
        return plan.flat_before_close_s if strategy in plan.day_strategies else None

    @property
    def fees(self) -> Sequence[FeePeriod]:
        """What regulators take, by day."""
        return us_fee_periods() if self.regulatory_fees else ()

    def described(self) -> Mapping[str, Any]:
        """Every choice as plain values, for the manifest."""
        return {each.name: _plain(getattr(self, each.name)) for each in fields(self)}


def _rules(limits: Limits, timeframe: Timeframe, strategy: str) -> Rules:
    """The limits as numbers."""
    bar = timeframe.length if timeframe.is_intraday else _SESSION
    window = timedelta(seconds=limits.repeat_window_s)
    # An entry closes a bar and the next one fills a bar later: no symbol is bought more often than that.
    repeats = limits.max_repeats if limits.max_repeats * timeframe.length < window else 0
    plan = limits.sizing
    return Rules(
        max_position_size=float(limits.max_position_size),
        max_portfolio_risk=float(limits.max_portfolio_risk),
        drawdown_limit=float(limits.drawdown_limit),
        max_daily_loss=float(limits.max_daily_loss),
        flatten_on_breach=limits.flatten_on_breach,
        max_daily_trades=limits.max_daily_trades,
        max_correlation=float(limits.max_correlation),
        correlation_bars=limits.correlation_bars,
        max_gross_exposure=float(limits.max_gross_exposure),
        max_net_exposure=float(limits.max_net_exposure),
        max_sector_exposure=float(limits.max_sector_exposure),
        max_strategy_exposure=float(limits.max_strategy_exposure),
        strategy_capital=float(limits.strategy_capital.get(strategy, -1.0)),
        max_positions=limits.max_positions,
        max_orders_per_minute=limits.max_orders_per_minute,
        max_age_us=bar * limits.max_signal_age_bars // _MICROSECOND,
        allow_short=limits.allow_short,
        max_repeats=repeats,
        repeat_window_us=window // _MICROSECOND,
        max_order_value=float(limits.max_order_value),
        max_order_shares=limits.max_order_shares,
        max_volume_share=float(limits.max_volume_share),
        cool_down_bars=limits.cool_down_bars,
        stop_guard_stops=limits.stop_guard_stops,
        stop_guard_us=bar * limits.stop_guard_bars // _MICROSECOND,
        maintenance_margin=float(limits.maintenance_margin),
        pattern_day_trader=limits.pattern_day_trader_rule,
        bar_us=bar // _MICROSECOND,
        bars_a_session=_SESSION / bar,
        bars_a_year=_SESSIONS_A_YEAR * (_SESSION / bar),
        method=risk_rules.METHODS.index(plan.method.value),
        fraction=float(plan.fraction),
        risk_per_trade=float(plan.risk_per_trade),
        volatility_target=float(plan.volatility_target),
        atr_bars=plan.atr_bars,
        atr_multiple=float(plan.atr_multiple),
        kelly_share=float(plan.kelly_share),
        kelly_cap=float(plan.kelly_cap),
        scales_by_conviction=plan.scales_by_conviction,
    )


def _managed(plan: ManagementPlan, atr_bars: int, strategy: str) -> Managed:
    """What is done with positions as numbers."""
    return Managed(
        trailing_stop=float(plan.trailing_stop),
        atr_stop=float(plan.atr_stop),
        atr_bars=atr_bars,
        gains=np.array([gain for gain, _ in plan.scale_out], np.float64),
        parts=np.array([share for _, share in plan.scale_out], np.float64),
        rebalance_band=float(plan.rebalance_band),
        is_of_the_day=strategy in plan.day_strategies,
    )


def _plain(value: Any) -> Any:
    """`value` as text, numbers, lists and mappings."""
    if hasattr(value, "__dataclass_fields__"):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, frozenset | tuple | list):
        return [_plain(each) for each in (sorted(value) if isinstance(value, frozenset) else value)]
    return value
