"""What an operator's commands say and refuse, without any server."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from shared.adapters.clocks import WallClock
from shared.domain.errors import Misconfigured
from trader.cli import main
from trader.commands.checking import clock_complaint, examine
from trader.commands.lifecycle import refuse_beside_demo
from trader.exits import ExitCode
from trader.runtime.clients import postgres_client, redis_shell
from trader.runtime.errors import AlreadyRunning
from trader.runtime.instance import Instance
from trader.runtime.interface import RuntimeName
from trader.runtime.local import LocalRuntime
from trader.runtime.places import project_folder
from trader.runtime.schema import require_newest
from trader.runtime.stack import why_not_ready
from trader.runtime.waiting import wait_until
from trader.testing.projects import act_on

RESTARTED_WITHIN_S = 30
A_DAY_S = 86_400


@pytest.fixture
def own_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Instance:
    """A project of the test's own behind the commands, so that the person's is not touched."""
    instance = Instance.create(tmp_path / "home", project=tmp_path)
    act_on(monkeypatch, instance)
    return instance


@pytest.mark.parametrize("words", [["db", "reset"], ["prune"]])
def test_what_cannot_be_undone_asks_first_and_a_script_must_say_the_word(
    words: list[str], own_project: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    own_project.logs.mkdir()
    old = own_project.logs / "a.log.1"
    old.touch()
    os.utime(old, (0, 0))

    assert main(words) == ExitCode.USAGE

    assert "say CONFIRM=yes" in capsys.readouterr().err
    assert old.exists()
    assert not (own_project.home / "postgres").exists()


def test_prune_asks_nobody_where_there_is_nothing_to_remove(
    own_project: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prune"]) == ExitCode.OK

    assert capsys.readouterr().out == "removed 0 log files, 0 bars\n"


def test_prune_removes_rotated_logs_past_the_retention_and_nothing_else(
    own_project: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    own_project.logs.mkdir()
    (own_project.home / "parquet").mkdir()
    files = {name: own_project.logs / name for name in ("a.log", "a.log.1", "a.log.2")}
    for name, file in files.items():
        file.touch()
        if name != "a.log.1":
            os.utime(file, (file.stat().st_mtime - 31 * A_DAY_S,) * 2)

    assert main(["prune", "--yes", "--json"]) == ExitCode.OK

    assert json.loads(capsys.readouterr().out)["logs"] == ["a.log.2"]
    assert [name for name, file in files.items() if file.exists()] == ["a.log", "a.log.1"]


def test_doctor_names_each_thing_that_is_not_well(
    own_project: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_project.home / "postgres").mkdir()
    (own_project.home / "postgres" / "PG_VERSION").write_text("16\n")

    assert main(["doctor", "--offline", "--json"]) == ExitCode.ERROR

    found = {
        each["about"]: each["said"]
        for each in json.loads(capsys.readouterr().out)["findings"]
        if not each["well"]
    }
    assert set(found) <= {"settings", "database", "disk"}
    assert "ALPACA_API_KEY" in found["settings"]
    (own_project.home / ".env").chmod(0o644)
    open_to_others = {each.about: each.said for each in examine(own_project, offline=True)}
    assert "chmod 600" in open_to_others["permissions"]


class _BrokersClock(BaseHTTPRequestHandler):
    """A broker whose clock is ten seconds ahead of this machine's."""

    def do_GET(self) -> None:
        theirs = WallClock().now() + timedelta(seconds=10)
        body = json.dumps({"timestamp": theirs.isoformat()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("status", "said", "why"),
    [
        (200, '{"ready": true, "checks": {"redis": true}}', ""),
        (
            503,
            '{"checks": {"postgres": true, "redis": false, "books": false}}',
            "waits for redis, books",
        ),
        (
            401,
            "{}",
            "it does not know the token of .env: it was started with other settings, restart it",
        ),
        (
            429,
            "{}",
            "it does not know the token of .env: it was started with other settings, restart it",
        ),
        (503, "<html>", "answers 503"),
    ],
)
def test_why_a_service_is_not_ready_is_told(status: int, said: str, why: str) -> None:
    class Service(_BrokersClock):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said.encode())

    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as service:
        Thread(target=service.serve_forever, daemon=True).start()

        assert why_not_ready(service.server_port, "token") == why
        service.shutdown()


def test_a_clock_that_is_ten_seconds_slow_is_told_by_doctor_and_start_alike(
    own_project: Instance,
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _BrokersClock) as broker:
        Thread(target=broker.serve_forever, daemon=True).start()
        told = {
            "ALPACA_API_KEY": "k",
            "ALPACA_SECRET_KEY": "s",
            "ALPACA_BASE_URL": f"http://127.0.0.1:{broker.server_port}",
        }
        instance = Instance(
            own_project.project,
            own_project.home,
            own_project.ports,
            {**own_project.settings, **told},
        )
        findings = {each.about: each for each in examine(instance, offline=False)}
        complaint = clock_complaint(instance)
        replay = replace(instance, settings={**instance.settings, "CLOCK_FILE": "clock"})
        in_a_replay = clock_complaint(replay)
        broker.shutdown()

    assert not findings["clock"].well
    assert re.match(
        r"this machine's clock is -\d+\.\d s from the broker's, and no entry is sent while it is",
        findings["clock"].said,
    )
    assert complaint is not None
    assert complaint.endswith("set it by the network (for example: timedatectl set-ntp true)")
    assert in_a_replay is None


@pytest.mark.parametrize("words", [["shell", "db"], ["stats"], ["monitor"], ["restart"]])
def test_what_needs_a_running_system_says_so(
    words: list[str], own_project: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {"ALPACA_API_KEY": "k", "ALPACA_SECRET_KEY": "s"}
    with pytest.MonkeyPatch.context() as machine:
        running = Instance(
            own_project.project,
            own_project.home,
            own_project.ports,
            {**own_project.settings, **own},
        )
        act_on(machine, running)

        assert main(words) == ExitCode.NOT_RUNNING
    assert "start" in capsys.readouterr().err


def test_an_unknown_shell_names_those_there_are(
    own_project: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["shell", "dbs"]) == ExitCode.USAGE
    assert "choose one of db, redis" in capsys.readouterr().err


def test_no_password_stands_on_the_command_line_of_a_client(tmp_path: Path) -> None:
    instance = Instance.create(tmp_path)

    for client in (postgres_client(instance, "psql", "operator"), redis_shell(instance)):
        shown = " ".join(client.command("-c", "x")) + repr(client)
        assert instance.database_password("operator") not in shown
        assert instance.settings["REDIS_PASSWORD"] not in shown


def test_a_service_starts_anew_when_its_code_changes(tmp_path: Path) -> None:
    package = tmp_path / "reloaded"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text("print('first', flush=True)\ninput()\n")
    log = tmp_path / "log"
    path = f"{tmp_path}{os.pathsep}{project_folder()}"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "shared.adapters.reloading", "reloaded"],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": path},
        )
        try:
            assert wait_until(lambda: "first" in log.read_text(), RESTARTED_WITHIN_S)
            (package / "__main__.py").write_text("print('second', flush=True)\ninput()\n")
            assert wait_until(lambda: "second" in log.read_text(), RESTARTED_WITHIN_S)
        finally:
            process.terminate()
            process.communicate()
    assert "__main__.py was changed" in log.read_text()


def test_a_backup_with_blanks_in_its_name_is_handed_on_whole() -> None:
    done = subprocess.run(
        ["make", "-n", "restore", "FILE=data/my backup.tar"],
        cwd=project_folder(), capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert 'restore "data/my backup.tar"' in done.stdout


@pytest.mark.parametrize("name", list(RuntimeName))
@pytest.mark.parametrize("service", [None, "risk_manager"])
def test_beside_a_demo_nothing_is_started_that_would_be_told_of_the_persons_account(
    name: RuntimeName, service: str | None, own_project: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Demo(LocalRuntime):
        demo = True

    runtime = Demo(own_project)
    monkeypatch.setattr(runtime, "name", name)

    if name is RuntimeName.COMPOSE and service is not None:
        # Its file is written for the simulator again.
        refuse_beside_demo(runtime, service)
        return
    with pytest.raises(AlreadyRunning, match="end it with make stop"):
        refuse_beside_demo(runtime, service)


def test_a_database_at_the_step_of_an_older_image_is_told_to_be() -> None:
    migrations = project_folder() / "migrations"
    newest = max(file.name for file in (migrations / "versions").glob("[0-9]*.py"))[:4]
    require_newest(newest, migrations)

    with pytest.raises(
        Misconfigured, match=f"version 0001 and this source needs {newest}: .* make build"
    ):
        require_newest("0001", migrations)
