"""Read about a trading day: `trader report`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from shared.domain.errors import InvalidInput
from trader.commands.service_api import ServiceApi
from trader.runtime.errors import NotFound
from trader.runtime.instance import Instance

app = typer.Typer()


@app.command()
def report(
    on: Annotated[
        str | None, typer.Option(help="The exchange day, e.g. 2026-01-05; default: the latest.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write the report as one HTML page to this file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show a day's result, risk, costs, exceptions and the decisions worth reading.

    Example: trader report --on 2026-01-05 --html report.html
    """
    services = ServiceApi(Instance.of_project())
    day = on or _latest(services)
    said = services.get("scheduler", f"/reports/{day}")
    if html is not None:
        try:
            html.write_text(str(said["html"]), encoding="utf-8")
        except OSError as error:
            raise InvalidInput(f"{html} cannot be written: {error.strerror}") from error
    if as_json:
        print(json.dumps(said))
    elif html is None:
        print(said["text"], end="")


def _latest(services: ServiceApi) -> str:
    """The newest day that was traded.

    Raises:
        NotFound: there is none yet.
    """
    marks = services.get("risk_manager", "/risk/decisions", {"limit": 1}).get("items", [])
    if not marks:
        raise NotFound("nothing has been decided yet; name a day with --on")
    return str(marks[0]["decided_at"])[:10]
