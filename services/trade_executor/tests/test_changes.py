"""What a person may do to an order that stands, and what takes the road through risk again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from shared.domain.decisions import TradingMode
from shared.domain.orders import (
    IntentState,
    OrderChange,
    OrderClass,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
)
from shared.domain.symbols import Symbol
from trade_executor.changes import exits_moved, obstacle_to_cancel, obstacle_to_moving, replacement
from trade_executor.lifecycle import Intent, IntentPurpose, OrderRecord, change_between
from trade_executor.preflight import Problem

NOW = datetime(2026, 1, 5, 15, 0, tzinfo=UTC)
ENTRY = Intent(
    client_order_id="fat-x-e0", decision_id="dec", signal_id="sig", symbol=Symbol("AAPL"), side=Side.BUY,
    purpose=IntentPurpose.ENTRY, generation=0, type=OrderType.LIMIT, time_in_force=TimeInForce.DAY,
    order_class=OrderClass.SIMPLE, quantity=Decimal(10), filled_quantity=Decimal(0),
    limit_price=Decimal(100), stop_price=None, stop_loss=None, take_profit=None,
    reference_price=Decimal(101), state=IntentState.ACKED, broker_order_id="b-1", act_from=NOW,
    act_until=NOW, posts=1, probes=0, sent_at=NOW,
)  # fmt: skip
ORDER = OrderRecord(
    broker_order_id="b-1", client_order_id="fat-x-e0", parent_order_id=None, intent_id="fat-x-e0",
    symbol=Symbol("AAPL"), side=Side.BUY, type="limit", order_class="simple", status=OrderStatus.NEW,
    quantity=Decimal(10), filled_quantity=Decimal(0), filled_average_price=None,
    limit_price=Decimal(100), stop_price=None, submitted_at=NOW, updated_at=NOW,
)  # fmt: skip


def changed(
    change: OrderChange,
    intent: Intent = ENTRY,
    order: OrderRecord | None = ORDER,
    collar: Decimal | None = Decimal("0.2"),
) -> Intent | Problem:
    return replacement(intent, order, change, account="paper", generation=1, collar=collar, at=NOW)


def test_a_replacement_is_a_wish_of_its_own_that_names_what_it_replaces() -> None:
    change = OrderChange(limit_price=Decimal(99), time_in_force=TimeInForce.GTC)
    new = changed(change)
    assert isinstance(new, Intent)
    assert (new.replaces, new.state, new.generation) == ("fat-x-e0", IntentState.PENDING, 1)
    assert new.client_order_id.endswith("-e1")
    assert change_between(ENTRY, new) == change
    assert new.act_until == NOW + timedelta(minutes=2)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (OrderChange(), "no_change"),
        (OrderChange(limit_price=Decimal(100)), "no_change"),
        (OrderChange(limit_price=Decimal("99.001")), "price_step"),
        (OrderChange(stop_price=Decimal(99)), "stop_price"),
        (OrderChange(trail=Decimal(1)), "trail"),
        (OrderChange(quantity=Decimal(11)), "commits_more"),
        (OrderChange(limit_price=Decimal(101)), "commits_more"),
        (OrderChange(quantity=Decimal("5.5")), "fractional"),
        (OrderChange(time_in_force=TimeInForce.IOC), "time_in_force"),
    ],
    ids=str,
)
def test_what_cannot_be_asked_of_a_standing_order_is_said(change: OrderChange, code: str) -> None:
    answer = changed(change)
    assert isinstance(answer, Problem)
    assert answer.code == code


def test_a_higher_limit_is_free_as_long_as_it_commits_no_more_money() -> None:
    assert isinstance(changed(OrderChange(quantity=Decimal(9), limit_price=Decimal(110))), Intent)


STOPPED = replace(ENTRY, type=OrderType.STOP_LIMIT, stop_price=Decimal(99))
TRAILING = replace(ENTRY, type=OrderType.TRAILING_STOP, limit_price=None, trail_percent=Decimal(2))


@pytest.mark.parametrize(
    ("intent", "change"),
    [
        (ENTRY, OrderChange(quantity=Decimal(1), limit_price=Decimal(1000))),
        (ENTRY, OrderChange(limit_price=Decimal(80))),
        (STOPPED, OrderChange(quantity=Decimal(1), stop_price=Decimal(122))),
        (TRAILING, OrderChange(trail=Decimal(21))),
        (replace(TRAILING, trail_percent=None, trail_price=Decimal(2)), OrderChange(trail=Decimal(21))),
    ],
    ids=str,
)  # fmt: skip
def test_the_price_of_an_entry_goes_no_further_from_where_it_was_decided_than_risk_allowed(
    intent: Intent, change: OrderChange
) -> None:
    answer = changed(change, intent)
    assert isinstance(answer, Problem)
    assert answer.code == "price_collar"
    assert isinstance(changed(change, intent, collar=Decimal(10)), Intent)


def test_where_no_collar_was_stored_the_price_of_an_entry_stays_and_its_shares_may_be_fewer() -> (
    None
):
    dearer, fewer = OrderChange(limit_price=Decimal(99)), OrderChange(quantity=Decimal(9))
    answer = changed(dearer, collar=None)
    assert isinstance(answer, Problem)
    assert answer.code == "price_collar"
    assert isinstance(changed(fewer, collar=None), Intent)


def test_an_exit_may_ask_for_any_price_but_for_no_more_shares() -> None:
    leaving = replace(ENTRY, purpose=IntentPurpose.EXIT, side=Side.SELL)
    assert isinstance(changed(OrderChange(limit_price=Decimal(150)), leaving), Intent)
    assert isinstance(changed(OrderChange(quantity=Decimal(11)), leaving), Problem)


def test_fewer_shares_than_are_filled_cannot_be_asked_for() -> None:
    answer = changed(
        OrderChange(quantity=Decimal(4)), order=replace(ORDER, filled_quantity=Decimal(4))
    )
    assert isinstance(answer, Problem)
    assert answer.code == "quantity"


@pytest.mark.parametrize(
    ("intent", "order", "code"),
    [
        ({"state": IntentState.FILLED}, ORDER, "order_ended"),
        ({"state": IntentState.UNKNOWN}, ORDER, "outcome_unknown"),
        ({"state": IntentState.SENDING}, ORDER, "outcome_unknown"),
        ({"purpose": IntentPurpose.PROTECT}, ORDER, "protects"),
        ({"order_class": OrderClass.BRACKET}, ORDER, "tied_order"),
        ({"state": IntentState.PENDING}, None, "not_replaceable"),
        ({}, replace(ORDER, status=OrderStatus.ACCEPTED), "not_replaceable"),
        ({}, replace(ORDER, status=OrderStatus.PENDING_CANCEL), "not_replaceable"),
    ],
    ids=str,
)
def test_an_order_that_cannot_be_replaced_now_says_why(
    intent: dict[str, Any], order: OrderRecord | None, code: str
) -> None:
    answer = changed(OrderChange(limit_price=Decimal(99)), replace(ENTRY, **intent), order)
    assert isinstance(answer, Problem)
    assert answer.code == code


def test_whatever_waits_or_stands_may_be_taken_back() -> None:
    for state in (IntentState.PENDING, IntentState.ACKED, IntentState.PARTIAL):
        assert obstacle_to_cancel(replace(ENTRY, state=state)) is None


GUARDED = replace(
    ENTRY,
    order_class=OrderClass.BRACKET,
    type=OrderType.MARKET,
    limit_price=None,
    stop_loss=Decimal(95),
    take_profit=Decimal(110),
    state=IntentState.FILLED,
)
SHORT = replace(GUARDED, side=Side.SELL, stop_loss=Decimal(110), take_profit=Decimal(95))


@pytest.mark.parametrize(
    ("entry", "held", "prices", "code"),
    [
        (ENTRY, 10, {"stop_loss": 96}, "no_legs"),
        (replace(GUARDED, state=IntentState.PARTIAL), 10, {"stop_loss": 96}, "legs_wait"),
        (GUARDED, 0, {"stop_loss": 96}, "position_not_found"),
        (GUARDED, -10, {"stop_loss": 96}, "position_not_found"),
        (GUARDED, 10, {"stop_loss": 95}, "no_change"),
        (GUARDED, 10, {"stop_loss": 94}, "loosens_stop"),
        (GUARDED, 10, {"stop_loss": 111}, "exits"),
        (GUARDED, 10, {"stop_loss": 100}, "stop_reached"),
        (GUARDED, 10, {"take_profit": 100}, "target_reached"),
        (SHORT, -10, {"stop_loss": 100}, "stop_reached"),
        (SHORT, -10, {"take_profit": 100}, "target_reached"),
        (GUARDED, 10, {"take_profit": "110.001"}, "price_step"),
        (replace(GUARDED, stop_loss_limit=Decimal(94)), 10, {"stop_loss": 96}, "stop_limit"),
    ],
)
def test_exits_that_cannot_be_moved_say_why(
    entry: Intent, held: int, prices: dict[str, Any], code: str
) -> None:
    wanted: dict[str, Any] = dict.fromkeys(("take_profit", "stop_loss"))
    wanted |= {name: Decimal(str(price)) for name, price in prices.items()}
    answer = exits_moved(
        entry, held=Decimal(held), is_newest=True, is_alone=True, last_price=Decimal(100), **wanted
    )
    assert isinstance(answer, Problem)
    assert answer.code == code


def test_a_stop_moves_towards_the_price_on_either_side_and_a_target_anywhere_beyond() -> None:
    moved = exits_moved(
        GUARDED,
        held=Decimal(10),
        is_newest=True,
        is_alone=True,
        take_profit=Decimal(105),
        stop_loss=Decimal(96),
        last_price=Decimal(100),
    )
    assert moved == replace(GUARDED, take_profit=Decimal(105), stop_loss=Decimal(96))
    moved = exits_moved(
        SHORT,
        held=Decimal(-10),
        is_newest=True,
        is_alone=True,
        take_profit=None,
        stop_loss=Decimal(105),
        last_price=Decimal(100),
    )
    assert moved == replace(SHORT, stop_loss=Decimal(105))


def test_the_exits_of_an_older_bracket_stay_since_its_shares_may_be_sold() -> None:
    answer = exits_moved(
        GUARDED,
        held=Decimal(10),
        is_newest=False,
        is_alone=True,
        take_profit=None,
        stop_loss=Decimal(96),
        last_price=Decimal(100),
    )
    assert isinstance(answer, Problem)
    assert answer.code == "older_bracket"


def test_exits_stay_while_another_order_of_the_symbol_is_under_way() -> None:
    answer = exits_moved(
        GUARDED,
        held=Decimal(10),
        is_newest=True,
        is_alone=False,
        take_profit=None,
        stop_loss=Decimal(96),
        last_price=Decimal(100),
    )
    assert isinstance(answer, Problem)
    assert answer.code == "symbol_busy"


def test_exits_stay_where_no_price_is_known_to_compare_them_with() -> None:
    answer = exits_moved(
        GUARDED,
        held=Decimal(10),
        is_newest=True,
        is_alone=True,
        take_profit=None,
        stop_loss=Decimal(96),
        last_price=None,
    )
    assert isinstance(answer, Problem)
    assert answer.code == "no_price"


def test_nothing_that_rests_is_moved_unless_its_successor_may_leave() -> None:
    for mode in (TradingMode.ACTIVE, TradingMode.REDUCING):
        assert obstacle_to_moving(mode, None) is None
    for no, note in ((TradingMode.HALTED, None), (None, None), (TradingMode.ACTIVE, "a person")):
        problem = obstacle_to_moving(no, note)
        assert problem is not None
        assert problem.code == "trading_halted"
