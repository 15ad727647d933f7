"""How many shares: never above a limit, and which bound decided."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk_manager import limits as rules
from risk_manager.sizing import (
    LEAST_TRADES,
    OPEN_GAP,
    Sizing,
    SizingMethod,
    SizingPlan,
    TradeRecord,
    annual_volatility,
    average_true_range,
    kelly,
    size,
    stop_price,
    target_price,
    wanted,
)
from shared.domain.errors import InvalidInput


def sized(**changes: Any) -> Sizing:
    figures: dict[str, Any] = {
        "equity": 100_000.0,
        "price": 100.0,
        "stop": 95.0,
        "available_cash": 100_000.0,
        "portfolio_risk": 0.0,
        "max_position_size": 0.05,
        "max_portfolio_risk": 0.02,
        **changes,
    }
    return size(**figures)


def test_a_free_account_buys_its_share_of_equity() -> None:
    assert sized().shares == 50


def test_scarce_cash_leaves_room_for_an_opening_gap() -> None:
    assert sized(available_cash=1_040.0).shares == 10
    assert sized(available_cash=1_039.0).shares == 9


def test_the_risk_that_is_left_caps_the_size() -> None:
    assert sized(portfolio_risk=1_900.0).shares == 20
    assert sized(portfolio_risk=2_000.0).shares == 0


def test_a_share_dearer_than_the_limit_buys_none() -> None:
    assert sized(price=5_001.0, stop=4_750.0).shares == 0


def test_a_stop_on_the_price_risks_nothing_because_it_protects_nothing() -> None:
    assert sized(stop=100.0).shares == 0


def test_stop_and_target_stand_on_the_tick() -> None:
    assert stop_price(187.33, 0.05) == 177.96
    assert target_price(187.33, 0.10) == 206.06
    assert stop_price(0.5, 0.05) == 0.475


@given(
    equity=st.floats(0, 1e9),
    price=st.floats(0.01, 1e5),
    stop_loss=st.floats(0.001, 0.999),
    cash=st.floats(-1e6, 1e9),
    risk=st.floats(0, 1e8),
    max_size=st.floats(0.001, 1),
    max_risk=st.floats(0.001, 1),
)
def test_no_size_passes_a_limit(
    equity: float,
    price: float,
    stop_loss: float,
    cash: float,
    risk: float,
    max_size: float,
    max_risk: float,
) -> None:
    stop = stop_price(price, stop_loss)
    shares = sized(
        equity=equity,
        price=price,
        stop=stop,
        available_cash=cash,
        portfolio_risk=risk,
        max_position_size=max_size,
        max_portfolio_risk=max_risk,
    ).shares

    if shares:
        assert rules.position_size(0.0, shares * price, equity, max_size).passed
        assert rules.buying_power(shares * price * (1 + OPEN_GAP), cash, price * 1.04).passed
        assert rules.portfolio_risk(risk, shares * (price - stop), equity, max_risk).passed


def shares_of(method: SizingMethod, plan: dict[str, Any] | None = None, **changes: Any) -> float:
    figures: dict[str, Any] = {
        "equity": 100_000.0,
        "price": 100.0,
        "stop": 95.0,
        "conviction": 0.5,
        "volatility": 0.4,
        "true_range": 2.0,
        "record": TradeRecord(20, 20, 4_000.0, 2_000.0),
        **changes,
    }
    return wanted(SizingPlan(method=method, **(plan or {})), **figures).shares


def test_each_method_wants_what_its_arithmetic_says() -> None:
    assert shares_of(SizingMethod.FIXED_FRACTION, {"fraction": 0.03}) == 30.0
    # 500 dollars at risk, 5 a share.
    assert shares_of(SizingMethod.RISK_PER_TRADE, {"risk_per_trade": 0.005}) == 100.0
    # 2,000 dollars of annual deviation, 40 a share.
    assert shares_of(SizingMethod.VOLATILITY_TARGET, {"volatility_target": 0.02}) == 50.0
    # 500 dollars at risk, two ranges of 2 dollars a share.
    assert shares_of(SizingMethod.ATR, {"risk_per_trade": 0.005, "atr_multiple": 2.0}) == 125.0
    # Half of a chance of a half at two to one: a quarter bet, halved.
    assert shares_of(SizingMethod.KELLY, {"kelly_share": 0.5, "kelly_cap": 1.0}) == 125.0


def test_kelly_never_bets_more_than_its_cap() -> None:
    assert shares_of(SizingMethod.KELLY, {"kelly_share": 1.0, "kelly_cap": 0.05}) == 50.0


def test_conviction_scales_where_that_is_asked_for() -> None:
    assert shares_of(SizingMethod.FIXED_FRACTION, {"scales_by_conviction": True}) == 500.0
    assert shares_of(SizingMethod.FIXED_FRACTION) == 1_000.0


@pytest.mark.parametrize(
    ("method", "lacking"),
    [
        (SizingMethod.RISK_PER_TRADE, {"stop": 100.0}),
        (SizingMethod.VOLATILITY_TARGET, {"volatility": None}),
        (SizingMethod.VOLATILITY_TARGET, {"volatility": 0.0}),
        (SizingMethod.ATR, {"true_range": None}),
        (SizingMethod.ATR, {"true_range": 0.0}),
        (SizingMethod.KELLY, {"record": TradeRecord()}),
        (SizingMethod.FIXED_FRACTION, {"equity": -5.0}),
        # More than a float can count.
        (SizingMethod.VOLATILITY_TARGET, {"volatility": 1e-300, "price": 1e-6, "equity": 1e9}),
    ],
)
def test_a_method_that_lacks_its_figures_wants_nothing(
    method: SizingMethod, lacking: dict[str, Any]
) -> None:
    assert shares_of(method, **lacking) == 0.0


@pytest.mark.parametrize(
    ("record", "bet"),
    [
        (TradeRecord(20, 20, 4_000.0, 2_000.0), 0.25),
        (TradeRecord(10, 30, 1_000.0, 3_000.0), 0.0),
        (TradeRecord(40, 0, 1_000.0, 0.0), 1.0),
        (TradeRecord(0, 40, 0.0, 1_000.0), 0.0),
        (TradeRecord(20, 9, 4_000.0, 100.0), 0.0),
        (TradeRecord(15, 15, 3_000.0, 0.0), 0.5),
    ],
)
def test_the_kelly_bet_needs_odds_that_are_known_and_good(record: TradeRecord, bet: float) -> None:
    assert kelly(record) == pytest.approx(bet)
    assert LEAST_TRADES == 30


def test_volatility_is_the_sample_deviation_scaled_to_a_year() -> None:
    returns = [0.01, -0.02, 0.015, 0.0, -0.005]

    assert annual_volatility(returns, 252) == pytest.approx(np.std(returns, ddof=1) * 252**0.5)
    assert annual_volatility([0.01], 252) is None


def test_a_true_range_counts_the_gap_from_the_last_close() -> None:
    highs, lows, closes = [10.0, 12.0, 9.0], [9.0, 11.0, 8.0], [9.5, 11.5, 8.5]

    # From 9.5 up to 12 is 2.5; from 11.5 down to 8 is 3.5.
    assert average_true_range(highs, lows, closes, 2) == 3.0
    assert average_true_range(highs, lows, closes, 3) is None


@pytest.mark.parametrize(
    "wrong",
    [{"fraction": 0.0}, {"risk_per_trade": 5.0}, {"kelly_cap": 1.1}, {"atr_bars": 1}, {"atr_multiple": 0.0}],
)  # fmt: skip
def test_an_absurd_plan_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        SizingPlan(**wrong)


def test_no_method_passes_a_limit() -> None:
    assert sized(by_method=10.7).shares == 10
    assert sized(by_method=1e6).shares == 50
    assert sized(by_method=0.0).shares == 0
