"""Logs and audit: what the services have said, and what people had done."""

from __future__ import annotations

import asyncio

from dashboard.parts.controls import Tabs, card, element, say
from dashboard.parts.table import Table
from dashboard.parts.visit import Refresh, Visit
from dashboard.shown import logs

_MOST_LINES = 300


def build(visit: Visit) -> Refresh:
    """The page, and what brings it up to date."""
    with element("div", "grid"):
        with card("What people had done"):
            audit = Table(
                "What people had done",
                logs.AUDIT,
                few=True,
                empty="Nothing yet.",
                hint="Halts, limits, orders and jobs by hand are stored with who asked and why.",
            )
        with card("What people were told", note="settings: GOTIFY_URL, NOTIFY_URLS, NOTIFY_EVENTS"):
            notices = Table(
                "What people were told",
                logs.NOTICES,
                few=True,
                empty="Nothing yet.",
                hint="Halts, stops, unknown orders, differences and the daily digest appear here.",
            )
        with card("What the services said") as (note, tools):
            with tools:
                level = Tabs(
                    "From which level on",
                    [("info", "All"), ("warning", "Warnings"), ("error", "Errors")],
                    lambda _: visit.rooms.feed.wake(),
                )
            lines = Table(
                "What the services said", logs.COLUMNS, empty="Nothing of this level was said."
            )

    async def refresh() -> None:
        acts, told, said = await asyncio.gather(
            visit.rows("audit", 200),
            visit.rows("notices", 200),
            visit.log_lines(level.chosen, _MOST_LINES),
        )
        audit.show(logs.audit(acts))
        notices.show(logs.notices(told))
        lines.show(logs.rows(said))
        say(note, f"the newest {len(said)} of trading_system.log; machine time")

    return refresh
