"""Keep what must not be lost, and put it back: `trader backup`, `trader restore`.

After a restored database nothing is sent before a person has looked: the halt file stands until `trader
resume`, and the executor compares its books with the broker's when it starts.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from trader.commands.asking import YesOption, confirm
from trader.commands.database import refuse_while_services_run
from trader.runtime import backups, restoring
from trader.runtime.instance import Instance
from trader.runtime.interface import Runtime
from trader.runtime.runtimes import runtime_of

app = typer.Typer()

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
THEN = (
    "make start (the books are compared with the broker), look at trader orders and trader positions, then "
    'trader resume --reason "restored"'
)


@app.command()
def backup(
    data: Annotated[
        bool, typer.Option("--data", help="Market data and settings instead of the database.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a backup below data/backups, readable by you alone; old ones beyond the setting go.

    Example: trader backup --data
    """
    instance = Instance.of_project()
    if data:
        kept = backups.back_up_data(instance, _say)
    else:
        runtime = runtime_of(instance)
        with runtime.database(_say):
            kept = backups.back_up_database(runtime, _say)
    document = {"file": str(kept), "bytes": kept.stat().st_size}
    _result(document, as_json, f"{kept} ({kept.stat().st_size:,} bytes)")


@app.command()
def restore(
    file: Annotated[
        Path | None, typer.Argument(help="The backup; left out: the newest of the database.")
    ] = None,
    drill: Annotated[
        bool,
        typer.Option("--drill", help="Only prove that it restores; what is in use stays."),
    ] = False,
    back: Annotated[
        bool,
        typer.Option("--back", help="Take what the last restore of a database replaced into use."),
    ] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Put a backup back, of the database or of market data, after comparing every table with it.

    Example: trader restore --drill
    """
    instance = Instance.of_project()
    runtime = runtime_of(instance)
    if back:
        _put_back(runtime, yes, as_json)
        return
    chosen = file or backups.newest(instance, backups.DATABASE_KIND)
    kind = backups.kind_of(chosen)
    if kind == backups.DATA_KIND:
        refuse_while_services_run(runtime)
        confirm(f"market data is replaced by what {chosen.name} holds", yes)
        settings = restoring.restore_data(instance, chosen, _say)
        words = (
            f"market data is back; the settings of the backup are in {settings}: compare them with "
            ".env and take over what you want"
        )
        _result({"file": str(chosen), "settings": str(settings)}, as_json, words)
        return
    if not drill:
        refuse_while_services_run(runtime)
        confirm(
            f"the database is replaced by what {chosen.name} holds; what is in use is kept in the place of what an earlier "
            "restore had kept, which goes, unless nothing was booked since that",
            yes,
        )
    with runtime.database(_say):
        # On a new machine there are none yet, and what is restored belongs to them.
        runtime.make_roles()
        if drill:
            tables = restoring.drill(runtime, chosen, _say)
        else:
            tables = restoring.restore_database(runtime, chosen, _say)
    rows = sum(found.rows for found in tables.values())
    document = {"file": str(chosen), "tables": len(tables), "rows": rows, "drill": drill}
    if drill:
        words = f"{chosen.name} restores: {len(tables)} tables, {rows} rows, every hash as written"
    else:
        words = (
            f"restored {len(tables)} tables, {rows} rows, every hash as written. Trading is halted: "
            f"{THEN}. What was in use is kept until the next restore (or, where nothing was booked in it since it was "
            "restored, what that had replaced): make restore ARGS=--back"
        )
    _result(document, as_json, words)


def _put_back(runtime: Runtime, yes: bool, as_json: bool) -> None:
    refuse_while_services_run(runtime)
    confirm("the database is replaced by what the last restore had replaced", yes)
    with runtime.database(_say):
        runtime.make_roles()
        restoring.put_back(runtime, _say)
    words = (
        "what the last restore had replaced is in use again, and what was in use is kept in its place. "
        f"Trading is halted: {THEN}"
    )
    _result({"back": True}, as_json, words)


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _result(document: dict[str, Any], as_json: bool, words: str) -> None:
    print(json.dumps(document, sort_keys=True) if as_json else words)
