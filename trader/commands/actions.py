"""Splits and dividends, which are applied to stored prices when they are read: actions import, list.

Thin: `shared.adapters` reads and stores them, `shared.domain.corporate_actions` says what they do.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from shared.adapters.action_files import read_actions
from shared.adapters.bar_files import find_files
from shared.adapters.clocks import WallClock
from shared.domain.corporate_actions import CorporateAction, Split
from shared.domain.money import plain
from shared.domain.symbols import parse_symbol
from trader.commands.data import AccountOption, JsonOption, stored_bars
from trader.commands.listing import cell
from trader.runtime.instance import Instance

app = typer.Typer()
actions_app = typer.Typer(
    help="Import and list splits and dividends.\n\nExample: trader actions list AAPL",
    no_args_is_help=True,
)
app.add_typer(actions_app, name="actions")


@actions_app.command("import")
def import_actions(
    files: Annotated[list[Path], typer.Argument(help="CSV or Parquet files or folders.")],
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring splits and dividends of files into the store: a date (the ex-date), and a split (7:1), a dividend, or both.

    What was imported last counts for its day, so a file also corrects what a provider told; `none` takes it back.

    Example: trader actions import splits.csv
    """
    actions = [action for path in find_files(files) for action in read_actions(path)]
    store = stored_bars(Instance.of_project(), account).actions
    new = store.put(actions, provider="file", fetched_at=WallClock().now())
    if as_json:
        print(json.dumps({"read": len(actions), "stored": new}))
    else:
        print(f"{len(actions)} splits and dividends read, {new} new or revised")


@actions_app.command("list")
def list_actions(
    symbols: Annotated[
        list[str] | None, typer.Argument(help="Symbols, e.g. AAPL MSFT; all if left out.")
    ] = None,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the splits and dividends that are applied when prices are read.

    Example: trader actions list AAPL
    """
    wanted = [parse_symbol(name.upper()) for name in symbols or ()]
    found = stored_bars(Instance.of_project(), account).actions.actions(wanted or None)
    rows = [_plain(action) for action in found]
    if as_json:
        print(json.dumps({"items": rows}))
    elif not rows:
        print("none are known; bring some in with `trader actions import`")
    else:
        table = Table("symbol", "ex-date", "kind", "value")
        for row in rows:
            table.add_row(*(cell(row[name]) for name in row))
        Console().print(table)


def _plain(action: CorporateAction) -> dict[str, Any]:
    is_split = isinstance(action, Split)
    value = (
        f"{plain(action.new_rate)}:{plain(action.old_rate)}"
        if isinstance(action, Split)
        else plain(action.amount)
    )
    return {
        "symbol": action.symbol,
        "ex_on": action.ex_on.isoformat(),
        "kind": "split" if is_split else "cash_dividend",
        "value": value,
    }
