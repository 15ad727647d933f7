"""Whoever types the README from top to bottom gets through: block by block, in a new clone, as it stands.

Tests are only collected, what goes on until it is ended is started, looked at and ended, and the account that
the reader would have at the broker is one at the simulator. What each command took is printed at the end.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import httpx
import pytest

from shared.adapters.exchange_calendar import load_calendar
from shared.testing.goog import goog
from trader.runtime.places import project_folder
from trader.runtime.ports import LOOPBACK, Ports, port_setting
from trader.runtime.waiting import machine_seconds, wait_until

pytestmark = [pytest.mark.acceptance, pytest.mark.prove, pytest.mark.timeout(3_600)]

ROOT = project_folder()
GOOG = goog()
CONTAINERS = "In containers"
WITHIN_S = 1_200
LOOKED_AT_WITHIN_S = 240
ENDS_WITHIN_S = 90
# A shell has what it starts in the background ignore Ctrl-C, and so has whoever is started from there.
MINDS_CTRL_C = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "os.execvp('bash', ['bash', '-c', sys.argv[1]])"
)
INTERRUPTED = {0, 130, 128 + signal.SIGINT, 2}
# Make's own code when a recipe was interrupted is 2.
# The reader comes before the first close, so there may be nothing to show; make's or the command's own code says so.
NOTHING_YET = {".venv/bin/trader risk report": frozenset({0, 2})}
TESTS = re.compile(r"make (test|test-unit|test-integration|test-coverage|prove|check)$")
GOES_ON = re.compile(r"make (demo|monitor|dev)$|make demo .*--speed|.*-m simulator ")
SYMBOLS = ("AAPL", "MSFT", "NVDA", "SPY", "TSLA")
# The whole market of a minute bar's moving average needs some dozens of them before it wishes for anything.
STEPS = 600


@dataclass
class Reader:
    """Somebody with a new clone, a shell and the README."""

    clone: Path
    environment: dict[str, str]
    ports: Ports
    took: list[tuple[str, float, str]] = field(default_factory=list)
    # All of them at once: a run takes too long to find one in each.
    stumbled: list[str] = field(default_factory=list)

    def runs(self, line: str, *, expected: frozenset[int] = frozenset({0})) -> str:
        """Type `line`, wait for its end and return what it said."""
        began = machine_seconds()
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.clone,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=WITHIN_S,
        )
        self.took.append((line, machine_seconds() - began, f"exit {done.returncode}"))
        said = f"{line}\n{done.stdout[-3_000:]}\n{done.stderr[-3_000:]}"
        if done.returncode not in expected:
            self.stumbled.append(said)
        return done.stdout

    def looks_at(self, line: str, port: int | None) -> None:
        """Type `line`, see that what it starts answers (or has said something), and press Ctrl-C."""
        began = machine_seconds()
        said = self.clone.parent / "said"
        with said.open("w") as out:
            child = subprocess.Popen(
                [sys.executable, "-c", MINDS_CTRL_C, f"exec {line}"],
                cwd=self.clone,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            seen = wait_until(
                lambda: (
                    child.poll() is not None
                    or (bool(said.read_text()) if port is None else answers(port))
                ),
                LOOKED_AT_WITHIN_S,
            )
            assert seen, f"{line} showed nothing:\n{said.read_text()[-3_000:]}"
            assert child.poll() is None, f"{line} ended by itself:\n{said.read_text()[-3_000:]}"
        finally:
            os.killpg(child.pid, signal.SIGINT)
            code = child.wait(ENDS_WITHIN_S)
        self.took.append((line, machine_seconds() - began, f"looked at, Ctrl-C, exit {code}"))
        assert code in INTERRUPTED or code == -signal.SIGINT, said.read_text()[-3_000:]


def answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


def blocks() -> list[tuple[str, str]]:
    """Every line of every command block, with the heading that it stands under."""
    found, heading, inside = [], "", False
    for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            inside = line == "```bash"
        elif line.startswith("#") and not inside:
            heading = line.lstrip("# ")
        elif inside and line.strip() and not line.startswith("#"):
            found.append((heading, line.partition("  #")[0].strip()))
    return found


def new_clone(folder: Path) -> Path:
    """The files that belong to the project as they are now, and nothing that tools or runs have left."""
    clone = folder / "full-ai-trader"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).exists():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, clone / name)
    return clone


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    clone = new_clone(tmp_path)
    shutil.copy(GOOG, clone / "GOOG.csv")
    year = load_calendar(tmp_path).between(date(2023, 1, 1), date(2023, 12, 31))
    rows = [
        f"{session.on},AAPL,{100 + n % 7},{103 + n % 7},{99 + n % 7},{101 + n % 7},{1_000_000 + n}"
        for n, session in enumerate(year)
    ]
    text = "\n".join(["Date,Symbol,Open,High,Low,Close,Volume", *rows])
    (clone / "bars.csv").write_text(f"{text}\n")
    (clone / "splits.csv").write_text("symbol,ex_on,ratio\nMSFT,2023-06-06,2\n")
    ports = Ports.free()
    told = {port_setting(name): str(port) for name, port in ports.as_mapping().items()}
    kept = {key: value for key, value in os.environ.items() if key not in ("RUNTIME", "CONFIRM")}
    # A script's word where a person would be asked.
    found = Reader(clone, {**kept, **told, "CONFIRM": "yes"}, ports)
    try:
        yield found
    finally:
        if (clone / ".venv").exists():
            subprocess.run(["make", "stop"], cwd=clone, env=found.environment, check=False)
        for line, seconds, ended in found.took:
            print(f"{seconds:7.1f} s  {ended:28}  {line}")


class Broker:
    """The reader's account: at a simulator, which goes on a step when it is told."""

    def __init__(self, reader: Reader) -> None:
        self.port = Ports.free().simulator
        self.clock = reader.clone / "data" / "venue.clock"
        words = ["--port", str(self.port), "--lock-step", "--clock-file", str(self.clock)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "simulator", *words, "--rate-limit", "0"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._http = httpx.Client(base_url=f"http://{LOOPBACK}:{self.port}", timeout=30)
        self._step = 0
        up = wait_until(
            lambda: self._process.poll() is not None or answers(self.port), LOOKED_AT_WITHIN_S
        )
        assert up, "the simulator does not answer"
        assert self._process.poll() is None, "the simulator ended; start it by hand to see why"

    def settings(self) -> str:
        """What the reader writes into .env."""
        url = f"http://{LOOPBACK}:{self.port}"
        return "\n".join(
            [
                "ALPACA_API_KEY=the-readers-key",
                "ALPACA_SECRET_KEY=the-readers-secret",
                f"ALPACA_BASE_URL={url}",
                f"ALPACA_DATA_URL={url}",
                f"ALPACA_DATA_STREAM_URL=ws://{LOOPBACK}:{self.port}/v2/iex",
                f"TRADING_SYMBOLS={','.join(SYMBOLS)}",
                f"CLOCK_FILE={self.clock}",
                "",
            ]
        )

    def goes_on(self) -> None:
        self._step += 1
        self._http.post("/admin/advance", json={"step": self._step}).raise_for_status()

    def leaves(self) -> None:
        self._http.close()
        self._process.terminate()
        self._process.wait(ENDS_WITHIN_S)


def write_settings(reader: Reader, broker: Broker) -> None:
    env = reader.clone / ".env"
    assert env.stat().st_mode & 0o777 == 0o600
    given = {line.partition("=")[0] for line in broker.settings().splitlines()}
    kept = [line for line in env.read_text().splitlines() if line.partition("=")[0] not in given]
    env.write_text("\n".join([*kept, broker.settings()]))


def an_order(reader: Reader, broker: Broker) -> str:
    """Let the market go on until the system has ordered something; return that order's id."""
    for _ in range(STEPS):
        broker.goes_on()
        if broker._step % 20 == 0:
            said = json.loads(reader.runs(".venv/bin/trader orders --json"))
            reader.took.pop()
            if said["items"]:
                return str(said["items"][0]["client_order_id"])
    raise AssertionError("nothing was ordered")


def follow(reader: Reader, lines: list[tuple[str, str]], broker: Broker) -> None:
    order = ""
    for heading, line in lines:
        if re.match(r"[A-Z_]+=", line):
            continue
        if line == "nano .env":
            write_settings(reader, broker)
            continue
        if TESTS.match(line):
            nothing = "-k no_test_has_this_name" if line == "make prove" else "--collect-only -q"
            reader.runs(f'{line} ARGS="{nothing}"')
            continue
        if line == "make status" and not order:
            order = an_order(reader, broker)
        typed = line.replace("ORDER_ID", order)
        if "NAME.tar" in typed:
            newest = max((reader.clone / "data" / "backups").glob("database-*.tar"))
            typed = typed.replace("data/backups/NAME.tar", f"data/backups/{newest.name}")
        if GOES_ON.match(line) and heading != CONTAINERS:
            typed = typed.replace("--port 8006", f"--port {reader.ports.simulator}")
            port = None if "monitor" in line else reader.ports.simulator
            reader.looks_at(typed, port)
            continue
        reader.runs(typed, expected=NOTHING_YET.get(line, frozenset({0})))


def test_the_readme_can_be_followed_from_top_to_bottom(reader: Reader) -> None:
    broker = None
    lines = [(heading, line) for heading, line in blocks() if heading != CONTAINERS]
    before = [line for _, line in lines].index("nano .env")
    try:
        reader.environment["RUNTIME"] = "local"
        refused = reader.runs("make start 2>&1", expected=frozenset({2}))
        assert "missing setting ALPACA_API_KEY, ALPACA_SECRET_KEY" in refused
        assert "make demo" in refused
        broker = Broker(reader)
        follow(reader, lines[:before], broker)
        follow(reader, lines[before:], broker)
        assert not reader.stumbled, "\n\n".join(reader.stumbled)
        # `make clean` was the last of it.
        assert not (reader.clone / ".venv").exists()
        assert any((reader.clone / "data" / "backups").iterdir())
    finally:
        if broker is not None:
            broker.leaves()
