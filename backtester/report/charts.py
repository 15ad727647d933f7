"""Which charts does a report have, and what is in them?

Each is a Plotly figure as plain values: traces and a layout. Colours are names that begin with @ and become those of the
page's light or dark look when it is drawn. What a chart leaves out it says in its note.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtester import metrics
from backtester.report.drawing import Candles, joined_candles, points_of_line
from backtester.results.tearsheet import Tearsheet
from backtester.results.trades import Trade
from shared.domain.bar_blocks import from_epoch_us
from shared.domain.timeframes import Timeframe

Floats = NDArray[np.float64]

# Twice the pixels of a wide screen.
MOST_POINTS = 4_000
MOST_CANDLES = 2_500
# The whole of a longer time, joined.
MOST_JOINED = 900
# The symbols that were traded most; the file holds candles of these alone.
MOST_SYMBOLS = 12
# Trades on one symbol's candles: the newest.
MOST_MARKED = 300
# Half an exchange year, the usual window of rolling figures.
WINDOW = 126
_SHORTEST_WINDOW = 20


@dataclass(frozen=True)
class Chart:
    """A figure with its words. `choices`: other traces and layouts under the same title, by their names."""

    name: str
    title: str
    note: str
    height: int
    choices: Mapping[str, Mapping[str, Any]]


def charts_of(sheet: Tearsheet) -> list[Chart]:
    """The charts of a report in their order."""
    charts = [equity_chart(sheet), rolling_chart(sheet), costs_chart(sheet)]
    if sheet.trades:
        charts[1:1] = [candles_chart(sheet)]
        charts.append(trades_chart(sheet))
    return charts


# ---------------------------------------------------------------------- equity, drawdown, exposure


def equity_chart(sheet: Tearsheet) -> Chart:
    """Equity against the benchmark, the falls below the peak, and how much was in the market, one under the other."""
    history, equity = sheet.result.history, sheet.result.outcome.equity
    cash = sheet.result.plan.cash
    peaks = np.maximum.accumulate(np.maximum(equity, cash))
    fallen = (equity - peaks) / peaks
    ends = history.end_us
    drawn = points_of_line(equity, MOST_POINTS)
    low = points_of_line(fallen, MOST_POINTS)
    gross = sheet.attribution.gross_exposure
    held = points_of_line(gross, MOST_POINTS)
    benchmark = sheet.benchmark.closing
    days = points_of_line(benchmark, MOST_POINTS)
    traces: list[dict[str, Any]] = [
        _line(
            "Strategy",
            _times(ends[drawn], history.panel.timeframe),
            equity[drawn],
            "@accent",
            width=2,
        ),
        _line(
            _capital(sheet.benchmark.name),
            [sheet.days[i] for i in days.tolist()],
            benchmark[days],
            "@muted",
            dash="dot",
        ),
        {
            **_line(
                "Drawdown", _times(ends[low], history.panel.timeframe), fallen[low] * 100.0, "@down"
            ),
            "yaxis": "y2",
            "fill": "tozeroy",
            "fillcolor": "@down-soft",
            "showlegend": False,
            "hovertemplate": "%{y:.2f} %<extra>Drawdown</extra>",
        },
        {
            **_line(
                "Gross exposure",
                _times(ends[held], history.panel.timeframe),
                gross[held] * 100.0,
                "@accent",
            ),
            "yaxis": "y3",
            "fill": "tozeroy",
            "fillcolor": "@accent-soft",
            "line": {"color": "@accent", "width": 1, "shape": "hv"},
            "showlegend": False,
            "hovertemplate": "%{y:.1f} %<extra>Gross exposure</extra>",
        },
    ]
    has_shorts = bool(np.any(sheet.attribution.short_exposure > 0.0))
    if has_shorts:
        net = sheet.attribution.net_exposure
        traces.append(
            {
                **_line(
                    "Net exposure",
                    _times(ends[held], history.panel.timeframe),
                    net[held] * 100.0,
                    "@muted",
                ),
                "yaxis": "y3",
                "showlegend": False,
                "hovertemplate": "%{y:.1f} %<extra>Net exposure</extra>",
            }
        )
    layout: dict[str, Any] = {
        "hovermode": "x unified",
        "xaxis": {"type": "date", "anchor": "y3"},
        "yaxis": {"domain": [0.46, 1.0], "title": {"text": "USD"}, "tickformat": "~s"},
        "yaxis2": {"domain": [0.24, 0.42], "title": {"text": "Drawdown"}, "ticksuffix": " %"},
        "yaxis3": {
            "domain": [0.0, 0.20],
            "title": {"text": "Exposure"},
            "ticksuffix": " %",
            "rangemode": "tozero",
        },
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    }
    logarithmic = {**layout, "yaxis": {**layout["yaxis"], "type": "log"}}
    note = "From the peak so far; exposure is what was held over equity at each close"
    if has_shorts:
        note += ": coloured all of it, grey what was long less what was short"
    note += "."
    if len(drawn) < len(equity):
        note += (
            f" Drawn with {len(drawn):,} of {len(equity):,} points, of which each stretch keeps its first, lowest, "
            "highest and last."
        )
    choices = {"Linear": {"data": traces, "layout": layout}}
    if float(np.min(equity)) > 0.0 and float(np.min(benchmark)) > 0.0:
        choices["Logarithmic"] = {"data": traces, "layout": logarithmic}
    scaled = at_equal_volatility(cash, sheet.closing, benchmark)
    if scaled is not None:
        alike = {**traces[1], "y": rounded(scaled[days]), "name": f"{traces[1]['name']}, scaled"}
        choices["Equal volatility"] = {"data": [traces[0], alike, *traces[2:]], "layout": layout}
    return Chart("equity", f"Equity against {sheet.benchmark.name}", note, 560, choices)


def at_equal_volatility(cash: float, closing: Floats, benchmark: Floats) -> Floats | None:
    """The benchmark with its daily returns scaled to the account's volatility; None where one of them has none."""
    ours, theirs = metrics.daily_returns(cash, closing), metrics.daily_returns(cash, benchmark)
    mine, other = metrics.volatility(ours), metrics.volatility(theirs)
    if not (mine and other):
        return None
    return np.asarray(cash * np.cumprod(1.0 + theirs * (mine / other)), np.float64)


def _line(
    name: str,
    x: Sequence[str],
    y: Floats,
    colour: str,
    *,
    width: float = 1.2,
    dash: str | None = None,
) -> dict[str, Any]:
    line: dict[str, Any] = {"color": colour, "width": width}
    if dash is not None:
        line["dash"] = dash
    return {
        "type": "scatter",
        "mode": "lines",
        "name": escape(name),
        "x": x,
        "y": rounded(y),
        "line": line,
    }


def rounded(values: Floats) -> list[float | None]:
    """Seven digits, which is more than a screen shows; None where there is no number."""
    return [
        None if not np.isfinite(value) else float(f"{value:.7g}")
        for value in np.asarray(values, np.float64).tolist()
    ]


def _times(us: NDArray[np.int64], timeframe: Timeframe) -> list[str]:
    form = "%Y-%m-%d %H:%M" if timeframe.is_intraday else "%Y-%m-%d"
    return [from_epoch_us(each).strftime(form) for each in us.tolist()]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


# ---------------------------------------------------------------------- candles


def candles_chart(sheet: Tearsheet) -> Chart:
    """Each traded symbol's candles with entries, exits, and the stops and targets that stood meanwhile."""
    of: dict[str, list[Trade]] = {}
    for trade in sheet.trades:
        of.setdefault(trade.symbol, []).append(trade)
    names = sorted(of, key=lambda name: -len(of[name]))
    left_out = len(names) - MOST_SYMBOLS
    choices: dict[str, dict[str, Any]] = {}
    joined, most = 1, 0
    for name in names[:MOST_SYMBOLS]:
        own = _own_rows(sheet, name)
        most = max(most, len(own))
        newest = own[-MOST_CANDLES:]
        choices[name] = _candles(sheet, name, newest, of[name], len(newest))
        if len(own) > MOST_CANDLES:
            choices[f"{name}, whole time"] = _candles(sheet, name, own, of[name], MOST_JOINED)
            joined = max(joined, -(-len(own) // MOST_JOINED))
    note = "Triangles are entries, diamonds exits; dashed lines the stop and the target that stood at the entry."
    if joined > 1:
        note += (
            f" Drawn are the newest {MOST_CANDLES:,} of {most:,} bars; in the whole time a candle stands for up to "
            f"{joined:,} bars."
        )
    if left_out > 0:
        note += f" {left_out} symbols that were traded less are not drawn."
    if any(len(trades) > MOST_MARKED for trades in of.values()):
        note += f" Of each symbol the newest {MOST_MARKED} trades are marked."
    return Chart("candles", "Trades", note, 520, choices)


def _own_rows(sheet: Tearsheet, name: str) -> NDArray[np.int64]:
    """The bars that the symbol has."""
    panel = sheet.result.history.panel
    column = [str(symbol) for symbol in panel.symbols].index(name)
    return np.flatnonzero(~np.isnan(panel.close[:, column])).astype(np.int64)


def _candles(
    sheet: Tearsheet, name: str, own: NDArray[np.int64], trades: Sequence[Trade], most: int
) -> dict[str, Any]:
    history = sheet.result.history
    # All in the shares of the last day, or a split would look like a crash.
    panel = history.in_newest_shares.panel
    column = [str(symbol) for symbol in panel.symbols].index(name)
    factor = history.actions_as_arrays.factor
    ratio = factor[:, column] / factor[-1, column] if factor.size else np.ones(len(history))
    opens, highs, lows, closes = (
        values[own, column] for values in (panel.open, panel.high, panel.low, panel.close)
    )
    candles = joined_candles(own, opens, highs, lows, closes, most)
    # Labels and not times: nights and weekends would be most of the picture.
    labels = _labels(history.open_us[candles.first], history.panel.timeframe)
    marked = [_in_newest_shares(trade, ratio) for trade in trades if trade.entry_row >= own[0]][
        -MOST_MARKED:
    ]
    data: list[dict[str, Any]] = [
        {
            "type": "candlestick",
            "name": escape(name),
            "x": labels,
            "open": rounded(candles.open),
            "high": rounded(candles.high),
            "low": rounded(candles.low),
            "close": rounded(candles.close),
            "increasing": {"line": {"color": "@up", "width": 1}, "fillcolor": "@up"},
            "decreasing": {"line": {"color": "@down", "width": 1}, "fillcolor": "@down"},
            "opacity": 0.55,
            "showlegend": False,
        },
        *_levels(candles, labels, marked),
        *_markers(candles, labels, marked),
    ]
    first = max(0, len(labels) - 250)
    return {
        "data": data,
        "layout": {
            "hovermode": "closest",
            "xaxis": {
                "type": "category",
                "nticks": 8,
                "tickangle": 0,
                # The overview shows all prices, whichever the candles in view have.
                "rangeslider": {
                    "visible": True,
                    "thickness": 0.08,
                    "yaxis": {"rangemode": "auto"},
                },
                "range": [first - 0.5, len(labels) - 0.5],
            },
            "yaxis": {"title": {"text": "USD a share"}, "fixedrange": False},
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        },
    }


def _in_newest_shares(trade: Trade, ratio: Floats) -> Trade:
    """The trade with its prices as the candles have them; `ratio` is 1 on the last day and where nothing was split."""
    of_end, of_entry = float(ratio[trade.exit_row]), float(ratio[trade.entry_row])
    return replace(
        trade,
        entry_price=trade.entry_price * of_end,
        exit_price=None if trade.exit_price is None else trade.exit_price * of_end,
        stop=None if trade.stop is None else trade.stop * of_entry,
        target=None if trade.target is None else trade.target * of_entry,
        quantity=trade.quantity / of_end,
    )


def _labels(us: NDArray[np.int64], timeframe: Timeframe) -> list[str]:
    form = "%Y-%m-%d %H:%M" if timeframe.is_intraday else "%Y-%m-%d"
    return [from_epoch_us(each).strftime(form) for each in us.tolist()]


def _levels(
    candles: Candles, labels: Sequence[str], trades: Sequence[Trade]
) -> list[dict[str, Any]]:
    found = []
    for title, name, colour in (("Stop", "stop", "@down"), ("Target", "target", "@up")):
        x: list[str | None] = []
        y: list[float | None] = []
        for trade in trades:
            level = getattr(trade, name)
            if level is not None:
                # None between two of them lifts the pen.
                x += [labels[candles.of(trade.entry_row)], labels[candles.of(trade.exit_row)], None]
                y += [level, level, None]
        if x:
            found.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "name": title,
                    "x": x,
                    "y": y,
                    "line": {"color": colour, "width": 1.4, "dash": "dash"},
                    "hoverinfo": "skip",
                }
            )
    return found


def _markers(
    candles: Candles, labels: Sequence[str], trades: Sequence[Trade]
) -> list[dict[str, Any]]:
    closed = [trade for trade in trades if trade.exit_price is not None]
    links: dict[str, Any] = {
        "type": "scatter",
        "mode": "lines",
        "showlegend": False,
        "x": [],
        "y": [],
        "line": {"color": "@muted", "width": 1, "dash": "dot"},
        "hoverinfo": "skip",
    }
    for trade in closed:
        links["x"] += [
            labels[candles.of(trade.entry_row)],
            labels[candles.of(trade.exit_row)],
            None,
        ]
        links["y"] += [trade.entry_price, trade.exit_price, None]
    # Entries above exits, since a change of sides has both in one place.
    return [
        links,
        {
            "type": "scatter",
            "mode": "markers",
            "name": "Exit",
            "x": [labels[candles.of(trade.exit_row)] for trade in closed],
            "y": [trade.exit_price for trade in closed],
            "text": [
                _told(trade, trade.exit_reason or "", trade.exit_at or "") for trade in closed
            ],
            "hovertemplate": "%{text}<extra></extra>",
            "marker": {
                "symbol": "diamond",
                "size": 12,
                "color": ["@up" if trade.profit > 0.0 else "@down" for trade in closed],
                "line": {"color": "@card", "width": 1},
            },
        },
        {
            "type": "scatter",
            "mode": "markers",
            "name": "Entry",
            "x": [labels[candles.of(trade.entry_row)] for trade in trades],
            "y": [trade.entry_price for trade in trades],
            "text": [_told(trade, trade.entry_reason, trade.entry_at) for trade in trades],
            "hovertemplate": "%{text}<extra></extra>",
            "marker": {
                "symbol": [
                    "triangle-up" if trade.side == "long" else "triangle-down" for trade in trades
                ],
                "size": 9,
                "color": "@accent",
                "line": {"color": "@card", "width": 1},
            },
        },
    ]


def _told(trade: Trade, reason: str, at: str) -> str:
    return (
        f"{at[:16].replace('T', ' ')}<br>{escape(reason)}<br>{trade.quantity:,.6g} shares, "
        f"{trade.profit:+,.2f} USD ({trade.fraction:+.2%})"
    )


# ---------------------------------------------------------------------- rolling figures


def rolling_chart(sheet: Tearsheet) -> Chart:
    """Sharpe ratio, volatility and beta over a moving window of exchange days."""
    cash, n = sheet.result.plan.cash, len(sheet.closing)
    window = min(WINDOW, max(_SHORTEST_WINDOW, n // 4))
    ours = metrics.daily_returns(cash, sheet.closing)
    theirs = metrics.daily_returns(cash, sheet.benchmark.closing)
    mean, spread, beta = rolling(ours, theirs, window)
    year = float(metrics.DAYS_A_YEAR)
    with np.errstate(divide="ignore", invalid="ignore"):
        sharpe = np.where(spread > 1e-12, mean / spread * sqrt(year), np.nan)
    days = sheet.days[window - 1 :]
    drawn = points_of_line(np.nan_to_num(sharpe), MOST_POINTS)
    x = [days[i] for i in drawn.tolist()]
    traces = []
    for place, (name, values, colour, suffix) in enumerate(
        (
            ("Sharpe", sharpe, "@accent", ""),
            ("Volatility", spread * sqrt(year) * 100.0, "@warn", " %"),
            ("Beta", beta, "@muted", ""),
        ),
        start=1,
    ):
        axis = "y" if place == 1 else f"y{place}"
        traces.append(
            {
                **_line(name, x, values[drawn], colour, width=1.5),
                "yaxis": axis,
                "showlegend": False,
                "hovertemplate": f"%{{y:.2f}}{suffix}<extra>{name}</extra>",
            }
        )
    layout = {
        "hovermode": "x unified",
        "xaxis": {"type": "date", "anchor": "y3"},
        "yaxis": {"domain": [0.70, 1.0], "title": {"text": "Sharpe"}, "zeroline": True},
        "yaxis2": {
            "domain": [0.36, 0.64],
            "title": {"text": "Volatility", "standoff": 4},
            "ticksuffix": " %",
            # Its figures are wide, and its title lies beside them.
            "automargin": True,
        },
        "yaxis3": {"domain": [0.0, 0.30], "title": {"text": "Beta"}},
    }
    note = f"Over {window} exchange days each; beta against {sheet.benchmark.name}."
    return Chart("rolling", "Rolling figures", note, 420, {"": {"data": traces, "layout": layout}})


def rolling(ours: Floats, theirs: Floats, window: int) -> tuple[Floats, Floats, Floats]:
    """Mean, standard deviation (n - 1) and beta of each `window` days, shape (days - window + 1,); empty if too few."""
    if len(ours) < window or window < 2:
        return np.empty(0), np.empty(0), np.empty(0)
    from numpy.lib.stride_tricks import sliding_window_view

    mine, other = sliding_window_view(ours, window), sliding_window_view(theirs, window)
    mean = mine.mean(axis=1)
    spread = mine.std(axis=1, ddof=1)
    away = other - other.mean(axis=1, keepdims=True)
    variance = np.sum(away * away, axis=1)
    covariance = np.sum((mine - mean[:, None]) * away, axis=1)
    beta = np.where(
        variance > 1e-24, covariance / np.where(variance > 1e-24, variance, 1.0), np.nan
    )
    return mean, spread, beta


# ---------------------------------------------------------------------- costs and trades


def costs_chart(sheet: Tearsheet) -> Chart:
    """From the profit before costs to what was left of it."""
    block = next(block for block in sheet.blocks if block.title == "Costs")
    values = {figure.name: figure.value for figure in block.figures}
    steps = [
        ("Before costs", values["gross_profit"], "absolute"),
        ("Slippage", -values["slippage_cost"], "relative"),
        ("Commission", -values["commission"], "relative"),
        ("Regulatory fees", -values["regulatory_fees"], "relative"),
        *([("Borrowing", -values["borrow_fees"], "relative")] if values["borrow_fees"] else []),
        ("After costs", values["net_profit"], "total"),
    ]
    trace = {
        "type": "waterfall",
        "x": [name for name, _, _ in steps],
        "y": [round(float(value), 2) for _, value, _ in steps],
        "measure": [measure for _, _, measure in steps],
        "text": [f"{value:+,.2f}" if abs(value) >= 0.005 else "0" for _, value, _ in steps],
        "textposition": "outside",
        "cliponaxis": False,
        "connector": {"line": {"color": "@line", "width": 1}},
        "increasing": {"marker": {"color": "@up"}},
        "decreasing": {"marker": {"color": "@down"}},
        "totals": {"marker": {"color": "@accent"}},
        "hovertemplate": "%{x}: %{text} USD<extra></extra>",
    }
    layout = {
        "xaxis": {"type": "category", "tickangle": 0, "automargin": True},
        "yaxis": {"title": {"text": "USD"}, "tickformat": "~s"},
        "showlegend": False,
    }
    note = "Slippage is the value of the fills against the same fills at their reference price."
    return Chart("costs", "What costs took", note, 340, {"": {"data": [trace], "layout": layout}})


def trades_chart(sheet: Tearsheet) -> Chart:
    """How far each trade went against us, against how it ended."""
    closed = [trade for trade in sheet.trades if not trade.is_open][-2_000:]
    traces = []
    for name, colour, symbol, members in (
        ("Won", "@up", "circle", [trade for trade in closed if trade.profit > 0.0]),
        ("Lost", "@down", "x", [trade for trade in closed if trade.profit <= 0.0]),
    ):
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": [round(trade.worst * 100.0, 3) for trade in members],
                "y": [round(trade.fraction * 100.0, 3) for trade in members],
                "text": [f"{escape(trade.symbol)} {trade.entry_at[:10]}" for trade in members],
                "hovertemplate": "%{text}<br>worst %{x:.2f} %, result %{y:.2f} %<extra></extra>",
                "marker": {"color": colour, "symbol": symbol, "size": 7, "opacity": 0.75},
            }
        )
    layout = {
        "xaxis": {"title": {"text": "Worst on the way"}, "ticksuffix": " %"},
        "yaxis": {"title": {"text": "Result"}, "ticksuffix": " %", "zeroline": True},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    }
    note = "One mark per closed trade: where a stop would have hurt winners is where it would stand too close."
    if len(closed) < sum(not trade.is_open for trade in sheet.trades):
        note += f" The newest {len(closed):,} are drawn."
    return Chart(
        "trades", "Against us on the way", note, 340, {"": {"data": traces, "layout": layout}}
    )
