"""Charts: any symbol at any timeframe, with what strategies wished for, what was filled, and where stops stood."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

from nicegui import ui

from dashboard.parts.charts import Chart
from dashboard.parts.controls import Stats, card, element, say, show_if, symbol_input, symbol_of
from dashboard.parts.visit import Refresh, Visit
from dashboard.shown import candles, positions
from dashboard.shown.texts import number
from shared.domain.errors import InvalidInput


def build(visit: Visit) -> Refresh:
    """The page, and what brings it up to date."""
    wake = visit.rooms.feed.wake
    stats = Stats(candles.STATS)
    with element("div", "grid"), card("Price") as (note, tools):
        with tools:
            symbol = symbol_input(visit.query.get("symbol", ""), wake)
            timeframe = (
                ui.select(
                    {"": "As traded", **{name: name for name in candles.TIMEFRAMES}},
                    value="",
                    label="Bars",
                )
                .props("outlined dense options-dense")
                .classes("pick timeframe")
            )
            until = ui.input("Until").props("outlined dense type=date stack-label")
            until.classes("pick day")
            chosen = (
                ui.select(
                    candles.INDICATORS, value=list(candles.USUAL), multiple=True, label="Indicators"
                )
                .props(f"outlined dense options-dense max-values={candles.MOST_CHOSEN}")
                .classes("pick wide")
            )
        empty = element("div", "empty hidden")
        with empty:
            element("strong", text="No bars to draw.")
            element(
                "span", text="Choose another symbol or timeframe, or fetch history on Data health."
            )
        chart = Chart("Candles with indicators, signals, fills, stops and targets", "chart-l")
    for control in (timeframe, chosen, until):
        control.on_value_change(lambda _: wake())

    async def refresh() -> None:
        name = symbol_of(symbol) or await _first_symbol(visit)
        if not symbol.value:
            symbol.value = name
        query: dict[str, str | int] = {"limit": candles.MOST_BARS}
        if timeframe.value:
            query["timeframe"] = str(timeframe.value)
        if until.value:
            query["end"] = str(until.value)[:10]
        wanted = [each for each in chosen.value or [] if each in candles.INDICATORS]
        (
            (bars, why),
            lines,
            actions,
            signals,
            fills,
            intents,
            moves,
            protection,
            held,
        ) = await asyncio.gather(
            visit.answer_or(
                "data_collector", f"/data/bars/{name}", 0.5, adjustment="split", **query
            ),
            _lines(visit, name, wanted, query),
            visit.answer_or("data_collector", f"/data/corporate-actions/{name}", 30.0),
            visit.rows("signals", candles.READ, name),
            visit.rows("fills", candles.READ, name),
            visit.rows("intents", candles.READ, name),
            visit.rows("stop_moves", name, candles.READ),
            visit.rows("protection"),
            visit.answer_or("trade_executor", "/positions", 0.5),
        )
        items = bars.get("items", [])
        show_if(empty, visible=not items)
        length = items[0]["timeframe"] if items else ""
        say(
            note,
            why
            or f"{name} {length} in today's shares · triangles are fills, pins signals, dashed lines rest at the broker"
            f"{candles.left_out(items, signals, fills, intents, moves)}",
        )
        resting = [] if until.value else positions.by_symbol(protection).get(name, [])
        quantity = next(
            (p["quantity"] for p in held[0].get("items", []) if p["symbol"] == name), None
        )
        shares = number(quantity) or Decimal(0)
        stood = candles.spans(intents, fills, moves, shares)
        splits = actions[0].get("items", [])
        chart.show(candles.options(items, lines, signals, fills, resting, stood, splits))
        stop, _ = positions.stop_of(resting, shares)
        stats.show(candles.stats(items, quantity, stop, positions.target_of(resting, shares)))

    return refresh


async def _lines(
    visit: Visit, symbol: str, names: list[str], query: dict[str, str | int]
) -> list[dict[str, Any]]:
    """The chosen lines; none where the strategy engine does not answer, since candles are worth having alone."""
    if not names:
        return []
    asked, _ = await visit.answer_or(
        "strategy_engine", f"/indicators/{symbol}", 0.5, names=",".join(names), **query
    )
    starts = asked.get("start_at", [])
    return [{**line, "start_at": starts} for line in asked.get("items", [])]


async def _first_symbol(visit: Visit) -> str:
    """The first tracked symbol.

    Raises:
        InvalidInput: there is none.
    """
    tracked, _ = await visit.answer_or("data_collector", "/data/symbols", 5.0, limit=1)
    items = tracked.get("items", [])
    if not items:
        raise InvalidInput("type a symbol; none is tracked yet")
    return str(items[0]["symbol"])
