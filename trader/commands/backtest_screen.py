"""How does a backtest look in a terminal?

From the plain values that are also kept and written as JSON, so that a run of today and one of last year look alike. Blocks of
figures stand side by side as the width allows; what should make a reader doubt comes before what pleases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table as Grid
from rich.text import Text

from backtester.results.archive import Kept
from backtester.results.comparison import Comparison
from backtester.results.figures import Block, Kind, Table, shown

_COLOURS = {"warning": "bold red", "caution": "yellow", "note": "dim"}
_BARS = "▁▂▃▄▅▆▇█"
# Tables that say the same again in the summary's shorter form.
_SHOWN_TABLES = ("by_symbol", "open", "by_entry", "by_exit", "by_year")
_MOST_SHOWN = 12
_ENVELOPE = (
    ("slippage_bps", "Slippage, bps", Kind.RATIO),
    ("max_volume_share", "Of a bar's volume", Kind.FRACTION),
    ("total_return", "Total return", Kind.FRACTION),
    ("cagr", "CAGR", Kind.FRACTION),
    ("sharpe", "Sharpe", Kind.RATIO),
    ("max_drawdown", "Max drawdown", Kind.FRACTION),
    ("trades", "Trades", Kind.COUNT),
    ("final_equity", "Final equity", Kind.MONEY),
)
FILLS = ("optimistic", "base", "pessimistic")


def show_run(document: Mapping[str, Any], *, is_kept: bool) -> None:
    """Show a run that has just ended: a tear sheet's document with daily equity."""
    _show(document, is_kept=is_kept)


def show_kept(document: Mapping[str, Any]) -> None:
    """Show a run that was kept."""
    _show(document, is_kept=True)
    when = datetime.fromisoformat(document["ran_at"]).strftime("%Y-%m-%d %H:%M UTC")
    _console().print(f"[dim]run on {when}[/]")


def _console() -> Console:
    return Console(highlight=False)


def _show(document: Mapping[str, Any], *, is_kept: bool) -> None:
    console = _console()
    manifest = document["manifest"]
    console.print(_head(document))
    console.print(_figures(document, console.width))
    for table in map(Table.of, document["tables"]):
        # One symbol's table is its total; reasons that are all alike say nothing more.
        if table.name in _SHOWN_TABLES and len(table.rows) > (table.name == "by_symbol"):
            console.print(_table(table, console.width))
    if document["envelope"]:
        console.print(_envelope(document["envelope"]))
    for warning in document["warnings"]:
        console.print(Text(f"note: {warning}", style="dim"))
    for diagnosis in document["diagnoses"]:
        grid = Grid.grid(padding=0)
        grid.add_column(width=9)
        grid.add_column()
        grid.add_row(
            Text(diagnosis["severity"], style=_COLOURS[diagnosis["severity"]]),
            Text(diagnosis["sentence"]),
        )
        console.print(grid)
    if not is_kept:
        return
    console.print(
        f"[dim]kept as[/] {manifest['id']}[dim]; trader backtest show {manifest['id'][:4]}, compare, verify[/]"
    )


def _head(document: Mapping[str, Any]) -> Panel:
    manifest, plan = document["manifest"], document["manifest"]["plan"]
    names = manifest["traded_symbols"]
    symbols = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    values = ", ".join(f"{name}={value}" for name, value in manifest["parameters"].items())
    line = Text(f"{manifest['strategy']} ({values}) on {symbols}", style="bold")
    terms = Text(
        f"{manifest['bar_length']} bars, {manifest['first_on']} to {manifest['last_on']}, from {manifest['source']}; "
        f"{'risk rules on' if plan['limits'] else 'no risk rules'}, sizing {plan['sizing']['name']}",
        style="dim",
    )
    equity = [point["equity"] for point in document["equity"]]
    return Panel(
        Group(line, terms, sparkline(equity, plan["cash"])), border_style="dim", padding=(0, 1)
    )


def sparkline(equity: Sequence[float], cash: float, width: int = 60) -> Text:
    """Equity in one line: green where it stands above the cash at the beginning, red below.

    Each character stands for the last value of its part of the time.
    """
    if not equity:
        return Text()
    n = min(width, len(equity))
    values = [equity[(i + 1) * len(equity) // n - 1] for i in range(n)]
    low, high = min(*values, cash), max(*values, cash)
    line = Text()
    for value in values:
        step = 0 if high == low else int((value - low) / (high - low) * (len(_BARS) - 1) + 0.5)
        line.append(_BARS[step], style="green" if value >= cash else "red")
    return line


def _figures(document: Mapping[str, Any], width: int) -> Grid:
    blocks = [Block.of(block) for block in document["figures"]]
    # A terminal of 80 columns takes two side by side.
    across = max(1, width // 40)
    each = min((width - 2) // across - 1, 48)
    page = Grid.grid(padding=(1, 1, 0, 0))
    for first in range(0, len(blocks), across):
        page.add_row(*(_block(block, each) for block in blocks[first : first + across]))
    return page


def _block(block: Block, width: int) -> Grid:
    grid = Grid(
        title=block.title,
        title_style="bold cyan",
        title_justify="left",
        show_header=False,
        box=None,
        padding=(0, 1, 0, 0),
        width=width,
    )
    grid.add_column(style="dim", ratio=1, no_wrap=True, overflow="ellipsis")
    grid.add_column(justify="right", no_wrap=True)
    for figure in block.figures:
        grid.add_row(figure.title, Text(figure.shown, style=_tone(figure.name, figure.value)))
    return grid


def _tone(name: str, value: Any) -> str:
    tinted = ("absolute_profit", "total_return", "cagr", "net_profit", "expectancy", "alpha")
    if name in tinted and isinstance(value, int | float):
        return "green" if value > 0 else "red" if value < 0 else ""
    return ""


def _table(table: Table, width: int) -> Grid:
    grid = Grid(
        title=table.title,
        title_style="bold cyan",
        title_justify="left",
        box=None,
        header_style="dim",
        padding=(0, 2, 0, 0),
    )
    # Narrow terminals show what matters most.
    hidden = {"of_cash", "average_duration_s", "draws"} if width < 110 else set()
    columns = [column for column in table.columns if column.name not in hidden]
    for column in columns:
        is_text = column.kind is Kind.TEXT
        grid.add_column(
            column.title,
            justify="left" if is_text else "right",
            overflow="ellipsis",
            no_wrap=True,
            max_width=40 if is_text else None,
        )
    rows = table.rows
    if len(rows) > _MOST_SHOWN:
        rows = [*rows[: _MOST_SHOWN - 2], *rows[-2:]]
    for row in rows:
        style = "bold" if row["key"] == "Total" else ""
        grid.add_row(
            *(Text(shown(row[column.name], column.kind)) for column in columns), style=style
        )
    missing = len(table.rows) - len(rows) + table.left_out
    if missing:
        grid.caption = f"{missing} rows more in the report and in JSON"
    return grid


def _envelope(envelope: Mapping[str, Mapping[str, Any]]) -> Grid:
    grid = Grid(
        title="Envelope: the same decisions under other fills",
        title_style="bold cyan",
        title_justify="left",
        box=None,
        header_style="dim",
        padding=(0, 2, 0, 0),
    )
    grid.add_column("")
    for name in FILLS:
        grid.add_column(name.capitalize(), justify="right")
    grid.add_column("Spread", justify="right")
    for name, title, kind in _ENVELOPE:
        values = [envelope[fills][name] for fills in FILLS]
        is_known = all(value is not None for value in values)
        spread = shown(max(values) - min(values), kind) if is_known else shown(None, kind)
        grid.add_row(title, *(shown(value, kind) for value in values), spread)
    return grid


def show_list(runs: Sequence[Kept]) -> None:
    """Show what is kept, the newest first."""
    console = _console()
    if not runs:
        console.print("no backtest is kept yet; run one: trader backtest run --help")
        return
    is_wide = console.width >= 110
    grid = Grid(box=None, header_style="dim", padding=(0, 2 if is_wide else 1, 0, 0))
    titles = ["Run", "When (UTC)", "Strategy", "On"] + (["From", "To"] if is_wide else [])
    for title in titles:
        grid.add_column(title, no_wrap=True, overflow="ellipsis", max_width=24 if is_wide else 15)
    for title in ["Return", "Sharpe", "Drawdown"] + (["Trades", "Doubts"] if is_wide else []):
        grid.add_column(title, justify="right", no_wrap=True)
    for kept in runs:
        manifest, summary = kept.manifest, kept.summary
        names = manifest["traded_symbols"]
        gained = summary["total_return"]
        cells: list[str | Text] = [
            Text(kept.id, style="cyan"),
            datetime.fromisoformat(kept.ran_at).strftime("%m-%d %H:%M"),
            Text(manifest["strategy"]),
            Text(names[0] if len(names) == 1 else f"{len(names)} symbols"),
        ]
        if is_wide:
            cells += [manifest["first_on"], manifest["last_on"]]
        cells += [
            Text(shown(gained, Kind.FRACTION), style="green" if gained > 0 else "red"),
            shown(summary["sharpe"], Kind.RATIO),
            shown(summary["max_drawdown"], Kind.FRACTION),
        ]
        if is_wide:
            cells += [shown(summary["trades"], Kind.COUNT), _doubts(kept.diagnoses)]
        grid.add_row(*cells)
    console.print(grid)


def _doubts(counted: Mapping[str, int]) -> Text:
    """How many diagnoses, as `2 1 0` in the colours of their severity."""
    text = Text()
    for severity, colour in _COLOURS.items():
        text.append(f"{counted.get(severity, 0)} ", style=colour)
    return text


def show_comparison(comparison: Comparison) -> None:
    """Show runs side by side; the better of each figure stands out."""
    console = _console()
    grid = Grid(box=None, header_style="cyan", padding=(0, 2, 0, 0))
    grid.add_column("", style="dim", max_width=34, overflow="ellipsis", no_wrap=True)
    for run in comparison.ids:
        grid.add_column(run, justify="right", overflow="fold")
    for name, values in comparison.differing:
        grid.add_row(name, *(Text("–" if v is None else str(v)) for v in values))  # noqa: RUF001
    grid.add_section()
    for _, title, kind, better, values in comparison.figures:
        known = [value for value in values if value is not None]
        best = None
        if better is not None and len(set(known)) > 1:
            best = max(known) if better else min(known)
        grid.add_row(
            title,
            *(
                Text(
                    shown(value, kind),
                    style="bold green" if value == best and best is not None else "",
                )
                for value in values
            ),
        )
    console.print(grid)
    for note in comparison.notes:
        console.print(Text(note, style="yellow"))
