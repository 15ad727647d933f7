"""Nothing is sent that the stored approval does not allow."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from shared.domain.decisions import Purpose
from shared.domain.orders import IntentState, OrderClass, OrderType, Side, TimeInForce
from shared.domain.symbols import Symbol
from trade_executor.approvals import Approval, in_new_shares, unlike_approval
from trade_executor.lifecycle import Intent, IntentPurpose

NOW = datetime(2026, 1, 5, 15, 0, tzinfo=UTC)
APPROVAL = Approval(
    Symbol("AAPL"), Side.BUY, Purpose.ENTRY, Decimal(100), OrderType.LIMIT, Decimal(50), None,
    NOW + timedelta(minutes=2),
)  # fmt: skip
INTENT = Intent(
    client_order_id="fat-x-e0", decision_id="dec", signal_id="sig", symbol=Symbol("AAPL"),
    side=Side.BUY, purpose=IntentPurpose.ENTRY, generation=0, type=OrderType.LIMIT,
    time_in_force=TimeInForce.GTC, order_class=OrderClass.BRACKET, quantity=Decimal(100),
    filled_quantity=Decimal(0), limit_price=Decimal(50), stop_price=None, stop_loss=Decimal(40),
    take_profit=Decimal(60), reference_price=Decimal(50), state=IntentState.PENDING,
    broker_order_id=None, act_from=NOW, act_until=NOW + timedelta(minutes=2), posts=0, probes=0,
    sent_at=None,
)  # fmt: skip


def test_an_intent_as_approved_or_for_fewer_shares_may_leave() -> None:
    assert unlike_approval(INTENT, APPROVAL) is None
    assert unlike_approval(INTENT.with_quantity(Decimal(40)), APPROVAL) is None


@pytest.mark.parametrize(
    ("changed", "because"),
    [
        ({"symbol": Symbol("MSFT")}, "another symbol"),
        ({"side": Side.SELL}, "another side"),
        ({"purpose": IntentPurpose.EXIT}, "another purpose"),
        ({"quantity": Decimal("100.000001")}, "fewer shares"),
        ({"type": OrderType.MARKET, "limit_price": None}, "another type or price"),
        ({"limit_price": Decimal("50.01")}, "another type or price"),
        ({"stop_price": Decimal(50)}, "another type or price"),
        ({"act_until": NOW + timedelta(minutes=3)}, "an earlier end"),
        ({"notional": Decimal(1)}, "less money"),
    ],
)
def test_an_intent_that_was_changed_after_its_approval_is_refused(
    changed: dict[str, Any], because: str
) -> None:
    why = unlike_approval(replace(INTENT, **changed), APPROVAL)

    assert why is not None
    assert because in why


def test_a_sum_of_money_is_the_approved_one_or_less() -> None:
    approval = replace(APPROVAL, notional=Decimal(5000))

    assert unlike_approval(replace(INTENT, notional=Decimal(5000)), approval) is None
    assert unlike_approval(replace(INTENT, notional=Decimal("5000.01")), approval) is not None


def test_an_intent_without_an_approval_is_refused_but_protection_is_not_asked_about() -> None:
    protection = replace(INTENT, purpose=IntentPurpose.PROTECT, side=Side.SELL)

    assert unlike_approval(INTENT, None) is not None
    assert unlike_approval(protection, None) is None


def test_a_replacement_has_prices_and_times_of_its_own_and_no_more_shares() -> None:
    other: dict[str, Any] = {
        "replaces": "fat-x-e0",
        "limit_price": Decimal(49),
        "act_until": NOW + timedelta(1),
    }

    assert unlike_approval(replace(INTENT, **other), APPROVAL) is None
    assert unlike_approval(replace(INTENT, **other, quantity=Decimal(101)), APPROVAL) is not None


def test_shares_are_counted_through_splits_and_never_rounded_up() -> None:
    ten, twenty, three = Decimal(10), Decimal(20), Decimal(3)
    assert in_new_shares(Decimal(4), []) == 4
    assert in_new_shares(Decimal(4), [(ten, twenty), (twenty, ten)]) == 4
    assert in_new_shares(Decimal(-4), [(-ten, -twenty)]) == -8
    assert in_new_shares(Decimal(1), [(three, twenty)]) == Decimal("6.666666666")


@pytest.mark.parametrize(
    ("purpose", "quantity", "force"),
    [
        (IntentPurpose.EXIT, "2.5", TimeInForce.DAY),
        (IntentPurpose.EXIT, "2", TimeInForce.GTC),
        (IntentPurpose.PROTECT, "2.5", TimeInForce.GTC),
    ],
)
def test_an_exit_of_a_fraction_is_good_for_the_day(
    purpose: IntentPurpose, quantity: str, force: TimeInForce
) -> None:
    wish = replace(INTENT, purpose=purpose).with_quantity(Decimal(quantity))
    assert (wish.quantity, wish.time_in_force) == (Decimal(quantity), force)
