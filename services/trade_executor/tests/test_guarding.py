"""Which shares lost their stop, and what puts it back."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trade_executor.tests.test_models import a_record, an_exit, an_intent
from shared.domain.orders import IntentState, OrderClass, OrderStatus, OrderType, Side
from trade_executor.guarding import (
    Bracket,
    Guard,
    Holding,
    cover_of,
    guards_among,
    protection_needed,
)
from trade_executor.lifecycle import Intent, IntentPurpose, OrderRecord

# ---------------------------------------------------------------------- what lost its stop


def a_bracket(signal: str = "sig", shares: int = 40, **changes: Any) -> Bracket:
    entry = an_intent(state=IntentState.CANCELED, filled_quantity=Decimal(40))
    bracket = Bracket(
        cover=cover_of(replace(entry, signal_id=signal), has_known_legs=True),
        signal_id=signal,
        side=Side.BUY,
        shares=Decimal(shares),
        guarded_by=frozenset({f"fat-{signal}-e0"}),
        protections=0,
        refused=0,
    )
    return replace(bracket, **changes)


def a_holding(**changes: Any) -> Holding:
    holding = Holding(
        quantity=Decimal(40), live_intents=(), open_orders=(), brackets=(a_bracket(),)
    )
    return replace(holding, **changes)


def bare(holding: Holding) -> dict[str, Decimal]:
    """Shares that need a stop, by the signal they came with."""
    return {bracket.signal_id: shares for bracket, shares in protection_needed(holding)}


def a_stop(shares: int, status: OrderStatus = OrderStatus.NEW, **changes: Any) -> OrderRecord:
    stop = a_record(
        side=Side.SELL, type="stop", status=status, quantity=Decimal(shares), broker_order_id="b-9"
    )
    return replace(stop, **changes)


def test_shares_without_a_stop_are_protected_as_far_as_they_are_held() -> None:
    assert bare(a_holding()) == {"sig": 40}
    assert bare(a_holding(quantity=Decimal(25))) == {"sig": 25}
    assert bare(a_holding(open_orders=(a_stop(30),))) == {"sig": 10}


def test_a_live_oco_guards_its_shares_before_its_stop_was_ever_seen() -> None:
    oco = an_exit(client_order_id="fat-x-p0", state=IntentState.ACKED, quantity=Decimal(40))
    oco = replace(oco, purpose=IntentPurpose.PROTECT, order_class=OrderClass.OCO)
    its_stop = replace(a_stop(40), intent_id="fat-x-p0")
    assert bare(a_holding(live_intents=(oco,))) == {}
    assert bare(a_holding(live_intents=(oco,), open_orders=(its_stop,))) == {}
    smaller = replace(oco, quantity=Decimal(15))
    assert bare(a_holding(live_intents=(smaller,))) == {"sig": 25}
    assert bare(a_holding(live_intents=(replace(oco, state=IntentState.UNKNOWN),))) == {}


def a_resting_exit(shares: int, **changes: Any) -> Intent:
    exit_ = an_exit(
        client_order_id="fat-out-x0", state=IntentState.ACKED, quantity=Decimal(shares),
        type=OrderType.LIMIT, limit_price=Decimal(150),
    )  # fmt: skip
    return replace(exit_, **changes)


def test_what_an_exit_at_its_price_leaves_is_guarded_while_it_rests() -> None:
    assert bare(a_holding(live_intents=(a_resting_exit(10),))) == {"sig": 30}
    filled = a_resting_exit(10, filled_quantity=Decimal(4), state=IntentState.PARTIAL)
    assert bare(a_holding(quantity=Decimal(36), live_intents=(filled,))) == {"sig": 30}
    assert bare(a_holding(live_intents=(a_resting_exit(40),))) == {}
    # Its own stop guards what it speaks for, and counts once.
    stops = a_resting_exit(10, type=OrderType.STOP)
    its_order = a_stop(10, intent_id="fat-out-x0")
    assert bare(a_holding(live_intents=(stops,), open_orders=(its_order,))) == {"sig": 30}
    # It is over in a moment, or nobody knows whether it stands.
    for under_way in ({"type": OrderType.MARKET}, {"state": IntentState.UNKNOWN}):
        assert bare(a_holding(live_intents=(a_resting_exit(10, **under_way),))) == {}


def test_fractions_of_a_share_are_left_without_a_stop() -> None:
    assert bare(a_holding(quantity=Decimal("12.7"))) == {"sig": 12}


@pytest.mark.parametrize(
    "changes",
    [
        {"open_orders": (a_stop(40),)},
        {"open_orders": (a_stop(40, OrderStatus.HELD),)},
        {"open_orders": (a_stop(40, type="trailing_stop", intent_id=None),)},
        {"live_intents": (an_exit(state=IntentState.PENDING),)},
        {"live_intents": (an_intent(state=IntentState.PARTIAL),)},
        {"brackets": ()},
        {"brackets": (a_bracket(shares=0),)},
        {"quantity": Decimal(0)},
        {"quantity": Decimal(-40)},
        {"brackets": (a_bracket(refused=3),)},
        {"brackets": (a_bracket(cover=None),)},
    ],
    ids=[
        "guarded", "legs wait", "somebody's stop trails", "an exit is under way", "the entry is open", "never bracketed",
        "its shares are sold", "flat", "short", "refused again and again", "nothing to send",
    ],
)  # fmt: skip
def test_nothing_is_protected_that_need_not_or_must_not_be(changes: dict[str, Any]) -> None:
    assert bare(a_holding(**changes)) == {}


def test_a_filled_bracket_whose_legs_were_never_seen_is_looked_up_and_not_guarded() -> None:
    filled = an_intent(state=IntentState.FILLED, filled_quantity=Decimal(40))
    assert cover_of(filled, has_known_legs=False) is None
    assert cover_of(filled, has_known_legs=True) is not None
    assert cover_of(replace(filled, state=IntentState.CANCELED), has_known_legs=False) is not None


def test_each_of_several_brackets_is_guarded_for_its_own_shares() -> None:
    brackets = (a_bracket("new", 20), a_bracket("old", 40))
    assert bare(a_holding(quantity=Decimal(60), brackets=brackets)) == {"new": 20, "old": 40}
    its_stop = a_stop(40, intent_id="fat-old-e0")
    holding = a_holding(quantity=Decimal(60), brackets=brackets, open_orders=(its_stop,))
    assert bare(holding) == {"new": 20}


def test_what_others_sold_is_taken_from_the_oldest_bracket() -> None:
    brackets = (a_bracket("new", 20), a_bracket("old", 40))
    assert bare(a_holding(quantity=Decimal(35), brackets=brackets)) == {"new": 20, "old": 15}
    assert bare(a_holding(quantity=Decimal(15), brackets=brackets)) == {"new": 15}


@pytest.mark.parametrize("thirds", [1, 2, 5])
def test_fractions_of_several_brackets_that_make_whole_shares_are_guarded(thirds: int) -> None:
    # As a reverse split leaves them; what was left over in all is paid out.
    third = Decimal(thirds) / 3
    brackets = tuple(replace(a_bracket(f"s{n}"), shares=third) for n in range(3))
    assert sum(bare(a_holding(quantity=Decimal(thirds), brackets=brackets)).values()) == thirds


def test_a_bracket_that_cannot_be_guarded_keeps_its_shares_from_the_others() -> None:
    refused = (a_bracket("new", 20, refused=3), a_bracket("old", 40))
    assert bare(a_holding(quantity=Decimal(60), brackets=refused)) == {"old": 40}


def test_shares_that_somebody_guards_at_the_broker_are_left_to_them() -> None:
    theirs = a_stop(30, intent_id=None)
    assert bare(a_holding(quantity=Decimal(70), open_orders=(theirs,))) == {"sig": 40}
    assert bare(a_holding(quantity=Decimal(50), open_orders=(theirs,))) == {"sig": 20}


@given(
    sign=st.sampled_from((1, -1)),
    held=st.integers(1, 100),
    bought=st.lists(st.integers(0, 60), max_size=4),
    resting=st.lists(st.integers(1, 60), max_size=3),
    theirs=st.integers(0, 50),
    leaving=st.integers(0, 50),
)
def test_never_more_is_guarded_or_on_its_way_out_than_is_held_on_either_side(
    sign: int, held: int, bought: list[int], resting: list[int], theirs: int, leaving: int
) -> None:
    side = Side.BUY if sign > 0 else Side.SELL
    brackets = tuple(a_bracket(f"s{n}", shares, side=side) for n, shares in enumerate(bought))
    stops = [a_stop(n, intent_id=f"fat-s{i}-e0", side=side.opposite) for i, n in enumerate(resting)]
    if theirs:
        stops.append(a_stop(theirs, intent_id=None, side=side.opposite))
    exits = (a_resting_exit(leaving, side=side.opposite),) if leaving else ()
    holding = a_holding(
        quantity=Decimal(sign * held),
        brackets=brackets,
        open_orders=tuple(stops),
        live_intents=exits,
    )
    needed = sum(bare(holding).values())
    assert needed == 0 or needed + sum(resting) + theirs + leaving <= held


# ---------------------------------------------------------------------- guards that somebody gave


def test_a_stop_and_the_target_it_is_tied_to_are_put_back_together() -> None:
    target = a_record(
        side=Side.SELL, type="limit", limit_price=Decimal(120), broker_order_id="t",
        parent_order_id="p", intent_id=None,
    )  # fmt: skip
    stop = a_stop(
        10, stop_price=Decimal("90.004"), broker_order_id="s", parent_order_id="p", intent_id=None
    )
    other = replace(target, broker_order_id="o", parent_order_id=None)
    assert guards_among([target, stop, other], ()) == [
        Guard("s", "t", Decimal(10), Decimal("90.00"), None, Decimal(120))
    ]
    assert guards_among([other], ()) == []


def test_nothing_is_taken_away_that_could_not_be_put_back() -> None:
    stop = a_stop(10, stop_price=Decimal(90), intent_id=None)
    assert isinstance(guards_among([stop], {"b-9"}), str)
    assert isinstance(guards_among([replace(stop, stop_price=None)], ()), str)
    assert isinstance(guards_among([replace(stop, quantity=None)], ()), str)
