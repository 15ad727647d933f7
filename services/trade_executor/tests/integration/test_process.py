"""The process itself: killed without warning in mid-session, it comes back to the same book."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from shared.adapters.clocks import FileClock, MonotonicTimer
from shared.adapters.postgres import Outbox, open_database
from shared.adapters.redis import RedisBells, open_redis
from shared.domain.decisions import Approved, Purpose, Review
from shared.domain.orders import OrderType, Side, TimeInForce
from shared.domain.symbols import Symbol
from shared.messages import BELL_REVIEWS, REVIEW, REVIEWS
from shared.testing.servers import Servers, SettingsFor

WITHIN_S = 40.0
TOKEN = "operate-token-of-the-test"


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


class Programs:
    """Child processes, ended by pid whatever happens."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[subprocess.Popen[bytes]] = []

    def start(
        self, module: str, arguments: Sequence[str], environment: dict[str, str]
    ) -> subprocess.Popen[bytes]:
        log = (self._folder / f"{module}-{len(self._running)}.log").open("wb")
        with log:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env={"PATH": os.environ["PATH"], **environment},
                cwd=self._folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._running.append(process)
        return process

    def end(self) -> None:
        for process in self._running:
            if process.poll() is None:
                process.kill()
            process.wait(10)


def last_words(folder: Path) -> str:
    return "\n".join(file.read_text()[-2000:] for file in folder.glob("*.log"))


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    made = Programs(tmp_path)
    yield made
    made.end()


def test_a_killed_executor_comes_back_to_the_venues_own_book(
    programs: Programs,
    servers: Servers,
    settings_for: SettingsFor,
    account: str,
    tmp_path: Path,
) -> None:
    venue_port, api_port = free_port(), free_port()
    clock_file = tmp_path / "clock"
    programs.start(
        "simulator",
        [
            "--port", str(venue_port), "--lock-step", "--symbols", "AAPL", "--sessions", "1",
            "--account", account, "--clock-file", str(clock_file), "--rate-limit", "0",
        ],
        {},
    )  # fmt: skip
    environment = {
        **servers.instance.environment("trade_executor"),
        "TRADING_ACCOUNT": account,
        "ALPACA_API_KEY": "PKTEST",
        "ALPACA_SECRET_KEY": "secret",
        "ALPACA_BASE_URL": f"http://127.0.0.1:{venue_port}",
        "ALPACA_REQUESTS_PER_MINUTE": "10000",
        "TRADE_EXECUTOR_PORT": str(api_port),
        "CLOCK_FILE": str(clock_file),
        "API_TOKEN_OPERATE": TOKEN,
        "DATA_DIR": str(tmp_path / "parquet"),
        "LOG_DIR": str(tmp_path / "logs"),
    }
    timer = MonotonicTimer()
    venue = httpx.AsyncClient(base_url=f"http://127.0.0.1:{venue_port}", trust_env=False)
    api = httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{api_port}",
        trust_env=False,
        headers={"Authorization": f"Bearer {TOKEN}"},
    )

    async def until(holds: Any, what: str) -> None:
        deadline_s = timer.monotonic_s() + WITHIN_S
        while True:
            try:
                if await holds():
                    return
            except httpx.TransportError:
                pass
            if timer.monotonic_s() > deadline_s:
                raise AssertionError(f"not within {WITHIN_S} s: {what}\n{last_words(tmp_path)}")
            await timer.sleep(0.05)

    async def scenario() -> None:
        async def venue_is_up() -> bool:
            return (await venue.get("/admin/state")).status_code == 200

        async def ready() -> bool:
            return (await api.get("/ready")).status_code == 200

        await until(venue_is_up, "the venue answers")
        executor = programs.start("trade_executor", [], environment)
        async with (
            open_database(settings_for("operator"), timer, application="t") as db,
            open_database(settings_for("risk_manager"), timer, application="t") as risk,
            open_redis(settings_for("risk_manager")) as redis,
        ):
            risk_manager = ReviewWriter(
                account, risk, RedisBells(redis, account, timer), clock_file
            )
            await risk_manager.set_active()
            await until(ready, "the executor is ready")

            async def books_agree() -> bool:
                book = (await venue.get("/admin/book")).json()
                async with db.connection() as connection:
                    orders = await connection.execute(
                        text(
                            "SELECT broker_order_id, status, filled_quantity FROM "
                            "trade_executor.v_orders WHERE account = :a"
                        ),
                        {"a": account},
                    )
                    fills = await connection.execute(
                        text("SELECT execution_id FROM trade_executor.v_fills WHERE account = :a"),
                        {"a": account},
                    )
                    work = await connection.execute(
                        text(
                            "SELECT 1 FROM trade_executor.v_pending_work "
                            "WHERE account = :a AND due_from <= :now"
                        ),
                        {"a": account, "now": FileClock(clock_file).now()},
                    )
                    return (
                        {tuple(row) for row in orders}
                        == {(o["id"], o["status"], Decimal(o["filled_quantity"])) for o in book["orders"]}
                        and {row[0] for row in fills} == {e["id"] for e in book["executions"]}
                        and work.first() is None
                    )  # fmt: skip

            async def advance() -> None:
                step = (await venue.get("/admin/state")).json()["step"] + 1
                (await venue.post("/admin/advance", json={"step": step})).raise_for_status()

            for _ in range(3):
                await advance()
            for round_number in range(4):
                wish = "exit" if round_number % 2 else "entry"
                await risk_manager.review(f"sig-{round_number}", wish)
                if round_number % 2 == 0:
                    # In the middle of whatever it is doing just now.
                    executor.send_signal(signal.SIGKILL)
                    executor.wait(10)
                    executor = programs.start("trade_executor", [], environment)
                    await until(ready, "the executor is ready again")

                async def sent(count: int = round_number + 1) -> bool:
                    ours = [
                        o for o in (await venue.get("/admin/book")).json()["orders"]
                        if o["client_order_id"].startswith("fat-")
                    ]  # fmt: skip
                    return len(ours) == count

                await until(sent, "the order is at the venue, once")
                for _ in range(3):
                    await until(books_agree, "the books agree")
                    await advance()
                await until(books_agree, "the books agree")
            assert (await venue.get("/admin/book")).json()["positions"] == {}
            executor.send_signal(signal.SIGTERM)
            assert executor.wait(10) == 0

    async def with_clients() -> None:
        async with venue, api:
            await scenario()

    asyncio.run(with_clients())


class ReviewWriter:
    """The risk manager's part, from its own role."""

    def __init__(self, account: str, risk: Any, bells: RedisBells, clock_file: Path) -> None:
        self._account = account
        self._risk = risk
        self._bells = bells
        self._clock_file = clock_file

    async def set_active(self) -> None:
        async def work(connection: Any) -> None:
            await connection.execute(
                text(
                    "INSERT INTO risk_manager.modes (account, version, mode, reason, actor, restarts_peak, "
                    "changed_at) VALUES (:a, 1, 'ACTIVE', 'test', 'test', false, :at)"
                ),
                {"a": self._account, "at": FileClock(self._clock_file).now()},
            )

        await self._risk.run(work)

    async def review(self, signal_name: str, wish: str) -> None:
        now = FileClock(self._clock_file).now()
        approved = Approved(
            decision_id=f"dec-{signal_name}",
            signal_id=signal_name,
            account=self._account,
            symbol=Symbol("AAPL"),
            side=Side.BUY if wish == "entry" else Side.SELL,
            purpose=Purpose(wish),
            quantity=Decimal(5),
            type=OrderType.MARKET,
            time_in_force=TimeInForce.GTC,
            limit_price=None,
            stop_price=None,
            stop_loss=Decimal("0.01") if wish == "entry" else None,
            take_profit=Decimal(100_000) if wish == "entry" else None,
            reference_price=Decimal(100),
            act_from=now,
            act_until=now + timedelta(minutes=5),
            checks=(),
        )
        review = Review(
            self._account, f"evaluation:1Min:{now.isoformat()}#{signal_name}", now, (approved,), ()
        )

        async def work(connection: Any) -> None:
            await Outbox("risk_manager", self._account).append(
                connection, topic=REVIEWS, key=review.source, payload=REVIEW.encode(review), at=now
            )

        await self._risk.run(work)
        await self._bells.ring(BELL_REVIEWS)
