"""Begin, list, show and switch strategies: `trader strategy new|list|show|off|on`.

Nothing that runs is needed: strategies are found where they lie, the user's own beside the shipped ones. How they fare the
strategy engine says, while it runs. With `--json` standard output holds one JSON document and nothing else.
"""

import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from shared.domain.errors import InvalidInput, Misconfigured
from trader.commands.targets import document_alone
from trader.runtime.errors import NotFound, StackError

if TYPE_CHECKING:  # the command line's help needs none of the machinery
    from strategy_engine.catalogue import Catalogue
    from strategy_engine.strategy import Strategy

app = typer.Typer()
commands = typer.Typer(
    help="Begin, list and show strategies.\n\nExample: trader strategy show moving_average",
    no_args_is_help=True,
)
app.add_typer(commands, name="strategy")
commands.callback()(lambda: None)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
FolderOption = Annotated[
    Path | None, typer.Option(help="Where your own strategies lie; default: the project's folder.")
]
NameArgument = Annotated[str, typer.Argument(help="A strategy's name, e.g. moving_average.")]


# What is said of a strategy that the engine says nothing of.
_UNKNOWN: dict[str, Any] = {"state": None, "failures": 0, "last_error": None, "last_run": None}


@commands.command()
def new(
    name: Annotated[str, typer.Argument(help="What to call it, e.g. my_breakout.")],
    folder: FolderOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be written, write nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a strategy that works as it stands, and its test, into your own folder.

    Example: trader strategy new my_breakout
    """
    from strategy_engine.catalogue import USER_FOLDER
    from strategy_engine.skeleton import skeleton

    folder = folder or USER_FOLDER
    source, test = skeleton(name)
    catalogue = _catalogue(folder)
    if name in catalogue.strategies:
        place = inspect.getsourcefile(catalogue.strategies[name])
        raise InvalidInput(f"there is a strategy {name} already, in {place}; choose another name")
    files = {folder / f"{name}.py": source, folder / "tests" / f"test_{name}.py": test}
    for path in files:
        if path.exists():
            raise InvalidInput(f"{path} exists already; choose another name, or move it away")
    if not dry_run:
        try:
            for path, text in files.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("x", encoding="utf-8") as file:
                    file.write(text)
        except OSError as error:
            raise InvalidInput(f"{folder} cannot be written to: {error.strerror}") from error
    if as_json:
        print(json.dumps({"written": not dry_run, "files": [str(path) for path in files]}))
        return
    for path in files:
        print(f"{'would write' if dry_run else 'wrote'} {path}")
    if not dry_run:
        print(f"next: trader strategy show {name}, then trader check lookahead {name}")


@commands.command("list")
def list_all(folder: FolderOption = None, as_json: JsonOption = False) -> None:
    """Show all strategies, how those that run fare, and files that hold none because something is wrong.

    State (on, off, or available) and last run are the strategy engine's; while it does not run nobody knows them.

    Example: trader strategy list
    """
    catalogue = _catalogue(folder)
    runs, unknown = _runs() if folder is None else ({}, "they lie in another folder")
    described = [
        {**_described(kind()), **runs.get(name, _UNKNOWN)}
        for name, kind in catalogue.strategies.items()
    ]
    if as_json:
        print(json.dumps({"items": described, "broken": dict(catalogue.broken)}))
        return
    from rich.console import Console

    from trader.commands.listing import Shown, cell, field, figure, listing, time_of
    from trader.commands.service_api import harmless

    columns = [field("strategy", "name")]
    if runs:
        ran_at = time_of("instant_at").cell
        columns += [
            field("state", "state"),
            Shown("last run", lambda row: ran_at(row["last_run"] or {})),
            Shown("signals", lambda row: cell((row["last_run"] or {}).get("signals")), True),
        ]
    columns += [figure("needs", "bars_needed"), field("what it does", "about")]
    console = Console(highlight=False)
    console.print(listing(described, tuple(columns)))
    for item in described:
        if item["last_error"]:
            console.print(f"failed: {item['name']}: {harmless(item['last_error'])}", markup=False)
    if unknown:
        console.print(f"state and last run are not known: {unknown}", markup=False)
    for where, why in catalogue.broken.items():
        console.print(f"broken: {where}: {why}", markup=False)


@commands.command()
def off(
    name: NameArgument,
    reason: Annotated[str, typer.Option(help="Why, for the record.")],
    as_json: JsonOption = False,
) -> None:
    """Turn a strategy off while the engine runs: it wishes for nothing more; its stops stay at the broker.

    Example: trader strategy off moving_average --reason "earnings week"
    """
    _switch(
        name, "pause", reason, as_json, f"{name} is off; turn it on with trader strategy on {name}"
    )


@commands.command()
def on(
    name: NameArgument,
    reason: Annotated[str, typer.Option(help="Why, for the record.")],
    as_json: JsonOption = False,
) -> None:
    """Turn a strategy on again that is off, because it kept failing or because somebody said so.

    Example: trader strategy on moving_average --reason "earnings are out"
    """
    _switch(name, "resume", reason, as_json, f"{name} is on again from the next bars on")


def _switch(name: str, verb: str, reason: str, as_json: bool, words: str) -> None:
    from trader.commands.service_api import ServiceApi, Token
    from trader.runtime.instance import Instance

    path = f"/strategies/{quote(name, safe='')}/{verb}"
    api = ServiceApi(Instance.of_project())
    said = api.post("strategy_engine", path, {"reason": reason}, Token.OPERATE)
    print(json.dumps(said, sort_keys=True) if as_json else words)


def _runs() -> tuple[dict[str, dict[str, Any]], str]:
    """State, last run and last error of each strategy as the engine tells, or why it does not."""
    from trader.commands.service_api import ServiceApi, items
    from trader.runtime.instance import Instance

    try:
        answer = ServiceApi(Instance.of_project()).get("strategy_engine", "/strategies")
        told = items(answer, "strategy engine")
    except (StackError, Misconfigured) as error:
        return {}, str(error)
    return {str(row.get("name")): {key: row.get(key) for key in _UNKNOWN} for row in told}, ""


@commands.command()
def show(name: NameArgument, folder: FolderOption = None, as_json: JsonOption = False) -> None:
    """Show a strategy's parameters with their bounds, what its SELL means, and where it lies.

    Example: trader strategy show rsi_reversion --json
    """
    from strategy_engine.parameters import UnknownName

    catalogue = _catalogue(folder)
    try:
        kind = catalogue.find(name)
    except UnknownName as error:
        raise NotFound(str(error)) from None
    item = _described(kind())
    if as_json:
        print(json.dumps(item))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console.print(f"{item['name']}: {item['about']}", markup=False)
    console.print(f"a SELL {item['sell_means']}", markup=False)
    console.print(
        f"needs {item['bars_needed']} bars of a symbol; lies in {item['file']}", markup=False
    )
    table = Table("parameter", "default", "from", "to", "meaning", box=None, padding=(0, 2, 0, 0))
    for parameter in item["parameters"]:
        bounds = (
            "" if parameter[end] is None else f"{parameter[end]:g}" for end in ("low", "high")
        )
        table.add_row(parameter["name"], str(parameter["default"]), *bounds, parameter["about"])
    console.print(table)


def _catalogue(folder: Path | None) -> "Catalogue":
    from strategy_engine.catalogue import USER_FOLDER, discover

    # What a file prints when it is imported belongs to no answer of ours.
    with document_alone(True):
        return discover(folder or USER_FOLDER)


def _described(strategy: "Strategy") -> dict[str, Any]:
    """Everything about `strategy`, as it is without being told otherwise."""
    return {
        "name": strategy.name,
        "about": (type(strategy).__doc__ or "").strip().partition("\n")[0],
        "sell_means": strategy.sell_means,
        "bars_needed": strategy.bars_needed,
        "file": inspect.getsourcefile(type(strategy)),
        "parameters": [
            {
                "name": name,
                "type": parameter.kind.__name__,
                "default": parameter.default,
                "low": parameter.low,
                "high": parameter.high,
                "about": parameter.about,
            }
            for name, parameter in strategy.parameters.items()
        ],
    }
