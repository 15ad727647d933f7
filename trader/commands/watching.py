"""How is the system doing? `trader stats` says it once, `trader monitor` goes on until Ctrl-C.

One picture from three places: what the runtime knows of its programs, what the services answer, and how full
the disk is. A service that does not answer leaves its rows out and is named; nothing here changes anything.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType
from rich.live import Live

from shared.domain.errors import TradingError
from trader.commands.service_api import ServiceApi, items
from trader.commands.watch_screen import Picture, ProgramFigures, shown
from trader.runtime.instance import Instance
from trader.runtime.interface import Runtime
from trader.runtime.runtimes import runtime_of
from trader.runtime.waiting import wait_until

app = typer.Typer()

NEWEST_ORDERS = 8


@app.command()
def stats(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show once what runs, what it uses, and how trading stands.

    Example: trader stats --json
    """
    instance = Instance.of_project()
    picture = look(instance, runtime_of(instance), ServiceApi(instance))
    if as_json:
        print(json.dumps(asdict(picture), sort_keys=True))
    else:
        Console().print(shown(picture))


@app.command()
def monitor(
    every: Annotated[
        float, typer.Option(min=0.5, max=3600, help="Seconds between two looks.")
    ] = 2.0,
    looks: Annotated[
        int | None, typer.Option(min=1, help="End after so many; else at Ctrl-C.")
    ] = None,
) -> None:
    """Watch what runs, what it uses, and how trading stands, until Ctrl-C.

    Example: trader monitor --every 5
    """
    instance = Instance.of_project()
    runtime, api = runtime_of(instance), ServiceApi(instance)
    console = Console()
    first = shown(look(instance, runtime, api), is_live=console.is_terminal)
    with ExitStack() as stack:
        if console.is_terminal:
            screen = Live(first, console=console, screen=True, auto_refresh=False)
            show: Callable[[RenderableType], object] = partial(
                stack.enter_context(screen).update, refresh=True
            )
        else:
            # One below the other: a live screen in a file would show its last picture alone, and that at the end.
            show = console.print
            show(first)
        done = 1
        while looks is None or done < looks:
            wait_until(lambda: False, every)
            show(shown(look(instance, runtime, api), is_live=console.is_terminal))
            done += 1


def look(instance: Instance, runtime: Runtime, api: ServiceApi) -> Picture:
    """Gather the picture as it is now.

    Raises:
        NotRunning: nothing of the system runs.
    """
    states, used = runtime.status(), runtime.usage()
    programs = [
        ProgramFigures(
            name=each.name,
            state=each.state,
            up_s=each.up_s,
            cpu_share=used[each.name].cpu_share if each.name in used else None,
            memory_bytes=used[each.name].memory_bytes if each.name in used else None,
        )
        for each in states
    ]
    silent: dict[str, str] = {}

    def ask(
        service: str, path: str, query: Mapping[str, str | int] | None = None
    ) -> dict[str, Any]:
        if service in silent:
            return {}
        try:
            return api.get(service, path, query)
        except TradingError as error:
            silent[service] = str(error)
            return {}

    portfolio = ask("risk_manager", "/risk/portfolio")
    mode = ask("risk_manager", "/risk/mode")
    market = ask("scheduler", "/status")
    orders = ask("trade_executor", "/orders", {"limit": NEWEST_ORDERS})
    held = ask("trade_executor", "/positions")
    account = ask("trade_executor", "/account")
    trading = {
        "equity": portfolio.get("equity"),
        "cash": portfolio.get("cash"),
        "drawdown": portfolio.get("drawdown"),
        "gross_exposure": portfolio.get("gross_exposure_ratio"),
        "mode": mode.get("mode"),
        "reason": mode.get("reason"),
        "phase": market.get("phase"),
        "clock": market.get("clock"),
        "positions": len(items(held, "trade executor")) if held else None,
        "differences": len(account["differences"]) if "differences" in account else None,
        "executor": account.get("state"),
    }
    return Picture(
        runtime=runtime.name.value,
        programs=programs,
        trading=trading,
        limits=[each for each in portfolio.get("limits", []) if isinstance(each, dict)],
        orders=items(orders, "trade executor") if orders else [],
        budgets=_rows(ask("data_collector", "/providers")),
        jobs=[_job(row) for row in _rows(ask("scheduler", "/jobs"))],
        disk=_disk(instance),
        silent=silent,
    )


def _rows(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    return items(said, "service") if said else []


def _job(row: Mapping[str, Any]) -> dict[str, Any]:
    last = row.get("last_run")
    state = last.get("state") if isinstance(last, dict) else None
    return {
        **{key: row.get(key) for key in ("job_id", "next_due_at", "next_in_s", "missed")},
        "last": state,
    }


def _disk(instance: Instance) -> dict[str, int]:
    home = instance.home
    sizes = {name: _size(home / name) for name in ("logs", "backups")}
    # Market history may lie on a disk of its own; the fuller one is what ends first.
    free = min(
        shutil.disk_usage(there).free for there in (home, instance.parquet) if there.exists()
    )
    return {"parquet": _size(instance.parquet), **sizes, "free": free}


def _size(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.lstat().st_size
        except OSError:
            continue  # gone since it was listed
    return total
