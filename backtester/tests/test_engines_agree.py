"""Do the two engines do the same?"""

import pytest
from hypothesis import given, settings

from backtester import kernel, reference
from backtester.kernel import Outcome
from backtester.testing import Case, cases


def both(case: Case) -> tuple[Outcome, Outcome]:
    terms = case.plan.terms(has_gaps=case.history.has_gaps)
    days = case.history.days(case.plan.fees)
    fast = kernel.simulate(case.history.bars, case.wished.wishes, days, terms)
    return fast, reference.simulate(case.history, case.wished, terms, days)


def fills(outcome: Outcome) -> list[tuple[float, ...]]:
    """Within one bar symbols do not touch each other; per symbol the order counts."""
    rows = list(zip(*(column.tolist() for column in outcome[2:9]), strict=True))
    return sorted(rows, key=lambda fill: (fill[0], fill[1]))


def assert_same(fast: Outcome, slow: Outcome) -> None:
    assert fills(fast) == fills(slow)
    assert fast.cash == slow.cash
    assert fast.equity.tolist() == slow.equity.tolist()
    assert fast.refused.tolist() == slow.refused.tolist()
    assert fast[-3:] == slow[-3:]


@given(cases())
def test_the_fast_engine_trades_like_the_objects_that_trade_live(case: Case) -> None:
    assert_same(*both(case))


@pytest.mark.prove
@settings(max_examples=2_000)
@given(cases())
def test_the_fast_engine_trades_like_the_objects_that_trade_live_in_2_000_markets(
    case: Case,
) -> None:
    assert_same(*both(case))
