"""Rows of Form 8949: terms, wash sales, and sums that hold."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.lots import ZERO, Execution, match
from shared.domain.orders import Side
from shared.domain.symbols import Symbol
from trader.exports.tax import COLUMNS, TaxRow, cells, form_rows

FIRST_ON = date(2026, 1, 5)


def traded(
    name: str, day: int, side: Side, quantity: int, price: str, symbol: str = "AAPL"
) -> Execution:
    at = datetime.combine(FIRST_ON + timedelta(days=day), time(15), UTC)
    return Execution(
        name, name, "", Symbol(symbol), side, Decimal(quantity), Decimal(price), ZERO, at
    )


def buy(name: str, day: int, quantity: int, price: str, symbol: str = "AAPL") -> Execution:
    return traded(name, day, Side.BUY, quantity, price, symbol)


def sell(name: str, day: int, quantity: int, price: str, symbol: str = "AAPL") -> Execution:
    return traded(name, day, Side.SELL, quantity, price, symbol)


def rows_of(*executions: Execution) -> list[TaxRow]:
    return form_rows(match(executions))


def figures(rows: list[TaxRow]) -> list[tuple[str, Decimal | None, Decimal, Decimal | None]]:
    return [
        (row.closing.opened.execution.execution_id, row.cost, row.disallowed, row.gain)
        for row in rows
    ]


def test_a_gain_stands_as_it_is() -> None:
    (row,) = rows_of(buy("b", 0, 10, "100"), sell("s", 5, 10, "110"))

    assert list(cells(row).values()) == [
        "10 sh. AAPL", "01/05/2026", "01/10/2026", "1100.00", "1000.00", "", "", "100.00", "short", "b", "s",
    ]  # fmt: skip
    assert tuple(cells(row)) == COLUMNS


def test_a_loss_with_nothing_bought_nearby_counts() -> None:
    (row, _) = rows_of(
        buy("b", 0, 10, "100"),
        sell("s", 40, 10, "90"),
        buy("far", 71, 10, "80"),
        sell("e", 80, 10, "99"),
    )

    assert (row.disallowed, row.gain) == (ZERO, Decimal(-100))


def test_shares_bought_within_thirty_days_after_a_loss_carry_it_on() -> None:
    rows = rows_of(
        buy("b", 0, 10, "100"),
        sell("s", 40, 10, "90"),
        buy("again", 70, 10, "80"),
        sell("e", 80, 10, "99"),
    )

    assert figures(rows) == [
        ("b", Decimal(1000), Decimal(100), ZERO),
        ("again", Decimal(900), ZERO, Decimal(90)),
    ]
    assert cells(rows[0])["(f) Code(s)"] == "W"


def test_shares_bought_before_the_loss_replace_only_as_far_as_still_held() -> None:
    rows = rows_of(buy("b", 0, 10, "100"), buy("more", 10, 4, "95"), sell("s", 20, 10, "90"))

    # Four of ten are replaced by what was bought on day 10; those sold themselves replace nothing.
    assert figures(rows) == [
        ("b", Decimal(400), Decimal(40), ZERO),
        ("b", Decimal(600), ZERO, Decimal(-60)),
    ]


def test_all_shares_sold_at_once_are_no_wash_sale() -> None:
    rows = rows_of(buy("b", 0, 10, "100"), buy("c", 10, 10, "95"), sell("s", 20, 20, "90"))

    assert [row.disallowed for row in rows] == [ZERO, ZERO]


def test_each_share_replaces_once() -> None:
    rows = rows_of(
        buy("b", 0, 10, "100"), buy("c", 0, 10, "100"),
        sell("s", 40, 10, "90"), sell("t", 41, 10, "90"), buy("again", 50, 10, "80"),
    )  # fmt: skip

    assert [row.disallowed for row in rows] == [Decimal(100), ZERO]


def test_another_symbol_replaces_nothing() -> None:
    (row,) = rows_of(
        buy("b", 0, 10, "100"), sell("s", 40, 10, "90"), buy("x", 41, 10, "90", "MSFT")
    )

    assert row.disallowed == ZERO


def test_more_than_a_year_is_long_term() -> None:
    on_the_day, after = (
        rows_of(buy("b", 0, 1, "100"), sell("s", days, 1, "110"))[0] for days in (365, 366)
    )

    assert (on_the_day.is_long_term, after.is_long_term) == (False, True)


def test_time_held_goes_over_with_a_disallowed_loss() -> None:
    rows = rows_of(
        buy("b", 0, 1, "100"),
        sell("s", 300, 1, "90"),
        buy("again", 310, 1, "80"),
        sell("e", 400, 1, "99"),
    )

    assert [row.is_long_term for row in rows] == [False, True]


_DAYS = st.lists(
    st.tuples(
        st.integers(0, 12), st.sampled_from(list(Side)), st.integers(1, 20), st.integers(50, 150)
    ),
    max_size=25,
)


@given(_DAYS)
def test_what_is_disallowed_comes_back_with_the_replacing_shares(
    moves: list[tuple[int, Side, int, int]],
) -> None:
    day, executions = 0, []
    for number, (pause, side, quantity, price) in enumerate(moves):
        day += pause
        executions.append(traded(str(number), day, side, quantity, str(price)))
    # Long after, everything is closed, so that nothing is carried any more.
    net = int(sum((e.side.sign * e.quantity for e in executions), ZERO))
    if net:
        side = Side.SELL if net > 0 else Side.BUY
        executions.append(traded("end", day + 100, side, abs(net), "100"))
    matching = match(executions)
    rows = form_rows(matching)

    plain_gains = sum((closing.gain or ZERO for closing in matching.closings), ZERO)
    assert sum((row.gain or ZERO for row in rows), ZERO) == plain_gains
    assert sum(row.closing.quantity for row in rows) == sum(c.quantity for c in matching.closings)


def test_shares_sold_short_again_within_thirty_days_defer_the_loss_of_the_covered_ones() -> None:
    rows = rows_of(
        sell("s1", 0, 10, "100"),
        buy("b1", 10, 10, "120"),
        sell("s2", 20, 4, "110"),
        buy("b2", 60, 4, "90"),
    )
    assert figures(rows) == [
        ("s1", Decimal(480), Decimal(80), Decimal(0)),
        ("s1", Decimal(720), Decimal(0), Decimal(-120)),
        # 440 of proceeds less 360, less the 80 that were deferred.
        ("s2", Decimal(440), Decimal(0), Decimal(0)),
    ]


def test_a_short_sale_that_is_older_counts_only_while_it_is_open() -> None:
    rows = rows_of(
        sell("s1", 0, 10, "100"),
        sell("s2", 5, 10, "100"),
        buy("b1", 10, 10, "110"),
        buy("b2", 11, 10, "110"),
    )
    assert [row.disallowed for row in rows] == [Decimal(100), Decimal(0)]


def test_a_purchase_does_not_defer_the_loss_of_a_short_sale() -> None:
    rows = rows_of(sell("s1", 0, 10, "100"), buy("b1", 10, 10, "110"), buy("b2", 12, 10, "110"))
    assert [row.disallowed for row in rows] == [Decimal(0)]
