"""When orders for an auction and for extended hours may leave."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, time
from decimal import Decimal
from typing import Any

import pytest

from risk_manager.review import review_manual
from risk_manager.testing import a_book, a_market, a_venue, some_limits
from shared.domain.calendar import NEW_YORK, TradingWindow
from shared.domain.decisions import Approved, Refused
from shared.domain.orders import OrderTerms, OrderType, Side, TimeInForce
from shared.domain.signals import ManualOrder
from shared.domain.symbols import Symbol


def new_york(day: int, hour: int, minute: int = 0) -> datetime:
    """An instant of January 2026; the 9th is a Friday."""
    return datetime(2026, 1, day, hour, minute, tzinfo=NEW_YORK)


def judged(
    at: datetime, *, window: TradingWindow | None = None, **changes: Any
) -> Approved | Refused:
    order = ManualOrder(
        signal_id="man-1", account="paper", symbol=Symbol("AAPL"), side=Side.BUY,
        quantity=Decimal(5), type=OrderType.LIMIT, time_in_force=TimeInForce.DAY,
        limit_price=Decimal(100), stop_price=None, take_profit=None, stop_loss=None,
        requested_at=at, actor="token:operate",
    )  # fmt: skip
    venue = a_venue() if window is None else replace(a_venue(), window=window)
    market = a_market({"AAPL": 100.0}, at)
    outcome = review_manual(replace(order, **changes), a_book(), market, some_limits(), venue, at)
    return outcome.decisions[0].answer


def hours(answer: Approved | Refused) -> tuple[datetime, datetime]:
    assert isinstance(answer, Approved), answer
    return answer.act_from.astimezone(NEW_YORK), answer.act_until.astimezone(NEW_YORK)


@pytest.mark.parametrize(
    ("at", "span"),
    [
        (new_york(8, 20), (new_york(8, 20), new_york(9, 9, 28))),
        (new_york(9, 9, 27), (new_york(9, 9, 27), new_york(9, 9, 28))),
        (new_york(9, 9, 28), (new_york(11, 19), new_york(12, 9, 28))),
        (new_york(8, 17), (new_york(8, 19), new_york(9, 9, 28))),
    ],
)
def test_an_order_for_the_open_leaves_between_the_evening_and_two_minutes_before(
    at: datetime, span: tuple[datetime, datetime]
) -> None:
    assert hours(judged(at, time_in_force=TimeInForce.OPG)) == span


@pytest.mark.parametrize(
    ("at", "span"),
    [
        (new_york(9, 11), (new_york(9, 11), new_york(9, 15, 50))),
        (new_york(9, 15, 50), (new_york(11, 19), new_york(12, 15, 50))),
    ],
)
def test_an_order_for_the_close_leaves_until_ten_minutes_before(
    at: datetime, span: tuple[datetime, datetime]
) -> None:
    assert hours(judged(at, time_in_force=TimeInForce.CLS)) == span


def test_no_entry_meets_an_auction_outside_the_hours_in_which_entries_are_wanted() -> None:
    later = TradingWindow(time(10, 0), time(15, 0), NEW_YORK)
    for force in (TimeInForce.OPG, TimeInForce.CLS):
        answer = judged(new_york(9, 8), window=later, time_in_force=force)
        assert isinstance(answer, Refused)
        assert answer.reason_code == "MARKET_HOURS"


def test_an_order_for_extended_hours_leaves_from_four_until_eight() -> None:
    terms = OrderTerms(extended_hours=True)
    assert hours(judged(new_york(9, 3), terms=terms)) == (new_york(9, 4), new_york(9, 20))
    assert hours(judged(new_york(9, 18), terms=terms)) == (new_york(9, 18), new_york(9, 20))
    assert hours(judged(new_york(9, 20), terms=terms))[0] == new_york(12, 4)


def test_a_bare_fraction_may_be_bought_by_hand_and_one_with_a_stop_may_not() -> None:
    at = new_york(9, 11)
    assert isinstance(judged(at, quantity=Decimal("0.25")), Approved)
    guarded = judged(at, quantity=Decimal("1.5"), stop_loss=Decimal(95), take_profit=Decimal(110))
    assert isinstance(guarded, Refused)
    assert guarded.reason_code == "WHOLE_SHARES"
