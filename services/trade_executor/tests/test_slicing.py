"""What may be cut into parts, and that the parts are the whole."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from shared.domain.decisions import Approved, Purpose
from shared.domain.errors import InvalidInput
from shared.domain.orders import OrderTerms, OrderType, Side, TimeInForce
from shared.domain.symbols import Symbol
from trade_executor.slicing import Child, at_once, children_of

NOW = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)
ENTRY = Approved(
    decision_id="d", signal_id="s", account="a", symbol=Symbol("AAPL"), side=Side.BUY,
    purpose=Purpose.ENTRY, quantity=Decimal(10), type=OrderType.MARKET,
    time_in_force=TimeInForce.DAY, limit_price=None, stop_price=None, stop_loss=None,
    take_profit=None, reference_price=Decimal(100), act_from=NOW,
    act_until=NOW + timedelta(minutes=5), checks=(),
)  # fmt: skip


def parts(*shares: int, minutes: int = 1) -> tuple[Child, ...]:
    return tuple(
        Child(Decimal(n), NOW + i * timedelta(minutes=minutes)) for i, n in enumerate(shares)
    )


def test_an_approval_leaves_at_once_unless_something_cuts_it() -> None:
    assert children_of(ENTRY, at_once) == (Child(Decimal(10), NOW),)
    assert children_of(ENTRY, lambda _: parts(4, 6)) == parts(4, 6)


@pytest.mark.parametrize(
    "whole",
    [
        replace(ENTRY, purpose=Purpose.EXIT, side=Side.SELL),
        replace(ENTRY, stop_loss=Decimal(90), take_profit=Decimal(110)),
        replace(ENTRY, terms=OrderTerms(notional=Decimal(1000))),
    ],
)
def test_what_guards_or_leaves_as_one_is_never_cut(whole: Approved) -> None:
    assert children_of(whole, lambda _: parts(4, 6)) == (Child(Decimal(10), NOW),)


@pytest.mark.parametrize("cut", [parts(4, 5), parts(11, -1), parts(5, 5, minutes=6), ()])
def test_parts_that_are_not_the_whole_within_its_hours_are_refused(cut: tuple[Child, ...]) -> None:
    with pytest.raises(InvalidInput, match="the parts must add up and lie within its hours"):
        children_of(ENTRY, lambda _: cut)
