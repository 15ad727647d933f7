"""Charts: any symbol at any timeframe, with what strategies wished for, what was filled and what rests at the broker."""

from __future__ import annotations

import asyncio

from nicegui import ui

from dashboard.parts.charts import Chart
from dashboard.parts.controls import Stats, card, element, say, show_if
from dashboard.parts.visit import Refresh, Visit
from dashboard.shown import candles, positions
from shared.domain.errors import InvalidInput
from shared.domain.symbols import parse_symbol

_MOST_MARKS = 400


def build(visit: Visit) -> Refresh:
    """The page, and what brings it up to date."""
    asked = visit.query.get("symbol", "").upper()[:16]
    stats = Stats(candles.STATS)
    with element("div", "grid"), card("Price") as (note, tools):
        with tools:
            symbol = (
                ui.input("Symbol", value=asked)
                .props("outlined dense maxlength=16 autocomplete=off")
                .classes("pick")
            )
            timeframe = (
                ui.select(
                    {"": "As traded", **{name: name for name in candles.TIMEFRAMES}},
                    value="",
                    label="Bars",
                )
                .props("outlined dense options-dense")
                .classes("pick")
            )
            overlays = (
                ui.select(
                    {key: name for key, (name, _, _) in candles.INDICATORS.items()},
                    value=["sma20", "sma50"],
                    multiple=True,
                    label="Averages",
                )
                .props("outlined dense options-dense")
                .classes("pick wide")
            )
        empty = element("div", "empty hidden")
        with empty:
            element("strong", text="No bars to draw.")
            element(
                "span", text="Choose another symbol or timeframe, or fetch history on Data health."
            )
        chart = Chart("Candles with averages, signals, fills and resting orders", "chart-l")
    for control in (timeframe, overlays):
        control.on_value_change(lambda _: visit.rooms.feed.wake())
    symbol.on("keydown.enter", lambda _: visit.rooms.feed.wake())
    symbol.on("blur", lambda _: visit.rooms.feed.wake())

    async def refresh() -> None:
        name = await _symbol(visit, str(symbol.value or ""))
        if not symbol.value:
            symbol.value = name
        query: dict[str, str | int] = {"limit": candles.MOST_BARS}
        if timeframe.value:
            query["timeframe"] = str(timeframe.value)
        answer, why = await visit.answer_or("data_collector", f"/data/bars/{name}", 0.5, **query)
        bars = answer.get("items", [])
        signals, fills, protection, held = await asyncio.gather(
            visit.rows("signals", _MOST_MARKS, name),
            visit.rows("fills", _MOST_MARKS, name),
            visit.rows("protection"),
            visit.answer_or("trade_executor", "/positions", 0.5),
        )
        show_if(empty, visible=not bars)
        length = bars[0]["timeframe"] if bars else ""
        say(
            note,
            why
            or f"{name} {length} · triangles are fills, pins are signals, dashed lines rest at the broker",
        )
        resting = positions.by_symbol(protection).get(name, [])
        chart.show(candles.options(bars, signals, fills, resting, list(overlays.value or [])))
        quantity = next(
            (p["quantity"] for p in held[0].get("items", []) if p["symbol"] == name), None
        )
        stats.show(candles.stats(bars, quantity))

    return refresh


async def _symbol(visit: Visit, typed: str) -> str:
    """What was typed, or the first tracked symbol.

    Raises:
        InvalidInput: it cannot be a symbol.
    """
    if typed.strip():
        return parse_symbol(typed.strip().upper())
    tracked, _ = await visit.answer_or("data_collector", "/data/symbols", 5.0, limit=1)
    items = tracked.get("items", [])
    if not items:
        raise InvalidInput("type a symbol; none is tracked yet")
    return str(items[0]["symbol"])
