"""What is in a backup, and which are kept?

One file each, readable by its owner alone: the database as pg_dump's archive with the hash of every table,
taken from one and the same snapshot; or market data with the settings. How one is put back: `restoring`.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from shared.adapters.clocks import WallClock
from shared.adapters.durable_files import DRAFT, WRITER_LOCK
from shared.config import load_settings
from shared.domain.errors import InvalidInput, Misconfigured
from trader.runtime.clients import Client
from trader.runtime.credentials import SUPERUSER
from trader.runtime.errors import NotFound, StackError, TimedOut
from trader.runtime.instance import DATABASE, Instance
from trader.runtime.places import settings_file_of

if TYPE_CHECKING:  # a scheduler's container holds no runtime, and writes backups all the same
    from trader.runtime.interface import Runtime

Say = Callable[[str], None]

DATABASE_KIND, DATA_KIND = "database", "data"
KINDS = (DATABASE_KIND, DATA_KIND)
WITHIN_S = 3600
# How often the market data is listed again while it changes.
LISTINGS = 20
# No backup takes so long: whoever was writing that draft is gone.
ABANDONED_AFTER = timedelta(hours=12)
OWNER_ONLY = 0o600
# What exFAT, network shares and the like answer to a hard link.
NO_LINKS = (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
# In the folder of history, which may be a disk of its own: that can neither be renamed nor be reached by a rename.
# No account's label has an underscore.
KEPT = "before_restore"
UNPACKED = f"{KEPT}.unpacked"
# What lies there while it changes places. A restore that is killed leaves it, and none removes another's.
ASIDE = f"{KEPT}.broken-off-"
# Every ext4 disk has one at its root, and it stays there.
NOT_HISTORY = (KEPT, UNPACKED, "lost+found")
NAME = re.compile(r"(database|data)-\d{8}T\d{6}Z\.tar")
_ALL_HASHED = "done"
# Of each row a hash, of the hashes two sums: no order and no memory is needed, and no table is too large.
HASHES = """
SET timezone = 'UTC'; SET datestyle = 'ISO'; SET extra_float_digits = 1;
SELECT format(
  'SELECT %L, count(*), coalesce(sum((''x'' || substr(h, 1, 15))::bit(60)::bigint), 0), '
  'coalesce(sum((''x'' || substr(h, 16, 15))::bit(60)::bigint), 0) FROM '
  '(SELECT encode(sha256(convert_to(t::text, ''UTF8'')), ''hex'') AS h FROM %I.%I AS t) AS rows',
  schemaname || '.' || tablename, schemaname, tablename)
FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')
ORDER BY schemaname COLLATE "C", tablename COLLATE "C" \\gexec
"""


@dataclass(frozen=True, slots=True)
class TableHash:
    """How many rows a table has, and what they add up to."""

    rows: int
    mark: str


def folder_of(instance: Instance) -> Path:
    """Where backups are kept; made on first use, its owner's alone."""
    folder = instance.home / "backups"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Misconfigured(f"{folder} cannot be made: {error.strerror}") from error
    return folder


class Source(Protocol):
    """Where a backup comes from, and in whose folder it is kept; every `Runtime` is one."""

    @property
    def instance(self) -> Instance:
        """In whose folder."""
        ...

    def postgres_client(self, tool: str, role: str, database: str, *, terminal: bool) -> Client:
        """One of PostgreSQL's clients, logged in."""
        ...


def back_up_database(runtime: Source, say: Say, *, role: str = SUPERUSER) -> Path:
    """Write the database, which must be up, into a new backup; return its file.

    `role` needs no more than to read every table.
    """
    say("writing the database")
    with _drafts(runtime.instance) as drafts:
        dump = drafts / "database.dump"
        with _snapshot(runtime, role) as (snapshot, hashes):
            client = runtime.postgres_client("pg_dump", role, DATABASE, terminal=False)
            with dump.open("wb") as out:
                run_tool(
                    client.command("--format=custom", f"--snapshot={snapshot}"),
                    client.environment,
                    stdout=out,
                )
        manifest = {
            "kind": DATABASE_KIND,
            "made_at": _now().isoformat(),
            "tables": {name: [found.rows, found.mark] for name, found in hashes.items()},
        }
        return _keep(runtime.instance, DATABASE_KIND, manifest, {"database.dump": dump})


def back_up_data(instance: Instance, say: Say) -> Path:
    """Write market history and the settings file into a new backup; return its file."""
    parts = {".env": settings_file_of(instance.project, instance.home)}
    if isinstance(instance.history, Path):
        say("writing market data and settings")
        parts["parquet"] = instance.parquet
    else:
        say(f"writing settings; market data lies in {instance.history}, whose own versions keep it")
    there = {name: path for name, path in parts.items() if path.exists()}
    manifest = {"kind": DATA_KIND, "made_at": _now().isoformat(), "parts": sorted(there)}
    with _drafts(instance) as drafts:
        if "parquet" in there:
            there["parquet"] = _held_still(there["parquet"], drafts / "parquet")
        return _keep(instance, DATA_KIND, manifest, there)


def newest(instance: Instance, kind: str) -> Path:
    """The newest backup of a kind.

    Raises:
        NotFound: there is none.
    """
    found = _of_kind(folder_of(instance), kind)
    if not found:
        raise NotFound(
            f"there is no {kind} backup in {folder_of(instance)}; make one with make backup"
        )
    return found[-1]


def kind_of(file: Path) -> str:
    """What a backup holds. Raises InvalidInput when it is none."""
    return str(_manifest(file)["kind"])


def tables_in(file: Path) -> dict[str, TableHash]:
    """Every table of a database backup as it was written. Raises InvalidInput when it holds none."""
    manifest = _manifest(file)
    if manifest["kind"] != DATABASE_KIND:
        raise InvalidInput(f"{file.name} holds market data and settings, not the database")
    return {
        name: TableHash(int(rows), str(mark)) for name, (rows, mark) in manifest["tables"].items()
    }


def hashes_of(runtime: Runtime, database: str) -> dict[str, TableHash]:
    """The hash of every table of `database` as it is now."""
    client = runtime.postgres_client("psql", SUPERUSER, database, terminal=False)
    words = client.command("-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1")
    answer = run_tool(words, client.environment, stdin=HASHES.encode())
    return _parsed(answer.decode().splitlines())


def is_ours(name: str) -> bool:
    """Whether what is called so in the folder of history is none."""
    return name in NOT_HISTORY or name.startswith(ASIDE)


@contextmanager
def _snapshot(runtime: Source, role: str) -> Iterator[tuple[str, dict[str, TableHash]]]:
    """Hold one state of the database still: its name for pg_dump, and its hashes."""
    client = runtime.postgres_client("psql", role, DATABASE, terminal=False)
    session = subprocess.Popen(  # noqa: S603  our own client
        client.command("-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"),
        env=dict(client.environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert session.stdin is not None  # both are pipes
    assert session.stdout is not None
    try:
        # One that could not log in has ended already, and says why.
        with suppress(BrokenPipeError):
            session.stdin.write(
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;\nSELECT pg_export_snapshot();\n"
                f"{HASHES}\n\\echo {_ALL_HASHED}\n"
            )
            session.stdin.flush()
        lines = []
        for line in session.stdout:
            if line.strip() == _ALL_HASHED:
                break
            lines.append(line)
        else:
            # It has lost its server, or was refused: then it ends, and its output with it.
            said = session.stderr.read().split("\n") if session.stderr is not None else []
            raise StackError(
                f"the database was not read to its end and no backup was written: {' '.join(said[:2])[:400]}"
            )
        snapshot, *hashes = lines
        yield snapshot.strip(), _parsed(hashes)
    finally:
        with suppress(BrokenPipeError):
            session.stdin.close()
        session.stdout.close()
        if session.stderr is not None:
            session.stderr.close()
        session.wait(timeout=60)


def _parsed(lines: list[str]) -> dict[str, TableHash]:
    rows = [line.strip().split("|") for line in lines if line.strip()]
    return {name: TableHash(int(count), f"{one}-{two}") for name, count, one, two in rows}


def run_tool(
    words: list[str],
    environment: Mapping[str, str],
    *,
    stdin: bytes | Any = None,
    stdout: Any = subprocess.PIPE,
) -> bytes:
    """Run one of PostgreSQL's own client programs and return what it says.

    Raises:
        StackError: it cannot be run, or has failed; its first words are quoted. TimedOut: it has not ended.
    """
    given: dict[str, Any] = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
    if stdin is None:
        given = {"stdin": subprocess.DEVNULL}
    try:
        done = subprocess.run(  # noqa: S603  PostgreSQL's own client programs
            words,
            env=dict(environment),
            stdout=stdout,
            stderr=subprocess.PIPE,
            check=False,
            timeout=WITHIN_S,
            **given,
        )
    except subprocess.TimeoutExpired as error:
        raise TimedOut(f"the database did not finish within {WITHIN_S} s") from error
    except OSError as error:
        raise StackError(f"{words[0]} cannot be run: {error.strerror}") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise StackError(f"the database tools failed: {' '.join(said[:2])[:400]}")
    return done.stdout or b""


def _keep(
    instance: Instance, kind: str, manifest: Mapping[str, Any], parts: Mapping[str, Path]
) -> Path:
    folder = folder_of(instance)
    draft = folder / f"{kind}-{os.getpid()}.draft"
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, OWNER_ONLY)
        with os.fdopen(handle, "wb") as out:
            with tarfile.open(fileobj=out, mode="w") as archive:
                text = json.dumps(manifest, sort_keys=True).encode()
                entry = tarfile.TarInfo("manifest.json")
                entry.size = len(text)
                archive.addfile(entry, io.BytesIO(text))
                for name, path in parts.items():
                    archive.add(path, arcname=name)
            out.flush()
            os.fsync(out.fileno())
        target = _named(draft, kind)
    except OSError as error:
        mend = "make room" if error.errno in NO_ROOM else "see that this user may write"
        raise StackError(
            f"no backup can be written to {folder}: {error.strerror}; {mend} there"
        ) from error
    finally:
        draft.unlink(missing_ok=True)
    kept = load_settings(instance.settings).retention_backups
    for old in _of_kind(folder, kind)[:-kept]:
        if old != target:
            old.unlink(missing_ok=True)
    return target


def _named(draft: Path, kind: str) -> Path:
    """Give a whole draft its name: the second it was made in, or the one after the newest backup's.

    So the order of names is the order in which backups were made, whatever was removed since and however often the
    machine's clock was set back; the oldest go first by it.
    """
    while True:
        there = _of_kind(draft.parent, kind)
        at = _now()
        newest_at = _made_at(there[-1]) if there else None
        if newest_at is not None:
            at = max(at, newest_at + timedelta(seconds=1))
        target = draft.with_name(f"{kind}-{at:%Y%m%dT%H%M%SZ}.tar")
        try:
            _give(draft, target)
        except FileExistsError:
            continue  # somebody else made one this moment
        return target


def _made_at(backup: Path) -> datetime | None:
    """The instant in a backup's name; None where somebody has written a day that does not exist."""
    try:
        return datetime.strptime(backup.stem.partition("-")[2], "%Y%m%dT%H%M%S%z")
    except ValueError:
        return None


def _give(draft: Path, target: Path) -> None:
    """Give `draft` the name `target`. Raises FileExistsError where a file has it."""
    try:
        # Unlike a rename, a link never takes the place of a file.
        target.hardlink_to(draft)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        # The name is taken first, so that the rename replaces nothing but what is ours.
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY))
        try:
            draft.replace(target)
        except OSError:
            target.unlink(missing_ok=True)
            raise


def _of_kind(folder: Path, kind: str) -> list[Path]:
    found = (file for file in folder.glob(f"{kind}-*.tar") if NAME.fullmatch(file.name))
    return sorted((file for file in found if _made_at(file)), key=lambda file: file.name)


def _manifest(file: Path) -> dict[str, Any]:
    try:
        with tarfile.open(file) as archive:
            member = archive.extractfile("manifest.json")
            found = json.loads(member.read()) if member is not None else None
    except FileNotFoundError:
        raise NotFound(f"there is no file {file}") from None
    except (OSError, tarfile.TarError, KeyError, ValueError) as error:
        # tarfile gives a line for each kind of archive that it is not.
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(":")
        raise InvalidInput(f"{file.name} is no backup of this system: {reason}") from None
    if not isinstance(found, dict) or found.get("kind") not in KINDS:
        raise InvalidInput(f"{file.name} is no backup of this system")
    return found


def _held_still(folder: Path, into: Path) -> Path:
    """All files below `folder` as of one moment, as links in `into`.

    The collector goes on: its files are never changed, but merged into larger ones and then removed. A listing
    that is still true when all of it is linked holds every append, in one file or the other.
    """
    for _ in range(LISTINGS):
        names = _files_below(folder)
        held = [_link(folder / name, into / name) for name in sorted(names)]
        if all(held) and _files_below(folder) == names:
            return into
    raise StackError(f"files in {folder} keep changing; try again, or stop the system first")


def _files_below(folder: Path) -> set[Path]:
    found = set()
    # Unlike Path.rglob it passes over a folder that has just gone.
    for place, _, names in os.walk(folder):
        found |= {(Path(place) / name).relative_to(folder) for name in names}
    return {
        name
        for name in found
        if name.suffix != DRAFT and name.name != WRITER_LOCK and not is_ours(name.parts[0])
    }


def _link(file: Path, link: Path) -> bool:
    """Hold `file` under a second name; False where it has gone."""
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        try:
            link.hardlink_to(file)
        except FileNotFoundError:
            raise
        except OSError:
            # Another disk, or somebody else's file on a machine that forbids such links.
            shutil.copy2(file, link)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StackError(f"{file} cannot be kept: {error.strerror}; make room there") from error
    return True


@contextmanager
def _drafts(instance: Instance) -> Iterator[Path]:
    _forget_drafts(folder_of(instance))
    folder = Path(tempfile.mkdtemp(prefix="draft-", dir=folder_of(instance)))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _forget_drafts(folder: Path) -> None:
    """Remove what a writer left that was killed, or whose machine went down."""
    oldest = (_now() - ABANDONED_AFTER).timestamp()
    for draft in (*folder.glob("draft-*"), *folder.glob("*.draft")):
        try:
            if draft.stat().st_mtime >= oldest:
                continue
        except FileNotFoundError:
            continue
        if draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
        else:
            draft.unlink(missing_ok=True)


def _now() -> datetime:
    return WallClock().now().astimezone(UTC)
