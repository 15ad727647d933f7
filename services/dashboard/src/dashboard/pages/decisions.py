"""Decisions: what was approved and refused, and the whole chain behind each."""

from __future__ import annotations

import asyncio

from dashboard.parts.controls import Tabs, card, element, say, show_if
from dashboard.parts.table import Table
from dashboard.parts.visit import Refresh, Visit
from dashboard.shown import decisions

_MOST = 400
_LONGEST_ID = 64


def build(visit: Visit) -> Refresh:
    """The page, and what brings it up to date."""
    wanted = visit.query.get("id", "")[:_LONGEST_ID]
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
                tabs = Tabs(
                    "Which decisions",
                    [("", "All"), ("approved", "Approved"), ("refused", "Refused")],
                    lambda _: visit.rooms.feed.wake(),
                )
            table = Table(
                "Decisions",
                decisions.COLUMNS,
                empty="No decision yet.",
                hint="The risk manager answers every wish of a strategy; each answer stands here.",
            )
        if not wanted:
            with card("Refusals today", "w4"):
                refusals = Table(
                    "Refusals today", decisions.REASONS, empty="Nothing was refused today."
                )

    async def refresh() -> None:
        found = await visit.rows("decisions", _MOST, None, tabs.chosen or None)
        say(note, f"the newest {len(found)}")
        table.show(decisions.rows(found))
        if not wanted:
            refusals.show(decisions.reasons(await visit.rows("refusals", visit.midnight())))
            return
        decision = await visit.rows("decision", wanted)
        show_if(missing, visible=decision is None)
        show_if(detail, visible=decision is not None)
        if decision is None:
            return
        signal, intents, fills = await asyncio.gather(
            visit.rows("signal", decision["signal_id"]),
            visit.rows("intents_of", decision["decision_id"]),
            visit.rows("fills_of", decision["decision_id"]),
        )
        say(why, decisions.sentence(decision))
        steps.show(decisions.chain(decision, signal, intents, fills))
        checks.show(decisions.checks(decision))
        figures.show(decisions.figures(decision, signal))

    return refresh
