"""Is what strategies see whole, new and believable?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from dashboard.shown.texts import (
    BAD,
    GOOD,
    WARN,
    Cell,
    Column,
    Row,
    age,
    count,
    counted,
    figure,
    instant,
    moment,
    percent,
    span,
    state,
    title,
    words,
)

STATS = (
    ("feed", "Feed", ""),
    ("newest", "Newest batch", ""),
    ("stored", "Bars stored", ""),
    ("late", "Late bars", ""),
    ("refused", "In quarantine", ""),
    ("reconnects", "Reconnects", ""),
)
PROVIDERS = (
    Column("provider", "Provider"),
    Column("window", "Budget now", right=True),
    Column("day", "Budget today", right=True),
    Column("waiting", "Waiting", right=True),
    Column("blocked", "Blocked", wide=True),
)
REJECTS = (
    Column("at", "Seen"),
    Column("symbol", "Symbol"),
    Column("provider", "Provider"),
    Column("reason", "Reason", wide=True),
    Column("raw", "As it came", wide=True),
)
HOLDS = (
    Column("symbol", "Symbol"),
    Column("kind", "Doubt"),
    Column("since", "Since"),
    Column("reason", "Reason", wide=True),
)
BATCHES = (
    Column("end", "Instant"),
    Column("timeframe", "Bars"),
    Column("symbols", "Symbols", right=True),
    Column("delay", "Announced after", right=True),
    Column("decidable", "Decided on"),
)
COVERAGE = (
    Column("symbol", "Symbol"),
    Column("end", "Newest bar"),
    Column("age", "Age", right=True),
    Column("share", "Bars there", right=True),
    Column("gaps", "Gaps", right=True),
)
# A session of minutes, or a year and a half of days.
COVERED_INSTANTS = 390
COLLECTIONS = (
    Column("at", "Asked"),
    Column("what", "History", wide=True),
    Column("state", "State"),
    Column("new", "New bars", right=True),
    Column("refused", "Refused", right=True),
    Column("error", "Note", wide=True),
)
STAGES = (Column("reader", "Stage"), Column("waiting", "Messages waiting", right=True))


def stats(status: Mapping[str, Any], quarantined: int, now: datetime) -> dict[str, Cell]:
    """The strip of figures."""
    if not status:
        return {"feed": Cell("unknown", BAD, sub="the collector does not answer")}
    batch = status["newest_batch"]
    live = status["feed"] == "live"
    return {
        "feed": Cell(
            words(status["feed"]),
            GOOD if live else WARN,
            sub=words(status["last_error"]) if status["last_error"] else "",
        ),
        "newest": Cell(
            age(batch["end_at"], now) if batch else "none yet",
            sub=f"{count(batch['symbols'])} of {count(status['symbols'])} symbols" if batch else "",
        ),
        "stored": Cell(count(status["bars_stored"]), sub="since the start"),
        "late": Cell(
            count(status["late_bars"]),
            WARN if status["late_bars"] else "",
            sub="stored, not decided on",
        ),
        "refused": Cell(counted(quarantined), WARN if quarantined else "", sub="wait for a person"),
        "reconnects": Cell(count(status["reconnects"]), sub="since the start"),
    }


def providers(items: Sequence[Mapping[str, Any]]) -> list[Row]:
    """What each provider lets us ask, and what is used of it."""
    found = []
    for each in items:
        share = each["used"] / each["limit"] if each["limit"] else None
        day = each["used_today"] / each["day_limit"] if each["day_limit"] else None
        found.append(
            Row(
                words(each["provider"]),
                {
                    "provider": Cell(title(each["provider"])),
                    "window": Cell(
                        f"{count(each['used'])} of {count(each['limit'])}",
                        _tone(share),
                        f"each {span(each['window_s'])}",
                        sort=share,
                        share=share,
                    ),
                    "day": Cell(
                        f"{count(each['used_today'])}{' of ' + count(each['day_limit']) if each['day_limit'] else ''}",
                        _tone(day),
                        percent(day, 0) if day is not None else "no daily bound",
                        sort=each["used_today"],
                        share=day,
                    ),
                    "waiting": figure(
                        len(each["waiting"]),
                        count(len(each["waiting"])),
                        WARN if each["waiting"] else "",
                    ),
                    "blocked": Cell(
                        words(each["blocked_why"]) if each["blocked_until_at"] else "no"
                    ),
                },
            )
        )
    return found


def _tone(share: float | None) -> str:
    if share is None:
        return ""
    return BAD if share >= 1 else WARN if share >= 0.8 else GOOD


def rejects(items: Sequence[Mapping[str, Any]], *, may_release: bool) -> list[Row]:
    """Bars that were refused, in their provider's words."""
    return [
        Row(
            str(each["id"]),
            {
                "at": moment(each["seen_at"]),
                "symbol": Cell(words(each["symbol"])),
                "provider": Cell(title(each["provider"])),
                "reason": Cell(
                    words(each["reason"]),
                    sub=f"released: {words(each['release_reason'])}" if each["released_at"] else "",
                ),
                "raw": Cell(words(each["raw"])),
            },
            (("release", "Release"),) if may_release and not each["released_at"] else (),
        )
        for each in items
    ]


def batches(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The newest instants and how complete they were."""
    most = max((each["symbols"] for each in rows), default=0)
    found = []
    for each in rows:
        end, said = instant(each["end_at"]), instant(each["announced_at"])
        delay = None if end is None or said is None else (said - end).total_seconds()
        lacking = most - each["symbols"]
        found.append(
            Row(
                str(each["id"]),
                {
                    "end": moment(each["end_at"]),
                    "timeframe": Cell(words(each["timeframe"])),
                    "symbols": figure(
                        each["symbols"],
                        count(each["symbols"]),
                        WARN if lacking else "",
                        f"{lacking} lacking" if lacking else "",
                    ),
                    "delay": figure(delay, span(delay)),
                    "decidable": Cell(
                        "yes" if each["decidable"] else "no, too late",
                        "" if each["decidable"] else WARN,
                    ),
                },
            )
        )
    return found


def collections(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """History that was asked for."""
    return [
        Row(
            str(each["job_id"]),
            {
                "at": moment(each["requested_at"]),
                "what": Cell(
                    f"{count(each['symbols'])} symbols, {words(each['timeframe'])}",
                    sub=f"{moment(each['start_at']).text} to {moment(each['end_at']).text}",
                ),
                "state": state(each["state"]),
                "new": figure(each["bars_new"], count(each["bars_new"])),
                "refused": figure(
                    each["bars_refused"],
                    count(each["bars_refused"]),
                    WARN if each["bars_refused"] else "",
                ),
                "error": Cell(words(each["error"]) if each["error"] else ""),
            },
        )
        for each in rows
    ]


def coverage(
    tracked: Sequence[Mapping[str, Any]], counted: Sequence[Mapping[str, Any]], now: datetime
) -> list[Row]:
    """Each tracked symbol: how old its newest bar is, and how many of the newest instants came without it."""
    known = {each["symbol"]: each for each in counted}
    instants = max((each["instants"] for each in counted), default=0)
    found = []
    for each in tracked:
        row = known.get(each["symbol"])
        present = row["present"] if row is not None else 0
        share = present / instants if instants else None
        gaps = instants - present
        found.append(
            Row(
                words(each["symbol"]),
                {
                    "symbol": Cell(words(each["symbol"]), to=f"/charts?symbol={each['symbol']}"),
                    "end": moment(each["latest_end_at"]),
                    "age": Cell(age(each["latest_end_at"], now), sort=each["latest_end_at"]),
                    "share": figure(share, percent(share, 1), "" if not gaps else WARN),
                    "gaps": figure(gaps, count(gaps), WARN if gaps else ""),
                },
            )
        )
    return found


def stages(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """What each stage has not read yet."""
    return [
        Row(
            str(each["reader"]),
            {
                "reader": Cell(title(each["reader"])),
                "waiting": figure(
                    each["waiting"],
                    count(max(each["waiting"], 0)),
                    WARN if each["waiting"] > 5 else "",
                ),
            },
        )
        for each in rows
    ]


def holds(rows: Sequence[Mapping[str, Any]], *, may_release: bool) -> list[Row]:
    """Symbols whose bars are in doubt."""
    return [
        Row(
            f"{each['id']}",
            {
                "symbol": Cell(words(each["symbol"]), to=f"/charts?symbol={each['symbol']}"),
                "kind": Cell(title(str(each["kind"]).lower()), WARN, chip=True),
                "since": moment(each["since_at"]),
                "reason": Cell(words(each["reason"])),
            },
            (("release", "Let go"),) if may_release else (),
        )
        for each in rows
    ]
