"""The arithmetic that rules share: grids, whole shares and ticks."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.arithmetic import quantised, to_tick, whole_shares


@pytest.mark.parametrize(
    ("price", "tick"),
    [
        (187.345, 187.35),
        (187.344999, 187.34),
        (1.005, 1.01),
        (1.0, 1.0),
        (0.99999, 1.0),
        (0.12345, 0.1235),
        (0.00004, 0.0),
    ],
)
def test_prices_stand_on_the_cent_and_below_a_dollar_on_its_hundredth(
    price: float, tick: float
) -> None:
    assert to_tick(price) == tick


@given(micros=st.integers(1_000_000, 10**13))
def test_a_tick_is_what_exact_decimals_round_to(micros: int) -> None:
    exact = Decimal(micros).scaleb(-6)

    assert Decimal(repr(to_tick(float(exact)))) == exact.quantize(Decimal("0.01"), ROUND_HALF_UP)


@given(cents=st.integers(1, 10**9))
def test_a_price_on_the_tick_stays(cents: int) -> None:
    price = cents / 100

    assert to_tick(price) == price


@pytest.mark.parametrize(
    ("shares", "whole"), [(9.9999999999, 10), (9.999, 9), (0.0, 0), (-3.0, 0), (49.0, 49)]
)
def test_noise_costs_no_share_and_nothing_is_sold_short_by_it(shares: float, whole: int) -> None:
    assert whole_shares(shares) == whole


@given(micros=st.integers(-(10**15), 10**15))
def test_what_lies_on_the_grid_stays_there(micros: int) -> None:
    assert quantised(micros / 1_000_000) == micros / 1_000_000


@given(value=st.floats(-1e9, 1e9))
def test_quantising_twice_is_quantising_once_and_moves_half_a_step_at_most(value: float) -> None:
    once = quantised(value)

    assert quantised(once) == once
    assert abs(once - value) <= 0.5e-6 + 1e-6 * abs(value) * 1e-9
