"""How is PostgreSQL set up and run on this machine?

Version 18 from a wheel's binaries, never by that wheel's own code. Every login proves a password by
SCRAM over the loopback address; there is no Unix socket and no trusted connection. A commit is on
disk before it is answered. The roles, the database and its tables are made here, before any service
starts, and nothing a service owns can be read with another one's password.
"""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from shared.domain.errors import Misconfigured
from trader.runtime import schema
from trader.runtime.account import can_enter, open_place, server_account
from trader.runtime.binaries import postgres_binaries
from trader.runtime.credentials import SUPERUSER, password_of
from trader.runtime.instance import DATABASE, Instance
from trader.runtime.launch import executable_of
from trader.runtime.ports import LOOPBACK
from trader.runtime.schema import Server, bring_up_to_date, can_connect

MAJOR_VERSION = "18"
INITDB_WITHIN_S = 120
# What tells why a server did not start, the surest sign first.
_CAUSES = ("FATAL:|No space", "could not|error:")
# For one machine that runs everything: small, and strict about what is on disk.
CONFIGURATION = """\
# Written at each start; changes belong to the settings file of the stack.
listen_addresses = '{address}'
port = {port}
unix_socket_directories = ''
password_encryption = 'scram-sha-256'
max_connections = 100
shared_buffers = '64MB'
work_mem = '4MB'
maintenance_work_mem = '32MB'
max_wal_size = '256MB'
min_wal_size = '80MB'
wal_buffers = '4MB'
fsync = on
synchronous_commit = on
full_page_writes = on
# Lets `benchmarks/pipeline.py` read how long each hop between two commits took.
track_commit_timestamp = on
max_worker_processes = 4
max_parallel_workers = 2
jit = off
# The ledger fits into memory, where a page costs the same in any order; by default small tables are read whole for each row.
random_page_cost = 1.1
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %u '
log_min_duration_statement = '1s'
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
idle_in_transaction_session_timeout = '60s'
"""
# Loopback only, and nobody without a password.
ACCESS = "host all all 127.0.0.1/32 scram-sha-256\n"


def data_folder(instance: Instance) -> Path:
    """Return where the cluster of `instance` is stored: in its home, or where the server can reach it."""
    natural = instance.home / "postgres"
    if can_enter(natural.parent, server_account()):
        return natural
    return open_place() / "homes" / instance.mark / "postgres"


def server_command(instance: Instance) -> tuple[str, ...]:
    """Return the command that runs the server in the foreground."""
    binary = postgres_binaries(instance.project) / "postgres"
    return (str(binary), "-D", str(data_folder(instance)))


def prepare_cluster(instance: Instance) -> None:
    """Make the cluster if there is none, and write its configuration.

    Raises:
        Misconfigured: another version made what is stored there, or it cannot be made.
    """
    data = data_folder(instance)
    version_file = data / "PG_VERSION"
    if version_file.exists():
        found = version_file.read_text().strip()
        if found != MAJOR_VERSION:
            raise Misconfigured(
                f"{data} was made by PostgreSQL {found}, this system runs {MAJOR_VERSION}; "
                "restore a backup into a new folder, or move the old one away"
            )
    else:
        _make_cluster(instance, data)
    _drop_stale_lock(data)
    text = CONFIGURATION.format(address=LOOPBACK, port=instance.ports.postgres)
    _write_as_server(data / "postgresql.conf", text)
    _write_as_server(data / "pg_hba.conf", ACCESS)
    _follow_changed_password(instance, data)


def remove_cluster(instance: Instance) -> None:
    """Delete the cluster, wherever it stands."""
    data = data_folder(instance)
    shutil.rmtree(data, ignore_errors=True)
    if data.parent != instance.home and data.parent.exists():
        data.parent.rmdir()


def bootstrap(instance: Instance, database: str = DATABASE) -> None:
    """Make the roles and the database, and bring its tables up to date; doing it again changes nothing."""
    bring_up_to_date(_server(instance), instance.project / "migrations", database)


def make_roles(instance: Instance) -> None:
    """See `schema.make_roles`."""
    schema.make_roles(_server(instance))


def answers(instance: Instance) -> bool:
    """Say whether the server takes connections."""
    return can_connect(_server(instance))


def _server(instance: Instance) -> Server:
    return Server(LOOPBACK, instance.ports.postgres, instance.settings["DB_PASSWORD"])


def _make_cluster(instance: Instance, data: Path) -> None:
    initdb = postgres_binaries(instance.project) / "initdb"
    data.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    # Made beside its place and moved there when whole, so that a crash leaves no half cluster.
    draft = Path(tempfile.mkdtemp(prefix="postgres-draft-", dir=data.parent))
    _give_to_server(draft)
    word = draft / "word"
    _write_as_server(word, instance.database_password(SUPERUSER))
    account = server_account()
    try:
        done = subprocess.run(  # noqa: S603  our own binary, no shell
            [
                str(initdb),
                f"--pgdata={draft / 'cluster'}",
                f"--username={SUPERUSER}",
                f"--pwfile={word}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--data-checksums",
                "--no-instructions",
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=draft,
            env=_clean_environment(),
            timeout=INITDB_WITHIN_S,
            user=account,
            group=account,
            extra_groups=None if account is None else [],
        )
        if done.returncode != 0:
            raise Misconfigured(
                f"PostgreSQL could not be set up in {data}: {cause_in(done.stderr.strip() or done.stdout)}"
            )
        (draft / "cluster").rename(data)
    except subprocess.TimeoutExpired as error:
        raise Misconfigured(
            f"PostgreSQL could not be set up in {data} within {INITDB_WITHIN_S} s; is the disk full?"
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def cause_in(words: str) -> str:
    """The line that says why, which is not the last: the tool tells of its tidying up afterwards."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    # A warning may say "could not" as well, before what ends it.
    found = [line for signs in _CAUSES for line in lines if re.search(signs, line)]
    return (found or lines[-1:] or ["it has said nothing"])[0]


def _drop_stale_lock(data: Path) -> None:
    """Remove a lock left by a crash, when its number now belongs to some other program."""
    lock = data / "postmaster.pid"
    try:
        pid = int(lock.read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return
    if Path(executable_of(pid)).name != "postgres":
        lock.unlink()


def _follow_changed_password(instance: Instance, data: Path) -> None:
    """Give the superuser a new password when DB_PASSWORD was changed since the last start.

    The server is not running yet, and who may read its files may do so; roles follow in `bootstrap`.
    """
    mark = password_of("mark", instance.settings["DB_PASSWORD"])
    kept = data / "password.mark"
    if kept.exists() and kept.read_text() == mark:
        return
    if kept.exists():
        account = server_account()
        binary = postgres_binaries(instance.project) / "postgres"
        statement = f"ALTER ROLE {SUPERUSER} PASSWORD '{instance.database_password(SUPERUSER)}'\n"
        done = subprocess.run(  # noqa: S603  our own binary; the statement goes by standard input
            [str(binary), "--single", "-D", str(data), "postgres"],
            input=statement,
            capture_output=True,
            text=True,
            check=False,
            cwd=data,
            env=_clean_environment(),
            timeout=INITDB_WITHIN_S,
            user=account,
            group=account,
            extra_groups=None if account is None else [],
        )
        if done.returncode != 0 or re.search(r"^.*(ERROR|FATAL):", done.stderr, re.MULTILINE):
            raise Misconfigured(
                f"DB_PASSWORD was changed and the database in {data} could not follow; "
                "put the old value back"
            )
    _write_as_server(kept, mark)


def _clean_environment() -> dict[str, str]:
    # Variables that begin with PG would change what the tools do.
    return {key: os.environ[key] for key in ("PATH", "TMPDIR") if key in os.environ} | {
        "LC_ALL": "C"
    }


def _give_to_server(path: Path) -> None:
    account = server_account()
    if account is not None:
        os.chown(path, account, account)


def _write_as_server(file: Path, text: str) -> None:
    draft = file.with_suffix(".draft")
    # The folder is the server's own: a link laid there must not lead whoever started us elsewhere.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    handle = os.open(draft, flags, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        out.write(text)
    _give_to_server(draft)
    draft.replace(file)
