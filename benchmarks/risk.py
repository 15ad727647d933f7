"""How long does a decision take with many positions?

On a PostgreSQL of its own: the parts alone (the pure review, the bars, the account); the review as a transaction (lock, book, review, decisions, outbox,
cursor); and `RiskManager.work`, which finds its message and reads prices and histories from Parquet besides, once with all
bars read anew each time and once as within a minute, when no bar is new. Beside each decision the floor is measured on the
same server: one commit of the same rows (outbox, decision, cursor), because machines differ and so do moments.

    python -m benchmarks.risk [positions] [decisions]
"""

from __future__ import annotations

import gc
import logging
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from os import getloadavg
from pathlib import Path
from statistics import quantiles
from typing import Any

import structlog
import uvloop
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from risk_manager.market import StoredMarket
from risk_manager.ports import MarketReader
from risk_manager.review import review_manual
from risk_manager.service import RiskManager
from risk_manager.snapshot import Book, Market
from risk_manager.store import PostgresStore
from risk_manager.testing import NOW, a_manual_order, a_venue, some_limits
from shared.adapters.clocks import MonotonicTimer
from shared.adapters.parquet import ParquetBars
from shared.adapters.postgres import Cursor, Outbox, open_database
from shared.config import load_settings
from shared.domain.bar_blocks import block_of
from shared.domain.bars import Bar
from shared.domain.money import parse_price
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.messages import MANUAL_ORDER, MANUAL_ORDERS
from shared.ports import LatestBar
from shared.testing.halt import FakeHalt
from shared.testing.time import FakeClock
from trader.runtime.instance import POSTGRES, REDIS, Instance
from trader.runtime.stack import LocalStack

ACCOUNT = "bench"
LIMITS = some_limits(
    max_position_size=1.0, max_portfolio_risk=1.0, max_daily_trades=10_000, max_positions=10_000,
    max_correlation=1.0, correlation_bars=60, max_repeats=1_000, max_orders_per_minute=1_000,
    max_order_value=1e8, max_gross_exposure=4.0, max_net_exposure=4.0,
)  # fmt: skip


class NoBells:
    """Nobody listens, so nothing is rung."""

    async def ring(self, *_names: str) -> None:
        """Do nothing."""

    @asynccontextmanager
    async def listen(self, *_names: str) -> Any:
        """Not asked for here."""
        raise NotImplementedError
        yield


class NoCache:
    """Every price comes from the store, which is the slower road."""

    async def get(
        self, _timeframe: Timeframe, _symbols: list[Symbol]
    ) -> Mapping[Symbol, LatestBar]:
        """Know nothing."""
        return {}


class Forgetful:
    """Reads all bars anew each time, as at the first decision after each bar."""

    def __init__(self, bars: ParquetBars) -> None:
        self._bars = bars

    async def at(
        self, instant_at: datetime, symbols: Iterable[Symbol], *, with_history: bool
    ) -> Market:
        """See `ports.MarketReader`."""
        reader = StoredMarket(NoCache(), self._bars, self._bars.actions, Timeframe.MINUTE, 61)
        return await reader.at(instant_at, symbols, with_history=with_history)


def _names(count: int) -> list[Symbol]:
    return [Symbol(f"S{chr(65 + i // 26)}{chr(65 + i % 26)}") for i in range(count)]


def _store_bars(root: Path, symbols: list[Symbol]) -> ParquetBars:
    store = ParquetBars(root)
    bars, state = [], 7
    for number in range(70):
        end = NOW - timedelta(minutes=69 - number)
        for symbol in symbols:
            state = (state * 1_103_515_245 + 12_345) % 2**31
            price = parse_price(str(100 + state % 100 / 100))
            start = end - timedelta(minutes=1)
            bars.append(
                Bar(symbol, Timeframe.MINUTE, start, end, price, price, price, price, 10**6)
            )
    store.append(block_of(Timeframe.MINUTE, bars), provider="bench", fetched_at=NOW)
    return store


async def _fill_account(url: str, symbols: list[Symbol]) -> None:
    """An account with cash and ten shares of each symbol, each bought by a bracket that was approved a day before."""
    engine = create_async_engine(url)
    statements = (
        "INSERT INTO trade_executor.accounts VALUES (:a, 'b', :at, :at)",
        """INSERT INTO trade_executor.cash_entries (account, key, amount, reason, evidence, entered_at)
           VALUES (:a, 'opening', 10000000, 'opening', '{}', :at)""",
        """INSERT INTO risk_manager.outbox (account, topic, key, payload, created_at)
           VALUES (:a, 'bench', 'bench', '{}', :past)""",
        """INSERT INTO risk_manager.decisions (account, decision_id, signal_id, source, review_id, instant_at,
               decided_at, outcome, strategy, symbol, side, purpose, quantity, type, time_in_force, stop_loss,
               take_profit, reference_price, act_from, act_until, trade_on, checks, figures)
           SELECT :a, 'd-' || s, 's-' || s, 'bench', (SELECT max(id) FROM risk_manager.outbox), :past, :past, 'approved', 'bench', s, 'buy', 'entry', 10,
               'market', 'gtc', 95, 110, 100, :past, :past, CAST(:past AS timestamptz)::date, '[]', '{}'
           FROM unnest(CAST(:symbols AS text[])) s""",
        """INSERT INTO trade_executor.intents (account, client_order_id, decision_id, signal_id, symbol, side, purpose,
               leg, generation, type, time_in_force, order_class, quantity, filled_quantity, stop_loss,
               take_profit, reference_price, state, act_from, act_until, created_at, ended_at)
           SELECT :a, 'i-' || s, 'd-' || s, 's-' || s, s, 'buy', 'entry', 'entry', 0, 'market', 'gtc', 'bracket', 10,
               10, 95, 110, 100, 'FILLED', :past, :past, :past, :past
           FROM unnest(CAST(:symbols AS text[])) s""",
        """INSERT INTO trade_executor.orders (account, broker_order_id, client_order_id, symbol, side, type,
               order_class, status, quantity, filled_quantity, booked_quantity, updated_at, first_seen_at)
           SELECT :a, 'o-' || s, 'c-' || s, s, 'buy', 'market', 'simple', 'filled', 10, 10, 10, :at, :at
           FROM unnest(CAST(:symbols AS text[])) s""",
        """INSERT INTO trade_executor.fills (account, execution_id, broker_order_id, symbol, side, quantity,
               price, executed_at, booked_at)
           SELECT :a, 'e-' || s, 'o-' || s, s, 'buy', 10, 100, :at, :at
           FROM unnest(CAST(:symbols AS text[])) s""",
    )
    async with engine.begin() as connection:
        for statement in statements:
            values: dict[str, Any] = {"a": ACCOUNT, "at": NOW}
            if ":past" in statement:
                values["past"] = NOW - timedelta(days=1)
            if ":symbols" in statement:
                values["symbols"] = list(symbols)
            if ":at" not in statement:
                del values["at"]
            await connection.execute(text(statement), values)
        # As autovacuum keeps a database that has been up for a minute.
        await connection.execute(text("ANALYZE"))
    await engine.dispose()


class Floor:
    """Commits rows like those of the newest decision into tables of the same shape, and takes the time."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self.times: list[float] = []

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
        key = str(len(self.times))
        began = time.perf_counter()
        async with self._engine.begin() as connection:
            for statement in _SAME_ROWS:
                await connection.execute(statement, {"a": ACCOUNT, "key": key})
        self.times.append((time.perf_counter() - began) * 1000)

    async def close(self) -> None:
        """Let go of the server."""
        await self._engine.dispose()


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
               WHERE account = :a ORDER BY id DESC LIMIT 1""",
            """INSERT INTO floor.cursors (source, account, position) SELECT 'floor', :a, 1 + length(:key)
               ON CONFLICT (source, account) DO UPDATE SET position = EXCLUDED.position""",
        ),
    )
)


def _report(name: str, times: list[float], floor: list[float]) -> None:
    cuts, under = quantiles(times, n=100), quantiles(floor, n=100)
    print(
        f"{name:34} p50 {cuts[49]:7.2f} ms = {cuts[49] / under[49]:5.1f} commits   "
        f"p99 {cuts[98]:7.2f} ms = {cuts[98] / under[98]:5.1f} commits at p99"
    )


def _order(number: int, symbol: Symbol) -> Any:
    return a_manual_order(
        symbol, quantity=1, signal_id=f"man-{number}", stop_loss=50, take_profit=200
    )


async def _measure(positions: int, decisions: int) -> None:
    symbols = _names(positions + 1)
    with tempfile.TemporaryDirectory(prefix="full-ai-trader-bench-") as folder:
        home = Path(folder)
        instance = Instance.create(home / "home")
        stack = LocalStack(instance, programs=(POSTGRES, REDIS), owned=True)
        try:
            stack.start()
            # Each decision is logged; a thousand lines would bury the figures.
            structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
            timer = MonotonicTimer()
            bars = _store_bars(home / "bars", symbols)
            await _fill_account(instance.database_url("trading"), symbols[:-1])
            floor = await Floor.laid(instance.database_url("trading"))
            told = {**instance.environment("risk_manager"), "TRADING_ACCOUNT": ACCOUNT}
            executor = load_settings(instance.environment("trade_executor"))
            async with (
                open_database(
                    load_settings(told), timer, application="bench", plans_once=True
                ) as database,
                open_database(executor, timer, application="bench") as theirs,
            ):
                store = PostgresStore(database, ACCOUNT)
                market_reader = StoredMarket(NoCache(), bars, bars.actions, Timeframe.MINUTE, 61)
                clock = FakeClock(NOW)
                forgetful = _manager(store, Forgetful(bars), clock, timer)
                manager = _manager(store, market_reader, clock, timer)
                book = await store.book(NOW)
                market = await market_reader.at(NOW, symbols, with_history=True)
                pure, transaction, anew, whole, read, known = [], [], [], [], [], []
                for number in range(decisions):
                    began = time.perf_counter()
                    outcome = _review(number, symbols[-1], book, market, NOW)
                    pure.append((time.perf_counter() - began) * 1000)
                    began = time.perf_counter()
                    await Forgetful(bars).at(NOW, symbols, with_history=True)
                    read.append((time.perf_counter() - began) * 1000)
                    began = time.perf_counter()
                    await store.book(NOW)
                    known.append((time.perf_counter() - began) * 1000)
                assert outcome.decisions[0].is_approved, outcome.decisions[0].answer
                for number in range(decisions):

                    def decide(book: Book, number: int = number) -> Any:
                        return _review(number, symbols[-1], book, market, NOW)

                    began = time.perf_counter()
                    await store.record(f"manual:bench-{number}", decide, NOW)
                    transaction.append((time.perf_counter() - began) * 1000)
                    await _read_all(theirs)
                    await floor.step()
                for number in range(decisions):
                    for times, worker in (
                        (anew, forgetful),
                        (whole, manager),
                    ):
                        order = _order(100_000 + 2 * number + (worker is manager), symbols[-1])
                        await _announce(theirs, order)
                        began = time.perf_counter()
                        await worker.work()
                        times.append((time.perf_counter() - began) * 1000)
                        await _read_all(theirs)
                        await floor.step()
                await floor.close()
                print(
                    f"{positions} positions, {decisions} decisions each, load {getloadavg()[0]:.1f}"
                )
                _report("one commit of the same rows", floor.times, floor.times)
                _report("pure review", pure, floor.times)
                _report("all bars read anew", read, floor.times)
                _report("the account read", known, floor.times)
                _report("review as a transaction", transaction, floor.times)
                _report("whole work, all bars read anew", anew, floor.times)
                _report("whole work, no bar is new", whole, floor.times)
        finally:
            stack.remove()


def _manager(
    store: PostgresStore, market: MarketReader, clock: FakeClock, timer: MonotonicTimer
) -> RiskManager:
    return RiskManager(store, market, LIMITS, a_venue(), NoBells(), clock, FakeHalt(), timer)


def _review(number: int, symbol: Symbol, book: Book, market: Market, at: datetime) -> Any:
    return review_manual(_order(number, symbol), book, market, LIMITS, a_venue(), at)


async def _announce(database: Any, order: Any) -> None:
    async def write(connection: AsyncConnection) -> None:
        await Outbox("trade_executor", ACCOUNT).append(
            connection,
            topic=MANUAL_ORDERS,
            key=order.signal_id,
            payload=MANUAL_ORDER.encode(order),
            at=NOW,
        )

    await database.run(write)


async def _read_all(database: Any) -> None:
    """Read the reviews as the executor does, or hundreds of approvals would wait for it and be counted."""

    async def move(connection: AsyncConnection) -> None:
        found = await connection.execute(
            text("SELECT max(id) FROM risk_manager.v_outbox WHERE account = :a"), {"a": ACCOUNT}
        )
        cursor = Cursor("trade_executor", "risk_manager", ACCOUNT)
        await cursor.move(connection, found.scalar_one())

    await database.run(move)


if __name__ == "__main__":
    given = [int(each) for each in sys.argv[1:]]
    # As the service itself runs.
    gc.freeze()
    uvloop.run(_measure(*(given or [100, 300])))
