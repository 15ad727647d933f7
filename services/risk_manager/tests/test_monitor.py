"""What the portfolio could lose, checked against NumPy and pandas."""

from __future__ import annotations

from math import log

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # its stubs are a package of their own
import pytest

from risk_manager.limits import drawdown_of
from risk_manager.monitor import (
    FALLS,
    RISES,
    RiskFigures,
    beta_of,
    historical_cvar,
    historical_var,
    parametric_var,
    quantile,
    risk_figures,
)
from risk_manager.testing import some_closes

VALUES = {"AAPL": 5_000.0, "MSFT": -2_000.0, "XOM": 1_000.0}
CLOSES = {s: some_closes(i + 1, count=61) for i, s in enumerate((*VALUES, "SPY"))}


def measured(values: dict[str, float] = VALUES, **changes: object) -> RiskFigures:
    given: dict[str, object] = {
        "equity": 10_000.0,
        "peak_equity": 12_500.0,
        "benchmark": "SPY",
        "returns": 60,
        "least_returns": 30,
        **changes,
    }
    closes = given.pop("closes", CLOSES)
    return risk_figures(values, closes, **given)  # type: ignore[arg-type]  # as the test gives them


def frame() -> pd.DataFrame:
    return pd.DataFrame({s: pd.Series(c) for s, c in CLOSES.items()})


def test_losses_agree_with_numpy() -> None:
    prices = frame()[list(VALUES)]
    pnl = (prices.pct_change().dropna() * pd.Series(VALUES)).sum(axis=1).to_numpy()
    edge = np.quantile(pnl, 0.05)

    losses = measured().losses

    assert losses is not None
    assert (losses.confidence, losses.observations) == (0.95, 60)
    assert losses.historical_var == pytest.approx(-edge)
    assert losses.historical_cvar == pytest.approx(-pnl[pnl <= edge].mean())
    assert losses.parametric_var == pytest.approx(1.6448536269514722 * pnl.std(ddof=1) - pnl.mean())
    assert losses.historical_cvar >= losses.historical_var > 0


def test_losses_betas_and_drawdowns_agree_with_empyrical() -> None:
    # Imported here: it takes seconds, which every process that collects tests would pay.
    import empyrical  # type: ignore[import-untyped]  # it ships no types

    prices = frame()
    pnl = (prices[list(VALUES)].pct_change().dropna() * pd.Series(VALUES)).sum(axis=1)
    moves = prices.map(log).diff().dropna()
    found = measured()

    assert found.losses is not None
    assert found.losses.historical_var == pytest.approx(-empyrical.value_at_risk(pnl), rel=1e-9)
    assert found.losses.historical_cvar == pytest.approx(
        -empyrical.conditional_value_at_risk(pnl), rel=1e-9
    )
    for symbol, beta in found.betas.items():
        assert beta == pytest.approx(empyrical.beta(moves[symbol], moves["SPY"]), rel=1e-9)
    peak, worst = 0.0, 0.0
    for close in prices["AAPL"]:
        peak = max(peak, close)
        worst = max(worst, drawdown_of(close, peak))
    returns = prices["AAPL"].pct_change().dropna()
    assert worst == pytest.approx(-empyrical.max_drawdown(returns), rel=1e-9)


def test_correlations_and_betas_agree_with_pandas() -> None:
    moves = frame().map(log).diff().dropna()
    found = measured()

    assert set(found.correlations) == {("AAPL", "MSFT"), ("AAPL", "XOM"), ("MSFT", "XOM")}
    for (a, b), value in found.correlations.items():
        assert value == pytest.approx(moves.corr().loc[a, b])
    for symbol, beta in found.betas.items():
        assert beta == pytest.approx(moves.cov().loc[symbol, "SPY"] / moves["SPY"].var())
    assert found.beta_weighted_delta == pytest.approx(
        sum(VALUES[s] * beta for s, beta in found.betas.items())
    )


def test_nothing_owed_is_not_asked_about_rises() -> None:
    found = measured(values={s: abs(v) for s, v in VALUES.items()}).scenarios

    assert {s.change for s in found} == set(FALLS)


def test_gaps_hit_everything_at_once_and_each_holding_alone() -> None:
    scenarios = {(s.symbol, s.change): s for s in measured().scenarios}

    assert (FALLS, RISES) == ((-0.10, -0.20), (0.10, 0.20))
    # MSFT is owed: it loses by rising, and all at once are asked about rises as well.
    assert len(scenarios) == 4 + 2 * len(VALUES)
    assert scenarios[None, -0.2].pnl == pytest.approx(-800.0)
    assert scenarios[None, 0.2].pnl == pytest.approx(800.0)
    assert scenarios["MSFT", 0.2].pnl == pytest.approx(-400.0)
    assert ("MSFT", -0.2) not in scenarios
    crash = scenarios["AAPL", -0.2]
    assert crash.pnl == pytest.approx(-1_000.0)
    assert crash.equity_after == pytest.approx(9_000.0)
    assert crash.drawdown_after == pytest.approx(3_500 / 12_500)


def test_what_has_too_few_bars_is_named_and_not_guessed() -> None:
    short = {**CLOSES, "XOM": some_closes(9, count=20)}
    found = measured(closes=short)
    nothing = measured(closes={})

    assert found.uncovered == ("XOM",)
    assert set(found.correlations) == {("AAPL", "MSFT")}
    assert found.beta_weighted_delta is None
    assert nothing.losses is None
    assert nothing.uncovered == ("AAPL", "MSFT", "XOM")
    assert len(nothing.scenarios) == 10


def test_an_empty_account_has_nothing_to_lose() -> None:
    found = measured({})

    assert found.losses is None
    assert found.beta_weighted_delta is None
    assert [s.pnl for s in found.scenarios] == [0.0, 0.0]


def test_gains_alone_are_no_loss() -> None:
    assert historical_var([1.0, 2.0, 3.0], 0.95) == 0.0
    assert historical_cvar([1.0, 2.0, 3.0], 0.95) == 0.0
    assert parametric_var([5.0, 5.0], 0.95) == 0.0
    assert parametric_var([-5.0], 0.95) == 5.0
    assert quantile([4.0, 1.0, 3.0, 2.0], 0.5) == 2.5
    assert beta_of([0.1, 0.2], [0.0, 0.0]) is None
