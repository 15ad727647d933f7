"""How does the command line ask what is stored?

It reads PostgreSQL's views under the operator's role, which can write nothing, so it works while services are stopped.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from shared.adapters.clocks import MonotonicTimer
from shared.adapters.postgres import Database, open_database
from shared.config import load_settings
from trader.runtime.instance import Instance

T = TypeVar("T")

AccountOption = Annotated[
    str | None, typer.Option(help="Stored under this label; default: TRADING_ACCOUNT.")
]


@dataclass(frozen=True, slots=True)
class Stored:
    """What there is of one account."""

    database: Database
    account: str
    bars_folder: Path


def ask_stored(account: str | None, ask: Callable[[Stored], Awaitable[T]]) -> T:
    """What `ask` finds in what is stored under `account`, or under the settings' own.

    Raises:
        Unavailable: the database does not answer.
    """
    settings = load_settings(Instance.of_project().operator_environment())
    label = account or settings.trading_account

    async def answer() -> T:
        async with open_database(
            settings, MonotonicTimer(), pool_size=1, application="trader"
        ) as database:
            return await ask(Stored(database, label, settings.data_dir / label))

    return asyncio.run(answer())
