"""Reconciliation: where we and the broker disagree, and letting a symbol trade again."""

from __future__ import annotations

import asyncio

from dashboard.parts.controls import Stats, button, card, element
from dashboard.parts.dialogs import ask
from dashboard.parts.table import Table
from dashboard.parts.visit import Refresh, Visit
from dashboard.shown import reconciliation
from dashboard.shown.texts import count


def build(visit: Visit) -> Refresh:
    """The page, and what brings it up to date."""
    may = visit.rights.may_operate

    def acknowledge(_: str, key: str) -> None:
        symbol = key.partition(":")[2]
        if may and symbol:
            _acknowledge(visit, symbol)

    stats = Stats(reconciliation.STATS)
    with element("div", "grid"), card("Differences with the broker") as (_, tools):
        if may:
            with tools:
                button("Compare now", lambda: _compare(visit), "small")
        table = Table(
            "Differences with the broker",
            reconciliation.COLUMNS,
            empty="We and the broker agree.",
            hint="Positions, cash and orders are compared at the start, after each lost connection and before each open.",
            on_act=acknowledge,
        )

    async def refresh() -> None:
        account, differences = await asyncio.gather(
            visit.answer_or("trade_executor", "/account", 1.0), visit.rows("differences", 300)
        )
        stats.show(reconciliation.stats(account[0], differences, visit.now()))
        table.show(reconciliation.rows(differences, may_acknowledge=may))

    return refresh


def _compare(visit: Visit) -> None:
    async def do(_: dict[str, str]) -> str:
        said = await visit.act("trade_executor", "/reconcile", {})
        return f"Compared {count(said.get('orders_seen'))} orders; {count(len(said.get('differences', [])))} differences."

    ask(
        "Compare everything now?",
        "Asks the broker for all orders, executions and positions.",
        [],
        do,
        yes="Compare",
    )


def _acknowledge(visit: Visit, symbol: str) -> None:
    async def do(_: dict[str, str]) -> str:
        await visit.act("trade_executor", "/reconcile", {"acknowledge": [symbol]})
        return f"{symbol} may trade again."

    ask(
        f"Acknowledge the difference in {symbol}?",
        "You have looked at it. Entries in this symbol may go again; the ledger keeps the evidence.",
        [],
        do,
        yes="Acknowledge",
    )
