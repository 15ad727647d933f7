"""A day's trades: won, lost, and what a trade earned on average."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

from shared.domain.lots import ZERO, Execution, match
from shared.domain.orders import Side
from shared.domain.symbols import Symbol
from trade_executor.performance import DayPerformance, performance_on

DAY = date(2026, 3, 2)


def traded(
    order: str, at: str, side: Side, quantity: int, price: str | None, fee: str = "0"
) -> Execution:
    return Execution(
        f"{order}-{at}",
        order,
        "",
        Symbol("AAPL"),
        side,
        Decimal(quantity),
        None if price is None else Decimal(price),
        Decimal(fee),
        datetime.fromisoformat(at).replace(tzinfo=UTC),
    )


def performance(*executions: Execution, day: date = DAY) -> DayPerformance:
    return performance_on(day, match(executions).closings)


def test_fills_of_one_closing_order_are_one_trade() -> None:
    found = performance(
        traded("b", "2026-03-02T15:00", Side.BUY, 10, "100"),
        traded("s", "2026-03-02T16:00", Side.SELL, 4, "99"),
        traded("s", "2026-03-02T16:01", Side.SELL, 6, "110", fee="0.50"),
    )

    assert found == DayPerformance(DAY, 1, 0, Decimal("55.50"), ZERO)
    assert (found.win_rate, found.profit_factor, found.expectancy) == (1.0, None, Decimal("55.50"))


def test_what_earned_nothing_is_a_loss_of_nothing() -> None:
    found = performance(
        traded("b", "2026-03-02T15:00", Side.BUY, 10, "100"),
        traded("s", "2026-03-02T16:00", Side.SELL, 10, "100"),
    )

    assert (found.wins, found.losses, found.gross_loss, found.profit_factor) == (0, 1, ZERO, None)


def test_profit_factor_and_expectancy_weigh_wins_against_losses() -> None:
    found = performance(
        traded("b", "2026-03-02T15:00", Side.BUY, 10, "100"),
        traded("s", "2026-03-02T16:00", Side.SELL, 10, "103"),
        traded("c", "2026-03-02T17:00", Side.BUY, 10, "100"),
        traded("t", "2026-03-02T18:00", Side.SELL, 10, "98"),
    )

    assert (found.trades, found.win_rate, found.profit_factor) == (2, 0.5, 1.5)
    assert (found.pnl, found.expectancy) == (Decimal(10), Decimal(5))


def test_a_trade_belongs_to_new_yorks_day_of_its_close() -> None:
    late = (
        traded("b", "2026-02-27T15:00", Side.BUY, 10, "100"),
        # Half past eight in the evening of the second in New York.
        traded("s", "2026-03-03T01:30", Side.SELL, 10, "101"),
    )

    assert performance(*late).wins == 1
    assert performance(*late, day=date(2026, 3, 3)) == DayPerformance(date(2026, 3, 3))


def test_shares_of_unknown_cost_neither_win_nor_lose() -> None:
    found = performance(
        traded("b", "2026-03-02T15:00", Side.BUY, 10, None),
        traded("s", "2026-03-02T16:00", Side.SELL, 10, "103"),
    )

    assert (found.trades, found.win_rate, found.expectancy) == (0, None, None)
