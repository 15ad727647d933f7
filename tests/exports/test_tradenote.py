"""TradeNote's template: header, signs, sides, settlement, and no line after the last."""

from __future__ import annotations

import csv
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from shared.domain.calendar import Session, TradingCalendar
from shared.domain.lots import Execution
from shared.domain.orders import Side
from shared.domain.symbols import Symbol
from trader.exports.tradenote import settlement_day, tradenote_csv

EVER = (date.min, date.max)


def weekdays(first_on: date, count: int) -> TradingCalendar:
    days = (first_on + timedelta(days=n) for n in range(count))
    return TradingCalendar(
        [
            Session(
                day,
                datetime(day.year, day.month, day.day, 14, 30, tzinfo=UTC),
                datetime(day.year, day.month, day.day, 21, tzinfo=UTC),
            )
            for day in days
            if day.weekday() < 5
        ]
    )


CALENDAR = weekdays(date(2026, 11, 16), 30)


def traded(
    name: str, at: str, side: Side, quantity: str, price: str, fee: str = "0", order: str = ""
) -> Execution:
    return Execution(
        name,
        order or name,
        "",
        Symbol("AAPL"),
        side,
        Decimal(quantity),
        Decimal(price),
        Decimal(fee),
        datetime.fromisoformat(at),
    )


def exported(*executions: Execution, days: tuple[date, date] = EVER) -> list[list[str]]:
    return list(csv.reader(tradenote_csv(executions, "PAPER1", CALENDAR, days).splitlines()))


def test_a_round_trip_is_written_in_new_york_time_with_signed_proceeds() -> None:
    text = tradenote_csv(
        [
            traded("b", "2026-11-20T14:31:02+00:00", Side.BUY, "10", "187.25"),
            traded("s", "2026-11-20T15:02:45+00:00", Side.SELL, "10", "188.1", "0.06"),
        ],
        "PAPER1",
        CALENDAR,
        EVER,
    )

    assert text.split("\n") == [
        (
            "Account,T/D,S/D,Currency,Type,Side,Symbol,Qty,Price,Exec Time,Comm,SEC,TAF,NSCC,Nasdaq,"
            "ECN Remove,ECN Add,Gross Proceeds,Net Proceeds,Clr Broker,Liq,Note"
        ),
        "PAPER1,11/20/2026,11/23/2026,USD,stock,B,AAPL,10,187.25,09:31:02,0,0,0,0,0,0,0,-1872.5,-1872.5,,,",
        "PAPER1,11/20/2026,11/23/2026,USD,stock,S,AAPL,10,188.1,10:02:45,0.06,0,0,0,0,0,0,1881,1880.94,,,",
    ]


def test_a_sale_through_zero_is_a_sale_and_a_short_sale() -> None:
    rows = exported(
        traded("b", "2026-11-20T14:31:00+00:00", Side.BUY, "10", "100"),
        traded("s", "2026-11-20T14:32:00+00:00", Side.SELL, "15", "110"),
        traded("c", "2026-11-20T14:33:00+00:00", Side.BUY, "5", "90"),
    )

    assert [(row[5], row[7]) for row in rows[1:]] == [
        ("B", "10"),
        ("S", "10"),
        ("SS", "5"),
        ("BC", "5"),
    ]


def test_fractions_go_as_one_row_per_order_at_their_average() -> None:
    rows = exported(
        traded("1", "2026-11-20T14:31:00+00:00", Side.BUY, "0.25", "100", order="o"),
        traded("2", "2026-11-20T14:31:01+00:00", Side.BUY, "0.75", "104", order="o"),
    )

    assert [(row[7], row[8], row[9]) for row in rows[1:]] == [("1", "103", "09:31:01")]


def test_days_outside_the_asked_ones_are_left_out_but_known() -> None:
    rows = exported(
        traded("b", "2026-11-19T14:31:00+00:00", Side.BUY, "10", "100"),
        traded("s", "2026-11-20T14:31:00+00:00", Side.SELL, "10", "100"),
        days=(date(2026, 11, 20), date(2026, 11, 20)),
    )

    assert [row[5] for row in rows[1:]] == ["S"]


@pytest.mark.parametrize(
    ("traded_on", "settles_on"),
    [
        (date(2017, 9, 1), date(2017, 9, 6)),
        (date(2017, 9, 5), date(2017, 9, 7)),
        (date(2024, 5, 24), date(2024, 5, 28)),
        (date(2024, 5, 28), date(2024, 5, 29)),
    ],
)
def test_settlement_follows_the_rule_of_its_day(traded_on: date, settles_on: date) -> None:
    assert settlement_day(traded_on, weekdays(traded_on, 10)) == settles_on
