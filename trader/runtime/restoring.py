"""When may a backup take the place of what is in use, and how does one get back?

A database is restored beside the one in use, compared with the hashes of its backup and brought up to this
version there, so all that may be wrong with it shows while nothing in use was touched. Then all of them
change their names in one transaction: a restore that is refused, killed or stopped at any step has either not
happened or is done. What was in use is kept, and what an earlier restore had kept goes only after that; it stays
where nothing was booked in what was in use, since that is in a backup.
Market data is unpacked whole before any of it changes places; what lay there is kept as well.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from shared.adapters.halt_file import HaltFile
from shared.domain.errors import Misconfigured
from trader.runtime.backups import (
    ASIDE,
    KEPT,
    OWNER_ONLY,
    UNPACKED,
    Say,
    TableHash,
    folder_of,
    hashes_of,
    is_ours,
    run_tool,
    tables_in,
)
from trader.runtime.credentials import OWNER, SUPERUSER
from trader.runtime.errors import AlreadyRunning, NotFound, StackError
from trader.runtime.instance import BEFORE, DATABASE, Instance
from trader.runtime.places import settings_file_of
from trader.runtime.schema import BROKEN_OFF, require_newest

if TYPE_CHECKING:
    from trader.runtime.interface import Runtime

# Where a database is judged before it is used, and what is no longer needed waits to be dropped.
BESIDE = f"{DATABASE}_restored"
# On a database that was restored, before the hash of what was booked in it then.
RESTORED_WITH = "restored with"
# A name that nobody sees: it lives within one transaction.
_AWAY = f"{DATABASE}_changing_places"
# Without a row in these nothing was decided or booked.
LEDGER = (
    "risk_manager.decisions",
    "trade_executor.intents",
    "trade_executor.fills",
    "trade_executor.cash_entries",
    "trade_executor.adjustments",
)


def drill(runtime: Runtime, file: Path, say: Say) -> dict[str, TableHash]:
    """Restore a database backup beside the database in use and compare every table; then drop it.

    Raises:
        StackError: a table differs from what was written, or the archive cannot be read.
    """
    with _alone(runtime.instance), _nothing_beside(runtime):
        return _restored_beside(runtime, file, say)


def restore_database(runtime: Runtime, file: Path, say: Say) -> dict[str, TableHash]:
    """Put a database backup in the place of the database, once every table agrees with it; trading is halted then.

    What was in use is kept as a database of its own until the next restore; see `put_back`. One in which nothing was
    booked since it was restored is not: so a wrong backup that was restored first does not cost what is in none.

    Raises:
        StackError: see `drill`. Misconfigured: no step leads from the backup to this version. What was in use
            still is, and what an earlier restore had kept is still kept.
    """
    with _alone(runtime.instance), _nothing_beside(runtime):
        hashes = _restored_beside(runtime, file, say)
        try:
            _judge(runtime, BESIDE, say)
        except Misconfigured as error:
            raise Misconfigured(
                f"{file.name} was not put back and the database in use is as it was; of what it holds: {error}"
            ) from None
        _mark_restored(runtime)
        with _halted(runtime.instance, f"the database is being restored from {file.name}"):
            say("putting it in the place of the database")
            there = _databases(runtime)
            if BEFORE in there and DATABASE in there and _is_worth_nothing(runtime):
                say(
                    f"what is booked in what was in use is in a backup, if any is: what {BEFORE} has kept stays"
                )
                _change_places(runtime, (BESIDE, DATABASE))
            elif DATABASE in there:
                # What an earlier restore had kept ends beside, and is dropped from there.
                _change_places(runtime, (BESIDE, DATABASE), (BESIDE, BEFORE))
            else:
                _change_places(runtime, (BESIDE, DATABASE))
    return hashes


def put_back(runtime: Runtime, say: Say) -> None:
    """Take what the last restore replaced into use again, and keep in its place what is in use; trading is halted then.

    Raises:
        NotFound: nothing is kept. Misconfigured: no step leads from it to this version, and nothing was changed.
    """
    with _alone(runtime.instance), _nothing_beside(runtime):
        if BEFORE not in _databases(runtime):
            raise NotFound(
                "no restore has replaced a database here, so there is none to put back; make restore FILE=... "
                "restores a backup"
            )
        try:
            _judge(runtime, BEFORE, say)
        except Misconfigured as error:
            raise Misconfigured(
                f"{BEFORE} was not put back and the database in use is as it was; of what it holds: {error}"
            ) from None
        with _halted(runtime.instance, "what a restore had replaced is being put back"):
            say("putting it in the place of the database")
            _change_places(runtime, (BEFORE, DATABASE))


def begin_anew(runtime: Runtime, say: Say) -> None:
    """Put an empty database in the place of the one in use, which is gone then."""
    with _alone(runtime.instance), _nothing_beside(runtime):
        _make_beside(runtime)
        _judge(runtime, BESIDE, say)
        _change_places(runtime, (BESIDE, DATABASE))


def refuse_broken_off(runtime: Runtime) -> None:
    """Raise Misconfigured where a restore by an earlier version was broken off: there is no database in use."""
    there = _databases(runtime)
    if BEFORE in there and DATABASE not in there:
        raise Misconfigured(BROKEN_OFF)


def restore_data(instance: Instance, file: Path, say: Say) -> Path:
    """Put back market history; what was there is kept in `before_restore` beside it, until the next restore.

    The settings are laid beside `.env`.

    Returns:
        The file that now holds the backup's settings.

    Raises:
        AlreadyRunning: another restore is under way. StackError: it cannot be done. History is as it was, or what
            was said names where it lies.
    """
    with _alone(instance):
        return _data_restored(instance, file, say)


def _data_restored(instance: Instance, file: Path, say: Say) -> Path:
    say("unpacking")
    place = instance.parquet
    fresh = place / UNPACKED
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        fresh.mkdir(mode=0o700, parents=True)
        with tarfile.open(file) as archive:
            archive.extractall(fresh, filter="data")
        settings = settings_file_of(instance.project, instance.home).with_name(".env.restored")
        if (fresh / ".env").exists():
            handle = os.open(settings, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, OWNER_ONLY)
            with os.fdopen(handle, "wb") as out:
                out.write((fresh / ".env").read_bytes())
        if (fresh / "parquet").exists():
            _keep_replaced(place, _replaced(place, fresh / "parquet"))
            say(f"what was there before is in {place / KEPT}")
    except (OSError, tarfile.TarError) as error:
        raise StackError(f"{file.name} cannot be unpacked: {error}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        for left in sorted(place.glob(f"{ASIDE}*")):
            say(f"a restore was broken off: take from {left} what is missing, then remove it")
    return settings


def _restored_beside(runtime: Runtime, file: Path, say: Say) -> dict[str, TableHash]:
    expected = tables_in(file)
    say(f"restoring {file.name} beside the database in use")
    _make_beside(runtime)
    client = runtime.postgres_client("pg_restore", SUPERUSER, BESIDE, terminal=False)
    with tarfile.open(file) as archive, tempfile.TemporaryFile() as dump:
        member = archive.extractfile("database.dump")
        if member is None:
            raise StackError(f"{file.name} holds no database")
        shutil.copyfileobj(member, dump)
        dump.seek(0)
        try:
            run_tool(
                client.command(f"--dbname={BESIDE}", "--exit-on-error"),
                client.environment,
                stdin=dump,
            )
        except StackError as error:
            raise type(error)(
                f"{file.name} could not be restored: {error}; nothing was changed, take another backup where this "
                "one is damaged"
            ) from error
    say("comparing every table")
    found = hashes_of(runtime, BESIDE)
    differing = sorted(
        name for name in {*expected, *found} if expected.get(name) != found.get(name)
    )
    if differing:
        raise StackError(
            f"{file.name} does not restore to what was written ({', '.join(differing[:5])} differ); "
            "take another backup, nothing was changed"
        )
    return found


def _make_beside(runtime: Runtime) -> None:
    _drop_beside(runtime)
    _sql(
        runtime,
        f"CREATE DATABASE {BESIDE} OWNER {OWNER} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'",
    )


def _drop_beside(runtime: Runtime) -> None:
    _sql(runtime, f"DROP DATABASE IF EXISTS {BESIDE} WITH (FORCE)")


def _judge(runtime: Runtime, database: str, say: Say) -> None:
    """Bring `database`, which is not in use, up to this version. Raises Misconfigured where that cannot be."""
    say("bringing it up to this version")
    runtime.migrate(database)
    rows = "SELECT 'SELECT version_num FROM public.alembic_version' WHERE to_regclass('public.alembic_version') IS NOT NULL"
    client = runtime.postgres_client("psql", SUPERUSER, database, terminal=False)
    words = client.command("-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1")
    found = run_tool(words, client.environment, stdin=f"{rows} \\gexec\n".encode()).decode().strip()
    require_newest(found, runtime.instance.project / "migrations")


@contextmanager
def _halted(instance: Instance, note: str) -> Iterator[None]:
    """Let nothing be sent before a person has looked; written first, so that no crash comes in between."""
    switch = HaltFile(instance.halt_file, "trader restore")
    try:
        switch.throw(note)
    except OSError as error:
        raise StackError(
            f"{switch.path} cannot be written ({error.strerror}), so trading could not be halted and nothing was put back"
        ) from error
    try:
        yield
    except StackError as error:
        # Not taken back: somebody else may have halted meanwhile, and a person must look in any case.
        raise type(error)(
            f"{error}; trading is halted by {switch.path} until trader resume"
        ) from error


def _databases(runtime: Runtime) -> set[str]:
    return set(_sql(runtime, "SELECT datname FROM pg_database").split())


def _mark_restored(runtime: Runtime) -> None:
    """Write on the database beside what is booked in it; the words go with it wherever its name goes."""
    _sql(runtime, f"COMMENT ON DATABASE {BESIDE} IS '{RESTORED_WITH} {_booked(runtime, BESIDE)}'")


def _is_worth_nothing(runtime: Runtime) -> bool:
    """Whether nothing was booked in the database in use, or nothing since it was restored: then a backup has it all."""
    words = _sql(
        runtime,
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database "  # noqa: S608  our own name
        f"WHERE datname = '{DATABASE}'",
    )
    return _holds_nothing(runtime) or (
        words.startswith(RESTORED_WITH) and words == f"{RESTORED_WITH} {_booked(runtime, DATABASE)}"
    )


def _booked(runtime: Runtime, database: str) -> str:
    """One hash of all that is decided and booked in `database`."""
    found = hashes_of(runtime, database)
    rows = [(name, found[name].rows, found[name].mark) for name in LEDGER if name in found]
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def _holds_nothing(runtime: Runtime) -> bool:
    """Whether nothing was decided or booked in the database in use: then it is not worth what was kept before."""
    tables = ", ".join(f"'{name}'" for name in LEDGER)
    # The names are ours; one that an older version did not have yet is passed over.
    rows = (
        "SELECT format('SELECT EXISTS (SELECT FROM %I.%I)', schemaname, tablename) FROM pg_tables "  # noqa: S608
        f"WHERE schemaname || '.' || tablename IN ({tables}) \\gexec\n"
    )
    client = runtime.postgres_client("psql", SUPERUSER, DATABASE, terminal=False)
    words = client.command("-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1")
    return "t" not in run_tool(words, client.environment, stdin=rows.encode()).decode().split()


def _change_places(runtime: Runtime, *pairs: tuple[str, str]) -> None:
    """Exchange the names of each pair of databases, or give the one that there is the other's name.

    One transaction: it has happened to all of them or to none.
    """
    there = _databases(runtime)
    steps = []
    for one, other in pairs:
        changes = [(one, _AWAY), (other, one), (_AWAY, other)]
        present = {one, other} & there
        if len(present) == 1:
            [name] = present
            changes = [(name, other if name == one else one)]
            there = (there - present) | {changes[0][1]}
        steps += changes
    renames = "; ".join(f"ALTER DATABASE {old} RENAME TO {new}" for old, new in steps)
    _sql(runtime, f"BEGIN; {renames}; COMMIT")


@contextmanager
def _alone(instance: Instance) -> Iterator[None]:
    """Nobody else restores meanwhile, be it a database or market data."""
    handle = os.open(folder_of(instance) / ".restoring", os.O_RDWR | os.O_CREAT, OWNER_ONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning("another restore or drill is under way; wait for it") from None
        yield
    finally:
        os.close(handle)


@contextmanager
def _nothing_beside(runtime: Runtime) -> Iterator[None]:
    """Nothing stays beside the database in use afterwards; what a killed one has left there is dropped by the next."""
    try:
        yield
    finally:
        # The reason why something failed must not be hidden by what that leaves.
        with suppress(StackError):
            _drop_beside(runtime)


def _replaced(place: Path, fresh: Path) -> Path:
    """Have all history in `place` change places with that in `fresh`; the folder that then holds the old one.

    All of it or nothing: a failure moves back what was moved. What cannot be moved back is still in that folder.
    """
    aside = Path(tempfile.mkdtemp(prefix=ASIDE, dir=place))
    with ExitStack() as undo:
        # Without a word where it is not empty: somebody's history.
        undo.callback(_remove_if_empty, aside)
        for source, target in ((place, aside), (fresh, place)):
            for entry in sorted(path for path in source.iterdir() if not is_ours(path.name)):
                moved = target / entry.name
                entry.rename(moved)
                undo.callback(moved.rename, entry)
        undo.pop_all()
    return aside


def _keep_replaced(place: Path, aside: Path) -> None:
    """Give `aside` the name of what was there before; what an earlier restore had kept goes."""
    kept = place / KEPT
    try:
        if kept.exists():
            shutil.rmtree(kept)
        aside.rename(kept)
    except OSError as error:
        raise StackError(
            f"market data is back, but {kept} cannot be replaced ({error.strerror}): remove it; what was "
            f"there before is in {aside}"
        ) from error


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _sql(runtime: Runtime, statement: str) -> str:
    client = runtime.postgres_client("psql", SUPERUSER, "postgres", terminal=False)
    words = client.command("-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statement)
    return run_tool(words, client.environment).decode().strip()
