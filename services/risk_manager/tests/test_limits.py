"""Each rule at its edge, with the figures it shows."""

from __future__ import annotations

from datetime import datetime, timedelta
from inspect import getmembers, isfunction
from math import exp
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk_manager import limits as rules
from risk_manager.limits import BOUNDS, Code
from risk_manager.testing import NEXT_OPEN, NOW, some_closes, some_limits
from shared.config import Settings
from shared.domain.decisions import Check, Purpose, TradingMode
from shared.domain.errors import InvalidInput
from shared.domain.orders import Side

MINUTE = timedelta(minutes=1)


def figures(check: Check) -> tuple[str, bool, float, float]:
    return check.code, check.passed, check.limit, check.usage


@pytest.mark.parametrize(
    ("mode", "purpose", "passes"),
    [
        (TradingMode.ACTIVE, Purpose.ENTRY, True),
        (TradingMode.ACTIVE, Purpose.EXIT, True),
        (TradingMode.REDUCING, Purpose.ENTRY, False),
        (TradingMode.REDUCING, Purpose.EXIT, True),
        (TradingMode.HALTED, Purpose.ENTRY, False),
        (TradingMode.HALTED, Purpose.EXIT, False),
    ],
)
def test_reducing_lets_exits_leave_and_halted_nothing(
    mode: TradingMode, purpose: Purpose, passes: bool
) -> None:
    check = rules.mode(mode, purpose)

    assert check.passed is passes
    assert check.code == "MODE"
    assert mode in check.text


def test_a_position_at_its_share_of_equity_passes_and_a_cent_more_does_not() -> None:
    at_limit = rules.position_size(3_000.0, 2_000.0, 100_000.0, 0.05)
    above = rules.position_size(3_000.0, 2_000.01, 100_000.0, 0.05)

    assert figures(at_limit) == (Code.POSITION_SIZE, True, 0.05, 0.05)
    assert not above.passed
    assert above.text == "5000.01 USD is 5.00% of equity 100000.00, at most 5.00%"


def test_an_account_without_equity_may_add_nothing() -> None:
    assert not rules.position_size(0.0, 1.0, 0.0, 1.0).passed
    assert not rules.portfolio_risk(0.0, 0.0, -5.0, 1.0).passed


def test_the_distances_to_all_stops_add_up_against_the_portfolio_risk() -> None:
    at_limit = rules.portfolio_risk(1_500.0, 500.0, 100_000.0, 0.02)
    above = rules.portfolio_risk(1_500.0, 500.01, 100_000.0, 0.02)

    assert figures(at_limit) == (Code.PORTFOLIO_RISK, True, 0.02, 0.02)
    assert not above.passed
    assert above.usage == pytest.approx(0.0200001)


def test_drawdown_is_measured_from_the_peak_and_the_limit_itself_passes() -> None:
    at_limit = rules.drawdown(85_000.0, 100_000.0, 0.15)
    below = rules.drawdown(84_999.0, 100_000.0, 0.15)

    assert figures(at_limit) == (Code.DRAWDOWN, True, 0.15, 0.15)
    assert not below.passed
    assert below.usage == pytest.approx(0.15001)


def test_equity_above_its_peak_is_no_drawdown() -> None:
    assert rules.drawdown_of(101.0, 100.0) == 0.0
    assert rules.drawdown_of(-1.0, 0.0) == 0.0


def test_the_last_entry_of_a_day_passes_and_the_next_does_not() -> None:
    assert figures(rules.daily_trades(50, 50)) == (Code.DAILY_TRADES, True, 50.0, 50.0)
    assert figures(rules.daily_trades(51, 50)) == (Code.DAILY_TRADES, False, 50.0, 51.0)


def test_an_entry_may_cost_what_is_free_and_no_more() -> None:
    assert figures(rules.buying_power(500.0, 500.0, 100.0)) == (
        Code.BUYING_POWER,
        True,
        500.0,
        500.0,
    )
    assert not rules.buying_power(500.01, 500.0, 100.0).passed


def test_a_signal_is_too_old_after_so_many_bars_of_session_time() -> None:
    at_limit = rules.signal_age(2 * MINUTE, MINUTE, 2)
    older = rules.signal_age(2 * MINUTE + timedelta(seconds=1), MINUTE, 2)

    assert figures(at_limit) == (Code.SIGNAL_AGE, True, 2.0, 2.0)
    assert not older.passed


def test_a_price_that_is_old_or_not_there_is_stale() -> None:
    assert rules.stale_price(2 * MINUTE, MINUTE, 2).passed
    assert not rules.stale_price(3 * MINUTE, MINUTE, 2).passed
    missing = rules.stale_price(None, MINUTE, 2)
    assert not missing.passed
    assert missing.text == "there is no price at hand, at most 2 are fresh"


def test_a_position_without_a_price_stops_entries_and_is_named() -> None:
    check = rules.unpriced_position(["NVDA", "TSLA"])

    assert figures(check) == (Code.UNPRICED_POSITION, False, 0.0, 2.0)
    assert "NVDA, TSLA" in check.text
    assert rules.unpriced_position([]).passed


def test_market_hours_say_when_the_order_may_be_sent() -> None:
    check = rules.market_hours(NOW, NEXT_OPEN)

    assert check.passed
    assert NOW.isoformat() in check.text
    assert not rules.market_hours(None, None).passed


def test_selling_more_than_held_would_be_a_short_position() -> None:
    assert rules.short_not_allowed(10.0, 10.0).passed
    assert figures(rules.short_not_allowed(11.0, 10.0)) == (
        Code.SHORT_NOT_ALLOWED,
        False,
        10.0,
        11.0,
    )
    assert not rules.short_not_allowed(1.0, -5.0).passed


def test_buying_more_than_is_owed_would_cross_zero() -> None:
    assert rules.crosses_zero(5.0, 5.0).passed
    assert not rules.crosses_zero(6.0, 5.0).passed


def test_an_exit_needs_something_to_get_out_of() -> None:
    assert not rules.no_position(0.0).passed
    assert rules.no_position(0.5).passed


def test_exits_together_sell_no_more_than_there_is() -> None:
    assert rules.exit_in_progress(10.0, 10.0).passed
    assert not rules.exit_in_progress(20.0, 10.0).passed
    assert not rules.entry_during_exit(1.0).passed
    assert rules.entry_during_exit(0.0).passed


def test_an_order_of_unknown_outcome_blocks_its_symbol() -> None:
    assert rules.unknown_order(0).passed
    assert not rules.unknown_order(1).passed


@pytest.mark.parametrize("committed", [1.0, -1.0])
def test_what_is_held_or_on_order_either_way_fulfils_the_wish_to_hold(committed: float) -> None:
    assert not rules.already_held(committed).passed
    assert rules.already_held(0.0).passed


def test_entries_are_whole_shares() -> None:
    assert rules.whole_shares_only(3.0).passed
    assert not rules.whole_shares_only(3.5).passed


@pytest.mark.parametrize(
    ("stop", "target", "passes"),
    [
        (None, None, True),
        (95.0, 110.0, True),
        (99.99, 100.01, True),
        (99.995, 110.0, False),
        (95.0, 100.0, False),
        (101.0, 110.0, False),
        (95.0, None, False),
        (None, 110.0, False),
    ],
)
def test_a_bracket_has_both_legs_a_cent_or_more_on_their_own_side(
    stop: float | None, target: float | None, passes: bool
) -> None:
    assert rules.bracket_prices(100.0, stop, target).passed is passes


@pytest.mark.parametrize(
    ("stop", "target", "passes"),
    [
        (105.0, 90.0, True),
        (100.01, 99.99, True),
        (100.005, 90.0, False),
        (105.0, 99.995, False),
        (99.0, 90.0, False),
        (105.0, 101.0, False),
        (105.0, 0.01, True),
        (105.0, 0.005, False),
        (105.0, -1.0, False),
        (105.0, None, False),
        (None, 90.0, False),
        (None, None, False),
    ],
)
def test_a_short_bracket_has_its_stop_above_and_its_target_below_and_is_never_bare(
    stop: float | None, target: float | None, passes: bool
) -> None:
    check = rules.bracket_prices(100.0, stop, target, one_is_enough=True, is_short=True)

    assert check.passed is passes
    assert check.limit == 0.01


def test_a_short_brackets_usage_is_its_nearest_leg() -> None:
    assert figures(rules.bracket_prices(100.0, 105.0, 90.0, is_short=True))[2:] == (0.01, 5.0)
    assert figures(rules.bracket_prices(100.0, 105.0, 98.0, is_short=True))[2:] == (0.01, 2.0)
    assert figures(rules.bracket_prices(100.0, 190.0, 4.0, is_short=True))[2:] == (0.01, 4.0)
    assert figures(rules.bracket_prices(100.0, None, 90.0, is_short=True))[2:] == (0.01, 0.0)


def test_shares_are_sold_short_only_where_the_owner_says_so() -> None:
    refused = rules.short_sale(True, False)

    assert figures(refused) == (Code.SHORT_NOT_ALLOWED, False, 0.0, 1.0)
    assert refused.text == "no short position may be opened; RISK_ALLOW_SHORT=true allows it"
    assert figures(rules.short_sale(True, True)) == (Code.SHORT_NOT_ALLOWED, True, 1.0, 1.0)
    assert figures(rules.short_sale(False, False)) == (Code.SHORT_NOT_ALLOWED, True, 0.0, 0.0)


@pytest.mark.parametrize(
    ("account", "share", "usage"),
    [
        (True, True, 2.0),
        (True, False, 1.0),
        (True, None, 1.0),
        (False, True, 1.0),
        (None, True, 1.0),
        (None, None, 0.0),
        (False, False, 0.0),
    ],
)
def test_the_broker_must_say_yes_of_the_account_and_of_the_share(
    account: bool | None, share: bool | None, usage: float
) -> None:
    check = rules.short_availability(account, share)

    assert figures(check) == (Code.SHORT_AVAILABILITY, usage == 2.0, 2.0, usage)
    assert ("not known" in check.text) is (account is None or share is None)


def test_an_entry_that_waits_is_given_up_for_a_newer_wish() -> None:
    assert figures(rules.superseded(True)) == (Code.SUPERSEDED, False, 0.0, 1.0)
    assert figures(rules.superseded(False)) == (Code.SUPERSEDED, True, 0.0, 0.0)


def test_room_for_less_than_a_share_is_a_quantity_of_zero() -> None:
    assert rules.quantity_zero(1.0).passed
    assert not rules.quantity_zero(0.99).passed
    assert rules.quantity_zero(0.5, least=0.000001).passed


def test_twins_correlate_fully_and_their_mirror_image_as_much() -> None:
    closes = some_closes(7)
    mirror = {end: 10_000.0 / close for end, close in closes.items()}

    for other in (closes, mirror):
        check = rules.correlation(closes, {"TWIN": other}, some_limits())
        assert not check.passed
        assert check.usage == pytest.approx(1.0)
        assert "TWIN" in check.text


def test_the_closest_of_all_symbols_counts() -> None:
    mine = some_closes(1)
    check = rules.correlation(mine, {"OTHER": some_closes(2), "TWIN": mine}, some_limits())

    assert not check.passed
    assert "TWIN" in check.text


def test_closes_that_keep_what_was_worked_out_of_them_give_the_very_same_checks() -> None:
    plain = {str(seed): some_closes(seed, count=25 + seed) for seed in range(6)}
    kept = {name: rules.KeptCloses(closes.items()) for name, closes in plain.items()}

    # Each pair has other bars in common, so what was kept for one is wrong for the next.
    for name in [*plain, *plain]:
        assert rules.correlation(kept[name], kept, some_limits()) == rules.correlation(
            plain[name], plain, some_limits()
        )


def test_series_of_their_own_pass_and_nothing_held_passes() -> None:
    assert rules.correlation(some_closes(1), {"OTHER": some_closes(2)}, some_limits()).passed
    assert rules.correlation({}, {}, some_limits()).passed


def test_too_few_bars_in_common_with_something_held_refuse() -> None:
    check = rules.correlation(some_closes(1, count=10), {"OTHER": some_closes(2)}, some_limits())

    assert not check.passed
    assert (check.limit, check.usage, check.unit) == (10.0, 9.0, "returns in common")


def test_returns_are_taken_between_bars_that_both_have() -> None:
    mine = {1: 1.0, 2: exp(1.0), 3: exp(3.0)}
    other = {0: 5.0, 1: 1.0, 3: exp(2.0)}

    ends = rules.common_ends(mine, other, 20)

    assert ends == (1, 3)
    assert (rules.log_returns(mine, ends), rules.log_returns(other, ends)) == ([3.0], [2.0])


def test_only_the_newest_returns_are_compared() -> None:
    closes = some_closes(3, count=30)

    ends = rules.common_ends(closes, closes, 20)

    assert ends == tuple(range(9, 30))
    assert len(rules.log_returns(closes, ends)) == 20


@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=0, max_size=30))
def test_a_correlation_lies_between_minus_one_and_one(pairs: list[tuple[float, float]]) -> None:
    assert -1.0 <= rules.correlation_of([x for x, _ in pairs], [y for _, y in pairs]) <= 1.0


def test_a_series_that_never_moves_correlates_with_nothing() -> None:
    assert rules.correlation_of([0.0, 0.0, 0.0], [1.0, 2.0, 3.0]) == 0.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_position_size": 5.0},
        {"max_portfolio_risk": 0.0},
        {"drawdown_limit": -0.1},
        {"max_correlation": 1.5},
        {"stop_loss": 1.0},
        {"take_profit": 0.0},
        {"max_daily_trades": 0},
    ],
)
def test_limits_that_cannot_be_meant_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidInput):
        some_limits(**wrong)


def test_every_reason_code_is_its_own_name() -> None:
    # Codes are stored and read by people and reports: renaming one breaks both.
    assert [str(code) for code in Code] == [code.name for code in Code]
    assert len(Code) == 43


@pytest.mark.parametrize(
    "rule",
    [rules.gross_exposure, rules.net_exposure],
)
def test_exposure_at_its_multiple_of_equity_passes_and_a_cent_more_does_not(rule: Any) -> None:
    assert figures(rule(60_000.0, 40_000.0, 100_000.0, 1.0))[1:] == (True, 1.0, 1.0)
    assert not rule(60_000.0, 40_000.01, 100_000.0, 1.0).passed
    assert not rule(0.0, 1.0, 0.0, 4.0).passed
    assert rule(0.0, 0.0, 5.0, 1.0).unit == "of equity"


def test_a_short_position_leaves_more_net_and_no_more_gross() -> None:
    assert rules.net_exposure(-50_000.0, 120_000.0, 100_000.0, 1.0).passed
    assert not rules.gross_exposure(50_000.0, 120_000.0, 100_000.0, 1.0).passed


def test_a_sector_is_limited_and_a_symbol_without_one_is_not() -> None:
    full = rules.sector_exposure("energy", 25_000.0, 5_000.0, 100_000.0, 0.3)
    over = rules.sector_exposure("energy", 25_000.0, 5_000.01, 100_000.0, 0.3)
    free = rules.sector_exposure(None, 99_000.0, 5_000.0, 100_000.0, 0.3)

    assert figures(full) == (Code.SECTOR_EXPOSURE, True, 0.3, 0.3)
    assert not over.passed
    assert "sector energy" in over.text
    assert figures(free) == (Code.SECTOR_EXPOSURE, True, 0.3, 0.0)


def test_a_strategy_is_limited_by_its_share_and_by_its_bucket() -> None:
    assert rules.strategy_exposure("ma", 10_000.0, 10_000.0, 100_000.0, 0.2).passed
    assert not rules.strategy_exposure("ma", 10_000.0, 10_000.01, 100_000.0, 0.2).passed
    assert rules.strategy_capital("ma", 10_000.0, 10_000.0, 100_000.0, 0.2).passed
    over = rules.strategy_capital("ma", 10_000.0, 10_000.01, 100_000.0, 0.2)
    assert figures(over)[:3] == (Code.STRATEGY_CAPITAL, False, 0.2)
    assert rules.strategy_capital("ma", 1e9, 1.0, 1.0, None).passed


def test_the_position_after_the_last_allowed_one_is_too_many() -> None:
    assert figures(rules.concurrent_positions(20, 20)) == (
        Code.CONCURRENT_POSITIONS, True, 20.0, 20.0,
    )  # fmt: skip
    assert not rules.concurrent_positions(21, 20).passed


def test_equity_covers_the_maintenance_margin_of_everything() -> None:
    at_limit = rules.intraday_margin(300_000.0, 100_000.0, 100_000.0, 0.25)

    assert figures(at_limit) == (Code.INTRADAY_MARGIN, True, 100_000.0, 100_000.0)
    assert at_limit.unit == "USD"
    assert not rules.intraday_margin(300_000.0, 100_000.01, 100_000.0, 0.25).passed


def test_three_day_trades_end_entries_below_25000_dollars_only() -> None:
    assert rules.pattern_day_trader(2, 24_999.99).passed
    assert figures(rules.pattern_day_trader(3, 24_999.99)) == (
        Code.PATTERN_DAY_TRADER, False, 2.0, 3.0,
    )  # fmt: skip
    assert rules.pattern_day_trader(3, 25_000.0).passed


def test_a_day_may_lose_its_limit_and_no_more() -> None:
    assert figures(rules.daily_loss(95_000.0, 100_000.0, 0.05)) == (
        Code.DAILY_LOSS, True, 0.05, 0.05,
    )  # fmt: skip
    assert not rules.daily_loss(94_999.99, 100_000.0, 0.05).passed
    assert rules.daily_loss(120_000.0, 100_000.0, 0.05).usage == 0.0
    assert rules.loss_of(5.0, 0.0) == 0.0


def test_a_symbol_rests_after_a_stop_for_its_bars() -> None:
    assert not rules.cool_down(MINUTE * 1.5, MINUTE, 2).passed
    assert rules.cool_down(MINUTE * 1.5, MINUTE, 2).usage == 0.5
    assert rules.cool_down(MINUTE * 2, MINUTE, 2).passed
    assert figures(rules.cool_down(None, MINUTE, 2)) == (Code.COOL_DOWN, True, 0.0, 0.0)
    assert rules.cool_down(timedelta(0), MINUTE, 0).passed


def test_as_many_stops_as_the_guard_says_end_entries() -> None:
    assert rules.stop_loss_guard(7, 8, 24).passed
    assert figures(rules.stop_loss_guard(8, 8, 24)) == (Code.STOP_LOSS_GUARD, False, 7.0, 8.0)


def test_the_pace_of_entries_is_limited_in_all_and_of_one_kind() -> None:
    assert rules.orders_per_minute(60, 60).passed
    assert figures(rules.orders_per_minute(61, 60)) == (
        Code.ORDERS_PER_MINUTE, False, 60.0, 61.0,
    )  # fmt: skip
    assert rules.repeated_execution("ma", "AAPL", 6, 6, 600).passed
    again = rules.repeated_execution("ma", "AAPL", 7, 6, 600)
    assert figures(again) == (Code.REPEATED_EXECUTION, False, 6.0, 7.0)
    assert again.text == "entry 7 of ma in AAPL within 600 s, at most 6"
    stopped = rules.repeated_execution("ma", "AAPL", 1, 6, 600, NOW)
    assert figures(stopped) == (Code.REPEATED_EXECUTION, False, 6.0, 1.0)
    assert "trader risk enable ma AAPL" in stopped.text


@pytest.mark.parametrize(
    ("price", "passes"), [(80.0, True), (120.0, True), (79.9, False), (120.1, False)]
)
def test_a_price_stands_near_the_last_one(price: float, passes: bool) -> None:
    assert rules.price_collar(price, 100.0, 0.2).passed is passes


def test_without_a_last_price_no_price_is_near_it() -> None:
    assert not rules.price_collar(100.0, None, 1.0).passed
    assert not rules.price_collar(100.0, 0.0, 1.0).passed
    assert rules.price_collar(100.0, None, 0.2).usage == 1.2


def test_an_order_is_limited_in_dollars_shares_and_share_of_the_volume() -> None:
    assert rules.order_value(100_000.0, 100_000.0).passed
    assert figures(rules.order_value(100_000.01, 100_000.0)) == (
        Code.ORDER_VALUE, False, 100_000.0, 100_000.01,
    )  # fmt: skip
    assert rules.order_shares(500.0, 500).passed
    assert figures(rules.order_shares(501.0, 500)) == (Code.ORDER_SHARES, False, 500.0, 501.0)
    assert rules.fat_finger(50.0, 1_000.0, 0.05).passed
    assert figures(rules.fat_finger(51.0, 1_000.0, 0.05)) == (
        Code.FAT_FINGER, False, 0.05, 0.051,
    )  # fmt: skip


@pytest.mark.parametrize("unknown", [None, 0.0])
def test_an_unknown_volume_refuses(unknown: float | None) -> None:
    assert figures(rules.fat_finger(1.0, unknown, 0.5)) == (Code.FAT_FINGER, False, 0.5, 1.5)


def test_a_symbol_is_halted_by_a_person_or_paused_by_the_executor() -> None:
    assert rules.symbol_halted("AAPL", {"GME"}, {"XOM"}).passed
    assert rules.symbol_halted("AAPL", {"AAPL"}, set()).usage == 1.0
    assert "RISK_HALTED_SYMBOLS" in rules.symbol_halted("AAPL", {"AAPL"}, set()).text
    both = rules.symbol_halted("AAPL", {"AAPL"}, {"AAPL"})
    assert figures(both) == (Code.SYMBOL_HALTED, False, 0.0, 2.0)
    assert "differences" in both.text


@pytest.mark.parametrize(
    ("refused_at", "price_at", "passes"),
    [
        (None, None, True),
        (None, NOW, True),
        (NOW, NOW, False),
        (NOW, NOW + MINUTE, True),
        (NOW, None, False),
    ],
)
def test_a_refused_bar_ends_entries_until_a_good_one(
    refused_at: datetime | None, price_at: datetime | None, passes: bool
) -> None:
    check = rules.symbol_quarantined(refused_at, price_at)

    assert figures(check) == (Code.SYMBOL_QUARANTINED, passes, 0.0, 0.0 if passes else 1.0)
    assert ("no good one has come since" in check.text) is not passes


def test_a_held_symbol_takes_no_entry_however_good_its_newest_bar_is() -> None:
    check = rules.symbol_quarantined(None, NOW, "two providers disagree")

    assert figures(check) == (Code.SYMBOL_QUARANTINED, False, 0.0, 1.0)
    assert check.text == "held: two providers disagree"


@pytest.mark.parametrize(
    ("buy_limit", "sells", "meeting"),
    [
        (None, [], 0),
        (None, [105.0], 1),
        (100.0, [None], 1),
        (100.0, [100.0], 1),
        (100.0, [100.01, 99.0, None], 2),
        (100.0, [100.01], 0),
    ],
)
def test_a_purchase_may_not_meet_an_open_sale(
    buy_limit: float | None, sells: list[float | None], meeting: int
) -> None:
    check = rules.wash_trade(Side.BUY, buy_limit, sells)

    assert figures(check) == (Code.WASH_TRADE, meeting == 0, 0.0, float(meeting))


def test_a_sale_may_not_meet_an_open_purchase() -> None:
    check = rules.wash_trade(Side.SELL, 100.0, [99.99, 100.0, 101.0, None])

    assert figures(check) == (Code.WASH_TRADE, False, 0.0, 3.0)
    assert check.text == "3 open purchases of this account could be met"
    assert rules.wash_trade(Side.SELL, 100.0, [99.99]).passed


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_gross_exposure": 4.1},
        {"max_net_exposure": 0.0},
        {"max_sector_exposure": 30.0},
        {"max_strategy_exposure": 0.0},
        {"strategy_capital": {"ma": 5.0}},
        {"max_positions": 0},
        {"max_daily_loss": 5.0},
        {"max_orders_per_minute": 0},
        {"max_orders_per_minute": 1_001},
        {"max_repeats": 0},
        {"repeat_window_s": 3_601},
        {"max_price_deviation": 20.0},
        {"max_order_value": 0.0},
        {"max_order_value": float("inf")},
        {"max_order_shares": 0},
        {"max_volume_share": 5.0},
        {"cool_down_bars": -1},
        {"stop_guard_stops": 0},
        {"stop_guard_bars": 0},
        {"maintenance_margin": 0.0},
    ],
)
def test_absurd_limits_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        some_limits(**wrong)


def test_one_exit_is_enough_where_it_was_asked_for_and_stands_on_its_side_of_the_price() -> None:
    assert not rules.bracket_prices(100.0, 95.0, None).passed
    assert rules.bracket_prices(100.0, 95.0, None, one_is_enough=True).passed
    assert rules.bracket_prices(100.0, None, 105.0, one_is_enough=True).passed
    assert not rules.bracket_prices(100.0, 100.0, None, one_is_enough=True).passed
    assert not rules.bracket_prices(100.0, None, 99.0, one_is_enough=True).passed


def test_limits_have_the_bounds_of_their_settings() -> None:
    for name, bounds in BOUNDS.items():
        kept = Settings.model_fields[f"risk_{name}"].metadata
        least = next(each.ge for each in kept if hasattr(each, "ge"))
        most = next(each.le for each in kept if hasattr(each, "le"))
        assert bounds == (least, most), name


@pytest.mark.parametrize("name", BOUNDS)
def test_a_live_change_stays_within_what_the_setting_may_be(name: str) -> None:
    least, most = BOUNDS[name]
    limits = some_limits()

    assert all(getattr(limits.changed_by({name: value}), name) == value for value in (least, most))
    for beyond in (least - 1, most + 1, 1e300):
        with pytest.raises(InvalidInput, match=name):
            limits.changed_by({name: beyond})


def test_every_rule_says_where_it_comes_from_and_has_a_code_of_its_own() -> None:
    found = [
        each for _, each in getmembers(rules, isfunction) if get_type_hints(each)["return"] is Check
    ]

    # Two pairs of rules keep an entry and an exit apart under one code.
    assert len(found) == len(Code) + 2
    assert [rule.__name__ for rule in found if "Source:" not in (rule.__doc__ or "")] == []
