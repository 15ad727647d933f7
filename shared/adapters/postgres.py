"""How do we speak to PostgreSQL, and how do messages leave with the state they announce?

Connection pools are bounded, statements have deadlines. A transaction is retried as a whole, so what is
done in it must be safe to do again: effects are keyed by natural ids, and a cursor moves in the transaction
of its effect. An outbox row is written under its stream's advisory lock, so that ids become visible in the
order of commit and a reader's cursor can never step over one.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import orjson
from sqlalchemy import URL, TextClause, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from shared.adapters.figures import FIGURES
from shared.config import Settings
from shared.domain.errors import Unavailable
from shared.ports import Timer

T = TypeVar("T")

_DISK_FULL = "53100"
# Serialisation failure, deadlock, lock timeout, the ways a server says that it is going or coming, and a full disk, which
# ends when somebody makes room: whoever died of it would have to be started by hand then.
_RETRYABLE_STATES = frozenset(
    {"40001", "40P01", "55P03", "57P01", "57P02", "57P03", "53300", _DISK_FULL}
)
_TRIES = 5
# Half a day: a connection that is made anew each half hour would plan within one decision in thirty.
_PLANNED_FOR_S = 43_200


def database_url(settings: Settings) -> URL:
    """The address of this process's own role."""
    password = settings.db_password.get_secret_value() if settings.db_password else None
    return URL.create(
        "postgresql+asyncpg",
        username=settings.db_user,
        password=password,
        host=settings.db_host,
        port=settings.db_port,
        database=settings.db_name,
    )


class Database:
    """A bounded pool of connections, and transactions that are retried as a whole."""

    def __init__(self, engine: AsyncEngine, timer: Timer) -> None:
        self._engine = engine
        # Made once: to say it anew for each read takes its time of each decision.
        self._unwrapped = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._timer = timer

    async def run(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Do `work` in one transaction; again, whole, after a deadlock or a lost connection.

        Raises:
            Unavailable: the database gave no answer within a handful of tries.
        """
        return await self._retrying(self._engine, work)

    async def read(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Do `work`, one statement that only reads, without the two round trips of a transaction.

        Raises:
            Unavailable: the database gave no answer within a handful of tries.
        """
        return await self._retrying(self._unwrapped, work)

    async def _retrying(
        self, engine: AsyncEngine, work: Callable[[AsyncConnection], Awaitable[T]]
    ) -> T:
        pause_s = 0.05
        for attempt in range(1, _TRIES + 1):
            try:
                began_s = self._timer.monotonic_s()
                async with engine.begin() as connection:
                    FIGURES.connected(self._timer.monotonic_s() - began_s)
                    FIGURES.database_in_use += 1
                    try:
                        return await work(connection)
                    finally:
                        FIGURES.database_in_use -= 1
            except (DBAPIError, OSError, PoolTimeout, ConnectionError, TimeoutError) as error:
                if not _is_retryable(error):
                    raise
                if attempt == _TRIES:
                    raise Unavailable(_why(error)) from error
            FIGURES.database_retries += 1
            await self._timer.sleep(pause_s)
            pause_s *= 2
        raise AssertionError("unreachable: the loop returns or raises")

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """One connection outside the retry loop, for session-level locks."""
        try:
            async with self._engine.connect() as connection:
                yield connection
        except (DBAPIError, OSError, PoolTimeout) as error:
            if _is_retryable(error):
                raise Unavailable(_why(error)) from error
            raise

    async def is_answering(self) -> bool:
        """Whether a trivial statement works right now."""
        try:
            async with self._engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
        except (DBAPIError, OSError, PoolTimeout):
            return False
        return True


def _is_retryable(error: BaseException) -> bool:
    if isinstance(error, DBAPIError) and not error.connection_invalidated:
        state = _state_of(error)
        if state is None:
            return isinstance(error, InterfaceError | OperationalError)
        return state in _RETRYABLE_STATES or str(state).startswith("08")
    return True


def _state_of(error: BaseException) -> object:
    return getattr(error.orig, "sqlstate", None) if isinstance(error, DBAPIError) else None


def _why(error: BaseException) -> str:
    if _state_of(error) == _DISK_FULL:
        return (
            f"PostgreSQL's disk is full ({_brief(error)}); make room there, work goes on by itself"
        )
    return f"PostgreSQL gave no answer: {_brief(error)}"


def _brief(error: BaseException) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return (str(cause).splitlines() or [type(cause).__name__])[0][:200]


@contextlib.asynccontextmanager
async def open_database(
    settings: Settings,
    timer: Timer,
    *,
    pool_size: int = 4,
    application: str,
    idle_s: int = 10,
    plans_once: bool = False,
) -> AsyncIterator[Database]:
    """A pool of at most `pool_size` connections under this process's role; connects when first used.

    Args:
        idle_s: how long a transaction may stand open without a statement before the server ends it: so long may a
            process that was stopped in the middle of one hold its locks.
        plans_once: whether a statement keeps its first plan, whatever its values. Planning anew costs several times as
            much as carrying out where one statement reads from many views.
    """
    engine = create_async_engine(
        database_url(settings),
        # An error's text goes to the log, and a statement's values are nobody's business there.
        hide_parameters=True,
        pool_size=pool_size,
        max_overflow=0,
        # The connection that was used last knows most statements.
        pool_use_lifo=True,
        pool_timeout=5,
        # A new connection plans its statements anew, and somebody waits for that.
        pool_recycle=_PLANNED_FOR_S if plans_once else 1800,
        json_serializer=lambda value: orjson.dumps(value).decode(),
        json_deserializer=orjson.loads,
        connect_args={
            "timeout": 5,
            "command_timeout": 15,
            "server_settings": {
                "application_name": application,
                "timezone": "UTC",
                "lock_timeout": "2000",
                "statement_timeout": "10000",
                "idle_in_transaction_session_timeout": str(idle_s * 1000),
                **({"plan_cache_mode": "force_generic_plan"} if plans_once else {}),
            },
        },
    )
    try:
        yield Database(engine, timer)
    finally:
        await engine.dispose()


def lock_key(name: str) -> int:
    """A stable 63-bit key for an advisory lock called `name`."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1


# Statements are made once, here and below: to take one apart anew for each use costs more than to look it up.
_LOCK = text("SELECT pg_advisory_xact_lock(:key)")
_LOCK_SHARED = text("SELECT pg_advisory_xact_lock_shared(:key)")


async def lock(connection: AsyncConnection, name: str, *, shared: bool = False) -> None:
    """Take the advisory lock `name` until the transaction ends."""
    await connection.execute(_LOCK_SHARED if shared else _LOCK, {"key": lock_key(name)})


# Before an INSERT ... SELECT ... FROM held: its rows, and so their ids, are made only once the lock is.
_HELD = "WITH held AS MATERIALIZED (SELECT pg_advisory_xact_lock(:lock)) "


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One message as it was committed."""

    id: int
    topic: str
    key: str
    payload: dict[str, Any]


class Outbox:
    """The messages of one schema: appended by its owner, read by others through `v_outbox`."""

    def __init__(self, schema: str, account: str) -> None:
        if not schema.isidentifier():
            raise ValueError(f"{schema!r} is not a schema name")
        self._account = account
        self._lock_key = lock_key(f"outbox:{schema}:{account}")
        # One round trip: the row, and with it its id, is made from the lock's own row. What is to be stored with the message
        # may follow it in the same statement, and read its id `FROM announced`; see `values`.
        self.announcing = (
            f"{_HELD}, announced AS ("  # noqa: S608  # an identifier, checked
            f"INSERT INTO {schema}.outbox (account, topic, key, payload, created_at) "
            "SELECT :account, :topic, :key, CAST(:payload AS jsonb), :at FROM held "
            "ON CONFLICT (account, topic, key) DO NOTHING RETURNING id) "
        )
        self._append = text(self.announcing + "SELECT id FROM announced")  # noqa: S608  # as above
        self._after = text(
            f"SELECT id, topic, key, payload FROM {schema}.v_outbox "  # noqa: S608  # an identifier, checked
            "WHERE account = :account AND id > :position AND topic = ANY(:topics) "
            "ORDER BY id LIMIT :limit"
        )

    async def append(
        self,
        connection: AsyncConnection,
        *,
        topic: str,
        key: str,
        payload: dict[str, Any],
        at: datetime,
    ) -> int | None:
        """Add a message to the current transaction; None when (topic, key) was announced before."""
        values = self.values(topic=topic, key=key, payload=payload, at=at)
        result = await connection.execute(self._append, values)
        row = result.first()
        return None if row is None else int(row[0])

    def values(
        self, *, topic: str, key: str, payload: dict[str, Any], at: datetime
    ) -> dict[str, Any]:
        """What a statement that begins with `announcing` is told about the message."""
        return {
            "lock": self._lock_key,
            "account": self._account,
            "topic": topic,
            "key": key,
            "payload": orjson.dumps(payload).decode(),
            "at": at,
        }

    async def after(
        self,
        connection: AsyncConnection,
        position: int,
        *,
        topics: tuple[str, ...],
        limit: int = 100,
    ) -> list[OutboxRow]:
        """Messages of `topics` with id > `position`, in order."""
        result = await connection.execute(
            self._after,
            {
                "account": self._account,
                "position": position,
                "topics": list(topics),
                "limit": limit,
            },
        )
        return [OutboxRow(int(r[0]), r[1], r[2], r[3]) for r in result]


def _moving(schema: str, first: str = "", source: str = "") -> TextClause:
    return text(
        f"{first}INSERT INTO {schema}.cursors (source, account, position) "  # an identifier, checked
        f"SELECT :source, :account, CAST(:position AS bigint){source} "
        "ON CONFLICT (source, account) DO UPDATE SET position = EXCLUDED.position "
        f"WHERE {schema}.cursors.position < EXCLUDED.position RETURNING position"
    )


class Cursor:
    """How far one consumer has read one source; stored in the consumer's own schema."""

    def __init__(self, schema: str, source: str, account: str) -> None:
        if not schema.isidentifier():
            raise ValueError(f"{schema!r} is not a schema name")
        self._key = {"source": source, "account": account}
        self._position = text(
            f"SELECT position FROM {schema}.cursors "  # noqa: S608  # an identifier, checked
            "WHERE source = :source AND account = :account"
        )
        self._move = _moving(schema)
        self._move_holding = _moving(schema, _HELD, " FROM held")

    async def position(self, connection: AsyncConnection) -> int:
        """The id of the last message that took effect; 0 at the beginning."""
        result = await connection.execute(self._position, self._key)
        row = result.first()
        return 0 if row is None else int(row[0])

    async def move(
        self, connection: AsyncConnection, position: int, *, holding: str | None = None
    ) -> bool:
        """Step forward to `position` with the current transaction; False when it was already there.

        Args:
            holding: an advisory lock to take first, in the same round trip; see `lock`.
        """
        values = {**self._key, "position": position}
        if holding is None:
            result = await connection.execute(self._move, values)
        else:
            values["lock"] = lock_key(holding)
            result = await connection.execute(self._move_holding, values)
        return result.first() is not None
