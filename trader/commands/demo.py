"""Run a trading session offline and watch it: `trader demo`.

Everything that trades is started on this machine, against the simulator in place of the venue; no account and
no key is needed, and none that is configured is used.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Coroutine
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer

from shared.adapters.clocks import MonotonicTimer
from shared.adapters.logs import set_up_console
from shared.domain.errors import InvalidInput, Misconfigured
from shared.domain.money import plain
from shared.domain.symbols import parse_symbol
from trader.exits import ExitCode
from trader.halted import sentence_of_halt
from trader.replay.bars_file import check_bars
from trader.replay.screen import Screen, print_summary
from trader.replay.session import Replay, ReplayPlan, open_replay
from trader.runtime.compose import ComposeRuntime
from trader.runtime.errors import ProgramFailed, StackError
from trader.runtime.instance import DASHBOARD, POSTGRES, REDIS, SERVICES, SIMULATOR, Instance
from trader.runtime.interface import RuntimeName
from trader.runtime.runtimes import SETTING
from trader.runtime.stack import LocalStack

app = typer.Typer()

COMPOSE_SPEED = 60.0
LOOK_EVERY_S = 1.0


@app.command()
def demo(
    exit_when_done: Annotated[
        bool, typer.Option("--exit", help="End by itself after the session.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Last line of standard output: one JSON object.")
    ] = False,
    bars: Annotated[
        Path | None,
        typer.Option(help="Replay this CSV or Parquet file instead of a generated market."),
    ] = None,
    last: Annotated[
        int | None, typer.Option(min=1, help="Only the last N bars of the file.")
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(
            min=0.1, max=100_000, help="Free-running, N times real time, instead of lock-step."
        ),
    ] = None,
    symbols: Annotated[
        str | None, typer.Option(help="Only these, e.g. AAPL,MSFT; default: all there are.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of the generated market.")] = 7,
    cash: Annotated[
        int, typer.Option(min=1_000, max=10**12, help="Dollars in a new account.")
    ] = 100_000,
    reload: Annotated[
        bool, typer.Option("--reload", help="Start a service anew when its code changes.")
    ] = False,
) -> ExitCode:
    """Run a trading session offline, on real PostgreSQL and Redis, and watch it.

    Example: trader demo --bars GOOG.csv --last 500 --exit --json
    """
    set_up_console()
    if os.environ.get(SETTING) == RuntimeName.COMPOSE:
        if bars is not None or last is not None or exit_when_done or as_json:
            raise InvalidInput(
                "in containers the demo is a generated market that goes on until make stop; "
                "leave out --bars, --last, --exit and --json, or RUNTIME=compose"
            )
        return _in_containers(speed or COMPOSE_SPEED, reload=reload)
    if last is not None and bars is None:
        raise InvalidInput("--last needs --bars FILE: a generated session is always one whole day")
    for name in (symbols or "").split(","):
        # A wrong one would be found when the servers are up, half a minute from now.
        if symbols is not None:
            parse_symbol(name.strip())
    if bars is not None:
        check_bars(bars, last=last, symbols=symbols)
    plan = ReplayPlan(
        bars=bars,
        last=last,
        speed=speed,
        symbols=symbols,
        seed=seed,
        cash=Decimal(cash),
        reload=reload,
    )
    return asyncio.run(_run(plan, exit_when_done=exit_when_done, as_json=as_json))


def _in_containers(speed: float, *, reload: bool) -> ExitCode:
    os.environ["SIMULATOR_SPEED"] = f"{speed:g}"
    if reload:
        os.environ["COMPOSE_FILE"] = f"docker-compose.yml{os.pathsep}docker-compose.dev.yml"
    runtime = ComposeRuntime(Instance.of_project(), demo=True)
    if (halted := sentence_of_halt(runtime.instance.halt_file)) is not None:
        _say(halted)
    runtime.require_ports((SIMULATOR, *SERVICES, DASHBOARD))
    for group in ((POSTGRES, REDIS), (SIMULATOR,), (*SERVICES, DASHBOARD)):
        runtime.start(group, _say)
    _say("trading at the simulator; RUNTIME=compose make status, stats, logs; make stop ends it")
    return ExitCode.OK


async def _run(plan: ReplayPlan, *, exit_when_done: bool, as_json: bool) -> ExitCode:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    instance = Instance.of_project()
    if (halted := sentence_of_halt(instance.halt_file)) is not None:
        _say(halted)
    async with open_replay(instance, plan, say=_say) as replay:
        # Whoever leaves at the end has nobody to look at it; the first bar does not wait for it either.
        dashboard = None if exit_when_done else asyncio.create_task(_open_dashboard(replay.stack))
        ended_early = await _until_done_or_told(replay, stop, show=not as_json)
        summary = await replay.summary()
        if as_json:
            print(json.dumps(_plain(asdict(summary))), flush=True)
        else:
            print_summary(summary)
        if not (exit_when_done or ended_early):
            _say(
                "the services stay up for you to look at (trader orders, trader positions, "
                f"{replay.stack.instance.url_of('dashboard')}); Ctrl-C stops everything"
            )
            await _first_of(stop.wait(), _until_gone(replay.stack))
        if dashboard is not None:
            await dashboard
        _say("stopping everything")
    return ExitCode.INTERRUPTED if ended_early else ExitCode.OK


async def _first_of(*works: Coroutine[Any, Any, object]) -> None:
    """Return when one of `works` has ended, with its failure; the others are given up."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _until_gone(stack: LocalStack) -> None:
    """Watch the supervisor; its programs may outlive it, but nobody would start them anew.

    Raises:
        ProgramFailed: it has gone.
    """
    timer = MonotonicTimer()
    while stack.runs:
        await timer.sleep(LOOK_EVERY_S)
    raise ProgramFailed("the supervisor of this demo was ended from outside; run make demo again")


async def _open_dashboard(stack: LocalStack) -> None:
    """Start the dashboard and say where it is; without it the demo goes on."""
    try:
        await asyncio.to_thread(stack.start_programs, [DASHBOARD])
    except (StackError, Misconfigured) as error:
        _say(f"there is no dashboard: {error}")
        return
    _say(
        f"dashboard: {stack.instance.url_of(DASHBOARD)} (log in with API_TOKEN_READ of .env to look, "
        "API_TOKEN_OPERATE to act)"
    )


async def _until_done_or_told(replay: Replay, stop: asyncio.Event, *, show: bool) -> bool:
    """Run to the end or until `stop`; True when it was stopped."""
    screen = Screen(replay, live=show and sys.stdout.isatty())
    ended = asyncio.Event()

    async def whole() -> None:
        await replay.run(after_step=screen.note)
        ended.set()

    async with screen:
        # A failure of the replay, or of what runs it, ends the demo with its own sentence.
        await _first_of(whole(), stop.wait(), _until_gone(replay.stack))
    return not ended.is_set()


def _plain(summary: dict[str, Any]) -> dict[str, Any]:
    """JSON values: money as exact text, instants in ISO 8601, seconds to the millisecond."""

    def value_of(value: Any) -> Any:
        match value:
            case Decimal():
                return plain(value)
            case datetime():
                return value.isoformat()
            case float():
                return round(value, 3)
        return value

    return {key: value_of(value) for key, value in summary.items()}


def _say(what: str) -> None:
    print(f"trader: {what}", file=sys.stderr, flush=True)
