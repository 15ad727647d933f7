"""How long does a decision take with many positions?

On a PostgreSQL and a Redis of its own, with an account of brackets that has traded for weeks (`risk_account`). The clock
moves minute by minute through sessions, as the venue's does. In each minute, as in production: a bar of every symbol is stored,
cached and rung for; the risk manager follows it, which no decision waits for; then `RiskManager.work` answers

- an evaluation that wishes for one entry, by a strategy ("right after a new bar");
- an entry by hand, twenty seconds later ("no new bar"), and an exit by hand ("an exit");
- an entry by hand, as a risk manager does that finds no bar read ahead ("reading all by itself");
- afterwards, minute by minute, an entry by hand, by a risk manager that has just started, over connections of its own, and has
  looked for a message once in vain ("first after a start").

Each is a whole decision: it finds its message, reads account and prices, checks everything, commits decision, review and
cursor, and rings. The executor takes each approval over, and lets it end unfilled, outside of what is measured. A
refusal counts as a decision as well; how many there were is printed. Beside them stand the parts alone, and the floor on the
same server: one commit of the same rows (outbox, decision, cursor), because machines differ and so do moments. What others
do on the machine meanwhile lengthens the times; the processor time, this process's and that of its connections' server
processes (on Linux, which tells), hardly.

    python -m benchmarks.risk [positions] [minutes]
"""

from __future__ import annotations

import gc
import logging
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import count, cycle
from os import getloadavg
from pathlib import Path
from random import Random
from statistics import median, quantiles
from typing import Any

import structlog
import uvloop
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from benchmarks.risk_account import ACCOUNT, announce, lay_account, take_over
from risk_manager.market import StoredMarket
from risk_manager.ports import MarketReader
from risk_manager.review import review_manual
from risk_manager.service import OBJECTS_BEFORE_COLLECTION, RiskManager
from risk_manager.snapshot import Book, Market
from risk_manager.store import PostgresStore
from risk_manager.testing import (
    a_calendar,
    a_manual_order,
    a_signal,
    a_venue,
    an_evaluation,
    some_limits,
)
from shared.adapters.clocks import MonotonicTimer
from shared.adapters.halt_file import HaltFile
from shared.adapters.parquet import ParquetBars
from shared.adapters.postgres import Database, open_database
from shared.adapters.redis import RedisBells, RedisLatestBars, open_redis
from shared.config import load_settings
from shared.domain.bar_blocks import BarBlock, block_of
from shared.domain.bars import Bar
from shared.domain.decisions import Approved
from shared.domain.money import parse_price
from shared.domain.orders import Side
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.ports import LatestBar
from shared.testing.time import FakeClock
from trader.runtime.instance import POSTGRES, REDIS, Instance
from trader.runtime.stack import LocalStack

_CORRELATION_BARS = 60
LIMITS = some_limits(
    max_position_size=0.05, max_portfolio_risk=1.0, max_daily_trades=10_000, max_positions=10_000,
    max_correlation=1.0, correlation_bars=_CORRELATION_BARS, max_order_value=1e8,
    max_gross_exposure=4.0, max_net_exposure=4.0,
)  # fmt: skip
# Symbols that are not held, which the entries go round.
_OTHERS = 20
# By these names the server's processes are found.
_RUNNING, _STARTED = "running", "just started"
_DECISIONS = (
    "decision right after a new bar",
    "decision, no new bar",
    "decision, an exit",
    "decision, reading all by itself",
)
_STARTING = "decision, first after a start"


class NoCache:
    """Every price comes from the store, which is the slower road."""

    async def get(
        self, _timeframe: Timeframe, _symbols: list[Symbol]
    ) -> Mapping[Symbol, LatestBar]:
        """Know nothing."""
        return {}


class Forgetful:
    """Reads all bars anew each time, as at the first decision after a start."""

    def __init__(self, bars: ParquetBars) -> None:
        self._bars = bars

    def _reader(self) -> StoredMarket:
        return StoredMarket(
            NoCache(), self._bars, self._bars.actions, Timeframe.MINUTE, _CORRELATION_BARS + 1
        )

    async def at(
        self,
        instant_at: datetime,
        symbols: Iterable[Symbol],
        *,
        with_history: bool,
        in_haste: bool = False,  # noqa: ARG002  # it reads for as long as it takes
    ) -> Market:
        """See `ports.MarketReader`."""
        return await self._reader().at(instant_at, symbols, with_history=with_history)

    async def follow(self, instant_at: datetime) -> None:
        """See `ports.MarketReader`: nothing is kept."""


def _names(number: int) -> list[Symbol]:
    return [Symbol(f"S{chr(65 + i // 26)}{chr(65 + i % 26)}") for i in range(number)]


def _minutes() -> Iterator[datetime]:
    """The ends of all minutes of some weeks' sessions."""
    for session in a_calendar().between(date.min, date.max):
        end_at = session.open_at + timedelta(minutes=1)
        while end_at <= session.close_at:
            yield end_at
            end_at += timedelta(minutes=1)


def _minute(symbols: Sequence[Symbol], end_at: datetime, chance: Random) -> BarBlock:
    prices = [parse_price(f"{100 + chance.randrange(100) / 100:.2f}") for _ in symbols]
    bars = [
        Bar(symbol, Timeframe.MINUTE, end_at - timedelta(minutes=1), end_at, p, p, p, p, 10**6)
        for symbol, p in zip(symbols, prices, strict=True)
    ]
    return block_of(Timeframe.MINUTE, bars)


class Floor:
    """Commits rows like those of the newest approval into tables of the same shape, and takes the time."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._keys = count()

    @classmethod
    async def laid(cls, url: str) -> Floor:
        """With tables made for it."""
        engine = create_async_engine(url)
        async with engine.begin() as connection:
            await connection.execute(text("CREATE SCHEMA floor"))
            for table in ("outbox", "decisions", "cursors"):
                like = f"CREATE TABLE floor.{table} (LIKE risk_manager.{table} INCLUDING ALL)"
                await connection.execute(text(like))
        return cls(engine)

    async def step(self) -> None:
        """One commit; the rows are copied on the server, so that nothing but storing them is measured."""
        key = str(next(self._keys))
        async with self._engine.begin() as connection:
            for statement in _SAME_ROWS:
                await connection.execute(statement, {"a": ACCOUNT, "key": key})

    async def close(self) -> None:
        """Let go of the server."""
        await self._engine.dispose()

    async def processes(self, application: str) -> list[int]:
        """The server's processes that `application` is connected to."""
        wanted = text("SELECT pid FROM pg_stat_activity WHERE application_name = :application")
        async with self._engine.connect() as connection:
            found = await connection.execute(wanted, {"application": application})
            return list(found.scalars())


_SAME_ROWS = tuple(
    map(
        text,
        (
            """INSERT INTO floor.outbox (account, topic, key, payload, created_at)
               SELECT account, topic, :key, payload, created_at FROM risk_manager.outbox
               WHERE account = :a ORDER BY id DESC LIMIT 1""",
            """INSERT INTO floor.decisions (account, decision_id, signal_id, source, review_id, instant_at,
                   decided_at, outcome, strategy, symbol, side, purpose, quantity, type, time_in_force,
                   reference_price, act_from, act_until, trade_on, checks, figures)
               SELECT account, :key, :key, source, review_id, instant_at, decided_at, outcome, strategy,
                   symbol, side, purpose, quantity, type, time_in_force, reference_price, act_from, act_until,
                   trade_on, checks, figures FROM risk_manager.decisions
               WHERE account = :a AND outcome = 'approved' ORDER BY id DESC LIMIT 1""",
            """INSERT INTO floor.cursors (source, account, position) SELECT 'floor', :a, 1 + length(:key)
               ON CONFLICT (source, account) DO UPDATE SET position = EXCLUDED.position""",
        ),
    )
)


@dataclass
class Watch:
    """Milliseconds by what was done, and what the collector of garbage took meanwhile."""

    servers: Sequence[int] = ()
    times: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    # On a processor: this process's and the servers'.
    work: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    pauses: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    _paused: float = 0.0

    async def timed(self, name: str, work: Callable[[], Any]) -> Any:
        """What `work` gives, awaited where it has to be."""
        worked, served = time.process_time(), self._served_ms()
        began = time.perf_counter()
        result = work()
        if isinstance(result, Awaitable):
            result = await result
        self.times[name].append((time.perf_counter() - began) * 1000)
        self.work[name].append(((time.process_time() - worked) * 1000, self._served_ms() - served))
        return result

    def _served_ms(self) -> float:
        stats = (Path(f"/proc/{process}/schedstat") for process in self.servers)
        # Nanoseconds on a processor come first.
        return sum(int(each.read_text().split()[0]) for each in stats if each.exists()) / 1e6

    def collecting(self, phase: str, about: dict[str, int]) -> None:
        """See `gc.callbacks`."""
        if phase == "start":
            self._paused = time.perf_counter()
        else:
            self.pauses[about["generation"]].append((time.perf_counter() - self._paused) * 1000)

    def report(self) -> None:
        """One line each, beside the floor."""
        under = quantiles(self.times["one commit of the same rows"], n=100)
        for name, times in self.times.items():
            cuts = quantiles(times, n=100)
            own, servers = (median(each) for each in zip(*self.work[name], strict=True))
            print(
                f"{name:34} p50 {cuts[49]:7.2f} ms = {cuts[49] / under[49]:5.1f} commits   "
                f"p99 {cuts[98]:7.2f} ms = {cuts[98] / under[98]:5.1f} commits at p99   "
                f"processor p50 {own:5.2f} + {servers:5.2f} ms"
            )
        for generation, pauses in sorted(self.pauses.items()):
            print(
                f"garbage of generation {generation}: {len(pauses)} times, longest {max(pauses):.1f} ms"
            )


@dataclass
class Room:
    """All that takes part, and the minutes that are still to come."""

    held: list[Symbol]
    others: list[Symbol]
    store: PostgresStore
    bars: ParquetBars
    latest: RedisLatestBars
    clock: FakeClock
    manager: RiskManager
    forgetful: RiskManager
    started: Callable[[], AbstractAsyncContextManager[RiskManager]]
    executor: Database
    strategist: Database
    floor: Floor
    minutes: Iterator[datetime]
    watch: Watch = field(default_factory=Watch)
    chance: Random = field(default_factory=lambda: Random(7))  # prices, no secrets
    orders: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self._entering = cycle(self.others)
        self._leaving = cycle(self.held)

    async def minute_ends(self) -> datetime:
        """The collector's part: the bar of every symbol is stored and cached."""
        end_at = next(self.minutes)
        block = _minute([*self.held, *self.others], end_at, self.chance)
        self.bars.append(block, provider="bench", fetched_at=end_at)
        await self.latest.replace(block, provider="bench", fetched_at=end_at)
        return end_at

    def an_order(self, at: datetime, side: Side = Side.BUY) -> Any:
        """By hand; the next symbol of those that are not held, or all that is held of the next one."""
        symbols, shares = (self._entering, 1) if side is Side.BUY else (self._leaving, 10)
        number = f"man-{next(self.orders)}"
        return a_manual_order(
            next(symbols), side, shares, signal_id=number, stop_loss=50, take_profit=200, at=at
        )

    async def decide(self, name: str, manager: RiskManager) -> None:
        """One whole decision, then the executor's part."""
        assert await self.watch.timed(name, manager.work), f"{name}: no message was found"
        await take_over(self.executor)

    async def minute(self) -> None:
        """Everything once."""
        end_at = await self.minute_ends()
        self.clock.set(end_at)
        await self.watch.timed("new bars followed, nobody waits", self.manager.follow_bars)
        signal = a_signal(next(self._entering), price=100.5, at=end_at)
        await announce(self.strategist, "strategy_engine", an_evaluation(signal, at=end_at))
        await self.decide(_DECISIONS[0], self.manager)
        at = end_at + timedelta(seconds=20)
        self.clock.set(at)
        for name, side, manager in (
            (_DECISIONS[1], Side.BUY, self.manager),
            (_DECISIONS[2], Side.SELL, self.manager),
            (_DECISIONS[3], Side.BUY, self.forgetful),
        ):
            await announce(self.executor, "trade_executor", self.an_order(at, side))
            await self.decide(name, manager)
        await self.watch.timed("one commit of the same rows", self.floor.step)
        await self.parts(at)

    async def start(self) -> None:
        """A risk manager starts, and answers; apart from the minutes, whose processor it would leave without their data."""
        at = await self.minute_ends() + timedelta(seconds=20)
        self.clock.set(at)
        async with self.started() as manager:
            assert not await manager.work(), "a message was left"
            await manager.follow_bars()
            await announce(self.executor, "trade_executor", self.an_order(at))
            self.watch.servers = await self.floor.processes(_STARTED)
            await self.decide(_STARTING, manager)

    async def parts(self, at: datetime) -> None:
        """What a decision is made of, alone."""
        asked, order = [*self.held, *self.others], self.an_order(at)
        market = await self.watch.timed(
            "all bars read anew", lambda: Forgetful(self.bars).at(at, asked, with_history=True)
        )
        book = await self.watch.timed("the account read", lambda: self.store.book(at))

        def review(book: Book) -> Any:
            return review_manual(order, book, market, LIMITS, a_venue(), at)

        # Twice: what is worked out of bars stays with them, and the first pays for it.
        review(book)
        await self.watch.timed("pure review", lambda: review(book))
        source = f"manual:{order.signal_id}"
        await self.watch.timed(
            "review as a transaction", lambda: self.store.record(source, review, at)
        )
        await take_over(self.executor)


async def _measure(positions: int, minutes: int) -> None:
    names = _names(positions + _OTHERS)
    held, others = names[:positions], names[positions:]
    coming = _minutes()
    past = [next(coming) for _ in range(_CORRELATION_BARS + 10)]
    with tempfile.TemporaryDirectory(prefix="full-ai-trader-bench-") as folder:
        home = Path(folder)
        instance = Instance.create(home / "home")
        stack = LocalStack(instance, programs=(POSTGRES, REDIS), owned=True)
        try:
            stack.start()
            url = instance.database_url("trading")
            await lay_account(url, held, others, past[-1])
            async with AsyncExitStack() as parts:
                room = await _room(instance, home, held, others, coming, past[-1], parts)
                for end_at in past:
                    block = _minute(names, end_at, room.chance)
                    room.bars.append(block, provider="bench", fetched_at=end_at)
                # The first minutes pay for connections, plans and first allocations.
                for _ in range(5):
                    await room.minute()
                room.watch = Watch(await room.floor.processes(_RUNNING))
                gc.callbacks.append(room.watch.collecting)
                for _ in range(minutes):
                    await room.minute()
                for _ in range(minutes):
                    await room.start()
                gc.callbacks.remove(room.watch.collecting)
                answers = Counter(
                    "approved"
                    if isinstance(each.decision.answer, Approved)
                    else each.decision.answer.reason_code
                    for each in await room.store.decisions(limit=500)
                )
                print(f"{positions} positions, {minutes} minutes, load {getloadavg()[0]:.1f}")
                print(f"the newest {answers.total()} answers: {dict(answers)}")
                room.watch.report()
        finally:
            stack.remove()


async def _room(
    instance: Instance,
    home: Path,
    held: list[Symbol],
    others: list[Symbol],
    coming: Iterator[datetime],
    now: datetime,
    parts: AsyncExitStack,
) -> Room:
    # Each decision is logged; thousands of lines would bury the figures.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    timer, clock, venue = MonotonicTimer(), FakeClock(now), a_venue()

    def opening(
        service: str, application: str = "bench", **rest: Any
    ) -> AbstractAsyncContextManager[Database]:
        told = {**instance.environment(service), "TRADING_ACCOUNT": ACCOUNT}
        return open_database(load_settings(told), timer, application=application, **rest)

    async def opened(*what: str, **rest: Any) -> Database:
        return await parts.enter_async_context(opening(*what, **rest))

    redis = await parts.enter_async_context(
        open_redis(load_settings(instance.environment("risk_manager")))
    )
    bars, latest = ParquetBars(home / "bars"), RedisLatestBars(redis, ACCOUNT)
    store = PostgresStore(await opened("risk_manager", _RUNNING, plans_once=True), ACCOUNT)
    bells, halt = RedisBells(redis, ACCOUNT, timer), HaltFile(home / "HALT")

    def manager(market: MarketReader, store: PostgresStore = store) -> RiskManager:
        return RiskManager(store, market, LIMITS, venue, bells, clock, halt, timer)

    def reader() -> StoredMarket:
        return StoredMarket(latest, bars, bars.actions, Timeframe.MINUTE, _CORRELATION_BARS + 1)

    @asynccontextmanager
    async def started() -> AsyncIterator[RiskManager]:
        async with opening("risk_manager", _STARTED, plans_once=True) as database:
            yield manager(reader(), PostgresStore(database, ACCOUNT))

    floor = await Floor.laid(instance.database_url("trading"))
    parts.push_async_callback(floor.close)
    return Room(
        held,
        others,
        store,
        bars,
        latest,
        clock,
        manager(reader()),
        manager(Forgetful(bars)),
        started,
        await opened("trade_executor"),
        await opened("strategy_engine"),
        floor,
        coming,
    )


if __name__ == "__main__":
    given = [int(each) for each in sys.argv[1:]]
    # As the service itself runs.
    gc.freeze()
    gc.set_threshold(OBJECTS_BEFORE_COLLECTION)
    uvloop.run(_measure(*(given or [100, 300])))
