"""Whatever order the news of an order comes in, what we know of it ends where the venue's own book ends."""

from __future__ import annotations

import itertools
from dataclasses import replace
from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trade_executor.tests.floor import Floor
from shared.domain.order_life import EVENTS, STATUSES
from shared.domain.orders import OrderClass, OrderStatus, OrderType, Side, TimeInForce
from shared.domain.symbols import Symbol
from simulator import wire as venue_wire
from simulator.orders import Cancel, Replace, Submit
from trade_executor.lifecycle import OrderRecord, first_record, is_same_execution, merged
from trade_executor.wire import TradeUpdate, decode_frame, read_update

AAPL = Symbol("AAPL")
# https://docs.alpaca.markets names these, and no others.
DOCUMENTED_EVENTS = (
    "new fill partial_fill canceled expired done_for_day replaced rejected pending_new stopped pending_cancel "
    "pending_replace calculated suspended order_replace_rejected order_cancel_rejected accepted restated held"
)


def test_every_documented_status_and_event_has_its_row() -> None:
    assert set(STATUSES) == set(OrderStatus)
    assert set(EVENTS) == set(DOCUMENTED_EVENTS.split())
    assert len({row.rank for row in STATUSES.values()}) == len(STATUSES)


def test_an_event_that_ends_an_order_leaves_it_in_a_final_status() -> None:
    ends = {name for name, row in EVENTS.items() if row.status and STATUSES[row.status].is_final}
    assert ends == {"fill", "canceled", "expired", "replaced", "rejected"}
    assert not any(
        STATUSES[s].can_cancel or STATUSES[s].can_replace for s in OrderStatus if s.is_final
    )


@st.composite
def lives(draw: st.DrawFn) -> list[TradeUpdate]:
    """What the stream tells of one order and its legs, from its entry to whatever end."""
    floor = Floor()
    order_class = draw(st.sampled_from([OrderClass.SIMPLE, OrderClass.BRACKET, OrderClass.OTO]))
    kind = draw(st.sampled_from([OrderType.MARKET, OrderType.LIMIT]))
    if order_class is OrderClass.SIMPLE:
        kind = draw(st.sampled_from(OrderType))
    wish = Submit(
        AAPL, Side.BUY, Decimal(25), kind,
        draw(st.sampled_from([TimeInForce.DAY, TimeInForce.GTC])), order_class,
        limit_price=Decimal(101) if kind.has_limit else None,
        stop_price=Decimal(101) if kind in (OrderType.STOP, OrderType.STOP_LIMIT) else None,
        trail_price=Decimal(1) if kind is OrderType.TRAILING_STOP else None,
        take_profit=Decimal(110) if order_class is OrderClass.BRACKET else None,
        stop_loss=Decimal(90) if order_class is not OrderClass.SIMPLE else None,
        client_order_id="ours",
    )  # fmt: skip
    order = floor.do(wish)
    assert order is not None
    for _ in range(draw(st.integers(1, 6))):
        match draw(st.sampled_from(["bar", "bar", "bar", "cancel", "replace"])):
            case "bar":
                floor.bar(
                    draw(st.sampled_from([89.0, 100.0, 112.0])),
                    draw(st.sampled_from([50, 100, 1_000])),
                    ends=draw(st.integers(0, 9)) == 0,
                )
            case "cancel":
                floor.do(Cancel(order.id))
            case "replace" if kind.has_limit:
                order = floor.do(Replace(order.id, limit_price=Decimal(102))) or order
    assert floor.told
    read = [read_update(decode_frame(frame)) for frame in floor.frames()]
    return [update for update in read if update is not None]


def known_after(
    updates: list[TradeUpdate],
) -> tuple[dict[str, OrderRecord], dict[str, Decimal]]:
    """Records, and shares booked, once these lines have been read in this order."""
    records: dict[str, OrderRecord] = {}
    booked: dict[str, list[tuple[str, Decimal | None, Decimal, Decimal]]] = {}
    for update in updates:
        name = update.order.broker_order_id
        if name in records:
            records[name] = merged(records[name], update.order)
        else:
            records[name] = first_record(update.order, parent_order_id=None, intent_id=None)
        if update.execution is not None:
            e, known = update.execution, booked.setdefault(name, [])
            if not any(is_same_execution(e, *one) for one in known):
                known.append((e.execution_id, e.cumulative, e.quantity, e.price))
    return records, {n: sum((one[2] for one in all_), Decimal(0)) for n, all_ in booked.items()}


@given(life=lives(), data=st.data())
def test_a_life_told_in_any_order_with_repeats_ends_as_the_venue_says(
    life: list[TradeUpdate], data: st.DataObject
) -> None:
    repeats = data.draw(st.lists(st.sampled_from(life), max_size=5))
    records, booked = known_after(data.draw(st.permutations([*life, *repeats])))
    last = {update.order.broker_order_id: update.order for update in life}
    for name, order in last.items():
        assert records[name].status.value == order.status
        assert records[name].filled_quantity == order.filled_quantity
        assert booked.get(name, Decimal(0)) == order.filled_quantity


@given(life=lives())
def test_each_permutation_of_up_to_five_lines_of_one_order_ends_alike(
    life: list[TradeUpdate],
) -> None:
    first = life[0].order.broker_order_id
    lines = [u for u in life if u.order.broker_order_id == first][:5]
    ends = {repr(known_after(list(order))) for order in itertools.permutations(lines)}
    assert len(ends) == 1


@pytest.mark.prove
@given(life=lives())
def test_each_permutation_of_up_to_seven_lines_of_one_order_ends_alike(
    life: list[TradeUpdate],
) -> None:
    first = life[0].order.broker_order_id
    lines = [u for u in life if u.order.broker_order_id == first][:7]
    ends = {repr(known_after(list(order))) for order in itertools.permutations(lines)}
    assert len(ends) == 1


@given(word=st.text(max_size=30))
def test_any_word_as_an_event_is_read_and_concludes_nothing(word: str) -> None:
    floor = Floor()
    floor.do(replace(Submit(AAPL, Side.BUY, Decimal(1), OrderType.MARKET, TimeInForce.DAY)))
    frame = venue_wire.trade_update(floor.told[0])
    frame["data"]["event"] = word or "x"
    if "\x00" in word:
        return
    update = read_update(decode_frame(orjson.dumps(frame)))
    assert update is not None
    assert update.execution is None or word in ("fill", "partial_fill")
    assert update.meaning is EVENTS.get(word)
