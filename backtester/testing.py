"""Markets and wishes for tests: random, seeded, with everything in them that real bars do."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
from hypothesis import strategies as st

from backtester.history import History, history_of
from backtester.plan import Plan, Sizing
from backtester.terms import FLAT, LONG, SHORT, Actions, Days, Listed, Terms
from backtester.wishing import Wished, in_order
from risk_manager.limits import Limits
from risk_manager.management import ManagementPlan
from risk_manager.sizing import SizingMethod, SizingPlan
from shared.domain.bar_blocks import to_epoch_us
from shared.domain.calendar import NEW_YORK, Session, TradingCalendar
from shared.domain.corporate_actions import CashDividend, CorporateAction, Split
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe

# Whose wishes these are.
STRATEGY = "wishing"


@dataclass(frozen=True)
class Case:
    """One backtest: bars, wishes and terms."""

    history: History
    wished: Wished
    plan: Plan

    @property
    def given(self) -> tuple[Days, Actions, Listed, Terms]:
        """What the fast engine takes beside bars and wishes."""
        panel = self.history.panel
        return (
            self.history.days(self.plan.fees, self.plan.flat_before_s(STRATEGY)),
            self.history.actions_as_arrays,
            self.plan.listed(panel.symbols),
            self.plan.terms(panel.timeframe, STRATEGY, has_gaps=self.history.has_gaps),
        )


def a_calendar(days: int) -> TradingCalendar:
    """Sessions of six and a half hours, five in a row and two days off."""
    first = datetime(2024, 1, 2, 9, 30, tzinfo=NEW_YORK)
    # New York's clock goes on over a change of its time.
    opens = [first + timedelta(days=i + 2 * (i // 5)) for i in range(days)]
    closes = [opened + timedelta(hours=6, minutes=30) for opened in opens]
    return TradingCalendar(
        [
            Session(opened.date(), opened.astimezone(UTC), closed.astimezone(UTC))
            for opened, closed in zip(opens, closes, strict=True)
        ]
    )


def a_market(
    seed: int, rows: int, columns: int, *, minutes: bool, wild: float, holes: float
) -> History:
    """Bars of two-letter symbols: `wild` is a bar's spread, `holes` the share of missing ones."""
    rng = np.random.default_rng(seed)
    shape = (rows, columns)
    close = 50.0 * np.exp(np.cumsum(rng.normal(0, wild, shape), axis=0))
    opens = np.vstack([close[:1], close[:-1]]) * np.exp(rng.normal(0, wild, shape))
    high = np.maximum(opens, close) * np.exp(np.abs(rng.normal(0, wild / 2, shape)))
    low = np.minimum(opens, close) * np.exp(-np.abs(rng.normal(0, wild / 2, shape)))
    digits = int(rng.integers(2, 7))
    figures = {
        name: np.round(values, digits)
        for name, values in (("open", opens), ("high", high), ("low", low), ("close", close))
    }
    figures["high"] = np.maximum.reduce([figures[n] for n in ("open", "high", "close")])
    figures["low"] = np.minimum.reduce([figures[n] for n in ("open", "low", "close")])
    figures["volume"] = np.floor(np.exp(rng.normal(7, 2, shape)))
    figures["volume"][rng.random(shape) < holes / 2] = 0.0
    absent = rng.random(shape) < holes
    absent[:, 0] = False  # every instant has a bar
    for values in figures.values():
        values[absent] = np.nan
    calendar = a_calendar(rows + 3)
    sessions = calendar.between(date(2024, 1, 1), date(2100, 1, 1))
    if minutes:
        per_day = 9
        starts = [
            # The last bar of a day is its session's last minute.
            sessions[i // per_day].close_at - timedelta(minutes=per_day - i % per_day)
            for i in range(rows)
        ]
        ends = [start + timedelta(minutes=1) for start in starts]
    else:
        starts = [sessions[i].open_at for i in range(rows)]
        ends = [sessions[i].close_at for i in range(rows)]
    return history_of(
        Timeframe.MINUTE if minutes else Timeframe.DAY,
        [Symbol(chr(65 + k) * 2) for k in range(columns)],
        figures,
        np.array([to_epoch_us(at) for at in starts]),
        np.array([to_epoch_us(at) for at in ends]),
        calendar,
        "random",
    )


def some_wishes(seed: int, history: History, often: float, shorts: float = 0.0) -> Wished:
    """Entries and exits at random bars, `often` per bar; `shorts` of all of them are to be short."""
    rng = np.random.default_rng(seed)
    shape = history.panel.close.shape
    wanted = (rng.random(shape) < often) & ~np.isnan(history.panel.close)
    row, column = np.nonzero(wanted)
    return in_order(
        row.astype(np.int64),
        column.astype(np.int64),
        rng.choice([LONG, FLAT, SHORT], len(row), p=[0.6 - shorts, 0.4, shorts]),
        np.round(rng.random(len(row)), 1),
        "wished",
        "wished away",
    )


def some_actions(seed: int, history: History) -> tuple[CorporateAction, ...]:
    """A few splits and dividends of the symbols of `history`."""
    rng = np.random.default_rng([seed, 2])
    found: list[CorporateAction] = []
    for symbol in history.panel.symbols:
        for _ in range(int(rng.integers(0, 4))):
            on = history.day(int(rng.integers(0, len(history))))
            if rng.random() < 0.5:
                new, old = ((2, 1), (3, 2), (1, 10), (7, 3))[int(rng.integers(4))]
                found.append(Split(symbol, on, Decimal(new), Decimal(old)))
            else:
                cents = int(rng.integers(1, 200))
                found.append(CashDividend(symbol, on, Decimal(cents).scaleb(-2)))
    return tuple(found)


_WIDE: dict[str, Any] = {
    "max_position_size": 1.0,
    "max_portfolio_risk": 1.0,
    "drawdown_limit": 1.0,
    "max_daily_trades": 50,
    "max_correlation": 1.0,
    "max_gross_exposure": 4.0,
    "max_net_exposure": 4.0,
    "max_daily_loss": 1.0,
    "max_order_value": 1e8,
    "max_order_shares": 10**7,
    "max_volume_share": 1.0,
    "cool_down_bars": 0,
    "stop_guard_stops": 1_000,
}
_TIGHT: dict[str, list[Any]] = {
    "max_position_size": [0.02, 0.2],
    "max_portfolio_risk": [0.005, 0.05],
    "drawdown_limit": [0.01, 0.1],
    "max_daily_trades": [1, 3],
    "max_correlation": [0.3, 0.9],
    "max_gross_exposure": [0.1, 0.5],
    "max_net_exposure": [0.1, 0.5],
    "max_sector_exposure": [0.05, 0.3],
    "sectors": [{"AA": "X", "BB": "X", "CC": "Y"}],
    "max_strategy_exposure": [0.1, 0.5],
    "strategy_capital": [{STRATEGY: 0.15}],
    "max_positions": [1, 2],
    "max_daily_loss": [0.002, 0.02],
    "max_orders_per_minute": [1],
    "max_repeats": [1, 2],
    "max_order_value": [30.0, 5_000.0],
    "max_order_shares": [1, 5],
    "max_volume_share": [0.0001, 0.01],
    "cool_down_bars": [2, 9],
    "stop_guard_stops": [1, 3],
    "maintenance_margin": [1.0],
    "pattern_day_trader_rule": [True],
    "halted_symbols": [frozenset({Symbol("BB")})],
}


# The rules of the risk manager that can bind in a backtest.
RULES = tuple(sorted(_TIGHT))


def a_case(seed: int, tight: Collection[str] = (), *, turns: bool = False) -> Case:
    """A random backtest in which the rules of `tight` bind and the others mostly do not.

    With `turns` it is sized by the limits, and what it wishes for is often the other side of what it holds.
    """
    rng = np.random.default_rng([seed, 1])

    def one_of(*options: Any) -> Any:
        return options[int(rng.integers(len(options)))]

    history = a_market(
        seed,
        # The longest are beyond the ninety days that an order lasts.
        one_of(2, 9, 40, 60, 90),
        one_of(1, 2, 3, 5),
        minutes=one_of(False, True),
        wild=one_of(0.003, 0.02, 0.08),
        holes=one_of(0.0, 0.0, 0.1),
    )
    often, shorts = one_of(0.05, 0.3), one_of(0.0, 0.25)
    often, shorts = (0.3, 0.3) if turns else (often, shorts)
    wished = some_wishes(seed, history, often, shorts)
    if one_of(False, True):
        history = replace(history, actions=some_actions(seed, history))
    name = one_of("limits", "limits", "limits", "all_in", "fraction", "risk", "equal_weight")
    name = "limits" if turns else name
    amount = {"all_in": 1.0, "equal_weight": 1 / one_of(1, 2, 4, 6)}.get(
        name, one_of(0.01, 0.1, 0.4)
    )
    band = one_of(0.0, 0.0, 0.02)
    # What may be all of the account never outgrows its most.
    wide = {**_WIDE, "max_position_size": 0.2} if band else _WIDE
    rules = Limits(
        correlation_bars=one_of(2, 10),
        stop_loss=one_of(0.01, 0.05),
        take_profit=one_of(0.01, 0.1),
        max_signal_age_bars=one_of(1, 2, 5),
        stop_guard_bars=one_of(3, 24),
        repeat_window_s=one_of(150, 600, 3_600),
        flatten_on_breach=one_of(False, True),
        allow_short=one_of(False, True, True) or turns,
        management=ManagementPlan(
            trailing_stop=one_of(0.0, 0.0, 0.03),
            atr_stop=one_of(0.0, 0.0, 2.0),
            scale_out=one_of((), (), ((0.01, 0.5), (0.03, 0.25)), ((0.005, 1.0),)),
            rebalance_band=band,
            day_strategies=one_of(frozenset(), frozenset(), frozenset({STRATEGY})),
            flat_before_close_s=one_of(60, 240),
        ),
        sizing=SizingPlan(
            method=one_of(SizingMethod.FIXED_FRACTION, *SizingMethod),
            fraction=one_of(0.1, 1.0),
            risk_per_trade=one_of(0.001, 0.02),
            volatility_target=one_of(0.02, 0.5),
            atr_bars=2,
            kelly_cap=one_of(0.01, 0.5),
            scales_by_conviction=one_of(False, True),
        ),
        **{**wide, **{each: one_of(*_TIGHT[each]) for each in sorted(tight)}},
    )
    plan = Plan(
        cash=max(one_of(500.0, 20_000.0, 1_000_000.0), 20_000.0 if turns else 0.0),
        commission_bps=one_of(0.0, 5.0),
        commission_per_share=one_of(0.0, 0.0035),
        slippage_bps=one_of(0.0, 3.0, 50.0),
        max_volume_share=one_of(0.01, 0.1, 1.0),
        fractional=name != "limits" and one_of(False, True),
        sizing=Sizing(name, amount),
        limits=rules if name == "limits" or one_of(False, True, True) else None,
        bracket=name == "limits" or one_of(False, True),
        regulatory_fees=one_of(False, True),
        trail=one_of(0.0, 0.0, 0.02, 0.1),
        borrow_rate=one_of(0.0, 0.003, 0.5),
        unlent=one_of(frozenset(), frozenset({Symbol("CC")})),
    )
    return Case(history, wished, plan)


def cases() -> st.SearchStrategy[Case]:
    """Backtests of all kinds: bars, parameters and rules at random, few of which bind at a time."""
    tight = st.sets(st.sampled_from(RULES), max_size=4)
    return st.builds(a_case, st.integers(0, 2**32 - 1), tight, turns=st.booleans())
