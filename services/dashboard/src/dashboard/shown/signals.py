"""What did strategies wish for, and among which symbols do they choose?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from dashboard.shown.texts import (
    BAD,
    Cell,
    Column,
    Row,
    age,
    count,
    figure,
    full_time,
    moment,
    price,
    ratio,
    side,
    state,
    title,
    words,
)

COLUMNS = (
    Column("at", "Bar's end"),
    Column("symbol", "Symbol"),
    Column("direction", "Wish"),
    Column("conviction", "Conviction", right=True),
    Column("price", "Price", "USD", right=True),
    Column("strategy", "Strategy"),
    Column("reason", "Reason", wide=True),
)
STRATEGIES = (
    Column("name", "Strategy", wide=True),
    Column("state", "State"),
    Column("parameters", "Parameters", wide=True),
    Column("bars", "Bars needed", right=True),
    Column("run", "Last run"),
    Column("failures", "Failures", right=True),
)
SCREEN = (Column("symbol", "Symbol"),)
UNIVERSE = (
    Column("symbol", "Symbol"),
    Column("end", "Newest bar"),
    Column("age", "Age", right=True),
)


def rows(signals: Sequence[Mapping[str, Any]]) -> list[Row]:
    """One line per wish; it leads to the answer."""
    return [
        Row(
            str(each["signal_id"]),
            {
                "at": moment(each["bar_end_at"]),
                "symbol": Cell(words(each["symbol"])),
                "direction": side(each["direction"]),
                "conviction": figure(each["conviction"], ratio(each["conviction"])),
                "price": figure(each["reference_price"], price(each["reference_price"])),
                "strategy": Cell(title(each["strategy"])),
                "reason": Cell(words(each["reason"])),
            },
            to=f"/decisions?id={each['signal_id']}",
        )
        for each in signals
    ]


def strategies(answer: Mapping[str, Any], *, may_resume: bool) -> list[Row]:
    """What runs, with what, and how it fares."""
    found = []
    for each in answer.get("items", []):
        values = ", ".join(f"{p['name']} {p['value']}" for p in each["parameters"])
        last = each["last_run"]
        found.append(
            Row(
                words(each["name"]),
                {
                    "name": Cell(title(each["name"]), sub=words(each["about"])),
                    "state": state(each["state"]),
                    "parameters": Cell(words(values)),
                    "bars": figure(each["bars_needed"], count(each["bars_needed"])),
                    "run": moment(last["ran_at"]) if last else Cell("never"),
                    "failures": figure(
                        each["failures"],
                        count(each["failures"]),
                        BAD if each["failures"] else "",
                        words(each["last_error"]) if each["last_error"] else "",
                    ),
                },
                (("resume", "Turn on"),) if may_resume and each["state"] == "off" else (),
            )
        )
    found += [
        Row(
            words(name),
            {"name": Cell(words(name), sub=words(why)), "state": Cell("broken", BAD, chip=True)},
        )
        for name, why in answer.get("broken", {}).items()
    ]
    return found


def universe(items: Sequence[Mapping[str, Any]], now: datetime) -> list[Row]:
    """The tracked symbols and how old their newest bars are."""
    return [
        Row(
            words(each["symbol"]),
            {
                "symbol": Cell(words(each["symbol"]), to=f"/charts?symbol={each['symbol']}"),
                "end": moment(each["latest_end_at"]),
                "age": Cell(age(each["latest_end_at"], now), sort=each["latest_end_at"]),
            },
        )
        for each in items
    ]


def screened(answer: Mapping[str, Any]) -> list[Row]:
    """The symbols of the newest screen."""
    items = answer.get("items", [])
    return [
        Row(words(name), {"symbol": Cell(words(name), to=f"/charts?symbol={words(name)}")})
        for name in (items[0]["symbols"] if items else [])
    ]


def screen_note(answer: Mapping[str, Any]) -> str:
    """What the screen shows, and when it was taken."""
    if not answer.get("is_on"):
        return "no screen is taken: FINVIZ_API_KEY is not set"
    items = answer.get("items", [])
    if not items:
        return (
            f"no screen yet{': ' + words(answer['last_error']) if answer.get('last_error') else ''}"
        )
    return f"{words(items[0]['screen'])}: {count(len(items[0]['symbols']))} symbols, taken {full_time(items[0]['taken_at'])}"
