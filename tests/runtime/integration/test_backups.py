"""Backups restore: every table is compared, and what does not agree takes nobody's place."""

import asyncio
import io
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop

from scheduler.adapters.upkeep import MachineUpkeep
from shared.adapters.clocks import MonotonicTimer
from shared.adapters.postgres import open_database
from shared.config import load_settings
from shared.domain.errors import Misconfigured, Rejected
from shared.testing.time import FakeClock
from trader.cli import main
from trader.exits import ExitCode
from trader.runtime import backups, restoring
from trader.runtime.credentials import BACKUP, OPERATOR, OWNER, SUPERUSER
from trader.runtime.errors import AlreadyRunning, NotFound, StackError
from trader.runtime.instance import BEFORE, DATABASE, Instance
from trader.runtime.local import LocalRuntime
from trader.runtime.ports import port_setting
from trader.runtime.stack import LocalStack
from trader.runtime.waiting import wait_until
from trader.testing.connections import connected
from trader.testing.projects import act_on
from trader.testing.servers import Servers


def silent(_: str) -> None:
    """Nobody listens."""


def execute(instance: Instance, statement: str) -> None:
    async def work() -> None:
        async with connected(instance, OWNER) as connection:
            await connection.execute(statement)

    asyncio.run(work())


def superuser(instance: Instance, statement: str) -> None:
    client = LocalRuntime(instance).postgres_client("psql", SUPERUSER, "postgres", terminal=False)
    words = client.command("-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", statement)
    subprocess.run(words, env=dict(client.environment), check=True, capture_output=True)


def a_ledger(instance: Instance, name: str) -> Path:
    """Write `name` into the database in use; a backup of it."""
    execute(instance, f"CREATE TABLE {name} AS SELECT 1 AS n")
    execute(
        instance,
        "INSERT INTO trade_executor.adjustments (account, key, symbol, quantity, reason, evidence, entered_at) "
        f"VALUES ('a', '{name}', 'AAPL', 1, 'r', '{{}}', '2026-01-05T21:00:00Z')",
    )
    return backups.back_up_database(LocalRuntime(instance), silent)


def ledgers(instance: Instance) -> dict[str, list[str]]:
    """What tests have written into each database that there is."""
    runtime = LocalRuntime(instance)
    found = {}
    for name in (DATABASE, BEFORE, restoring.BESIDE):
        with suppress(StackError):
            tables = backups.hashes_of(runtime, name)
            found[name] = [
                each.removeprefix("public.")
                for each in tables
                if each.startswith("public.") and each != "public.alembic_version"
            ]
    return found


def in_the_services_loop(work: Coroutine[Any, Any, Any]) -> Any:
    """Run `work` in the loop that services have, which starts programs in its own way."""
    return uvloop.run(work)


@pytest.fixture
def runtime(servers: Servers) -> LocalRuntime:
    """The shared pair: a drill restores beside its database and leaves that alone."""
    return LocalRuntime(servers.instance)


def test_a_backup_is_its_owners_alone_and_a_drill_finds_every_table_as_written(
    runtime: LocalRuntime,
) -> None:
    file = backups.back_up_database(runtime, silent)

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    found = restoring.drill(runtime, file, silent)
    assert found == backups.hashes_of(runtime, DATABASE)
    assert "trade_executor.fills" in found


def test_the_schedulers_nightly_backup_is_written_by_a_role_that_may_only_read_and_restores(
    runtime: LocalRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {**runtime.instance.environment("scheduler"), "BACKUP_DIR": str(tmp_path / "backups")}
    for name, value in told.items():
        monkeypatch.setenv(name, value)

    async def scenario() -> dict[str, Any]:
        settings, timer = load_settings(told), MonotonicTimer()
        async with open_database(settings, timer, application="t") as database:
            upkeep = MachineUpkeep(database, tmp_path, timedelta(days=1), FakeClock())
            return await upkeep.back_up()

    figures = in_the_services_loop(scenario())

    [file] = (tmp_path / "backups").iterdir()
    assert (figures["file"], figures["bytes"]) == (file.name, file.stat().st_size)
    found = restoring.drill(runtime, file, silent)
    assert figures["tables"] == len(found)
    assert "trade_executor.fills" in found


def test_a_nightly_backup_that_is_given_up_ends_its_programs_and_leaves_no_draft(
    runtime: LocalRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "backups"
    told = {**runtime.instance.environment("scheduler"), "BACKUP_DIR": str(folder)}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    client = runtime.postgres_client("psql", OWNER, DATABASE, terminal=False)

    def tools() -> list[str]:
        words = ["ps", "-o", "comm=", "--ppid", ",".join(writers())]
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout.split()

    def writers() -> list[str]:
        words = ["pgrep", "-P", str(os.getpid()), "-f", "trader.runtime.nightly_backup"]
        found = subprocess.run(words, capture_output=True, text=True, check=False).stdout.split()
        return found or ["0"]

    async def scenario() -> None:
        settings, timer = load_settings(told), MonotonicTimer()
        async with open_database(settings, timer, application="t") as database:
            upkeep = MachineUpkeep(database, tmp_path, timedelta(days=1), FakeClock())
            writing = asyncio.create_task(upkeep.back_up())
            assert await asyncio.to_thread(wait_until, lambda: "psql" in tools(), 30)
            assert list(folder.glob("draft-*")) != []
            writing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await writing

    with subprocess.Popen(
        client.command("-X", "-q", "-A", "-t"),
        env=dict(client.environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as holder:  # fmt: skip
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.write("BEGIN; LOCK TABLE trade_executor.fills; SELECT 'held';\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == "held\n"
        in_the_services_loop(scenario())
        holder.stdin.close()

    assert writers() == ["0"]
    assert list(folder.iterdir()) == []


def test_a_database_that_breaks_off_while_it_is_hashed_ends_the_backup_in_a_sentence(
    runtime: LocalRuntime,
) -> None:
    with pytest.raises(StackError, match=r"not read to its end.*permission denied"):
        # May read some tables and not all: the client ends at the first it may not.
        backups.back_up_database(runtime, silent, role=OPERATOR)


def test_a_backup_for_which_nobody_may_log_in_says_why(runtime: LocalRuntime) -> None:
    with pytest.raises(StackError, match=r"not read to its end.*nobody"):
        backups.back_up_database(runtime, silent, role="nobody")


def test_the_role_of_backups_changes_nothing(runtime: LocalRuntime) -> None:
    client = runtime.postgres_client("psql", BACKUP, DATABASE, terminal=False)
    words = client.command("-X", "-q", "-c", "DELETE FROM scheduler.jobs")

    done = subprocess.run(
        words, env=dict(client.environment), capture_output=True, text=True, check=False
    )

    assert "permission denied" in done.stderr


def test_a_backup_that_cannot_be_written_ends_in_the_writers_own_sentence(
    runtime: LocalRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {**runtime.instance.environment("scheduler"), "DB_BACKUP_PASSWORD": "wrong"}
    for name, value in {**told, "BACKUP_DIR": str(tmp_path / "backups")}.items():
        monkeypatch.setenv(name, value)

    async def scenario() -> None:
        settings, timer = load_settings(told), MonotonicTimer()
        async with open_database(settings, timer, application="t") as database:
            upkeep = MachineUpkeep(database, tmp_path, timedelta(days=1), FakeClock())
            with pytest.raises(Rejected, match=r"the database was not read to its end .*password"):
                await upkeep.back_up()

    in_the_services_loop(scenario())
    assert list((tmp_path / "backups").iterdir()) == []


def test_a_backup_with_one_row_less_than_written_is_refused(
    runtime: LocalRuntime, tmp_path: Path
) -> None:
    file = backups.back_up_database(runtime, silent)
    forged = tmp_path / file.name
    with tarfile.open(file) as whole, tarfile.open(forged, "w") as other:
        manifest = json.loads(whole.extractfile("manifest.json").read())  # type: ignore[union-attr]
        manifest["tables"]["trade_executor.fills"][0] += 1
        text = json.dumps(manifest).encode()
        entry = tarfile.TarInfo("manifest.json")
        entry.size = len(text)
        other.addfile(entry, io.BytesIO(text))
        other.addfile(whole.getmember("database.dump"), whole.extractfile("database.dump"))

    with pytest.raises(StackError, match=r"trade_executor\.fills differ"):
        restoring.drill(runtime, forged, silent)


def test_a_backup_whose_dump_is_damaged_is_named_and_nothing_is_changed(
    runtime: LocalRuntime, tmp_path: Path
) -> None:
    file = backups.back_up_database(runtime, silent)
    damaged = tmp_path / file.name
    with tarfile.open(file) as whole, tarfile.open(damaged, "w") as other:
        other.addfile(whole.getmember("manifest.json"), whole.extractfile("manifest.json"))
        entry = whole.getmember("database.dump")
        other.addfile(entry, io.BytesIO(b"\x5a" * entry.size))

    with pytest.raises(
        StackError, match=rf"^{file.name} could not be restored: .*nothing was changed"
    ):
        restoring.drill(runtime, damaged, silent)


def test_a_file_that_is_no_backup_is_refused_in_a_sentence(
    runtime: LocalRuntime, tmp_path: Path
) -> None:
    stranger = tmp_path / "x.tar"
    stranger.write_text("nothing")

    with pytest.raises(Exception, match=r"x\.tar is no backup of this system"):
        restoring.drill(runtime, stranger, silent)


def test_only_as_many_backups_stay_as_the_setting_says(servers: Servers, tmp_path: Path) -> None:
    settings = {"RETENTION_BACKUPS": "2"}
    instance = Instance.create(tmp_path / "home", servers.instance.ports, settings, tmp_path)
    folder = backups.folder_of(instance)
    for day in (1, 2, 3):
        (folder / f"data-2020010{day}T000000Z.tar").touch()
    (folder / "mine.tar").touch()

    newest = backups.back_up_data(instance, silent)

    kept = sorted(file.name for file in folder.iterdir())
    assert kept == sorted(["data-20200103T000000Z.tar", "mine.tar", newest.name])
    assert backups.newest(instance, backups.DATA_KIND) == newest
    with pytest.raises(NotFound, match="there is no database backup"):
        backups.newest(instance, backups.DATABASE_KIND)


def test_two_backups_within_a_second_have_names_of_their_own(
    servers: Servers, tmp_path: Path
) -> None:
    instance = Instance.create(tmp_path / "home", servers.instance.ports, {}, tmp_path)

    made = [backups.back_up_data(instance, silent) for _ in range(3)]

    assert sorted(set(made)) == made
    assert backups.newest(instance, backups.DATA_KIND) == made[-1]
    assert sorted(backups.folder_of(instance).iterdir()) == made


@pytest.fixture(scope="module")
def own_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """Servers whose database these tests may replace."""
    instance = Instance.create(tmp_path_factory.mktemp("own") / "home")
    stack = LocalStack(instance, [], owned=True)
    stack.start()
    superuser(instance, f"CREATE DATABASE fresh TEMPLATE {DATABASE} OWNER {OWNER}")
    yield instance
    stack.remove()


@pytest.fixture
def own(own_servers: Instance, monkeypatch: pytest.MonkeyPatch) -> Instance:
    """A project of the test's own behind the commands, with its database running, and nothing in it."""
    act_on(monkeypatch, own_servers)
    for name in (DATABASE, BEFORE, restoring.BESIDE):
        superuser(own_servers, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    superuser(own_servers, f"CREATE DATABASE {DATABASE} TEMPLATE fresh OWNER {OWNER}")
    shutil.rmtree(backups.folder_of(own_servers))
    own_servers.halt_file.unlink(missing_ok=True)
    return own_servers


def test_a_restored_database_takes_the_place_of_the_other_and_trading_stays_halted(
    own: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    execute(own, "CREATE TABLE kept AS SELECT generate_series(1, 3) AS n")
    assert main(["backup"]) == ExitCode.OK
    execute(own, "DELETE FROM kept")
    capsys.readouterr()

    assert main(["restore"]) == ExitCode.USAGE
    assert "CONFIRM=yes" in capsys.readouterr().err
    assert main(["restore", "--yes", "--json"]) == ExitCode.OK

    assert json.loads(capsys.readouterr().out)["drill"] is False
    runtime = LocalRuntime(own)
    assert backups.hashes_of(runtime, DATABASE)["public.kept"].rows == 3
    assert backups.hashes_of(runtime, BEFORE)["public.kept"].rows == 0
    assert "is being restored from" in own.halt_file.read_text()
    # The next upgrade's steps make schemas of their own in it.
    execute(own, "CREATE SCHEMA later")


def test_a_database_of_a_newer_version_is_refused_in_a_sentence_and_left_alone(
    own: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    execute(own, "UPDATE alembic_version SET version_num = '9999'")

    assert main(["db", "migrate"]) == ExitCode.USAGE

    said = capsys.readouterr().err
    assert "was made by a newer version" in said
    assert "Traceback" not in said


def test_a_step_that_fails_leaves_the_database_as_it_was(
    own: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    execute(own, "UPDATE alembic_version SET version_num = '0018'")
    runtime = LocalRuntime(own)
    before = backups.hashes_of(runtime, DATABASE)

    assert main(["db", "migrate"]) == ExitCode.USAGE

    said = capsys.readouterr().err
    assert "could not be brought up to date and is as it was" in said
    assert said.count("\n") == 1
    assert backups.hashes_of(runtime, DATABASE) == before


def test_a_reset_keeps_what_no_step_leads_on_from_and_a_restore_does_not_let_that_replace_what_is_of_use(
    own: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    execute(own, "CREATE TABLE kept AS SELECT 1 AS n")
    execute(own, "UPDATE alembic_version SET version_num = '9999'")

    assert main(["db", "reset", "--yes", "--json"]) == ExitCode.OK

    said = json.loads(capsys.readouterr().out)
    runtime = LocalRuntime(own)
    assert "public.kept" not in backups.hashes_of(runtime, DATABASE)
    assert "public.kept" in restoring.drill(runtime, Path(said["backup"]), silent)

    empty = backups.hashes_of(runtime, DATABASE)
    assert main(["restore", said["backup"], "--yes"]) == ExitCode.USAGE

    assert "was not put back and the database in use is as it was" in capsys.readouterr().err
    assert backups.hashes_of(runtime, DATABASE) == empty


def test_a_refused_restore_leaves_what_an_earlier_one_has_kept(
    own: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    good = a_ledger(own, "first")
    execute(own, "DROP TABLE first")
    execute(own, "CREATE TABLE second AS SELECT 1 AS n")
    assert main(["restore", str(good), "--yes"]) == ExitCode.OK
    execute(
        own, "CREATE TABLE third AS SELECT 1 AS n; UPDATE alembic_version SET version_num = '9999'"
    )
    newer = backups.back_up_database(LocalRuntime(own), silent)
    own.halt_file.unlink()
    before = ledgers(own)

    assert main(["restore", str(newer), "--yes"]) == ExitCode.USAGE

    assert "was not put back" in capsys.readouterr().err
    assert ledgers(own) == before == {DATABASE: ["first", "third"], BEFORE: ["second"]}
    assert not own.halt_file.exists()


def test_what_a_restore_replaced_is_taken_into_use_again_and_back(
    own: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["restore", "--back", "--yes"]) == ExitCode.NOT_FOUND
    good = a_ledger(own, "first")
    execute(own, "CREATE TABLE second AS SELECT 1 AS n")
    assert main(["restore", str(good), "--yes"]) == ExitCode.OK
    own.halt_file.unlink()
    assert main(["restore", "--back"]) == ExitCode.USAGE

    assert main(["restore", "--back", "--yes"]) == ExitCode.OK

    assert ledgers(own) == {DATABASE: ["first", "second"], BEFORE: ["first"]}
    assert "is being put back" in own.halt_file.read_text()
    assert main(["restore", "--back", "--yes"]) == ExitCode.OK
    assert ledgers(own) == {DATABASE: ["first"], BEFORE: ["first", "second"]}


def test_the_wrong_backup_and_then_the_right_one_keep_the_ledger_that_is_in_none(
    own: Instance,
) -> None:
    runtime, wrong = LocalRuntime(own), a_ledger(own, "first")
    right = a_ledger(own, "second")
    execute(own, "CREATE TABLE in_no_backup AS SELECT 1 AS n")
    real = ["first", "in_no_backup", "second"]

    restoring.restore_database(runtime, wrong, silent)
    restoring.restore_database(runtime, right, silent)

    assert ledgers(own) == {DATABASE: ["first", "second"], BEFORE: real}
    # What was booked since is in no backup either.
    booked = a_ledger(own, "third")
    restoring.restore_database(runtime, booked, silent)
    assert ledgers(own)[BEFORE] == ["first", "second", "third"]


class OlderImage(LocalRuntime):
    """Brings no database up to date but the one in use, whichever it is asked for."""

    def migrate(self, database: str = DATABASE) -> None:
        super().migrate(DATABASE)


def test_a_database_that_an_older_image_has_passed_over_is_not_put_back(own: Instance) -> None:
    runtime, version = OlderImage(own), "SELECT version_num FROM alembic_version"
    execute(own, f"CREATE TABLE kept AS {version}")
    execute(own, "UPDATE alembic_version SET version_num = '0001'")
    older = backups.back_up_database(runtime, silent)
    execute(own, "UPDATE alembic_version SET version_num = (SELECT version_num FROM kept)")
    before = backups.hashes_of(runtime, DATABASE)

    with pytest.raises(
        Misconfigured, match=r"was not put back .* version 0001 .* make build first"
    ):
        restoring.restore_database(runtime, older, silent)

    assert backups.hashes_of(runtime, DATABASE) == before
    assert not own.halt_file.exists()


class Stopped(BaseException):
    """Ctrl-C, or a machine that goes down, at the moment of a word."""


@pytest.mark.prove
def test_a_restore_that_is_stopped_at_any_word_has_happened_or_has_not(own: Instance) -> None:
    runtime, good = LocalRuntime(own), a_ledger(own, "first")
    execute(own, "CREATE TABLE second AS SELECT 1 AS n")
    restoring.restore_database(runtime, good, silent)
    a_ledger(own, "third")
    before = ledgers(own)
    steps = []

    for at in range(10):
        said: list[str] = []

        def say(words: str, said: list[str] = said, at: int = at) -> None:
            said.append(words)
            if len(said) > at:
                raise Stopped

        try:
            restoring.restore_database(runtime, good, say)
        except Stopped:
            steps.append(said[-1])
            assert ledgers(own) == before
        else:
            break

    assert [words.split()[0] for words in steps] == [
        "restoring",
        "comparing",
        "bringing",
        "putting",
    ]
    assert ledgers(own) == {DATABASE: ["first"], BEFORE: ["first", "third"]}


@pytest.mark.prove
def test_a_database_that_is_held_open_is_not_replaced_and_nothing_is_lost(own: Instance) -> None:
    runtime, good = LocalRuntime(own), a_ledger(own, "first")
    restoring.restore_database(runtime, good, silent)
    execute(own, "CREATE TABLE second AS SELECT 1 AS n")
    before = ledgers(own)
    own.halt_file.unlink()

    async def held() -> None:
        async with connected(own, OWNER):
            refused = f"being accessed by other users.*trading is halted by {own.halt_file}"
            with pytest.raises(StackError, match=refused):
                await asyncio.to_thread(restoring.restore_database, runtime, good, silent)

    asyncio.run(held())

    assert ledgers(own) == before
    assert "the database is being restored" in own.halt_file.read_text()


@pytest.mark.parametrize("emptied", [False, True])
def test_what_a_broken_off_restore_has_kept_is_never_passed_over(
    own: Instance, capsys: pytest.CaptureFixture[str], emptied: bool
) -> None:
    # As versions left it that exchanged the names one by one.
    good = a_ledger(own, "first")
    execute(own, "CREATE TABLE second AS SELECT 1 AS n")
    superuser(own, f"ALTER DATABASE {DATABASE} RENAME TO {BEFORE}")
    if emptied:
        superuser(own, f"CREATE DATABASE {DATABASE} OWNER {OWNER}")

    assert main(["db", "migrate"]) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert f"kept as {BEFORE}: make restore ARGS=--back puts it back" in said
    assert main(["restore", str(good), "--yes"]) == ExitCode.OK
    assert ledgers(own) == {DATABASE: ["first"], BEFORE: ["first", "second"]}
    assert main(["restore", "--back", "--yes"]) == ExitCode.OK
    assert ledgers(own) == {DATABASE: ["first", "second"], BEFORE: ["first"]}


def test_a_reset_asks_for_what_a_broken_off_restore_has_kept_first(
    own: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    a_ledger(own, "first")
    superuser(own, f"ALTER DATABASE {DATABASE} RENAME TO {BEFORE}")

    assert main(["db", "reset", "--yes"]) == ExitCode.USAGE

    assert "a restore was broken off" in capsys.readouterr().err
    assert ledgers(own) == {BEFORE: ["first"]}


def test_two_restores_at_once_do_not_meet(own: Instance) -> None:
    runtime, good = LocalRuntime(own), a_ledger(own, "first")
    refused = []

    def say(_: str) -> None:
        with pytest.raises(AlreadyRunning, match="another restore or drill is under way"):
            restoring.drill(runtime, good, silent)
        refused.append(True)

    restoring.restore_database(runtime, good, say)

    assert refused
    assert ledgers(own)[DATABASE] == ["first"]


@pytest.mark.prove
@pytest.mark.timeout(600)
def test_a_restore_that_is_killed_at_any_moment_loses_nothing(own: Instance) -> None:
    good = a_ledger(own, "first")
    execute(own, "CREATE TABLE second AS SELECT 1 AS n")
    assert main(["restore", str(good), "--yes"]) == ExitCode.OK
    a_ledger(own, "third")
    not_yet = {DATABASE: ["first", "third"], BEFORE: ["first", "second"]}
    done = {DATABASE: ["first"], BEFORE: ["first", "third"]}
    ports = {port_setting(name): str(port) for name, port in own.ports.as_mapping().items()}
    told = {**os.environ, **ports, "TRADING_HOME": str(own.home), "RUNTIME": "local"}
    outcomes = []

    for words, later_s in [(n, 0.0) for n in range(1, 5)] + [(4, n / 10) for n in range(1, 6)]:
        with subprocess.Popen(
            [sys.executable, "-m", "trader", "restore", str(good), "--yes"],
            env=told, stderr=subprocess.PIPE, start_new_session=True, text=True,
        ) as process:  # fmt: skip
            assert process.stderr is not None
            said = [process.stderr.readline().strip() for _ in range(words)]
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=later_s)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        # A statement that the server has begun ends by itself.
        with suppress(subprocess.CalledProcessError):
            superuser(own, f"ALTER DATABASE {DATABASE} CONNECTION LIMIT -1")
        found = {name: tables for name, tables in ledgers(own).items() if name != restoring.BESIDE}
        outcomes.append((said[-1], later_s, process.returncode, found == done))
        assert found in (not_yet, done), outcomes
        if found == done and process.returncode == 0:
            break
        if found == done:
            assert main(["restore", "--back", "--yes"]) == ExitCode.OK
            execute(own, "CREATE TABLE IF NOT EXISTS third AS SELECT 1 AS n")
            not_yet, done = ledgers(own), {DATABASE: ["first"], BEFORE: ["first", "third"]}

    print(*outcomes, sep="\n")
    assert {said.split()[0] for said, *_ in outcomes} == {
        "restoring",
        "comparing",
        "bringing",
        "putting",
    }
    assert outcomes[-1][-1]
