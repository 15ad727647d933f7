"""How does a backtest look as one HTML file?

Text, tables and charts of a tear sheet, with Plotly and everything else inside: the page asks no network for anything, and
its own policy forbids it to. What is worth doubting stands above what pleases. Words that came from a strategy, a file or a
person are text and never markup.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from backtester.report.charts import Chart, charts_of
from backtester.results.figures import Block, Figure, Kind, Table, shown
from backtester.results.tearsheet import Tearsheet
from backtester.results.trades import Trade
from shared.domain.errors import Misconfigured

# Nothing may be loaded from anywhere, whatever the page holds.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:"
)
MOST_TRADES = 500
MOST_DRAWDOWNS = 10
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# A month's return at which a cell has its full colour: the largest there is, within these.
_FULL_COLOUR = (0.005, 0.10)
_FILLS = ("optimistic", "base", "pessimistic")


def page_of(sheet: Tearsheet) -> str:
    """The whole file.

    Raises:
        Misconfigured: Plotly is not installed.
    """
    charts = charts_of(sheet)
    by_name = {chart.name: chart for chart in charts}
    parts = [
        _head(sheet),
        _keys(sheet),
        _doubts(sheet),
        _chart(by_name["equity"]),
        _months(sheet),
        _chart(by_name["candles"]) if "candles" in by_name else _no_trades(),
        _chart(by_name["rolling"]),
        f'<div class="two">{_chart(by_name["costs"])}'
        + (_chart(by_name["trades"]) if "trades" in by_name else "")
        + "</div>",
        _envelope(sheet.envelope),
        _blocks(sheet.blocks),
        _drawdowns(sheet),
        *(_table(table) for table in sheet.tables if table.rows),
        _trades(sheet.trades),
        _assumptions(sheet),
    ]
    title = f"{sheet.request.strategy} on {_symbols(sheet)}"
    here = Path(__file__).parent
    figures = {chart.name: {"height": chart.height, "choices": chart.choices} for chart in charts}
    return (
        '<!doctype html>\n<html lang="en" data-look="light">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{(here / 'page.css').read_text()}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + f"\n<footer>Run {escape(sheet.manifest['id'])}. A backtest is no promise.</footer>\n</main>\n"
        f'<script type="application/json" id="figures">{_inert(figures)}</script>\n'
        f"<script>{_plotly()}</script>\n<script>\n{(here / 'page.js').read_text()}</script>\n</body>\n</html>\n"
    )


def _plotly() -> str:
    """Plotly's own script; its Python part, which takes long to import, is not needed."""
    found = importlib.util.find_spec("plotly")
    if found is None or found.origin is None:
        raise Misconfigured(
            "a report needs plotly, which is not installed; run make setup, or leave --report out"
        )
    script = Path(found.origin).parent / "package_data" / "plotly.min.js"
    return script.read_text(encoding="utf-8").replace("</script", "<\\/script")


def _inert(value: Any) -> str:
    """JSON that ends no script element, whatever texts are in it."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


# ---------------------------------------------------------------------- above


def _symbols(sheet: Tearsheet) -> str:
    names = sheet.result.history.panel.symbols
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _head(sheet: Tearsheet) -> str:
    history, plan = sheet.result.history, sheet.result.plan
    values = ", ".join(f"{name}={value}" for name, value in sheet.request.parameters.items())
    terms = (
        f"{history.panel.timeframe} bars, {history.day(0)} to {history.day(-1)}, "
        f"{'risk rules on' if plan.limits else 'no risk rules'}, sizing {plan.sizing.name}, "
        f"{sheet.result.engine.value} engine"
    )
    return (
        f"<header><div><h1>{escape(sheet.request.strategy)} on {escape(_symbols(sheet))}</h1>"
        f'<p class="terms">{escape(terms)}</p><p class="terms"><code>{escape(values)}</code></p></div>'
        '<button id="look" type="button" aria-label="Switch between light and dark">Light / dark</button></header>'
    )


def _keys(sheet: Tearsheet) -> str:
    summary, comparison = sheet.result.summary, sheet.comparison
    theirs = comparison["benchmark_return"]
    keys = (
        ("Total return", "total_return", Kind.FRACTION, f"{shown(theirs, Kind.FRACTION)} {sheet.benchmark.name}", True),
        ("Yearly return", "cagr", Kind.FRACTION, f"{shown(summary['volatility'], Kind.FRACTION)} volatility", True),
        ("Sharpe", "sharpe", Kind.RATIO, f"{shown(sheet.evidence.probabilistic_sharpe, Kind.FRACTION)} sure to be above 0", False),
        ("Max drawdown", "max_drawdown", Kind.FRACTION, f"{shown(comparison['benchmark_max_drawdown'], Kind.FRACTION)} {sheet.benchmark.name}", False),
        ("Trades", "trades", Kind.COUNT, f"{shown(summary['win_rate'], Kind.FRACTION)} won", False),
        ("Profit factor", "profit_factor", Kind.RATIO, f"{shown(summary['expectancy'], Kind.MONEY)} USD a trade", False),
        ("Final equity", "final_equity", Kind.COUNT, f"USD, from {shown(round(sheet.result.plan.cash), Kind.COUNT)}", False),
        ("Time in market", "exposure", Kind.FRACTION, f"{shown(summary['turnover'], Kind.RATIO)} times turned over a year", False),
    )  # fmt: skip
    cells = []
    for title, name, kind, more, is_tinted in keys:
        value = round(summary[name] or 0.0) if name == "final_equity" else summary[name]
        tone = _tone(value) if is_tinted else ""
        cells.append(
            f'<div class="key"><dt>{title}</dt><dd class="{tone}">{shown(value, kind)}'
            f"<small>{escape(more)}</small></dd></div>"
        )
    return f'<dl class="card keys">{"".join(cells)}</dl>'


def _tone(value: Any) -> str:
    if not isinstance(value, int | float) or value == 0:
        return ""
    return "up" if value > 0 else "down"


def _doubts(sheet: Tearsheet) -> str:
    items = [(diagnosis.severity.value, diagnosis.sentence) for diagnosis in sheet.diagnoses] + [
        ("note", _sentence(warning)) for warning in sheet.result.warnings
    ]
    if not items:
        return '<section class="card"><h2>Nothing to doubt was found</h2></section>'
    rows = "".join(
        f'<li><span class="badge {severity}">{severity}</span><span>{escape(text)}</span></li>'
        for severity, text in items
    )
    return f'<section class="card"><h2>What to doubt</h2><ul class="doubts">{rows}</ul></section>'


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


# ---------------------------------------------------------------------- charts and months


def _chart(chart: Chart) -> str:
    names = list(chart.choices)
    picker = ""
    if len(names) > 3:
        options = "".join(f"<option>{escape(name)}</option>" for name in names)
        picker = f'<select data-choose="{chart.name}" aria-label="Which one">{options}</select>'
    elif len(names) > 1:
        picker = "".join(
            f'<button type="button" data-choose="{chart.name}" data-value="{escape(name)}" '
            f'aria-pressed="{"true" if name == names[0] else "false"}">{escape(name)}</button>'
            for name in names
        )
        picker = f'<div class="choices">{picker}</div>'
    title = chart.title if len(names) > 1 or not names[0] else f"{chart.title} in {names[0]}"
    return (
        f'<section class="card"><figure><div class="bar"><h2>{escape(title)}</h2>{picker}</div>'
        f'<div class="chart" id="chart-{chart.name}" style="min-height:{chart.height}px" role="img" '
        f'aria-label="{escape(title)}"></div><figcaption>{escape(chart.note)}</figcaption></figure></section>'
    )


def _no_trades() -> str:
    return (
        '<section class="card"><h2>Trades</h2><p class="without">No order was filled.</p></section>'
    )


def monthly_returns(
    days: Sequence[str], closing: Sequence[float], cash: float
) -> dict[str, dict[int, float]]:
    """Return of each month by year and month (1 to 12), and of the whole year as month 0."""
    found: dict[str, dict[int, float]] = {}
    ends: dict[tuple[str, int], float] = {}
    for day, worth in zip(days, closing, strict=True):
        ends[day[:4], int(day[5:7])] = worth
    before = year_before = cash
    for (year, month), worth in ends.items():
        if year not in found:
            year_before = before
        months = found.setdefault(year, {})
        months[month] = worth / before - 1.0 if before > 0.0 else 0.0
        months[0] = worth / year_before - 1.0 if year_before > 0.0 else 0.0
        before = worth
    return found


def _months(sheet: Tearsheet) -> str:
    years = monthly_returns(sheet.days, sheet.closing.tolist(), sheet.result.plan.cash)
    head = "".join(f"<th>{month}</th>" for month in (*_MONTHS, "Year"))
    largest = max(
        abs(value) for months in years.values() for month, value in months.items() if month
    )
    full = min(max(largest, _FULL_COLOUR[0]), _FULL_COLOUR[1])
    rows = []
    for year, months in years.items():
        cells = "".join(
            _cell(months.get(month), full, is_year=month == 0) for month in (*range(1, 13), 0)
        )
        rows.append(f"<tr><td>{year}</td>{cells}</tr>")
    return (
        '<section class="card"><h2>Return by month</h2><div class="wide"><table class="heat">'
        f"<thead><tr><th></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _cell(value: float | None, full: float, *, is_year: bool) -> str:
    if value is None:
        return "<td></td>"
    # The number says it, too, for whoever sees no colours.
    share = min(1.0, abs(value) / full) * 46.0
    colour = "--up" if value > 0.0 else "--down"
    style = f"background:color-mix(in srgb, var({colour}) {share:.0f}%, transparent)"
    return f'<td class="{"year" if is_year else ""}" style="{style}">{_percent(value)}</td>'


def _percent(value: float) -> str:
    text = f"{value * 100:.1f}"
    return "0.0" if text == "-0.0" else text


# ---------------------------------------------------------------------- tables


def _envelope(envelope: Mapping[str, Mapping[str, Any]]) -> str:
    if not envelope:
        return ""
    rows = []
    for name, title, kind in (
        ("slippage_bps", "Slippage, bps", Kind.RATIO),
        ("max_volume_share", "Of a bar's volume", Kind.FRACTION),
        ("total_return", "Total return", Kind.FRACTION),
        ("cagr", "CAGR", Kind.FRACTION),
        ("sharpe", "Sharpe", Kind.RATIO),
        ("max_drawdown", "Max drawdown", Kind.FRACTION),
        ("trades", "Trades", Kind.COUNT),
        ("final_equity", "Final equity", Kind.MONEY),
    ):
        values = [envelope[fills][name] for fills in _FILLS]
        spread = None if None in values else max(values) - min(values)
        cells = "".join(f"<td>{shown(value, kind)}</td>" for value in (*values, spread))
        rows.append(f"<tr><td>{title}</td>{cells}</tr>")
    head = "".join(f"<th>{name.capitalize()}</th>" for name in (*_FILLS, "spread"))
    return _section(
        "The same decisions under other fills",
        f"<thead><tr><th></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody>",
    )


def _section(title: str, table: str, *, after: str = "", is_long: bool = False) -> str:
    return (
        f'<section class="card{" long" if is_long else ""}"><h2>{escape(title)}</h2><div class="wide"><table>{table}'
        f"</table></div>{after}</section>"
    )


def _blocks(blocks: Sequence[Block]) -> str:
    inner = "".join(
        f"<div class='block' style='display:block;border:0;padding:0'><h3>{escape(block.title)}</h3>"
        f"<dl>{''.join(map(_figure, block.figures))}</dl></div>"
        for block in blocks
    )
    return f'<section class="card long"><h2>Figures</h2><div class="blocks">{inner}</div></section>'


def _figure(figure: Figure) -> str:
    return f"<div><dt>{escape(figure.title)}</dt><dd>{escape(figure.shown)}</dd></div>"


def drawdowns(days: Sequence[str], closing: Sequence[float], cash: float) -> list[dict[str, Any]]:
    """The deepest falls of daily equity: start, low, recovery (None while it lasts), depth, days."""
    found: list[dict[str, Any]] = []
    peak, peak_on = cash, days[0] if days else ""
    current: dict[str, Any] | None = None
    for i, (day, worth) in enumerate(zip(days, closing, strict=True)):
        if worth >= peak:
            if current is not None:
                current["recovered_on"] = day
                current["days"] = i - current["from"]
                current = None
            peak, peak_on = worth, day
            continue
        if current is None:
            current = {
                "start_on": peak_on,
                "low_on": day,
                "recovered_on": None,
                "depth": 0.0,
                "from": max(0, i - 1),
            }
            found.append(current)
        depth = (peak - worth) / peak
        current["days"] = i - current["from"]
        if depth > current["depth"]:
            current.update(depth=depth, low_on=day)
    return sorted(found, key=lambda fall: -fall["depth"])[:MOST_DRAWDOWNS]


def _drawdowns(sheet: Tearsheet) -> str:
    falls = drawdowns(sheet.days, sheet.closing.tolist(), sheet.result.plan.cash)
    if not falls:
        return ""
    rows = "".join(
        f"<tr><td>{shown(fall['depth'], Kind.FRACTION)}</td><td>{fall['start_on']}</td><td>{fall['low_on']}</td>"
        f"<td>{fall['recovered_on'] or 'not yet'}</td><td>{fall['days']:,}</td></tr>"
        for fall in falls
    )
    head = (
        "<th>Depth</th><th>Peak on</th><th>Low on</th><th>Recovered on</th><th>Exchange days</th>"
    )
    return _section("Deepest falls", f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody>")


def _table(table: Table) -> str:
    head = "".join(
        f'<th class="{"text" if column.kind is Kind.TEXT else ""}">{escape(column.title)}</th>'
        for column in table.columns
    )
    rows = []
    for row in table.rows:
        cells = "".join(
            f'<td class="{"text" if column.kind is Kind.TEXT else ""}">'
            f"{escape(shown(row[column.name], column.kind))}</td>"
            for column in table.columns
        )
        total = ' class="total"' if row["key"] == "Total" else ""
        rows.append(f"<tr{total}>{cells}</tr>")
    after = (
        f'<p class="terms">{table.left_out} rows in between are left out.</p>'
        if table.left_out
        else ""
    )
    return _section(
        table.title,
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>",
        after=after,
        is_long=True,
    )


def _trades(trades: Sequence[Trade]) -> str:
    if not trades:
        return ""
    rows = "".join(
        f"<tr><td>{escape(trade.symbol)}</td><td>{_time(trade.entry_at)}</td><td>{_time(trade.exit_at)}</td>"
        f"<td>{trade.quantity:,.6g}</td><td>{_price(trade.entry_price)}</td><td>{_price(trade.exit_price)}</td>"
        f'<td class="{_tone(trade.profit)}">{trade.profit:+,.2f}</td><td class="{_tone(trade.profit)}">'
        f'{trade.fraction:+.2%}</td><td class="text">{escape(trade.entry_reason)}</td>'
        f'<td class="text">{escape(trade.exit_reason or "still open")}</td></tr>'
        for trade in list(trades)[-MOST_TRADES:]
    )
    head = "".join(
        f'<th class="{"text" if title.endswith("reason") else ""}">{title}</th>'
        for title in (
            "Symbol", "Entry", "Exit", "Shares", "At", "At", "Profit USD", "Profit", "Entry reason", "Exit reason",
        )
    )  # fmt: skip
    newest = f" (the newest {MOST_TRADES})" if len(trades) > MOST_TRADES else ""
    return (
        f'<section class="card long folded"><h2>All trades{newest}</h2><details><summary>Show {min(len(trades), MOST_TRADES)} '
        f'trades</summary><div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        "</details></section>"
    )


def _time(at: str | None) -> str:
    return "–" if at is None else at[:16].replace("T", " ")  # noqa: RUF001


def _price(price: float | None) -> str:
    return "–" if price is None else f"{price:,.4f}".rstrip("0").rstrip(".")  # noqa: RUF001


def _assumptions(sheet: Tearsheet) -> str:
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sheet.assumptions)
    manifest = sheet.manifest
    named = (
        "id",
        "source",
        "data_hash",
        "config_hash",
        "code_hash",
        "result_hash",
        "seed",
        "python",
        "numpy",
    )
    hashes = "".join(
        f"<dt>{name.replace('_', ' ')}</dt><dd><code>{escape(str(manifest[name]))}</code></dd>"
        for name in named
    )
    return (
        f'<section class="card"><h2>What is assumed</h2><ol class="assumed">{items}</ol>'
        f'<dl class="hashes">{hashes}</dl></section>'
    )
