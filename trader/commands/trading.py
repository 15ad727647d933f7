"""Look at trading and stop it: orders, positions, signals, halt, resume, flatten.

Thin: the services hold the truth and the rules; these commands ask them. With `--json` standard output holds one
JSON document and nothing else.
"""

import json
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from shared.adapters.halt_file import HaltFile
from shared.domain.errors import InvalidInput
from shared.domain.symbols import parse_symbol
from trader.commands.asking import confirm
from trader.commands.listing import (
    Shown,
    cell,
    field,
    figure,
    listing,
    money,
    order_phrase,
    price,
    progress,
    ratio,
    time_of,
)
from trader.commands.service_api import ServiceApi, Token, harmless, items
from trader.halted import halt_of
from trader.runtime.errors import StackError
from trader.runtime.instance import Instance

app = typer.Typer()

EXECUTOR, RISK, STRATEGIES = "trade_executor", "risk_manager", "strategy_engine"

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
LimitOption = Annotated[int, typer.Option("--limit", "-n", min=1, max=500, help="At most so many.")]
SymbolOption = Annotated[str | None, typer.Option(help="Only this symbol, e.g. AAPL.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done, do nothing.")
]
ReasonOption = Annotated[str, typer.Option(help="Why; it is stored with the change.")]
ORDER_COLUMNS = (
    time_of("created_at"),
    field("symbol", "symbol"),
    order_phrase(),
    progress("state"),
    field("id", "client_order_id"),
)
# What the broker has of one order: the one sent, and its legs.
BROKER_ORDER_COLUMNS = (
    time_of("updated_at"),
    order_phrase(),
    progress("status"),
    field("broker's id", "broker_order_id"),
)
FILL_COLUMNS = (
    time_of("executed_at"),
    order_phrase("fill"),
    price("price", "price"),
    money("fee", "fee"),
    field("id", "execution_id"),
)
POSITION_COLUMNS = (
    field("symbol", "symbol"),
    figure("held", "quantity"),
    price("average", "average_price"),
    price("last", "last_price"),
    money("worth", "market_value"),
    money("unrealised", "unrealised_pnl"),
    money("realised", "realised_pnl"),
)
EXIT_COLUMNS = (
    field("symbol", "symbol"),
    order_phrase(),
    field("outcome", "outcome"),
    time_of("act_from", "not before"),
    field("reason", "reason"),
)
SIGNAL_COLUMNS = (
    time_of("bar_end_at"),
    field("symbol", "symbol"),
    field("wish", "direction"),
    ratio("conviction", "conviction"),
    price("price", "reference_price"),
    field("reason", "reason"),
)


@app.command()
def orders(
    order_id: Annotated[
        str | None,
        typer.Argument(help="Show this one: our id, the client order id or the broker's."),
    ] = None,
    symbol: SymbolOption = None,
    status: Annotated[
        str | None, typer.Option(help="Only orders in this status, e.g. filled.")
    ] = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List orders, newest first, or show one with its fills.

    Example: trader orders --symbol AAPL --limit 10
    """
    api = ServiceApi(Instance.of_project())
    if order_id is not None:
        if symbol is not None or status is not None:
            raise InvalidInput("an order id names one order; leave out --symbol and --status")
        _one(api.get(EXECUTOR, f"/orders/{_path_part(order_id)}"), as_json)
        return
    query: dict[str, str | int] = {"limit": limit, **_symbol_query(symbol)}
    if status is not None:
        query["status"] = status
    _list(api.get(EXECUTOR, "/orders", query), ORDER_COLUMNS, as_json, EXECUTOR, "no orders")


@app.command()
def positions(as_json: JsonOption = False) -> None:
    """List what is held, with what it is worth where a price is known.

    Example: trader positions --json
    """
    api = ServiceApi(Instance.of_project())
    said = api.get(EXECUTOR, "/positions")
    _list(said, POSITION_COLUMNS, as_json, EXECUTOR, "no positions")


@app.command()
def signals(
    symbol: SymbolOption = None, limit: LimitOption = 50, as_json: JsonOption = False
) -> None:
    """List what the strategies wished for, newest first.

    Example: trader signals --symbol AAPL
    """
    api = ServiceApi(Instance.of_project())
    said = api.get(STRATEGIES, "/signals", {"limit": limit, **_symbol_query(symbol)})
    _list(said, SIGNAL_COLUMNS, as_json, STRATEGIES, "no signals yet")


@app.command()
def halt(
    reason: ReasonOption = "asked for on the command line",
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Stop all trading now: no order leaves until somebody resumes. Entries still open at the broker are cancelled.

    Example: trader halt --reason "odd prices in GOOG"
    """
    api = ServiceApi(Instance.of_project())
    if dry_run:
        before = api.get(RISK, "/risk/mode")
        _changed({"dry_run": True, "mode": before.get("mode"), "would_become": "HALTED"}, as_json)
        return
    after = api.post(RISK, "/risk/halt", {"reason": reason}, Token.KILL)
    _changed({"dry_run": False, **after}, as_json)


@app.command()
def resume(
    reason: ReasonOption,
    exits_only: Annotated[
        bool, typer.Option("--exits-only", help="Let exits leave again, and no entry.")
    ] = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Let trading go on after a halt or a kill. The reason is required and stored.

    Example: trader resume --reason "the feed is right again, checked by Ann"
    """
    wanted = "REDUCING" if exits_only else "ACTIVE"
    instance = Instance.of_project()
    api = ServiceApi(instance)
    before = api.get(RISK, "/risk/mode")
    version = before.get("version")
    if not isinstance(version, int):
        raise StackError("the risk manager names no version of its mode; is it another version?")
    switch = HaltFile(instance.halt_file)
    # Where it came from is said when it ends, since it may have been left by another account of this home.
    ended = halt_of(switch.path)
    if ended is not None and before.get("mode") != "HALTED":
        raise StackError(
            f"{switch.path} halts and the risk manager has not recorded it yet ({ended}); try again in a moment"
        )
    lifted = {} if ended is None else {"lifted": ended}
    if dry_run:
        seen = {"dry_run": True, "mode": before.get("mode"), "would_become": wanted}
        _changed({**seen, **lifted}, as_json)
        return
    # Before the mode: should the call fail, the stored mode still holds everything back.
    switch.take_back()
    # With the version just read: a halt that comes in between is never undone unseen.
    body = {"reason": reason, "version": version, "mode": wanted}
    after = api.post(RISK, "/risk/resume", body, Token.OPERATE)
    _changed({"dry_run": False, **after, **lifted}, as_json)


@app.command()
def flatten(
    reason: ReasonOption = "asked for on the command line",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask again.")] = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Close every position at the market, as soon as the exchange is open: sell what is held, buy back what is owed.

    Example: trader flatten --reason "end of the test" --yes
    """
    api = ServiceApi(Instance.of_project())
    held = items(api.get(EXECUTOR, "/positions"), "trade executor")
    symbols = [harmless(str(row.get("symbol"))) for row in held]
    if dry_run:
        _changed({"dry_run": True, "would_close": symbols}, as_json)
        return
    confirm(f"{len(symbols)} positions ({', '.join(symbols[:20])}) are closed at the market", yes)
    after = api.post(RISK, "/risk/flatten", {"reason": reason}, Token.OPERATE)
    if as_json:
        _changed({"dry_run": False, **after}, as_json)
    else:
        _list(after, EXIT_COLUMNS, as_json, RISK, "nothing is held or on order")


def _symbol_query(symbol: str | None) -> dict[str, str]:
    return {} if symbol is None else {"symbol": parse_symbol(symbol.upper())}


def _path_part(order_id: str) -> str:
    # An id never holds anything else, and a slash would name another path.
    if not all(c.isalnum() or c in "-_" for c in order_id) or not order_id.isascii():
        raise InvalidInput(f"{order_id[:60]!r} is no order id: use letters, digits, - and _")
    return order_id


def _list(
    said: Mapping[str, Any], columns: tuple[Shown, ...], as_json: bool, service: str, empty: str
) -> None:
    rows = items(said, service.replace("_", " "))
    if as_json:
        print(json.dumps(said, sort_keys=True))
        return
    if not rows:
        print(empty)
        return
    Console().print(listing(rows, columns))
    if said.get("next") is not None:
        print("there are more; raise --limit", file=sys.stderr)


def _one(said: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(said, sort_keys=True))
        return
    plain = {key: value for key, value in said.items() if not isinstance(value, list | dict)}
    table = Table("field", "value", show_header=False)
    for key, value in plain.items():
        table.add_row(cell(key), cell(value))
    Console().print(table)
    for name, columns in (("orders", BROKER_ORDER_COLUMNS), ("fills", FILL_COLUMNS)):
        if said.get(name):
            rows = items({"items": said[name]}, "trade executor")
            Console().print(listing(rows, columns, title=f"\n{name}"))


def _changed(document: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(document, sort_keys=True))
        return
    for key, value in document.items():
        if not isinstance(value, dict | list):
            print(f"{harmless(key)}: {cell(value).plain}")
        elif isinstance(value, list):
            print(f"{harmless(key)}: {', '.join(harmless(str(each)) for each in value) or '-'}")
