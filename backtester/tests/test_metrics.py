"""Are the figures what their definitions say, by hand and by their neighbours' formulas?"""

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
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


@given(curves)
def test_definitions_agree_with_those_of_empyrical(curve: np.ndarray) -> None:
    """Its formulas, written out: daily periods, no riskless rate, a required return of zero."""
    returns = metrics.daily_returns(100.0, curve)
    wealth = np.concatenate([[1.0], np.cumprod(1.0 + returns)])
    years = len(returns) / 252
    downside = np.sqrt(np.mean(np.square(np.clip(returns, None, 0.0)))) * np.sqrt(252)

    assert metrics.cagr(100.0, curve[-1], len(curve)) == pytest.approx(
        wealth[-1] ** (1 / years) - 1, rel=1e-9
    )
    assert metrics.max_drawdown(100.0, curve) == pytest.approx(
        -np.min(wealth / np.maximum.accumulate(wealth) - 1.0), abs=1e-12
    )
    if np.std(returns) > 1e-6:
        assert metrics.sharpe(returns) == pytest.approx(
            np.mean(returns) / np.std(returns, ddof=1) * np.sqrt(252), rel=1e-9
        )
    if downside > 1e-6:
        assert metrics.sortino(returns) == pytest.approx(
            np.mean(returns) * 252 / downside, rel=1e-9
        )
