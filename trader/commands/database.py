"""Set the database up, bring it up to date, or begin anew: `trader db`.

Commands that need the database start it where it does not run, and stop it again afterwards.
"""

import json
import subprocess
import sys
from typing import Annotated

import typer

from trader.commands.asking import YesOption, confirm
from trader.runtime.backups import back_up_database
from trader.runtime.credentials import SUPERUSER
from trader.runtime.errors import AlreadyRunning, NotRunning, StackError
from trader.runtime.instance import DASHBOARD, DATABASE, SERVICES, Instance
from trader.runtime.interface import Runtime
from trader.runtime.restoring import begin_anew, refuse_broken_off
from trader.runtime.runtimes import runtime_of
from trader.runtime.schema import require_newest

app = typer.Typer()
db_app = typer.Typer(
    help="Set the database up or bring it up to date.\n\nExample: trader db migrate",
    no_args_is_help=True,
)
app.add_typer(db_app, name="db")

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
WITHIN_S = 300


@db_app.command("migrate")
def migrate(as_json: JsonOption = False) -> None:
    """Make roles and tables, or bring them to the newest step; a second run changes nothing.

    Example: trader db migrate
    """
    runtime = runtime_of(Instance.of_project())
    with runtime.database(_say):
        runtime.migrate()
        revision = _revision(runtime)
    require_newest(revision, runtime.instance.project / "migrations")
    _result({"revision": revision}, as_json, f"the database is at step {revision}")


@db_app.command("reset")
def reset(yes: YesOption = False, as_json: JsonOption = False) -> None:
    """Back the database up, then begin with an empty one. Orders at the broker are not touched.

    Example: trader db reset
    """
    instance = Instance.of_project()
    runtime = runtime_of(instance)
    refuse_while_services_run(runtime)
    confirm("the whole ledger, all decisions and jobs are removed from the database", yes)
    with runtime.database(_say):
        # Not brought up to date first: it may be one that cannot be.
        runtime.make_roles()
        refuse_broken_off(runtime)
        kept = back_up_database(runtime, _say)
        begin_anew(runtime, _say)
        revision = _revision(runtime)
    words = f"the database is empty, at step {revision}; what it held is in {kept}"
    _result({"revision": revision, "backup": str(kept)}, as_json, words)


def refuse_while_services_run(runtime: Runtime) -> None:
    """Raise AlreadyRunning when something runs that could write meanwhile, or holds the database open."""
    try:
        states = runtime.status()
    except NotRunning:
        return
    holders = (*SERVICES, DASHBOARD)
    running = [each.name for each in states if each.pid and each.name in holders]
    if running:
        raise AlreadyRunning(f"{', '.join(running)} run; stop them first with make stop")


def _revision(runtime: Runtime) -> str:
    return _sql(runtime, "SELECT version_num FROM alembic_version", DATABASE)


def _sql(runtime: Runtime, statement: str, database: str) -> str:
    client = runtime.postgres_client("psql", SUPERUSER, database, terminal=False)
    done = subprocess.run(  # noqa: S603  our own client; the statement is ours
        client.command("-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statement),
        env=dict(client.environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=WITHIN_S,
    )
    if done.returncode != 0:
        raise StackError(f"the database refused: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout.strip()


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _result(document: dict[str, str], as_json: bool, words: str) -> None:
    print(json.dumps(document, sort_keys=True) if as_json else words)
