"""How long is the whole market's minute on its way, and does memory stay flat over a session?

A simulator in this process is the feed: each minute, bars of 10,000 symbols leave it in one burst, in lock-step. The
collector runs as in production, on a stack of its own. Measured from right before the burst to the commit of the
batch, by when the bars are stored and cached and about to be rung for; PostgreSQL's own commit times tell, so nothing
is polled while it matters. In the same run the floor is measured: decoding the same message, writing the same rows with
PyArrow and one durable commit. Times are printed beside it, because machines differ.

    python -m benchmarks.market_minute [minutes] [symbols]

Whoever comes after the collector is one more `Stage`: the program that is started with it, and the commit that ends it. Each is
measured from the burst on; `benchmarks.evaluation` has the strategies by themselves.
"""

from __future__ import annotations

import asyncio
import io
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import asyncpg
import httpx
import numpy as np
import orjson
import psutil
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from benchmarks.store import market_of, names_of
from shared.adapters.exchange_calendar import load_calendar
from shared.domain.bar_blocks import to_epoch_us
from shared.domain.calendar import TradingCalendar
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from simulator import wire
from simulator.tape import Segment, Tape
from simulator.testing import running_simulator
from trader.runtime.instance import Instance
from trader.runtime.stack import LocalStack

_ACCOUNT = "bench"
_PATIENCE_S = 120.0
# A tape grows by so many minutes at a time.
_STRETCH = 10
# The first minutes pay for imports and first allocations.
_WARM_UP = 3


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the way of a minute.

    `newest`: a query of the instant and the commit time of the newest row that ends it; `$1` is the account.
    """

    name: str
    program: str
    newest: str
    wanted_ms: float


STAGES = (
    Stage(
        "stored, cached, announced",
        "data_collector",
        "SELECT end_at, pg_xact_commit_timestamp(xmin) FROM data_collector.bar_batches "
        "WHERE account = $1 ORDER BY id DESC LIMIT 1",
        2_000.0,
    ),
    Stage(
        "evaluated, signals committed",
        "strategy_engine",
        "SELECT (payload #>> '{body,instant_at}')::timestamptz, pg_xact_commit_timestamp(xmin) "
        "FROM strategy_engine.outbox WHERE account = $1 AND topic = 'evaluations' "
        "ORDER BY id DESC LIMIT 1",
        2_300.0,
    ),
)


def tape_of_minutes(
    symbols: tuple[Symbol, ...], minutes: int, calendar: TradingCalendar, opens_at: datetime
) -> Tape:
    """Every symbol in every minute from `opens_at` on, made as the replay gets there."""
    newest: NDArray[np.int64] | None = None

    def stretch(first: int) -> Segment:
        nonlocal newest
        count = min(_STRETCH, minutes - first)
        starts = to_epoch_us(opens_at + timedelta(minutes=first)) + 60_000_000 * np.arange(count)
        block = market_of(symbols, starts, first)
        # By minute, then symbol, as a tape has them; the block is by symbol, then minute.
        turned = {
            name: getattr(block, name).reshape(len(symbols), count).T
            for name in ("start_us", "end_us", "open", "high", "low", "close", "volume")
        }
        # Each stretch goes on where the last one ended: bars far from those before are refused as bad prints, and to
        # write down thousands of refusals is another measurement.
        step = 0 if newest is None else newest - turned["close"][0]
        for price in ("open", "high", "low", "close"):
            turned[price] = turned[price] + step
        newest = turned["close"][-1]
        turned = {name: column.reshape(-1) for name, column in turned.items()}
        return Segment(
            symbol=np.tile(np.arange(len(symbols), dtype=np.int32), count),
            opens_us=turned["start_us"],
            session=np.zeros(count * len(symbols), dtype=np.int64),
            **turned,
        )

    left: Iterator[int] = iter(range(_STRETCH, minutes, _STRETCH))

    def grow() -> Segment | None:
        first = next(left, None)
        return None if first is None else stretch(first)

    return Tape(
        source="invented",
        timeframe=Timeframe.MINUTE,
        symbols=symbols,
        calendar=calendar,
        digest=f"market-minute|{len(symbols)}|{minutes}",
        first=stretch(0),
        grow=grow,
    )


def floor_ms(tape: Tape, folder: Path) -> float:
    """What decoding one burst and writing its rows costs at least, in milliseconds."""
    instant = tape.instant(0)
    assert instant is not None
    burst = wire.json_text(
        [wire.stream_bar("b", name, instant.start_at, bar) for name, bar in instant.bars.items()]
    )
    times = []
    for number in range(5):
        began = time.perf_counter()
        rows = orjson.loads(burst)
        columns = {
            name: [row[name] for row in rows] for name in ("S", "t", "o", "h", "l", "c", "v")
        }
        buffer = io.BytesIO()
        pyarrow.parquet.write_table(pa.table(columns), buffer, compression="zstd")
        with (folder / f"floor-{number}.parquet").open("wb") as file:
            file.write(buffer.getbuffer())
            os.fsync(file.fileno())
        times.append((time.perf_counter() - began) * 1_000)
    return median(times)


async def measure(minutes: int, count: int) -> None:
    """Play the session and print what it took."""
    symbols = names_of(count)
    with tempfile.TemporaryDirectory(prefix="full-ai-trader-bench-") as name:
        folder = Path(name)
        calendar = load_calendar(Path(tempfile.gettempdir()) / "full-ai-trader-bench")
        session = calendar.next_session(datetime(2026, 11, 20, 12, tzinfo=UTC))
        tape = tape_of_minutes(symbols, minutes, calendar, session.open_at)
        lowest_ms = floor_ms(tape, folder)
        clock_file = folder / "clock"
        with running_simulator(tape, clock_file=clock_file) as simulator:
            instance = Instance.create(
                folder / "home",
                settings={
                    "ALPACA_DATA_API_KEY": "data",
                    "ALPACA_DATA_SECRET_KEY": "secret",
                    "ALPACA_DATA_URL": simulator.url,
                    "ALPACA_DATA_STREAM_URL": f"{simulator.stream_url}/v2/iex",
                    "ALPACA_REQUESTS_PER_MINUTE": "10000",
                    "TRADING_ACCOUNT": _ACCOUNT,
                    "TRADING_SYMBOLS": ",".join(symbols),
                    "CLOCK_FILE": str(clock_file),
                },
            )
            stack = LocalStack(instance, [stage.program for stage in STAGES])
            try:
                stack.start()
                await _play(stack, simulator.advance, minutes, count, lowest_ms)
            finally:
                stack.remove()


async def _play(
    stack: LocalStack,
    advance: Callable[[int], dict[str, Any]],
    minutes: int,
    count: int,
    lowest_ms: float,
) -> None:
    await _until_ready(stack.instance)
    database = await asyncpg.connect(stack.instance.database_url("trading").replace("+asyncpg", ""))
    processes = {s.program: psutil.Process(stack.state_of(s.program).pid) for s in STAGES}
    taken: dict[str, list[float]] = {stage.name: [] for stage in STAGES}
    memory: dict[str, list[float]] = {program: [] for program in processes}
    busy_s = {program: sum(process.cpu_times()[:2]) for program, process in processes.items()}
    try:
        for _ in range(minutes):
            await asyncio.to_thread(advance, 2)
            began = time.time()
            closed = await asyncio.to_thread(advance, 1)
            end_at = datetime.fromisoformat(closed["instant_at"])
            for stage in STAGES:
                done_at = await _until_done(
                    lambda s=stage: database.fetchrow(s.newest, _ACCOUNT), end_at
                )
                taken[stage.name].append((done_at.timestamp() - began) * 1_000)
            for program, process in processes.items():
                memory[program].append(process.memory_info().rss / 2**20)
        _print(taken, memory, processes, busy_s, minutes, count, lowest_ms)
    finally:
        await database.close()


async def _until_ready(instance: Instance) -> None:
    """Return when every program follows what comes before it."""
    headers = {"Authorization": f"Bearer {instance.settings['API_TOKEN_READ']}"}
    async with (
        asyncio.timeout(_PATIENCE_S),
        httpx.AsyncClient(headers=headers, trust_env=False) as http,
    ):
        for stage in STAGES:
            while True:
                if (await http.get(f"{instance.url_of(stage.program)}/ready")).is_success:
                    break
                await asyncio.sleep(0.1)


async def _until_done(ask: Callable[[], Awaitable[Any]], end_at: datetime) -> datetime:
    """The commit time of the row that ends `end_at`."""
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            row = await ask()
            if row is not None and row[0] == end_at:
                found: datetime = row[1]
                return found
            await asyncio.sleep(0.02)


def _print(
    taken: dict[str, list[float]],
    memory: dict[str, list[float]],
    processes: dict[str, psutil.Process],
    busy_s: dict[str, float],
    minutes: int,
    count: int,
    lowest_ms: float,
) -> None:
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{minutes} minutes of {count:,} symbols, load {load}")
    print(f"{'floor: decode, write, sync':32} {lowest_ms:8.0f} ms")
    for stage in STAGES:
        times = taken[stage.name][_WARM_UP:] or taken[stage.name]
        p99 = quantiles(times, n=100)[98] if len(times) > 1 else times[0]
        print(
            f"{stage.name:32} {median(times):8.0f} ms   p99 {p99:6.0f}   worst {max(times):6.0f}   "
            f"x {median(times) / lowest_ms:5.1f}   wanted <= {stage.wanted_ms:.0f} ms"
        )
        used_s = sum(processes[stage.program].cpu_times()[:2]) - busy_s[stage.program]
        some = memory[stage.program]
        marks = [some[len(some) * part // 10] for part in (1, 5)] + [some[-1]]
        print(
            f"{'  ' + stage.program:32} {used_s / minutes * 1_000:8.0f} ms of CPU a minute, memory "
            f"{' -> '.join(f'{mark:.0f}' for mark in marks)} MiB, at most {max(some):.0f}"
        )


if __name__ == "__main__":
    asyncio.run(
        measure(
            int(sys.argv[1]) if len(sys.argv) > 1 else 390,
            int(sys.argv[2]) if len(sys.argv) > 2 else 10_000,
        )
    )
