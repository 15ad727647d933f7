"""Do the compiled forms of the risk manager's rules answer as the rules themselves?"""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtester import entries, kernel, risk_rules
from backtester.plan import DEFAULT_LIMITS, Plan
from backtester.terms import MICROS, micros
from backtester.testing import Case, a_calendar, a_market, some_wishes
from risk_manager import limits
from risk_manager.attribution import matched, records_of
from risk_manager.review import Venue
from risk_manager.sizing import (
    SizingMethod,
    SizingPlan,
    TradeRecord,
    annual_volatility,
    average_true_range,
    kelly,
    size,
    wanted,
)
from shared.domain.arithmetic import quantised, whole_shares
from shared.domain.calendar import NEW_YORK, TradingWindow
from shared.domain.lots import Execution
from shared.domain.orders import Side
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe

money = st.integers(0, 10**13).map(lambda micros: micros / 1e6)
price = st.integers(1_000, 10**10).map(lambda micros: micros / 1e6)
NO_SPLITS = np.empty((0, 0))
fraction = st.sampled_from([0.001, 0.02, 0.05, 0.333, 1.0])


@given(money, price, price, money, money, fraction, fraction, st.booleans())
def test_an_entry_is_as_large_as_the_risk_manager_makes_it(
    equity: float,
    price: float,
    stop: float,
    cash: float,
    risk: float,
    max_size: float,
    max_risk: float,
    is_short: bool,
) -> None:
    theirs = size(
        equity=equity,
        price=price,
        stop=stop,
        available_cash=cash,
        portfolio_risk=risk,
        max_position_size=max_size,
        max_portfolio_risk=max_risk,
        is_short=is_short,
    )
    ours = (
        risk_rules.shares_by_size(equity, price, max_size),
        risk_rules.shares_by_cash(cash, price, is_short),
        risk_rules.shares_by_risk(equity, risk, price, stop, max_risk, is_short),
    )

    assert ours == (theirs.by_position_size, theirs.by_buying_power, theirs.by_portfolio_risk)
    assert risk_rules.whole(min(ours)) == theirs.shares


@given(st.floats(-10, 1e9))
def test_shares_are_cut_to_whole_ones_alike(shares: float) -> None:
    assert risk_rules.whole(shares) == whole_shares(shares)


@given(price, price, price, st.booleans())
def test_brackets_fit_alike(price: float, stop: float, target: float, is_short: bool) -> None:
    assert (
        risk_rules.fits_bracket(price, stop, target, is_short)
        == limits.bracket_prices(price, stop, target, is_short=is_short).passed
    )


@given(money, money, money, fraction, price)
def test_limits_pass_alike(a: float, b: float, equity: float, limit: float, price: float) -> None:
    assert (
        risk_rules.fits_share_of_equity(a + b, equity, limit)
        == limits.position_size(a, b, equity, limit).passed
        == limits.portfolio_risk(a, b, equity, limit).passed
    )
    assert risk_rules.fits_buying_power(a, b, price) == limits.buying_power(a, b, price).passed


@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.booleans())
def test_correlation_refuses_alike(seed: int, count: int, gaps: bool) -> None:
    rng = np.random.default_rng(seed)
    rows = int(rng.integers(1, 60))
    moves = rng.normal(0, 0.01, (rows, 2)) + rng.normal(0, rng.uniform(0, 0.05), (rows, 1))
    close = np.round(100 * np.exp(np.cumsum(moves, axis=0)), 4)
    if gaps:
        close[rng.random(close.shape) < 0.3] = np.nan
        close[-1] = 100.0
    rules = replace(
        DEFAULT_LIMITS,
        correlation_bars=count,
        max_correlation=float(rng.uniform(0.1, 1.0)),
        sizing=SizingPlan(atr_bars=2),
    )

    def closes(column: int) -> dict[int, float]:
        present = np.flatnonzero(~np.isnan(close[:, column]))[-(count + 1) :]
        return {int(row): float(close[row, column]) for row in present}

    refused = not limits.correlation(closes(0), {"B": closes(1)}, rules).passed
    scratch = np.empty((2, count + 1))

    assert refused == risk_rules.are_alike(
        close, NO_SPLITS, rows - 1, 0, 1, count, rules.max_correlation, scratch
    )


@given(st.floats(0, 1e9))
def test_micros_are_the_grid_of_the_rules(amount: float) -> None:
    assert micros(amount) / MICROS == quantised(amount)


@given(money, money, money, fraction, price, st.integers(1, 10**9))
def test_orders_and_losses_are_judged_alike(
    a: float, b: float, equity: float, limit: float, price: float, count: int
) -> None:
    shares = whole_shares(a / price)
    assert risk_rules.fits_order_value(a, b) == limits.order_value(a, b).passed
    assert risk_rules.fits_order_shares(shares, count) == limits.order_shares(shares, count).passed
    assert risk_rules.fits_volume(shares, b, limit) == limits.fat_finger(shares, b, limit).passed
    assert (
        risk_rules.fits_margin(a, b, equity, limit)
        == limits.intraday_margin(a, b, equity, limit).passed
    )
    assert risk_rules.has_fallen(a, b, limit) != limits.drawdown(a, b, limit).passed
    assert risk_rules.has_lost(a, b, limit) != limits.daily_loss(a, b, limit).passed
    assert (
        risk_rules.fits_share_of_equity(a + b, equity, limit)
        == limits.gross_exposure(a, b, equity, limit).passed
        == limits.net_exposure(a, b, equity, limit).passed
        == limits.sector_exposure("X", a, b, equity, limit).passed
        == limits.strategy_exposure("X", a, b, equity, limit).passed
        == limits.strategy_capital("X", a, b, equity, limit).passed
    )


@given(st.integers(0, 10**12), st.sampled_from([60_000_000, 23_400_000_000]), st.integers(0, 50))
def test_a_symbol_rests_alike(since_us: int, bar_us: int, bars: int) -> None:
    # Whole bars are where the two could differ.
    for us in (since_us, bar_us * bars, bar_us * bars - 1):
        theirs = limits.cool_down(timedelta(microseconds=us), timedelta(microseconds=bar_us), bars)

        assert risk_rules.has_rested(us, bar_us, bars) == theirs.passed


@given(st.integers(0, 5), money)
def test_day_trades_are_judged_alike(day_trades: int, equity: float) -> None:
    assert (
        risk_rules.may_day_trade(day_trades, equity)
        == limits.pattern_day_trader(day_trades, equity).passed
    )


@given(
    st.sampled_from(list(SizingMethod)),
    money,
    price,
    price,
    st.floats(0, 1),
    st.none() | st.floats(0, 5),
    st.none() | st.floats(0, 1e4),
    st.builds(TradeRecord, st.integers(0, 60), st.integers(0, 60), money, money),
    st.booleans(),
    st.booleans(),
)
def test_each_method_wants_the_same_shares(
    method: SizingMethod,
    equity: float,
    price: float,
    stop: float,
    conviction: float,
    volatility: float | None,
    true_range: float | None,
    record: TradeRecord,
    scales: bool,
    is_short: bool,
) -> None:
    plan = SizingPlan(method, fraction=0.3, scales_by_conviction=scales)
    theirs = wanted(
        plan,
        equity=equity,
        price=price,
        stop=stop,
        conviction=conviction,
        volatility=volatility,
        true_range=true_range,
        record=record,
        is_short=is_short,
    )
    ours = risk_rules.wanted_shares(
        risk_rules.METHODS.index(method.value),
        equity,
        price,
        stop,
        conviction if scales else 1.0,
        plan.fraction,
        plan.risk_per_trade,
        plan.volatility_target,
        volatility or 0.0,
        plan.atr_multiple,
        true_range or 0.0,
        kelly(risk_rules.Record(record.wins, record.losses, record.won, record.lost)),  # type: ignore[arg-type]
        plan.kelly_share,
        plan.kelly_cap,
        is_short,
    )

    assert ours == theirs.shares


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(0, 40))
def test_trades_on_both_sides_are_counted_as_the_risk_manager_attributes_them(
    seed: int, before: int
) -> None:
    history = a_market(seed, 60, 2, minutes=False, wild=0.02, holes=0.0)
    plan = Plan(limits=replace(DEFAULT_LIMITS, allow_short=True, max_portfolio_risk=1.0))
    case = Case(history, some_wishes(seed, history, 0.3, 0.3), plan)
    outcome = kernel.simulate(history.bars, case.wished.wishes, *case.given)
    # The newest alone may begin in the middle of a trade.
    fills = np.array(outcome[2:10], np.float64)[:, before:]
    held: dict[Symbol, Decimal] = {}
    executions = []
    for i, (_, column, _, shares, price, fee, _, side) in enumerate(fills.T.tolist()):
        symbol = history.panel.symbols[int(column)]
        quantity = Decimal(repr(shares))
        at = datetime(2024, 1, 2, tzinfo=UTC) + timedelta(minutes=i)
        executions.append(
            Execution(
                str(i), str(i), "one", symbol, Side.BUY if side > 0 else Side.SELL, quantity,
                Decimal(repr(price)), Decimal(repr(fee)), at,
            )
        )  # fmt: skip
    for column, shares, side in zip(
        outcome.fill_column, outcome.fill_shares, outcome.fill_side, strict=True
    ):
        symbol = history.panel.symbols[column]
        held[symbol] = held.get(symbol, Decimal(0)) + Decimal(repr(float(side * shares)))

    theirs = records_of(matched(executions, held).trades).get("one", TradeRecord())

    ours = entries.record_of(fills, fills.shape[1], np.empty((2, 2)))
    assert (ours.wins, ours.losses) == (theirs.wins, theirs.losses)
    assert (ours.won, ours.lost) == pytest.approx((theirs.won, theirs.lost))


@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.integers(2, 20))
def test_ranges_and_volatility_are_measured_alike(seed: int, count: int, bars: int) -> None:
    history = a_market(seed, 40, 1, minutes=False, wild=0.02, holes=0.3)
    high, low, close = (getattr(history.panel, name) for name in ("high", "low", "close"))
    there = np.flatnonzero(~np.isnan(close[:, 0]))[-count:]
    scratch = np.empty((3, count))

    moves = limits.log_returns({int(r): float(close[r, 0]) for r in there}, there.tolist())
    theirs = annual_volatility(moves, 252.0)
    ours = risk_rules.volatility_of(close, NO_SPLITS, 39, 0, count, 252.0, scratch)
    assert ours == (theirs or 0.0)

    highs, lows, closes = (figure[there, 0].tolist() for figure in (high, low, close))
    ranges = average_true_range(highs, lows, closes, bars)
    found = risk_rules.true_range_of(high, low, close, NO_SPLITS, 39, 0, count, bars, scratch)
    assert found == (ranges or 0.0)


def test_the_rules_as_numbers_measure_time_like_the_review() -> None:
    calendar = a_calendar(3)
    window = TradingWindow(time.min, time.max, NEW_YORK)
    for timeframe in Timeframe:
        rules = Plan().terms(timeframe, "any", has_gaps=False).rules

        assert rules.bar_us == Venue(calendar, window, timeframe).bar_length / timedelta(
            microseconds=1
        )
    assert [method.value for method in SizingMethod] == list(risk_rules.METHODS)
    assert set(risk_rules.CODES) - {"ACCEPTED", "NO_CASH"} <= {code.value for code in limits.Code}
