"""Signals and universe: what strategies wish for, and among which symbols."""

from __future__ import annotations

import asyncio

from dashboard.parts.controls import card, element, say
from dashboard.parts.dialogs import REASON, ask
from dashboard.parts.table import Table
from dashboard.parts.visit import Refresh, Visit
from dashboard.shown import signals
from dashboard.shown.texts import title

_MOST = 400


def build(visit: Visit) -> Refresh:
    """The page, and what brings it up to date."""

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
        with card("Signals", "w8") as (note, _):
            table = Table(
                "Signals",
                signals.COLUMNS,
                empty="No signal yet.",
                hint="A strategy speaks when a bar has closed and it wants something else than before.",
            )
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
        found, known, tracked, seen = await asyncio.gather(
            visit.rows("signals", _MOST),
            visit.answer_or("strategy_engine", "/strategies", 2.0),
            visit.symbols(2.0),
            visit.answer_or("data_collector", "/data/universe", 5.0),
        )
        say(note, f"the newest {len(found)}; each leads to its decision")
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
