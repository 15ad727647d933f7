"""What runs by itself, when, and how did it go?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from dashboard.shown.texts import (
    WARN,
    Cell,
    Column,
    Row,
    clock_time,
    count,
    figure,
    full_time,
    instant,
    moment,
    signed,
    span,
    state,
    title,
    tone,
    words,
)

_LONGEST_WHY = 160
STATS = (
    ("phase", "Market", ""),
    ("open", "Next open", ""),
    ("close", "Next close", ""),
    ("window", "Entries", ""),
    ("clock", "Clock", ""),
)
COLUMNS = (
    Column("job", "Job", wide=True),
    Column("schedule", "When", wide=True),
    Column("next", "Next"),
    Column("last", "Last run"),
    Column("state", "State", wide=True),
    Column("took", "Took", right=True),
    Column("missed", "Missed", right=True),
)
REPORTS = (
    Column("day", "Day"),
    Column("result", "Result", "USD", right=True),
    Column("fills", "Fills", right=True),
)
PIPELINE = (
    Column("at", "Instant"),
    Column("symbols", "Symbols", right=True),
    Column("stages", "Each stage after the one before", wide=True),
    Column("signals", "Signals", right=True),
    Column("approved", "Approved", right=True),
    Column("refused", "Refused", right=True),
    Column("orders", "Orders", right=True),
    Column("fills", "Fills", right=True),
)
RUNS = (
    Column("at", "Due"),
    Column("job", "Job"),
    Column("kind", "Asked by"),
    Column("state", "State"),
    Column("took", "Took", right=True),
    Column("detail", "Detail", wide=True),
)


def stats(status: Mapping[str, Any], now: datetime) -> dict[str, Cell]:
    """The trading day."""
    if not status:
        return {"phase": Cell("unknown", WARN, sub="the scheduler does not answer")}
    opens, closes = instant(status["next_open_at"]), instant(status["next_close_at"])
    allowed = status["entries_allowed"]
    return {
        "phase": Cell(
            words(status["phase"]),
            "good" if status["phase"] == "open" else "",
            sub="half day" if status["half_day"] else "",
        ),
        "open": Cell(
            moment(opens).text,
            sub="" if opens is None else f"in {span((opens - now).total_seconds())}",
        ),
        "close": Cell(
            moment(closes).text,
            sub="" if closes is None else f"in {span((closes - now).total_seconds())}",
        ),
        "window": Cell(
            "allowed" if allowed else "not now",
            "good" if allowed else "",
            sub=words(status["trading_window"]),
        ),
        "clock": Cell(
            clock_time(now), sub="a replay's time" if status["clock"] == "replay" else "New York"
        ),
    }


def rows(items: Sequence[Mapping[str, Any]], *, may_run: bool) -> list[Row]:
    """One line per job."""
    found = []
    for each in items:
        last = each["last_run"]
        soon = each["next_in_s"]
        actions = [("run", "Run now")] if may_run else []
        # What watches the others never rests.
        if may_run and each.get("may_rest"):
            actions.append(("resume", "Resume") if each["paused"] else ("pause", "Pause"))
        found.append(
            Row(
                words(each["job_id"]),
                {
                    "job": Cell(title(each["job_id"]), sub=words(each["description"])),
                    "schedule": Cell(
                        "paused" if each.get("paused") else words(each["schedule"]),
                        WARN if each.get("paused") else "",
                        _why(each["paused"]) if each.get("paused") else "",
                    ),
                    "next": Cell(f"in {span(soon)}", sort=soon)
                    if soon is not None
                    else moment(each["next_due_at"]),
                    "last": moment(last["at"]) if last else Cell("never"),
                    "state": _outcome(last) if last else Cell(""),
                    "took": figure(last["duration_s"], span(last["duration_s"]))
                    if last
                    else Cell(""),
                    "missed": figure(
                        each["missed"], count(each["missed"]), WARN if each["missed"] else ""
                    ),
                },
                tuple(actions),
            )
        )
    return found


def _outcome(last: Mapping[str, Any]) -> Cell:
    """How the last run ended, and why where it did not go well."""
    outcome = state(last["state"])
    is_well = last["state"] == "DONE" or not last["detail"]
    return outcome if is_well else replace(outcome, sub=words(last["detail"])[:_LONGEST_WHY])


def _why(paused: Mapping[str, Any]) -> str:
    return (
        f"{words(paused['reason'])} ({words(paused['actor'])}, {moment(paused['since_at']).text})"
    )


def reports(items: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The days that have a report; each opens it."""
    found: dict[str, Row] = {}
    for each in items:
        if each["job_id"] == "end_of_day_report" and each["state"] == "DONE":
            day = words(each["figures"].get("session_on"))
            result, fills = each["figures"].get("pnl"), each["figures"].get("fills")
            cells = {
                "day": Cell(day, to=f"/reports/{day}"),
                "result": figure(result, signed(result), tone(result)),
                "fills": figure(fills, count(fills)),
            }
            found.setdefault(day, Row(day, cells))
    return list(found.values())


def pipeline(items: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Each batch on its way from collection to fills, and how long every stage took."""
    found = []
    for each in items:
        stages = ", ".join(f"{words(s['stage'])} {span(s['took_s'])}" for s in each["stages"])
        screening = each.get("screening") or {}
        if screening.get("outcome") in ("failed", "off"):
            stages = ", ".join(filter(None, (f"screener {screening['outcome']}", stages)))
        at = moment(each["end_at"])
        cells = {
            "at": Cell(at.text, sub=words(each["timeframe"]), sort=at.sort),
            "symbols": figure(each["symbols"], count(each["symbols"])),
            "stages": Cell(
                stages or "not yet",
                "" if each["decidable"] else WARN,
                "" if each["decidable"] else "too late to be decided on",
            ),
        }
        for name in ("signals", "approved", "refused", "orders", "fills"):
            cells[name] = figure(each[name], count(each[name]))
        found.append(Row(f"{each['batch_id']}", cells))
    return found


def runs(items: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The newest runs of all jobs."""
    return [
        Row(
            str(each["run_id"]),
            {
                "at": moment(each["due_at"]),
                "job": Cell(
                    title(each["job_id"]),
                    sub=f"{count(each['occurrences'])} times" if each["occurrences"] > 1 else "",
                ),
                "kind": Cell(words(each["actor"]) if each["kind"] == "manual" else "the calendar"),
                "state": state(each["state"]),
                "took": figure(each["duration_s"], span(each["duration_s"])),
                "detail": Cell(
                    words(each["detail"]) if each["detail"] else "",
                    sub=f"ended {full_time(each['finished_at'])}" if each["finished_at"] else "",
                ),
            },
        )
        for each in items
    ]
