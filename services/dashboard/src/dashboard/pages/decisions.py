"""Decisions: what was approved and refused, and the whole chain behind each."""

from __future__ import annotations

import asyncio
from typing import Any

from dashboard.parts.controls import Tabs, card, element, say, show_if, symbol_input, symbol_of
from dashboard.parts.paging import READ, Pager
from dashboard.parts.table import Table
from dashboard.parts.visit import Refresh, Visit
from dashboard.shown import decisions
from dashboard.store import MOST_MATCHED

# Of one symbol, to say why it has no order.
_LATEST = 100
_LONGEST_ID = 64


def build(visit: Visit) -> Refresh:
    """The page, and what brings it up to date."""
    wanted = visit.query.get("id", "")[:_LONGEST_ID]
    wake = visit.rooms.feed.wake

    def others() -> None:
        pages.reset()
        wake()

    missing = element("div", "banner k-warn hidden")
    with missing:
        element("strong", text="Not found.")
        element("span", text="No decision belongs to this id.")
    detail = element("div", "grid")
    with detail:
        with element("div", "w5 stack"):
            with card("Why") as (_, tools):
                with tools:
                    element("a", "btn small ghost", "All decisions").props("href=/decisions")
                with element("div", "body"):
                    why = element("p", "why", "")
                steps = Table(
                    "From the bar to the result",
                    decisions.STEPS,
                    empty="Nothing is known of it.",
                    searchable=False,
                )
            with card("Figures it rests on"):
                figures = Table(
                    "Figures it rests on", decisions.FIGURES, empty="None.", searchable=False
                )
        with card("Every check", "w7"):
            checks = Table(
                "Every check", decisions.CHECKS, empty="No check was made.", searchable=False
            )
    show_if(detail, visible=False)
    with element("div", "grid"):
        with card("Decisions", "w12" if wanted else "w8") as (note, tools):
            with tools:
                symbol = symbol_input(visit.query.get("symbol", ""), others)
                tabs = Tabs(
                    "Which decisions",
                    [("", "All"), ("approved", "Approved"), ("refused", "Refused")],
                    lambda _: others(),
                )
            with element("div", "body hidden") as standing_place:
                standing = element("p", "why", "")
            table = Table(
                "Decisions",
                decisions.COLUMNS,
                empty="No decision yet.",
                hint="The risk manager answers every wish of a strategy; each answer stands here.",
            )
            pages = Pager("decisions", wake)
        if not wanted:
            with card("Refusals today", "w4"):
                refusals = Table(
                    "Refusals today", decisions.REASONS, empty="Nothing was refused today."
                )

    async def refresh() -> None:
        only = symbol_of(symbol)
        read = await visit.rows("decisions", READ, only, tabs.chosen or None, pages.before)
        found = pages.page(read, lambda row: row["id"])
        say(note, f"{pages.words(len(found), 'decisions')}{' of ' + only if only else ''}")
        table.show(decisions.rows(found))
        show_if(standing_place, visible=only is not None)
        if only is not None:
            latest, standing_now = await asyncio.gather(
                visit.rows("decisions", _LATEST, only, None), visit.rows("standing", only)
            )
            told = decisions.why_not(only, standing_now, latest)
            say(standing, told.text, told.tone)
        if not wanted:
            refusals.show(decisions.reasons(await visit.rows("refusals", visit.midnight())))
            return
        decision = await visit.rows("decision", wanted)
        show_if(missing, visible=decision is None)
        show_if(detail, visible=decision is not None)
        if decision is not None:
            await show(decision)

    async def show(decision: dict[str, Any]) -> None:
        id_of = decision["decision_id"]
        signal, intents, broker, moves, fills, all_fills = await asyncio.gather(
            visit.rows("signal", decision["signal_id"]),
            visit.rows("intents_of", id_of),
            visit.rows("orders_of", id_of),
            visit.rows("stop_moves_of", id_of),
            visit.rows("fills_of", id_of),
            visit.rows("fills_of_symbol", decision["symbol"]),
        )
        batch = None
        if signal is not None:
            at = (signal["timeframe"], signal["bar_end_at"], signal["symbol"])
            batch = await visit.rows("batch", *at)
        links = decisions.Links(signal, batch, intents, broker, moves, fills)
        result = decisions.result(id_of, all_fills, is_whole=len(all_fills) < MOST_MATCHED)
        say(why, decisions.sentence(decision))
        steps.show(decisions.chain(decision, links, result))
        checks.show(decisions.checks(decision))
        figures.show(decisions.figures(decision, signal))

    return refresh
