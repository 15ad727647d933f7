"""Take what happened out of the system: `trader export trades|tax|audit`."""

import csv
import io
import json
import sys
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.clocks import WallClock
from shared.adapters.exchange_calendar import load_calendar
from shared.adapters.executions import executions_of
from shared.domain.calendar import NEW_YORK
from shared.domain.errors import InvalidInput
from shared.domain.lots import Execution, Pick, match
from shared.domain.money import parse_number
from trader.audit import Audit, line_of
from trader.commands.stored import AccountOption, Stored, ask_ledger
from trader.exports import tax, trades
from trader.exports.files import whole_file, write_whole
from trader.exports.tradenote import tradenote_csv
from trader.runtime.instance import Instance

app = typer.Typer()
export_app = typer.Typer(
    help="Take trades, taxes and the audit chain out as files.\n\nExample: trader export trades --output trades.csv",
    no_args_is_help=True,
)
app.add_typer(export_app, name="export")

OutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Write to this file; default: standard output."),
]
FromOption = Annotated[
    str | None, typer.Option("--from", help="New York's first day, e.g. 2026-01-01.")
]
ToOption = Annotated[str | None, typer.Option("--to", help="New York's last day.")]


class Layout(StrEnum):
    """How a list of trades is written."""

    CSV = "csv"
    JSON = "json"
    TRADENOTE = "tradenote"


@export_app.command("trades")
def export_trades(
    layout: Annotated[Layout, typer.Option("--format", help="How they are written.")] = Layout.CSV,
    first: FromOption = None,
    last: ToOption = None,
    output: OutputOption = None,
    account: AccountOption = None,
) -> None:
    """Write closed trades, first in first out; with --format tradenote every execution for TradeNote's import.

    Example: trader export trades --from 2026-01-01 --output trades.csv
    """
    days = _days(first, last)
    executions, label = _executions(account)
    if layout is Layout.TRADENOTE:
        calendar = load_calendar(Instance.of_project().parquet)
        # Of a day that is not over TradeNote would never take the rest.
        yesterday = WallClock().now().astimezone(NEW_YORK).date() - timedelta(days=1)
        until = min(days[1], yesterday)
        write_whole(output, tradenote_csv(executions, label, calendar, (days[0], until)))
        return
    closings = [c for c in match(executions).closings if days[0] <= trades.closed_on(c) <= days[1]]
    rows = trades.trade_rows(closings)
    if layout is Layout.JSON:
        write_whole(output, json.dumps({"account": label, "trades": rows}, indent=1) + "\n")
    else:
        write_whole(output, _csv(trades.COLUMNS, rows))


@export_app.command("tax")
def export_tax(
    year: Annotated[int, typer.Option(min=1990, max=2200, help="The tax year of the sales.")],
    picks: Annotated[
        Path | None,
        typer.Option(
            help="CSV of picked lots: sale_id, lot_id, quantity; default: first in, first out."
        ),
    ] = None,
    output: OutputOption = None,
    account: AccountOption = None,
) -> None:
    """Write the sales of a year in the columns of IRS Form 8949, with wash sales flagged. No tax advice.

    Example: trader export tax --year 2026 --output form-8949.csv
    """
    executions, _ = _executions(account)
    rows = tax.form_rows(match(executions, _read_picks(picks)))
    of_year = [row for row in rows if trades.closed_on(row.closing).year == year]
    write_whole(output, _csv(tax.COLUMNS, [tax.cells(row) for row in of_year]))
    unknown = sum(1 for row in of_year if row.gain is None)
    if unknown:
        print(
            f"note: {unknown} rows have no cost: those shares were there before this system; "
            "fill it in from the broker's records",
            file=sys.stderr,
        )


@export_app.command("audit")
def export_audit(output: OutputOption = None, account: AccountOption = None) -> None:
    """Write every chained row with its hash, one JSON document a line; `trader audit verify --export` compares.

    Example: trader export audit --output audit-2026-03-02.jsonl
    """

    async def lines(stored: Stored) -> int:
        audit, count = Audit(stored.database, stored.account), 0
        with whole_file(output) as out:
            for head in await audit.heads():
                async for entry in audit.entries(head.chain):
                    print(line_of(head.chain, stored.account, entry), file=out)
                    count += 1
        return count

    count = ask_ledger(account, lines)
    print(f"{count} rows", file=sys.stderr)


def _executions(account: str | None) -> tuple[list[Execution], str]:
    async def read(stored: Stored) -> tuple[list[Execution], str]:
        async def rows(connection: AsyncConnection) -> list[Execution]:
            return await executions_of(connection, stored.account)

        return await stored.database.read(rows), stored.account

    return ask_ledger(account, read)


def _days(first: str | None, last: str | None) -> tuple[date, date]:
    days = (_day(first, date.min), _day(last, date.max))
    if days[0] > days[1]:
        raise InvalidInput(f"--from {days[0]} lies after --to {days[1]}")
    return days


def _day(text: str | None, otherwise: date) -> date:
    if text is None:
        return otherwise
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"{text[:40]!r} is no day; write it like 2026-01-01") from None


def _read_picks(path: Path | None) -> list[Pick]:
    if path is None:
        return []
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            return [
                Pick(row["sale_id"], row["lot_id"], _shares(row["quantity"]))
                for row in csv.DictReader(lines)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from None
    except (KeyError, ValueError, AttributeError):
        raise InvalidInput(
            f"{path} is no list of picks: it needs the columns sale_id, lot_id, quantity"
        ) from None


def _shares(text: str) -> Decimal:
    shares = parse_number(text.strip())
    if shares <= 0:
        raise ValueError
    return shares


def _csv(columns: Iterable[str], rows: Iterable[Mapping[str, str]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=tuple(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
