"""Start, stop and look at the system of this project: up, down, restart, status, health, logs, config.

Thin: every question is answered by `trader.runtime`. With `--json` standard output holds one JSON
document and nothing else; words about what is being done go to standard error.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from shared.config import Settings, load_settings
from shared.domain.errors import Misconfigured, TradingError
from trader.commands.checking import clock_complaint
from trader.commands.live import REMARK_WITHIN_S, tell_running, told_anew, with_other_log_level
from trader.commands.service_api import ServiceApi
from trader.exits import ExitCode
from trader.halted import sentence_of_halt
from trader.runtime.clients import become
from trader.runtime.compose import ComposeRuntime
from trader.runtime.credentials import is_secret, refuse_cut
from trader.runtime.errors import AlreadyRunning, NotRunning
from trader.runtime.first_run import read_settings
from trader.runtime.instance import (
    DASHBOARD,
    POSTGRES,
    PROGRAMS,
    REDIS,
    SERVICES,
    Instance,
)
from trader.runtime.interface import Runtime, RuntimeName
from trader.runtime.local import LocalRuntime
from trader.runtime.logs import Follower, follow
from trader.runtime.places import home_in, project_folder, settings_file_of
from trader.runtime.ports import Ports
from trader.runtime.runtimes import runtime_of
from trader.runtime.stack import ORPHANED, why_not_ready
from trader.runtime.waiting import wait_until
from trader.settings_reference import reference

app = typer.Typer()
config_app = typer.Typer(
    help="Show or check the settings.\n\nExample: trader config show --origin",
    no_args_is_help=True,
)
app.add_typer(config_app, name="config")

MOST_LINES = 10_000
PLACEHOLDER = "your_"
# Without which the services do not start.
NEEDED = ("ALPACA_API_KEY", "ALPACA_SECRET_KEY", "TRADING_SYMBOLS")
SHORTEST_TOKEN = 24
# A service answers before it has compared all that it must; asked meanwhile, `health` waits for it.
YOUNG_S = 60
READY_WITHIN_S = 20.0

ServiceArgument = Annotated[
    str | None, typer.Argument(help=f"One of {', '.join(PROGRAMS)}; all if left out.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done, do nothing.")
]


@app.command()
def up(
    service: ServiceArgument = None, as_json: JsonOption = False, dry_run: DryRunOption = False
) -> None:
    """Start the system, or one service of it; what runs already is left alone.

    Example: trader up data_collector
    """
    instance = Instance.of_project()
    wanted = _chosen(instance, service)
    settings = load_settings(instance.settings)
    _refuse_placeholders(instance)
    _refuse_weak_tokens(instance)
    runtime = runtime_of(instance)
    refuse_beside_demo(runtime, service)
    if service in (None, "trade_executor") and not runtime.demo:
        settings.require("alpaca_api_key", "alpaca_secret_key")
    running = {each.name for each in runtime.status() if each.pid} if runtime.runs else set()
    missing = [name for name in wanted if name not in running]
    if missing and not dry_run:
        runtime.start(missing, _say)
        _say_clock(runtime, missing)
    _say_halted(instance)
    services = [name for name in (*SERVICES, DASHBOARD) if name in running and name in wanted]
    asked = ServiceApi(instance, answer_within_s=REMARK_WITHIN_S)
    if others := with_other_log_level(asked, services, settings.log_level):
        # Named with its value, which may stand in nobody's .env, as that of make debug.
        _say(
            f"trader: at another LOG_LEVEL: {', '.join(others)}; they take it over by LOG_LEVEL={settings.log_level} "
            '.venv/bin/trader config reload --reason "..."'
        )
    _result(
        {"started": missing, "already_running": sorted(running), "dry_run": dry_run},
        as_json,
        f"{'would start' if dry_run else 'started'}: {', '.join(missing) or 'nothing, all run already'}",
    )


@app.command()
def down(
    service: ServiceArgument = None, as_json: JsonOption = False, dry_run: DryRunOption = False
) -> None:
    """Stop the system, or one service of it. Protective orders stay at the broker.

    Example: trader down strategy_engine
    """
    runtime = _runtime_to_stop()
    running = [each.name for each in runtime.status() if each.pid]
    if service is not None:
        runtime.instance.port_of(service)
        if service not in running:
            raise NotRunning(f"{service} does not run")
        running = [service]
    if not dry_run:
        if service is None:
            runtime.stop_all()
        else:
            runtime.stop(running)
    _result(
        {"stopped": running, "dry_run": dry_run},
        as_json,
        f"{'would stop' if dry_run else 'stopped'}: {', '.join(running) or 'nothing, none ran'}",
    )


@app.command()
def restart(service: ServiceArgument = None, as_json: JsonOption = False) -> None:
    """Stop and start the system, or one service of it, with the settings read anew.

    Example: trader restart strategy_engine
    """
    instance = Instance.of_project()
    wanted = _chosen(instance, service)
    settings = load_settings(instance.settings)
    _refuse_placeholders(instance)
    _refuse_weak_tokens(instance)
    runtime = runtime_of(instance)
    refuse_beside_demo(runtime, service)
    if not runtime.demo:
        settings.require("alpaca_api_key", "alpaca_secret_key")
    if not runtime.runs:
        raise NotRunning("nothing runs here; start it with trader up")
    if service is None:
        runtime.stop_all()
        runtime.start(wanted, _say)
    else:
        runtime.stop([service])
        runtime.start([service], _say)
    _say_clock(runtime, wanted)
    _say_halted(instance)
    names = list(wanted) if service is None else [service]
    _result({"restarted": names}, as_json, f"restarted: {', '.join(names)}")


@app.command()
def status(as_json: JsonOption = False) -> None:
    """Show which programs run, since when, and on which ports.

    Example: trader status --json
    """
    instance = Instance.of_project()
    runtime = runtime_of(instance)
    states = runtime.status()
    if as_json:
        document = {"home": str(instance.home), "runtime": runtime.name.value}
        _result({**document, "programs": [asdict(each) for each in states]}, True)
        return
    print(f"runtime: {runtime.name.value}")
    table = Table("program", "state", "pid", "up", "port")
    for each in states:
        table.add_row(
            each.name, each.state, str(each.pid or "-"), _duration(each.up_s), str(each.port)
        )
    Console().print(table)


@app.command()
def health(as_json: JsonOption = False) -> None:
    """Ask every running program whether it is alive and ready; exit code 1 when one is not.

    What was started within the last minute is given up to 20 seconds to get ready.

    Example: trader health
    """
    runtime = runtime_of(Instance.of_project())
    found: list[dict[str, str | bool]] = []

    def is_well() -> bool:
        found[:] = _health(runtime)
        expected = [each for each in found if each["state"] != "STOPPED"]
        return bool(expected) and all(
            each["ready"] and each["state"] != ORPHANED for each in expected
        )

    is_young = any(each.pid and each.up_s < YOUNG_S for each in runtime.status())
    well = wait_until(is_well, READY_WITHIN_S if is_young else 0)
    if as_json:
        _result({"healthy": well, "programs": found}, True)
    else:
        table = Table("program", "state", "alive", "ready", "why not")
        for row in found:
            table.add_row(*(_cell(value) for value in row.values()))
        Console().print(table)
    if not well:
        raise typer.Exit(ExitCode.ERROR)


def _health(runtime: Runtime) -> list[dict[str, str | bool]]:
    token = runtime.instance.settings["API_TOKEN_READ"]
    found: list[dict[str, str | bool]] = []
    for each in runtime.status():
        alive = each.pid != 0 and runtime.answers(each.name)
        why = ""
        if alive and each.name in (*SERVICES, DASHBOARD):
            why = why_not_ready(each.port, token)
        if each.state == ORPHANED:
            why = why or "its supervisor was killed: make stop, then make start"
        row: dict[str, str | bool] = {"program": each.name, "state": each.state}
        found.append(row | {"alive": alive, "ready": alive and not why, "why": why})
    return found


@app.command()
def logs(
    service: ServiceArgument = None,
    following: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")
    ] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, max=MOST_LINES, help="Last lines per program.")
    ] = 50,
    as_json: JsonOption = False,
) -> None:
    """Show what the programs say: as people read it, or with --json one JSON object per line.

    Example: trader logs trade_executor -f
    """
    instance = Instance.of_project()
    runtime = runtime_of(instance)
    if isinstance(runtime, ComposeRuntime) and not as_json:
        names = () if service is None else (service,)
        become(runtime.logs(names, lines, following=following))
    files = _log_files(instance, service, structured=as_json)
    if not any(file.path.exists() for file in files):
        raise NotRunning("nothing has been logged yet; start the system with trader up")
    several = len(files) > 1
    for file in files:
        for line in file.last(lines):
            _print_line(file.name, line, several)
    if following:
        for name, line in follow(files):
            _print_line(name, line, several)


@config_app.command("show")
def show(
    origin: Annotated[
        bool, typer.Option("--origin", help="Say where each value comes from.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show every setting; secrets only as set or not set.

    Example: trader config show --origin
    """
    instance = Instance.of_project()
    settings = load_settings(instance.settings)
    stored = read_settings(settings_file_of(project_folder(), instance.home))
    rows = [_shown(key.upper(), value, instance, stored) for key, value in settings]
    if as_json:
        _result({"settings": [row if origin else _without_origin(row) for row in rows]}, True)
        return
    table = Table("setting", "value", *(["origin"] if origin else []))
    for row in rows:
        table.add_row(row["setting"], row["value"], *([row["origin"]] if origin else []))
    Console().print(table)


@config_app.command("validate")
def validate(as_json: JsonOption = False) -> None:
    """Check every setting without starting anything; exit code 4 when one is wrong or missing.

    Example: trader config validate
    """
    instance = Instance.of_project()
    complaints: list[str] = []

    def look(check: Callable[[], object]) -> None:
        try:
            check()
        except TradingError as error:
            complaints.append(str(error))

    # All that is wrong is named at once: mending one thing only to hear of the next is tiresome.
    look(lambda: load_settings(instance.settings))
    can_be_read = not complaints
    look(lambda: _refuse_placeholders(instance))
    look(lambda: _refuse_weak_tokens(instance))
    look(lambda: refuse_cut(instance.settings))
    look(lambda: _refuse_missing(instance))
    if can_be_read:
        look(lambda: _refuse_strategy(load_settings(instance.settings)))
    if complaints:
        raise Misconfigured("; ".join(complaints))
    _result({"valid": True}, as_json, "the settings are complete and agree with each other")


@config_app.command("reference")
def write_reference(
    out: Annotated[
        Path | None, typer.Option(help="Where to; default: docs/settings.md of the project.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the page about all settings, with defaults, bounds and meaning.

    Example: trader config reference
    """
    file = out or project_folder() / "docs" / "settings.md"
    try:
        file.write_text(reference(), encoding="utf-8")
    except OSError as error:
        raise Misconfigured(
            f"{file} cannot be written: {error.strerror}; choose another with --out"
        ) from None
    _result({"file": str(file)}, as_json, f"wrote {file}")


@config_app.command("reload")
def reload(
    reason: Annotated[str, typer.Option(help="Why, for the log.")], as_json: JsonOption = False
) -> None:
    """Let running services take over what of the settings may change while they run, e.g. LOG_LEVEL.

    Maintenance that `trader maintenance on` began goes on, unless API_READ_ONLY stands in .env.

    Example: trader config reload --reason "quiet nights from now on"
    """
    instance = Instance.of_project()
    load_settings(instance.settings)
    told = tell_running(instance, told_anew(instance.settings), reason)
    changed = sorted({name for names in told.values() for name in names})
    words = f"{len(told)} services asked; changed: {', '.join(changed) or 'nothing'}"
    _result({"services": told, "changed": changed}, as_json, f"{words}. Others need trader restart")


def _runtime_to_stop() -> Runtime:
    """The runtime in force; a local stack is found also where the settings cannot be read.

    Who wants trading stopped need not mend them first.
    """
    try:
        return runtime_of(Instance.of_project())
    except Misconfigured as error:
        local = LocalRuntime(Instance(project_folder(), home_in(os.environ), Ports(), {}))
        try:
            local.status()
        except NotRunning:
            raise error from None
        _say(f"trader: {error}; what runs here is stopped all the same")
        return local


def _chosen(instance: Instance, service: str | None) -> Sequence[str]:
    if service is None:
        return (POSTGRES, REDIS, *SERVICES, DASHBOARD)
    instance.port_of(service)
    return tuple(dict.fromkeys((POSTGRES, REDIS, service)))


def refuse_beside_demo(runtime: Runtime, service: str | None) -> None:
    """A demo's services are told of the simulator; started anew they would be told of the person's account.

    In containers one service alone is told the same again.
    """
    if runtime.demo and (service is None or runtime.name is RuntimeName.LOCAL):
        raise AlreadyRunning(
            "the demo runs here and trades at the simulator; end it with make stop (or Ctrl-C where "
            "it runs), then start anew"
        )


def _refuse_missing(instance: Instance) -> None:
    missing = [name for name in NEEDED if not instance.settings.get(name)]
    if missing:
        raise Misconfigured(
            f"missing setting {', '.join(missing)}: set it in .env (see .env.example), "
            "or run `make demo`, which needs none"
        )


def _refuse_strategy(settings: Settings) -> None:
    """Raise what the strategy engine would say of STRATEGY_NAME and STRATEGY_PARAMS when it starts."""
    from strategy_engine.catalogue import discover
    from strategy_engine.choosing import chosen_strategy

    chosen_strategy(settings, discover())


def _say_clock(runtime: Runtime, started: Sequence[str]) -> None:
    # The executor holds entries by itself then; whoever starts it should not learn that from a missing order.
    executes = "trade_executor" in started and not runtime.demo
    if executes and (complaint := clock_complaint(runtime.instance)) is not None:
        _say(f"trader: {complaint}")


def _say_halted(instance: Instance) -> None:
    if (halted := sentence_of_halt(instance.halt_file)) is not None:
        _say(f"trader: {halted}")


def _refuse_placeholders(instance: Instance) -> None:
    kept = [
        key
        for key, value in sorted(instance.settings.items())
        if is_secret(key) and value.startswith(PLACEHOLDER)
    ]
    if kept:
        raise Misconfigured(
            f"{', '.join(kept)} still holds the example's placeholder; "
            "put your own value into .env, or remove the line"
        )


def _refuse_weak_tokens(instance: Instance) -> None:
    weak = [
        key
        for key, value in sorted(instance.settings.items())
        if key.startswith("API_TOKEN_") and 0 < len(value) < SHORTEST_TOKEN
    ]
    if weak:
        raise Misconfigured(
            f"{', '.join(weak)} can be guessed: it has fewer than {SHORTEST_TOKEN} characters; "
            "remove the line from .env, and make setup makes a good one"
        )


def _shown(key: str, value: object, instance: Instance, stored: dict[str, str]) -> dict[str, str]:
    if key not in instance.settings:
        origin = "default"
    else:
        origin = ".env" if stored.get(key) == instance.settings[key] else "environment"
    if is_secret(key):
        text = "not set" if value is None else "set"
    elif isinstance(value, tuple):
        # Pairs as they are written in .env: name=value.
        text = ",".join(
            "=".join(map(str, each)) if isinstance(each, tuple) else str(each) for each in value
        )
    else:
        text = "" if value is None else str(value)
    return {"setting": key, "value": text, "origin": origin}


def _without_origin(row: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in row.items() if key != "origin"}


def _log_files(instance: Instance, service: str | None, *, structured: bool) -> list[Follower]:
    if service is not None:
        instance.port_of(service)
    if not structured:
        names = PROGRAMS if service is None else (service,)
        return [Follower(name, instance.logs / f"{name}.out.log") for name in names]
    name = "trading_system" if service is None else service
    return [Follower(name, instance.logs / f"{name}.log")]


def _print_line(name: str, line: str, several: bool) -> None:
    print(f"{name:>15} | {line}" if several else line, flush=True)


def _cell(value: str | bool) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value


def _duration(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _result(document: dict[str, Any], as_json: bool, words: str = "") -> None:
    print(json.dumps(document, sort_keys=True) if as_json else words)
