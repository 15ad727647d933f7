"""How do a service's rows look in a terminal of 80 columns?

Times are New York's, to the minute; an order is one phrase; money stands right-aligned to the cent. Ids come last and
give way first: they are whole in a wide terminal and with `--json`. What a service sends is text from elsewhere, so
a value that is not what it should be is shown as it came, made harmless, and never drops a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from rich.table import Table
from rich.text import Text

from shared.domain.calendar import NEW_YORK
from shared.domain.money import to_cents
from trader.commands.service_api import harmless

Row = Mapping[str, Any]

# No account holds as much; a figure beyond it is shown as it came, since its digits could fill the screen.
_MOST_MONEY = Decimal(10) ** 15
_A_DOLLAR = Decimal(1)


@dataclass(frozen=True, slots=True)
class Shown:
    """One column: its title, and what it shows of a row."""

    title: str
    cell: Callable[[Row], Text]
    is_figure: bool = False


def field(title: str, name: str) -> Shown:
    """The field `name` as it is."""
    return Shown(title, lambda row: cell(row.get(name)))


def figure(title: str, name: str) -> Shown:
    """The number `name` as it is, right-aligned."""
    return Shown(title, lambda row: cell(row.get(name)), is_figure=True)


def ratio(title: str, name: str) -> Shown:
    """The number `name` between 0 and 1, to a hundredth of a per cent."""
    return Shown(title, lambda row: _ratio(row.get(name)), is_figure=True)


def time_of(name: str, title: str = "New York") -> Shown:
    """The instant `name` as New York's date and time, e.g. `01-05 14:47`."""
    return Shown(title, lambda row: _time(row.get(name)))


def percent(title: str, name: str) -> Shown:
    """The share `name` of a whole (1 is all of it) as per cent, e.g. `2.49 %`."""
    return Shown(title, lambda row: _percent(row.get(name)), is_figure=True)


def next_time(title: str = "next") -> Shown:
    """When a job runs next: the venue's time where that is its rule, else how long it still takes on the machine."""
    return Shown(title, _next_time)


def money(title: str, name: str) -> Shown:
    """The dollars `name` to the cent."""
    return Shown(title, lambda row: _dollars(row.get(name), _cents), is_figure=True)


def price(title: str, name: str) -> Shown:
    """The dollars per share `name` to the cent, below a dollar to its hundredth, as exchanges quote."""
    return Shown(title, lambda row: _dollars(row.get(name), _ticks), is_figure=True)


def order_phrase(title: str = "order") -> Shown:
    """What is ordered, e.g. `buy 51 market` or `sell 20 limit 187.30`."""
    return Shown(title, _order)


def progress(name: str, title: str = "state") -> Shown:
    """The state `name`, and how much is filled where that is neither nothing nor all."""
    return Shown(title, lambda row: _progress(row, name))


def listing(rows: Iterable[Row], columns: tuple[Shown, ...], title: str | None = None) -> Table:
    """A table of `rows`; where it is too wide, its last column gives way."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for column in columns:
        table.add_column(
            column.title,
            justify="right" if column.is_figure else "left",
            no_wrap=column is not columns[-1],
            overflow="ellipsis",
        )
    for row in rows:
        table.add_row(*(column.cell(row) for column in columns))
    return table


def cell(value: object) -> Text:
    """`value` as it is; markup in it stays text."""
    match value:
        case None | "":
            return Text("-")
        case bool():
            return Text("yes" if value else "no")
        case _:
            return Text(harmless(str(value)))


def _ratio(value: object) -> Text:
    return Text(f"{value:.4f}") if isinstance(value, float) else cell(value)


def _percent(value: object) -> Text:
    is_share = isinstance(value, int | float) and not isinstance(value, bool)
    return Text(f"{value:,.2%}".replace("%", " %")) if is_share else cell(value)


def _next_time(row: Row) -> Text:
    at, in_s = row.get("next_due_at"), row.get("next_in_s")
    if at or not isinstance(in_s, int | float):
        return _time(at) if at else cell(None)
    minutes, seconds = divmod(round(in_s), 60)
    return Text(f"in {minutes} min" if minutes else f"in {seconds} s")


def _time(value: object) -> Text:
    try:
        at = datetime.fromisoformat(str(value))
        # Without an offset it names no instant.
        return cell(value) if at.tzinfo is None else Text(f"{at.astimezone(NEW_YORK):%m-%d %H:%M}")
    except (ValueError, OverflowError):
        return cell(value)


def _dollars(value: object, written: Callable[[Decimal], str]) -> Text:
    try:
        amount = Decimal(str(value))
    except ArithmeticError:
        return cell(value)
    # Comparing a NaN would raise.
    if not (amount.is_finite() and abs(amount) < _MOST_MONEY):
        return cell(value)
    return Text(written(amount))


def _cents(amount: Decimal) -> str:
    # Adding zero takes the sign from a rounded -0.00.
    return f"{to_cents(amount) + 0:,.2f}"


def _ticks(amount: Decimal) -> str:
    return f"{amount:,.4f}" if 0 < abs(amount) < _A_DOLLAR else _cents(amount)


def _order(row: Row) -> Text:
    words = [harmless(str(row[name])) for name in ("side", "quantity", "type") if row.get(name)]
    words += [
        _dollars(row[name], _ticks).plain for name in ("limit_price", "stop_price") if row.get(name)
    ]
    return cell(" ".join(words))


def _progress(row: Row, name: str) -> Text:
    filled, quantity = row.get("filled_quantity"), row.get("quantity")
    if quantity is None or filled in (None, "0", quantity):
        return cell(row.get(name))
    return cell(f"{row.get(name)} {filled}/{quantity}")
