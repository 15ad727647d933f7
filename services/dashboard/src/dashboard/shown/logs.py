"""What have the services said, and what did people have done?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from dashboard.shown.texts import (
    ACCENT,
    BAD,
    GOOD,
    MUTED,
    WARN,
    Cell,
    Column,
    Row,
    figure,
    instant,
    moment,
    title,
    words,
)

COLUMNS = (
    Column("at", "Time", "UTC"),
    Column("level", "Level"),
    Column("service", "Service"),
    Column("event", "What", wide=True),
)
AUDIT = (
    Column("at", "Time"),
    Column("actor", "By"),
    Column("what", "What"),
    Column("reason", "Reason", wide=True),
)
NOTICES = (
    Column("at", "Time"),
    Column("event", "Event"),
    Column("text", "What was told", wide=True),
    Column("priority", "Priority", right=True),
    Column("state", "Arrived"),
)
_STATES = {"SENT": ("yes", GOOD), "KEPT": ("not wanted", MUTED), "GIVEN_UP": ("no", BAD)}
_TONES = {"critical": BAD, "error": BAD, "warning": WARN, "info": ACCENT, "debug": MUTED}
_TOLD = ("timestamp", "level", "service", "event", "logger", "exception")
_LONGEST_DETAIL = 300


def rows(lines: Sequence[Mapping[str, Any]]) -> list[Row]:
    """One row per line, newest first; what else a line holds stands small below."""
    found = []
    for number, line in enumerate(lines):
        at = instant(line.get("timestamp"))
        rest = "  ".join(f"{key}={value}" for key, value in line.items() if key not in _TOLD)
        level = words(line.get("level"))
        found.append(
            Row(
                f"{number}:{line.get('timestamp')}",
                {
                    "at": Cell(
                        "" if at is None else f"{at:%m-%d %H:%M:%S}",
                        sort=None if at is None else at.timestamp(),
                    ),
                    "level": Cell(level, _TONES.get(level, MUTED), chip=True),
                    "service": Cell(title(line.get("service"))),
                    "event": Cell(
                        words(line.get("event")), sub=words(rest)[:_LONGEST_DETAIL] if rest else ""
                    ),
                },
            )
        )
    return found


def audit(acts: Sequence[Mapping[str, Any]]) -> list[Row]:
    """What people had done, newest first."""
    return [
        Row(
            f"{each['source']}:{each['number']}",
            {
                "at": moment(each["at"]),
                "actor": Cell(words(each["actor"])),
                "what": Cell(title(str(each["what"]).lower())),
                "reason": Cell(words(each["reason"])),
            },
        )
        for each in acts
    ]


def place_of_act(act: Mapping[str, Any]) -> tuple[datetime, int, int]:
    """Where an act stands among all."""
    return act["at"], act["source"], act["number"]


def notices(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """What people were told, and whether it arrived."""
    found = []
    for each in rows:
        text, tone = _STATES.get(each["state"], ("waits", WARN if each["tries"] else MUTED))
        why = f"{each['tries']} tries: {words(each['error'])}" if each["error"] else ""
        found.append(
            Row(
                f"{each['number']}",
                {
                    "at": moment(each["created_at"]),
                    "event": Cell(title(each["event"])),
                    "text": Cell(words(each["title"]), sub=words(each["body"])),
                    "priority": figure(each["priority"], f"{each['priority']}"),
                    "state": Cell(text, tone, why, chip=True),
                },
            )
        )
    return found
