"""What does TradeNote's template import take?

Its form pairs executions into trades by itself: one row per execution, long and short told apart, New York's days and
times. Fractional shares go as one row per order, since its sums of many fractions miss zero and leave the trade open.
There is no line end after the last row: it would be read as one more.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from decimal import Decimal

from shared.domain.calendar import NEW_YORK, TradingCalendar
from shared.domain.lots import ZERO, Execution
from shared.domain.money import plain
from shared.domain.orders import Side
from shared.domain.symbols import Symbol

COLUMNS = (
    "Account", "T/D", "S/D", "Currency", "Type", "Side", "Symbol", "Qty", "Price", "Exec Time", "Comm", "SEC",
    "TAF", "NSCC", "Nasdaq", "ECN Remove", "ECN Add", "Gross Proceeds", "Net Proceeds", "Clr Broker", "Liq", "Note",
)  # fmt: skip
# Trades before these days settled later than the next session: SEC release 34-96930 (T+1), 34-80295 (T+2).
_ONE_DAY_FROM = date(2024, 5, 28)
_TWO_DAYS_FROM = date(2017, 9, 5)
_SIDES = {
    (Side.BUY, False): "B",
    (Side.SELL, False): "S",
    (Side.SELL, True): "SS",
    (Side.BUY, True): "BC",
}


@dataclass(frozen=True, slots=True)
class _Line:
    at: datetime
    symbol: Symbol
    side: str
    quantity: Decimal
    price: Decimal
    fee: Decimal


def tradenote_csv(
    executions: Iterable[Execution],
    account: str,
    calendar: TradingCalendar,
    days: tuple[date, date],
) -> str:
    """The file's text.

    Args:
        executions: the whole history, oldest first, so that a sale is known to close or to open.
        days: New York's first and last day to export; TradeNote skips a day it knows, so only finished ones.
    """
    known = [each for each in executions if each.price is not None]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    lines = sorted(_lines(_orders(known)), key=lambda line: (line.at, line.symbol, line.side))
    for line in lines:
        local = line.at.astimezone(NEW_YORK)
        if days[0] <= local.date() <= days[1]:
            writer.writerow(_cells(line, local, account, calendar))
    return out.getvalue().rstrip("\n")


def _orders(executions: list[Execution]) -> list[Execution]:
    """The executions, with the fractional ones of an order as one, at its last instant."""
    fractional = {e.symbol for e in executions if e.quantity != e.quantity.to_integral_value()}
    merged: dict[str, Execution] = {}
    for each in executions:
        key = each.order_id if each.symbol in fractional else each.execution_id
        before = merged.pop(key, None)
        merged[key] = each if before is None else _together(before, each)
    return list(merged.values())


def _together(one: Execution, other: Execution) -> Execution:
    assert one.price is not None
    assert other.price is not None
    quantity = one.quantity + other.quantity
    value = one.quantity * one.price + other.quantity * other.price
    return replace(other, quantity=quantity, price=value / quantity, fee=one.fee + other.fee)


def _lines(executions: list[Execution]) -> Iterable[_Line]:
    held: dict[Symbol, Decimal] = {}
    for each in executions:
        assert each.price is not None
        before = held.get(each.symbol, ZERO)
        held[each.symbol] = before + each.side.sign * each.quantity
        closing = min(each.quantity, max(ZERO, -each.side.sign * before))
        for start, end, is_closing in (
            (ZERO, closing, True),
            (closing, each.quantity, False),
        ):
            if start == end:
                continue
            # A sale that opens and a purchase that closes are a short position's.
            is_short = (each.side is Side.SELL) != is_closing
            yield _Line(
                each.executed_at,
                each.symbol,
                _SIDES[each.side, is_short],
                end - start,
                each.price,
                each.fee_between(start, end),
            )


def _cells(line: _Line, local: datetime, account: str, calendar: TradingCalendar) -> list[str]:
    gross = line.quantity * line.price * (-1 if line.side in ("B", "BC") else 1)
    settles = settlement_day(local.date(), calendar)
    figures = (line.fee, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, gross, gross - line.fee)
    return [
        account,
        f"{local:%m/%d/%Y}",
        f"{settles:%m/%d/%Y}",
        "USD",
        "stock",
        line.side,
        line.symbol,
        plain(line.quantity),
        plain(line.price),
        f"{local:%H:%M:%S}",
        *(plain(figure) for figure in figures),
        "",
        "",
        "",
    ]


def settlement_day(day: date, calendar: TradingCalendar) -> date:
    """The session on which a trade of `day` settles."""
    sessions = 1 if day >= _ONE_DAY_FROM else 2 if day >= _TWO_DAYS_FROM else 3
    at = datetime.combine(day, time(23, 59), NEW_YORK)
    for _ in range(sessions):
        session = calendar.next_session(at)
        at = session.close_at
    return session.on
