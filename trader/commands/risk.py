"""What the risk manager wrote down about a day, and whom it has stopped: `trader risk report, throttles, enable`."""

import json
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from shared.domain.errors import InvalidInput
from shared.domain.symbols import parse_symbol
from trader.commands.listing import cell
from trader.commands.service_api import ServiceApi, Token, harmless, items
from trader.runtime.errors import NotFound, StackError
from trader.runtime.instance import Instance

app = typer.Typer()
risk_app = typer.Typer(no_args_is_help=True)
app.add_typer(risk_app, name="risk")

RISK = "risk_manager"


# Without it a group of one command would be that command.
@risk_app.callback()
def _overview() -> None:
    """Show what was at risk, and let a strategy go on that was stopped.

    Example: trader risk report 2026-03-02
    """


@risk_app.command("report")
def report(
    on: Annotated[
        str | None, typer.Argument(metavar="[DAY]", help="Exchange day; default: the newest.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show the risk report of a day: result, drawdown, exposure, refusals, what was changed and by whom.

    Example: trader risk report 2026-03-02 --json
    """
    api = ServiceApi(Instance.of_project())
    if on is None:
        found = items(api.get(RISK, "/risk/reports", {"limit": 1}), "risk manager")
        if not found:
            raise NotFound(
                "no risk report is there yet; one is written five minutes after each close"
            )
        said: Mapping[str, Any] = found[0]
    else:
        said = api.get(RISK, f"/risk/reports/{_day(on)}")
    if as_json:
        print(json.dumps(said, sort_keys=True))
        return
    document = said.get("report")
    if not isinstance(document, dict):
        raise StackError(
            "the risk manager gave a report that cannot be read; is it another version?"
        )
    _show(document)


@risk_app.command("throttles")
def throttles(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show which strategies were stopped in a symbol because they repeated themselves.

    Example: trader risk throttles
    """
    found = _throttles(ServiceApi(Instance.of_project()))
    if as_json:
        print(json.dumps({"items": found}, sort_keys=True))
        return
    if not found:
        print("no strategy was ever stopped")
        return
    names = ("strategy", "symbol", "is_stopped", "version", "changed_at", "actor", "reason")
    table = Table(*names)
    for each in found:
        table.add_row(*(cell(each.get(name)) for name in names))
    Console().print(table)


@risk_app.command("enable")
def enable(
    strategy: Annotated[str, typer.Argument(help="The strategy's name.")],
    symbol: Annotated[str, typer.Argument(help="The symbol, e.g. AAPL.")],
    reason: Annotated[str, typer.Option(help="Why it may go on; it is stored.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, do nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Let a strategy that repeated itself buy a symbol again.

    Example: trader risk enable moving_average AAPL --reason "the feed was mended"
    """
    api, wanted = ServiceApi(Instance.of_project()), parse_symbol(symbol.upper())
    stopped = next(
        (
            each
            for each in _throttles(api)
            if each.get("is_stopped") and (each["strategy"], each["symbol"]) == (strategy, wanted)
        ),
        None,
    )
    if stopped is None:
        raise NotFound(f"{strategy} is not stopped in {wanted}; see `trader risk throttles`")
    said = stopped
    if not dry_run:
        body = {
            "strategy": strategy,
            "symbol": wanted,
            "version": stopped["version"],
            "reason": reason,
        }
        said = api.post(RISK, "/risk/throttles/enable", body, Token.OPERATE)
    if as_json:
        print(json.dumps({"dry_run": dry_run, **said}, sort_keys=True))
    else:
        does = "would be" if dry_run else "is"
        print(f"{harmless(strategy)} {does} enabled in {wanted}; stopped: {said['is_stopped']}")


def _throttles(api: ServiceApi) -> list[dict[str, Any]]:
    return [dict(each) for each in items(api.get(RISK, "/risk/throttles"), "risk manager")]


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise InvalidInput(f"{text[:40]!r} is no day; write it like 2026-03-02") from None


def _show(document: Mapping[str, Any]) -> None:
    table = Table(
        "figure", "value", title=f"risk on {harmless(str(document.get('on')))}", show_header=False
    )
    for name, value in document.items():
        if isinstance(value, dict):
            for each, figure in value.items():
                if not isinstance(figure, dict | list):
                    table.add_row(cell(f"{name} {each}"), cell(figure))
        elif isinstance(value, list):
            for each in value:
                table.add_row(cell(name), cell(each))
        else:
            table.add_row(cell(name), cell(value))
    Console().print(table)
