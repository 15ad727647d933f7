"""What do the charts draw? Rows go in, ECharts' options come out.

Colours are middle tones that read on light and dark alike, and gain and loss differ in place and not in colour alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from shared.domain.calendar import NEW_YORK

BLUE, GREEN, RED, AMBER, VIOLET, GREY = (
    "#4f7df0",
    "#1fa774",
    "#e0574f",
    "#d69422",
    "#9a6ee8",
    "#8592a6",
)
PALETTE = (BLUE, AMBER, VIOLET, "#3aa6b9", "#c2649a", "#7d8f3a", GREY)
_TEXT = "#8592a6"
_LINE = "rgba(133,146,166,0.18)"
MOST_POINTS = 1_000


def label_of(at: datetime, *, intraday: bool) -> str:
    """An instant on the axis, in New York."""
    local = at.astimezone(NEW_YORK)
    return f"{local:%d %b %H:%M}" if intraday else f"{local:%Y-%m-%d}"


def frame(categories: Sequence[str], *, left: int = 62) -> dict[str, Any]:
    """Axes and pointer that all charts have alike."""
    return {
        "animation": False,
        "backgroundColor": "transparent",
        "textStyle": {"fontFamily": "system-ui, sans-serif", "color": _TEXT},
        "grid": {"left": left, "right": 16, "top": 14, "bottom": 26},
        "tooltip": {
            "trigger": "axis",
            "confine": True,
            "renderMode": "richText",
            "axisPointer": {"type": "cross", "label": {"backgroundColor": GREY}},
        },
        "xAxis": {
            "type": "category",
            "data": list(categories),
            "boundaryGap": False,
            "axisLine": {"lineStyle": {"color": _LINE}},
            "axisTick": {"show": False},
            "axisLabel": {"color": _TEXT, "hideOverlap": True},
        },
        "yAxis": {
            "type": "value",
            "scale": True,
            "splitLine": {"lineStyle": {"color": _LINE}},
            "axisLabel": {"color": _TEXT},
        },
    }


def thinned(rows: Sequence[Any], most: int = MOST_POINTS) -> list[Any]:
    """Every n-th row, the last one always, so that a long history stays drawable."""
    if len(rows) <= most:
        return list(rows)
    step = -(-len(rows) // most)
    kept = list(rows[::step])
    return kept if kept[-1] is rows[-1] else [*kept, rows[-1]]


def equity(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the account was worth, with its peak."""
    kept = thinned(rows)
    intraday = bool(kept) and kept[0]["instant_at"].date() == kept[-1]["instant_at"].date()
    axis = [label_of(row["instant_at"], intraday=intraday or len(kept) < 400) for row in kept]
    options = frame(axis, left=74)
    options["series"] = [
        {
            "name": "Equity",
            "type": "line",
            "data": [round(float(row["equity"]), 2) for row in kept],
            "showSymbol": False,
            "lineStyle": {"width": 2, "color": BLUE},
            "itemStyle": {"color": BLUE},
            "areaStyle": {"color": BLUE, "opacity": 0.08},
        },
        {
            "name": "Peak",
            "type": "line",
            "data": [round(float(row["peak_equity"]), 2) for row in kept],
            "showSymbol": False,
            "lineStyle": {"width": 1, "type": "dashed", "color": GREY},
            "itemStyle": {"color": GREY},
        },
    ]
    return options


def drawdown(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How far below its peak the account was."""
    kept = thinned(rows)
    axis = [label_of(row["instant_at"], intraday=len(kept) < 400) for row in kept]
    options = frame(axis, left=74)
    options["yAxis"]["max"] = 0
    options["yAxis"]["axisLabel"]["formatter"] = "{value} %"
    options["series"] = [
        {
            "name": "Drawdown %",
            "type": "line",
            "data": [round(-100 * float(row["drawdown"]), 3) for row in kept],
            "showSymbol": False,
            "lineStyle": {"width": 1.5, "color": RED},
            "itemStyle": {"color": RED},
            "areaStyle": {"color": RED, "opacity": 0.12},
        }
    ]
    return options
