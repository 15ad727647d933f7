"""What does the chart of one symbol draw? Candles, lines, volume, signals, fills, and where stops and targets stood.

Prices are drawn in today's shares, so what was paid before a split is divided by it; see `in_todays_shares`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from dashboard.shown.charts import AMBER, GREEN, GREY, PALETTE, RED, frame, label_of
from dashboard.shown.texts import (
    Cell,
    instant,
    money,
    number,
    price,
    shares,
    signed_percent,
    tone,
    words,
)
from shared.domain.calendar import NEW_YORK

# What the strategy engine can draw (its `lines`), and how a person calls it.
INDICATORS = {
    "sma20": "SMA 20",
    "sma50": "SMA 50",
    "sma200": "SMA 200",
    "ema12": "EMA 12",
    "ema26": "EMA 26",
    "bollinger": "Bollinger bands",
    "donchian": "Donchian channel",
    "vwap": "VWAP",
    "rsi14": "RSI 14",
    "macd": "MACD",
    "atr14": "ATR 14",
}
USUAL = ("sma20", "sma50")
MOST_CHOSEN = 6
TIMEFRAMES = ("1Min", "5Min", "15Min", "1Hour", "1Day")
MOST_BARS = 500
# So many signals, fills, orders and moves of stops are drawn, the newest; one more is read, which tells whether there are older.
MOST_MARKS = 400
READ = MOST_MARKS + 1
# Percent of the chart's height, from the top; what is left below carries the slider.
_TOP, _BOTTOM, _GAP, _VOLUME, _PANEL = 8.0, 88.0, 3.0, 11.0, 15.0
STATS = (
    ("last", "Last", "USD"),
    ("change", "In this view", ""),
    ("high", "High", "USD"),
    ("low", "Low", "USD"),
    ("volume", "Volume", "shares"),
    ("held", "Held", "shares"),
    ("stop", "Stop", "USD"),
    ("target", "Target", "USD"),
)


@dataclass(frozen=True, slots=True)
class Span:
    """Where the stop and the target of a position stood, from `from_at` on until `to_at`; None is still."""

    from_at: datetime
    to_at: datetime | None
    stop: Decimal | None
    target: Decimal | None


def in_todays_shares(value: Any, on: date, actions: Sequence[Mapping[str, Any]]) -> float:
    """A price of the day `on`, divided by every split since."""
    worth = float(value)
    for each in actions:
        if each["kind"] == "split" and date.fromisoformat(str(each["ex_on"])) > on:
            worth *= float(each["old_rate"]) / float(each["new_rate"])
    return worth


def spans(
    intents: Sequence[Mapping[str, Any]],
    fills: Sequence[Mapping[str, Any]],
    moves: Sequence[Mapping[str, Any]],
    held_now: Decimal,
) -> list[Span]:
    """Where stops and targets stood, oldest first, from what was ordered, filled and moved; rows in any order.

    `held_now` says how much was held before the first of `fills`, which may not be the first of all.
    """
    found: list[Span] = []
    entries = {
        each["client_order_id"]: each
        for each in intents
        if each["purpose"] == "entry" and each["stop_loss"] is not None
    }
    held = held_now - sum((_signed(fill) for fill in fills), Decimal(0))
    for fill in sorted(fills, key=lambda each: each["id"]):
        held += _signed(fill)
        entry = entries.pop(fill["client_order_id"], None)
        at = fill["executed_at"]
        if entry is not None:
            found = _ended(found, at)
            found.append(Span(at, None, entry["stop_loss"], entry["take_profit"]))
            of_entry = [m for m in moves if m["decision_id"] == entry["decision_id"]]
            for move in sorted(of_entry, key=lambda each: each["decided_at"]):
                found = _ended(found, move["decided_at"])
                found.append(
                    Span(move["decided_at"], None, move["stop_loss"], entry["take_profit"])
                )
        if held == 0:
            # Moves that are later than the way out belong to nothing any more.
            found = _ended([span for span in found if span.from_at <= at], at)
    return found


def left_out(
    bars: Sequence[Mapping[str, Any]],
    signals: Sequence[Mapping[str, Any]],
    fills: Sequence[Mapping[str, Any]],
    intents: Sequence[Mapping[str, Any]],
    moves: Sequence[Mapping[str, Any]],
) -> str:
    """What of the view may lack marks, since no more than READ of a kind were read, newest first; empty where none does."""
    cut_at = [
        rows[-1][at]
        for rows, at in (
            (signals, "bar_end_at"),
            (fills, "executed_at"),
            (intents, "created_at"),
            (moves, "decided_at"),
        )
        if len(rows) >= READ
    ]
    begins_at = instant(bars[0]["start_at"]) if bars else None
    if not cut_at or begins_at is None or max(cut_at) <= begins_at:
        return ""
    where = label_of(max(cut_at), intraday=True)
    return f" · only the newest {MOST_MARKS} of each are drawn: before {where} some are left out"


def _signed(fill: Mapping[str, Any]) -> Decimal:
    quantity: Decimal = fill["quantity"]
    return quantity if fill["side"] == "buy" else -quantity


def _ended(found: Sequence[Span], at: datetime) -> list[Span]:
    return [
        replace(span, to_at=at) if span.to_at is None or span.to_at > at else span for span in found
    ]


def options(
    bars: Sequence[Mapping[str, Any]],
    lines: Sequence[Mapping[str, Any]],
    signals: Sequence[Mapping[str, Any]],
    fills: Sequence[Mapping[str, Any]],
    resting: Sequence[Mapping[str, Any]],
    stood: Sequence[Span],
    actions: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The whole chart. Bars are oldest first; what lies outside of them is left out."""
    axis = _Axis(bars)
    below = list(dict.fromkeys(line["name"] for line in lines if not line["is_price"]))
    made = _panels(axis.labels, below)
    figures = [
        [float(b["open"]), float(b["close"]), float(b["low"]), float(b["high"])] for b in bars
    ]
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
    for order, line in enumerate(lines):
        panel = 0 if line["is_price"] else 2 + below.index(line["name"])
        series.append(_curve(line, PALETTE[order % len(PALETTE)], panel, axis))
    for name, colour, levels in (
        ("Stops", RED, axis.levels([(s.from_at, s.to_at, s.stop) for s in stood], actions)),
        ("Targets", GREEN, axis.levels([(s.from_at, s.to_at, s.target) for s in stood], actions)),
    ):
        series.append(_steps(name, colour, _near(levels, figures)))
    series.append(
        _marks(
            "Signals",
            [(s["bar_end_at"], s["reference_price"], s["direction"]) for s in signals],
            axis,
            actions,
            by_end=True,
        )
    )
    series.append(
        _marks(
            "Fills",
            [(f["executed_at"], f["price"], f["side"]) for f in fills],
            axis,
            actions,
            by_end=False,
        )
    )
    made["series"] = series
    return made


class _Axis:
    """The bars' places from left to right."""

    def __init__(self, bars: Sequence[Mapping[str, Any]]) -> None:
        self._ends = [at for bar in bars if (at := instant(bar["end_at"])) is not None]
        self._starts = [at for bar in bars if (at := instant(bar["start_at"])) is not None]
        intraday = bool(bars) and bars[0]["timeframe"] != "1Day"
        self.labels = [label_of(at, intraday=intraday) for at in self._starts]
        self._days = [at.astimezone(NEW_YORK).date() for at in self._starts]
        self._place_of = {at: place for place, at in enumerate(self._starts)}

    def place(self, value: Any, *, by_end: bool) -> int | None:
        """The bar in which an instant lies; with `by_end` the one that had closed by then. None outside of all."""
        at = instant(value)
        if at is None:
            return None
        place = bisect_left(self._ends, at)
        if not by_end and place + 1 < len(self._ends) and self._starts[place + 1] == at:
            place += 1
        if place == len(self._ends):
            return None
        start = self._starts[place]
        return place if start < at or (start == at and not by_end) else None

    def on(self, place: int) -> date:
        """The day of a bar."""
        return self._days[place]

    def values(self, starts: Sequence[Any], values: Sequence[Any]) -> list[Any]:
        """Values that are named by the start of their bar, at the places of our bars."""
        found: list[Any] = [None] * len(self._starts)
        for start, value in zip(starts, values, strict=False):
            at = instant(start)
            place = None if at is None else self._place_of.get(at)
            if place is not None:
                found[place] = value
        return found

    def levels(
        self,
        periods: Sequence[tuple[datetime, datetime | None, Decimal | None]],
        actions: Sequence[Mapping[str, Any]],
    ) -> list[float | None]:
        """A level per bar that one of `periods` touches; the later one counts."""
        found: list[float | None] = [None] * len(self._starts)
        for from_at, to_at, level in periods:
            if level is None:
                continue
            first = bisect_right(self._ends, from_at)
            for place in range(first, len(self._starts)):
                if to_at is not None and self._starts[place] > to_at:
                    break
                found[place] = round(in_todays_shares(level, self._days[place], actions), 4)
        return found


def _panels(axis: Sequence[str], below: Sequence[str]) -> dict[str, Any]:
    """Grids and axes: price, volume, and one for each of `below`."""
    made = frame(axis, left=58)
    base_x, base_y = made["xAxis"], made["yAxis"]
    heights = [_VOLUME, *(_PANEL for _ in below)]
    first = _BOTTOM - _TOP - sum(heights) - _GAP * len(heights)
    grids, top = [], _TOP
    for height in (first, *heights):
        grids.append({"left": 58, "right": 20, "top": f"{top:.1f}%", "height": f"{height:.1f}%"})
        top += height + _GAP
    last = len(grids) - 1
    made["grid"] = grids
    made["xAxis"] = [
        {**base_x, "boundaryGap": True, "gridIndex": n, **({} if n == last else {"axisLabel": {"show": False}})}
        for n in range(len(grids))
    ]  # fmt: skip
    quiet = {"axisLabel": {"show": False}, "splitLine": {"show": False}}
    made["yAxis"] = [
        {**base_y, "gridIndex": n, **(quiet if n == 1 else {"splitNumber": 3} if n > 1 else {})}
        for n in range(len(grids))
    ]
    made["axisPointer"] = {"link": [{"xAxisIndex": "all"}]}
    every = list(range(len(grids)))
    made["dataZoom"] = [
        {"type": "inside", "xAxisIndex": every},
        {
            "type": "slider",
            "xAxisIndex": every,
            "bottom": 6,
            "height": 18,
            # The bar that moves the view as a whole lies below the slider, and would be cut off by the edge of the card.
            "moveHandleSize": 0,
            "borderColor": "transparent",
        },
    ]
    made["legend"] = {
        "type": "scroll",
        "top": 4,
        "left": 56,
        "right": 20,
        "textStyle": {"color": GREY},
        "itemWidth": 14,
        "itemHeight": 8,
    }
    return made


def _curve(line: Mapping[str, Any], colour: str, panel: int, axis: _Axis) -> dict[str, Any]:
    return {
        "name": words(line["title"]),
        "type": "line",
        "data": axis.values(line["start_at"], line["values"]),
        "xAxisIndex": panel,
        "yAxisIndex": panel,
        "showSymbol": False,
        "lineStyle": {"width": 1.4, "color": colour},
        "itemStyle": {"color": colour},
    }


def _near(levels: Sequence[float | None], figures: Sequence[Sequence[float]]) -> list[float | None]:
    """Levels near the drawn prices; one far away would flatten the candles to a line."""
    low = min((bar[2] for bar in figures), default=0.0)
    high = max((bar[3] for bar in figures), default=0.0)
    reach = high - low
    return [
        level if level is not None and low - reach <= level <= high + reach else None
        for level in levels
    ]


def _steps(name: str, colour: str, levels: Sequence[float | None]) -> dict[str, Any]:
    return {
        "name": name,
        "type": "line",
        "step": "middle",
        "data": list(levels),
        "showSymbol": False,
        "lineStyle": {"width": 1.2, "color": colour, "type": "dotted"},
        "itemStyle": {"color": colour},
    }


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
    axis: _Axis,
    actions: Sequence[Mapping[str, Any]],
    *,
    by_end: bool,
) -> dict[str, Any]:
    """A scatter of marks, each on the bar in which it happened."""
    points = []
    for at, value, what in marks:
        where = axis.place(at, by_end=by_end)
        if where is None or number(value) is None:
            continue
        rises = what in ("LONG", "buy")
        worth = round(in_todays_shares(value, axis.on(where), actions), 6)
        points.append(
            {
                "value": [axis.labels[where], worth],
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


def stats(
    bars: Sequence[Mapping[str, Any]], held: Any, stop: Any = None, target: Any = None
) -> dict[str, Cell]:
    """What the strip above the chart says; `stop` and `target` rest at the broker."""
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
        "stop": Cell(price(stop), sub=_away(stop, last)),
        "target": Cell(price(target), sub=_away(target, last)),
    }


def _away(level: Any, last: float) -> str:
    known = number(level)
    return "" if known is None or not last else f"{signed_percent(float(known) / last - 1)} away"
