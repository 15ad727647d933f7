"""Positions and cash as folds over fills, exact to the last digit."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.ledger import ZERO, Fill, Position, equity_of, fold_cash, fold_positions
from shared.domain.orders import Side
from shared.domain.symbols import Symbol

AAPL, MSFT = Symbol("AAPL"), Symbol("MSFT")

fills = st.lists(
    st.builds(
        Fill,
        execution_id=st.uuids().map(str),
        client_order_id=st.just("fat-x-e0"),
        symbol=st.sampled_from([AAPL, MSFT]),
        side=st.sampled_from(Side),
        quantity=st.integers(1, 1_000).map(Decimal),
        price=st.integers(1, 100_000_000).map(lambda micros: Decimal(micros).scaleb(-6)),
        fee=st.integers(0, 500).map(lambda cents: Decimal(cents).scaleb(-2)),
    ),
    max_size=30,
)


def a_fill(side: Side, quantity: str, price: str, fee: str = "0", symbol: Symbol = AAPL) -> Fill:
    return Fill("e", "c", symbol, side, Decimal(quantity), Decimal(price), Decimal(fee))


def position_after(*booked: Fill) -> Position:
    return fold_positions(booked)[AAPL]


def test_a_buy_takes_cash_and_a_sale_brings_it_less_the_fee() -> None:
    assert a_fill(Side.BUY, "10", "100.25", "1").cash_effect == Decimal("-1003.5")
    assert a_fill(Side.SELL, "10", "100.25", "1").cash_effect == Decimal("1001.5")


def test_a_second_buy_averages_the_price() -> None:
    position = position_after(a_fill(Side.BUY, "10", "100"), a_fill(Side.BUY, "30", "104"))

    assert (position.quantity, position.average_price) == (Decimal(40), Decimal(103))


def test_selling_part_realises_its_gain_and_keeps_the_average() -> None:
    position = position_after(a_fill(Side.BUY, "10", "100"), a_fill(Side.SELL, "4", "110", "0.5"))

    assert position == Position(AAPL, Decimal(6), Decimal(100), Decimal("39.5"))


def test_a_flat_position_forgets_its_average_and_keeps_its_result() -> None:
    position = position_after(a_fill(Side.BUY, "10", "100"), a_fill(Side.SELL, "10", "90"))

    assert position == Position(AAPL, ZERO, ZERO, Decimal(-100))


def test_crossing_zero_opens_the_rest_at_the_fills_price() -> None:
    position = position_after(a_fill(Side.BUY, "10", "100"), a_fill(Side.SELL, "15", "110"))

    assert position == Position(AAPL, Decimal(-5), Decimal(110), Decimal(100))


def test_a_short_position_gains_when_it_is_bought_back_lower() -> None:
    position = position_after(a_fill(Side.SELL, "10", "100"), a_fill(Side.BUY, "4", "90"))

    assert position == Position(AAPL, Decimal(-6), Decimal(100), Decimal(40))


def test_equity_needs_a_price_for_what_is_held_and_only_for_that() -> None:
    held = Position(AAPL, Decimal(10), Decimal(100))

    assert equity_of(Decimal(5), [held, Position(MSFT)], {AAPL: Decimal(101)}) == 1_015
    with pytest.raises(KeyError):
        equity_of(Decimal(5), [held], {})


@given(booked=fills)
def test_quantity_is_the_sum_of_signed_fills(booked: list[Fill]) -> None:
    positions = fold_positions(booked)

    for symbol in (AAPL, MSFT):
        signed = sum((f.side.sign * f.quantity for f in booked if f.symbol == symbol), ZERO)
        assert positions.get(symbol, Position(symbol)).quantity == signed


@given(booked=fills, last=st.integers(1, 1_000).map(Decimal))
def test_gains_realised_and_open_explain_every_change_of_equity(
    booked: list[Fill], last: Decimal
) -> None:
    positions = fold_positions(booked).values()

    equity = equity_of(fold_cash(ZERO, booked), positions, {AAPL: last, MSFT: last})

    explained = sum(
        (p.realised_pnl + p.quantity * (last - p.average_price) for p in positions), ZERO
    )
    # An average is a quotient, kept to 28 digits; everything else is exact.
    assert abs(equity - explained) < Decimal("1e-12")


@given(booked=fills)
def test_cash_does_not_depend_on_the_order_of_fills(booked: list[Fill]) -> None:
    assert fold_cash(Decimal(7), booked) == fold_cash(Decimal(7), list(reversed(booked)))
