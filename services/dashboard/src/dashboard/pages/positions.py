"""Positions: what is held, what protects it, and getting out of it."""

from __future__ import annotations

import asyncio

from dashboard.parts import acting
from dashboard.parts.controls import Stats, button, card, element, say
from dashboard.parts.table import Table
from dashboard.parts.visit import Refresh, Visit
from dashboard.shown import positions
from dashboard.shown.texts import number


def build(visit: Visit) -> Refresh:
    """The page, and what brings it up to date."""
    held: dict[str, str] = {}

    def act(name: str, symbol: str) -> None:
        quantity = number(held.get(symbol))
        if name == "close" and quantity and visit.rights.may_operate:
            acting.close(visit, symbol, format(abs(quantity), "f"), is_long=quantity > 0)

    stats = Stats(positions.STATS)
    with element("div", "grid"), card("Open positions") as (note, tools):
        if visit.rights.may_operate:
            with tools:
                button("Close everything", lambda: acting.flatten(visit), "danger small")
        table = Table(
            "Open positions",
            positions.COLUMNS,
            empty="Nothing is held.",
            hint="A position appears here with its first fill.",
            sort="symbol",
            on_act=act,
        )

    async def refresh() -> None:
        answer, protection, equity = await asyncio.gather(
            visit.answer("trade_executor", "/positions", 0.5),
            visit.rows("protection"),
            visit.rows("equity", 1),
        )
        items = answer.get("items", [])
        held.clear()
        held.update({each["symbol"]: each["quantity"] for each in items})
        resting = positions.by_symbol(protection)
        worth = equity[-1]["equity"] if equity else None
        say(note, "prices of the newest bar; stops and targets as they rest at the broker")
        stats.show(positions.stats(items, resting))
        table.show(positions.rows(items, resting, worth, may_close=visit.rights.may_operate))

    return refresh
