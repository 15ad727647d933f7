"""The whole process on real servers: an evaluation goes in, a review comes out, also over a kill."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from risk_manager.testing import AAPL, MSFT, NOW, a_signal, an_evaluation
from services.risk_manager.tests.integration.postgres_world import PostgresWorld
from shared.adapters.clocks import MonotonicTimer
from shared.adapters.parquet import ParquetBars
from shared.domain.bar_blocks import block_of, to_epoch_us
from shared.domain.bars import Bar
from shared.domain.decisions import Review
from shared.domain.money import parse_price
from shared.domain.signals import Evaluation
from shared.domain.timeframes import Timeframe
from trader.runtime.ports import Ports
from trader.testing.servers import Servers

pytestmark = pytest.mark.anyio
MINUTE = Timeframe.MINUTE.length
TIMER = MonotonicTimer()


class Room:
    """One risk manager as a process, told what the local runtime would tell it."""

    def __init__(self, servers: Servers, account: str, home: Path) -> None:
        self.port = Ports.free().risk_manager
        self.parquet = home / "parquet"
        self.clock = home / "clock"
        self.clock.write_bytes(to_epoch_us(NOW).to_bytes(8, "little", signed=True))
        told = servers.instance.environment("risk_manager")
        self.token = told["API_TOKEN_READ"]
        self._environment = {
            **told,
            "PATH": os.environ["PATH"],
            "TRADING_ACCOUNT": account,
            "DATA_DIR": str(self.parquet),
            "LOG_DIR": str(home / "logs"),
            "CLOCK_FILE": str(self.clock),
            "RISK_MANAGER_PORT": str(self.port),
        }

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Process]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "risk_manager",
            env=self._environment,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def get(self, path: str) -> httpx.Response:
        """Ask until there is an answer; a process takes a moment to come up."""
        headers = {"Authorization": f"Bearer {self.token}"}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=60) as http:
            async with asyncio.timeout(60):
                while True:
                    with contextlib.suppress(httpx.TransportError):
                        return await http.get(path, headers=headers)
                    await TIMER.sleep(0.05)


async def reviews_of(world: PostgresWorld, count: int) -> list[Review]:
    async with asyncio.timeout(60):
        while len(reviews := await world.announced_reviews()) < count:
            await TIMER.sleep(0.02)
    return reviews


def store_bars(room: Room, account: str) -> None:
    price = parse_price(100)
    bars = [
        Bar(symbol, Timeframe.MINUTE, NOW - MINUTE, NOW, price, price, price, price, 1_000)
        for symbol in (AAPL, MSFT)
    ]
    ParquetBars(room.parquet / account).append(
        block_of(Timeframe.MINUTE, bars), provider="test", fetched_at=NOW
    )


async def test_the_process_reviews_marks_and_answers_over_a_kill(
    world: PostgresWorld, servers: Servers, account: str, tmp_path: Path
) -> None:
    room = Room(servers, account, tmp_path)
    store_bars(room, account)
    await world.adopt(100_000)

    async with room.running() as process:
        ready = await room.get("/ready")
        assert (ready.status_code, ready.json()["checks"]) == (
            200,
            {"postgres": True, "redis": True},
        )
        await world.announce(an_evaluation(a_signal()))
        (first,) = await reviews_of(world, 1)
        process.kill()
        await process.wait()
        await world.announce(
            Evaluation(
                account, Timeframe.MINUTE, NOW + MINUTE, (a_signal("MSFT", at=NOW + MINUTE),)
            )
        )
    async with room.running() as process:
        _, second = await reviews_of(world, 2)
        portfolio = (await room.get("/risk/portfolio")).json()
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0

    assert [a.symbol for a in first.approved] == [AAPL]
    # With one bar stored nobody can tell the two symbols apart, so the second is refused.
    assert [r.reason_code for r in second.refused] == ["CORRELATION"]
    assert (portfolio["equity"], portfolio["reserved_cash"]) == ("100000", "5200")
    assert [p["symbol"] for p in portfolio["positions"]] == [AAPL]
