"""Are the wishes of a bar decided in the order in which the risk manager takes them?"""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from backtester.ranking import ranked
from backtester.terms import FLAT, LONG, SHORT
from backtester.wishing import in_order


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 70))
def test_wishes_sorted_bar_by_bar_stand_as_those_sorted_all_at_once(
    seed: int, rows: int, symbols: int
) -> None:
    rng = np.random.default_rng(seed)
    row, column = np.nonzero(rng.random((rows, symbols)) < rng.random())
    direction = rng.choice([LONG, FLAT, SHORT], len(row))
    # Few values, so that many are equally convinced.
    conviction = np.round(rng.random(len(row)), 1)

    order = ranked(row, direction, conviction)

    expected = in_order(row, column, direction, conviction, "", "").wishes
    found = (row[order], column[order], direction[order], conviction[order])
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
