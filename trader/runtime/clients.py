"""How are PostgreSQL's and Redis' own client programs run?

The ones of the wheels, straight from where they were installed: they are this account's, not the servers'. A
password goes by the environment and never by a command line.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shared.domain.errors import Misconfigured
from trader.runtime.binaries import client_folder, redis_package_folder
from trader.runtime.instance import DATABASE, Instance
from trader.runtime.ports import LOOPBACK

SHELL_BEGINS = """\
from shared.config import load_settings
settings = load_settings()
"""
GREETING = 'print("settings: what this service is told; leave with Ctrl-D")\n'
REDIS_CLIENTS = ("redis-cli", "valkey-cli")


@dataclass(frozen=True, slots=True)
class Client:
    """A program that is ready to be run: what stands before its arguments, and what it is told."""

    words: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    folder: Path | None = None

    def command(self, *arguments: str) -> list[str]:
        """The whole command line."""
        return [*self.words, *arguments]


def postgres_client(instance: Instance, tool: str, role: str, database: str = DATABASE) -> Client:
    """One of PostgreSQL's clients (`psql`, `pg_dump`, ...), logged in as `role`.

    Raises:
        Misconfigured: the wheel does not hold it.
    """
    binary = client_folder() / tool
    if not binary.exists():
        raise Misconfigured(f"the packages hold no {tool}; run `make setup` again")
    told = {
        "PGHOST": LOOPBACK,
        "PGPORT": str(instance.ports.postgres),
        "PGUSER": role,
        "PGPASSWORD": instance.database_password(role),
        "PGDATABASE": database,
        "PGCONNECT_TIMEOUT": "10",
        "PGSSLMODE": "disable",
    }
    return Client((str(binary),), {**_machine(), **told})


def redis_shell(instance: Instance) -> Client:
    """Redis' client, of the machine or of the wheel.

    Raises:
        Misconfigured: there is none.
    """
    found = next((path for name in REDIS_CLIENTS if (path := shutil.which(name))), None)
    if found is None:
        folder = redis_package_folder()
        binary = None if folder is None else folder / "bin" / "redis-cli"
        if binary is None or not binary.exists():
            raise Misconfigured("no redis-cli was found; install redis-tools, or use Python 3.12")
        found = str(binary)
    words = (found, "-h", LOOPBACK, "-p", str(instance.ports.redis), "--no-auth-warning")
    return Client(words, {**_machine(), "REDISCLI_AUTH": instance.settings["REDIS_PASSWORD"]})


def become(client: Client, *arguments: str) -> None:
    """Turn this process into the client; returns never."""
    words = client.command(*arguments)
    if client.folder is not None:
        os.chdir(client.folder)
    os.execve(words[0], words, {**client.environment})  # noqa: S606  no shell is wanted


def python_words(command: str | None) -> tuple[str, ...]:
    """What tells a Python to be a service's shell, or to run `command` there and end."""
    if command is None:
        return ("-i", "-c", SHELL_BEGINS + GREETING)
    return ("-c", SHELL_BEGINS + command)


def _machine() -> dict[str, str]:
    # Variables that begin with PG would change what the tools do.
    kept = ("PATH", "HOME", "TERM", "LANG", "LC_ALL", "TMPDIR", "COLUMNS", "LINES", "PAGER")
    return {key: os.environ[key] for key in kept if key in os.environ} | {
        "PSQL_HISTORY": str(Path(os.devnull))
    }
