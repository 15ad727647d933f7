"""What stands above every page: mode, market, connection, and what waits for a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dashboard.shown.texts import (
    BAD,
    GOOD,
    MUTED,
    WARN,
    Cell,
    clock_time,
    count,
    counted,
    span,
    state,
    words,
)


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence across the page; `tone` says how bad it is."""

    title: str
    text: str
    tone: str


def mode_chip(mode: Mapping[str, Any] | None) -> Cell:
    """Which orders may leave."""
    if mode is None:
        return Cell("no mode yet", MUTED, chip=True)
    return state(mode["mode"])


def market(status: Mapping[str, Any], now: datetime) -> str:
    """Open or closed, until when, in the venue's time."""
    if not status:
        return f"{clock_time(now)} New York"
    phase = words(status.get("phase"))
    change = status.get("session_close_at") if phase == "open" else status.get("next_open_at")
    at = datetime.fromisoformat(change) if change else None
    left = (
        ""
        if at is None
        else f", {'closes' if phase == 'open' else 'opens'} in {span((at - now).total_seconds())}"
    )
    replay = " · replay" if status.get("clock") == "replay" else ""
    return f"Market {phase}{left} · {clock_time(now)} New York{replay}"


def health_chip(services: list[Mapping[str, Any]] | None) -> Cell:
    """All services in two words."""
    if services is None:
        return Cell("scheduler down", BAD, chip=True)
    unwell = [words(each.get("service")) for each in services if each.get("state") != "ready"]
    if not services:
        return Cell("no health yet", MUTED, chip=True)
    if unwell:
        return Cell(f"{', '.join(unwell).replace('_', ' ')} unwell", BAD, chip=True)
    return Cell("all services ready", GOOD, chip=True)


def notices(
    mode: Mapping[str, Any] | None, counts: Mapping[str, Any], status: Mapping[str, Any] | None
) -> list[Notice]:
    """What a person must know before anything else, worst first."""
    found = []
    if mode is not None and mode["mode"] == "HALTED":
        found.append(Notice("Trading is halted.", f"No order leaves: {words(mode['reason'])}", BAD))
    if counts.get("unknown"):
        many = counts["unknown"]
        found.append(
            Notice(
                f"{count(many)} order{'s' if many > 1 else ''} of unknown outcome.",
                "The exposure stays reserved until the broker has been asked.",
                BAD,
            )
        )
    if status is not None and status["state"] == "ACCOUNT_MISMATCH":
        found.append(Notice("The broker's account is another one.", words(status["reason"]), BAD))
    if mode is not None and mode["mode"] == "REDUCING":
        found.append(Notice("Only exits leave.", words(mode["reason"]), WARN))
    if counts.get("undelivered"):
        many = counts["undelivered"]
        found.append(
            Notice(
                f"Undelivered: {counted(many)} notification{'s' if many > 1 else ''}.",
                "Logs & audit says which, and why they have not arrived.",
                WARN,
            )
        )
    if counts.get("differences"):
        many = counts["differences"]
        found.append(
            Notice(
                f"{count(many)} open difference{'s' if many > 1 else ''} with the broker.",
                "See Reconciliation; entries in these symbols wait for you.",
                WARN,
            )
        )
    return found
