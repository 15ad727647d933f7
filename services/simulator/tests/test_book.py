"""The account book: what becomes of orders, and the laws that no run of commands may break."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.orders import OrderClass, OrderStatus, OrderType, Side, TimeInForce
from shared.domain.symbols import Symbol
from simulator.book import Book
from simulator.matching import TapeBar
from simulator.orders import BookRules, Cancel, Configure, Order, Replace, Role, Submit
from simulator.refusals import Refusal

AAPL = Symbol("AAPL")


def a_buy(quantity: int = 10, **terms: Any) -> Submit:
    return _wish(Side.BUY, quantity, terms)


def a_sell(quantity: int = 10, **terms: Any) -> Submit:
    return _wish(Side.SELL, quantity, terms)


def _wish(side: Side, quantity: int, terms: dict[str, Any]) -> Submit:
    prices = ("limit_price", "stop_price", "take_profit", "stop_loss")
    terms = {k: Decimal(str(v)) if k in prices else v for k, v in terms.items()}
    kind = OrderType.MARKET
    if "limit_price" in terms:
        kind = OrderType.LIMIT
    elif "stop_price" in terms:
        kind = OrderType.STOP
    wish = Submit(AAPL, side, Decimal(quantity), kind, TimeInForce.GTC)
    return replace(wish, **terms)


def a_bracket(quantity: int = 10, target: float = 110, stop: float = 90, **terms: Any) -> Submit:
    return a_buy(
        quantity, order_class=OrderClass.BRACKET, take_profit=target, stop_loss=stop, **terms
    )


def an_oco(quantity: int = 10, target: float = 110, stop: float = 90) -> Submit:
    wish = a_sell(quantity, order_class=OrderClass.OCO, take_profit=target, stop_loss=stop)
    return replace(wish, type=OrderType.LIMIT)


def submit(floor: Any, wish: Submit) -> Order:
    order: Order | None = floor.book.apply(wish)[0]
    assert order is not None
    return order


def now(floor: Any, order: Order) -> Order:
    found: Order = floor.book.order(order.id)
    return found


def legs(floor: Any, order: Order) -> dict[Role, Order]:
    return {leg.role: leg for leg in floor.book.legs_of(order)}


# ---------------------------------------------------------------------- life of an order


def test_an_order_waits_accepted_while_the_market_is_closed_and_is_new_at_the_open(
    floor: Any,
) -> None:
    order = submit(floor, a_buy())
    assert order.status is OrderStatus.ACCEPTED

    floor.start()

    assert now(floor, order).status is OrderStatus.NEW
    assert floor.book.executions == []


def test_a_day_order_expires_with_its_session_and_a_gtc_order_stays(floor: Any) -> None:
    day = submit(floor, a_buy(limit_price=50, time_in_force=TimeInForce.DAY))
    stays = submit(floor, a_buy(limit_price=50))

    floor.bar(100, 101, 99, 100, ends=True)

    assert now(floor, day).status is OrderStatus.EXPIRED
    assert now(floor, stays).status is OrderStatus.NEW


def test_a_large_order_fills_over_several_bars_within_the_volume_cap(
    make_floor: Callable[..., Any],
) -> None:
    floor = make_floor(max_volume_share=0.1)
    order = submit(floor, a_buy(25))

    floor.bar(100, 101, 99, 100, volume=100)
    assert (now(floor, order).status, now(floor, order).filled_quantity) == (
        OrderStatus.PARTIALLY_FILLED,
        Decimal(10),
    )
    floor.bar(102, 103, 101, 102, volume=105)
    floor.bar(104, 105, 103, 104, volume=100)

    done = now(floor, order)
    assert (done.status, done.fills) == (OrderStatus.FILLED, 3)
    assert done.average_price == Decimal("101.6")


def test_orders_on_one_share_divide_the_cap_in_the_order_of_their_submission(
    make_floor: Callable[..., Any],
) -> None:
    floor = make_floor(max_volume_share=0.1)
    first, second = submit(floor, a_buy(8)), submit(floor, a_buy(8))

    floor.bar(100, 101, 99, 100, volume=100)

    assert now(floor, first).filled_quantity == 8
    assert now(floor, second).filled_quantity == 2


def test_an_exit_is_matched_before_an_older_entry(make_floor: Callable[..., Any]) -> None:
    floor = make_floor(max_volume_share=0.1)
    submit(floor, a_buy(10))
    floor.bar(100, 101, 99, 100)
    entry = submit(floor, a_bracket(10))
    exit_ = submit(floor, an_oco(10, target=99.5, stop=80))

    floor.bar(100, 101, 99, 100, volume=100)

    assert now(floor, exit_).status is OrderStatus.FILLED
    assert now(floor, entry).filled_quantity == 0


def test_a_bar_without_volume_fills_nothing(floor: Any) -> None:
    order = submit(floor, a_buy())

    floor.bar(100, 101, 99, 100, volume=0)

    assert now(floor, order).status is OrderStatus.NEW


# ---------------------------------------------------------------------- brackets and pairs


def test_legs_are_held_until_the_entry_is_completely_filled(
    make_floor: Callable[..., Any],
) -> None:
    floor = make_floor(max_volume_share=0.1)
    entry = submit(floor, a_bracket(15))

    floor.bar(100, 101, 85, 100, volume=100)  # would touch the stop, were it armed
    assert {leg.status for leg in floor.book.legs_of(entry)} == {OrderStatus.HELD}

    floor.bar(100, 101, 99, 100, volume=100)
    assert {leg.status for leg in floor.book.legs_of(entry)} == {OrderStatus.NEW}


def test_a_stop_that_is_armed_in_its_entry_bar_counts_in_that_bar(floor: Any) -> None:
    entry = submit(floor, a_bracket())

    floor.bar(100, 101, 89, 95)

    both = legs(floor, entry)
    assert both[Role.STOP].average_price == 90
    assert both[Role.TARGET].status is OrderStatus.CANCELED
    assert floor.book.cash == 99_900


@pytest.mark.parametrize("in_entry_bar", [True, False])
def test_when_stop_and_target_lie_in_one_bar_the_stop_is_taken(
    floor: Any, in_entry_bar: bool
) -> None:
    entry = submit(floor, a_bracket())
    if not in_entry_bar:
        floor.bar(100, 101, 99, 100)

    floor.bar(100, 120, 80, 100)

    assert legs(floor, entry)[Role.STOP].status is OrderStatus.FILLED
    assert legs(floor, entry)[Role.TARGET].status is OrderStatus.CANCELED


def test_an_entry_that_opens_below_its_stop_leaves_at_the_entrys_own_price(floor: Any) -> None:
    entry = submit(floor, a_bracket())

    floor.bar(85, 86, 84, 85)  # a gap through the stop at 90

    assert now(floor, entry).average_price == 85
    assert legs(floor, entry)[Role.STOP].average_price == 85


def test_a_partial_fill_of_the_target_shrinks_the_stop(make_floor: Callable[..., Any]) -> None:
    floor = make_floor(max_volume_share=0.1)
    entry = submit(floor, a_bracket(10))
    floor.bar(100, 101, 99, 100, volume=100)

    floor.bar(100, 111, 99, 100, volume=40)

    both = legs(floor, entry)
    assert both[Role.TARGET].status is OrderStatus.PARTIALLY_FILLED
    assert (both[Role.STOP].status, both[Role.STOP].quantity) == (OrderStatus.NEW, Decimal(6))


def test_a_triggered_stop_sells_its_rest_at_the_next_open(make_floor: Callable[..., Any]) -> None:
    floor = make_floor(max_volume_share=0.1)
    entry = submit(floor, a_bracket(10))
    floor.bar(100, 101, 99, 100, volume=100)

    floor.bar(91, 92, 89, 92, volume=40)
    floor.bar(95, 96, 94, 95, volume=1_000)  # above the stop again

    assert [(e.quantity, e.price) for e in floor.book.executions[1:]] == [(4, 90), (6, 95)]
    assert legs(floor, entry)[Role.TARGET].status is OrderStatus.CANCELED
    assert floor.book.quantity_of(AAPL) == 0


@pytest.mark.parametrize("which", ["parent", "leg"])
def test_canceling_any_part_of_a_waiting_bracket_cancels_all(floor: Any, which: str) -> None:
    entry = submit(floor, a_bracket())
    target = entry if which == "parent" else floor.book.legs_of(entry)[0]

    floor.book.apply(Cancel(target.id))

    assert {order.status for order in floor.book.orders.values()} == {OrderStatus.CANCELED}
    assert floor.book.open_orders() == []


def test_a_partly_filled_entry_that_is_canceled_leaves_its_shares_and_no_legs(
    make_floor: Callable[..., Any],
) -> None:
    floor = make_floor(max_volume_share=0.1)
    entry = submit(floor, a_bracket(15))
    floor.bar(100, 101, 99, 100, volume=100)

    floor.book.apply(Cancel(entry.id))

    assert floor.book.quantity_of(AAPL) == 10
    assert floor.book.open_orders() == []
    assert floor.book.held_for_orders(AAPL) == (0, [])


def test_an_oco_protects_what_is_held_and_binds_it_once(floor: Any) -> None:
    submit(floor, a_buy())
    floor.bar(100, 101, 99, 100)

    pair = submit(floor, an_oco())

    assert floor.book.held_for_orders(AAPL)[0] == 10
    floor.bar(100, 111, 99, 110)
    assert now(floor, pair).status is OrderStatus.FILLED
    assert legs(floor, pair)[Role.STOP].status is OrderStatus.CANCELED


def test_legs_are_never_armed_for_more_than_is_held(make_floor: Callable[..., Any]) -> None:
    floor = make_floor(max_volume_share=0.1)
    entry = submit(floor, a_bracket(15))
    floor.bar(100, 101, 99, 100, volume=100)
    submit(floor, replace(an_oco(10, target=100.5, stop=95)))  # somebody sells the first ten
    floor.bar(100, 101, 99, 100, volume=100)
    floor.bar(100, 100.4, 99, 100, volume=100)

    assert now(floor, entry).status is OrderStatus.FILLED
    assert {leg.quantity for leg in floor.book.legs_of(entry)} == {Decimal(5)}


def test_a_replaced_leg_keeps_its_place_in_the_pair(floor: Any) -> None:
    entry = submit(floor, a_bracket())
    floor.bar(100, 101, 99, 100)
    stop = legs(floor, entry)[Role.STOP]

    moved, _ = floor.book.apply(Replace(stop.id, stop_price=Decimal(97)))
    floor.bar(98, 99, 96, 97)

    assert len(floor.book.legs_of(entry)) == 2
    assert now(floor, stop).status is OrderStatus.REPLACED
    assert now(floor, moved).average_price == 97
    assert legs(floor, entry)[Role.TARGET].status is OrderStatus.CANCELED


def test_the_legs_follow_a_replaced_entry(floor: Any) -> None:
    floor.start()
    entry = submit(floor, a_bracket(limit_price=95, target=110, stop=90))

    moved, _ = floor.book.apply(Replace(entry.id, limit_price=Decimal(99)))
    assert moved is not None
    floor.bar(100, 101, 98, 100)

    assert now(floor, moved).average_price == 99
    assert {leg.status for leg in floor.book.legs_of(moved)} == {OrderStatus.NEW}
    assert floor.book.legs_of(entry) == []
    floor.book.apply(Cancel(floor.book.legs_of(moved)[0].id))
    assert floor.book.open_orders() == []


# ---------------------------------------------------------------------- refusals


def words(floor: Any, wish: Any) -> str:
    with pytest.raises(Refusal) as refusal:
        floor.book.apply(wish)
    return f"{refusal.value.status} {refusal.value}"


def test_open_buys_reserve_their_cash(floor: Any) -> None:
    submit(floor, a_buy(900, limit_price=100))

    assert words(floor, a_buy(101, limit_price=100)) == "403 insufficient buying power"
    assert floor.book.buying_power == 10_000


def test_shares_bound_by_one_sell_are_not_sold_again(floor: Any) -> None:
    submit(floor, a_buy())
    floor.bar(100, 101, 99, 100)
    submit(floor, a_sell(8, limit_price=110))

    assert words(floor, a_sell(3, limit_price=110)) == (
        "403 insufficient qty available for order (requested: 3, available: 2)"
    )


def test_orders_that_could_trade_with_each_other_are_refused(floor: Any) -> None:
    submit(floor, a_buy())
    floor.bar(100, 101, 99, 100)
    submit(floor, a_sell(5, stop_price=90))

    assert "opposite side market/stop order exists" in words(floor, a_buy())
    floor.book.apply(Cancel(floor.book.open_orders()[0].id))
    submit(floor, a_sell(5, limit_price=105))
    assert "opposite side limit order exists" in words(floor, a_buy(limit_price=105))
    submit(floor, a_buy(limit_price=104))


def test_a_resting_bracket_does_not_block_a_top_up(floor: Any) -> None:
    submit(floor, a_bracket())
    floor.bar(100, 101, 99, 100)

    assert submit(floor, a_buy()).status is OrderStatus.NEW


def test_the_second_send_of_a_living_order_is_told_so_even_behind_the_fence(floor: Any) -> None:
    submit(floor, a_buy(900, limit_price=100, client_order_id="mine"))
    floor.book.apply(Configure({"suspend_trade": True}))

    assert words(floor, a_buy(900, limit_price=100, client_order_id="mine")) == (
        "422 client_order_id must be unique"
    )


def test_the_fence_refuses_orders_and_replacements_but_no_cancel(floor: Any) -> None:
    floor.start()
    order = submit(floor, a_buy(limit_price=90))
    floor.book.apply(Configure({"suspend_trade": True}))

    assert words(floor, a_buy()).startswith("403")
    assert words(floor, Replace(order.id, limit_price=Decimal(91))).startswith("403")
    floor.book.apply(Cancel(order.id))


@pytest.mark.parametrize(
    ("wish", "text"),
    [
        (a_bracket(target=89, stop=90), "take_profit.limit_price must be > stop_loss.stop_price"),
        (a_bracket(target=110, stop=100), "stop_loss.stop_price must be <= base_price - 0.01"),
        (a_bracket(target=100, stop=90), "take_profit.limit_price must be >= base_price + 0.01"),
    ],
)
def test_a_bracket_must_stand_around_its_base_price(floor: Any, wish: Submit, text: str) -> None:
    assert words(floor, wish) == f"422 {text}"


def test_a_refused_command_leaves_the_book_as_it_was(floor: Any) -> None:
    submit(floor, a_buy(client_order_id="mine"))
    before = orjson.dumps(floor.book.snapshot())

    for wish in (
        a_buy(client_order_id="mine"),
        a_buy(10_000),
        a_sell(),
        an_oco(),
        Cancel("nobody"),
        Replace("nobody", limit_price=Decimal(1)),
    ):
        with pytest.raises(Refusal):
            floor.book.apply(wish)

    assert orjson.dumps(floor.book.snapshot()) == before


def test_short_sales_need_the_rule_that_allows_them(make_floor: Callable[..., Any]) -> None:
    floor = make_floor(allow_short=True)
    submit(floor, a_sell(10))
    floor.bar(100, 101, 99, 100)

    assert floor.book.quantity_of(AAPL) == -10
    assert floor.book.cash == 101_000
    assert floor.book.buying_power == 99_000
    submit(floor, a_buy(10))
    floor.bar(90, 91, 89, 90)
    assert (floor.book.quantity_of(AAPL), floor.book.cash) == (0, 100_100)


def test_a_purchase_closes_no_more_than_is_owed_and_free(make_floor: Callable[..., Any]) -> None:
    floor = make_floor(allow_short=True)
    submit(floor, a_sell(10))
    floor.bar(100, 101, 99, 100)

    with pytest.raises(Refusal, match=r"requested: 11, available: 10"):
        floor.book.apply(a_buy(11))
    resting = submit(floor, a_buy(10, limit_price=90))
    with pytest.raises(Refusal, match=r"requested: 1, available: 0"):
        floor.book.apply(a_buy(1, limit_price=80))
    with pytest.raises(Refusal, match=r"requested: 11, available: 10"):
        floor.book.apply(Replace(resting.id, quantity=Decimal(11)))


def test_orders_that_open_a_position_on_both_sides_are_not_open_together(
    make_floor: Callable[..., Any],
) -> None:
    floor = make_floor(allow_short=True)
    short = submit(floor, a_sell(10, limit_price=120))
    with pytest.raises(Refusal, match="cannot open a long buy while a short sell order is open"):
        floor.book.apply(a_buy(10, limit_price=80))
    floor.book.apply(Cancel(short.id))
    submit(floor, a_buy(10, limit_price=80))
    with pytest.raises(Refusal, match="cannot open a short sell while a long buy order is open"):
        floor.book.apply(a_sell(10, limit_price=120))


def test_a_share_that_is_not_lent_is_not_sold_short(make_floor: Callable[..., Any]) -> None:
    floor = make_floor(allow_short=True, not_lent=frozenset({AAPL}))
    with pytest.raises(Refusal, match='asset "AAPL" cannot be sold short') as error:
        floor.book.apply(a_sell())
    assert error.value.status == 422


def test_a_short_sale_is_reserved_at_three_percent_above_the_market_and_never_in_fractions(
    make_floor: Callable[..., Any],
) -> None:
    floor = make_floor(cash=10_300, allow_short=True)
    floor.bar(100, 101, 99, 100)
    floor.start()
    with pytest.raises(Refusal, match="fractional orders cannot be sold short"):
        floor.book.apply(replace(a_sell(), quantity=Decimal("0.5")))
    with pytest.raises(Refusal, match="insufficient buying power"):
        floor.book.apply(a_sell(101))
    order = submit(floor, a_sell(50, limit_price=110))
    assert floor.book.buying_power == 10_300 - 50 * 110
    dearer = floor.book.apply(Replace(order.id, limit_price=Decimal(120)))[0]
    assert floor.book.buying_power == 10_300 - 50 * 120
    with pytest.raises(Refusal, match="insufficient buying power"):
        floor.book.apply(Replace(dearer.id, quantity=Decimal(86)))


def test_the_legs_of_a_short_bracket_are_above_and_below_and_bind_its_shares(
    make_floor: Callable[..., Any],
) -> None:
    floor = make_floor(allow_short=True)
    bracket = {"order_class": OrderClass.BRACKET, "stop_loss": 105, "take_profit": 95}
    for wrong in ({"stop_loss": 95}, {"take_profit": 105}, {"stop_loss": 100}):
        with pytest.raises(Refusal, match=r"stop_loss\.stop_price|take_profit\.limit_price"):
            floor.book.apply(a_sell(10, **{**bracket, **wrong}))
    entry = submit(floor, a_sell(10, **bracket))
    floor.bar(100, 101, 99, 100)
    stop, target = sorted(floor.book.legs_of(entry), key=lambda leg: leg.role is not Role.STOP)
    assert (stop.side, stop.stop_price, stop.position_intent) == (Side.BUY, 105, "buy_to_close")
    assert (target.side, target.limit_price) == (Side.BUY, 95)
    assert floor.book.held_for_orders(AAPL)[0] == 10
    floor.bar(107, 108, 106, 107)
    assert floor.book.orders[stop.id].average_price == 107, "a gap hurts"
    assert floor.book.orders[target.id].status is OrderStatus.CANCELED
    assert (floor.book.quantity_of(AAPL), floor.book.cash) == (0, 100_000 - 70)


def test_changes_list_each_order_once_with_its_final_view(floor: Any) -> None:
    first = submit(floor, a_buy())
    submit(floor, a_buy(limit_price=50))
    seen = floor.book.revision
    floor.bar(100, 101, 99, 100)

    changed = floor.book.changed_after(seen)

    assert [order.status for order in changed] == [OrderStatus.NEW, OrderStatus.FILLED]
    assert changed[-1].id == first.id
    assert floor.book.changed_after(floor.book.revision) == []


# ---------------------------------------------------------------------- laws

PRICES = st.integers(80_00, 120_00).map(lambda cents: Decimal(cents) / 100)
QUANTITIES = st.integers(1, 60).map(Decimal)


@st.composite
def wishes(draw: st.DrawFn) -> Submit:
    side = draw(st.sampled_from(Side))
    force = draw(st.sampled_from(TimeInForce))
    quantity, price = draw(QUANTITIES), draw(PRICES)
    match draw(st.sampled_from(["market", "limit", "stop", "bracket", "oco"])):
        case "market":
            return Submit(AAPL, side, quantity, OrderType.MARKET, force)
        case "limit":
            return Submit(AAPL, side, quantity, OrderType.LIMIT, force, limit_price=price)
        case "stop":
            return Submit(AAPL, side, quantity, OrderType.STOP, force, stop_price=price)
        case "bracket":
            target, stop = draw(PRICES), draw(PRICES)
            kind = draw(st.sampled_from([OrderType.MARKET, OrderType.LIMIT]))
            limit = price if kind is OrderType.LIMIT else None
            bracket = OrderClass.BRACKET
            return Submit(AAPL, side, quantity, kind, force, bracket, limit, None, target, stop)
        case _:
            target, stop = draw(PRICES), draw(PRICES)
            oco = OrderClass.OCO
            return Submit(
                AAPL, side, quantity, OrderType.LIMIT, force, oco, None, None, target, stop
            )


@st.composite
def tape_bars(draw: st.DrawFn) -> TapeBar:
    figures = [float(draw(PRICES)) for _ in range(4)]
    return TapeBar(figures[0], max(figures), min(figures), figures[1], draw(st.integers(0, 400)))


ACTIONS = st.lists(
    st.one_of(
        wishes(),
        tape_bars(),
        st.tuples(st.just("cancel"), st.integers(0, 50)),
        st.tuples(st.just("move"), st.integers(0, 50), PRICES),
    ),
    max_size=40,
)


def play(actions: list[Any], rules: BookRules, make: Callable[..., Any]) -> Any:
    floor = make(allow_short=rules.allow_short, max_volume_share=rules.max_volume_share)
    for number, action in enumerate(actions):
        book: Book = floor.book
        ids = list(book.orders)
        try:
            if isinstance(action, TapeBar):
                filled = len(book.executions)
                floor.bar(*action, ends=number % 7 == 6)
                # The closing auction has a volume of its own, which the bar does not tell.
                in_bar = sum(
                    e.quantity
                    for e in book.executions[filled:]
                    if book.orders[e.order_id].time_in_force is not TimeInForce.CLS
                )
                cap = max(int(action.volume * rules.max_volume_share + 1e-9), 1)
                assert in_bar <= (cap if action.volume else 0)
            elif isinstance(action, Submit):
                book.apply(action)
            elif action[0] == "cancel" and ids:
                book.apply(Cancel(ids[action[1] % len(ids)]))
            elif action[0] == "move" and ids:
                order = book.orders[ids[action[1] % len(ids)]]
                is_stop = order.type is OrderType.STOP
                change = {"stop_price" if is_stop else "limit_price": action[2]}
                book.apply(Replace(order.id, **change))
        except Refusal:
            pass
        check_laws(book)
    return floor


def check_laws(book: Book) -> None:
    spent = sum((e.side.sign * e.quantity * e.price for e in book.executions), Decimal(0))
    assert book.cash == book.rules.cash - spent
    moved = sum((e.side.sign * e.quantity for e in book.executions), Decimal(0))
    assert book.quantity_of(AAPL) == moved
    if not book.rules.allow_short:
        assert moved >= 0
    if moved:
        # What is bound to be sold, or bought back, is there: no run of fills can close too much.
        assert book.held_for_orders(AAPL)[0] <= abs(moved)
    held = Decimal(0)
    for execution in book.executions:
        before, held = held, held + execution.side.sign * execution.quantity
        assert before * held >= 0, "a fill went through zero"
    for order in book.orders.values():
        fills = [e for e in book.executions if e.order_id == order.id]
        assert sum((e.quantity for e in fills), Decimal(0)) == order.filled_quantity
        assert order.filled_quantity <= order.quantity
        assert (order.status is OrderStatus.FILLED) == (order.remaining == 0) or (
            order.status.is_final
        )
        assert (order.id in {o.id for o in book.open_orders()}) is not order.status.is_final
        if order.type is OrderType.LIMIT and order.limit_price is not None:
            assert all((e.price - order.limit_price) * order.side.sign <= 0 for e in fills), (
                "a limit filled worse than its price"
            )


RULES = st.builds(
    BookRules,
    cash=st.just(Decimal(100_000)),
    max_volume_share=st.sampled_from([0.1, 0.5, 1.0]),
    allow_short=st.booleans(),
)


@given(actions=ACTIONS, rules=RULES)
def test_no_run_of_commands_and_bars_breaks_a_law(
    make_floor: Callable[..., Any], actions: list[Any], rules: BookRules
) -> None:
    play(actions, rules, make_floor)


@given(actions=ACTIONS, rules=RULES)
def test_the_same_commands_make_the_same_book_to_the_last_byte(
    make_floor: Callable[..., Any], actions: list[Any], rules: BookRules
) -> None:
    first = play(actions, rules, make_floor).book.snapshot()
    second = play(actions, rules, make_floor).book.snapshot()

    assert orjson.dumps(first) == orjson.dumps(second)
