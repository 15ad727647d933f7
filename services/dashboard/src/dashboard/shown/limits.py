"""How much of each limit is used?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dashboard.shown.texts import (
    BAD,
    GOOD,
    WARN,
    Cell,
    Column,
    Row,
    count,
    money,
    percent,
    ratio,
    title,
    words,
)

# From here on a limit is said to be near.
NEAR = 0.8
COLUMNS = (
    Column("limit", "Limit", wide=True),
    Column("used", "In use", right=True),
    Column("ceiling", "Allowed", right=True),
    Column("share", "Share used", right=True),
)


def amount(value: float | None, unit: str) -> str:
    """A figure in its unit."""
    if value is None:
        return words(None)
    match unit:
        case "USD":
            return f"{money(value, 0)} USD"
        case _ if unit.startswith("of "):
            return percent(value)
        case _ if float(value).is_integer():
            return f"{count(int(value))} {unit}".strip()
    return f"{ratio(value, 4)} {unit}".strip()


def rows(checks: Sequence[Mapping[str, Any]], *, explained: bool = True) -> list[Row]:
    """The account's limits, the fullest first; `explained` adds each one's sentence."""
    found = []
    for check in checks:
        limit, usage = float(check["limit"]), float(check["usage"])
        # A floor (cash above zero) has no share of a ceiling to show.
        share = usage / limit if limit > 0 else None
        tone = "" if share is None else BAD if share >= 1 else WARN if share >= NEAR else GOOD
        if not check["passed"]:
            tone = BAD
        unit = words(check["unit"])
        found.append(
            Row(
                words(check["code"]),
                {
                    "limit": Cell(
                        title(str(check["code"]).lower()),
                        sub=words(check["text"]) if explained else "",
                    ),
                    "used": Cell(amount(usage, unit), sort=usage),
                    "ceiling": Cell(amount(limit, unit), sort=limit),
                    "share": Cell(
                        percent(share, 0)
                        if share is not None
                        else ("ok" if check["passed"] else "broken"),
                        tone,
                        sort=-1.0 if share is None else share,
                        share=share,
                    ),
                },
            )
        )
    return sorted(found, key=lambda row: -float(row.cells["share"].sort or 0))
