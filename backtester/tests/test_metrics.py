"""Are the figures what their definitions say, by hand and by others' libraries?

Theirs are imported where they are asked: that takes seconds, which every process that collects tests would pay.
"""

from math import sqrt

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # its stubs are a package of their own
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from backtester import metrics

# 100 -> 110 -> 99 -> 99 -> 108.9: returns 10 %, -10 %, 0, 10 %.
CURVE = np.array([110.0, 99.0, 99.0, 108.9])
RETURNS = metrics.daily_returns(100.0, CURVE)
curves = arrays(np.float64, st.integers(3, 60), elements=st.floats(50.0, 200.0))


def test_returns_go_from_one_days_close_to_the_next_and_the_first_from_the_cash() -> None:
    assert pytest.approx([0.1, -0.1, 0.0, 0.1]) == RETURNS


def test_the_total_return_is_the_gain_over_the_cash() -> None:
    assert metrics.total_return(100.0, 108.9) == pytest.approx(0.089)


def test_the_yearly_return_compounds_to_the_total() -> None:
    assert metrics.cagr(100.0, 121.0, 504) == pytest.approx(0.1)
    assert metrics.cagr(100.0, 110.0, 252) == pytest.approx(0.1)


def test_a_lost_account_has_no_yearly_return() -> None:
    assert metrics.cagr(100.0, 0.0, 252) is None
    assert metrics.cagr(100.0, -5.0, 252) is None


def test_volatility_is_the_yearly_standard_deviation_of_a_sample() -> None:
    # mean 0.025, squared distances 0.005625, 0.015625, 0.000625, 0.005625; divided by 3
    assert metrics.volatility(RETURNS) == pytest.approx(sqrt(0.0275 / 3) * sqrt(252))


def test_sharpe_is_mean_over_spread() -> None:
    assert metrics.sharpe(RETURNS) == pytest.approx(0.025 / sqrt(0.0275 / 3) * sqrt(252))


def test_sortino_counts_every_day_and_only_losses() -> None:
    assert metrics.sortino(RETURNS) == pytest.approx(0.025 / sqrt(0.01 / 4) * sqrt(252))


def test_a_curve_that_never_moves_has_no_sharpe_and_no_sortino() -> None:
    flat = metrics.daily_returns(100.0, np.full(5, 100.0))

    assert metrics.sharpe(flat) is None
    assert metrics.sortino(flat) is None


def test_the_deepest_fall_is_measured_from_the_running_peak() -> None:
    assert metrics.max_drawdown(100.0, CURVE) == pytest.approx(0.1)


def test_a_loss_from_the_first_bar_on_counts_against_the_cash() -> None:
    assert metrics.max_drawdown(100.0, np.array([80.0, 90.0])) == pytest.approx(0.2)


def test_calmar_is_the_yearly_return_over_the_deepest_fall() -> None:
    assert metrics.calmar(0.2, 0.1) == pytest.approx(2.0)
    assert metrics.calmar(0.2, 0.0) is None
    assert metrics.calmar(None, 0.1) is None


def test_figures_of_trades() -> None:
    profits = np.array([30.0, -10.0, 0.0, -5.0])

    assert metrics.win_rate(profits) == 0.25
    assert metrics.profit_factor(profits) == pytest.approx(2.0)
    assert metrics.expectancy(profits) == pytest.approx(3.75)


def test_without_trades_nothing_is_claimed_of_them() -> None:
    none = np.array([])

    assert metrics.win_rate(none) is None
    assert metrics.profit_factor(none) is None
    assert metrics.expectancy(none) is None


def test_exposure_and_turnover() -> None:
    assert metrics.exposure(30, 120) == 0.25
    assert metrics.turnover(400.0, 100.0, 126) == pytest.approx(4.0)


def spread_out(curve: np.ndarray) -> bool:
    """Whether ratios are more than the rounding of a constant."""
    return float(np.std(metrics.daily_returns(100.0, curve))) > 1e-6


@settings(max_examples=60)
@given(curves.filter(spread_out))
def test_definitions_agree_with_empyricals(curve: np.ndarray) -> None:
    """Daily periods, no riskless rate, a required return of zero."""
    import empyrical  # type: ignore[import-untyped]  # it ships no types

    returns = metrics.daily_returns(100.0, curve)
    deepest = metrics.max_drawdown(100.0, curve)
    yearly = metrics.cagr(100.0, curve[-1], len(curve))

    agree(metrics.total_return(100.0, curve[-1]), empyrical.cum_returns_final(returns))
    agree(yearly, empyrical.annual_return(returns))
    agree(metrics.volatility(returns), empyrical.annual_volatility(returns))
    agree(metrics.sharpe(returns), empyrical.sharpe_ratio(returns))
    agree(deepest, -empyrical.max_drawdown(returns))
    if np.any(returns < -1e-6):
        agree(metrics.sortino(returns), empyrical.sortino_ratio(returns))
        agree(metrics.calmar(yearly, deepest), empyrical.calmar_ratio(returns))


@settings(max_examples=60)
@given(curves.filter(spread_out))
def test_definitions_agree_with_quantstats(curve: np.ndarray) -> None:
    """All but the yearly return and what is made of it: theirs counts calendar days."""
    import quantstats

    returns = metrics.daily_returns(100.0, curve)
    days = pd.bdate_range("2020-01-01", periods=len(curve))
    series = pd.Series(returns, index=days)

    agree(metrics.total_return(100.0, curve[-1]), quantstats.stats.comp(series))
    agree(metrics.volatility(returns), quantstats.stats.volatility(series))
    agree(metrics.sharpe(returns), quantstats.stats.sharpe(series))
    agree(metrics.max_drawdown(100.0, curve), -quantstats.stats.max_drawdown(series))
    if np.any(returns < -1e-6):
        agree(metrics.sortino(returns), quantstats.stats.sortino(series))


@settings(max_examples=30)
@given(arrays(np.float64, st.integers(2, 40), elements=st.sampled_from([-30.0, -7.0, 4.0, 11.0])))
def test_figures_of_trades_agree_with_quantstats(profits: np.ndarray) -> None:
    """Its figures of periods, with one trade in each."""
    import quantstats

    series = pd.Series(profits / 1_000.0, index=pd.bdate_range("2020-01-01", periods=len(profits)))

    agree(metrics.win_rate(profits), quantstats.stats.win_rate(series))
    if (profits < 0).any() and (profits > 0).any():
        agree(metrics.profit_factor(profits), quantstats.stats.profit_factor(series))  # type: ignore[no-untyped-call]


def agree(ours: float | None, theirs: float) -> None:
    assert ours == pytest.approx(float(theirs), rel=1e-9, abs=1e-12)
