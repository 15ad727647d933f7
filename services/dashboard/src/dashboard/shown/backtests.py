"""What did each kept backtest say, and how do several compare?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dashboard.shown.charts import BLUE, GREY, PALETTE, frame, thinned
from dashboard.shown.texts import (
    BAD,
    DASH,
    MUTED,
    WARN,
    Cell,
    Column,
    Row,
    count,
    day,
    figure,
    instant,
    moment,
    money,
    number,
    percent,
    price,
    ratio,
    shares,
    side,
    signed,
    signed_percent,
    span,
    title,
    tone,
    words,
)

COLUMNS = (
    Column("at", "Run"),
    Column("strategy", "Strategy", wide=True),
    Column("bars", "Bars", wide=True),
    Column("return", "Return", right=True),
    Column("cagr", "A year", right=True),
    Column("drawdown", "Drawdown", right=True),
    Column("sharpe", "Sharpe", right=True),
    Column("trades", "Trades", right=True),
    Column("doubts", "Doubts", right=True),
)
DOUBTS = (Column("severity", "Weight"), Column("sentence", "What it means", wide=True))
FIGURES = (Column("name", "Figure"), Column("value", "Value", right=True))
TRADES = (
    Column("entry", "Entry"),
    Column("symbol", "Symbol"),
    Column("side", "Side"),
    Column("quantity", "Shares", right=True),
    Column("in", "In", "USD", right=True),
    Column("out", "Out", "USD", right=True),
    Column("profit", "Profit", "USD", right=True),
    Column("return", "Return", right=True),
    Column("why", "Why", wide=True),
)
_SEVERITIES = {"warning": BAD, "caution": WARN, "note": MUTED}
_FRACTIONS = frozenset(
    {"total_return", "cagr", "volatility", "max_drawdown", "win_rate", "exposure", "gross_return"}
)
_MONEY = frozenset({"expectancy", "fees", "slippage_cost", "final_equity"})
MOST_TRADES = 500


def rows(runs: Sequence[Mapping[str, Any]]) -> list[Row]:
    """One line per kept run; it leads to the whole of it."""
    found = []
    for each in runs:
        manifest, summary = each["manifest"], each["summary"]
        doubts = (
            sum((each.get("diagnoses") or {}).values())
            if isinstance(each.get("diagnoses"), dict)
            else None
        )
        total = summary.get("total_return")
        found.append(
            Row(
                str(manifest["id"]),
                {
                    "at": moment(each["ran_at"]),
                    "strategy": Cell(title(manifest["strategy"]), sub=_parameters(manifest)),
                    "bars": Cell(
                        ", ".join(manifest.get("traded_symbols") or [])[:60] or DASH,
                        sub=f"{words(manifest.get('bar_length'))}, {day(manifest.get('first_on'))} to {day(manifest.get('last_on'))}",
                    ),
                    "return": figure(total, signed_percent(total), tone(total)),
                    "cagr": figure(summary.get("cagr"), signed_percent(summary.get("cagr"))),
                    "drawdown": figure(
                        summary.get("max_drawdown"), percent(summary.get("max_drawdown"))
                    ),
                    "sharpe": figure(summary.get("sharpe"), ratio(summary.get("sharpe"))),
                    "trades": figure(summary.get("trades"), count(summary.get("trades"))),
                    "doubts": figure(doubts, count(doubts), WARN if doubts else ""),
                },
                (("compare", "Compare"),),
                to=f"/backtests?id={manifest['id']}",
            )
        )
    return found


def heading(document: Mapping[str, Any]) -> str:
    """What was run."""
    manifest = document["manifest"]
    return f"{title(manifest['strategy'])} {_parameters(manifest)} · {', '.join(manifest.get('traded_symbols') or [])[:80]}"


def figures(document: Mapping[str, Any]) -> list[tuple[str, list[Row]]]:
    """The summary, group by group."""
    return [
        (
            words(group["title"]),
            [
                Row(
                    words(each["name"]),
                    {
                        "name": Cell(words(each["title"])),
                        "value": Cell(_written(each["value"], each["kind"])),
                    },
                )
                for each in group["figures"]
            ],
        )
        for group in document.get("figures", [])
    ]


def doubts(document: Mapping[str, Any]) -> list[Row]:
    """Why the figures may not be believed."""
    return [
        Row(
            words(each["code"]),
            {
                "severity": Cell(
                    words(each["severity"]), _SEVERITIES.get(each["severity"], MUTED), chip=True
                ),
                "sentence": Cell(words(each["sentence"])),
            },
        )
        for each in document.get("diagnoses", [])
    ]


def trades(document: Mapping[str, Any]) -> list[Row]:
    """The closed trades, oldest first."""
    return [
        Row(
            f"{index}",
            {
                "entry": Cell(
                    _date(each["entry_at"]),
                    sub=f"to {_date(each['exit_at'])}",
                    sort=str(each["entry_at"]),
                ),
                "symbol": Cell(words(each["symbol"])),
                "side": side(str(each["side"]).upper()),
                "quantity": figure(each["quantity"], shares(each["quantity"])),
                "in": figure(each["entry_price"], price(each["entry_price"])),
                "out": figure(each["exit_price"], price(each["exit_price"])),
                "profit": figure(each["profit"], signed(each["profit"]), tone(each["profit"])),
                "return": figure(each["return"], signed_percent(each["return"])),
                "why": Cell(words(each["entry_reason"]), sub=f"out: {words(each['exit_reason'])}"),
            },
        )
        for index, each in enumerate(document.get("trades", [])[:MOST_TRADES])
    ]


def curve(document: Mapping[str, Any]) -> dict[str, Any]:
    """Equity against the benchmark."""
    marks = thinned(document.get("equity", []))
    axis = [_date(each["at"]) for each in marks]
    options = frame(axis, left=74)
    options["legend"] = {"top": 0, "textStyle": {"color": GREY}, "itemWidth": 14, "itemHeight": 8}
    options["grid"]["top"] = 30
    series: list[dict[str, Any]] = [_line("Equity", [each["equity"] for each in marks], BLUE, 2)]
    other = document.get("benchmark") or {}
    if other.get("equity"):
        known = {_date(each["at"]): each["equity"] for each in other["equity"]}
        series.append(_line(words(other.get("name")), [known.get(at) for at in axis], GREY, 1))
    options["series"] = series
    return options


def curves(documents: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Several runs as growth in percent since each began, by exchange day."""
    grown: dict[str, dict[str, float]] = {}
    for name, document in documents.items():
        marks = document.get("equity", [])
        first = float(marks[0]["equity"]) if marks else 0.0
        if first > 0:
            grown[name] = {
                str(each["at"])[:10]: round(100 * (float(each["equity"]) / first - 1), 3)
                for each in marks
            }
    axis = thinned(sorted({at for points in grown.values() for at in points}))
    options = frame(axis, left=64)
    options["legend"] = {"top": 0, "textStyle": {"color": GREY}, "itemWidth": 14, "itemHeight": 8}
    options["grid"]["top"] = 30
    options["yAxis"]["axisLabel"]["formatter"] = "{value} %"
    options["series"] = [
        {
            **_line(name, [points.get(at) for at in axis], PALETTE[n % len(PALETTE)], 2),
            "connectNulls": True,
        }
        for n, (name, points) in enumerate(grown.items())
    ]
    return options


def comparison(document: Mapping[str, Any]) -> tuple[list[Column], list[Row]]:
    """What was asked differently, and what came out; the first run is the measure."""
    runs = [words(run) for run in document.get("runs", [])]
    columns = [
        Column("name", "Figure"),
        *(Column(f"r{n}", run, right=True) for n, run in enumerate(runs)),
    ]
    found = []
    for part, values in (
        ("", document.get("differing", {})),
        ("figures", document.get("figures", {})),
    ):
        for name, row in values.items():
            cells = {
                "name": Cell(
                    title(name.rpartition(".")[2]),
                    MUTED if not part else "",
                    sub="" if part else "asked",
                )
            }
            for n, value in enumerate(row):
                cells[f"r{n}"] = Cell(_figure(name, value) if part else words(value))
            found.append(Row(name, cells))
    return columns, found


def progress(
    what: str | None,
    running_s: float | None,
    failed: str | None,
    run_id: str | None,
    took_s: float | None,
) -> Cell:
    """How the latest run fares."""
    if running_s is not None:
        return Cell(f"Running for {span(running_s)}: {words(what)}", "accent")
    if failed is not None:
        return Cell(f"Not run: {words(failed)}", BAD)
    if run_id is not None:
        return Cell(
            f"Kept as {words(run_id)} after {span(took_s)}.", "good", to=f"/backtests?id={run_id}"
        )
    return Cell("")


def _parameters(manifest: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {value}" for name, value in (manifest.get("parameters") or {}).items()
    )[:120]


def _line(name: str, data: Sequence[Any], colour: str, width: int) -> dict[str, Any]:
    return {
        "name": name,
        "type": "line",
        "data": [None if value is None else round(float(value), 2) for value in data],
        "showSymbol": False,
        "lineStyle": {"width": width, "color": colour},
        "itemStyle": {"color": colour},
    }


def _date(at: Any) -> str:
    known = instant(at)
    return (
        words(at)[:10]
        if known is None
        else moment(known).text
        if known.second
        else f"{known:%Y-%m-%d}"
    )


def _figure(name: str, value: Any) -> str:
    if name in _FRACTIONS:
        return percent(value)
    return money(value) if name in _MONEY else _written(value, "ratio")


def _written(value: Any, kind: str) -> str:
    if value is None:
        return DASH
    match kind:
        case "money":
            return money(value)
        case "fraction":
            return percent(value)
        case "count":
            return count(int(value)) if number(value) is not None else words(value)
        case "duration":
            return span(float(value))
        case "ratio":
            return (
                (count(value) if isinstance(value, int) else ratio(value))
                if number(value) is not None
                else words(value)
            )
    return words(value)
