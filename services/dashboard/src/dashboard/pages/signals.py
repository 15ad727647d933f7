"""Signals and universe: what strategies wish for, and among which symbols."""

from __future__ import annotations

import asyncio

from dashboard.parts.controls import card, element, say, symbol_input, symbol_of
from dashboard.parts.dialogs import REASON, ask
from dashboard.parts.paging import READ, Pager
from dashboard.parts.table import Table
from dashboard.parts.visit import Refresh, Visit
from dashboard.shown import signals
from dashboard.shown.texts import title


def build(visit: Visit) -> Refresh:
    """The page, and what brings it up to date."""
    wake = visit.rooms.feed.wake

    def another_symbol() -> None:
        pages.reset()
        wake()

    def act(_: str, name: str) -> None:
        if visit.rights.may_operate:
            _turn_on(visit, name)

    with element("div", "grid"):
        with card("Strategies"):
            strategies = Table(
                "Strategies",
                signals.STRATEGIES,
                empty="No strategy is known.",
                hint="Put one into services/strategy_engine/src/strategies/.",
                on_act=act,
            )
        with card("Signals", "w8") as (note, tools):
            with tools:
                symbol = symbol_input(visit.query.get("symbol", ""), another_symbol)
            table = Table(
                "Signals",
                signals.COLUMNS,
                empty="No signal yet.",
                hint="A strategy speaks when a bar has closed and it wants something else than before.",
            )
            pages = Pager("signals", wake)
        with element("div", "w4 stack"):
            with card("Tracked symbols"):
                universe = Table(
                    "Tracked symbols",
                    signals.UNIVERSE,
                    empty="TRADING_SYMBOLS is empty.",
                    sort="symbol",
                )
            with card("Screen"):
                with element("div", "body"):
                    screen = element("p", "note", "")
                screened = Table("Screen", signals.SCREEN, empty="No symbol was screened.")

    async def refresh() -> None:
        read, known, tracked, seen = await asyncio.gather(
            visit.rows("signals", READ, symbol_of(symbol), pages.before),
            visit.answer_or("strategy_engine", "/strategies", 2.0),
            visit.symbols(2.0),
            visit.answer_or("data_collector", "/data/universe", 5.0),
        )
        found = pages.page(read, lambda row: row["id"])
        say(note, f"{pages.words(len(found), 'signals')}; each leads to its decision")
        table.show(signals.rows(found))
        strategies.show(signals.strategies(known[0], may_resume=visit.rights.may_operate))
        universe.show(signals.universe(tracked, visit.now()))
        screened.show(signals.screened(seen[0]))
        say(screen, seen[1] or signals.screen_note(seen[0]))

    return refresh


def _turn_on(visit: Visit, name: str) -> None:
    async def do(given: dict[str, str]) -> str:
        await visit.act("strategy_engine", f"/strategies/{name}/resume", given)
        return f"{title(name)} runs again."

    ask(
        f"Turn {title(name)} on again?",
        "It was turned off because it kept failing.",
        [REASON],
        do,
        yes="Turn on",
    )
