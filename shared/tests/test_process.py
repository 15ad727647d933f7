"""How a service's process begins and ends, as the supervisor sees it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SERVICE = """
import asyncio, sys, threading
from shared.adapters.process import ServiceTasks, run_service
from shared.domain.errors import Misconfigured

async def wait(settings):
    print("started", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        print("closed", flush=True)

async def fail(settings):
    async with ServiceTasks() as tasks:
        tasks.create_task(wait(settings))
        tasks.create_task(broken(settings))

async def broken(settings):
    await asyncio.sleep(0)
    raise RuntimeError("boom")

async def misconfigured(settings):
    async with ServiceTasks() as tasks:
        tasks.create_task(unset(settings))

async def unset(settings):
    raise Misconfigured("missing setting ALPACA_API_KEY")

async def cancelled(settings):
    raise asyncio.CancelledError

async def computing(settings):
    print("started", flush=True)
    await asyncio.to_thread(compute)

def compute():
    sys.stdin.read()
    print("computed")

async def stuck(settings):
    print("started", flush=True)
    while True:
        try:
            await asyncio.to_thread(threading.Event().wait)
        except asyncio.CancelledError:
            pass

async def failing_beside_one_that_stays(settings):
    async with ServiceTasks() as tasks:
        tasks.create_task(stuck(settings))
        tasks.create_task(broken(settings))

run_service("test_service", globals()[sys.argv[1]])
"""


def start(tmp_path: Path, what: str, **environment: str) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH")}
    return subprocess.Popen(
        [sys.executable, "-c", SERVICE, what],
        env={**kept, "LOG_DIR": str(tmp_path / "logs"), **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_a_service_closes_what_it_opened_and_exits_0(
    tmp_path: Path, number: signal.Signals
) -> None:
    process = start(tmp_path, "wait")
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    process.send_signal(number)

    code, out, _ = end(process)
    assert (code, out) == (0, "closed\n")
    assert '"event":"stopped"' in (tmp_path / "logs" / "test_service.log").read_text()


def test_what_a_thread_has_begun_is_done_before_the_process_ends(tmp_path: Path) -> None:
    process = start(tmp_path, "computing")
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    process.send_signal(signal.SIGTERM)

    # Its standard input is closed only now, so the thread outlives the signal.
    assert end(process)[:2] == (0, "computed\n")


def test_what_does_not_end_within_the_bound_is_left_and_the_log_says_so(tmp_path: Path) -> None:
    process = start(tmp_path, "stuck")
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    process.send_signal(signal.SIGTERM)

    assert end(process)[0] == 0
    said = (tmp_path / "logs" / "test_service.log").read_text()
    assert "stopped in the middle of something" in said


def test_a_wrong_setting_ends_in_one_sentence_and_code_4_before_anything_else(
    tmp_path: Path,
) -> None:
    code, out, err = end(start(tmp_path, "wait", RISK_STOP_LOSS="2"))

    assert code == 4
    assert err.startswith("test_service: RISK_STOP_LOSS: ")
    assert err.count("\n") == 1
    assert out == ""
    assert not (tmp_path / "logs").exists()


def test_a_part_that_cannot_start_as_configured_is_code_4_even_out_of_a_group(
    tmp_path: Path,
) -> None:
    code, _, err = end(start(tmp_path, "misconfigured"))

    assert code == 4
    assert "missing setting ALPACA_API_KEY" in err
    assert "Traceback" not in err


def test_a_failure_of_any_part_ends_the_whole_process_with_code_1_and_its_cause(
    tmp_path: Path,
) -> None:
    code, out, _ = end(start(tmp_path, "fail"))

    assert code == 1
    assert out == "started\nclosed\n"
    assert "boom" in (tmp_path / "logs" / "error.log").read_text()


def test_a_part_that_does_not_end_when_another_has_failed_holds_up_no_restart(
    tmp_path: Path,
) -> None:
    code, _, _ = end(start(tmp_path, "failing_beside_one_that_stays"))

    assert code == 1
    assert "boom" in (tmp_path / "logs" / "error.log").read_text()


def test_a_secret_of_the_settings_is_not_in_the_log_of_a_failure(tmp_path: Path) -> None:
    code, _, err = end(
        start(tmp_path, "fail", DB_PASSWORD="boom-and-canary", API_TOKEN_READ="boom")
    )

    assert code == 1
    assert "canary" not in err


def test_a_log_folder_that_cannot_be_made_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = end(start(tmp_path, "wait", LOG_DIR=str(tmp_path / "file" / "logs")))

    assert code == 4
    assert "LOG_DIR" in err
    assert err.count("\n") == 1


def test_a_main_task_that_cancels_itself_is_a_failure_and_no_stop(tmp_path: Path) -> None:
    code, _, _ = end(start(tmp_path, "cancelled"))

    assert code == 1
