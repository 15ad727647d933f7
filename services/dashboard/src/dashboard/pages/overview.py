"""Overview: what the account is worth, what it is exposed to, and whether everything works."""

from __future__ import annotations

import asyncio

from dashboard.parts.charts import Chart
from dashboard.parts.controls import Stats, Tabs, card, element, say
from dashboard.parts.table import Table
from dashboard.parts.visit import Refresh, Visit
from dashboard.shown import charts, limits, overview

_NEWEST = 8


def build(visit: Visit) -> Refresh:
    """The page, and what brings it up to date."""
    stats = Stats(overview.STATS)
    with element("div", "grid"):
        with element("div", "w8 stack"):
            with card("Equity") as (note, tools):
                with tools:
                    span = Tabs("Since when", overview.SPANS, lambda _: visit.rooms.feed.wake())
                curve = Chart("Equity over time", "chart-m")
            with card("Drawdown", note="below the peak so far"):
                depth = Chart("Drawdown over time", "chart-s")
        with card("Limits in use", "w4"):
            used = Table(
                "Limits in use",
                [limits.COLUMNS[0], limits.COLUMNS[3]],
                empty="No limits known.",
                hint="The risk manager does not answer.",
                searchable=False,
            )
        with card("Newest orders", "w7"):
            orders = Table(
                "Newest orders",
                overview.ACTIVITY,
                empty="No order yet.",
                hint="Orders appear as soon as a strategy's wish is approved.",
                searchable=False,
            )
        with card("Newest fills", "w5"):
            fills = Table(
                "Newest fills", overview.FILLS, empty="Nothing filled yet.", searchable=False
            )
        with card("Services", "w12"):
            services = Table(
                "Services",
                overview.SERVICES,
                empty="No health known.",
                hint="The scheduler asks every service twice a minute; it has not answered yet.",
                searchable=False,
            )

    async def refresh() -> None:
        since = overview.since(span.chosen, visit.midnight())
        (
            equity,
            latest,
            day_start,
            counts,
            intents,
            filled,
            portfolio,
            health,
        ) = await asyncio.gather(
            visit.rows("curve", since),
            visit.rows("equity", 1),
            visit.rows("day_start", visit.midnight()),
            visit.rows("counts", visit.midnight()),
            visit.rows("intents", _NEWEST),
            visit.rows("fills", _NEWEST),
            visit.answer_or("risk_manager", "/risk/portfolio", 1.0),
            visit.answer_or("scheduler", "/services", 2.0),
        )
        stats.show(overview.stats(latest, day_start, counts, portfolio[0]))
        say(note, overview.curve_note(equity))
        curve.show(charts.equity(equity))
        depth.show(charts.drawdown(equity))
        used.show(limits.rows(portfolio[0].get("limits", []), explained=False))
        orders.show(overview.activity(intents))
        fills.show(overview.fills(filled))
        services.show(overview.services(health[0].get("items", []), health[1], visit.now()))

    return refresh
