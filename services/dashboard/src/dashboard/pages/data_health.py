"""Data health: the feed, gaps, quarantine, and what providers still let us ask."""

from __future__ import annotations

import asyncio

from dashboard.parts.controls import Stats, button, card, element, say
from dashboard.parts.dialogs import REASON, Asked, ask
from dashboard.parts.table import Table
from dashboard.parts.visit import Refresh, Visit
from dashboard.shown import data_health


def build(visit: Visit) -> Refresh:
    """The page, and what brings it up to date."""
    may = visit.rights.may_operate

    def release(_: str, reject_id: str) -> None:
        if may and reject_id.isdigit():
            _release(visit, reject_id)

    def let_go(_: str, hold_id: str) -> None:
        if may and hold_id.isdigit():
            _let_go(visit, hold_id)

    stats = Stats(data_health.STATS)
    with element("div", "grid"):
        with card("Provider budgets", "w7"):
            providers = Table(
                "Provider budgets",
                data_health.PROVIDERS,
                empty="No provider is in use.",
                searchable=False,
            )
        with card("Messages between the stages", "w5"):
            stages = Table(
                "Messages between the stages",
                data_health.STAGES,
                empty="Nothing has been announced yet.",
                searchable=False,
            )
        with card("Newest instants", "w7") as (note, _):
            batches = Table(
                "Newest instants", data_health.BATCHES, empty="No bar has come yet.", few=True
            )
        with card("Coverage", "w5", "of the newest instants, at most 390"):
            coverage = Table(
                "Coverage", data_health.COVERAGE, empty="TRADING_SYMBOLS is empty.", sort="-gaps"
            )
        with card("Symbols in doubt"):
            held = Table(
                "Symbols in doubt",
                data_health.HOLDS,
                empty="No symbol is held.",
                hint="A symbol whose bars cannot be believed takes no entry until they can.",
                searchable=False,
                on_act=let_go,
            )
        with card("Quarantine"):
            rejects = Table(
                "Quarantine",
                data_health.REJECTS,
                empty="No bar was refused.",
                hint="A bar that no market makes waits here until a person lets it in.",
                on_act=release,
            )
        with card("History that was asked for") as (_, tools):
            if may:
                with tools:
                    button("Fetch history", lambda: _collect(visit), "small")
            collections = Table(
                "History that was asked for", data_health.COLLECTIONS, empty="None yet."
            )

    async def refresh() -> None:
        (
            status,
            budgets,
            refused,
            counts,
            newest,
            asked,
            waiting,
            tracked,
            doubts,
            counted,
        ) = await asyncio.gather(
            visit.answer_or("data_collector", "/status", 1.0),
            visit.answer_or("data_collector", "/providers", 1.0),
            visit.answer_or("data_collector", "/data/quality", 2.0, limit=200),
            visit.rows("counts", visit.midnight()),
            visit.rows("batches", 100),
            visit.rows("collections", 50),
            visit.rows("lags"),
            visit.symbols(2.0),
            visit.rows("holds"),
            visit.rows("coverage", data_health.COVERED_INSTANTS),
        )
        stats.show(data_health.stats(status[0], counts["quarantined"], visit.now()))
        providers.show(data_health.providers(budgets[0].get("items", [])))
        rejects.show(data_health.rejects(refused[0].get("items", []), may_release=may))
        batches.show(data_health.batches(newest))
        say(note, "what lacks a symbol that others of the newest hundred had is marked")
        collections.show(data_health.collections(asked))
        held.show(data_health.holds(doubts, may_release=may))
        stages.show(data_health.stages(waiting))
        coverage.show(data_health.coverage(tracked, counted, visit.now()))

    return refresh


def _release(visit: Visit, reject_id: str) -> None:
    async def do(given: dict[str, str]) -> str:
        await visit.act("data_collector", f"/data/quality/{reject_id}/release", given)
        return "The bar is in the store."

    ask(
        "Let this bar in?",
        "It goes into the store as it came; strategies see it from the next bar on.",
        [REASON],
        do,
        yes="Release",
    )


def _let_go(visit: Visit, hold_id: str) -> None:
    async def do(given: dict[str, str]) -> str:
        await visit.act("data_collector", f"/data/holds/{hold_id}/release", given)
        return "The symbol may be traded again."

    ask(
        "Let this symbol be traded again?",
        "You have looked at its bars.",
        [REASON],
        do,
        yes="Let go",
    )


def _collect(visit: Visit) -> None:
    async def do(given: dict[str, str]) -> str:
        body: dict[str, object] = {
            key: given[key] for key in ("timeframe", "start", "end") if given[key]
        }
        names = [name.strip().upper() for name in given["symbols"].split(",") if name.strip()]
        if names:
            body["symbols"] = names
        await visit.act("data_collector", "/collect/market-data", body, once=True)
        return "History is being fetched."

    ask(
        "Fetch history",
        "What is left empty is everything tracked, and what strategies need to warm up.",
        [
            Asked("symbols", "Symbols, e.g. AAPL, MSFT", required=False),
            Asked("timeframe", "Timeframe, e.g. 1Day", required=False),
            Asked("start", "From, e.g. 2025-01-02", required=False),
            Asked("end", "Until", required=False),
        ],
        do,
        yes="Fetch",
    )
