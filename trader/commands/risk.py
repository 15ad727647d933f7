"""What the risk manager wrote down about a day: `trader risk report`."""

import json
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from shared.domain.errors import InvalidInput
from trader.commands.listing import cell
from trader.commands.service_api import ServiceApi, harmless, items
from trader.runtime.errors import NotFound, StackError
from trader.runtime.instance import Instance

app = typer.Typer()
risk_app = typer.Typer(no_args_is_help=True)
app.add_typer(risk_app, name="risk")

RISK = "risk_manager"


# Without it a group of one command would be that command.
@risk_app.callback()
def _overview() -> None:
    """Show what was at risk.

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
