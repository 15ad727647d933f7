"""Jobs and calendar: what runs by itself, and the trading day it follows."""

from __future__ import annotations

import asyncio

from dashboard.parts.controls import Stats, card, element
from dashboard.parts.dialogs import REASON, ask
from dashboard.parts.month import Month
from dashboard.parts.paging import READ, Pager
from dashboard.parts.table import Table
from dashboard.parts.visit import Refresh, Visit
from dashboard.shown import jobs
from dashboard.shown.texts import title
from shared.domain.calendar import NEW_YORK
from shared.domain.errors import Unavailable

# A year of trading days.
_MOST_REPORTS = 252


def build(visit: Visit) -> Refresh:
    """The page, and what brings it up to date."""
    known: set[str] = set()

    def act(name: str, job_id: str) -> None:
        if job_id in known and visit.rights.may_operate:
            _act(visit, name, job_id)

    stats = Stats(jobs.STATS)
    with element("div", "grid"):
        with card("Jobs"):
            table = Table(
                "Jobs",
                jobs.COLUMNS,
                empty="No job is known.",
                hint="The scheduler does not answer.",
                on_act=act,
            )
        month = Month("w7", visit.rooms.feed.wake)
        with card("Daily reports", "w5"):
            reports = Table(
                "Daily reports",
                jobs.REPORTS,
                empty="No report yet.",
                hint="One is made after each close.",
            )
        with card("The pipeline's newest runs"):
            pipeline = Table(
                "The pipeline's newest runs",
                jobs.PIPELINE,
                few=True,
                empty="No bar has come yet.",
                hint="Each instant goes from collection over strategies and risk to orders and fills.",
            )
        with card("Runs"):
            runs = Table(
                "Runs",
                jobs.RUNS,
                empty="Nothing has run yet.",
                hint="Jobs follow the exchange's calendar.",
            )
            pages = Pager("runs", visit.rooms.feed.wake)

    async def refresh() -> None:
        today = visit.now().astimezone(NEW_YORK).date()
        year, number = month.month(today)
        status, listed, days, passed, read, made = await asyncio.gather(
            visit.answer_or("scheduler", "/status", 1.0),
            visit.answer_or("scheduler", "/jobs", 1.0),
            visit.answer_or("scheduler", f"/calendar/{year}/{number}", 3600.0),
            visit.answer_or("scheduler", "/pipeline/runs", 1.0, limit=60),
            visit.rows("runs", READ, pages.before),
            visit.rows("runs", _MOST_REPORTS, None, "end_of_day_report"),
        )
        items = listed[0].get("items", [])
        known.clear()
        known.update(str(each["job_id"]) for each in items)
        stats.show(jobs.stats(status[0], visit.now()))
        table.show(jobs.rows(items, may_run=visit.rights.may_operate))
        month.show(days[0].get("items", []), today)
        pipeline.show(jobs.pipeline(passed[0].get("items", [])))
        runs.show(jobs.runs(pages.page(read, lambda row: row["number"])))
        reports.show(jobs.reports(made))
        if listed[1] is not None:
            # What is stored is shown all the same.
            raise Unavailable(listed[1])

    return refresh


def _act(visit: Visit, name: str, job_id: str) -> None:
    async def run(_: dict[str, str]) -> str:
        await visit.act("scheduler", f"/jobs/{job_id}/trigger", {}, once=True)
        return f"{title(job_id)} is queued."

    async def change(given: dict[str, str]) -> str:
        await visit.act("scheduler", f"/jobs/{job_id}/{name}", given)
        return f"{title(job_id)}: {name}d."

    if name == "run":
        ask(
            f"Run {title(job_id).lower()} now?",
            "It takes its place in the queue.",
            [],
            run,
            yes="Run now",
        )
    elif name in ("pause", "resume"):
        wanted = [REASON] if name == "pause" else []
        ask(f"{title(name)} {title(job_id).lower()}?", "", wanted, change, yes=title(name))
