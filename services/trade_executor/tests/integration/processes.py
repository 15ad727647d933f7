"""A venue and executors as processes of their own, so that they can be killed, stopped and resumed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.clocks import FileClock, MonotonicTimer
from shared.adapters.postgres import Database, open_database
from shared.adapters.redis import RedisBells, open_redis
from shared.domain.decisions import Approved, Purpose, Review
from shared.domain.errors import Unavailable
from shared.domain.orders import OrderType, Side, TimeInForce
from shared.domain.symbols import Symbol
from shared.messages import BELL_REVIEWS
from shared.testing import crashing
from shared.testing.reviews import announce_review
from trader.runtime.ports import Ports
from trader.testing.servers import Servers, SettingsFor

WITHIN_S = 90.0
TOKEN = "operate-token-of-the-test"


@dataclass
class Program:
    """A process with its API."""

    process: subprocess.Popen[bytes]
    api: httpx.AsyncClient

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(60)


class Rig:
    """One account at a venue, executors as they are started, and the test as risk manager and conductor."""

    def __init__(
        self,
        servers: Servers,
        account: str,
        folder: Path,
        db: Database,
        risk: Database,
        bells: RedisBells,
        stack: AsyncExitStack,
    ) -> None:
        self.servers = servers
        self.account = account
        self.db = db
        self.risk = risk
        self.timer = MonotonicTimer()
        self.clock: FileClock
        self._bells = bells
        self._folder = folder
        self._stack = stack
        self._venue_port = Ports.free().trade_executor
        self.programs: list[Program] = []
        # On which side entries are made.
        self.opens = Side.BUY
        self.venue = self._client(self._venue_port)

    def _client(self, port: int) -> httpx.AsyncClient:
        client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            trust_env=False,
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=60,
        )
        self._stack.push_async_callback(client.aclose)
        return client

    def _run(
        self, name: str, arguments: Sequence[str], environment: dict[str, str]
    ) -> subprocess.Popen[bytes]:
        log = (self._folder / f"{name}-{len(self.programs)}.log").open("wb")
        with log:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                env={"PATH": os.environ["PATH"], **environment},
                cwd=self._folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._stack.callback(_end, process)
        return process

    async def start_venue(self, *, symbols: str = "AAPL") -> None:
        self._run(
            "simulator",
            [
                "-m", "simulator", "--port", str(self._venue_port), "--lock-step", "--symbols", symbols, "--sessions", "1",
                "--account", self.account, "--clock-file", str(self._folder / "clock"),
                "--rate-limit", "0",
            ],
            {},
        )  # fmt: skip

        async def is_up() -> bool:
            return (await self.venue.get("/admin/state")).status_code == 200

        await self.until(is_up, "the venue answers")
        self.clock = FileClock(self._folder / "clock")

    def start_executor(self, *, crash_at: str | None = None, **changes: str) -> Program:
        """A whole executor, or one that ends at that place (see `shared.testing.crashing`)."""
        arguments = ["-m", "trade_executor"]
        if crash_at is not None:
            arguments = [crashing.__file__, crash_at, "trade_executor"]
        port = Ports.free().trade_executor
        environment = {
            **self.servers.instance.environment("trade_executor"),
            "TRADING_ACCOUNT": self.account,
            "ALPACA_API_KEY": "PKTEST",
            "ALPACA_SECRET_KEY": "secret",
            "ALPACA_BASE_URL": f"http://127.0.0.1:{self._venue_port}",
            "ALPACA_DATA_URL": f"http://127.0.0.1:{self._venue_port}",
            "ALPACA_REQUESTS_PER_MINUTE": "10000",
            "TRADE_EXECUTOR_PORT": str(port),
            "CLOCK_FILE": str(self._folder / "clock"),
            "API_TOKEN_OPERATE": TOKEN,
            "DATA_DIR": str(self._folder / "parquet"),
            "LOG_DIR": str(self._folder / "logs"),
            **changes,
        }
        program = Program(self._run("trade_executor", arguments, environment), self._client(port))
        self.programs.append(program)
        return program

    async def until(
        self, holds: Callable[[], Awaitable[bool]], what: str, *, within_s: float = WITHIN_S
    ) -> float:
        """Seconds until `holds`; what is away for a moment is asked again."""
        began_s = self.timer.monotonic_s()
        while True:
            try:
                if await holds():
                    return self.timer.monotonic_s() - began_s
            except (httpx.TransportError, Unavailable):
                pass
            if self.timer.monotonic_s() - began_s > within_s:
                words = "\n".join(f.read_text()[-2000:] for f in self._folder.glob("*.log"))
                raise AssertionError(f"not within {within_s} s: {what}\n{words}")
            await self.timer.sleep(0.05)

    async def until_ended(self, program: Program) -> int:
        async def ended() -> bool:
            return program.process.poll() is not None

        await self.until(ended, "the process has ended")
        return int(program.process.returncode)

    async def until_ready(self, program: Program, *, within_s: float = WITHIN_S) -> float:
        async def ready() -> bool:
            return (await program.api.get("/ready")).status_code == 200

        return await self.until(ready, "the executor is ready", within_s=within_s)

    async def epoch(self) -> int:
        """The epoch of whoever is READY; 0 while nobody is."""
        rows = await self.rows(
            "SELECT epoch FROM trade_executor.v_status WHERE account = :a AND state = 'READY'"
        )
        return int(rows[0].epoch) if rows else 0

    async def until_epoch_after(self, epoch: int, *, within_s: float = WITHIN_S) -> float:
        async def taken() -> bool:
            return await self.epoch() > epoch

        return await self.until(taken, f"somebody leads after epoch {epoch}", within_s=within_s)

    async def rows(self, statement: str, **values: Any) -> Sequence[Any]:
        async def work(connection: AsyncConnection) -> Sequence[Any]:
            result = await connection.execute(text(statement), {"a": self.account, **values})
            return result.all()

        return await self.db.run(work)

    async def book(self) -> dict[str, Any]:
        book: dict[str, Any] = (await self.venue.get("/admin/book")).json()
        return book

    async def our_orders(self) -> list[dict[str, Any]]:
        """First orders at the venue that bear our prefix."""
        return [o for o in (await self.book())["orders"] if o["client_order_id"].startswith("fat-")]

    async def until_orders(self, count: int) -> None:
        async def sent() -> bool:
            return len(await self.our_orders()) == count

        await self.until(sent, f"{count} orders of ours are at the venue")

    async def advance(self, steps: int = 1) -> None:
        for _ in range(steps):
            step = (await self.venue.get("/admin/state")).json()["step"] + 1
            answer = await self.venue.post("/admin/advance", json={"step": step})
            answer.raise_for_status()

    async def fault(self, **wish: Any) -> None:
        (await self.venue.post("/admin/faults", json=wish)).raise_for_status()

    async def books_agree(self) -> bool:
        """Whether our orders and fills are the venue's own, and nothing is left to do."""
        book = await self.book()
        orders = await self.rows(
            "SELECT broker_order_id, status, filled_quantity FROM trade_executor.v_orders "
            "WHERE account = :a"
        )
        fills = await self.rows(
            "SELECT execution_id, quantity, price FROM trade_executor.v_fills WHERE account = :a"
        )
        work = await self.rows(
            "SELECT 1 FROM trade_executor.v_pending_work WHERE account = :a AND due_from <= :now",
            now=self.clock.now(),
        )
        return (
            {tuple(row) for row in orders}
            == {(o["id"], o["status"], Decimal(o["filled_quantity"])) for o in book["orders"]}
            and sorted(map(tuple, fills))
            == sorted(
                (e["id"], Decimal(e["quantity"]), Decimal(e["price"])) for e in book["executions"]
            )
            and not work
        )

    async def settle(self, steps: int = 3) -> None:
        """Steps of the venue, each until the books agree."""
        await self.until(self.books_agree, "the books agree")
        for _ in range(steps):
            await self.advance()
            await self.until(self.books_agree, "the books agree")

    async def set_active(self) -> None:
        async def work(connection: AsyncConnection) -> None:
            await connection.execute(
                text(
                    "INSERT INTO risk_manager.modes (account, version, mode, reason, actor, restarts_peak, "
                    "changed_at) VALUES (:a, 1, 'ACTIVE', 'test', 'test', false, :at)"
                ),
                {"a": self.account, "at": self.clock.now()},
            )

        await self.risk.run(work)

    async def review(self, *signals: str, wish: str = "entry") -> None:
        """What risk approves in one instant: five shares of AAPL for each signal."""
        now = self.clock.now()
        is_entry = wish == "entry"
        far_below, far_above = Decimal("0.01"), Decimal(100_000)
        is_long = self.opens is Side.BUY
        approved = tuple(
            Approved(
                decision_id=f"dec-{signal}",
                signal_id=signal,
                account=self.account,
                symbol=Symbol("AAPL"),
                side=self.opens if is_entry else self.opens.opposite,
                purpose=Purpose(wish),
                quantity=Decimal(5),
                type=OrderType.MARKET,
                time_in_force=TimeInForce.GTC,
                limit_price=None,
                stop_price=None,
                stop_loss=(far_below if is_long else far_above) if is_entry else None,
                take_profit=(far_above if is_long else far_below) if is_entry else None,
                reference_price=Decimal(100),
                act_from=now,
                act_until=now + timedelta(minutes=5),
                checks=(),
            )
            for signal in signals
        )
        review = Review(
            self.account, f"evaluation:1Min:{now.isoformat()}#{signals[0]}", now, approved, ()
        )

        async def work(connection: AsyncConnection) -> None:
            await announce_review(connection, review, now)

        await self.risk.run(work)
        await self._bells.ring(BELL_REVIEWS)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait(60)


@asynccontextmanager
async def open_rig(
    servers: Servers, settings_for: SettingsFor, account: str, folder: Path
) -> AsyncIterator[Rig]:
    """A venue that runs, trading ACTIVE, and no executor yet; every process ended afterwards."""
    timer = MonotonicTimer()
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        db = await enter(open_database(settings_for("trade_executor"), timer, application="t"))
        risk = await enter(open_database(settings_for("risk_manager"), timer, application="t"))
        redis = await enter(open_redis(settings_for("risk_manager")))
        bells = RedisBells(redis, account, timer)
        rig = Rig(servers, account, folder, db, risk, bells, stack)
        await rig.start_venue()
        await rig.set_active()
        yield rig


OnRig = Callable[[Callable[[Rig], Awaitable[None]]], None]


def on_rig(servers: Servers, settings_for: SettingsFor, account: str, folder: Path) -> OnRig:
    """Runs a scenario on a rig of its own."""

    def run(scenario: Callable[[Rig], Awaitable[None]]) -> None:
        async def with_rig() -> None:
            async with open_rig(servers, settings_for, account, folder) as rig:
                await scenario(rig)

        asyncio.run(with_rig())

    return run
