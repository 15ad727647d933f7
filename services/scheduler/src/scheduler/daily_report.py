"""What should a person read about a trading day? One page, as text and as HTML.

Result, risk, costs, exceptions and the decisions worth reading, in that order. Rows go in, words come out; nothing is read
here. The HTML is one file without script or address, readable in light and dark and on paper; whatever comes from
outside is escaped in one place.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from shared.domain.calendar import NEW_YORK
from shared.domain.money import plain

MOST_ROWS = 40
DASH = "-"
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Day:
    """The rows of one exchange day."""

    account: str
    on: date
    equity_before: Decimal | None
    equity_after: Decimal | None
    lowest_equity: Decimal | None
    drawdown: float | None
    gross_exposure: Decimal | None
    fees: Decimal
    slippage: Decimal | None
    signals: int
    approved: int
    refused: Sequence[Row]
    fills: Sequence[Row]
    positions: Sequence[Row]
    decisions: Sequence[Row]
    exceptions: Sequence[str]
    next_session: str


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with pairs or a table below it; right-aligned columns are those of figures."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    empty: str
    figures_from: int = 1


def sections(day: Day) -> list[Section]:
    """The report's parts in their order."""
    return [
        Section("Performance", (), _performance(day), ""),
        Section("Risk", (), _risk(day), ""),
        Section("Costs", (), _costs(day), ""),
        Section("Exceptions", (), [(each,) for each in day.exceptions[:MOST_ROWS]], "None.", 9),
        Section(
            "Refused, by reason",
            ("Reason", "Times", "For example"),
            [
                (str(r["reason_code"]), f"{r['many']}", str(r["example"]))
                for r in day.refused[:MOST_ROWS]
            ],
            "Nothing was refused.",
            9,
        ),
        Section(
            "Decisions worth reading",
            ("Time", "Symbol", "Order", "Value USD", "Why"),
            [_decision(each) for each in day.decisions[:MOST_ROWS]],
            "No order was approved.",
            9,
        ),
        Section(
            "Fills",
            ("Time", "Symbol", "Side", "Shares", "Price USD", "Fee USD"),
            [_fill(each) for each in day.fills[:MOST_ROWS]],
            "Nothing was filled.",
            3,
        ),
        Section(
            "Held after the close",
            ("Symbol", "Shares"),
            [
                (str(each["symbol"]), _number(each["quantity"]))
                for each in day.positions[:MOST_ROWS]
            ],
            "Nothing.",
        ),
        Section("What comes next", (), [("Next session", day.next_session)], ""),
    ]


def as_text(day: Day) -> str:
    """The report for a terminal or a mail."""
    lines = [f"{day.on:%A %Y-%m-%d}, account {day.account}", "=" * 60]
    for section in sections(day):
        lines += ["", section.title, "-" * len(section.title)]
        if not section.rows:
            lines.append(section.empty)
            continue
        table = [section.columns, *section.rows] if section.columns else list(section.rows)
        widths = [
            max(len(row[n]) for row in table if n < len(row)) for n in range(max(map(len, table)))
        ]
        for row in table:
            cells = [
                cell.rjust(width) if n >= section.figures_from else cell.ljust(width)
                for n, (cell, width) in enumerate(zip(row, widths, strict=False))
            ]
            lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def as_html(day: Day) -> str:
    """The report as one page."""
    parts = [
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{_safe(f'{day.on}, {day.account}')}</title><style>{_STYLE}</style></head><body><main>"
            f"<h1>{_safe(f'{day.on:%A %Y-%m-%d}')}</h1><p class=sub>Account {_safe(day.account)}</p>"
        )
    ]
    for section in sections(day):
        parts.append(f"<section><h2>{_safe(section.title)}</h2>")
        if not section.rows:
            parts.append(f"<p class=none>{_safe(section.empty)}</p></section>")
            continue
        parts.append("<div class=scroll><table>")
        if section.columns:
            parts.append(f"<thead><tr>{_cells(section, section.columns, 'th')}</tr></thead>")
        parts.append("<tbody>")
        parts += [f"<tr>{_cells(section, row, 'td')}</tr>" for row in section.rows]
        parts.append("</tbody></table></div></section>")
    parts.append("</main></body></html>\n")
    return "".join(parts)


def _cells(section: Section, row: Sequence[str], tag: str) -> str:
    return "".join(
        f"<{tag}{' class=n' if n >= section.figures_from else ''}>{_safe(cell)}</{tag}>"
        for n, cell in enumerate(row)
    )


def _performance(day: Day) -> list[tuple[str, str]]:
    result = (
        None
        if day.equity_before is None or day.equity_after is None
        else day.equity_after - day.equity_before
    )
    share = result / day.equity_before if result is not None and day.equity_before else None
    return [
        ("Result", DASH if result is None else f"{result:+,.2f} USD"),
        ("Of equity", DASH if share is None else f"{share * 100:+.2f} %"),
        ("Equity before", _money(day.equity_before)),
        ("Equity after", _money(day.equity_after)),
        ("Signals", f"{day.signals}"),
        ("Approved, refused", f"{day.approved}, {sum(int(r['many']) for r in day.refused)}"),
        ("Fills", f"{len(day.fills)}"),
    ]


def _risk(day: Day) -> list[tuple[str, str]]:
    exposure = (
        day.gross_exposure / day.equity_after
        if day.gross_exposure is not None and day.equity_after
        else None
    )
    return [
        ("Lowest equity of the day", _money(day.lowest_equity)),
        (
            "Below the peak at the close",
            DASH if day.drawdown is None else f"{day.drawdown * 100:.2f} %",
        ),
        ("Gross exposure at the close", _money(day.gross_exposure)),
        ("Of equity", DASH if exposure is None else f"{exposure * 100:.1f} %"),
        ("Positions", f"{len(day.positions)}"),
    ]


def _costs(day: Day) -> list[tuple[str, str]]:
    traded = sum((each["quantity"] * each["price"] for each in day.fills), Decimal(0))
    slippage = day.slippage
    return [
        ("Traded", _money(traded)),
        ("Fees", _money(day.fees)),
        (
            "Slippage against the deciding prices",
            DASH if slippage is None else f"{slippage:+,.2f} USD",
        ),
    ]


def _decision(row: Row) -> tuple[str, ...]:
    price = row["reference_price"]
    value = DASH if price is None else f"{row['quantity'] * price:,.0f}"
    order = f"{row['purpose']} {row['side']} {_number(row['quantity'])}"
    return (
        _time(row["decided_at"]),
        str(row["symbol"]),
        order,
        value,
        str(row["why"] or row["strategy"]),
    )


def _fill(row: Row) -> tuple[str, ...]:
    return (
        _time(row["executed_at"]),
        str(row["symbol"]),
        str(row["side"]),
        _number(row["quantity"]),
        _price(row["price"]),
        _price(row["fee"]),
    )


def _money(value: Decimal | None) -> str:
    return DASH if value is None else f"{value:,.2f} USD"


def _number(value: Decimal) -> str:
    return plain(value)


def _price(value: Decimal) -> str:
    """Cents, and more digits only where they are there."""
    return f"{value:,.2f}" if value == round(value, 2) else _number(value)


def _time(at: datetime) -> str:
    return f"{at.astimezone(NEW_YORK):%H:%M}"


def _safe(text: str) -> str:
    return html.escape("".join(c if c.isprintable() else " " for c in text))


_STYLE = """
:root{--bg:#fff;--text:#151a23;--muted:#5a6475;--line:#e3e6ec;color-scheme:light dark}
@media(prefers-color-scheme:dark){:root{--bg:#0f141c;--text:#e7ebf2;--muted:#9aa6b8;--line:#29323f}}
body{margin:0;background:var(--bg);color:var(--text);font:14px/1.5 system-ui,sans-serif;
font-variant-numeric:tabular-nums}
main{max-width:860px;margin:0 auto;padding:32px 20px 60px}
h1{font-size:24px;margin:0;letter-spacing:-.015em}h2{font-size:15px;margin:30px 0 8px}
.sub,.none{color:var(--muted);margin:2px 0}.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:6px 14px 6px 0;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--muted);font-weight:500;font-size:12.5px}.n{text-align:right;padding-right:0;padding-left:14px}
@media print{body{font-size:11px}section{break-inside:avoid}}
"""
