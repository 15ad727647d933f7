"""The real process on real servers: killed in the middle it leaves behind what it would have anyway."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

import httpx
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.clocks import MonotonicTimer
from shared.adapters.parquet import ParquetBars
from shared.adapters.postgres import Database, Outbox, open_database
from shared.adapters.redis import RedisBarStream, RedisBells, open_redis
from shared.config import Settings
from shared.domain.bar_blocks import block_of
from shared.domain.bars import Bar
from shared.domain.signals import Evaluation
from shared.domain.timeframes import Timeframe
from shared.messages import BELL_BARS, BELL_EVALUATIONS, EVALUATION, EVALUATIONS
from shared.testing.bar_stores import NOON, a_bar
from strategy_engine.strategies.moving_average import MovingAverage
from strategy_engine.testing import Market, batch_of, work_off
from trader.testing.servers import Servers, SettingsFor

PARAMETERS = {"short_window": "2", "long_window": "4"}
# A wave, so that crossings come every few bars.
WAVE = [100, 101, 103, 104, 103, 101, 99, 97, 96, 98]


def instant(minute: int) -> list[Bar]:
    """AAPL each minute, MSFT in two of three."""
    names = ["AAPL", "MSFT"] if minute % 3 else ["AAPL"]
    return [a_bar(name, minute, close=WAVE[minute % 10] + len(name)) for name in names]


class Collector:
    """Stores and announces bars as the data collector does."""

    def __init__(self, settings: Settings, database: Database, stream: RedisBarStream) -> None:
        self._account = settings.trading_account
        self._bars = ParquetBars(settings.history / self._account)
        self._database = database
        self._stream = stream

    async def announce(self, bars: Sequence[Bar]) -> None:
        block = block_of(Timeframe.MINUTE, bars)
        await asyncio.to_thread(self._bars.append, block, provider="test", fetched_at=NOON)
        batch = batch_of(0, bars)
        row = {
            "account": self._account,
            "start_at": batch.start_at,
            "end_at": batch.end_at,
            "symbols": len(bars),
            "composition": list(batch.composition),
            "digest": "0" * 64,
        }

        async def insert(connection: AsyncConnection) -> int:
            statement = text(
                "INSERT INTO data_collector.bar_batches (account, timeframe, start_at, end_at, symbols, "
                "composition, digest, decidable, announced_at) VALUES (:account, '1Min', :start_at, "
                ":end_at, :symbols, :composition, :digest, true, :end_at) RETURNING id"
            )
            return int((await connection.execute(statement, row)).scalar_one())

        await self._stream.publish(await self._database.run(insert), block)


class Process:
    """The strategy engine as the supervisor would start it."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._environment = environment
        self._log = log
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "strategy_engine"],
                env=self._environment,
                stdout=log,
                stderr=log,
            )

    def end(self, how: signal.Signals) -> int:
        """Send `how`, wait, and return the exit code."""
        assert self._child is not None
        self._child.send_signal(how)
        code = self._child.wait(timeout=30)
        self._child = None
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self.end(signal.SIGKILL)


async def evaluations(database: Database, account: str) -> list[Evaluation]:
    async def read(connection: AsyncConnection) -> list[Evaluation]:
        rows = await Outbox("strategy_engine", account).after(
            connection, 0, topics=(EVALUATIONS,), limit=500
        )
        return [EVALUATION.decode(row.payload) for row in rows]

    return await database.run(read)


def undisturbed(account: str, count: int) -> list[Evaluation]:
    market = Market(account)
    for minute in range(count):
        market.announce(*instant(minute))
    asyncio.run(work_off(market.engine(MovingAverage(**PARAMETERS))))
    return market.store.outbox


def test_killed_in_the_middle_with_redis_emptied_it_leaves_the_same_evaluations(
    servers: Servers, settings_for: SettingsFor, account: str, tmp_path: Path
) -> None:
    expected = undisturbed(account, 45)
    assert sum(len(evaluation.signals) for evaluation in expected) > 10
    settings = settings_for("strategy_engine")
    environment = {
        **servers.instance.environment("strategy_engine"),
        "TRADING_ACCOUNT": account,
        "DATA_DIR": str(settings.data_dir),
        "LOG_DIR": str(settings.log_dir),
        "STRATEGY_PARAMS": ",".join(f"{name}={value}" for name, value in PARAMETERS.items()),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    url = f"http://127.0.0.1:{settings.strategy_engine_port}"
    token = {"Authorization": f"Bearer {_operate_token(settings)}"}

    async def scenario(process: Process) -> None:
        timer = MonotonicTimer()
        async with AsyncExitStack() as stack:
            enter = stack.enter_async_context
            redis = await enter(open_redis(settings))
            theirs = settings_for("data_collector")
            collector = Collector(
                theirs,
                await enter(open_database(theirs, timer, application="test")),
                RedisBarStream(redis, account),
            )
            ours = await enter(open_database(settings, timer, application="test"))
            bells = RedisBells(redis, account, timer)
            ear = await enter(bells.listen(BELL_EVALUATIONS))

            async def until(count: int) -> None:
                await bells.ring(BELL_BARS)
                for _ in range(120):
                    if len(await evaluations(ours, account)) >= count:
                        return
                    await ear.wait(0.5)
                raise AssertionError((tmp_path / "process.log").read_text()[-3000:])

            process.start()
            for minute in range(15):
                await collector.announce(instant(minute))
            await until(10)
            process.end(signal.SIGKILL)
            for minute in range(15, 30):
                await collector.announce(instant(minute))
            await redis.delete(f"market.bars:{account}")
            process.start()
            await until(30)
            for minute in range(30, 45):
                await collector.announce(instant(minute))
            await until(45)

            async with httpx.AsyncClient(base_url=url, headers=token, timeout=10) as http:
                ready = await http.get("/ready")
                assert (ready.status_code, ready.json()["checks"]) == (
                    200,
                    {"postgres": True, "redis": True, "warmed_up": True},
                )
                ask = {"dry_run": False}
                generated = (await http.post("/signals/generate", json=ask)).json()
                dry = (await http.post("/signals/generate", json={})).json()
                listed = (await http.get("/strategies")).json()["items"]
                average = next(item for item in listed if item["name"] == "moving_average")
            assert process.end(signal.SIGTERM) == 0

            assert generated["signals"] == dry["signals"]
            assert average["state"] == "on"
            assert await evaluations(ours, account) == expected

    with Process(environment, tmp_path / "process.log") as process:
        asyncio.run(scenario(process))


def _operate_token(settings: Settings) -> str:
    assert settings.api_token_operate is not None
    return settings.api_token_operate.get_secret_value()
