"""The scheduler as it is started: its own process, a replay's clock, a real database."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shared.domain.bar_blocks import to_epoch_us
from trader.runtime.ports import Ports
from trader.runtime.waiting import wait_until
from trader.testing.servers import Servers


def test_a_replays_jumps_are_missed_and_run_as_the_venues_clock_says(
    servers: Servers, account: str, tmp_path: Path
) -> None:
    port = Ports.free().scheduler
    clock = tmp_path / "clock"

    def set_clock(*day: int) -> None:
        raw = struct.pack("<q", to_epoch_us(datetime(*day, tzinfo=UTC)))  # type: ignore[misc,arg-type]  # a date's parts
        with clock.open("r+b" if clock.exists() else "wb") as file:
            file.write(raw)

    def ask(path: str, method: str = "GET") -> Any:
        token = servers.instance.settings["API_TOKEN_OPERATE"]
        headers = {"Authorization": f"Bearer {token}"}
        url = f"http://127.0.0.1:{port}{path}"
        request = urllib.request.Request(url, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def answers(question: Callable[[], bool]) -> Callable[[], bool]:
        def tried() -> bool:
            try:
                return question()
            except OSError:
                return False

        return tried

    def runs(job: str, kind: str = "scheduled") -> list[tuple[str, int]]:
        rows = ask(f"/jobs/{job}/runs")["items"]
        return [(row["state"], row["occurrences"]) for row in rows if row["kind"] == kind]

    # Before the open of a Monday.
    set_clock(2026, 3, 2, 6)
    environment = {
        **servers.instance.environment("scheduler"),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TRADING_ACCOUNT": account,
        "SCHEDULER_PORT": str(port),
        "CLOCK_FILE": str(clock),
        "DATA_DIR": str(tmp_path / "parquet"),
        "LOG_DIR": str(tmp_path / "logs"),
    }
    process = subprocess.Popen([sys.executable, "-m", "scheduler"], env=environment)
    try:
        assert wait_until(answers(lambda: ask("/ready")["ready"]), 60)
        assert ask("/status")["clock"] == "replay"
        assert ask("/status")["next_open_at"] == "2026-03-02T14:30:00Z"
        # A triggered run that has ended proves that the loop has begun at this instant.
        ask("/jobs/end_of_day_report/trigger", "POST")
        assert wait_until(lambda: runs("end_of_day_report", "manual") == [("DONE", 1)], 30)

        # Thursday's evening in one step.
        set_clock(2026, 3, 5, 23)
        assert wait_until(lambda: ("DONE", 1) in runs("end_of_day_report"), 30)
        assert runs("end_of_day_report") == [("DONE", 1), ("MISSED", 3)]
        assert runs("reconcile") == [("MISSED", 4)]
        assert wait_until(lambda: len(ask("/services")["items"]) == 7, 30)
        states = {each["service"]: each["state"] for each in ask("/services")["items"]}
        assert {name for name, state in states.items() if state == "ready"} == {
            "postgres",
            "redis",
            "scheduler",
        }
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
    assert code == 0
