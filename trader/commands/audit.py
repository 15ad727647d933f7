"""Check that nothing written was changed since: `trader audit`."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from trader.audit import Audit, Head, read_export, verify
from trader.commands.listing import field, figure, listing
from trader.commands.stored import AccountOption, Stored, ask_ledger

app = typer.Typer()
audit_app = typer.Typer(no_args_is_help=True)
app.add_typer(audit_app, name="audit")


# Without it a group of one command would be that command.
@audit_app.callback()
def _overview() -> None:
    """Check that nothing written was changed since.

    Example: trader audit verify
    """


@audit_app.command("verify")
def verify_chains(
    kept: Annotated[
        Path | None,
        typer.Option(
            "--export",
            help="An earlier `trader export audit`; the chains must still go through it.",
        ),
    ] = None,
    account: AccountOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compute the hash chains of fills, events, decisions, modes and limits anew; name the first bad row.

    Example: trader audit verify --export audit-2026-03-02.jsonl
    """

    async def check(stored: Stored) -> list[Head]:
        hashes = {} if kept is None else read_export(kept, stored.account)
        return await verify(Audit(stored.database, stored.account), hashes)

    heads = ask_ledger(account, check)
    rows = [{"chain": head.chain, "rows": head.length, "last_hash": head.hash} for head in heads]
    if as_json:
        print(json.dumps({"ok": True, "chains": rows}, sort_keys=True))
        return
    columns = (field("chain", "chain"), figure("rows", "rows"), field("last hash", "last_hash"))
    Console().print(listing(rows, columns))
    print(f"{sum(head.length for head in heads)} rows are what was written")
