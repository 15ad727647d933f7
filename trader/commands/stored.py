"""How does the command line ask what is stored?

It reads PostgreSQL's views under the operator's role, which can write nothing, so it works while services are stopped.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Annotated, TypeVar

import typer
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.clocks import MonotonicTimer
from shared.adapters.postgres import Database, open_database
from shared.config import Settings, load_settings, process_environment
from shared.domain.errors import Misconfigured, Unavailable
from shared.storage import Place
from trader.runtime.credentials import OPERATOR
from trader.runtime.errors import NotFound, NotRunning, StackError
from trader.runtime.instance import Instance
from trader.runtime.runtimes import runtime_of

T = TypeVar("T")

_ACCOUNTS = text("SELECT DISTINCT account FROM audit.v_heads ORDER BY account LIMIT 20")
# Somebody who removed an account's heads has left its rows; that is for `audit verify` to name.
_HAS_ROWS = text("""
    SELECT EXISTS (SELECT FROM audit.v_heads WHERE account = :account)
        OR EXISTS (SELECT FROM audit.v_unchained WHERE account = :account)
""")

AccountOption = Annotated[
    str | None,
    typer.Option(
        help="Stored under this label; default: that of the running executor, else TRADING_ACCOUNT."
    ),
]


@dataclass(frozen=True, slots=True)
class Stored:
    """What there is of one account."""

    database: Database
    account: str
    bars_folder: Place


def ask_stored(account: str | None, ask: Callable[[Stored], Awaitable[T]]) -> T:
    """What `ask` finds in what is stored under `account`, or under the settings' own.

    Raises:
        NotRunning: the database does not answer. Misconfigured: a setting is wrong.
    """

    async def answer(settings: Settings, label: str) -> T:
        async with open_database(
            settings, MonotonicTimer(), pool_size=1, application="trader"
        ) as database:
            return await ask(Stored(database, label, settings.history / label))

    with _operators(account) as (settings, label):
        try:
            return asyncio.run(answer(settings, label))
        except Unavailable as error:
            raise NotRunning(
                "PostgreSQL does not answer; start it with `trader up postgres`"
            ) from error


@contextmanager
def _operators(account: str | None) -> Iterator[tuple[Settings, str]]:
    """The operator's own settings, which hold meanwhile, and whose rows are meant."""
    told = process_environment()
    if told.get("DB_USER") == OPERATOR and told.get("DB_PASSWORD"):
        # A child of the dashboard: it is told where the database is, and in a container it could find out nothing else.
        settings = load_settings(told)
        yield settings, account or settings.trading_account
        return
    instance = Instance.of_project()
    runtime, environment = runtime_of(instance), instance.operator_environment()
    # What is wrong in the settings is said before anything is asked.
    load_settings(environment)
    with ExitStack() as stack:
        try:
            host, port = stack.enter_context(runtime.database_route())
        except (Misconfigured, StackError) as error:
            # Whatever keeps the runtime from saying where: nothing answers there.
            raise NotRunning(str(error)) from error
        settings = load_settings({**environment, "DB_HOST": host, "DB_PORT": str(port)})
        yield settings, account or account_in_use(instance, settings)


def account_in_use(instance: Instance, settings: Settings) -> str:
    """The account that the running executor trades under, a demo's for example; without one that of the settings."""
    told = runtime_of(instance).told("trade_executor")
    return told.get("TRADING_ACCOUNT") or settings.trading_account


def ask_ledger(account: str | None, ask: Callable[[Stored], Awaitable[T]]) -> T:
    """What `ask` finds in what was booked and decided; see `ask_stored`.

    An account of which there is nothing is refused where there are others: no rows would look like no
    trades, or like a sound chain.

    Raises:
        NotRunning: the database does not answer. NotFound: nothing is stored under that label.
    """

    async def ask_where_rows_are(stored: Stored) -> T:
        if others := await _others(stored.database, stored.account):
            raise NotFound(
                f"nothing is stored under account {stored.account!r}; there is "
                f"{', '.join(others)}: choose with --account"
            )
        return await ask(stored)

    return ask_stored(account, ask_where_rows_are)


async def _others(database: Database, label: str) -> list[str]:
    """The accounts of which something is booked or decided, where nothing is of `label`."""

    async def read(connection: AsyncConnection) -> list[str]:
        if (await connection.execute(_HAS_ROWS, {"account": label})).scalar_one():
            return []
        return [str(row.account) for row in await connection.execute(_ACCOUNTS)]

    return await database.read(read)
