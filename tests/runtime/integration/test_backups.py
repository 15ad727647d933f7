"""Backups restore: every table is compared, and what does not agree takes nobody's place."""

import asyncio
import io
import json
import os
import stat
import subprocess
import tarfile
from collections.abc import Coroutine, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop

from scheduler.adapters.upkeep import MachineUpkeep
from shared.adapters.clocks import MonotonicTimer
from shared.adapters.postgres import open_database
from shared.config import load_settings
from shared.domain.errors import Rejected
from shared.testing.time import FakeClock
from trader.cli import main
from trader.exits import ExitCode
from trader.runtime import backups
from trader.runtime.credentials import BACKUP, OWNER
from trader.runtime.errors import NotFound, StackError
from trader.runtime.instance import DATABASE, Instance
from trader.runtime.local import LocalRuntime
from trader.runtime.stack import LocalStack
from trader.runtime.waiting import wait_until
from trader.testing.connections import connected
from trader.testing.servers import Servers


def silent(_: str) -> None:
    """Nobody listens."""


def execute(instance: Instance, statement: str) -> None:
    async def work() -> None:
        async with connected(instance, OWNER) as connection:
            await connection.execute(statement)

    asyncio.run(work())


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
    found = backups.drill(runtime, file, silent)
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
    found = backups.drill(runtime, file, silent)
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
            with pytest.raises(Rejected, match=r"the database gave no snapshot: .*password"):
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
        backups.drill(runtime, forged, silent)


def test_a_file_that_is_no_backup_is_refused_in_a_sentence(
    runtime: LocalRuntime, tmp_path: Path
) -> None:
    stranger = tmp_path / "x.tar"
    stranger.write_text("nothing")

    with pytest.raises(Exception, match=r"x\.tar is no backup of this system"):
        backups.drill(runtime, stranger, silent)


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


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Instance]:
    """A project of the test's own behind the commands, with its database running."""
    instance = Instance.create(tmp_path / "home")
    monkeypatch.setattr(Instance, "of_project", classmethod(lambda _: instance))
    stack = LocalStack(instance, [], owned=True)
    stack.start()
    yield instance
    stack.remove()


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
    assert backups.hashes_of(runtime, backups.BEFORE)["public.kept"].rows == 0
    assert "was restored from" in own.halt_file.read_text()
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
    assert "public.kept" in backups.drill(runtime, Path(said["backup"]), silent)

    empty = backups.hashes_of(runtime, DATABASE)
    assert main(["restore", said["backup"], "--yes"]) == ExitCode.USAGE

    assert "was not put back and the database in use is as it was" in capsys.readouterr().err
    assert backups.hashes_of(runtime, DATABASE) == empty
