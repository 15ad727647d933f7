"""What do shorts, trailing stops, splits and dividends do to an account? By hand, in both engines."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal

import numpy as np
import pytest

from backtester import kernel, reference
from backtester.history import History, history_of
from backtester.plan import DEFAULT_LIMITS, Plan, Sizing
from backtester.run import backtest
from backtester.terms import ENTRY, EXIT, FLAT, LONG, SHORT, SPLIT, STOP, Outcome
from backtester.testing import STRATEGY, Case, a_calendar
from backtester.wishing import in_order
from risk_manager.management import ManagementPlan
from shared.domain.bar_blocks import to_epoch_us
from shared.domain.corporate_actions import CashDividend, Split
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from strategy_engine.strategies.moving_average import MovingAverage

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


def test_what_nobody_lends_is_not_sold_short() -> None:
    plan = replace(FREE, unlent=frozenset({Symbol("AA")}))

    assert kinds(traded(a_history([50.0] * 4), [(0, SHORT)], plan)) == []


def test_the_risk_manager_allows_no_short_sale_as_live() -> None:
    outcome = traded(a_history([50.0] * 4), [(0, SHORT)], Plan())

    assert kinds(outcome) == []
    assert outcome.refused.sum() == 1


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


def test_what_live_does_with_positions_and_no_backtest_does_is_said() -> None:
    managed = ManagementPlan(trailing_stop=0.03, scale_out=((0.1, 0.5),))
    plan = Plan(limits=replace(DEFAULT_LIMITS, management=managed))

    result = backtest(MovingAverage(), a_history([50.0] * 4), plan)

    assert plan.terms(Timeframe.DAY, STRATEGY, has_gaps=False).trail == 0.03
    assert any("RISK_SCALE_OUT" in warning for warning in result.warnings)
    assert not any("RISK_TRAILING_STOP" in warning for warning in result.warnings)


def test_a_trailing_stop_follows_closes_and_never_falls_back() -> None:
    # Decided 5 % below the close at 50, then 3 % below each higher close: 52.38 after the one at 54.
    plan = replace(FREE, bracket=True, sizing=Sizing("risk", 0.05), trail=0.03)

    risen = traded(a_history([50, 50, 52, 54, 53, 53]), [(0, LONG)], plan)
    fallen = traded(a_history([50, 50, 52, 54, 51, 51]), [(0, LONG)], plan)

    assert [kind for _, kind, _, _ in kinds(risen)] == [ENTRY]
    row, kind, _, price = kinds(fallen)[1]
    assert (row, kind, price) == (4, STOP, 52.38)
