"""Risk: what the account could lose, its limits, and the switches."""

from __future__ import annotations

import asyncio

from dashboard.parts import acting
from dashboard.parts.controls import Facts, Stats, button, card, element, say, show_if
from dashboard.parts.dialogs import REASON, Asked, ask
from dashboard.parts.table import Table
from dashboard.parts.visit import Refresh, Visit
from dashboard.shown import limits, risk
from dashboard.shown.texts import number, title
from shared.domain.errors import InvalidInput


def build(visit: Visit) -> Refresh:
    """The page, and what brings it up to date."""
    rights = visit.rights
    in_force: dict[str, float] = {}
    version = 0

    def change(_: str, name: str) -> None:
        if name in in_force and rights.may_set_limits:
            _change(visit, name, in_force[name], version)

    stats = Stats(risk.STATS)
    with element("div", "grid"):
        with card("Mode", "w4"), element("div", "body stack"):
            mode_facts = Facts(
                [("mode", "Mode"), ("reason", "Reason"), ("actor", "Set by"), ("at", "Since")]
            )
            with element("div", "row-of"):
                if rights.may_halt:
                    reduce = button("Only exits", lambda: acting.reduce(visit), "danger")
                    halt = button("Halt", lambda: acting.halt(visit), "danger solid")
                if rights.may_operate:
                    resume = button("Resume", lambda: acting.resume(visit), "primary")
        with card("Limits in use", "w8"):
            used = Table(
                "Limits in use", limits.COLUMNS, empty="No limits known.", searchable=False
            )
        with card("Limits that may be changed", "w5") as (note, _):
            say(
                note,
                "from the next decision on"
                if rights.may_set_limits
                else "changing needs the role admin",
            )
            table = Table(
                "Limits that may be changed",
                risk.CHANGEABLE,
                empty="No limits known.",
                on_act=change,
            )
        with element("div", "w7 stack"):
            with card("What a gap would do"):
                scenarios = Table(
                    "What a gap would do",
                    risk.SCENARIOS,
                    empty="Nothing is held.",
                    searchable=False,
                )
            with card("Which strategy earned what"):
                earned = Table(
                    "Which strategy earned what",
                    risk.ATTRIBUTION,
                    empty="No fill yet.",
                    searchable=False,
                )
            with card("Changes of limits and modes"):
                history = Table(
                    "Changes of limits and modes", risk.HISTORY, empty="Nothing has been changed."
                )

    async def refresh() -> None:
        nonlocal version
        mode, modes, portfolio, answer = await asyncio.gather(
            visit.rows("mode"),
            visit.rows("modes", 50),
            visit.answer("risk_manager", "/risk/portfolio", 1.0),
            visit.answer("risk_manager", "/risk/limits", 1.0),
        )
        in_force.clear()
        in_force.update(answer.get("limits", {}))
        version = int(answer.get("version", 0))
        stats.show(risk.stats(portfolio))
        mode_facts.show(risk.mode_facts(mode))
        used.show(limits.rows(portfolio.get("limits", [])))
        table.show(risk.limits(answer, may_change=rights.may_set_limits))
        scenarios.show(risk.scenarios(portfolio.get("risk", {})))
        earned.show(risk.attribution(portfolio.get("attribution", [])))
        history.show(risk.history(answer.get("history", []), modes))
        now = mode["mode"] if mode is not None else ""
        if rights.may_halt:
            show_if(halt, visible=now != "HALTED")
            show_if(reduce, visible=now == "ACTIVE")
        if rights.may_operate:
            show_if(resume, visible=now in ("HALTED", "REDUCING"))

    return refresh


def _change(visit: Visit, name: str, value: float, version: int) -> None:
    async def do(given: dict[str, str]) -> str:
        wanted = number(given["value"])
        if wanted is None and given["value"]:
            raise InvalidInput(f"{given['value'][:40]!r} is not a number")
        body = {
            "changes": {name: None if wanted is None else float(wanted)},
            "version": version,
            "reason": given["reason"],
        }
        await visit.act("risk_manager", "/risk/limits", body)
        return f"{title(name)} is changed."

    ask(
        f"Change {title(name).lower()}",
        "It holds from the next decision on. Leave the value empty to go back to the settings.",
        [Asked("value", "New value", f"{value:g}", required=False), REASON],
        do,
        yes="Change the limit",
    )
