"""Becoming a program, knowing it again, following its log, finding ports and servers."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from shared.domain.errors import Misconfigured
from trader.runtime import launch
from trader.runtime.account import NOBODY, can_enter
from trader.runtime.instance import Instance
from trader.runtime.launch import birth_of, executable_of
from trader.runtime.logs import Follower
from trader.runtime.orphans import Identity, identity_in
from trader.runtime.ports import LOOPBACK, require_free, require_own
from trader.runtime.programs import program, sheet_of, write_sheet
from trader.runtime.redis import find_server, version_of
from trader.runtime.stack import last_line
from trader.runtime.supervisor import configuration


def launched(tmp_path: Path, code: str, environment: dict[str, str], stdin: str = "") -> str:
    sheet = tmp_path / "sheet.json"
    sheet.write_text(
        json.dumps(
            {
                "command": [sys.executable, "-c", code],
                "directory": str(tmp_path),
                "environment": environment,
                "account": None,
                "stdin": stdin,
                "record": str(tmp_path / "record.json"),
            }
        )
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", launch.__file__, str(sheet)],
        env={"LEAK": "from the supervisor"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_a_program_gets_its_environment_and_nothing_of_the_supervisors(tmp_path: Path) -> None:
    awkward = {"PLAIN": "a", "AWKWARD": "100% \"of\" 'it' ; # \n\\"}

    printed = launched(tmp_path, "import os, json; print(json.dumps(dict(os.environ)))", awkward)

    told = json.loads(printed)
    assert {key: told[key] for key in awkward} == awkward
    assert "LEAK" not in told


def test_a_program_reads_what_it_must_not_be_told_on_its_command_line(tmp_path: Path) -> None:
    printed = launched(tmp_path, "import sys; print(sys.stdin.read())", {}, stdin="a word")

    assert printed.strip() == "a word"


def test_a_program_leaves_a_record_by_which_it_is_known_again(tmp_path: Path) -> None:
    pid = int(launched(tmp_path, "import os; print(os.getpid())", {}))

    identity = identity_in(tmp_path / "record.json")

    assert identity is not None
    assert identity.pid == pid
    assert identity.executable == os.path.realpath(sys.executable)
    assert not identity.lives


def test_only_the_same_process_is_known_again() -> None:
    me = Identity(os.getpid(), birth_of(os.getpid()), os.path.realpath(executable_of(os.getpid())))

    assert me.lives
    assert not Identity(me.pid, "another boot/1", me.executable).lives
    assert not Identity(me.pid, me.birth, "/bin/other").lives
    assert not Identity(me.pid, "", me.executable).lives


def test_a_torn_record_names_nobody(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    assert identity_in(record) is None
    for text in ("", "{", "[]", '{"pid": 1}'):
        record.write_text(text)
        assert identity_in(record) is None


def test_a_port_in_use_is_named_with_its_holder() -> None:
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen()
        port = listener.getsockname()[1]

        with pytest.raises(Misconfigured) as refusal:
            require_free({"scheduler": port})

    assert f"port {port}, which scheduler needs, is in use by" in str(refusal.value)
    assert f"(pid {os.getpid()})" in str(refusal.value)
    assert "SCHEDULER_PORT" in str(refusal.value)


def test_an_answer_counts_only_from_the_process_that_was_started_or_its_children() -> None:
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen()
        port = listener.getsockname()[1]
        other = subprocess.Popen(["sleep", "60"])
        try:
            with pytest.raises(Misconfigured) as refusal:
                require_own("postgres", port, other.pid)
        finally:
            other.kill()
            other.wait()
        require_own("postgres", port, os.getpid())
        # As where a process watches its program's code and starts it anew.
        require_own("postgres", port, os.getppid())

    assert f"port {port}, which postgres needs, is in use by" in str(refusal.value)
    assert f"(pid {os.getpid()})" in str(refusal.value)
    # Nobody listens any more, or nobody that shows.
    require_own("postgres", port, other.pid)


def test_a_sheet_is_private_and_the_supervisors_configuration_holds_no_secret(
    tmp_path: Path,
) -> None:
    instance = Instance.create(tmp_path, settings={"ALPACA_SECRET_KEY": "a-broker-secret"})
    instance.prepare_folders()
    executor = program(instance, "trade_executor")

    write_sheet(instance, executor)
    text = configuration(instance, [executor], as_root=False)

    sheet = sheet_of(instance, "trade_executor")
    assert sheet.stat().st_mode & 0o777 == 0o600
    assert "a-broker-secret" in sheet.read_text()
    assert [value for value in instance.settings.values() if value in text] == []
    assert "a-broker-secret" not in repr(executor)


@pytest.mark.parametrize("name", ["with space", "semi;colon", "quo'te"])
def test_a_folder_that_the_supervisor_cannot_name_is_refused(tmp_path: Path, name: str) -> None:
    instance = Instance.create(tmp_path / name)

    with pytest.raises(Misconfigured, match="choose another place"):
        configuration(instance, [], as_root=False)


@pytest.mark.parametrize(
    ("answer", "version"),
    [
        ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64", (7, 0)),
        ("Valkey server v=8.1.1 sha=00000000:0", (8, 1)),
        ("Redis server v=6.0.16 sha=00000000:0", (6, 0)),
        ("something else", (0, 0)),
    ],
)
def test_the_version_of_a_server_is_read_from_its_own_words(
    tmp_path: Path, answer: str, version: tuple[int, int]
) -> None:
    server = tmp_path / "redis-server"
    server.write_text(f"#!/bin/sh\necho '{answer}'\n")
    server.chmod(0o755)

    assert version_of(server) == version


def test_a_server_on_the_path_is_taken_when_it_is_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    valkey = tmp_path / "valkey-server"
    valkey.write_text("#!/bin/sh\necho 'Valkey server v=8.1.1 '\n")
    valkey.chmod(0o755)
    too_old = tmp_path / "redis-server"
    too_old.write_text("#!/bin/sh\necho 'Redis server v=6.0.16 '\n")
    too_old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert find_server(Instance.create(tmp_path / "home")) == valkey


def test_an_unknown_choice_of_redis_is_refused(tmp_path: Path) -> None:
    instance = Instance.create(tmp_path, settings={"LOCAL_REDIS": "weel"})

    with pytest.raises(Misconfigured, match="LOCAL_REDIS must be empty or `wheel`, was 'weel'"):
        find_server(instance)


def test_a_closed_folder_on_the_way_bars_another_account(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "open").mkdir(parents=True)
    closed.chmod(0o700)

    assert can_enter(closed / "open", None)
    assert not can_enter(closed / "open", NOBODY)
    assert not can_enter(closed / "open" / "not yet there", NOBODY)
    assert closed.stat().st_mode & 0o777 == 0o700


def test_the_last_words_of_a_log_are_its_last_line_that_says_something(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    assert last_line(log) == "(it has said nothing)"
    log.write_text("first\nlast words\n\n  \n")

    assert last_line(log) == "last words"


def test_a_log_is_followed_by_whole_lines_and_across_its_rotation(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_text("one\ntwo\nthree\n")
    log = Follower("x", path)

    assert log.last(2) == ["two", "three"]
    with path.open("a") as file:
        file.write("four\nfi")
        file.flush()
        assert log.new() == ["four"]
        file.write("ve\n")
        file.flush()
        assert log.new() == ["five"]
    path.rename(tmp_path / "x.log.1")
    path.write_text("six\n")

    assert log.new() == ["six"]
    assert log.new() == []
