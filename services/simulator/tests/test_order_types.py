"""What becomes of each kind of order: its price, its hours, its pair, and how it ends."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from shared.domain.orders import OrderClass, OrderStatus, OrderType, Side, TimeInForce
from shared.domain.symbols import Symbol
from simulator.orders import Cancel, Order, Replace, Role, Submit
from simulator.refusals import Refusal

AAPL = Symbol("AAPL")


def an_order(side: Side, kind: OrderType, quantity: float = 10, **terms: Any) -> Submit:
    force = terms.pop("time_in_force", TimeInForce.DAY)
    order_class = terms.pop("order_class", OrderClass.SIMPLE)
    figures: dict[str, Any] = {name: Decimal(str(value)) for name, value in terms.items()}
    return replace(Submit(AAPL, side, Decimal(str(quantity)), kind, force, order_class), **figures)


def submit(floor: Any, wish: Submit) -> Order:
    order: Order | None = floor.book.apply(wish)[0]
    assert order is not None
    return order


def now(floor: Any, order: Order) -> Order:
    found: Order = floor.book.order(order.id)
    return found


def holding(floor: Any, quantity: int = 10) -> None:
    """That many shares, bought at 100."""
    submit(floor, an_order(Side.BUY, OrderType.MARKET, quantity))
    floor.bar(100, 100, 100, 100)


# ---------------------------------------------------------------------- stop-limit


def test_a_stop_limit_fills_where_it_was_touched_when_that_is_within_its_limit(floor: Any) -> None:
    order = submit(floor, an_order(Side.BUY, OrderType.STOP_LIMIT, stop_price=105, limit_price=106))
    floor.bar(100, 104, 99, 103)
    assert now(floor, order).status is OrderStatus.NEW
    floor.bar(103, 107, 102, 106)
    assert now(floor, order).average_price == Decimal(105)


def test_a_stop_limit_that_is_jumped_over_rests_at_its_limit(floor: Any) -> None:
    order = submit(floor, an_order(Side.BUY, OrderType.STOP_LIMIT, stop_price=105, limit_price=106))
    floor.bar(110, 112, 109, 111)
    rests = now(floor, order)
    assert (rests.status, rests.triggered) == (OrderStatus.NEW, True)
    floor.bar(108, 109, 104, 107)
    assert now(floor, order).average_price == Decimal(106)


# ---------------------------------------------------------------------- trailing stop


def test_a_trailing_stop_follows_closed_bars_and_never_goes_back(floor: Any) -> None:
    holding(floor)
    order = submit(floor, an_order(Side.SELL, OrderType.TRAILING_STOP, trail_price=5))
    assert order.stop_price == Decimal(95)
    floor.bar(100, 130, 99, 120)
    assert now(floor, order).stop_price == Decimal(115)
    floor.bar(119, 121, 116, 117)
    moved = now(floor, order)
    assert (moved.stop_price, moved.high_water_mark) == (Decimal(115), Decimal(120))
    floor.bar(116, 117, 114, 114)
    assert now(floor, order).average_price == Decimal(115)


def test_a_trailing_stop_in_percent_guards_a_short_from_above(
    make_floor: Callable[..., Any],
) -> None:
    floor = make_floor(allow_short=True)
    submit(floor, an_order(Side.SELL, OrderType.MARKET))
    floor.bar(100, 100, 100, 100)
    order = submit(floor, an_order(Side.BUY, OrderType.TRAILING_STOP, trail_percent=10))
    assert order.stop_price == Decimal(110)
    floor.bar(100, 100, 79, 80)
    assert now(floor, order).stop_price == Decimal(88)


def test_a_trailing_stop_is_tightened_by_its_trail_alone(floor: Any) -> None:
    holding(floor)
    order = submit(floor, an_order(Side.SELL, OrderType.TRAILING_STOP, trail_price=5))
    tighter = floor.book.apply(Replace(order.id, trail=Decimal(2)))[0]
    assert (tighter.stop_price, tighter.trail_price) == (Decimal(98), Decimal(2))
    with pytest.raises(Refusal, match="require no stop price"):
        floor.book.apply(Replace(tighter.id, stop_price=Decimal(99)))


# ---------------------------------------------------------------------- one triggers another


def test_an_oto_arms_its_only_leg_when_the_entry_has_filled(floor: Any) -> None:
    entry = submit(
        floor,
        an_order(Side.BUY, OrderType.MARKET, order_class=OrderClass.OTO, stop_loss=95),
    )
    [leg] = floor.book.legs_of(entry)
    assert (leg.role, leg.status) == (Role.STOP, OrderStatus.HELD)
    floor.bar(100, 101, 99, 100)
    assert now(floor, leg).status is OrderStatus.NEW
    floor.bar(96, 97, 94, 95)
    assert now(floor, leg).average_price == Decimal(95)
    assert floor.book.quantity_of(AAPL) == 0


def test_the_stop_of_a_bracket_may_have_a_limit_of_its_own(floor: Any) -> None:
    entry = submit(
        floor,
        an_order(
            Side.BUY,
            OrderType.MARKET,
            order_class=OrderClass.BRACKET,
            take_profit=110,
            stop_loss=95,
            stop_loss_limit=94,
        ),
    )
    floor.bar(100, 101, 99, 100)
    floor.bar(90, 93, 89, 92)
    legs = {leg.role: leg for leg in floor.book.legs_of(entry)}
    assert (legs[Role.STOP].type, legs[Role.STOP].status) == (
        OrderType.STOP_LIMIT,
        OrderStatus.NEW,
    )


# ---------------------------------------------------------------------- money and fractions


def test_a_sum_of_money_buys_what_the_fill_price_gives_and_not_a_cent_more(floor: Any) -> None:
    wish = replace(an_order(Side.BUY, OrderType.MARKET, 0), notional=Decimal(1_000))
    order = submit(floor, wish)
    floor.bar(300, 301, 299, 300)
    done = now(floor, order)
    assert (done.status, done.quantity) == (OrderStatus.FILLED, Decimal("3.333333333"))
    assert Decimal(999) < done.filled_value <= Decimal(1_000)


# ---------------------------------------------------------------------- time in force


def test_ioc_takes_what_the_next_bar_gives_and_fok_all_or_nothing(
    make_floor: Callable[..., Any],
) -> None:
    floor = make_floor(max_volume_share=0.1)
    floor.bar(100, 100, 100, 100)
    some = submit(floor, an_order(Side.BUY, OrderType.MARKET, 15, time_in_force=TimeInForce.IOC))
    floor.bar(100, 101, 99, 100, volume=100)
    assert (now(floor, some).status, now(floor, some).filled_quantity) == (
        OrderStatus.CANCELED,
        Decimal(10),
    )
    none = submit(floor, an_order(Side.BUY, OrderType.MARKET, 15, time_in_force=TimeInForce.FOK))
    floor.bar(100, 101, 99, 100, volume=100)
    assert (now(floor, none).status, now(floor, none).filled_quantity) == (
        OrderStatus.CANCELED,
        Decimal(0),
    )


def test_an_order_for_the_open_fills_there_or_never(floor: Any) -> None:
    floor.book.now -= timedelta(hours=1)  # half past seven in New York
    fills = submit(floor, an_order(Side.BUY, OrderType.MARKET, time_in_force=TimeInForce.OPG))
    misses = submit(
        floor,
        an_order(Side.BUY, OrderType.LIMIT, limit_price=90, time_in_force=TimeInForce.OPG),
    )
    floor.bar(100, 101, 99, 100)
    assert now(floor, fills).average_price == Decimal(100)
    assert now(floor, misses).status is OrderStatus.CANCELED
    with pytest.raises(Refusal, match="opg orders are accepted from 19:00 to 09:28"):
        submit(floor, an_order(Side.BUY, OrderType.MARKET, time_in_force=TimeInForce.OPG))


def test_an_order_for_the_close_waits_for_the_sessions_last_price(floor: Any) -> None:
    fills = submit(floor, an_order(Side.BUY, OrderType.MARKET, time_in_force=TimeInForce.CLS))
    misses = submit(
        floor,
        an_order(Side.BUY, OrderType.LIMIT, limit_price=90, time_in_force=TimeInForce.CLS),
    )
    floor.bar(100, 101, 89, 100)
    assert now(floor, fills).status is OrderStatus.NEW
    floor.bar(100, 108, 89, 107, ends=True)
    assert now(floor, fills).average_price == Decimal(107)
    assert now(floor, misses).status is OrderStatus.EXPIRED


def test_a_pair_of_trailing_stop_and_limit_is_no_wash_trade(floor: Any) -> None:
    holding(floor)
    submit(floor, an_order(Side.SELL, OrderType.TRAILING_STOP, trail_price=5))
    order = submit(floor, an_order(Side.BUY, OrderType.LIMIT, 1, limit_price=90))
    floor.book.apply(Cancel(order.id))
    submit(floor, an_order(Side.BUY, OrderType.STOP_LIMIT, 1, stop_price=105, limit_price=106))
    with pytest.raises(Refusal, match="insufficient qty"):
        submit(floor, an_order(Side.SELL, OrderType.LIMIT, 1, limit_price=120))


def test_what_the_journal_writes_of_every_term_it_reads_again(floor: Any) -> None:
    from simulator.journal import _decode, _encode

    wish = replace(
        an_order(
            Side.BUY, OrderType.TRAILING_STOP, trail_price=5, trail_percent=1, stop_loss_limit=3
        ),
        notional=Decimal(7),
        extended_hours=True,
    )
    for command in (wish, Replace("x", trail=Decimal(2))):
        assert _decode(_encode(command)) == command
    assert isinstance(floor.book.now, datetime)
