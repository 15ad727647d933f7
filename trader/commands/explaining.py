"""Have an order explained, and one that never came: `trader why`, `trader why-not`.

Asks what is stored and not the services, so it works while they are stopped, as long as PostgreSQL runs.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from shared.adapters.parquet import ParquetBars
from shared.domain.errors import InvalidInput
from shared.domain.money import plain
from shared.domain.symbols import parse_symbol
from trader.commands.listing import cell
from trader.commands.service_api import harmless
from trader.commands.stored import AccountOption, ask_ledger
from trader.explain import Explainer
from trader.replay.truth import Truth

app = typer.Typer()
T = TypeVar("T")

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command()
def why(
    order_id: Annotated[
        str,
        typer.Argument(help="Our id of the order, the broker's, the decision's or the signal's."),
    ],
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how an order came about: bar, signal, sizing, every check, order, fills, result.

    Example: trader why fat-0123456789abcdef-e0
    """
    chain = _explained(account, lambda explainer: explainer.why(order_id))
    document = _plain(chain.document())
    if as_json:
        print(json.dumps(document, sort_keys=True))
    else:
        _show(document)


@app.command("why-not")
def why_not(
    symbol: Annotated[str, typer.Argument(help="The symbol, e.g. AAPL.")],
    time: Annotated[
        str | None,
        typer.Argument(help="The newest instant by then, ISO 8601 with its offset; default: now."),
    ] = None,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show why nothing was ordered: refused and why, not wished for, or no bar.

    Example: trader why-not AAPL 2026-03-02T15:00:00Z
    """
    wanted, at = parse_symbol(symbol.upper()), _instant(time)
    document = _plain(_explained(account, lambda explainer: explainer.why_not(wanted, at)))
    if as_json:
        print(json.dumps(document, sort_keys=True))
        return
    asked = f" at {document['instant_at']}" if document["instant_at"] is not None else ""
    print(f"{document['symbol']}{asked}: {harmless(document['answer'])}")
    for words in document["standing"]:
        print(f"in its way: {harmless(words)}")
    for chain in document["chains"]:
        _show(chain)


def _explained(account: str | None, ask: Callable[[Explainer], Awaitable[T]]) -> T:
    return ask_ledger(
        account,
        lambda stored: ask(
            Explainer(Truth(stored.database, stored.account), ParquetBars(stored.bars_folder))
        ),
    )


def _instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(
            f"{text[:60]!r} is no time; write it like 2026-03-02T15:00:00Z"
        ) from None
    if at.tzinfo is None:
        raise InvalidInput(f"{text[:60]!r} names no offset; add Z or one like -05:00")
    return at


def _plain(value: Any) -> Any:
    """`value` with exact numbers and instants as texts."""
    match value:
        case Decimal():
            return plain(value)
        case datetime() | date():
            return value.isoformat()
        case Mapping():
            return {key: _plain(each) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case _:
            return value


def _show(document: Mapping[str, Any]) -> None:
    decision = document["decision"]
    _pairs("bar", document["bar"])
    _pairs("wish", document["wish"])
    _pairs("figures and sizing", decision["figures"])
    checks = Table("check", "passed", "limit", "usage", "unit", "text", title="checks")
    for check in decision["checks"]:
        names = ("code", "passed", "limit", "usage", "unit", "text")
        checks.add_row(*(cell(check[name]) for name in names))
    Console().print(checks)
    _pairs(
        "decision",
        {k: v for k, v in decision.items() if k not in ("figures", "checks") and v is not None},
    )
    _pairs("refused first", document["first_refusal"])
    for name in ("stop_moves", "splits", "intents", "orders", "fills"):
        for row in document[name]:
            _pairs(name.removesuffix("s"), {k: v for k, v in row.items() if v is not None})
    _pairs("result", document["result"])
    for link in document["missing"]:
        print(f"missing: {harmless(link)}")


def _pairs(title: str, values: Mapping[str, Any] | None) -> None:
    if not values:
        return
    table = Table("field", "value", title=title, show_header=False)
    for name, value in values.items():
        table.add_row(
            cell(name), cell(json.dumps(value) if isinstance(value, dict | list) else value)
        )
    Console().print(table)
