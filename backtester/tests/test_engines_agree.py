"""Do the two engines do the same?"""

import numpy as np
import pytest
from hypothesis import given, settings

from backtester import kernel, reference, risk_rules
from backtester.terms import ENTRY, EXIT, Outcome
from backtester.testing import RULES, STRATEGY, Case, a_case, cases


def both(case: Case) -> tuple[Outcome, Outcome]:
    fast = kernel.simulate(case.history.bars, case.wished.wishes, *case.given)
    return fast, reference.simulate(case.history, case.wished, case.plan, STRATEGY)


def fills(outcome: Outcome) -> list[tuple[float, ...]]:
    """Within one bar symbols do not touch each other; per symbol the order counts."""
    rows = list(zip(*(column.tolist() for column in outcome[2:10]), strict=True))
    return sorted(rows, key=lambda fill: (fill[0], fill[1]))


def assert_same(fast: Outcome, slow: Outcome) -> None:
    assert fills(fast) == fills(slow)
    assert fast.cash == slow.cash
    assert fast.equity.tolist() == slow.equity.tolist()
    assert fast.refused.tolist() == slow.refused.tolist()
    assert fast[-5:] == slow[-5:]


@given(cases())
def test_the_fast_engine_trades_like_the_objects_that_trade_live(case: Case) -> None:
    assert_same(*both(case))


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_binds_alike_in_both_engines(rule: str) -> None:
    for seed in range(8):
        assert_same(*both(a_case(seed, [rule])))


def test_turns_are_entered_given_up_and_age_out_alike_in_both_engines() -> None:
    refused = np.zeros(len(risk_rules.CODES), np.int64)
    turned = 0
    for seed in range(24):
        fast, slow = both(a_case(seed, turns=True))
        assert_same(fast, slow)
        refused += fast.refused
        for column in np.unique(fast.fill_column):
            mine = (fast.fill_column == column) & (fast.fill_kind <= EXIT)
            kind, side = fast.fill_kind[mine], fast.fill_side[mine]
            turned += int(
                np.sum((kind[1:] == ENTRY) & (kind[:-1] == EXIT) & (side[1:] == side[:-1]))
            )

    assert turned > 10
    assert refused[risk_rules.SUPERSEDED] > 0
    assert refused[risk_rules.SIGNAL_AGE] > 0


@pytest.mark.prove
@pytest.mark.timeout(3_600)
@settings(max_examples=2_000)
@given(cases())
def test_the_fast_engine_trades_like_the_objects_that_trade_live_in_2_000_markets(
    case: Case,
) -> None:
    assert_same(*both(case))
