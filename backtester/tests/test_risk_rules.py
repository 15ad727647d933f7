"""Do the compiled forms of the risk manager's rules answer as the rules themselves?"""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from backtester import kernel, risk_rules
from backtester.plan import DEFAULT_LIMITS
from risk_manager import limits
from risk_manager.sizing import size
from shared.domain.arithmetic import quantised, whole_shares

money = st.integers(0, 10**13).map(lambda micros: micros / 1e6)
price = st.integers(1_000, 10**10).map(lambda micros: micros / 1e6)
fraction = st.sampled_from([0.001, 0.02, 0.05, 0.333, 1.0])


@given(money, price, price, money, money, fraction, fraction)
def test_an_entry_is_as_large_as_the_risk_manager_makes_it(
    equity: float,
    price: float,
    stop: float,
    cash: float,
    risk: float,
    max_size: float,
    max_risk: float,
) -> None:
    theirs = size(
        equity=equity,
        price=price,
        stop=stop,
        available_cash=cash,
        portfolio_risk=risk,
        max_position_size=max_size,
        max_portfolio_risk=max_risk,
    )
    ours = (
        risk_rules.shares_by_size(equity, price, max_size),
        risk_rules.shares_by_cash(cash, price),
        risk_rules.shares_by_risk(equity, risk, price, stop, max_risk),
    )

    assert ours == (theirs.by_position_size, theirs.by_buying_power, theirs.by_portfolio_risk)
    assert risk_rules.whole(min(ours)) == theirs.shares


@given(st.floats(-10, 1e9))
def test_shares_are_cut_to_whole_ones_alike(shares: float) -> None:
    assert risk_rules.whole(shares) == whole_shares(shares)


@given(price, price, price)
def test_brackets_fit_alike(price: float, stop: float, target: float) -> None:
    assert (
        risk_rules.fits_bracket(price, stop, target)
        == limits.bracket_prices(price, stop, target).passed
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
    rules = DEFAULT_LIMITS.__class__(
        **{
            **{n: getattr(DEFAULT_LIMITS, n) for n in DEFAULT_LIMITS.__slots__},
            "correlation_bars": count,
            "max_correlation": float(rng.uniform(0.1, 1.0)),
        }
    )

    def closes(column: int) -> dict[int, float]:
        present = np.flatnonzero(~np.isnan(close[:, column]))[-(count + 1) :]
        return {int(row): float(close[row, column]) for row in present}

    refused = not limits.correlation(closes(0), {"B": closes(1)}, rules).passed
    scratch = np.empty((2, count + 1))

    assert refused == risk_rules.are_alike(
        close, rows - 1, 0, 1, count, rules.max_correlation, scratch
    )


@given(st.floats(0, 1e9))
def test_micros_are_the_grid_of_the_rules(amount: float) -> None:
    assert kernel.micros(amount) / kernel.MICROS == quantised(amount)
