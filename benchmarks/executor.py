"""How long does a signal take to the broker, how often is it sent, and how fast is trouble over?

Signals are committed one after the other and go through bells, outboxes and cursors as in production: signal -> review ->
intent -> POST, with the executor itself, a stand-in that approves in the risk manager's place, and the simulated venue in a
process of its own, on real PostgreSQL and Redis. In the same run the raw floor is measured: three commits of one small row,
three wake-ups through Redis and one HTTP POST of the same order. Printed as times and as the ratio of the two, because
machines differ.

    python -m benchmarks.executor [signals]
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from statistics import quantiles
from typing import Any

import httpx
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from shared.adapters.clocks import FileClock, MonotonicTimer
from shared.adapters.exchange_calendar import load_calendar
from shared.adapters.halt_file import HaltFile
from shared.adapters.postgres import Cursor, Database, Outbox, open_database
from shared.adapters.redis import RedisBells, open_redis
from shared.config import Settings, load_settings
from shared.domain.decisions import Approved, Purpose, Review
from shared.domain.ids import client_order_id
from shared.domain.orders import OrderChange, OrderRequest, OrderType, Side, TimeInForce
from shared.domain.signals import Evaluation
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.messages import (
    BELL_EVALUATIONS,
    BELL_REVIEWS,
    EVALUATION,
    EVALUATIONS,
)
from shared.ports import Broker, BrokerOrder
from shared.testing.reviews import announce_review
from trade_executor.adapters.alpaca import open_alpaca
from trade_executor.adapters.gate import Gate
from trade_executor.adapters.holder import this_process
from trade_executor.adapters.market import open_market
from trade_executor.adapters.trade_updates import TradeUpdates
from trade_executor.market import Bounds
from trade_executor.service import Executor, Parts
from trade_executor.store import Store
from trade_executor.store.leases import PostgresLeases
from trader.runtime.instance import POSTGRES, REDIS, Instance
from trader.runtime.stack import LocalStack

ACCOUNT = "bench"
KEY = SecretStr("PKTEST")
LOST_REPLIES = 30
RECOVERIES = 10
WITHOUT_LIMIT = 1_000_000


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


def started(
    folder: Path, arguments: list[str], environment: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        env={"PATH": os.environ["PATH"], **(environment or {})},
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@dataclass
class NotingBroker:
    """Notes when an order was about to be written and when its answer was there."""

    broker: Broker
    written_s: dict[str, float] = field(default_factory=dict)
    answered: dict[str, asyncio.Future[float]] = field(default_factory=dict)

    async def submit(self, order: OrderRequest, last_look: Callable[[], None]) -> BrokerOrder:
        name = order.client_order_id

        def look() -> None:
            last_look()
            self.written_s.setdefault(name, time.perf_counter())

        try:
            return await self.broker.submit(order, look)
        finally:
            waiting = self.answered.get(name)
            if waiting is not None and not waiting.done():
                waiting.set_result(time.perf_counter())

    async def replace(
        self, broker_order_id: str, name: str, change: OrderChange, last_look: Callable[[], None]
    ) -> BrokerOrder:
        return await self.broker.replace(broker_order_id, name, change, last_look)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.broker, name)


@dataclass
class Bench:
    """Everything that stands while it is measured."""

    instance: Instance
    folder: Path
    venue_url: str
    venue: httpx.AsyncClient
    strategy: Database
    risk: Database
    executor: Database
    bells: RedisBells
    clock: FileClock
    broker: NotingBroker
    parts: Parts

    async def approve(self) -> None:
        """What stands in for the risk manager: each evaluation's signal becomes an approved order."""
        signals = Outbox("strategy_engine", ACCOUNT)
        cursor = Cursor("risk_manager", "strategy_engine", ACCOUNT)

        async def work(connection: AsyncConnection) -> bool:
            rows = await signals.after(
                connection, await cursor.position(connection), topics=(EVALUATIONS,)
            )
            for row in rows:
                EVALUATION.decode(row.payload)
                review = Review(
                    ACCOUNT, f"evaluation:{row.key}", self.clock.now(), (self._yes(row.key),), ()
                )
                await announce_review(connection, review, self.clock.now())
            if rows:
                await cursor.move(connection, rows[-1].id)
            return bool(rows)

        async with self.bells.listen(BELL_EVALUATIONS) as ear:
            while True:
                while await self.risk.run(work):
                    await self.bells.ring(BELL_REVIEWS)
                await ear.wait(1.0)

    def _yes(self, signal: str) -> Approved:
        now = self.clock.now()
        return Approved(
            f"dec-{signal}", signal, ACCOUNT, Symbol("AAPL"), Side.BUY, Purpose.ENTRY, Decimal(1),
            OrderType.LIMIT, TimeInForce.GTC, Decimal(1), None, None, None, Decimal(1), now,
            now + timedelta(minutes=5), (),
        )  # fmt: skip

    async def give_signal(self, name: str) -> tuple[float, float]:
        """Seconds from before its commit to before the POST, and to the answer."""
        order = client_order_id(ACCOUNT, name, "entry", 0)
        answered = self.broker.answered[order] = asyncio.get_running_loop().create_future()
        empty = Evaluation(ACCOUNT, Timeframe.MINUTE, self.clock.now(), ())

        async def work(connection: AsyncConnection) -> None:
            await Outbox("strategy_engine", ACCOUNT).append(
                connection, topic=EVALUATIONS, key=name, payload=EVALUATION.encode(empty),
                at=self.clock.now(),
            )  # fmt: skip

        began_s = time.perf_counter()
        await self.strategy.run(work)
        await self.bells.ring(BELL_EVALUATIONS)
        ended_s = await asyncio.wait_for(answered, 30)
        return self.broker.written_s[order] - began_s, ended_s - began_s

    async def rows(self, statement: str) -> list[Any]:
        async def work(connection: AsyncConnection) -> list[Any]:
            return list(await connection.execute(text(statement), {"a": ACCOUNT}))

        return await self.executor.run(work)

    async def until(self, holds: Callable[[], Any], *, within_s: float = 180.0) -> float:
        began_s = time.perf_counter()
        while not await holds():
            if time.perf_counter() - began_s > within_s:
                raise TimeoutError("not in time; see the log of the executor above")
            await asyncio.sleep(0.005)
        return time.perf_counter() - began_s

    async def is_ready(self) -> bool:
        status = await self.parts.store.terms.status()
        return status is not None and status.state.value == "READY"


def told(name: str, values: list[float]) -> float:
    """Print milliseconds, return the median in seconds."""
    cuts = quantiles(values, n=100)
    print(f"{name:46} p50 {cuts[49] * 1000:8.2f} ms   p99 {cuts[98] * 1000:8.2f} ms")
    return cuts[49]


@contextlib.asynccontextmanager
async def raw_floor(bench: Bench) -> AsyncIterator[Callable[[], Awaitable[float]]]:
    """Measures a round of three commits, three wake-ups and one POST, raw, one after the other."""
    engine = create_async_engine(bench.instance.database_url("trading"))
    async with engine.connect() as connection, bench.bells.listen("floor") as ear:
        await connection.execute(text("CREATE TABLE IF NOT EXISTS public.floor (at float8)"))
        await connection.commit()

        async def measure_once() -> float:
            order = {
                "symbol": "MSFT", "qty": "1", "side": "buy", "type": "limit", "limit_price": "1",
                "time_in_force": "gtc", "client_order_id": f"floor-{time.perf_counter_ns()}",
            }  # fmt: skip
            began_s = time.perf_counter()
            for _ in range(3):
                await connection.execute(text("INSERT INTO public.floor VALUES (1)"))
                await connection.commit()
                await bench.bells.ring("floor")
                await ear.wait(1.0)
            answer = await bench.venue.post("/v2/orders", json=order)
            took_s = time.perf_counter() - began_s
            answer.raise_for_status()
            await bench.venue.delete(f"/v2/orders/{answer.json()['id']}")
            return took_s

        yield measure_once
    await engine.dispose()


@contextlib.asynccontextmanager
async def standing(folder: Path) -> AsyncIterator[Bench]:
    instance = Instance.create(folder / "home")
    stack = LocalStack(instance, programs=(POSTGRES, REDIS), owned=True)
    stack.start()
    port, clock_file = free_port(), folder / "clock"
    url = f"http://127.0.0.1:{port}"
    venue_process = started(
        folder,
        [
            "-m", "simulator", "--port", str(port), "--lock-step", "--symbols", "AAPL,MSFT",
            "--sessions", "1", "--account", ACCOUNT, "--clock-file", str(clock_file), "--rate-limit", "0",
        ],
    )  # fmt: skip

    def settings(service: str) -> Settings:
        return load_settings(
            {
                **instance.environment(service),
                "TRADING_ACCOUNT": ACCOUNT,
                "DATA_DIR": str(folder / "parquet"),
            }
        )

    timer = MonotonicTimer()
    try:
        async with contextlib.AsyncExitStack() as exits:
            enter = exits.enter_async_context
            headers = {"APCA-API-KEY-ID": "K", "APCA-API-SECRET-KEY": "S"}
            venue = await enter(httpx.AsyncClient(base_url=url, trust_env=False, headers=headers))
            for step in range(4):
                while True:
                    with contextlib.suppress(httpx.TransportError):
                        if step == 0:
                            await venue.get("/admin/state")
                        else:
                            await venue.post("/admin/advance", json={"step": step})
                        break
                    await asyncio.sleep(0.1)
            own = settings("trade_executor")
            strategy = await enter(
                open_database(settings("strategy_engine"), timer, application="b")
            )
            risk = await enter(open_database(settings("risk_manager"), timer, application="b"))
            executor = await enter(open_database(own, timer, pool_size=6, application="b"))
            lease = await enter(open_database(own, timer, pool_size=1, application="b"))
            bells = RedisBells(await enter(open_redis(own)), ACCOUNT, timer)
            gate, clock = Gate(WITHOUT_LIMIT, timer), FileClock(clock_file)
            alpaca = await enter(open_alpaca(url, KEY, KEY, gate))
            broker = NotingBroker(alpaca)
            venue_settings = own.model_copy(
                update={"alpaca_data_url": url, "alpaca_api_key": KEY, "alpaca_secret_key": KEY}
            )
            market = await enter(open_market(venue_settings, alpaca, timer))
            parts = Parts(
                Store(executor, ACCOUNT), PostgresLeases(lease, ACCOUNT, clock), broker, gate,
                TradeUpdates(url, KEY, KEY, timer), bells, load_calendar(folder / "parquet"), clock,
                timer, HaltFile(folder / "halt"), this_process(), market,
                Bounds(max_spread=Decimal("0.01"), collar=Decimal("0.05"), max_quote_age_s=60),
            )  # fmt: skip

            async def active(connection: AsyncConnection) -> None:
                await connection.execute(
                    text(
                        "INSERT INTO risk_manager.modes (account, version, mode, reason, actor, "
                        "restarts_peak, changed_at) VALUES (:a, 1, 'ACTIVE', 'b', 'b', false, :at)"
                    ),
                    {"a": ACCOUNT, "at": clock.now()},
                )

            await risk.run(active)
            yield Bench(
                instance, folder, url, venue, strategy, risk, executor, bells, clock, broker, parts
            )
    finally:
        venue_process.kill()
        venue_process.wait(10)
        stack.remove()


async def measure(count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="full-ai-trader-bench-") as name:
        async with standing(Path(name)) as bench:
            running = asyncio.create_task(Executor(bench.parts).run())
            approving = asyncio.create_task(bench.approve())
            await bench.until(bench.is_ready)
            for number in range(20):
                await bench.give_signal(f"warm-{number}")
            raw, times = [], []
            async with raw_floor(bench) as measure_once:
                for number in range(count):
                    # In turn, so that both meet the same load of the machine.
                    times.append(await bench.give_signal(f"sig-{number}"))
                    if number % 2 == 0:
                        raw.append(await measure_once())
            print(f"{count} signals, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
            low = told("floor: 3 commits, 3 wake-ups, 1 POST answered", raw)
            told("signal to POST about to be written", [t[0] for t in times])
            high = told("signal to POST answered", [t[1] for t in times])
            print(f"{'ratio of the medians to the floor':46} {high / low:8.2f}")

            await lose_replies(bench)
            [posts] = await bench.rows(
                "SELECT sum(posts) AS posts, count(*) AS intents FROM trade_executor.v_intents "
                "WHERE account = :a"
            )
            print(f"{'POSTs per intent':46} {posts.posts / posts.intents:8.4f}  of {posts.intents}")
            running.cancel()
            approving.cancel()
            await asyncio.gather(running, approving, return_exceptions=True)
            await recover(bench)


async def lose_replies(bench: Bench) -> None:
    """From the POST whose answer was lost until the order is known again."""
    took = []
    for number in range(LOST_REPLIES):
        await bench.venue.post(
            "/admin/faults",
            json={"kind": "lose_reply", "match": {"method": "POST", "path": "/v2/orders"}},
        )
        signal = f"lost-{number}"
        await bench.give_signal(signal)
        order = client_order_id(ACCOUNT, signal, "entry", 0)

        async def is_known(order: str = order) -> bool:
            [row] = await bench.parts.store.reads.find_orders(any_id=order, limit=1)
            return row["state"] == "ACKED"

        await bench.until(is_known)
        took.append(time.perf_counter() - bench.broker.written_s[order])
    told("unknown order adopted, from its POST", took)


async def recover(bench: Bench) -> None:
    """From the start of a killed executor's successor, Python included, until it is READY."""
    [opened] = await bench.rows(
        "SELECT count(*) FROM trade_executor.v_orders WHERE account = :a AND status = 'new'"
    )
    took = []
    api_port = free_port()
    environment = {
        **bench.instance.environment("trade_executor"),
        "TRADING_ACCOUNT": ACCOUNT,
        "ALPACA_API_KEY": "PKTEST",
        "ALPACA_SECRET_KEY": "secret",
        "ALPACA_BASE_URL": bench.venue_url,
        "ALPACA_DATA_URL": bench.venue_url,
        "ALPACA_REQUESTS_PER_MINUTE": "10000",
        "TRADE_EXECUTOR_PORT": str(api_port),
        "CLOCK_FILE": str(bench.folder / "clock"),
        "DATA_DIR": str(bench.folder / "parquet"),
        "LOG_DIR": str(bench.folder / "logs"),
        "HALT_FILE": str(bench.folder / "halt"),
    }
    epoch = 0
    for _ in range(RECOVERIES + 1):
        began_s = time.perf_counter()
        process = started(bench.folder, ["-m", "trade_executor"], environment)

        async def leads(epoch: int = epoch) -> bool:
            status = await bench.parts.store.terms.status()
            return status is not None and status.state.value == "READY" and status.epoch > epoch

        try:
            await bench.until(leads)
        finally:
            took.append(time.perf_counter() - began_s)
            process.kill()
            process.wait(10)
        status = await bench.parts.store.terms.status()
        epoch = 0 if status is None else status.epoch
    # The first found the lease given back; the others their predecessor killed.
    told(f"recovery after kill -9, {opened[0]} open orders", took[1:])


if __name__ == "__main__":
    asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000))
