"""Logs and audit: what the services have said, and what people had done."""

from __future__ import annotations

import asyncio

from dashboard.parts.controls import Tabs, card, element, say
from dashboard.parts.paging import READ, ROWS, Pager
from dashboard.parts.table import Table
from dashboard.parts.visit import Refresh, Visit
from dashboard.shown import logs


def build(visit: Visit) -> Refresh:
    """The page, and what brings it up to date."""
    wake = visit.rooms.feed.wake

    def another_level(_: str) -> None:
        line_pages.reset()
        wake()

    with element("div", "grid"):
        with card("What people had done"):
            audit = Table(
                "What people had done",
                logs.AUDIT,
                few=True,
                empty="Nothing yet.",
                hint="Halts, limits, orders and jobs by hand are stored with who asked and why.",
            )
            act_pages = Pager("acts", wake)
        with card("What people were told", note="settings: GOTIFY_URL, NOTIFY_URLS, NOTIFY_EVENTS"):
            notices = Table(
                "What people were told",
                logs.NOTICES,
                few=True,
                empty="Nothing yet.",
                hint="Halts, stops, unknown orders, differences and the daily digest appear here.",
            )
            notice_pages = Pager("notices", wake)
        with card("What the services said") as (note, tools):
            with tools:
                level = Tabs(
                    "From which level on",
                    [("info", "All"), ("warning", "Warnings"), ("error", "Errors")],
                    another_level,
                )
            lines = Table(
                "What the services said", logs.COLUMNS, empty="Nothing of this level was said."
            )
            line_pages = Pager("lines", wake)

    async def refresh() -> None:
        acts, told, said = await asyncio.gather(
            visit.rows("audit", READ, act_pages.before),
            visit.rows("notices", READ, notice_pages.before),
            visit.log_lines(level.chosen, ROWS, line_pages.before),
        )
        audit.show(logs.audit(act_pages.page(acts, logs.place_of_act)))
        notices.show(logs.notices(notice_pages.page(told, lambda row: row["number"])))
        lines.show(logs.rows(said.lines))
        line_pages.lead(said.older)
        say(
            note,
            f"{line_pages.words(len(said.lines), 'lines')} of trading_system.log; machine time",
        )

    return refresh
