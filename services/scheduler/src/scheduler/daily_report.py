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
from shared.domain.lots import Closing, Execution, match
from shared.domain.money import plain
from shared.domain.orders import Side, deed

MOST_ROWS = 40
_CURVE_WIDTH, _CURVE_HEIGHT = 820, 150
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
    # Instants with what the account was worth, oldest first, and the executions of what was traded that day from the
    # first one on (none where there are too many to match).
    marks: Sequence[tuple[datetime, Decimal]] = ()
    executions: Sequence[Execution] = ()
    # Between the two values of equity, less what was taken out: no result.
    paid_in: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with pairs or a table below it; `figures` are the columns that are aligned to the right."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    empty: str
    figures: frozenset[int] = frozenset({1})
    # How many there are, where more than are shown.
    of: int = 0

    @property
    def heading(self) -> str:
        """The title, with how many of how many rows stand below it."""
        shown = len(self.rows)
        return f"{self.title} ({shown} of {self.of})" if self.of > shown else self.title


def sections(day: Day) -> list[Section]:
    """The report's parts in their order."""
    closings = _closings(day)
    return [
        Section("Performance", (), _performance(day), ""),
        Section("Risk", (), _risk(day), ""),
        Section("Costs", (), _costs(day), ""),
        Section("Exceptions", (), [(each,) for each in day.exceptions[:MOST_ROWS]], "None."),
        Section(
            "Refused, by reason",
            ("Reason", "Times", "For example"),
            [
                (str(r["reason_code"]), f"{r['many']}", str(r["example"]))
                for r in day.refused[:MOST_ROWS]
            ],
            "Nothing was refused.",
        ),
        Section(
            "Decisions worth reading",
            ("Time", "Symbol", "Order", "Value USD", "Why"),
            [_decision(each) for each in day.decisions[:MOST_ROWS]],
            "No order was approved.",
            frozenset({3}),
        ),
        Section(
            "Closed trades",
            ("Opened", "Closed", "Symbol", "Shares", "In USD", "Out USD", "Result USD"),
            [_closing(each) for each in closings[-MOST_ROWS:]],
            "No position was closed.",
            frozenset({3, 4, 5, 6}),
            len(closings),
        ),
        Section(
            "Fills",
            ("Time", "Symbol", "Side", "Shares", "Price USD", "Fee USD"),
            [_fill(each) for each in day.fills[:MOST_ROWS]],
            "Nothing was filled.",
            frozenset({3, 4, 5}),
            len(day.fills),
        ),
        Section(
            "Held after the close",
            ("Symbol", "Shares"),
            [_held(each) for each in day.positions[:MOST_ROWS]],
            "Nothing.",
            of=len(day.positions),
        ),
        Section("What comes next", (), [("Next session", day.next_session)], ""),
    ]


def as_text(day: Day) -> str:
    """The report for a terminal or a mail."""
    lines = [f"{day.on:%A %Y-%m-%d}, account {day.account}", "=" * 60]
    for section in sections(day):
        lines += ["", section.heading, "-" * len(section.heading)]
        if not section.rows:
            lines.append(section.empty)
            continue
        table = [section.columns, *section.rows] if section.columns else list(section.rows)
        widths = [
            max(len(row[n]) for row in table if n < len(row)) for n in range(max(map(len, table)))
        ]
        for row in table:
            cells = [
                cell.rjust(width) if n in section.figures else cell.ljust(width)
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
    parts.append(_curve(day.marks))
    for section in sections(day):
        parts.append(f"<section><h2>{_safe(section.heading)}</h2>")
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
        f"<{tag}{' class=n' if n in section.figures else ''}>{_safe(cell)}</{tag}>"
        for n, cell in enumerate(row)
    )


def _performance(day: Day) -> list[tuple[str, str]]:
    # As if what was paid in had been there from the day's beginning.
    began = None if day.equity_before is None else day.equity_before + day.paid_in
    result = None if began is None or day.equity_after is None else day.equity_after - began
    share = result / began if result is not None and began else None
    return [
        ("Result", DASH if result is None else f"{result:+,.2f} USD"),
        ("Of equity", DASH if share is None else f"{share * 100:+.2f} %"),
        *_realised(day),
        ("Equity before", _money(day.equity_before)),
        *([("Paid in, no result", f"{day.paid_in:+,.2f} USD")] if day.paid_in else []),
        ("Equity after", _money(day.equity_after)),
        ("Signals", f"{day.signals}"),
        ("Approved, refused", f"{day.approved}, {sum(int(r['many']) for r in day.refused)}"),
        ("Fills", f"{len(day.fills)}"),
    ]


def _closings(day: Day) -> list[Closing]:
    """What was closed that day, oldest first."""
    return [
        each
        for each in match(day.executions).closings
        if each.closed.execution.executed_at.astimezone(NEW_YORK).date() == day.on
    ]


def _realised(day: Day) -> list[tuple[str, str]]:
    closings = _closings(day)
    gains = [each.gain for each in closings if each.gain is not None]
    if not gains:
        return []
    won = sum(gain > 0 for gain in gains)
    return [
        ("Realised after fees", f"{sum(gains, Decimal(0)):+,.2f} USD"),
        ("Closed trades, won", f"{len(closings)}, {won}"),
    ]


def _held(row: Row) -> tuple[str, ...]:
    owed = " (sold short)" if row["quantity"] < 0 else ""
    return (str(row["symbol"]), f"{_number(row['quantity'])}{owed}")


def _closing(each: Closing) -> tuple[str, ...]:
    opened, closed = each.opened.execution, each.closed.execution
    gain = each.gain
    return (
        f"{opened.executed_at.astimezone(NEW_YORK):%m-%d %H:%M}",
        _time(closed.executed_at),
        str(closed.symbol),
        f"{_number(each.quantity)} short" if each.is_short else _number(each.quantity),
        DASH if opened.price is None else _price(opened.price),
        DASH if closed.price is None else _price(closed.price),
        DASH if gain is None else f"{gain:+,.2f}",
    )


def _curve(marks: Sequence[tuple[datetime, Decimal]]) -> str:
    """The account's worth over the day as a drawing without script."""
    if len(marks) < 2:
        return ""
    values = [float(worth) for _, worth in marks]
    low, high = min(values), max(values)
    spread = (high - low) or 1.0
    step = _CURVE_WIDTH / (len(values) - 1)
    points = [
        (n * step, _CURVE_HEIGHT * (1 - (value - low) / spread)) for n, value in enumerate(values)
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    first, last = (f"{at.astimezone(NEW_YORK):%H:%M}" for at in (marks[0][0], marks[-1][0]))
    begins = _CURVE_HEIGHT * (1 - (values[0] - low) / spread)
    return (
        f'<figure><svg viewBox="-2 -6 {_CURVE_WIDTH + 4} {_CURVE_HEIGHT + 12}" role="img" '
        f'aria-label="Equity from {first} to {last}, {low:,.2f} to {high:,.2f} USD" preserveAspectRatio="none">'
        f'<line x1="0" x2="{_CURVE_WIDTH}" y1="{begins:.1f}" y2="{begins:.1f}" class="zero"/>'
        f'<polygon points="0,{_CURVE_HEIGHT} {line} {_CURVE_WIDTH},{_CURVE_HEIGHT}"/>'
        f'<polyline points="{line}"/></svg>'
        f"<figcaption><span>{first}</span><span>Equity, {low:,.2f} to {high:,.2f} USD; the dashed line is where "
        f"the day began</span><span>{last}</span></figcaption></figure>"
    )


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
    words = deed(Side(row["side"]), opens=row["purpose"] == "entry")
    order = f"{row['purpose']}, {words} {_number(row['quantity'])}"
    return (
        _time(row["decided_at"]),
        str(row["symbol"]),
        order,
        value,
        str(row["why"] or row["strategy"]),
    )


def _fill(row: Row) -> tuple[str, ...]:
    opens = row.get("opens")
    return (
        _time(row["executed_at"]),
        str(row["symbol"]),
        str(row["side"]) if opens is None else deed(Side(row["side"]), opens=opens),
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
:root{--line-of:#2a56d6;--bg:#fff;--text:#151a23;--muted:#5a6475;--line:#e3e6ec;color-scheme:light dark}
@media(prefers-color-scheme:dark){:root{--line-of:#86a8ff;--bg:#0f141c;--text:#e7ebf2;--muted:#9aa6b8;--line:#29323f}}
body{margin:0;background:var(--bg);color:var(--text);font:14px/1.5 system-ui,sans-serif;
font-variant-numeric:tabular-nums}
main{max-width:860px;margin:0 auto;padding:32px 20px 60px}
h1{font-size:24px;margin:0;letter-spacing:-.015em}h2{font-size:15px;margin:30px 0 8px}
.sub,.none{color:var(--muted);margin:2px 0}.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:6px 14px 6px 0;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--muted);font-weight:500;font-size:12.5px}.n{text-align:right}th:last-child,td:last-child{padding-right:0}
figure{margin:22px 0 0}svg{display:block;width:100%;height:170px}
polyline{fill:none;stroke:var(--line-of);stroke-width:1.8;vector-effect:non-scaling-stroke}
polygon{fill:var(--line-of);opacity:.1}.zero{stroke:var(--muted);stroke-dasharray:4 4;vector-effect:non-scaling-stroke}
figcaption{display:flex;justify-content:space-between;gap:12px;color:var(--muted);font-size:12px}
@media print{body{font-size:11px}section{break-inside:avoid}}
"""
