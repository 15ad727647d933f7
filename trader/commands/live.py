"""Tell running services a setting anew: `trader maintenance on|off`, and what `trader config reload` leans on.

What a service is told this way lasts until it ends; what is to last longer stands in `.env`.
"""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from typing import Annotated

import typer

from shared.config import LIVE_SETTINGS
from shared.domain.errors import TradingError
from trader.commands.service_api import ServiceApi, Token
from trader.runtime.errors import NotRunning
from trader.runtime.instance import DASHBOARD, SERVICES, Instance
from trader.runtime.runtimes import runtime_of

app = typer.Typer()

READ_ONLY = "API_READ_ONLY"
LIVE_PATH = "/settings/live"
# What is only to be remarked on is not waited for any longer.
REMARK_WITHIN_S = 1.0


class Switch(StrEnum):
    """Whether the services take changes."""

    ON = "on"
    OFF = "off"


@app.command()
def maintenance(
    switch: Annotated[Switch, typer.Argument(help="on: services only answer; off: as usual.")],
    reason: Annotated[str, typer.Option(help="Why, for the log.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Let services answer and change nothing on request, e.g. while you look into something; halting stays possible.

    Strategies trade on; `trader halt` beside it ends that. A restart ends it, unless API_READ_ONLY stands in .env.

    Example: trader maintenance on --reason "moving the disk"
    """
    wanted = {READ_ONLY: "true" if switch is Switch.ON else "false"}
    told = tell_running(Instance.of_project(), wanted, reason)
    if as_json:
        print(json.dumps({"maintenance": switch.value, "services": sorted(told)}, sort_keys=True))
    else:
        state = "answer only" if switch is Switch.ON else "take changes again"
        print(f"{len(told)} services {state}: {', '.join(told)}")


def told_anew(settings: Mapping[str, str]) -> dict[str, str]:
    """What a reload of `settings` tells: each live one, empty for its default.

    Maintenance is left as it is where nothing is said of it: its default would end what a person has begun.
    """
    wanted = {name.upper(): settings.get(name.upper(), "") for name in LIVE_SETTINGS}
    return {name: text for name, text in wanted.items() if text or name != READ_ONLY}


def with_other_log_level(api: ServiceApi, services: Sequence[str], wanted: str) -> list[str]:
    """Those of the running `services` that log at another level than `wanted`; one that gives no answer is passed over.

    All are asked at once: however many hang, a remark costs no more than one answer's time.
    """

    def level_of(name: str) -> object:
        try:
            settings = api.get(name, LIVE_PATH).get("settings")
        except TradingError:
            return wanted
        return settings.get("LOG_LEVEL", wanted) if isinstance(settings, dict) else wanted

    with ThreadPoolExecutor(max(1, len(services))) as threads:
        levels = list(threads.map(level_of, services))
    return [name for name, level in zip(services, levels, strict=True) if level != wanted]


def tell_running(
    instance: Instance, wanted: Mapping[str, str], reason: str
) -> dict[str, list[str]]:
    """Have every running service take over `wanted`; each with the names that changed.

    Raises:
        NotRunning: none runs. InvalidInput: a setting may not change, or not be that.
    """
    api, body = ServiceApi(instance), {"settings": dict(wanted), "reason": reason}
    told: dict[str, list[str]] = {}
    for each in runtime_of(instance).status():
        if each.pid and each.name in (*SERVICES, DASHBOARD):
            changed = api.post(each.name, LIVE_PATH, body, Token.ADMIN).get("changed")
            told[each.name] = list(map(str, changed)) if isinstance(changed, list) else []
    if not told:
        raise NotRunning("no service runs here; start them with trader up")
    return told
