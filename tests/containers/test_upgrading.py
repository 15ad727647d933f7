"""A new version takes over the ledger of the last one, and the way back is a backup: rehearsed in containers.

The last version is the one before the newest step of the database, built from this repository's own history.
For `make prove`, where a Docker engine answers; it builds the images three times.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from trader.runtime.places import project_folder
from trader.runtime.ports import Ports, port_setting
from trader.runtime.runtimes import engine_answers
from trader.runtime.waiting import wait_until

pytestmark = [pytest.mark.prove, pytest.mark.timeout(3_600)]

ROOT = project_folder()
STEPS = "migrations/versions"
WITHIN_S = 1_500
FILLED_WITHIN_S = 300


def git(*words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


class Deployment:
    """A folder of its own in which one version after the other is run, as an operator does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        own = {"RUNTIME": "compose", "CONFIRM": "yes", "COMPOSE_PROJECT_NAME": "rehearsal"}
        self._environment = {**os.environ, **own}
        subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)

    def take(self, commit: str) -> None:
        """Have the program of `commit` here, installed and built; data and settings stay."""
        self.run("git", "checkout", "-q", commit)
        self.run("make", "build")

    def demo(self) -> None:
        """Start the demo, on ports that are free now: meanwhile somebody else may have taken those of the last one."""
        ports = Ports.free().as_mapping()
        self._environment |= {port_setting(name): str(port) for name, port in ports.items()}
        self.run("make", "demo")

    def run(self, *words: str) -> str:
        done = subprocess.run(
            words,
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=WITHIN_S,
        )
        assert done.returncode == 0, f"{words}\n{done.stdout[-2_000:]}\n{done.stderr[-2_000:]}"
        return done.stdout

    def fills(self) -> int:
        return self.number("SELECT count(*) FROM trade_executor.v_fills")

    def step(self) -> str:
        said: str = json.loads(self.run("make", "migrate", "ARGS=--json"))["revision"]
        return said

    def number(self, query: str) -> int:
        words = ("psql", "-U", "postgres", "-d", "trading", "-At", "-c", query)
        return int(self.run("docker", "compose", "exec", "-T", "postgres", *words))

    def trades(self) -> None:
        """Start the demo and return when there is one fill more."""
        self.demo()
        before = self.fills()
        assert wait_until(lambda: self.fills() > before, FILLED_WITHIN_S)


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    if not engine_answers():
        pytest.skip("no Docker engine answers here")
    found = Deployment(tmp_path / "trader")
    try:
        yield found
    finally:
        found.run("docker", "compose", "--profile", "*", "down", "--volumes", "--remove-orphans")


def test_an_upgrade_keeps_the_ledger_and_a_restore_leads_back(deployment: Deployment) -> None:
    newest = max(each.name for each in (ROOT / STEPS).glob("*.py"))
    added = git("log", "--diff-filter=A", "--format=%H", "-1", "--", f"{STEPS}/{newest}")
    new, old = git("rev-parse", "HEAD"), git("rev-parse", f"{added}^")

    deployment.take(old)
    deployment.trades()
    deployment.run("make", "stop")
    old_step = deployment.step()
    deployment.run("make", "backup")
    deployment.run("docker", "compose", "up", "-d", "--wait", "postgres")
    kept = deployment.fills()
    print(f"{old[:9]}: step {old_step}, {kept} fills")
    deployment.run("make", "stop")

    deployment.take(new)
    new_step = deployment.step()
    assert new_step > old_step
    deployment.trades()
    print(f"{new[:9]}: step {new_step}, {deployment.fills()} fills")
    deployment.run("make", "stop")

    deployment.take(old)
    print(deployment.run("make", "restore").strip())
    assert deployment.step() == old_step
    deployment.demo()
    # What the venue did after the backup is taken in from there before anything is sent.
    assert wait_until(lambda: deployment.fills() > kept, FILLED_WITHIN_S)
    deployment.run(".venv/bin/trader", "resume", "--reason", "restored")
    deployment.run("make", "health")
    print(f"{old[:9]} again: step {old_step}, {deployment.fills()} fills")
