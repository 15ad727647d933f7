"""Lots: first in, first out, picked, short, and every cent accounted for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.errors import InvalidInput
from shared.domain.lots import ZERO, Execution, Pick, match
from shared.domain.orders import Side
from shared.domain.symbols import Symbol

START_AT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)


def traded(
    number: int, side: Side, quantity: str, price: str | None, fee: str = "0", symbol: str = "AAPL"
) -> Execution:
    return Execution(
        f"x{number}",
        f"o{number}",
        "ma",
        Symbol(symbol),
        side,
        Decimal(quantity),
        None if price is None else Decimal(price),
        Decimal(fee),
        START_AT + timedelta(minutes=number),
    )


def bought(number: int, quantity: str, price: str | None, fee: str = "0") -> Execution:
    return traded(number, Side.BUY, quantity, price, fee)


def sold(number: int, quantity: str, price: str, fee: str = "0") -> Execution:
    return traded(number, Side.SELL, quantity, price, fee)


def test_the_oldest_shares_go_first() -> None:
    found = match([bought(1, "10", "100"), bought(2, "10", "120"), sold(3, "15", "130")])

    assert [(c.opened.execution.execution_id, c.quantity, c.gain) for c in found.closings] == [
        ("x1", Decimal(10), Decimal(300)),
        ("x2", Decimal(5), Decimal(50)),
    ]
    assert [(lot.execution.execution_id, lot.quantity) for lot in found.open_lots] == [
        ("x2", Decimal(5))
    ]


def test_a_sale_takes_the_lots_it_picks_before_the_oldest() -> None:
    found = match(
        [bought(1, "10", "100"), bought(2, "10", "120"), sold(3, "12", "130")],
        [Pick("x3", "x2", Decimal(8))],
    )

    assert [(c.opened.execution.execution_id, c.quantity) for c in found.closings] == [
        ("x2", Decimal(8)),
        ("x1", Decimal(4)),
    ]


@pytest.mark.parametrize(
    ("pick", "complaint"),
    [
        (Pick("x3", "x2", Decimal(11)), "has 10 open then"),
        (Pick("x3", "nobody", Decimal(1)), "has 0 open then"),
        (Pick("x3", "x1", Decimal(13)), "closes 12 shares"),
        (Pick("x9", "x1", Decimal(1)), "'x9', which is no execution"),
        (Pick("x2", "x1", Decimal(1)), "x2 closes 10 shares"),
    ],
)
def test_a_pick_that_cannot_be_is_refused(pick: Pick, complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        match([bought(1, "10", "100"), bought(2, "10", "120"), sold(3, "12", "130")], [pick])


def test_a_sale_through_zero_closes_and_opens_a_short() -> None:
    found = match([bought(1, "10", "100"), sold(2, "15", "110"), bought(3, "5", "90")])

    assert [(c.is_short, c.quantity, c.gain) for c in found.closings] == [
        (False, Decimal(10), Decimal(100)),
        (True, Decimal(5), Decimal(100)),
    ]
    assert found.open_lots == ()


def test_shares_from_before_the_records_have_no_gain() -> None:
    (closing,) = match([bought(1, "10", None), sold(2, "10", "110")]).closings

    assert (closing.cost, closing.proceeds, closing.gain) == (None, Decimal(1100), None)


def test_a_fee_is_spread_and_adds_up() -> None:
    found = match([bought(1, "3", "100", "0.10"), *(sold(n, "1", "100", "0") for n in (2, 3, 4))])

    costs = [closing.cost for closing in found.closings]
    assert costs == [Decimal("100.033333"), Decimal("100.033334"), Decimal("100.033333")]


_MOVES = st.lists(
    st.tuples(
        st.sampled_from(list(Side)),
        st.integers(1, 50),
        st.integers(1, 10_000),
        st.integers(0, 999),
        st.sampled_from(("AAPL", "MSFT")),
    ),
    max_size=30,
)


@given(_MOVES)
def test_no_share_and_no_cent_is_lost(moves: list[tuple[Side, int, int, int, str]]) -> None:
    executions = [
        traded(n, side, str(quantity), str(Decimal(price) / 100), str(Decimal(fee) / 1000), symbol)
        for n, (side, quantity, price, fee, symbol) in enumerate(moves)
    ]
    found = match(executions)

    for symbol in ("AAPL", "MSFT"):
        net = sum((e.side.sign * e.quantity for e in executions if e.symbol == symbol), ZERO)
        left = [lot for lot in found.open_lots if lot.execution.symbol == symbol]
        assert sum((lot.execution.side.sign * lot.quantity for lot in left), ZERO) == net
    cash = sum((-e.side.sign * e.quantity * (e.price or ZERO) - e.fee for e in executions), ZERO)
    gains = sum((closing.gain or ZERO for closing in found.closings), ZERO)
    tied = sum((lot.execution.side.sign * (lot.amount or ZERO) for lot in found.open_lots), ZERO)
    assert gains - tied == cash


# ---------------------------------------------------------------------- shares that move without a trade


def moved(
    number: int,
    side: Side,
    quantity: str,
    reason: str,
    symbol: str = "AAPL",
    at: datetime | None = None,
) -> Execution:
    return Execution(
        f"activity:{number}", reason, "", Symbol(symbol), side, Decimal(quantity), None, ZERO,
        at or START_AT + timedelta(days=number), reason,
    )  # fmt: skip


def test_a_split_keeps_what_each_lot_cost_and_the_day_it_was_bought() -> None:
    found = match(
        [
            traded(1, Side.BUY, "10", "100"),
            traded(2, Side.BUY, "5", "130"),
            moved(3, Side.BUY, "30", "SPLIT"),
            traded(4, Side.SELL, "30", "50"),
        ]
    )
    [closing] = found.closings
    assert closing.gain is not None
    assert round(closing.gain, 12) == 30 * 50 - 10 * 100
    assert closing.opened.execution.executed_at == traded(1, Side.BUY, "10", "100").executed_at
    [left] = found.open_lots
    assert left.amount is not None
    assert (left.quantity, round(left.amount, 12)) == (Decimal(15), Decimal(650))


@pytest.mark.parametrize("way_round", [1, -1])
def test_a_split_told_as_old_shares_that_leave_and_new_ones_that_come_is_one(
    way_round: int,
) -> None:
    at = START_AT + timedelta(days=2)
    legs = [
        moved(2, Side.SELL, "10", "SPLIT", at=at),
        moved(3, Side.BUY, "30", "SPLIT", at=at),
    ]
    found = match([traded(1, Side.BUY, "10", "90"), *legs[::way_round]])
    assert found.closings == ()
    [left] = found.open_lots
    assert (left.quantity, left.amount) == (Decimal(30), Decimal(900))


def test_a_reverse_split_that_does_not_divide_evenly_loses_no_share_and_no_cost() -> None:
    found = match(
        [
            traded(1, Side.BUY, "10", "1"),
            traded(2, Side.BUY, "10", "2"),
            moved(3, Side.SELL, "13", "SPLIT"),
        ]
    )
    assert sum(lot.quantity for lot in found.open_lots) == 7
    amounts = [lot.amount or ZERO for lot in found.open_lots]
    assert [round(amount, 12) for amount in amounts] == [10, 20]


def test_a_split_of_shares_sold_short_makes_the_debt_larger() -> None:
    found = match([traded(1, Side.SELL, "10", "100"), moved(2, Side.SELL, "10", "SPLIT")])
    [lot] = found.open_lots
    assert (lot.execution.side, lot.quantity, lot.amount) == (Side.SELL, Decimal(20), Decimal(1000))


def test_a_merger_into_shares_carries_the_cost_over() -> None:
    at = START_AT + timedelta(days=3)
    found = match(
        [
            traded(1, Side.BUY, "10", "100"),
            moved(2, Side.SELL, "10", "MA", "AAPL", at),
            moved(3, Side.BUY, "4", "MA", "MSFT", at),
            traded(5, Side.SELL, "4", "300", symbol="MSFT"),
        ]
    )
    [closing] = found.closings
    assert (closing.opened.execution.symbol, closing.gain) == (Symbol("MSFT"), Decimal(200))
    assert found.open_lots == ()


def test_of_two_changes_of_symbol_at_one_instant_no_lot_is_given_to_the_other() -> None:
    at = START_AT + timedelta(days=3)
    found = match(
        [
            traded(1, Side.BUY, "10", "100"),
            traded(2, Side.BUY, "5", "7", symbol="IBM"),
            moved(3, Side.SELL, "10", "NC", "AAPL", at),
            moved(3, Side.SELL, "5", "NC", "IBM", at),
            moved(3, Side.BUY, "10", "NC", "MSFT", at),
            moved(3, Side.BUY, "5", "NC", "TSLA", at),
        ]
    )
    held = [(lot.execution.symbol, lot.quantity, lot.amount) for lot in found.open_lots]
    assert held == [("MSFT", Decimal(10), None), ("TSLA", Decimal(5), None)]
