"""The process itself: command line, pace, endings."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import simulator
from shared.adapters.clocks import FileClock
from simulator.__main__ import main, parse_arguments
from trader.runtime.ports import Ports

KEYS = {"APCA-API-KEY-ID": "K", "APCA-API-SECRET-KEY": "S"}
BUY = {"symbol": "AAPL", "qty": "1", "side": "buy", "type": "market", "time_in_force": "day"}


class Program:
    """`python -m simulator`, started and looked after."""

    def __init__(self, *arguments: str) -> None:
        self.port = Ports.free().simulator
        source = Path(simulator.__file__).parent.parent
        root = source.parent.parent.parent
        environment = {**os.environ, "PYTHONPATH": f"{source}{os.pathsep}{root}"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "simulator", "--port", str(self.port), *arguments],
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", headers=KEYS, trust_env=False, timeout=60
        )
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if "listening on" in line:
                return
        raise AssertionError("the simulator did not start")

    def wait_for(self, reached: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        for _ in range(3_000):
            state: dict[str, Any] = self.http.get("/admin/state").json()
            if reached(state):
                return state
            threading.Event().wait(0.02)
        raise AssertionError(state)

    def end(self, number: int = signal.SIGTERM) -> int:
        self.http.close()
        self.process.send_signal(number)
        code = self.process.wait(60)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Program]]:
    sessions = tmp_path_factory.getbasetemp().parent / "sessions"
    started: list[Program] = []

    def start_program(*arguments: str) -> Program:
        started.append(Program("--cache-dir", str(sessions), *arguments))
        return started[-1]

    yield start_program
    for program in started:
        if program.process.poll() is None:
            program.end(signal.SIGKILL)


def test_it_plays_by_itself_and_ends_cleanly_when_told(start: Callable[..., Program]) -> None:
    program = start("--sessions", "1", "--speed", "100000")

    done = program.wait_for(lambda state: state["finished"])

    assert (done["step"], done["steps_total"]) == (3 * 390, 3 * 390)
    assert done["source"] == "SYNTHETIC seed=1"
    refused = program.http.post("/admin/advance", json={"step": 1171})
    assert refused.status_code == 409
    assert program.end() == 0


def test_killed_and_started_again_it_stands_where_it_stood(
    start: Callable[..., Program], tmp_path: Path
) -> None:
    options = ("--lock-step", "--state-dir", str(tmp_path), "--account", "mine")
    clock = ("--clock-file", str(tmp_path / "clock"))
    first = start(*options, *clock)
    first.http.post("/v2/orders", json={**BUY, "client_order_id": "mine"})
    for step in range(1, 6):
        first.http.post("/admin/advance", json={"step": step})
    book = first.http.get("/admin/book").json()
    first.end(signal.SIGKILL)

    second = start(*options, *clock)

    assert second.http.get("/admin/book").json() == book
    assert second.http.get("/admin/state").json()["step"] == 5
    assert len(book["executions"]) == 1
    assert second.http.post("/admin/advance", json={"step": 6}).json()["phase"] == "CLOSE"
    assert FileClock(tmp_path / "clock").now().isoformat() == "2026-01-05T14:32:00+00:00"
    assert second.end() == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--bars", "/none.csv"], "/none.csv: there is no such file; correct the path"),
        (["--symbols", "../x"], "'../x' is not a symbol"),
        (["--speed", "0"], "must be a number from"),
        (["--speed", "nan"], "must be a number from"),
        (["--speed", "5", "--lock-step"], "not allowed with argument"),
        (["--last", "5"], "--last needs --bars"),
        (["--cash", "-1"], "must be an amount above zero"),
        (["--last", "0", "--bars", "x.csv"], "must be a whole number from 1"),
        (["--timeframe", "2Min"], "'2Min' is not a timeframe"),
        (["--timeframe", "1Day"], "SYNTHETIC bars are minutes"),
        (["--state-dir", "/proc/nowhere", "--lock-step"], "check --state-dir"),
        (["--colour", "red"], "unrecognized arguments: --colour red"),
    ],
)
def test_a_wrong_command_line_ends_in_one_sentence_and_code_4(
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    sessions = str(tmp_path_factory.getbasetemp().parent / "sessions")
    try:
        code: object = main(["--port", "0", "--cache-dir", sessions, *arguments])
    except SystemExit as ended:
        code = ended.code

    error = capsys.readouterr().err
    assert code == 4
    assert words in error
    assert len([line for line in error.splitlines() if line.startswith("simulator: ")]) == 1


def test_a_port_in_use_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    sessions = str(tmp_path_factory.getbasetemp().parent / "sessions")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code = main(["--port", str(port), "--cache-dir", sessions, "--lock-step"])

    error = capsys.readouterr().err
    assert code == 4
    assert f"port {port} on 127.0.0.1 cannot be used" in error
    assert f"pid {os.getpid()}" in error


def test_it_runs_at_sixty_times_real_time_on_the_specified_port_unless_told_otherwise() -> None:
    options = parse_arguments([])

    assert (options.port, options.host, options.speed, options.lock_step) == (
        8006,
        "127.0.0.1",
        None,
        False,
    )


def test_check_says_what_would_be_replayed_and_serves_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bars = tmp_path / "ACME.csv"
    bars.write_text("Date,Open,High,Low,Close,Volume\n2026-01-05,10,11,9,10.5,1000\n")

    code = main(["--check", "--bars", str(bars), "--cache-dir", str(tmp_path)])

    assert code == 0
    assert "1Day bars of ACME, 1 instants" in capsys.readouterr().out
