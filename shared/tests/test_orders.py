"""The tables of states: what may follow what, and where it ends."""

from __future__ import annotations

from decimal import Decimal

import pytest

from shared.domain.orders import (
    FINAL_STATUSES,
    INTENT_MOVES,
    IntentState,
    OrderStatus,
    Side,
    intent_state_of,
)


def test_every_state_has_its_row_and_every_move_leads_to_a_state() -> None:
    assert set(INTENT_MOVES) == set(IntentState)
    assert {later for moves in INTENT_MOVES.values() for later in moves} <= set(IntentState)


def test_no_state_can_be_left_for_an_earlier_one() -> None:
    def reachable(state: IntentState) -> set[IntentState]:
        found: set[IntentState] = set()
        edge = set(INTENT_MOVES[state])
        while edge:
            found |= edge
            edge = {later for one in edge for later in INTENT_MOVES[one]} - found
        return found

    for state in IntentState:
        assert state not in reachable(state)


def test_unknown_is_left_only_by_an_order_found_a_definite_no_or_proof_of_absence() -> None:
    left = INTENT_MOVES[IntentState.UNKNOWN]
    assert IntentState.NEVER_EXISTED in left
    assert not left & {IntentState.PENDING, IntentState.SENDING, IntentState.CANCELLED_UNSENT}
    only_from_unknown = [s for s in IntentState if IntentState.NEVER_EXISTED in INTENT_MOVES[s]]
    assert only_from_unknown == [IntentState.UNKNOWN]


def test_what_was_never_sent_is_only_said_of_what_was_not() -> None:
    for state in (IntentState.EXPIRED_UNSENT, IntentState.CANCELLED_UNSENT):
        assert [s for s in IntentState if state in INTENT_MOVES[s]] == [IntentState.PENDING]


@pytest.mark.parametrize("status", sorted(OrderStatus))
def test_every_word_of_the_broker_means_something_for_the_intent(status: OrderStatus) -> None:
    untouched, begun = intent_state_of(status, Decimal(0)), intent_state_of(status, Decimal(5))
    assert untouched.is_final == begun.is_final == (status in FINAL_STATUSES)
    if not status.is_final:
        assert (untouched, begun) == (IntentState.ACKED, IntentState.PARTIAL)


def test_a_side_and_its_opposite_undo_each_other() -> None:
    for side in Side:
        assert side.sign + side.opposite.sign == 0
        assert side.opposite.opposite is side
