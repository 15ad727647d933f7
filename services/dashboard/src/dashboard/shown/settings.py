"""With what is everything run? Secrets are shown as set or not set, never by their text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dashboard.shown.texts import GOOD, MUTED, Cell, Column, Row, title, words

COLUMNS = (
    Column("name", "Setting"),
    Column("value", "Value", wide=True),
    Column("origin", "From"),
)
VERSIONS = (Column("service", "Service"), Column("version", "Version"))
RIGHTS = (Column("what", "You may"), Column("may", "With this token"))


def rows(settings: Sequence[tuple[str, Any, bool, bool]]) -> list[Row]:
    """`settings`: name, value, whether it is a secret, whether it is the default."""
    return [
        Row(
            name,
            {
                "name": Cell(name.upper()),
                "value": Cell("set" if value else "not set", GOOD if value else MUTED)
                if secret
                else Cell(_text(value)),
                "origin": Cell("default" if default else "set", MUTED if default else ""),
            },
        )
        for name, value, secret, default in settings
    ]


def versions(answers: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """Which build each service runs."""
    return [
        Row(
            name,
            {
                "service": Cell(title(name)),
                "version": Cell(words(answer.get("version")) if answer else "does not answer"),
            },
        )
        for name, answer in answers.items()
    ]


def rights(may: Mapping[str, bool]) -> list[Row]:
    """What the person who is logged in may do."""
    return [
        Row(
            what,
            {
                "what": Cell(what),
                "may": Cell("yes" if yes else "no", GOOD if yes else MUTED, chip=True),
            },
        )
        for what, yes in may.items()
    ]


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return (
            ", ".join(
                "=".join(map(str, each)) if isinstance(each, tuple) else str(each) for each in value
            )
            or "none"
        )
    return words(value) if value is not None else "none"
