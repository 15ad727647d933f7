"""The edges of the rules that no trading day reaches, found by breaking the rules one operator at a time."""

from __future__ import annotations

from datetime import timedelta
from math import inf, log, nan
from typing import Any

import numpy as np
import pytest

from risk_manager import limits as rules
from risk_manager.limits import Limits
from risk_manager.sizing import SizingPlan
from risk_manager.testing import NOW, some_closes, some_limits
from shared.domain.arithmetic import NOISE
from shared.domain.errors import InvalidInput
from shared.domain.orders import OrderClass, Side

MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    "edge",
    [
        {"cool_down_bars": 0},
        {"repeat_window_s": 3_600},
        {"max_orders_per_minute": 1_000},
        {"correlation_bars": 14, "sizing": SizingPlan(atr_bars=14)},
        {"max_order_value": 1.0},
        {"max_gross_exposure": 4.0},
        {"max_daily_trades": 1},
        {"max_positions": 1},
    ],
)
def test_a_limit_may_stand_at_its_own_edge(edge: dict[str, Any]) -> None:
    assert isinstance(some_limits(**edge), Limits)


@pytest.mark.parametrize(
    "wrong",
    [
        {"stop_loss": 0.0},
        {"stop_loss": 1.0},
        {"take_profit": 0.0},
        {"correlation_bars": 13, "sizing": SizingPlan(atr_bars=14)},
    ],
)
def test_a_limit_may_not_stand_beyond_it(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        some_limits(**wrong)


def test_a_change_takes_whole_numbers_for_counts_and_any_for_fractions() -> None:
    changed = some_limits().changed_by({"max_positions": 7.0, "max_position_size": 0.25})

    assert (changed.max_positions, changed.max_position_size) == (7, 0.25)
    assert isinstance(changed.max_positions, int)


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_positions", 1.5), ("max_order_value", nan), ("max_positions", inf), ("max_positions", True)],
)  # fmt: skip
def test_a_change_that_is_no_such_number_is_refused(name: str, value: float) -> None:
    with pytest.raises(InvalidInput, match="must be a"):
        some_limits().changed_by({name: value})


def test_two_returns_are_the_fewest_to_compare() -> None:
    assert some_limits(correlation_bars=2, sizing=SizingPlan(atr_bars=2)).least_common_returns == 2
    assert some_limits(correlation_bars=20).least_common_returns == 10


def test_selling_is_measured_by_what_is_held_and_a_short_position_is_nothing_to_sell() -> None:
    assert not rules.short_not_allowed(0.7, 0.5).passed
    assert rules.short_not_allowed(0.5, 0.5).limit == 0.5
    assert rules.short_not_allowed(0.0, -5.0).limit == 0.0


def test_rules_without_room_say_so_with_a_limit_of_zero() -> None:
    checks = [
        rules.no_position(1.0),
        rules.entry_during_exit(0.0),
        rules.unknown_order(0),
        rules.already_held(0.0),
        rules.unpriced_position([]),
        rules.whole_shares_only(3.0),
    ]

    assert [check.limit for check in checks] == [0.0] * len(checks)
    assert all(check.passed for check in checks)


def test_half_a_window_is_no_window() -> None:
    both = rules.market_hours(NOW, NOW + MINUTE)

    assert (both.passed, both.limit, both.usage) == (True, 1.0, 1.0)
    assert rules.market_hours(None, None).usage == 0.0
    assert "no session" in rules.market_hours(NOW, None).text


def test_a_missing_price_is_one_bar_older_than_any_may_be() -> None:
    assert rules.stale_price(None, MINUTE, 2).usage == 3.0


def test_small_accounts_are_measured_like_large_ones() -> None:
    assert rules.drawdown_of(0.25, 0.5) == 0.5
    assert rules.loss_of(0.25, 0.5) == 0.5
    assert rules.position_size(0.1, 0.1, 0.5, 1.0).usage == 0.4
    assert rules.portfolio_risk(0.1, 0.1, 0.5, 1.0).usage == 0.4
    assert rules.gross_exposure(0.1, 0.1, 0.5, 1.0).usage == 0.4
    assert rules.price_collar(0.6, 0.5, 1.0).usage == pytest.approx(0.2)
    assert rules.fat_finger(0.1, 0.5, 1.0).usage == 0.2


@pytest.mark.parametrize("rule", [rules.position_size, rules.portfolio_risk, rules.gross_exposure])
def test_without_equity_all_of_a_limit_and_more_is_used(rule: Any) -> None:
    assert rule(0.0, 0.0, 0.0, 0.25).usage == 1.25


def test_a_strategy_without_a_bucket_uses_nothing_of_all() -> None:
    check = rules.strategy_capital("ma", 5.0, 5.0, 1.0, None)

    assert (check.limit, check.usage) == (1.0, 0.0)


def test_a_rest_after_a_stop_is_told_in_bars() -> None:
    assert rules.cool_down(None, MINUTE, 2).text.startswith("no stop was hit lately")
    assert rules.cool_down(MINUTE, MINUTE, 2).text.startswith("a stop was hit 1.00 bars ago")


def test_correlations_agree_with_numpy() -> None:
    xs, ys = [0.1, 0.4, -0.2, 0.3], [0.5, 0.1, 0.2, 0.9]

    assert rules.correlation_of(xs, ys) == pytest.approx(np.corrcoef(xs, ys)[0, 1])
    assert rules.correlation_of(xs, [0.0] * 4) == 0.0
    assert rules.correlation_of([0.0] * 4, ys) == 0.0
    assert rules.correlation_of(xs, [-2 * x for x in xs]) == -1.0


def test_returns_are_logarithms_of_what_followed_over_what_was() -> None:
    assert rules.log_returns({1: 100.0, 2: 110.0, 3: 99.0}, (1, 2, 3)) == pytest.approx(
        [log(1.1), log(0.9)]
    )


def test_the_first_of_two_alike_is_named_and_one_that_never_moves_too() -> None:
    mine = some_closes(1)
    twins = rules.correlation(mine, {"FIRST": mine, "SECOND": mine}, some_limits())
    flat = rules.correlation(mine, {"FLAT": dict.fromkeys(mine, 100.0)}, some_limits())

    assert twins.text.startswith("1.000 with FIRST")
    assert flat.text.startswith("0.000 with FLAT")


def test_as_many_common_returns_as_are_needed_are_enough() -> None:
    # Eleven closes are ten returns, half of the twenty asked for.
    check = rules.correlation(
        some_closes(1, count=11), {"OTHER": some_closes(2, count=11)}, some_limits()
    )

    assert check.unit == "absolute correlation"


def test_a_coefficient_is_never_beyond_one_for_rounding() -> None:
    moves = np.random.default_rng(7).normal(0.0, 0.01, (50, 20))

    for ours in moves.tolist():
        assert -1.0 <= rules.correlation_of(ours, [-3.0 * move for move in ours]) < -0.999
        assert 0.999 < rules.correlation_of(ours, [3.0 * move for move in ours]) <= 1.0


def test_what_is_within_the_noise_of_nothing_is_nothing() -> None:
    assert not rules.no_position(NOISE).passed
    assert rules.entry_during_exit(NOISE).passed
    assert rules.already_held(NOISE).passed
    assert rules.whole_shares_only(NOISE).passed
    assert not rules.wash_trade(Side.BUY, 0.0, [NOISE]).passed


@pytest.mark.parametrize("order_class", [None, *OrderClass])
def test_no_leg_that_opens_is_allowed_and_each_such_order_counts_one(
    order_class: OrderClass | None,
) -> None:
    check = rules.opening_legs(order_class)
    opens = order_class in (OrderClass.BRACKET, OrderClass.OTO)

    assert (check.passed, check.limit, check.usage) == (not opens, 0.0, float(opens))


def test_half_a_bracket_uses_nothing_of_the_distance_it_needs() -> None:
    for stop, target in ((95.0, None), (None, 110.0)):
        check = rules.bracket_prices(100.0, stop, target)

        assert (check.passed, check.limit, check.usage) == (False, 0.01, 0.0)
