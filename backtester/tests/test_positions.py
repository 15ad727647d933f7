"""What do shorts, trailing stops, splits and dividends do to an account? By hand, in both engines."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from backtester import kernel, reference, risk_rules
from backtester.history import History, history_of
from backtester.plan import DEFAULT_LIMITS, Plan, Sizing
from backtester.terms import (
    DAY_END,
    ENTRY,
    EXIT,
    FLAT,
    LONG,
    REBALANCE,
    SCALE_OUT,
    SHORT,
    SPLIT,
    STOP,
    TARGET,
    Outcome,
)
from backtester.testing import STRATEGY, Case, a_calendar, a_market
from backtester.wishing import in_order
from risk_manager.management import ManagementPlan
from shared.domain.bar_blocks import to_epoch_us
from shared.domain.corporate_actions import CashDividend, Split
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe

FREE = Plan(
    cash=10_000.0,
    sizing=Sizing("fraction", 0.5),
    max_volume_share=1.0,
    limits=None,
    bracket=False,
    regulatory_fees=False,
    borrow_rate=0.0,
)


def a_history(closes: Sequence[float]) -> History:
    """Daily bars of AA that open where the last one closed."""
    close = np.array(closes, np.float64)[:, None]
    opened = np.vstack([close[:1], close[:-1]])
    sessions = a_calendar(len(closes) + 3).between(date(2024, 1, 1), date(2100, 1, 1))
    figures = {
        "open": opened,
        "high": np.maximum(opened, close),
        "low": np.minimum(opened, close),
        "close": close,
        "volume": np.full(close.shape, 1e6),
    }
    return history_of(
        Timeframe.DAY,
        [Symbol("AA")],
        figures,
        np.array([to_epoch_us(s.open_at) for s in sessions[: len(closes)]]),
        np.array([to_epoch_us(s.close_at) for s in sessions[: len(closes)]]),
        a_calendar(len(closes) + 3),
        "by hand",
    )


def traded(history: History, wishes: list[tuple[int, int]], plan: Plan) -> Outcome:
    """What becomes of wishes (row, direction); the two engines agree."""
    wished = in_order(
        np.array([row for row, _ in wishes], np.int64),
        np.zeros(len(wishes), np.int64),
        np.array([direction for _, direction in wishes], np.int64),
        np.ones(len(wishes)),
        "in",
        "out",
    )
    case = Case(history, wished, plan)
    fast = kernel.simulate(history.bars, wished.wishes, *case.given)
    slow = reference.simulate(history, wished, plan, STRATEGY)
    assert fast.equity.tolist() == slow.equity.tolist()
    return fast


def managed(**plan: Any) -> Plan:
    """A tenth of 10,000 dollars in each entry, stop and target 20 % away, and `plan` for what is held."""
    limits = replace(
        DEFAULT_LIMITS,
        max_position_size=0.1,
        max_portfolio_risk=1.0,
        max_daily_loss=1.0,
        drawdown_limit=1.0,
        stop_loss=0.2,
        take_profit=0.2,
        management=ManagementPlan(**plan),
    )
    return replace(FREE, sizing=Sizing("limits"), limits=limits, bracket=True)


def kinds(outcome: Outcome) -> list[tuple[int, int, float, float]]:
    return list(
        zip(
            outcome.fill_row.tolist(),
            outcome.fill_kind.tolist(),
            outcome.fill_shares.tolist(),
            outcome.fill_price.tolist(),
            strict=True,
        )
    )


def test_a_short_sale_earns_what_the_price_falls() -> None:
    outcome = traded(a_history([50, 50, 40, 40, 40]), [(0, SHORT), (2, FLAT)], FREE)

    assert kinds(outcome) == [(1, ENTRY, 100.0, 50.0), (3, EXIT, 100.0, 40.0)]
    assert outcome.fill_side.tolist() == [SHORT, LONG]
    assert outcome.equity[-1] == 11_000.0


def test_borrowed_shares_cost_by_the_night_weekends_included() -> None:
    # Held over the nights after the sessions of 2024-01-03 to 2024-01-08, of which the third lasts three days.
    history = a_history([50.0] * 7)
    outcome = traded(history, [(0, SHORT), (5, FLAT)], replace(FREE, borrow_rate=0.36))

    nights = history.session[6] - history.session[1]
    assert outcome.borrow_fees == pytest.approx(5_000 * 0.36 * nights / 360)
    assert outcome.equity[-1] == pytest.approx(10_000 - outcome.borrow_fees)


def test_a_wish_for_the_other_side_sells_and_turns_at_one_open() -> None:
    outcome = traded(a_history([50, 50, 50, 40, 40]), [(0, LONG), (1, SHORT), (3, FLAT)], FREE)

    assert kinds(outcome) == [
        (1, ENTRY, 100.0, 50.0),
        (2, EXIT, 100.0, 50.0),
        (2, ENTRY, 100.0, 50.0),
        (4, EXIT, 100.0, 40.0),
    ]
    assert outcome.equity[-1] == 11_000.0


def shorting(**limits: Any) -> Plan:
    """`managed` with short sales, as the account's owner allows them."""
    plan = managed()
    assert plan.limits is not None
    return replace(plan, limits=replace(plan.limits, allow_short=True, **limits))


@pytest.mark.parametrize("plan", [FREE, shorting()])
def test_what_nobody_lends_is_not_sold_short(plan: Plan) -> None:
    plan = replace(plan, unlent=frozenset({Symbol("AA")}))

    outcome = traded(a_history([50.0] * 4), [(0, SHORT)], plan)

    assert kinds(outcome) == []
    assert outcome.refused[risk_rules.SHORT_AVAILABILITY] == outcome.refused.sum() == 1


def test_without_the_owners_switch_the_limits_allow_no_short_sale_as_live() -> None:
    outcome = traded(a_history([50.0] * 4), [(0, SHORT)], managed())

    assert kinds(outcome) == []
    assert outcome.refused[risk_rules.SHORT_NOT_ALLOWED] == outcome.refused.sum() == 1


def test_sized_by_the_limits_a_short_sale_has_its_stop_above_and_its_target_below() -> None:
    risen = traded(a_history([50, 50, 50, 61]), [(0, SHORT)], shorting())
    fallen = traded(a_history([50, 50, 50, 39]), [(0, SHORT)], shorting())

    assert kinds(risen) == [(1, ENTRY, 20.0, 50.0), (3, STOP, 20.0, 60.0)]
    assert kinds(fallen) == [(1, ENTRY, 20.0, 50.0), (3, TARGET, 20.0, 40.0)]
    assert risen.fill_side.tolist() == fallen.fill_side.tolist() == [SHORT, LONG]


def test_what_the_broker_keeps_for_a_short_sale_is_no_buying_power() -> None:
    # All of 10,000 dollars covers 185 shares at 50 dollars and 8 %; a purchase needs 4 % more than its price.
    for direction, shares in ((SHORT, 185.0), (LONG, 192.0)):
        outcome = traded(a_history([50.0] * 3), [(0, direction)], shorting(max_position_size=1.0))

        assert kinds(outcome) == [(1, ENTRY, shares, 50.0)]


@pytest.mark.parametrize(("one", "other"), [(LONG, SHORT), (SHORT, LONG)])
def test_a_turn_is_answered_at_the_close_at_which_nothing_is_left_at_its_price(
    one: int, other: int
) -> None:
    history = a_history([50, 50, 50, 48, 47, 47])

    outcome = traded(history, [(0, one), (2, other)], shorting())

    assert kinds(outcome) == [
        (1, ENTRY, 20.0, 50.0),
        (3, EXIT, 20.0, 50.0),
        # A tenth of 10,000 dollars at the close of 48.
        (4, ENTRY, 20.0, 48.0),
    ]
    assert outcome.fill_side.tolist() == [one, other, other]


@pytest.mark.parametrize("newer", [FLAT, LONG, SHORT])
def test_a_turn_is_given_up_when_a_newer_wish_for_the_symbol_comes(newer: int) -> None:
    outcome = traded(a_history([50.0] * 7), [(0, LONG), (2, SHORT), (3, newer)], shorting())

    assert outcome.refused[risk_rules.SUPERSEDED] == outcome.refused.sum() == 1
    # The newer wish is answered by itself.
    assert outcome.fill_side.tolist() == [LONG, SHORT, *([newer] if newer != FLAT else [])]
    assert outcome.fill_row.tolist() == [1, 3, *([4] if newer != FLAT else [])]


@pytest.mark.parametrize(("bars", "row"), [(2, 5), (1, None)])
def test_an_exit_that_fills_in_part_stays_an_exit_and_the_turn_waits_or_ages_out(
    bars: int, row: int | None
) -> None:
    history = a_history([50.0] * 8)
    volume = history.panel.volume.copy()
    volume[3] = 5.0
    history = replace(history, panel=replace(history.panel, volume=volume))

    outcome = traded(history, [(0, LONG), (2, SHORT)], shorting(max_signal_age_bars=bars))

    entered = [(row, ENTRY, 20.0, 50.0)] if row else []
    assert kinds(outcome) == [
        (1, ENTRY, 20.0, 50.0),
        (3, EXIT, 5.0, 50.0),
        (4, EXIT, 15.0, 50.0),
        *entered,
    ]
    assert outcome.refused[risk_rules.SIGNAL_AGE] == (row is None)


def test_an_entry_that_no_bar_has_filled_is_taken_back_before_it_is_turned_around() -> None:
    history = a_history([50.0] * 6)
    volume = history.panel.volume.copy()
    volume[1:3] = 0.0
    history = replace(history, panel=replace(history.panel, volume=volume))

    outcome = traded(history, [(0, LONG), (1, SHORT)], shorting())

    assert kinds(outcome) == [(3, ENTRY, 20.0, 50.0)]
    assert outcome.fill_side.tolist() == [SHORT]


def test_a_split_changes_shares_and_prices_and_nobody_is_richer() -> None:
    history = a_history([50, 50, 25, 25, 30, 30])
    opened = history.panel.open.copy()
    opened[2] = 25.0
    panel = replace(history.panel, open=opened, high=np.maximum(opened, history.panel.close))
    split = Split(Symbol("AA"), history.day(2), Decimal(2), Decimal(1))
    history = replace(history, panel=panel, actions=(split,))

    outcome = traded(history, [(0, LONG), (4, FLAT)], FREE)

    assert kinds(outcome) == [
        (1, ENTRY, 100.0, 50.0),
        (2, SPLIT, 100.0, 0.0),
        (5, EXIT, 200.0, 30.0),
    ]
    assert outcome.equity.tolist() == [10_000, 10_000, 10_000, 10_000, 11_000, 11_000]
    assert history.in_newest_shares.panel.close[:, 0].tolist() == [25, 25, 25, 25, 30, 30]


def test_a_reverse_split_pays_fractions_out() -> None:
    history = a_history([40, 40, 120, 120])
    opened = history.panel.open.copy()
    opened[2] = 120.0
    panel = replace(history.panel, open=opened, low=opened, high=history.panel.close)
    split = Split(Symbol("AA"), history.day(2), Decimal(1), Decimal(3))
    history = replace(history, panel=panel, actions=(split,))

    outcome = traded(history, [(0, LONG)], FREE)

    # 125 shares become 41 and two thirds.
    assert kinds(outcome)[1:] == [
        (2, SPLIT, pytest.approx(-83.333333), 0.0),
        (2, EXIT, 0.666667, 120.0),
    ]
    assert outcome.equity[-1] == pytest.approx(10_000, abs=0.001)


@pytest.mark.parametrize(("direction", "dollars"), [(LONG, 150.0), (SHORT, -150.0)])
def test_a_dividend_is_paid_to_who_holds_and_by_who_owes(direction: int, dollars: float) -> None:
    history = a_history([50.0] * 5)
    paid = CashDividend(Symbol("AA"), history.day(3), Decimal("1.5"))

    outcome = traded(replace(history, actions=(paid,)), [(0, direction)], FREE)

    assert outcome.dividends == dollars
    assert outcome.equity[-1] == 10_000 + dollars


def test_who_buys_on_the_ex_date_gets_no_dividend() -> None:
    history = a_history([50.0] * 5)
    paid = CashDividend(Symbol("AA"), history.day(1), Decimal("1.5"))

    assert traded(replace(history, actions=(paid,)), [(0, LONG)], FREE).dividends == 0.0


def test_a_trailing_stop_follows_closes_and_never_falls_back() -> None:
    # Decided 5 % below the close at 50, then 3 % below each higher close: 52.38 after the one at 54.
    plan = replace(FREE, bracket=True, sizing=Sizing("risk", 0.05), trail=0.03)

    risen = traded(a_history([50, 50, 52, 54, 53, 53]), [(0, LONG)], plan)
    fallen = traded(a_history([50, 50, 52, 54, 51, 51]), [(0, LONG)], plan)

    assert [kind for _, kind, _, _ in kinds(risen)] == [ENTRY]
    row, kind, _, price = kinds(fallen)[1]
    assert (row, kind, price) == (4, STOP, 52.38)


def test_a_position_is_scaled_out_at_its_targets_once_each_and_the_rest_stays_guarded() -> None:
    plan = managed(scale_out=((0.04, 0.5), (0.08, 0.25)))

    outcome = traded(a_history([50, 50, 52, 52, 53, 54, 54, 61, 61]), [(0, LONG)], plan)

    assert kinds(outcome) == [
        (1, ENTRY, 20.0, 50.0),
        # Decided at the close of 52, sold at the next open; the target of 50 + 20 % takes what is left.
        (3, SCALE_OUT, 10.0, 52.0),
        (6, SCALE_OUT, 5.0, 54.0),
        (7, TARGET, 5.0, 60.0),
    ]


def test_what_has_outgrown_its_most_by_the_band_is_sold_down_to_it() -> None:
    outcome = traded(a_history([50, 50, 51, 56, 56, 56]), [(0, LONG)], managed(rebalance_band=0.1))

    # 20 shares are worth 1,120 of 10,120: above 1,012 and its tenth, and two whole shares too many.
    assert kinds(outcome) == [(1, ENTRY, 20.0, 50.0), (4, REBALANCE, 2.0, 56.0)]


def test_an_atr_stop_follows_the_close_at_its_distance() -> None:
    plan = managed(atr_stop=2.0)
    assert plan.limits is not None
    two_bars = replace(plan.limits, sizing=replace(plan.limits.sizing, atr_bars=2))
    plan = replace(plan, limits=two_bars)

    # After the second close of 54 the true ranges are 2 and 0: the stop stands at 54 - 2.
    outcome = traded(a_history([50, 50, 52, 54, 54, 49, 49]), [(0, LONG)], plan)

    assert kinds(outcome) == [(1, ENTRY, 20.0, 50.0), (5, STOP, 20.0, 52.0)]


def test_a_strategy_of_the_day_leaves_before_the_close_and_enters_no_more() -> None:
    history = a_market(3, 27, 1, minutes=True, wild=0.0005, holes=0.0)
    days = managed(day_strategies=frozenset({STRATEGY}), flat_before_close_s=240)

    # Nine last minutes of three days: the sixth ends three minutes before the close, the fifth four.
    outcome = traded(history, [(0, LONG), (5, LONG), (9, LONG)], days)

    assert [(row, kind) for row, kind, _, _ in kinds(outcome)] == [
        (1, ENTRY),
        (5, DAY_END),
        (10, ENTRY),
        (14, DAY_END),
    ]
    assert outcome.refused[risk_rules.MARKET_HOURS] == 1


def test_a_stop_that_was_touched_ends_with_its_order_after_ninety_days() -> None:
    plan = managed()

    def sold(silent_days: int) -> list[tuple[int, int]]:
        """The stop sells one of 20 shares, then nothing is traded for a while, then very much at 45."""
        history = a_history([50.0, 50.0, 50.0, 39.0, *[45.0] * (silent_days + 2)])
        volume = np.full_like(history.panel.volume, 1e6)
        volume[3], volume[4 : 4 + silent_days] = 1.0, 0.0
        history = replace(history, panel=replace(history.panel, volume=volume))
        fills = kinds(traded(history, [(1, LONG)], plan))
        return [(kind, int(shares)) for _, kind, shares, _ in fills]

    assert sold(silent_days=50) == [(ENTRY, 20), (STOP, 1), (STOP, 19)]
    # What is left is guarded anew, 20 % below 50, and 45 is above that.
    assert sold(silent_days=70) == [(ENTRY, 20), (STOP, 1)]
