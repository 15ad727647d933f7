"""A whole executor on real PostgreSQL and Redis, against a real simulator, with the test as risk and conductor."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.clocks import MonotonicTimer
from shared.adapters.exchange_calendar import load_calendar
from shared.adapters.postgres import Database, open_database
from shared.adapters.redis import RedisBells, open_redis
from shared.domain.calendar import TradingCalendar
from shared.domain.decisions import Approved, Purpose, Refused, Review, StopMove
from shared.domain.orders import OrderType, Side, TimeInForce
from shared.domain.symbols import Symbol
from shared.messages import BELL_REVIEWS
from shared.testing.halt import FakeHalt
from shared.testing.reviews import COLLAR, announce_review
from shared.testing.time import FakeClock
from simulator.orders import BookRules
from simulator.testing import (
    DEFAULT_RULES,
    RunningSimulator,
    running_simulator,
    tape_of,
)
from trade_executor.adapters.alpaca import open_alpaca
from trade_executor.adapters.gate import Gate
from trade_executor.adapters.holder import this_process
from trade_executor.adapters.market import open_market
from trade_executor.adapters.trade_updates import TradeUpdates
from trade_executor.market import Bounds
from trade_executor.service import Executor, Parts
from trade_executor.store import Store
from trade_executor.store.leases import PostgresLeases
from trader.testing.servers import SettingsFor

WITHIN_S = 25.0
KEY = SecretStr("PKTEST")


@pytest.fixture(scope="session")
def calendar(tmp_path_factory: pytest.TempPathFactory) -> TradingCalendar:
    return load_calendar(tmp_path_factory.getbasetemp().parent / "sessions")


class HurriedTimer:
    """Machine time that runs `factor` times as fast, so that look-ups 15 s apart do not take 15 s."""

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._real = MonotonicTimer()

    def monotonic_s(self) -> float:
        return self._real.monotonic_s() * self._factor

    async def sleep(self, pause_s: float) -> None:
        await self._real.sleep(pause_s / self._factor)


@dataclass
class Desk:
    """One account: the executor under test, the venue, and the databases of those around it."""

    account: str
    sim: RunningSimulator
    db: Database
    risk: Database
    bells: RedisBells
    store: Store
    clock: FakeClock
    executor: Executor
    parts: Parts
    timer: MonotonicTimer = field(default_factory=MonotonicTimer)
    reviews: int = 0
    _task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self.executor.run())
        await self.until(self._is_ready, "the executor is READY")

    async def _is_ready(self) -> bool:
        status = await self.store.terms.status()
        return status is not None and status.state.value == "READY"

    async def kill(self) -> None:
        """End the executor where it stands, and free its lock."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def restart(self) -> None:
        await self.kill()
        self.executor = Executor(self.parts)
        await self.start()

    def approved(self, signal: str, **changes: Any) -> Approved:
        """An entry of 10 shares of AAPL with stop and target, good now and for two minutes."""
        now = self.clock.now()
        entry = Approved(
            decision_id=f"dec-{signal}",
            signal_id=signal,
            account=self.account,
            symbol=Symbol("AAPL"),
            side=Side.BUY,
            purpose=Purpose.ENTRY,
            quantity=Decimal(10),
            type=OrderType.MARKET,
            time_in_force=TimeInForce.GTC,
            limit_price=None,
            stop_price=None,
            stop_loss=Decimal(90),
            take_profit=Decimal(120),
            reference_price=Decimal(100),
            act_from=now,
            act_until=now + timedelta(minutes=2),
            checks=(COLLAR,),
        )
        return replace(entry, **changes)

    def exit(self, signal: str, **changes: Any) -> Approved:
        return self.approved(
            signal,
            side=Side.SELL,
            purpose=Purpose.EXIT,
            stop_loss=None,
            take_profit=None,
            **changes,
        )

    async def review(
        self,
        *approved: Approved,
        refused: Sequence[Refused] = (),
        moved: Sequence[StopMove] = (),
        source: str | None = None,
        limits_versions: Mapping[str, int] | None = None,
        stores_decisions: bool = True,
    ) -> None:
        """What the risk manager commits for one instant."""
        self.reviews += 1
        now = self.clock.now()
        review = Review(
            self.account,
            source or f"evaluation:1Min:{now.isoformat()}#{self.reviews}",
            now,
            tuple(approved),
            tuple(refused),
            tuple(moved),
        )

        async def work(connection: AsyncConnection) -> None:
            await announce_review(
                connection, review, now, limits_versions, stores_decisions=stores_decisions
            )

        await self.risk.run(work)
        await self.bells.ring(BELL_REVIEWS)

    async def set_mode(self, mode: str, version: int) -> None:
        async def work(connection: AsyncConnection) -> None:
            previous = await connection.scalar(
                text("SELECT mode FROM risk_manager.v_mode WHERE account = :a"),
                {"a": self.account},
            )
            await connection.execute(
                text(
                    "INSERT INTO risk_manager.modes (account, version, mode, previous, reason, actor, "
                    "restarts_peak, changed_at) VALUES (:a, :v, :m, :p, 'test', 'test', false, :at)"
                ),
                {"a": self.account, "v": version, "m": mode, "p": previous, "at": self.clock.now()},
            )

        await self.risk.run(work)

    async def step(self, count: int = 1) -> None:
        """Make steps of the venue, each followed by rest."""
        for _ in range(count):
            answer = await asyncio.to_thread(self.sim.advance)
            self.clock.set(datetime.fromisoformat(answer["venue_at"]))
            await self.rest()

    async def rest(self) -> None:
        """Wait until nothing is left to do and our records equal the venue's own book."""
        await self.until(self._is_at_rest, "the executor is at rest with the venue's book")

    async def _is_at_rest(self) -> bool:
        now = self.clock.now()
        head = await self.rows("SELECT max(id) AS id FROM risk_manager.v_outbox WHERE account = :a")
        cursor = await self.rows(
            "SELECT position FROM trade_executor.v_cursors WHERE account = :a AND source = 'risk_manager'"
        )
        if (head[0].id or 0) > (cursor[0].position if cursor else 0):
            return False
        # Before and after: what was booked a moment ago may have made work, and work done makes other books.
        return not await self.has_work(now) and (
            await self.books_agree() and not await self.has_work(now)
        )

    async def has_work(self, now: datetime) -> bool:
        """Whether the executor has something to do at `now`."""
        rows = await self.rows(
            "SELECT 1 FROM trade_executor.v_pending_work WHERE account = :a AND due_from <= :now",
            now=now,
        )
        return bool(rows)

    async def books_agree(self) -> bool:
        """Whether orders, executions, positions and cash equal the venue's own."""
        book = await asyncio.to_thread(self.sim.book)
        orders = {
            r.broker_order_id: (r.status, r.filled_quantity)
            for r in await self.rows("SELECT * FROM trade_executor.v_orders WHERE account = :a")
        }
        fills = {
            (r.execution_id, r.broker_order_id, r.quantity, r.price)
            for r in await self.rows("SELECT * FROM trade_executor.v_fills WHERE account = :a")
        }
        held = await self.rows("SELECT * FROM trade_executor.v_positions WHERE account = :a")
        cash = await self.rows("SELECT cash FROM trade_executor.v_cash WHERE account = :a")
        return (
            orders
            == {o["id"]: (o["status"], Decimal(o["filled_quantity"])) for o in book["orders"]}
            and fills
            == {
                (e["id"], e["order_id"], Decimal(e["quantity"]), Decimal(e["price"]))
                for e in book["executions"]
            }
            and {r.symbol: r.quantity for r in held}
            == {s: Decimal(p["quantity"]) for s, p in book["positions"].items()}
            and cash[0].cash == Decimal(book["cash"])
        )

    async def rows(self, statement: str, **values: Any) -> Sequence[Any]:
        async def work(connection: AsyncConnection) -> Sequence[Any]:
            result = await connection.execute(text(statement), {"a": self.account, **values})
            return result.all()

        return await self.db.run(work)

    async def write(self, statement: str, **values: Any) -> None:
        """Change the executor's own tables behind its back."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(text(statement), {"a": self.account, **values})

        await self.db.run(work)

    async def intents(self) -> list[tuple[str, str, str, Decimal]]:
        """(purpose, state, symbol, quantity), oldest first."""
        rows = await self.rows(
            "SELECT * FROM trade_executor.v_intents WHERE account = :a ORDER BY sequence"
        )
        return [(r.purpose, r.state, r.symbol, r.quantity) for r in rows]

    async def until(self, holds: Callable[[], Any], what: str) -> None:
        deadline_s = self.timer.monotonic_s() + WITHIN_S
        while not await holds():
            if self._task is not None and self._task.done():
                self._task.result()
            if self.timer.monotonic_s() > deadline_s:
                book = await asyncio.to_thread(self.sim.book)
                raise AssertionError(
                    f"not within {WITHIN_S} s: {what}; intents {await self.intents()}; "
                    f"venue orders {[(o['id'][:8], o['role'], o['status']) for o in book['orders']]}; "
                    f"status {await self.store.reads.account_row()}; "
                    f"differences {await self.store.differences.all_open()}"
                )
            await self.timer.sleep(0.01)


MakeDesk = Callable[..., contextlib.AbstractAsyncContextManager[Desk]]
FLAT = (100.0, 101.0, 99.0, 100.0, 1_000_000)


@pytest.fixture
def make_desk(settings_for: SettingsFor, account: str, calendar: TradingCalendar) -> MakeDesk:
    """`async with make_desk(minutes) as desk`: everything stands, the executor READY before the first step."""
    return desks_of(settings_for, account, calendar)


def desks_of(settings_for: SettingsFor, account: str, calendar: TradingCalendar) -> MakeDesk:
    """What makes the desks of that account."""

    @contextlib.asynccontextmanager
    async def desk(
        minutes: Sequence[tuple[float, float, float, float, int]] = (FLAT,) * 8,
        symbols: Sequence[str] = ("AAPL",),
        *,
        started: bool = True,
        requests_per_minute: int = 10_000,
        hurry: float = 1.0,
        rules: BookRules = DEFAULT_RULES,
        sells_short: bool = False,
    ) -> AsyncIterator[Desk]:
        settings = settings_for("trade_executor")
        timer = MonotonicTimer()
        with running_simulator(
            tape_of(minutes, symbols, calendar), account=account, rules=rules
        ) as sim:
            async with contextlib.AsyncExitStack() as stack:
                enter = stack.enter_async_context
                db = await enter(open_database(settings, timer, pool_size=6, application="t"))
                risk = await enter(
                    open_database(settings_for("risk_manager"), timer, application="t")
                )
                redis = await enter(open_redis(settings))
                gate = Gate(requests_per_minute, timer)
                broker = await enter(open_alpaca(sim.url, KEY, KEY, gate))
                store = Store(db, account)
                bells = RedisBells(redis, account, timer)
                clock = FakeClock(datetime.fromisoformat(sim.state()["venue_at"]))
                machine = HurriedTimer(hurry)
                updates = TradeUpdates(sim.url, KEY, KEY, machine)
                parts = Parts(
                    store,
                    PostgresLeases(db, account, clock),
                    broker,
                    gate,
                    updates,
                    bells,
                    calendar,
                    clock,
                    machine,
                    FakeHalt(),
                    this_process(),
                    await enter(
                        open_market(
                            settings.model_copy(
                                update={
                                    "alpaca_data_url": sim.url,
                                    "alpaca_api_key": KEY,
                                    "alpaca_secret_key": KEY,
                                }
                            ),
                            broker,
                            timer,
                        )
                    ),
                    Bounds(Decimal("0.01"), Decimal("0.05"), 60),
                    broker if sells_short else None,
                )
                made = Desk(account, sim, db, risk, bells, store, clock, Executor(parts), parts)
                await made.set_mode("ACTIVE", 1)
                if started:
                    await made.start()
                try:
                    yield made
                finally:
                    await made.kill()

    return desk
