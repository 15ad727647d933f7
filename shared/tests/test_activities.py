"""Shares move only where an activity explains exactly what the broker holds."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from shared.domain.activities import Activity, moves_between
from shared.domain.symbols import Symbol


def an_activity(
    kind: str, quantity: str, cash: str | None = None, status: str = "executed"
) -> Activity:
    return Activity(
        f"a-{kind}-{quantity}", kind, date(2026, 11, 20), Symbol("AAPL"), Decimal(quantity),
        None if cash is None else Decimal(cash), status, {},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("ours", "theirs", "told", "moves"),
    [
        (10, 20, [an_activity("SPLIT", "10")], [10]),
        (10, 20, [an_activity("SPLIT", "20")], [10]),
        (-10, -20, [an_activity("SPLIT", "-10")], [-10]),
        (10, 0, [an_activity("MA", "-10")], [-10]),
        (10, 22, [an_activity("SPLIT", "10"), an_activity("SSP", "2")], [10, 2]),
        (10, 20, [an_activity("SPLIT", "9")], []),
        # A third of a share is paid out.
        (10, 3, [an_activity("SPLIT", "-6.6667")], [-7]),
        (10, 3, [an_activity("SPLIT", "3.3333")], [-7]),
        (10, 3, [an_activity("SPLIT", "-10"), an_activity("SPLIT", "3.3333")], [-10, 3]),
        (-10, -3, [an_activity("SPLIT", "6.6667")], [7]),
        (10, 4, [an_activity("SPLIT", "-6.6667")], []),
        (10, 2, [an_activity("SPLIT", "-6.6667")], []),
        (10, 3, [an_activity("JNLS", "-6.6667")], []),
        (10, 10, [an_activity("SPLIT", "10")], []),
        (10, 20, [an_activity("SPLIT", "10", status="canceled")], []),
        (10, 20, [an_activity("DIV", "10", "5")], []),
    ],
)
def test_an_activity_moves_what_it_explains(
    ours: int, theirs: int, told: list[Activity], moves: list[int]
) -> None:
    found = moves_between(Decimal(ours), Decimal(theirs), told)
    assert [move.quantity for move in found] == moves


def test_shares_that_go_for_cash_go_at_what_was_paid() -> None:
    [move] = moves_between(Decimal(10), Decimal(0), [an_activity("MA", "-10", "1205")])
    assert move.price == Decimal("120.5")
