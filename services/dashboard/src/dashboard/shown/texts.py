"""How is a figure written for a person?

One place for digits, signs, units and dashes, so that a column lines up and the same figure reads alike on every
page. A figure that is not known is a dash, never a zero. Instants are shown in exchange time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from shared.domain.calendar import NEW_YORK
from shared.domain.orders import Side, deed

DASH = "\N{EN DASH}"
GOOD, BAD, WARN, MUTED, ACCENT, PLAIN = "good", "bad", "warn", "muted", "accent", ""
_LONGEST = 400
_ACRONYMS = {each.lower(): each for each in ("ATR", "EMA", "MACD", "RSI", "SMA", "VWAP")} | {
    "postgres": "PostgreSQL"
}
Number = Decimal | float | int | str | None


def number(value: Number) -> Decimal | None:
    """The exact figure in `value`, or None where there is none."""
    if value is None or value == "":
        return None
    try:
        found = Decimal(str(value))
    except ArithmeticError:
        return None
    return found if found.is_finite() else None


def money(value: Number, places: int = 2) -> str:
    """Dollars without the sign of the currency, which the heading names."""
    found = number(value)
    return DASH if found is None else _minus(f"{found:,.{places}f}")


def signed(value: Number, places: int = 2) -> str:
    """Dollars with their sign always shown: a gain or a loss."""
    found = number(value)
    return DASH if found is None else _minus(f"{found:+,.{places}f}")


def price(value: Number) -> str:
    """Dollars per share: cents, and more digits only where they are there."""
    found = number(value)
    if found is None:
        return DASH
    exponent = found.normalize().as_tuple().exponent
    places = min(max(-exponent if isinstance(exponent, int) else 2, 2), 4)
    return f"{found:,.{places}f}"


def shares(value: Number) -> str:
    """A number of shares: whole where it is whole."""
    found = number(value)
    return DASH if found is None else _minus(f"{found.normalize():,f}")


def percent(value: Number, places: int = 2) -> str:
    """A ratio as a percentage."""
    found = number(value)
    return DASH if found is None else _minus(f"{found * 100:,.{places}f} %")


def signed_percent(value: Number, places: int = 2) -> str:
    """A ratio as a percentage with its sign."""
    found = number(value)
    return DASH if found is None else _minus(f"{found * 100:+,.{places}f} %")


def ratio(value: Number, places: int = 2) -> str:
    """A plain ratio."""
    found = number(value)
    return DASH if found is None else _minus(f"{found:,.{places}f}")


def count(value: int | None) -> str:
    """How many."""
    return DASH if value is None else f"{value:,}"


# What a page counts is counted so far and no further, however long the ledger is.
MOST_COUNTED = 5_000


def counted(value: int | None) -> str:
    """How many of what is counted up to MOST_COUNTED and one more: `5,000+` where there are more."""
    is_more = value is not None and value > MOST_COUNTED
    return f"{MOST_COUNTED:,}+" if is_more else count(value)


def _minus(text: str) -> str:
    return text.replace("-", "\u2212")


def tone(value: Number) -> str:
    """Good for a gain, bad for a loss, plain for neither."""
    found = number(value)
    if found is None or found == 0:
        return PLAIN
    return GOOD if found > 0 else BAD


def instant(value: datetime | str | None) -> datetime | None:
    """The instant in `value`, which may come from JSON; None where there is none or it cannot be read."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    return value if value is not None and value.tzinfo is not None else None


def clock_time(value: datetime | str | None) -> str:
    """Hours, minutes and seconds in New York."""
    at = instant(value)
    return DASH if at is None else f"{at.astimezone(NEW_YORK):%H:%M:%S}"


def day_time(value: datetime | str | None) -> str:
    """Day and minute in New York."""
    at = instant(value)
    return DASH if at is None else f"{at.astimezone(NEW_YORK):%d %b %H:%M}"


def full_time(value: datetime | str | None) -> str:
    """Date, time and zone, where it must not be mistaken."""
    at = instant(value)
    return DASH if at is None else f"{at.astimezone(NEW_YORK):%Y-%m-%d %H:%M:%S} New York"


def day(value: date | str | None) -> str:
    """A date."""
    if value is None:
        return DASH
    return value if isinstance(value, str) else f"{value:%Y-%m-%d}"


def span(seconds: float | None) -> str:
    """A duration in the largest unit that says enough."""
    if seconds is None:
        return DASH
    if seconds < 0:
        return "0 s"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 172_800:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86_400:.0f} d"


def age(value: datetime | str | None, now: datetime) -> str:
    """How long ago."""
    at = instant(value)
    if at is None:
        return DASH
    passed_s = (now - at).total_seconds()
    return "just now" if passed_s < 1 else f"{span(passed_s)} ago"


def words(value: object) -> str:
    """Any text from outside, bounded; control characters become blanks."""
    if value is None or value == "":
        return DASH
    text = "".join(c if c.isprintable() else " " for c in str(value))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def title(value: object) -> str:
    """A name of code as people write it: `trade_executor` is Trade executor."""
    text = " ".join(_ACRONYMS.get(each, each) for each in words(value).replace("_", " ").split(" "))
    return text[:1].upper() + text[1:]


@dataclass(frozen=True, slots=True)
class Cell:
    """One shown text: `tone` colours it, `sub` stands small below, `to` is where a click leads.

    `sort` orders the column where the text would not; `share` draws a bar of 0 to 1 behind a limit's usage.
    """

    text: str
    tone: str = PLAIN
    sub: str = ""
    to: str = ""
    sort: float | str | None = None
    share: float | None = None
    chip: bool = False

    def wire(self) -> str | dict[str, Any]:
        """The cell as the table's script reads it; a plain text where it is nothing else."""
        said = {
            "k": self.tone,
            "s": self.sub,
            "h": self.to,
            "v": self.sort,
            "b": self.share,
            "c": self.chip or None,
        }
        rest = {name: value for name, value in said.items() if value not in ("", None)}
        return self.text if not rest else {"t": self.text, **rest}


@dataclass(frozen=True, slots=True)
class Column:
    """A heading with the unit of what stands below; `right` aligns figures."""

    key: str
    label: str
    unit: str = ""
    right: bool = False
    wide: bool = False

    def wire(self) -> dict[str, Any]:
        """The column as the table's script reads it."""
        return {
            "key": self.key,
            "label": self.label,
            "unit": self.unit,
            "right": self.right,
            "wide": self.wide,
        }


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table; `actions` are pairs of a name and what its button says."""

    key: str
    cells: Mapping[str, Cell]
    actions: tuple[tuple[str, str], ...] = ()
    to: str = ""

    def wire(self) -> dict[str, Any]:
        """The row as the table's script reads it."""
        said: dict[str, Any] = {
            "key": self.key,
            "cells": {name: cell.wire() for name, cell in self.cells.items()},
        }
        if self.actions:
            said["actions"] = [{"name": name, "label": label} for name, label in self.actions]
        if self.to:
            said["to"] = self.to
        return said


def figure(value: Number, text: str, tone_of: str = PLAIN, sub: str = "") -> Cell:
    """A figure's cell, ordered by its value."""
    found = number(value)
    return Cell(text, tone_of, sub, sort=None if found is None else float(found))


def moment(value: datetime | str | None) -> Cell:
    """An instant's cell, ordered by time."""
    at = instant(value)
    return Cell(day_time(at), sort=None if at is None else at.timestamp())


_STATES = {
    # What asks for a person's eyes first.
    "UNKNOWN": BAD, "REJECTED": BAD, "FAILED": BAD, "HALTED": BAD, "ACCOUNT_MISMATCH": BAD, "down": BAD,
    "refused": WARN, "EXPIRED": WARN, "EXPIRED_UNSENT": WARN, "MISSED": WARN, "REDUCING": WARN,
    "INTERRUPTED": WARN, "not ready": WARN, "RECONCILING": WARN, "STANDBY": WARN, "NEVER_EXISTED": WARN,
    "off": WARN, "rejected": BAD,
    "FILLED": GOOD, "DONE": GOOD, "approved": GOOD, "ACTIVE": GOOD, "READY": GOOD, "ready": GOOD, "on": GOOD,
    "filled": GOOD,
    "PENDING": ACCENT, "SENDING": ACCENT, "ACKED": ACCENT, "PARTIAL": ACCENT, "RUNNING": ACCENT, "QUEUED": ACCENT,
    "new": ACCENT, "accepted": ACCENT, "held": ACCENT, "partially_filled": ACCENT,
}  # fmt: skip


def state(value: object) -> Cell:
    """A state as a coloured chip."""
    text = words(value)
    return Cell(text.replace("_", " ").lower(), _STATES.get(text, MUTED), chip=True, sort=text)


_SIDES = {
    "buy": GOOD,
    "buy back": GOOD,
    "sell": BAD,
    "sell short": BAD,
    "LONG": GOOD,
    "SHORT": BAD,
    "FLAT": MUTED,
}


def wished(order: Mapping[str, Any]) -> str:
    """What an order of that side and purpose does: buy, sell, sell short or buy back."""
    text = words(order["side"])
    known = text in (Side.BUY, Side.SELL)
    return deed(Side(text), opens=order["purpose"] == "entry") if known else text


def side(value: object) -> Cell:
    """Buy or sell, long or flat."""
    text = words(value)
    return Cell(text.lower(), _SIDES.get(text, PLAIN))
