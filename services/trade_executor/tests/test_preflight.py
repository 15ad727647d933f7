"""The broker's rules known beforehand: what passes here, the venue's own form takes, and the other way round."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.orders import OrderClass, OrderRequest, OrderType, Side, TimeInForce
from shared.domain.symbols import Symbol
from simulator.admission import refuse_bad_exits
from simulator.order_form import parse_submit
from simulator.refusals import Refusal
from trade_executor.preflight import problem_with
from trade_executor.wire import order_body

AAPL = Symbol("AAPL")
MARKET = OrderRequest("fat-1", AAPL, Side.BUY, Decimal(10), OrderType.MARKET, TimeInForce.DAY)
prices = st.sampled_from(
    [None, *map(Decimal, ("0", "0.5", "0.12345", "9", "10", "10.01", "10.011", "11"))]
)


@st.composite
def orders(draw: st.DrawFn) -> OrderRequest:
    return OrderRequest(
        client_order_id="fat-1",
        symbol=AAPL,
        side=draw(st.sampled_from(Side)),
        quantity=draw(st.sampled_from([Decimal(q) for q in ("0", "1", "2.5", "0.0000000001")])),
        type=draw(st.sampled_from(OrderType)),
        time_in_force=draw(st.sampled_from(TimeInForce)),
        order_class=draw(st.sampled_from(OrderClass)),
        limit_price=draw(prices),
        stop_price=draw(prices),
        take_profit=draw(prices),
        stop_loss=draw(prices),
        stop_loss_limit=draw(prices),
        trail_price=draw(prices),
        trail_percent=draw(st.sampled_from([None, Decimal("0.05"), Decimal(1), Decimal(100)])),
        extended_hours=draw(st.booleans()),
    )


@st.composite
def likely_orders(draw: st.DrawFn) -> OrderRequest:
    """Orders with the prices that their kind asks for, so that most of them pass."""
    order = draw(orders())
    kind, order_class = order.type, order.order_class
    limit = draw(st.sampled_from([Decimal("9.5"), Decimal("0.25")]))
    has_exits = order_class is not OrderClass.SIMPLE
    wants_target = has_exits and (order_class is not OrderClass.OTO or draw(st.booleans()))
    wants_stop = has_exits and (order_class is not OrderClass.OTO or not wants_target)
    return replace(
        order,
        quantity=draw(st.sampled_from([Decimal(1), Decimal("2.5")])),
        limit_price=limit if kind.has_limit and order_class is not OrderClass.OCO else None,
        stop_price=Decimal(9) if kind in (OrderType.STOP, OrderType.STOP_LIMIT) else None,
        take_profit=draw(prices) if wants_target else None,
        stop_loss=draw(prices) if wants_stop else None,
        stop_loss_limit=None,
        trail_price=Decimal(1) if kind is OrderType.TRAILING_STOP else None,
        trail_percent=None,
        notional=draw(
            st.sampled_from([None, None, Decimal("0.5"), Decimal(50), Decimal("50.005")])
        ),
    )


def venue_refuses(order: OrderRequest) -> str | None:
    try:
        wish = parse_submit(order_body(order), frozenset({AAPL}))
        refuse_bad_exits(wish, wish.limit_price or Decimal(0))
    except Refusal as refusal:
        return str(refusal)
    return None


@given(order=st.one_of(orders(), likely_orders()))
def test_what_passes_here_is_what_the_venues_own_form_takes(order: OrderRequest) -> None:
    problem = problem_with(order)
    if problem is None:
        assert venue_refuses(order) is None
    elif not _says_too_much(order):
        assert venue_refuses(order) is not None


def _says_too_much(order: OrderRequest) -> bool:
    """Whether it carries terms that never reach the wire: those are refused here alone."""
    return (
        order.order_class is OrderClass.SIMPLE
        and bool(order.take_profit or order.stop_loss or order.stop_loss_limit is not None)
    ) or (
        (order.order_class is OrderClass.OCO or order.stop_loss is None)
        and (order.limit_price is not None or order.stop_loss_limit is not None)
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"quantity": Decimal("1.5"), "time_in_force": TimeInForce.GTC},
            "ask for time_in_force day",
        ),
        ({"type": OrderType.LIMIT}, "give limit_price"),
        (
            {"type": OrderType.LIMIT, "limit_price": Decimal("10.001")},
            "round it to a multiple of 0.01",
        ),
        ({"type": OrderType.TRAILING_STOP}, "exactly one of trail_price and trail_percent"),
        (
            {"time_in_force": TimeInForce.OPG, "type": OrderType.STOP, "stop_price": Decimal(9)},
            "opg goes with market and limit orders only",
        ),
        ({"notional": Decimal("0.5")}, "ask for 1 dollar or more"),
        (
            {"notional": Decimal(50), "time_in_force": TimeInForce.GTC},
            "ask for time_in_force day",
        ),
        ({"extended_hours": True}, "ask for type limit"),
        (
            {"order_class": OrderClass.BRACKET, "stop_loss": Decimal(9)},
            "both of take_profit and stop_loss",
        ),
        (
            {
                "order_class": OrderClass.BRACKET,
                "stop_loss": Decimal(12),
                "take_profit": Decimal(11),
            },
            "losing side of the stop",
        ),
    ],
    ids=str,
)
def test_a_problem_names_the_rule_and_the_mend(changes: dict[str, Any], words: str) -> None:
    assert words in str(problem_with(replace(MARKET, **changes)))


def test_an_ordinary_order_has_no_problem() -> None:
    assert problem_with(MARKET) is None
