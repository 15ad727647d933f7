"""What does the chart of one symbol draw? Candles, averages, volume, signals, fills, and what rests at the broker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dashboard.shown.charts import AMBER, BLUE, GREEN, GREY, RED, VIOLET, frame, label_of
from dashboard.shown.texts import Cell, instant, money, price, shares, signed_percent, tone

INDICATORS = {
    "sma20": ("SMA 20", 20, BLUE),
    "sma50": ("SMA 50", 50, AMBER),
    "sma200": ("SMA 200", 200, VIOLET),
}
TIMEFRAMES = ("1Min", "5Min", "15Min", "1Hour", "1Day")
MOST_BARS = 500


def average(closes: Sequence[float], window: int) -> list[float | None]:
    """The mean of the last `window` closes at each bar; nothing before there are so many."""
    means: list[float | None] = []
    for end in range(1, len(closes) + 1):
        part = closes[end - window : end] if end >= window else []
        means.append(round(sum(part) / window, 4) if part else None)
    return means


def options(
    bars: Sequence[Mapping[str, Any]],
    signals: Sequence[Mapping[str, Any]],
    fills: Sequence[Mapping[str, Any]],
    resting: Sequence[Mapping[str, Any]],
    chosen: Sequence[str],
) -> dict[str, Any]:
    """The whole chart. Bars are oldest first; marks outside of them are left out."""
    ends = [at for bar in bars if (at := instant(bar["end_at"])) is not None]
    starts = [at for bar in bars if (at := instant(bar["start_at"])) is not None]
    intraday = bool(bars) and bars[0]["timeframe"] != "1Day"
    axis = [label_of(at, intraday=intraday) for at in starts]
    made = frame(axis, left=58)
    made["grid"] = [
        {"left": 58, "right": 20, "top": 34, "height": "66%"},
        {"left": 58, "right": 20, "bottom": 52, "height": "13%"},
    ]
    base_x, base_y = made["xAxis"], made["yAxis"]
    made["xAxis"] = [
        {**base_x, "boundaryGap": True, "axisLabel": {"show": False}},
        {**base_x, "boundaryGap": True, "gridIndex": 1},
    ]
    made["yAxis"] = [
        base_y,
        {**base_y, "gridIndex": 1, "axisLabel": {"show": False}, "splitLine": {"show": False}},
    ]
    made["axisPointer"] = {"link": [{"xAxisIndex": "all"}]}
    made["dataZoom"] = [
        {"type": "inside", "xAxisIndex": [0, 1]},
        {
            "type": "slider",
            "xAxisIndex": [0, 1],
            "bottom": 6,
            "height": 18,
            "borderColor": "transparent",
        },
    ]
    made["legend"] = {
        "top": 4,
        "left": 56,
        "textStyle": {"color": GREY},
        "itemWidth": 14,
        "itemHeight": 8,
    }
    figures = [
        [float(b["open"]), float(b["close"]), float(b["low"]), float(b["high"])] for b in bars
    ]
    closes = [row[1] for row in figures]
    series: list[dict[str, Any]] = [
        {
            "name": "Price",
            "type": "candlestick",
            "data": figures,
            "itemStyle": {"color": GREEN, "color0": RED, "borderColor": GREEN, "borderColor0": RED},
            "markLine": {
                "symbol": "none",
                "silent": True,
                "data": [_line(order) for order in resting],
            },
        },
        {
            "name": "Volume",
            "type": "bar",
            "xAxisIndex": 1,
            "yAxisIndex": 1,
            "data": [b["volume"] for b in bars],
            "itemStyle": {"color": GREY, "opacity": 0.45},
        },
    ]
    for key in chosen:
        name, window, colour = INDICATORS[key]
        series.append(
            {
                "name": name,
                "type": "line",
                "data": average(closes, window),
                "showSymbol": False,
                "lineStyle": {"width": 1.4, "color": colour},
                "itemStyle": {"color": colour},
            }
        )
    series.append(
        _marks(
            "Signals",
            [(s["bar_end_at"], s["reference_price"], s["direction"]) for s in signals],
            ends,
            starts,
            axis,
            by_end=True,
        )
    )
    series.append(
        _marks(
            "Fills",
            [(f["executed_at"], f["price"], f["side"]) for f in fills],
            ends,
            starts,
            axis,
            by_end=False,
        )
    )
    made["series"] = series
    return made


def _line(order: Mapping[str, Any]) -> dict[str, Any]:
    is_stop = order["stop_price"] is not None
    value = order["stop_price"] if is_stop else order["limit_price"]
    colour = RED if is_stop else GREEN
    name = f"{'stop' if is_stop else 'target'} {price(value)}"
    return {
        "yAxis": float(value),
        "lineStyle": {"color": colour, "type": "dashed", "width": 1},
        "label": {"formatter": name, "position": "insideStartTop", "color": colour},
    }


def _marks(
    name: str,
    marks: Sequence[tuple[Any, Any, str]],
    ends: Sequence[Any],
    starts: Sequence[Any],
    axis: Sequence[str],
    *,
    by_end: bool,
) -> dict[str, Any]:
    """A scatter of marks, each on the bar in which it happened."""
    points = []
    for at, value, what in marks:
        moment = instant(at)
        where = next(
            (
                index
                for index in range(len(ends) - 1, -1, -1)
                if moment is not None
                and (
                    starts[index] < moment <= ends[index]
                    if by_end
                    else starts[index] <= moment <= ends[index]
                )
            ),
            None,
        )
        if where is None:
            continue
        rises = what in ("LONG", "buy")
        points.append(
            {
                "value": [axis[where], float(value)],
                "symbolRotate": 0 if rises else 180,
                "itemStyle": {"color": GREEN if rises else RED if what != "FLAT" else AMBER},
            }
        )
    is_fill = name == "Fills"
    return {
        "name": name,
        "type": "scatter",
        "symbol": "triangle" if is_fill else "pin",
        "symbolSize": 11 if is_fill else 15,
        "z": 10,
        "itemStyle": {"color": GREY, "borderColor": "rgba(255,255,255,0.8)", "borderWidth": 1},
        "data": points,
    }


STATS = (
    ("last", "Last", "USD"),
    ("change", "In this view", ""),
    ("high", "High", "USD"),
    ("low", "Low", "USD"),
    ("volume", "Volume", "shares"),
    ("held", "Held", "shares"),
)


def stats(bars: Sequence[Mapping[str, Any]], held: Any) -> dict[str, Cell]:
    """What the strip above the chart says."""
    if not bars:
        return {}
    first, last = float(bars[0]["open"]), float(bars[-1]["close"])
    change = last / first - 1 if first else None
    return {
        "last": Cell(price(bars[-1]["close"])),
        "change": Cell(signed_percent(change), tone(change), sub=f"{len(bars)} bars"),
        "high": Cell(price(max(float(b["high"]) for b in bars))),
        "low": Cell(price(min(float(b["low"]) for b in bars))),
        "volume": Cell(money(sum(b["volume"] for b in bars), 0)),
        "held": Cell(shares(held or 0)),
    }
