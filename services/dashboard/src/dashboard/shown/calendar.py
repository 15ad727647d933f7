"""On which days does the exchange trade, and until when? One month, week by week from Monday."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from dashboard.shown.texts import ACCENT, BAD, MUTED, PLAIN, WARN, instant
from shared.domain.calendar import NEW_YORK

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
WEEKS = 6
_KINDS = {
    "half_day": ("half-day", WARN),
    "holiday": ("closed", BAD),
    "weekend": ("", MUTED),
    "unknown": ("not known yet", MUTED),
}


@dataclass(frozen=True, slots=True)
class Day:
    """One field of the month: its number, what is said of it, its tone, and whether it is today."""

    number: str = ""
    text: str = ""
    tone: str = PLAIN
    is_today: bool = False


def title_of(year: int, month: int) -> str:
    """The month as people call it."""
    return f"{date(year, month, 1):%B %Y}"


def shifted(year: int, month: int, by: int) -> tuple[int, int]:
    """The month `by` months later, kept within what the scheduler answers."""
    index = min(max(year * 12 + month - 1 + by, 1990 * 12), 2100 * 12 + 11)
    return index // 12, index % 12 + 1


def fields(items: Sequence[Mapping[str, Any]], today: date) -> list[Day]:
    """WEEKS x 7 fields; those before and after the month are empty."""
    found = [Day() for _ in range(WEEKS * 7)]
    if not items:
        return found
    first = date.fromisoformat(str(items[0]["on"])).weekday()
    for index, each in enumerate(items):
        on = date.fromisoformat(str(each["on"]))
        text, tone = _KINDS.get(each["kind"], ("", PLAIN))
        opens, closes = instant(each["open_at"]), instant(each["close_at"])
        if opens is not None and closes is not None:
            hours = f"{opens.astimezone(NEW_YORK):%H:%M}-{closes.astimezone(NEW_YORK):%H:%M}"
            text = f"{hours}, {text}" if text else hours
        is_today = on == today
        found[first + index] = Day(
            f"{on.day}", text, ACCENT if is_today and not tone else tone, is_today
        )
    return found


def sentence(items: Sequence[Mapping[str, Any]]) -> str:
    """How many sessions the month has, and what is unusual about it."""
    kinds = [each["kind"] for each in items]
    sessions = kinds.count("session") + kinds.count("half_day")
    told = [f"{sessions} sessions"]
    for kind, name in (("half_day", "half-day"), ("holiday", "holiday")):
        many = kinds.count(kind)
        if many:
            told.append(f"{many} {name}{'s' if many > 1 else ''}")
    return ", ".join(told)
