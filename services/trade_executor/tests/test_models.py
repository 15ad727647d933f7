"""The pure half: merging evidence, what may leave, what must be done, the budget, and reading the wire."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.decisions import TradingMode
from shared.domain.errors import InvalidInput
from shared.domain.orders import (
    FINAL_STATUSES,
    IntentState,
    OrderClass,
    OrderRequest,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
)
from shared.domain.symbols import Symbol
from shared.ports import BrokerExecution, BrokerOrder
from trade_executor import wire
from trade_executor.answers import DEFINITE_REFUSALS, definite_refusal, pause_asked_for
from trade_executor.budget import Budget, Lane
from trade_executor.lifecycle import (
    PROBE_OFFSETS_S,
    Circumstances,
    End,
    ExecutorState,
    Go,
    Intent,
    IntentPurpose,
    OrderRecord,
    Probes,
    Wait,
    bar_has_closed_over,
    difference_to,
    first_record,
    intent_after,
    is_same_execution,
    may_be_posted_again,
    may_leave,
    merged,
    order_of_work,
    quantity_to_exit,
)

NOW = datetime(2026, 1, 5, 15, 0, tzinfo=UTC)


def an_intent(**changes: Any) -> Intent:
    intent = Intent(
        client_order_id="fat-x-e0",
        decision_id="dec",
        signal_id="sig",
        symbol=Symbol("AAPL"),
        side=Side.BUY,
        purpose=IntentPurpose.ENTRY,
        generation=0,
        type=OrderType.MARKET,
        time_in_force=TimeInForce.GTC,
        order_class=OrderClass.BRACKET,
        quantity=Decimal(100),
        filled_quantity=Decimal(0),
        limit_price=None,
        stop_price=None,
        stop_loss=Decimal(90),
        take_profit=Decimal(120),
        reference_price=Decimal(100),
        state=IntentState.PENDING,
        broker_order_id=None,
        act_from=NOW,
        act_until=NOW + timedelta(minutes=2),
        posts=0,
        probes=0,
        sent_at=None,
    )
    return replace(intent, **changes)


def an_exit(**changes: Any) -> Intent:
    plain = {"order_class": OrderClass.SIMPLE, "stop_loss": None, "take_profit": None}
    return an_intent(side=Side.SELL, purpose=IntentPurpose.EXIT, **{**plain, **changes})


def seen(**changes: Any) -> BrokerOrder:
    order = BrokerOrder(
        broker_order_id="b-1",
        client_order_id="fat-x-e0",
        symbol=Symbol("AAPL"),
        side="buy",
        type="market",
        order_class="bracket",
        status="new",
        quantity=Decimal(100),
        filled_quantity=Decimal(0),
        filled_average_price=None,
        limit_price=None,
        stop_price=None,
        submitted_at=NOW,
        legs=(),
        raw={},
        updated_at=NOW,
    )
    return replace(order, **changes)


def a_record(**changes: Any) -> OrderRecord:
    return replace(first_record(seen(), parent_order_id=None, intent_id="fat-x-e0"), **changes)


def circumstances(**changes: Any) -> Circumstances:
    ordinary = Circumstances(
        now=NOW + timedelta(seconds=1),
        mode=TradingMode.ACTIVE,
        state=ExecutorState.READY,
        is_symbol_paused=False,
        has_unknown_in_symbol=False,
        are_hours_disputed=False,
        limits_have_changed=False,
    )
    return replace(ordinary, **changes)


# ---------------------------------------------------------------------- merging evidence

LIFE = [
    seen(status="pending_new"),
    seen(status="new", updated_at=NOW + timedelta(seconds=1)),
    seen(status="partially_filled", filled_quantity=Decimal(30), filled_average_price=Decimal(10)),
    seen(status="partially_filled", filled_quantity=Decimal(60), filled_average_price=Decimal(11)),
    seen(status="pending_cancel", filled_quantity=Decimal(60), filled_average_price=Decimal(11)),
    seen(status="canceled", filled_quantity=Decimal(60), filled_average_price=Decimal(11)),
    seen(status="teleported", filled_quantity=Decimal(30), filled_average_price=Decimal(10)),
]


def test_all_orders_of_arrival_of_seven_events_give_one_record() -> None:
    outcomes = set()
    for order in itertools.permutations(LIFE):
        record = first_record(order[0], parent_order_id=None, intent_id=None)
        for event in order[1:]:
            record = merged(record, event)
        outcomes.add(record)
    assert len(outcomes) == 1
    [record] = outcomes
    assert (record.status, record.filled_quantity) == (OrderStatus.CANCELED, Decimal(60))


@st.composite
def evidence(draw: st.DrawFn) -> BrokerOrder:
    filled = Decimal(draw(st.integers(0, 100)))
    return seen(
        status=draw(st.sampled_from([*(s.value for s in OrderStatus), "never_heard_of"])),
        filled_quantity=filled,
        filled_average_price=Decimal(draw(st.integers(1, 3))) if filled else None,
        quantity=Decimal(draw(st.integers(100, 103))),
        stop_price=draw(st.sampled_from([None, Decimal(1), Decimal(2)])),
        updated_at=draw(st.sampled_from([None, NOW, NOW + timedelta(seconds=5)])),
    )


@given(pieces=st.lists(evidence(), min_size=1, max_size=7), data=st.data())
def test_evidence_merges_to_one_record_in_any_order_and_however_often_it_comes(
    pieces: list[BrokerOrder], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(pieces + data.draw(st.lists(st.sampled_from(pieces)))))

    def fold(run: list[BrokerOrder]) -> OrderRecord:
        record = first_record(run[0], parent_order_id=None, intent_id=None)
        for piece in run[1:]:
            record = merged(record, piece)
        return record

    assert fold(pieces) == fold(shuffled)


@given(pieces=st.lists(evidence(), min_size=1, max_size=8))
def test_filled_shares_never_fall_and_an_end_is_the_end(pieces: list[BrokerOrder]) -> None:
    record = first_record(pieces[0], parent_order_id=None, intent_id=None)
    for piece in pieces[1:]:
        later = merged(record, piece)
        assert later.filled_quantity >= record.filled_quantity
        assert not record.status.is_final or later.status.is_final
        record = later


@given(
    state=st.sampled_from(IntentState),
    status=st.sampled_from(OrderStatus),
    filled=st.integers(0, 100),
    missing=st.integers(0, 100),
)
def test_an_intent_only_moves_along_the_table_and_ends_only_when_all_is_booked(
    state: IntentState, status: OrderStatus, filled: int, missing: int
) -> None:
    booked = max(0, filled - missing)
    record = a_record(
        status=status, filled_quantity=Decimal(filled), booked_quantity=Decimal(booked)
    )
    later = intent_after(state, record)
    start = IntentState.SENDING if state is IntentState.PENDING else state
    assert later is start or start.may_become(later)
    if booked < filled and not state.is_final:
        assert not later.is_final


def test_an_execution_is_one_whatever_road_it_came_by() -> None:
    execution = BrokerExecution(
        "e-1", "b-1", Symbol("AAPL"), "buy", Decimal(40), Decimal(10), NOW, {}, Decimal(40)
    )
    assert is_same_execution(execution, "e-1", None, Decimal(40), Decimal(10))
    assert is_same_execution(execution, "other", Decimal(40), Decimal(40), Decimal(10))
    assert not is_same_execution(execution, "other", Decimal(80), Decimal(40), Decimal(10))
    assert not is_same_execution(execution, "other", Decimal(40), Decimal(30), Decimal(10))
    assert not is_same_execution(execution, "other", None, Decimal(40), Decimal(10))


# ---------------------------------------------------------------------- may it leave?


def test_an_entry_leaves_when_everything_is_in_order() -> None:
    assert may_leave(an_intent(), circumstances()) == Go()


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"now": NOW - timedelta(seconds=1)}, Wait),
        ({"now": NOW + timedelta(hours=1)}, End),
        ({"mode": None}, Wait),
        ({"mode": TradingMode.REDUCING}, End),
        ({"mode": TradingMode.HALTED}, End),
        ({"is_symbol_paused": True}, End),
        ({"are_hours_disputed": True}, End),
        ({"has_unknown_in_symbol": True}, Wait),
        ({"state": ExecutorState.RECONCILING}, Wait),
        ({"state": ExecutorState.STANDBY}, Wait),
        ({"state": ExecutorState.ACCOUNT_MISMATCH}, Wait),
    ],
    ids=str,
)
def test_an_entry_stays_when_one_thing_is_not(changes: dict[str, Any], kind: type) -> None:
    assert isinstance(may_leave(an_intent(), circumstances(**changes)), kind)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"mode": TradingMode.REDUCING}, Go),
        ({"is_symbol_paused": True}, Go),
        ({"are_hours_disputed": True}, Go),
        ({"has_unknown_in_symbol": True}, Go),
        ({"state": ExecutorState.RECONCILING}, Go),
        ({"mode": TradingMode.HALTED}, Wait),
        ({"mode": None}, Wait),
        ({"state": ExecutorState.ACCOUNT_MISMATCH}, Wait),
        ({"now": NOW + timedelta(hours=1)}, End),
    ],
    ids=str,
)
def test_an_exit_is_held_up_by_less(changes: dict[str, Any], kind: type) -> None:
    assert isinstance(may_leave(an_exit(), circumstances(**changes)), kind)


def test_an_unknown_order_is_posted_again_only_after_an_answered_look_up_and_while_fresh() -> None:
    unknown = an_intent(state=IntentState.UNKNOWN, posts=1, probes=6)
    assert may_be_posted_again(unknown, circumstances(has_unknown_in_symbol=True))
    assert not may_be_posted_again(replace(unknown, probes=0), circumstances())
    assert not may_be_posted_again(unknown, circumstances(now=NOW + timedelta(hours=1)))
    assert not may_be_posted_again(unknown, circumstances(mode=TradingMode.REDUCING))
    assert not may_be_posted_again(replace(unknown, state=IntentState.ACKED), circumstances())


def test_an_unknown_entry_is_not_posted_again_once_an_exit_was_decided() -> None:
    unknown: dict[str, Any] = {"state": IntentState.UNKNOWN, "posts": 1, "probes": 6}
    left = circumstances(has_unknown_in_symbol=True, is_left_since=True)
    assert not may_be_posted_again(an_intent(**unknown), left)
    assert may_be_posted_again(replace(an_exit(), **unknown), left)


def test_work_goes_protection_then_exits_then_entries_each_as_decided() -> None:
    kinds = [IntentPurpose.ENTRY, IntentPurpose.EXIT, IntentPurpose.PROTECT, IntentPurpose.EXIT]
    assert order_of_work(enumerate(kinds)) == [2, 1, 3, 0]


# ---------------------------------------------------------------------- exits


def test_an_exit_never_sends_more_than_was_decided_or_is_held() -> None:
    assert quantity_to_exit(an_exit(quantity=Decimal(100)), Decimal(60)) == 60
    assert quantity_to_exit(an_exit(quantity=Decimal(30)), Decimal(60)) == 30
    assert quantity_to_exit(an_exit(), Decimal(0)) == 0
    assert quantity_to_exit(an_exit(), Decimal(-60)) == 0


def test_only_a_bracket_that_filled_in_part_before_the_bar_closed_gives_up_its_rest() -> None:
    partial = an_intent(state=IntentState.PARTIAL, sent_at=NOW)
    later = NOW + timedelta(minutes=1)
    assert bar_has_closed_over(partial, later)
    assert not bar_has_closed_over(partial, NOW)
    assert not bar_has_closed_over(replace(partial, state=IntentState.ACKED), later)
    assert not bar_has_closed_over(replace(partial, order_class=OrderClass.SIMPLE), later)


def test_an_order_found_under_our_id_must_be_ours_in_all_that_the_broker_tells() -> None:
    assert difference_to(an_intent(), seen()) is None
    assert difference_to(an_intent(), seen(quantity=None, side="", type="")) is None
    assert "quantity 7, not 100" in str(difference_to(an_intent(), seen(quantity=Decimal(7))))
    assert "symbol MSFT" in str(difference_to(an_intent(), seen(symbol=Symbol("MSFT"))))


# ---------------------------------------------------------------------- look-ups


def test_look_ups_come_at_0_1_2_4_8_and_15_seconds_and_then_every_15() -> None:
    probes = Probes()
    probes.begin("x", 100.0)
    asked, now_s = [], 100.0
    while now_s < 146.0:
        if probes.is_due("x", now_s):
            asked.append(now_s - 100.0)
            probes.answered("x", now_s)
        now_s += 0.5
    assert asked == [*PROBE_OFFSETS_S, 30.0, 45.0]


def test_a_look_up_without_an_answer_completes_nothing() -> None:
    probes = Probes()
    probes.begin("x", 0.0)
    for second in range(60):
        if probes.is_due("x", float(second)):
            probes.unanswered("x", float(second))
    assert not probes.round_is_complete("x")


# ---------------------------------------------------------------------- the budget


@given(
    limit=st.integers(3, 1_000),
    asks=st.lists(st.tuples(st.sampled_from(Lane), st.floats(0, 5)), min_size=1, max_size=400),
)
def test_no_window_of_a_minute_ever_holds_more_than_four_fifths_of_the_limit(
    limit: int, asks: list[tuple[Lane, float]]
) -> None:
    budget, now_s, passed = Budget(limit, 0.0), 0.0, []
    for lane, pause_s in asks:
        now_s += pause_s
        if budget.take(lane, now_s) == 0.0:
            passed.append(now_s)
    for begin in passed:
        assert sum(begin <= at < begin + 60.0 for at in passed) <= max(2, limit * 0.8)


def test_when_it_runs_short_entries_wait_first_and_cancels_last() -> None:
    budget = Budget(200, 0.0)
    stopped: list[Lane] = []
    while len(stopped) < 4:
        for lane in reversed(Lane):
            if lane not in stopped and budget.take(lane, 0.0) > 0:
                stopped.append(lane)
    assert stopped == [Lane.ENTRY, Lane.EXIT, Lane.QUERY, Lane.CANCEL]


def test_whoever_is_told_to_wait_may_go_when_that_time_is_over() -> None:
    budget, now_s = Budget(200, 0.0), 0.0
    for _ in range(300):
        while (pause_s := budget.take(Lane.ENTRY, now_s)) > 0:
            assert pause_s < 10
            now_s += pause_s


def test_a_pause_that_the_broker_asked_for_holds_even_cancels() -> None:
    budget = Budget(200, 0.0)
    budget.close(7.0, 0.0)
    assert budget.take(Lane.CANCEL, 1.0) == pytest.approx(6.0)
    assert budget.take(Lane.CANCEL, 7.0) == 0.0


# ---------------------------------------------------------------------- answers


@pytest.mark.parametrize("pair", sorted(DEFINITE_REFUSALS))
def test_a_listed_pair_of_status_and_code_is_a_definite_no(pair: tuple[int, int]) -> None:
    refusal = definite_refusal(pair[0], {"code": pair[1], "message": "no"})
    assert refusal is not None
    assert not refusal.names_a_taken_id


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (403, {"code": 1, "message": "?"}),
        (500, {"code": 40310000, "message": "?"}),
        (429, {"code": 42910000, "message": "rate limit exceeded"}),
        (429, {"message": "too many requests."}),
        (403, {"message": "forbidden."}),
        (422, {"code": "40010001", "message": "?"}),
        (422, {"code": 40010001}),
        (422, ["?"]),
        (503, None),
        (200, {"code": 40310000, "message": "?"}),
    ],
    ids=str,
)
def test_any_other_answer_proves_nothing(status: int, body: Any) -> None:
    assert definite_refusal(status, body) is None


@pytest.mark.parametrize(
    "text", ["client_order_id must be unique", "Client order id must be unique"]
)
def test_a_taken_id_is_no_refusal_but_a_reason_to_look(text: str) -> None:
    refusal = definite_refusal(422, {"code": 40010001, "message": text})
    assert refusal is not None
    assert refusal.names_a_taken_id


@pytest.mark.parametrize(
    ("headers", "pause_s"),
    [
        ({}, 1.0),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "soon"}, 1.0),
        ({"retry-after": "99999"}, 60.0),
        ({"retry-after": "-3"}, 0.25),
        ({"x-ratelimit-reset": "1767625212", "date": "Mon, 05 Jan 2026 15:00:00 GMT"}, 12.0),
        ({"x-ratelimit-reset": "1767625212"}, 1.0),
        ({"x-ratelimit-reset": "nan", "date": "Mon, 05 Jan 2026 15:00:00 GMT"}, 1.0),
    ],
    ids=str,
)
def test_a_pause_is_read_from_whatever_the_answer_says(
    headers: dict[str, str], pause_s: float
) -> None:
    assert pause_asked_for(headers) == pause_s


# ---------------------------------------------------------------------- the wire


def test_an_order_is_written_with_texts_and_without_unset_fields() -> None:
    bracket = an_intent().request()
    assert wire.order_body(bracket) == {
        "symbol": "AAPL",
        "qty": "100",
        "side": "buy",
        "type": "market",
        "time_in_force": "gtc",
        "client_order_id": "fat-x-e0",
        "order_class": "bracket",
        "take_profit": {"limit_price": "120"},
        "stop_loss": {"stop_price": "90"},
    }
    simple = OrderRequest(
        "c", Symbol("AAPL"), Side.SELL, Decimal("1.50"), OrderType.STOP, TimeInForce.DAY,
        stop_price=Decimal("99.10"),
    )  # fmt: skip
    assert wire.order_body(simple)["stop_price"] == "99.1"
    assert "order_class" not in wire.order_body(simple)


def test_an_order_needs_nothing_but_id_symbol_and_status() -> None:
    order = wire.read_order({"id": "b", "symbol": "AAPL", "status": "new", "surprise": [1]})
    assert order.filled_quantity == 0
    assert order.quantity is None
    assert (order.legs, order.side) == ((), "")


@pytest.mark.parametrize(
    "raw",
    [None, [], "x", {}, {"id": "", "symbol": "A", "status": "new"}, {"id": "b", "symbol": "A"},
     {"id": "b", "symbol": "A", "status": "new", "qty": "NaN"},
     {"id": "b", "symbol": "A", "status": "new", "qty": "1e400"},
     {"id": "b", "symbol": "A", "status": "new", "qty": "ten"},
     {"id": "b", "symbol": "A", "status": "new", "side": "sideways"}],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_an_order_is_refused_not_guessed(raw: Any) -> None:
    with pytest.raises(InvalidInput):
        wire.read_order(raw)


def test_the_activity_and_the_event_of_one_execution_bear_one_name() -> None:
    activity = wire.read_activity(
        {
            "id": "20261120143001123::3f1c", "transaction_time": "2026-11-20T14:30:01.123456789Z",
            "price": "187.25", "qty": "40", "cum_qty": "40", "side": "sell_short", "symbol": "AAPL",
            "order_id": "b-1",
        }
    )  # fmt: skip
    update = wire.read_update(
        {
            "stream": "trade_updates",
            "data": {
                "event": "partial_fill", "execution_id": "3f1c", "price": "187.25", "qty": "40",
                "timestamp": "2026-11-20T09:30:01.123456-05:00",
                "order": {
                    "id": "b-1", "symbol": "AAPL", "status": "partially_filled", "side": "sell",
                    "filled_qty": "40",
                },
            },
        }
    )  # fmt: skip
    assert update is not None
    assert update.execution is not None
    assert (activity.execution_id, activity.executed_at, activity.side, activity.cumulative) == (
        update.execution.execution_id, update.execution.executed_at, update.execution.side,
        update.execution.cumulative,
    )  # fmt: skip


@given(raw=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_frame_whatever_is_in_it_breaks_the_reader(raw: bytes) -> None:
    try:
        frame = wire.decode_frame(raw)
        wire.read_update(frame)
    except InvalidInput:
        pass


@given(
    event=st.text(min_size=1, max_size=40).filter(
        lambda t: "\x00" not in t and t not in {"fill", "partial_fill"}
    ),
    status=st.sampled_from(sorted(FINAL_STATUSES))
    | st.text(min_size=1, max_size=20).filter(
        lambda t: "\x00" not in t and t not in set(OrderStatus)
    ),
)
def test_any_word_as_event_or_status_is_survived(event: str, status: str) -> None:
    order = {"id": "b", "symbol": "AAPL", "status": status}
    update = wire.read_update({"stream": "trade_updates", "data": {"event": event, "order": order}})
    assert update is not None
    record = merged(a_record(), update.order)

    # A word that nobody has documented changes nothing.
    assert record.status == status or (
        status not in set(OrderStatus) and record.status is a_record().status
    )
