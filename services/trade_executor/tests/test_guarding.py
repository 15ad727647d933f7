"""Which shares lost their stop, and what puts it back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
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
    HeldBack,
    Holding,
    Past,
    Standing,
    bare_shares,
    cover_of,
    guards_among,
    held_back,
    protection_needed,
    standing,
)
from trade_executor.lifecycle import Intent, IntentPurpose, OrderRecord

# ---------------------------------------------------------------------- what lost its stop


REFUSED = HeldBack("refused", is_paused=True)


def a_bracket(signal: str = "sig", shares: int = 40, **changes: Any) -> Bracket:
    entry = an_intent(state=IntentState.CANCELED, filled_quantity=Decimal(40))
    bracket = Bracket(
        cover=cover_of(replace(entry, signal_id=signal), has_known_legs=True),
        signal_id=signal,
        side=Side.BUY,
        shares=Decimal(shares),
        guarded_by=frozenset({f"fat-{signal}-e0"}),
        protections=0,
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
        {"brackets": (a_bracket(held_back=REFUSED),)},
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
    refused = (a_bracket("new", 20, held_back=REFUSED), a_bracket("old", 40))
    holding = a_holding(quantity=Decimal(60), brackets=refused)
    assert bare(holding) == {"old": 40}
    assert {b.signal_id: n for b, n in bare_shares(holding)} == {"new": 20, "old": 40}
    assert {b.signal_id: n for b, n in protection_needed(holding, {"new"})} == {
        "new": 20,
        "old": 40,
    }


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


# ---------------------------------------------------------------------- what is held back

# 11:00 in New York.
NOON = datetime(2026, 1, 5, 16, 0, tzinfo=UTC)


def refused(times: int, ago: timedelta = timedelta(0), **changes: Any) -> Past:
    past = Past(times, NOON - ago, changed_since=False, ended_of_itself=False)
    return replace(past, **changes)


@pytest.mark.parametrize(
    ("times", "pause_s"),
    [(3, 60), (4, 120), (5, 240), (8, 1920), (9, 3600), (10, 3600), (500, 3600)],
)
def test_a_guard_that_is_refused_again_and_again_is_tried_after_ever_longer_pauses(
    times: int, pause_s: int
) -> None:
    soon, then = timedelta(seconds=pause_s - 1), timedelta(seconds=pause_s)
    assert held_back(refused(times, soon), NOON) is not None
    assert held_back(refused(times, then), NOON) is None


def test_a_guard_is_tried_at_once_after_few_refusals_a_move_of_shares_or_in_a_new_session() -> None:
    assert held_back(refused(2), NOON) is None
    assert held_back(refused(9), NOON) is not None
    assert held_back(refused(9, changed_since=True), NOON) is None
    half_past_nine = NOON.replace(hour=14, minute=30)
    before = refused(9, NOON - half_past_nine + timedelta(minutes=2))
    assert held_back(before, half_past_nine - timedelta(minutes=1)) is not None
    assert held_back(before, half_past_nine) is None


def test_what_the_broker_ended_of_itself_is_held_back_until_it_is_looked_at() -> None:
    past = refused(0, ended_of_itself=True)
    found = held_back(past, NOON)
    assert found is not None
    assert not found.is_paused
    assert held_back(replace(past, changed_since=True), NOON) is not None
    # Refused after a look, it pauses like any other.
    paused = held_back(replace(past, refused=3), NOON)
    assert paused is not None
    assert paused.is_paused


@pytest.mark.parametrize(
    ("price", "stands"),
    [
        ("100", Standing.BETWEEN), ("90.01", Standing.BETWEEN), ("119.99", Standing.BETWEEN),
        ("90", Standing.REACHED), ("85.5", Standing.REACHED), ("120", Standing.REACHED), ("126", Standing.REACHED),
        ("85.49", Standing.FAR), ("50", Standing.FAR), ("126.01", Standing.FAR), ("300", Standing.FAR),
    ],
)  # fmt: skip
def test_a_price_far_past_a_stop_or_target_is_told_from_one_that_has_reached_it(
    price: str, stands: Standing
) -> None:
    cover = a_bracket().cover
    assert cover is not None
    cover = replace(cover, stop=Decimal(90), target=Decimal(120))
    assert standing(cover, Decimal(price)) is stands
    alone = replace(cover, target=None)
    assert standing(alone, Decimal(300)) is Standing.BETWEEN


@pytest.mark.parametrize(
    ("price", "stands"),
    [
        ("100", Standing.BETWEEN),
        ("112", Standing.REACHED),
        ("200", Standing.FAR),
        ("40", Standing.FAR),
    ],
)
def test_what_is_owed_is_guarded_on_the_other_side(price: str, stands: Standing) -> None:
    cover = a_bracket().cover
    assert cover is not None
    cover = replace(cover, side=Side.BUY, stop=Decimal(110), target=Decimal(80))
    assert standing(cover, Decimal(price)) is stands


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
