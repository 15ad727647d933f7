"""Which figures does a report show, in which order, and how are they written?

Named figures in blocks, and tables of rows: plain values with a kind, so that the terminal, the HTML file and JSON say the
same. The order is that of freqtrade's summary, which its users know by heart, then what only shares have: gross against
net, capacity, nights, trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

# From here on cents say nothing.
_NO_CENTS = 10_000_000
# Durations are shown in the two largest units that say something.
_DAY_S, _HOUR_S, _MINUTE_S = 86_400, 3_600, 60


class Kind(StrEnum):
    """How a value is written; `fraction` 0.1 is shown as 10.00 %."""

    TEXT = "text"
    COUNT = "count"
    MONEY = "money"
    FRACTION = "fraction"
    RATIO = "ratio"
    DURATION = "duration"


@dataclass(frozen=True, slots=True)
class Figure:
    """One named value. `name` is its key in JSON."""

    name: str
    title: str
    value: Any
    kind: Kind

    @property
    def shown(self) -> str:
        """As a person reads it."""
        return shown(self.value, self.kind)

    def document(self) -> dict[str, Any]:
        """As plain values, with what is needed to show it."""
        return {
            "name": self.name,
            "title": self.title,
            "value": self.value,
            "kind": self.kind.value,
        }


@dataclass(frozen=True, slots=True)
class Block:
    """Figures that belong together."""

    title: str
    figures: Sequence[Figure]

    def document(self) -> dict[str, Any]:
        """As plain values."""
        return {"title": self.title, "figures": [figure.document() for figure in self.figures]}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Block:
        """The block that `document` was made from."""
        return cls(
            document["title"],
            [
                Figure(each["name"], each["title"], each["value"], Kind(each["kind"]))
                for each in document["figures"]
            ],
        )


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    name: str
    title: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of one kind; `rows` hold values by the columns' names. `left_out`: rows that are not here."""

    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]
    left_out: int = 0

    def document(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "name": self.name,
            "title": self.title,
            "columns": [
                {"name": column.name, "title": column.title, "kind": column.kind.value}
                for column in self.columns
            ],
            "rows": [dict(row) for row in self.rows],
            "left_out": self.left_out,
        }

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Table:
        """The table that `document` was made from."""
        return cls(
            document["name"],
            document["title"],
            [
                Column(each["name"], each["title"], Kind(each["kind"]))
                for each in document["columns"]
            ],
            document["rows"],
            document["left_out"],
        )


def shown(value: Any, kind: Kind) -> str:
    """`value` as a person reads it; a dash where there is none."""
    if value is None:
        return "–"  # noqa: RUF001  # a dash is what tables show for nothing
    if kind is Kind.TEXT:
        return str(value)
    if kind is Kind.COUNT:
        return f"{value:,}"
    if kind is Kind.MONEY:
        return f"{value:,.2f}" if abs(value) < _NO_CENTS else f"{value:,.0f}"
    if kind is Kind.FRACTION:
        return f"{value * 100:,.2f} %"
    if kind is Kind.DURATION:
        return _duration(float(value))
    return f"{value:,.2f}"


def _duration(seconds: float) -> str:
    days, rest = divmod(int(seconds), _DAY_S)
    hours, rest = divmod(rest, _HOUR_S)
    minutes = rest // _MINUTE_S
    if days:
        return f"{days:,} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min"
