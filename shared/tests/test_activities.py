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
        (10, 3, [an_activity("SPLIT", "-6.6667")], ["-6.6667", "-0.3333"]),
        (10, 3, [an_activity("SPLIT", "3.3333")], ["-6.6667", "-0.3333"]),
        (
            10,
            3,
            [an_activity("SPLIT", "-10"), an_activity("SPLIT", "3.3333")],
            [-10, "3.3333", "-0.3333"],
        ),
        (-10, -3, [an_activity("SPLIT", "6.6667")], ["6.6667", "0.3333"]),
        (3, 0, [an_activity("SPLIT", "-2.25")], ["-2.25", "-0.75"]),
        (10, 4, [an_activity("SPLIT", "-6.6667")], []),
        (10, 2, [an_activity("SPLIT", "-6.6667")], []),
        (10, 3, [an_activity("JNLS", "-6.6667")], []),
        (10, 10, [an_activity("SPLIT", "10")], []),
        (10, 20, [an_activity("SPLIT", "10", status="canceled")], []),
        (10, 20, [an_activity("DIV", "10", "5")], []),
    ],
)
def test_an_activity_moves_what_it_explains(
    ours: int, theirs: int, told: list[Activity], moves: list[int | str]
) -> None:
    found = moves_between(Decimal(ours), Decimal(theirs), told)
    assert [move.quantity for move in found] == [Decimal(move) for move in moves]


def test_shares_that_go_for_cash_go_at_what_was_paid() -> None:
    [move] = moves_between(Decimal(10), Decimal(0), [an_activity("MA", "-10", "1205")])
    assert move.price == Decimal("120.5")


@pytest.mark.parametrize(
    ("ours", "theirs", "told", "price"),
    [
        (10, 2, [an_activity("SPLIT", "-7.5", "210")], "420"),
        (-10, -2, [an_activity("SPLIT", "7.5", "-210")], "420"),
        (10, 2, [an_activity("SPLIT", "-7.5"), an_activity("SPLIT", "-0.5", "210")], "420"),
        # What it brought is told elsewhere, or never.
        (10, 2, [an_activity("SPLIT", "-7.5")], None),
        (10, 2, [an_activity("SPLIT", "-7.5", "-3")], None),
    ],
)
def test_a_fraction_that_is_paid_out_is_sold_after_its_split(
    ours: int, theirs: int, told: list[Activity], price: str | None
) -> None:
    split, fraction = moves_between(Decimal(ours), Decimal(theirs), told)
    assert (split.reason, abs(split.quantity), split.price) == ("SPLIT", Decimal("7.5"), None)
    assert (fraction.reason, abs(fraction.quantity)) == ("CASH_IN_LIEU", Decimal("0.5"))
    assert fraction.price == (None if price is None else Decimal(price))
