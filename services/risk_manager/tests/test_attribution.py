"""What each strategy earned, from its executions."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from risk_manager.attribution import Matched, attributed, matched, records_of
from risk_manager.sizing import TradeRecord
from risk_manager.testing import AAPL, MSFT, NOW
from shared.domain.lots import Execution
from shared.domain.orders import Side
from shared.domain.symbols import Symbol


def a_fill(
    order: str,
    side: Side,
    quantity: int,
    price: str,
    *,
    strategy: str = "ma",
    symbol: Symbol = AAPL,
    fee: str = "0",
) -> Execution:
    return Execution(
        order, order, strategy, symbol, side, Decimal(quantity), Decimal(price), Decimal(fee), NOW
    )


def matching(executions: list[Execution], before: int = 0) -> Matched:
    """Matched where `before` shares of AAPL were held (owed, below zero) when they began."""
    held = {AAPL: Decimal(before)}
    for each in executions:
        held[each.symbol] = held.get(each.symbol, Decimal(0)) + each.side.sign * each.quantity
    return matched(executions, held)


def a_split(shares: int) -> Execution:
    side = Side.BUY if shares > 0 else Side.SELL
    return Execution(
        "split", "SPLIT", "", AAPL, side, Decimal(abs(shares)), None, Decimal(0), NOW, "SPLIT"
    )


def test_what_was_bought_first_is_sold_first_and_earns_for_who_bought_it() -> None:
    found = matching(
        [
            a_fill("1", Side.BUY, 10, "100", strategy="ma"),
            a_fill("2", Side.BUY, 10, "110", strategy="rsi"),
            a_fill("3", Side.SELL, 15, "120", strategy="flatten"),
        ]
    )

    assert [(t.strategy, t.quantity, t.pnl, t.is_closed) for t in found.trades] == [
        ("ma", Decimal(10), Decimal(200), True),
        ("rsi", Decimal(5), Decimal(50), False),
    ]
    assert [(lot.execution.strategy, lot.quantity) for lot in found.lots[AAPL]] == [
        ("rsi", Decimal(5))
    ]


def test_fees_are_taken_from_both_sides_by_shares() -> None:
    found = matching(
        [
            a_fill("1", Side.BUY, 10, "100", fee="1"),
            a_fill("2", Side.BUY, 10, "100", fee="3"),
            a_fill("3", Side.SELL, 20, "100", fee="4"),
        ]
    )

    assert [t.pnl for t in found.trades] == [-3, -5]


def test_an_entry_that_filled_in_parts_is_one_trade_closed_with_its_last_share() -> None:
    parts = [a_fill("1", Side.BUY, 5, "100"), a_fill("1", Side.BUY, 5, "102")]

    half = matching([*parts, a_fill("2", Side.SELL, 5, "110")])
    whole = matching([*parts, a_fill("2", Side.SELL, 10, "110")])

    assert [(t.pnl, t.is_closed) for t in half.trades] == [(Decimal(50), False)]
    assert [(t.pnl, t.is_closed) for t in whole.trades] == [(Decimal(90), True)]


def test_shares_from_before_the_records_earn_nobody_anything() -> None:
    found = matching(
        [a_fill("1", Side.SELL, 5, "100"), a_fill("2", Side.BUY, 5, "90", symbol=MSFT)], before=5
    )

    assert [(t.symbol, t.pnl) for t in found.trades] == [(MSFT, Decimal(0))]


def test_shares_from_before_the_records_are_sold_before_those_that_were_bought_since() -> None:
    found = matching(
        [
            a_fill("1", Side.BUY, 10, "100"),
            a_fill("2", Side.SELL, 10, "120"),
            a_fill("3", Side.SELL, 10, "90"),
        ],
        before=10,
    )

    assert [(t.pnl, t.is_closed) for t in found.trades] == [(Decimal(-100), True)]


def test_what_was_sold_short_earns_when_it_is_bought_back_for_less() -> None:
    found = matching(
        [
            a_fill("1", Side.SELL, 10, "100", strategy="ma", fee="1"),
            a_fill("2", Side.BUY, 4, "90", strategy="flatten", fee="2"),
        ]
    )

    assert [(t.strategy, t.quantity, t.pnl, t.is_closed) for t in found.trades] == [
        # 10 dollars on 4 shares, less their part of the sale's fee and the purchase's own.
        ("ma", Decimal(4), Decimal("37.6"), False)
    ]


def test_what_is_owed_is_worth_less_than_nothing_and_gains_as_it_falls() -> None:
    found = matching([a_fill("1", Side.SELL, 10, "100")])

    [fallen] = attributed(found, {AAPL: Decimal(95)})
    [unpriced] = attributed(found, {})

    assert (fallen.unrealised_pnl, fallen.market_value) == (Decimal(50), Decimal(-950))
    assert (unpriced.unrealised_pnl, unpriced.market_value) == (Decimal(0), Decimal(-1000))


def test_a_turn_is_two_trades_of_which_each_counts_for_the_odds() -> None:
    found = matching(
        [
            a_fill("1", Side.BUY, 10, "100"),
            a_fill("2", Side.SELL, 10, "110"),
            a_fill("3", Side.SELL, 10, "110"),
            a_fill("4", Side.BUY, 10, "115"),
        ]
    )

    assert [(t.pnl, t.is_closed) for t in found.trades] == [
        (Decimal(100), True),
        (Decimal(-50), True),
    ]
    assert records_of(found.trades) == {"ma": TradeRecord(1, 1, 100.0, 50.0)}


def test_what_was_owed_before_the_records_earns_nobody_anything() -> None:
    found = matching([a_fill("1", Side.BUY, 5, "100"), a_fill("2", Side.BUY, 3, "90")], before=-5)

    assert [(t.quantity, t.pnl, t.is_closed) for t in found.trades] == [
        (Decimal(0), Decimal(0), False)
    ]


def test_a_split_is_neither_bought_nor_earned() -> None:
    found = matching(
        [a_fill("1", Side.BUY, 10, "100"), a_split(90), a_fill("2", Side.SELL, 40, "11")]
    )

    [row] = attributed(found, {AAPL: Decimal(12)})
    assert (row.realised_pnl, row.unrealised_pnl, row.market_value) == tuple(
        map(Decimal, (40, 120, 720))
    )


def test_what_was_paid_for_shares_that_are_still_held_is_not_lost_yet() -> None:
    found = matching([a_fill("1", Side.BUY, 10, "100", fee="2"), a_fill("2", Side.SELL, 5, "100")])

    [row] = attributed(found, {AAPL: Decimal(100)})
    assert (row.realised_pnl, row.unrealised_pnl) == (Decimal(-1), Decimal(-1))


def test_a_record_counts_closed_trades_alone() -> None:
    found = matching(
        [
            a_fill("1", Side.BUY, 1, "100"),
            a_fill("2", Side.SELL, 1, "130"),
            a_fill("3", Side.BUY, 1, "100"),
            a_fill("4", Side.SELL, 1, "90"),
            a_fill("5", Side.BUY, 1, "100"),
            a_fill("6", Side.SELL, 1, "100"),
            a_fill("7", Side.BUY, 1, "100"),
        ]
    )

    assert records_of(found.trades) == {"ma": TradeRecord(1, 2, 30.0, 10.0)}


def test_what_is_held_is_attributed_at_the_market_or_at_cost() -> None:
    found = matching(
        [
            a_fill("1", Side.BUY, 10, "100"),
            a_fill("2", Side.SELL, 4, "105"),
            a_fill("3", Side.BUY, 2, "50", symbol=MSFT, strategy="rsi"),
        ]
    )

    ma, rsi = attributed(found, {AAPL: Decimal(110)})

    assert (ma.realised_pnl, ma.unrealised_pnl, ma.market_value) == tuple(
        map(Decimal, (20, 60, 660))
    )
    assert (rsi.unrealised_pnl, rsi.market_value) == (Decimal(0), Decimal(100))
    assert [(row.strategy, row.closed_trades) for row in (ma, rsi)] == [("ma", 0), ("rsi", 0)]


fills = st.lists(
    st.builds(
        a_fill,
        st.sampled_from(["1", "2", "3"]),
        st.just(Side.BUY),
        st.integers(1, 50),
        st.integers(1, 200).map(str),
    ),
    max_size=8,
)


@given(
    opened=fills,
    closed=st.integers(1, 100),
    price=st.integers(1, 200).map(str),
    short=st.booleans(),
)
def test_realised_and_unrealised_add_up_to_what_cash_and_shares_are_worth(
    opened: list[Execution], closed: int, price: str, short: bool
) -> None:
    entry, out = (Side.SELL, Side.BUY) if short else (Side.BUY, Side.SELL)
    opened = [replace(each, side=entry) for each in opened]
    held = sum((each.quantity for each in opened), Decimal(0))
    ended = [a_fill("9", out, min(closed, int(held)), price)] if held else []
    cash = sum(
        (-each.side.sign * each.quantity * (each.price or 0) for each in [*opened, *ended]),
        Decimal(0),
    )
    left = entry.sign * (held - sum((each.quantity for each in ended), Decimal(0)))

    rows = attributed(matching([*opened, *ended]), {AAPL: Decimal(7)})

    assert sum((r.realised_pnl + r.unrealised_pnl for r in rows), Decimal(0)) == cash + left * 7
    assert sum((r.market_value for r in rows), Decimal(0)) == left * 7
