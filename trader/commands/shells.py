"""Open a shell inside the system: a service's Python, PostgreSQL's or Redis' own client.

Example: trader shell db
"""

from typing import Annotated

import typer

from shared.domain.errors import InvalidInput
from trader.runtime.clients import become
from trader.runtime.credentials import LOGIN_ROLES, OPERATOR
from trader.runtime.errors import NotRunning
from trader.runtime.instance import DATABASE, POSTGRES, REDIS, SERVICES, Instance
from trader.runtime.runtimes import runtime_of

app = typer.Typer()

PLACES = ("db", "redis", *SERVICES)


@app.command()
def shell(
    place: Annotated[str, typer.Argument(help=f"One of {', '.join(PLACES)}.")],
    role: Annotated[
        str, typer.Option(help=f"With db: log in as one of {', '.join(LOGIN_ROLES)}.")
    ] = OPERATOR,
    command: Annotated[
        str | None, typer.Option("--command", "-c", help="Run this there and end.")
    ] = None,
) -> None:
    """Open a shell: Python with a service's settings, or the client of the database or of Redis.

    As `operator` the database shows every view and takes no change.

    Example: trader shell db -c "SELECT symbol, quantity FROM trade_executor.v_positions"
    """
    if place not in PLACES:
        raise InvalidInput(f"there is no shell for {place!r}; choose one of {', '.join(PLACES)}")
    if role not in LOGIN_ROLES:
        raise InvalidInput(f"there is no role {role!r}; choose one of {', '.join(LOGIN_ROLES)}")
    runtime = runtime_of(Instance.of_project())
    needed = {"db": POSTGRES, "redis": REDIS}.get(place)
    if needed is not None and not (runtime.runs and runtime.answers(needed)):
        raise NotRunning(f"{needed} does not run; start it with make start or make demo")
    words: tuple[str, ...]
    if place == "db":
        client = runtime.postgres_client("psql", role, DATABASE, terminal=command is None)
        words = ("-X",) if command is None else ("-X", "-c", command)
    elif place == "redis":
        client = runtime.redis_client(terminal=command is None)
        words = () if command is None else tuple(command.split())
    else:
        client = runtime.shell(place, command)
        words = ()
    become(client, *words)
