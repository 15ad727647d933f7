"""A simulator in lock-step, and collectors on the test run's own PostgreSQL and Redis."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from shared.adapters.exchange_calendar import load_calendar
from shared.config import Settings
from shared.domain.bar_blocks import BarBlock, block_of
from shared.domain.bars import Bar
from shared.domain.symbols import parse_symbol
from shared.domain.timeframes import Timeframe
from shared.testing.object_storage import new_bucket, object_storage
from trader.runtime.ports import Ports
from trader.testing.servers import Servers, SettingsFor

_PATIENCE_S = 180.0
# Sessions of January 2026; a fixed date, so that the exchange's holidays are known.
FIRST_OPEN_AT = datetime(2026, 1, 13, 14, 30, tzinfo=UTC)


SYMBOLS = tuple(parse_symbol(name) for name in ("AAA", "BBB", "CCC"))


def minute_of_tape(minute: int) -> BarBlock:
    """One minute of the tape; the last symbol trades only in every third."""
    start_at = FIRST_OPEN_AT + timedelta(minutes=minute)
    bars = []
    for number, symbol in enumerate(SYMBOLS):
        if symbol == SYMBOLS[-1] and minute % 3:
            continue
        price = 100 + number * 10 + Decimal((minute * 7) % 13) / 10
        high, low, close = price + 1, price - 1, price + Decimal("0.5")
        end_at = start_at + timedelta(minutes=1)
        bars.append(
            Bar(symbol, Timeframe.MINUTE, start_at, end_at, price, high, low, close, 1000 + minute)
        )
    return block_of(Timeframe.MINUTE, bars)


def write_minutes(path: Path, minutes: int) -> None:
    """A file of the tape's first `minutes` minutes."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["Symbol", "Datetime", "Open", "High", "Low", "Close", "Volume"])
        for minute in range(minutes):
            for bar in minute_of_tape(minute):
                at = bar.start_at.isoformat()
                rows.writerow([bar.symbol, at, bar.open, bar.high, bar.low, bar.close, bar.volume])


def until(condition: Any, what: str) -> Any:
    """The first true answer of `condition`, asked again and again."""
    deadline = time.monotonic() + _PATIENCE_S  # noqa: TID251  # bounds a test that would hang
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:  # noqa: TID251
            raise AssertionError(f"waited {_PATIENCE_S:.0f} s in vain for {what}")
        time.sleep(0.02)  # noqa: TID251  # other processes need the time


@dataclass
class Simulator:
    """The simulator's process and its admin door."""

    port: int
    clock_file: Path
    process: subprocess.Popen[bytes]
    step: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def post(self, path: str, body: dict[str, Any]) -> Any:
        response = httpx.post(f"{self.url}{path}", json=body, timeout=60, trust_env=False)
        response.raise_for_status()
        return response.json()

    def advance(self) -> dict[str, Any]:
        """Perform the next step."""
        self.step += 1
        answer: dict[str, Any] = self.post("/admin/advance", {"step": self.step})
        return answer

    def close_instant(self) -> dict[str, Any]:
        """Perform steps up to and with the next CLOSE."""
        while (answer := self.advance())["phase"] != "CLOSE":
            pass
        return answer

    def answers(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/admin/state", timeout=2, trust_env=False).is_success
        return False


@dataclass
class Process:
    """A collector's process."""

    settings: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "data_collector"], env=self.settings, stdout=out, stderr=out
            )

    def kill(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def get(self, path: str, **query: str) -> httpx.Response:
        return self._ask("GET", path, params=query)

    def post(self, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
        return self._ask("POST", path, json=body, headers=headers)

    def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        token = self.settings["API_TOKEN_OPERATE"]
        headers = {"Authorization": f"Bearer {token}", **more.pop("headers", {})}
        url = f"http://127.0.0.1:{self.settings['DATA_COLLECTOR_PORT']}{path}"
        return httpx.request(method, url, headers=headers, timeout=60, trust_env=False, **more)

    def is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()[-2000:]
        with contextlib.suppress(httpx.HTTPError):
            return self.get("/ready").status_code == 200
        return False


@dataclass
class Rig:
    """A simulator, a collector, and a look into the database."""

    simulator: Simulator
    collector: Process
    servers: Servers
    settings: Settings

    def batches(self) -> list[dict[str, Any]]:
        """Every announced batch of this account, in order of id."""
        return self.rows(
            "SELECT * FROM data_collector.v_bar_batches WHERE account = $1 ORDER BY id"
        )

    def wait(self, condition: Any, what: str) -> Any:
        """The first true answer of `condition`."""
        return until(condition, what)

    def rows(self, query: str) -> list[dict[str, Any]]:
        async def read() -> list[dict[str, Any]]:
            url = self.servers.instance.database_url("operator").replace("+asyncpg", "")
            connection = await asyncpg.connect(url)
            try:
                found = await connection.fetch(query, self.settings.trading_account)
            finally:
                await connection.close()
            return [dict(row) for row in found]

        return asyncio.run(read())

    @staticmethod
    def published(closed: dict[str, Any]) -> BarBlock:
        """What the venue published at the instant that it closed."""
        end_at = datetime.fromisoformat(closed["instant_at"])
        return minute_of_tape((end_at - FIRST_OPEN_AT) // timedelta(minutes=1) - 1)

    def batch_of(self, closed: dict[str, Any]) -> dict[str, Any]:
        """Wait for the batch of the instant that the simulator closed."""
        end_at = datetime.fromisoformat(closed["instant_at"])

        def committed() -> dict[str, Any] | None:
            return next((b for b in self.batches() if b["end_at"] == end_at), None)

        found: dict[str, Any] = until(committed, f"the batch of {end_at}")
        return found


@pytest.fixture(scope="session")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the exchange's sessions, built once, since building it costs seconds."""
    folder = tmp_path_factory.mktemp("sessions")
    load_calendar(folder)
    return next(folder.glob("sessions-*.json"))


@pytest.fixture
def rig(
    servers: Servers, settings_for: SettingsFor, sessions: Path, tmp_path: Path
) -> Iterator[Rig]:
    """Three symbols, thirty minutes of which the last twenty are replayed in lock-step."""
    with running(servers, settings_for, sessions, tmp_path) as rig:
        yield rig


@pytest.fixture
def rig_on_a_bucket(
    servers: Servers, settings_for: SettingsFor, sessions: Path, tmp_path: Path
) -> Iterator[Rig]:
    """The same with its history in object storage."""
    with object_storage() as access:
        bucket = new_bucket(access, tmp_path / "parquet" / "locks")
        changes = {
            "DATA_DIR": str(bucket),
            "AWS_ACCESS_KEY_ID": access.key_id,
            "AWS_SECRET_ACCESS_KEY": access.secret_key,
            "AWS_ENDPOINT_URL": access.endpoint,
        }
        with running(servers, settings_for, sessions, tmp_path, **changes) as rig:
            yield rig


@contextmanager
def running(
    servers: Servers, settings_for: SettingsFor, sessions: Path, tmp_path: Path, **more: str
) -> Iterator[Rig]:
    tape = tmp_path / "tape.csv"
    write_minutes(tape, 30)
    ports = Ports.free()
    clock_file = tmp_path / "clock"
    log = tmp_path / "simulator.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "simulator", "--port", str(ports.simulator)),
                *("--bars", str(tape), "--last", "20", "--lock-step", "--rate-limit", "0"),
                *("--clock-file", str(clock_file), "--state-dir", str(tmp_path / "state")),
                *("--cache-dir", str(sessions.parent)),
            ],
            stdout=out,
            stderr=out,
        )
    simulator = Simulator(ports.simulator, clock_file, process)
    changes = {
        "TRADING_SYMBOLS": ",".join(SYMBOLS),
        "TRADING_TIMEFRAME": "1Min",
        "ALPACA_DATA_API_KEY": "data",
        "ALPACA_DATA_SECRET_KEY": "secret",
        "ALPACA_DATA_URL": simulator.url,
        "ALPACA_DATA_STREAM_URL": f"ws://127.0.0.1:{ports.simulator}/v2/iex",
        "ALPACA_REQUESTS_PER_MINUTE": "10000",
        "TWELVE_DATA_API_KEY": "twelve",
        "TWELVE_DATA_URL": simulator.url,
        "TWELVE_DATA_CREDITS_PER_MINUTE": "1000",
        "TWELVE_DATA_CREDITS_PER_DAY": "100000",
        # One export in five minutes for a key, so each test has its own.
        "FINVIZ_API_KEY": f"token-of-{tmp_path.name}-{tmp_path.parent.name}",
        "FINVIZ_URL": simulator.url,
        "FINVIZ_SCREEN": "sh_price_105to500",
        "CLOCK_FILE": str(clock_file),
        "DATA_COLLECTOR_PORT": str(ports.data_collector),
        "CACHE_DIR": str(tmp_path / "parquet"),
        **more,
    }
    settings = settings_for("data_collector", **changes)
    environment = {
        **servers.instance.environment("data_collector"),
        "TRADING_ACCOUNT": settings.trading_account,
        "DATA_DIR": str(settings.data_dir),
        "LOG_DIR": str(settings.log_dir),
        **changes,
    }
    settings.sessions_dir.mkdir(parents=True, exist_ok=True)
    shutil.copy(sessions, settings.sessions_dir)
    collector = Process(environment, tmp_path / "collector.log")
    try:
        until(
            lambda: process.poll() is None and simulator.answers(),
            f"the simulator: {log.read_text()[-500:]}",
        )
        collector.start()
        until(collector.is_ready, "the collector to be ready")
        yield Rig(simulator, collector, servers, settings)
    finally:
        for each in (collector.process, process):
            if each is not None and each.poll() is None:
                each.kill()
                each.wait()
