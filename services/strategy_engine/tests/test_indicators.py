"""Averages and crossings: exact, whatever the start, the neighbours and the gaps."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.money import MAX_PRICE, MICROS, from_micros
from strategy_engine.indicators import MAX_WINDOW, crossed_above, crossed_below, sma
from strategy_engine.panels import Floats
from strategy_engine.parameters import InvalidParameter

HIGHEST = int(MAX_PRICE) * MICROS
micros = st.integers(1, HIGHEST) | st.integers(99_000_000, 101_000_000)
# Many equal prices, so that averages meet exactly.
coarse = st.integers(1, 4).map(lambda n: n * MICROS)
series = st.lists(micros, min_size=1, max_size=40) | st.lists(coarse, min_size=1, max_size=40)
gappy = st.lists(st.none() | coarse, min_size=1, max_size=40)


def column(values: list[int | None] | list[int]) -> Floats:
    return np.asarray([np.nan if v is None else v / MICROS for v in values]).reshape(-1, 1)


@given(values=series, window=st.integers(1, 12))
def test_sma_is_the_float_nearest_to_the_true_mean(values: list[int], window: int) -> None:
    means = sma(column(values), window)[:, 0]

    for t, mean in enumerate(means.tolist()):
        if t < window - 1:
            assert np.isnan(mean)
        else:
            assert mean == float(Fraction(sum(values[t - window + 1 : t + 1]), window * MICROS))


@given(values=series, window=st.integers(1, 12), dropped=st.integers(0, 30))
def test_sma_does_not_depend_on_where_the_series_began(
    values: list[int], window: int, dropped: int
) -> None:
    whole = sma(column(values), window)[dropped:][window - 1 :]
    late = sma(column(values)[dropped:], window)[window - 1 :]

    assert np.array_equal(whole, late)


def test_sma_is_exact_where_the_running_sum_has_overflowed() -> None:
    # A price that needs all the bits there are; a float sum of so many would have dropped some.
    highest = from_micros(HIGHEST - 1)
    values = np.full((1_000_000, 1), float(highest))

    assert sma(values, MAX_WINDOW)[-1, 0] == float(highest)


@given(values=gappy, window=st.integers(1, 6))
def test_windows_count_own_bars_and_not_rows(values: list[int | None], window: int) -> None:
    neighbour = column([7 * MICROS] * len(values))
    panel = np.concatenate([column(values), neighbour], axis=1)
    own = [v for v in values if v is not None]

    means = sma(panel, window)

    present = ~np.isnan(panel[:, 0])
    assert np.isnan(means[~present, 0]).all()
    assert np.array_equal(means[present, 0], sma(column(own), window)[:, 0], equal_nan=True)
    assert np.array_equal(means[:, 1], sma(neighbour, window)[:, 0], equal_nan=True)


@pytest.mark.parametrize("window", [0, -1, MAX_WINDOW + 1])
def test_a_window_out_of_bounds_is_refused(window: int) -> None:
    with pytest.raises(InvalidParameter, match="a window must be 1 to 900 bars"):
        sma(np.ones((3, 1)), window)


@given(price=micros, n=st.integers(1, 80), short=st.integers(1, 30), long=st.integers(1, 60))
def test_a_constant_price_never_crosses_itself(price: int, n: int, short: int, long: int) -> None:
    prices = column([price] * n)
    a, b = sma(prices, short), sma(prices, long)

    assert not crossed_above(a, b).any()
    assert not crossed_below(a, b).any()


def obvious_crossings(a: list[int | None], b: list[int | None]) -> list[bool]:
    """Row by row in plain Python: rows with neither value are passed over."""
    found, before = [], None
    for x, y in zip(a, b, strict=True):
        if x is None and y is None:
            found.append(False)
            continue
        now = None if x is None or y is None else (x > y)
        found.append(now is True and before is False)
        before = now
    return found


@given(pairs=st.lists(st.tuples(st.none() | coarse, st.none() | coarse), min_size=1, max_size=30))
def test_a_crossing_needs_both_values_on_the_bar_before(
    pairs: list[tuple[int | None, int | None]],
) -> None:
    a, b = [x for x, _ in pairs], [y for _, y in pairs]

    above = crossed_above(column(a), column(b))[:, 0].tolist()

    assert above == obvious_crossings(a, b)
    assert crossed_below(column(b), column(a))[:, 0].tolist() == above


def test_touching_is_not_crossing_and_leaving_again_is() -> None:
    fast, slow = column([1, 2, 2, 3, 2, 1]), column([2, 2, 2, 2, 2, 2])

    assert crossed_above(fast, slow)[:, 0].tolist() == [False, False, False, True, False, False]
    assert crossed_below(fast, slow)[:, 0].tolist() == [False, False, False, False, False, True]
