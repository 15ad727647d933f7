"""The whole stack in containers: it trades, every container comes back after a crash, a backup restores.

For `make prove`, where a Docker engine answers; it takes some minutes, and more where the images are to be built first.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from trader.runtime.compose import ComposeRuntime
from trader.runtime.instance import DASHBOARD, PROGRAMS, SERVICES, Instance
from trader.runtime.places import project_folder
from trader.runtime.runtimes import engine_answers
from trader.runtime.waiting import machine_seconds, wait_until

pytestmark = [pytest.mark.prove, pytest.mark.timeout(2_400)]

BACK_WITHIN_S = 120
FILLED_WITHIN_S = 300
# The program that the container's init has started, which has the lowest number after it; killed as by the kernel.
KILL = "n=2; while [ ! -d /proc/$n ]; do n=$((n+1)); done; kill -9 $n"


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        cwd=project_folder(),
        env={**os.environ, "RUNTIME": "compose"},
        capture_output=True,
        text=True,
        check=False,
        timeout=1_800,
    )


def make(*words: str) -> str:
    done = command("make", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fills() -> int:
    said = make("stats", "ARGS=--json")
    return sum(order["state"] == "FILLED" for order in json.loads(said)["orders"])


@pytest.fixture(scope="module")
def containers() -> Iterator[ComposeRuntime]:
    if not engine_answers():
        pytest.skip("no Docker engine answers here")
    make("build")
    make("demo")
    try:
        yield ComposeRuntime(Instance.of_project(), demo=True)
    finally:
        make("stop")


def pids(runtime: ComposeRuntime) -> dict[str, Any]:
    return {each.name: each.pid for each in runtime.status()}


def test_it_trades(containers: ComposeRuntime) -> None:
    assert wait_until(lambda: fills() > 0, FILLED_WITHIN_S)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_container_whose_process_is_killed_comes_back(
    containers: ComposeRuntime, name: str
) -> None:
    before = pids(containers)[name]
    command(
        "docker",
        "compose",
        "exec",
        "-T",
        name,
        "sh",
        "-c",
        KILL,
    )

    assert wait_until(lambda: pids(containers)[name] not in (0, before), BACK_WITHIN_S)
    assert wait_until(
        lambda: all(containers.answers(each) for each in (*SERVICES, DASHBOARD, name)),
        BACK_WITHIN_S,
    )


def test_what_is_stored_is_asked_for_from_this_machine(containers: ComposeRuntime) -> None:
    done = command(".venv/bin/trader", "audit", "verify")

    assert (done.returncode, done.stderr) == (0, "")


def test_a_backup_of_it_restores(containers: ComposeRuntime) -> None:
    make("backup")

    assert json.loads(make("restore", "ARGS=--drill --json"))["drill"] is True


@pytest.mark.parametrize("words", [("docker", "compose"), ("docker-compose",)])
def test_one_service_is_stopped_and_started_by_composes_own_commands(
    containers: ComposeRuntime, words: tuple[str, ...]
) -> None:
    if command(*words, "version").returncode != 0:
        pytest.skip(f"there is no {words[0]} here")
    assert command(*words, "stop", "strategy_engine").returncode == 0
    assert not containers.answers("strategy_engine")
    assert command(*words, "up", "-d", "strategy_engine").returncode == 0
    assert wait_until(lambda: containers.answers("strategy_engine"), BACK_WITHIN_S)


def test_every_container_ends_by_itself_when_it_is_told_to(containers: ComposeRuntime) -> None:
    codes = {}
    # Whoever leans on others goes first.
    for name in reversed(PROGRAMS):
        began_s = machine_seconds()
        assert command("docker", "compose", "--profile", "demo", "stop", name).returncode == 0
        listing = ("docker", "compose", "--profile", "demo", "ps", "--all", "--format", "json")
        codes[name] = json.loads(command(*listing, name).stdout)["ExitCode"]
        print(f"{name} ended within {machine_seconds() - began_s:.1f} s")

    # 137 is that of a process that had to be killed.
    assert codes == dict.fromkeys(reversed(PROGRAMS), 0)
