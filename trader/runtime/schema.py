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
from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

from shared.config import load_settings
from shared.domain.errors import Misconfigured
from trader.runtime.credentials import BACKUP, LOGIN_ROLES, OWNER, SUPERUSER, password_of
from trader.runtime.instance import DATABASE

T = TypeVar("T")

CONNECT_WITHIN_S = 10
EXIT_MISCONFIGURED = 4
ROLES_ONLY = "--roles"
# Where the image keeps the steps.
MIGRATIONS = Path("/app/migrations")


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
    """Make the roles, and the database where there is none; what is in it stays as it is."""
    _in_own_loop(_make_roles(server))


def bring_up_to_date(server: Server, migrations: Path) -> None:
    """Make the roles and the database, and bring its tables up to date."""
    make_roles(server)
    config = Config()
    config.set_main_option("script_location", str(migrations))
    address = f"{server.host}:{server.port}/{DATABASE}"
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
        known = await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE)
        if known is None:
            await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
        await connection.execute(f"ALTER DATABASE {DATABASE} OWNER TO {OWNER}")
        await connection.execute(f"REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC")
        await connection.execute(
            f"GRANT CONNECT ON DATABASE {DATABASE} TO {', '.join(LOGIN_ROLES)}"
        )
    finally:
        await connection.close(timeout=CONNECT_WITHIN_S)
    connection = await _connect_as_superuser(server, DATABASE)
    try:
        await connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
        await connection.execute(f"GRANT ALL ON SCHEMA public TO {OWNER}")
    finally:
        await connection.close(timeout=CONNECT_WITHIN_S)


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
    """Bring the database of the settings up to date, or make its roles alone."""
    try:
        settings = load_settings()
        settings.require("db_password")
        assert settings.db_password is not None  # required just now
        server = Server(settings.db_host, settings.db_port, settings.db_password.get_secret_value())
        if ROLES_ONLY in words:
            make_roles(server)
            return 0
        bring_up_to_date(server, MIGRATIONS)
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
