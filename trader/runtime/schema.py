"""How do roles, database and tables come to be, whoever runs the server?

One login role per service and no right that it does not need; then Alembic's steps, all of one upgrade in
one transaction. Doing it again changes nothing but passwords that have become others. As a program
(`python -m trader.runtime.schema`) it is the one-shot service that the others wait for in Compose.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

from shared.config import load_settings
from shared.domain.errors import Misconfigured
from trader.runtime.credentials import BACKUP, LOGIN_ROLES, OWNER, SUPERUSER, password_of
from trader.runtime.instance import BEFORE, DATABASE

T = TypeVar("T")

CONNECT_WITHIN_S = 10
EXIT_MISCONFIGURED = 4
ROLES_ONLY = "--roles"
OF_DATABASE = "--database"
# Where the image keeps the steps.
MIGRATIONS = Path("/app/migrations")
BROKEN_OFF = (
    f"the database in use is missing since a restore was broken off, and all of it is kept as {BEFORE}: make "
    "restore ARGS=--back puts it back, make restore restores the newest backup instead"
)


@dataclass(frozen=True, slots=True)
class Server:
    """A PostgreSQL server and the secret from which every role's password is derived."""

    host: str
    port: int
    db_password: str = field(repr=False)

    def password(self, role: str) -> str:
        """The password of `role`."""
        return password_of(role, self.db_password)


def make_roles(server: Server) -> None:
    """Make the roles, and the database where there has never been one; what is in it stays as it is."""
    _in_own_loop(_make_roles(server))


def bring_up_to_date(server: Server, migrations: Path, database: str = DATABASE) -> None:
    """Make the roles and the database, and bring the tables of `database` up to date.

    Raises:
        Misconfigured: no step leads from it to this version, or it is the one in use and a broken off restore
            has left it missing or empty. It is as it was.
    """
    make_roles(server)
    _in_own_loop(_open(server, database))
    config = Config()
    config.set_main_option("script_location", str(migrations))
    address = f"{server.host}:{server.port}/{database}"
    config.attributes["url"] = f"postgresql+asyncpg://{OWNER}:{server.password(OWNER)}@{address}"
    with ThreadPoolExecutor(1) as own_thread:
        # Its environment script starts an event loop, which a caller may already be inside of.
        try:
            own_thread.submit(command.upgrade, config, "head").result()
        except CommandError as error:
            raise Misconfigured(
                f"the database was made by a newer version of this system ({error}); take that "
                "version, or restore a backup of this one"
            ) from error
        except SQLAlchemyError as error:
            # All steps are one transaction, so nothing is half done.
            reason = str(error.args[0] if error.args else error).splitlines()[0]
            words = re.sub(r"^\([\w.]+\) (<class '[\w.]+'>: )?", "", reason)
            raise Misconfigured(
                f"the database could not be brought up to date and is as it was: {words[-300:]}; take the version back "
                "that made it, or put a backup back with make restore"
            ) from error


def require_newest(found: str, migrations: Path) -> None:
    """Refuse a database that was brought up to date by an image that is older than this source, or newer.

    Raises:
        Misconfigured: `found` is not the version that the last step in `migrations` leads to.
    """
    wanted = ScriptDirectory(str(migrations)).get_current_head()
    if found != wanted:
        raise Misconfigured(
            f"the database was brought to version {found or 'none'} and this source needs {wanted}: the image is of "
            "another version, make build first"
        )


def can_connect(server: Server) -> bool:
    """Say whether the server takes connections."""
    return _in_own_loop(_try_to_connect(server))


async def _try_to_connect(server: Server) -> bool:
    try:
        connection = await _connect_as_superuser(server, "postgres")
    except (OSError, TimeoutError, asyncpg.CannotConnectNowError, asyncpg.InterfaceError):
        return False
    except asyncpg.ConnectionDoesNotExistError:
        return False
    await connection.close(timeout=CONNECT_WITHIN_S)
    return True


async def _make_roles(server: Server) -> None:
    connection = await _connect_as_superuser(server, "postgres")
    try:
        there = {row["rolname"] for row in await connection.fetch("SELECT rolname FROM pg_roles")}
        for role in LOGIN_ROLES:
            # Names are constants of ours and passwords hexadecimal, so neither needs quoting; the
            # statement has no place for parameters.
            verb = "ALTER" if role in there else "CREATE"
            await connection.execute(
                f"{verb} ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION "
                f"PASSWORD '{server.password(role)}'"
            )
        await connection.execute(f"GRANT pg_read_all_data TO {BACKUP}")
        there = await _databases(connection)
        if DATABASE not in there and BEFORE not in there:
            await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
    finally:
        await connection.close(timeout=CONNECT_WITHIN_S)


async def _open(server: Server, database: str) -> None:
    """Let the roles, and nobody else, into `database`."""
    connection = await _connect_as_superuser(server, "postgres")
    try:
        there = await _databases(connection)
        is_replaced = database == DATABASE and BEFORE in there
        if is_replaced and database not in there:
            raise Misconfigured(BROKEN_OFF)
        await connection.execute(f"ALTER DATABASE {database} OWNER TO {OWNER}")
        await connection.execute(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")
        await connection.execute(
            f"GRANT CONNECT ON DATABASE {database} TO {', '.join(LOGIN_ROLES)}"
        )
    finally:
        await connection.close(timeout=CONNECT_WITHIN_S)
    connection = await _connect_as_superuser(server, database)
    try:
        if is_replaced and not await connection.fetchval(
            "SELECT count(*) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ):
            # Made by an earlier version where it had lost the one in use.
            raise Misconfigured(BROKEN_OFF)
        await connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
        await connection.execute(f"GRANT ALL ON SCHEMA public TO {OWNER}")
    finally:
        await connection.close(timeout=CONNECT_WITHIN_S)


async def _databases(connection: Any) -> set[str]:
    return {row["datname"] for row in await connection.fetch("SELECT datname FROM pg_database")}


async def _connect_as_superuser(server: Server, database: str) -> Any:
    return await asyncpg.connect(
        host=server.host,
        port=server.port,
        user=SUPERUSER,
        password=server.password(SUPERUSER),
        database=database,
        timeout=CONNECT_WITHIN_S,
        ssl=False,
    )


def _in_own_loop(work: Coroutine[Any, Any, T]) -> T:
    with ThreadPoolExecutor(1) as own_thread:
        return own_thread.submit(asyncio.run, work).result()


def main(words: Sequence[str]) -> int:
    """Bring the database of the settings up to date, or that which is named, or make the roles alone."""
    try:
        settings = load_settings()
        settings.require("db_password")
        assert settings.db_password is not None  # required just now
        server = Server(settings.db_host, settings.db_port, settings.db_password.get_secret_value())
        if ROLES_ONLY in words:
            make_roles(server)
            return 0
        database = words[1] if OF_DATABASE in words[:1] else DATABASE
        bring_up_to_date(server, MIGRATIONS, database)
    except Misconfigured as error:
        print(f"migrate: {error}", file=sys.stderr)
        return EXIT_MISCONFIGURED
    except asyncpg.InvalidPasswordError:
        print(
            "migrate: the database has another DB_PASSWORD; start with `make start RUNTIME=compose`, "
            "which lets it follow, or put the old one back",
            file=sys.stderr,
        )
        return EXIT_MISCONFIGURED
    print("the database is up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
