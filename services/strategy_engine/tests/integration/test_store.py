"""What every evaluation store keeps to: the one in memory that unit tests use, and PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.clocks import MonotonicTimer
from shared.adapters.postgres import Outbox, open_database
from shared.domain.bar_blocks import to_epoch_us
from shared.domain.bars import Bar
from shared.domain.ids import signal_id
from shared.domain.signals import Direction, Evaluation, Signal
from shared.domain.timeframes import Timeframe
from shared.messages import EVALUATION, EVALUATIONS
from shared.testing.bar_stores import NOON, a_bar
from strategy_engine.ports import Batch, EvaluationStore, StrategyRun
from strategy_engine.store import PostgresEvaluations
from strategy_engine.testing import MemoryEvaluations, batch_of
from strategy_engine.universe import Screen
from trader.testing.servers import SettingsFor

Announce = Callable[..., Awaitable[Batch]]
Scenario = Callable[[EvaluationStore, Announce], Awaitable[None]]
Run = Callable[[Scenario], None]
LATER = NOON + timedelta(hours=1)

_ANNOUNCE = text(
    "INSERT INTO data_collector.bar_batches (account, timeframe, start_at, end_at, symbols, "
    "composition, digest, decidable, announced_at) VALUES (:account, :timeframe, :start_at, :end_at, "
    ":symbols, :composition, :digest, :decidable, :announced_at) RETURNING id"
)


def announcing(settings_for: SettingsFor, account: str) -> Announce:
    """Announce bars as the collector's role does."""

    async def announce(*bars: Bar, decidable: bool = True) -> Batch:
        batch = batch_of(0, bars, decidable=decidable)
        row = {
            "account": account,
            "timeframe": batch.timeframe.value,
            "start_at": batch.start_at,
            "end_at": batch.end_at,
            "symbols": len(bars),
            "composition": list(batch.composition),
            "digest": "0" * 64,
            "decidable": decidable,
            "announced_at": batch.end_at,
        }

        async def insert(connection: AsyncConnection) -> int:
            return int((await connection.execute(_ANNOUNCE, row)).scalar_one())

        settings = settings_for("data_collector")
        async with open_database(settings, MonotonicTimer(), application="test") as database:
            return replace(batch, id=await database.run(insert))

    return announce


@pytest.fixture(params=["memory", "postgres"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a scenario on a fresh store of either kind."""
    if request.param == "memory":

        def in_memory(scenario: Scenario) -> None:
            store = MemoryEvaluations()

            async def announce(*bars: Bar, decidable: bool = True) -> Batch:
                store.batches.append(batch_of(len(store.batches) + 1, bars, decidable=decidable))
                return store.batches[-1]

            asyncio.run(_awaited(scenario(store, announce)))

        return in_memory
    settings_for: SettingsFor = request.getfixturevalue("settings_for")
    account: str = request.getfixturevalue("account")

    def on_postgres(scenario: Scenario) -> None:
        async def main() -> None:
            settings = settings_for("strategy_engine")
            async with open_database(settings, MonotonicTimer(), application="test") as database:
                announce = announcing(settings_for, account)
                await scenario(PostgresEvaluations(database, account), announce)

        asyncio.run(main())

    return on_postgres


async def _awaited(scenario: Awaitable[None]) -> None:
    await scenario


def signals_at(batch: Batch, account: str) -> tuple[Signal, ...]:
    return tuple(
        Signal(
            signal_id(account, "moving_average", symbol, batch.timeframe.value, batch.end_at),
            account,
            "moving_average",
            symbol,
            batch.timeframe,
            batch.start_at,
            batch.end_at,
            Direction.LONG,
            1 / 3,
            "SMA 20 crossed above SMA 50",
            Decimal("187.123456"),
            {"sma_short": "187.1"},
        )
        for symbol in batch.composition
    )


def evaluation_of(batch: Batch, account: str, *, wishes: bool = True) -> Evaluation:
    signals = signals_at(batch, account) if wishes else ()
    return Evaluation(account, batch.timeframe, batch.end_at, signals)


def test_batches_are_read_in_the_order_of_their_announcement(run: Run, account: str) -> None:
    async def scenario(store: EvaluationStore, announce: Announce) -> None:
        assert await store.next_batch() is None
        assert await store.last_read() is None
        first = await announce(a_bar("MSFT", 0), a_bar("AAPL", 0))
        second = await announce(a_bar("AAPL", 1), decidable=False)

        assert await store.next_batch() == first
        assert await store.newest_batch(Timeframe.MINUTE) == second
        assert await store.newest_batch(Timeframe.DAY) is None

        assert await store.commit(first, evaluation_of(first, account), [], LATER)
        assert await store.position() == first.id
        assert await store.last_read() == first
        assert await store.next_batch() == second

        assert await store.commit(second, evaluation_of(second, account, wishes=False), [], LATER)
        assert await store.next_batch() is None

    run(scenario)


def test_a_batch_takes_effect_once(run: Run, account: str) -> None:
    async def scenario(store: EvaluationStore, announce: Announce) -> None:
        batch = await announce(a_bar("AAPL", 0), a_bar("MSFT", 0))
        ran = StrategyRun("moving_average", instant_at=batch.end_at, signals=2, ran_at=LATER)

        assert await store.commit(batch, evaluation_of(batch, account), [ran], LATER)
        assert not await store.commit(
            batch, evaluation_of(batch, account), [replace(ran, failures=1)], LATER
        )

        assert await store.signals_of(batch.id) == list(signals_at(batch, account))
        assert len(await store.signals(10)) == 2
        assert await store.runs() == {"moving_average": ran}

    run(scenario)


def test_signals_read_back_exactly_newest_first_page_by_page(run: Run, account: str) -> None:
    async def scenario(store: EvaluationStore, announce: Announce) -> None:
        made: list[Signal] = []
        for minute in range(3):
            batch = await announce(a_bar("AAPL", minute), a_bar("MSFT", minute))
            await store.commit(batch, evaluation_of(batch, account), [], LATER)
            made += signals_at(batch, account)
        made.reverse()

        newest = await store.signals(4)
        assert [stored.signal for stored in newest] == made[:4]
        rest = await store.signals(4, before=newest[-1].id)
        assert [stored.signal for stored in rest] == made[4:]
        mine = await store.signals(9, symbol=made[0].symbol)
        assert [stored.signal for stored in mine] == made[::2]

    run(scenario)


def test_compositions_are_those_of_the_instants_asked_for(run: Run, account: str) -> None:
    async def scenario(store: EvaluationStore, announce: Announce) -> None:
        first = await announce(a_bar("AAPL", 0), a_bar("MSFT", 0))
        await announce(a_bar("AAPL", 1))
        unannounced = a_bar("AAPL", 7).end_at

        found = await store.compositions(Timeframe.MINUTE, [first.end_at, unannounced])

        assert found == {first.end_at: set(first.composition)}
        assert await store.compositions(Timeframe.DAY, [first.end_at]) == {}

    run(scenario)


def test_the_newest_screens_taken_until_then_are_read_as_the_collector_keeps_them(
    settings_for: SettingsFor, account: str
) -> None:
    insert = text(
        "INSERT INTO data_collector.screens (account, screen, filters, taken_at, symbols) "
        "VALUES (:account, 'liquid', '{}', :taken_at, :symbols)"
    )
    taken = [(NOON, ["AAPL"]), (LATER, ["AAPL", "MSFT"]), (LATER + timedelta(hours=1), [])]

    async def keep(connection: AsyncConnection) -> None:
        for owner in (account, f"{account[:20]}-other"):
            for taken_at, symbols in taken:
                row = {"account": owner, "taken_at": taken_at, "symbols": symbols}
                await connection.execute(insert, row)

    async def main() -> None:
        collector = settings_for("data_collector")
        async with open_database(collector, MonotonicTimer(), application="test") as database:
            await database.run(keep)
        engine = settings_for("strategy_engine")
        async with open_database(engine, MonotonicTimer(), application="test") as database:
            store = PostgresEvaluations(database, account)
            soon = timedelta(seconds=1)

            assert await store.screens(LATER + soon, 5) == [
                Screen(to_epoch_us(LATER), frozenset({"AAPL", "MSFT"})),
                Screen(to_epoch_us(NOON), frozenset({"AAPL"})),
            ]
            assert len(await store.screens(LATER + soon, 1)) == 1
            # What is taken at that very instant may be there or not yet, so it never is.
            assert await store.screens(NOON, 5) == []

    asyncio.run(main())


def test_snapshots_of_companies_are_read_on_from_the_last_one_as_the_collector_keeps_them(
    settings_for: SettingsFor, account: str
) -> None:
    insert = text(
        "INSERT INTO data_collector.fundamentals (account, symbol, taken_at, pe, profit_margin) "
        "VALUES (:account, :symbol, :taken_at, :pe, :margin)"
    )
    taken = [("AAPL", NOON, 20.5, None), ("MSFT", NOON, None, 0.4), ("AAPL", LATER, 21.0, 0.3)]

    async def keep(connection: AsyncConnection) -> None:
        for owner in (account, f"{account[:20]}-other"):
            for symbol, at, pe, margin in taken:
                row = {"account": owner, "symbol": symbol, "taken_at": at, "pe": pe}
                await connection.execute(insert, {**row, "margin": margin})

    async def main() -> None:
        collector = settings_for("data_collector")
        async with open_database(collector, MonotonicTimer(), application="test") as database:
            await database.run(keep)
        engine = settings_for("strategy_engine")
        async with open_database(engine, MonotonicTimer(), application="test") as database:
            store = PostgresEvaluations(database, account)
            soon = timedelta(seconds=1)
            since = NOON - soon

            first, at_noon = await store.snapshots(
                after=0, since_at=since, until_at=NOON + soon, limit=9
            )
            last, then = await store.snapshots(
                after=first, since_at=since, until_at=LATER + soon, limit=9
            )
            again = await store.snapshots(
                after=last, since_at=since, until_at=LATER + soon, limit=9
            )

            assert dict(at_noon.spans) == {"MSFT": (0, 1), "AAPL": (1, 2)}
            assert np.nansum(at_noon.figures, axis=1).tolist() == [0.4, 20.5]
            assert then.taken_us.tolist() == [to_epoch_us(LATER)]
            assert (again[0], len(again[1])) == (last, 0)
            newest = await store.snapshots(after=0, since_at=NOON, until_at=LATER + soon, limit=9)
            assert newest[1].taken_us.tolist() == [to_epoch_us(LATER)]

    asyncio.run(main())


def test_what_is_off_stays_off_until_it_is_turned_on(run: Run, account: str) -> None:
    async def scenario(store: EvaluationStore, announce: Announce) -> None:
        batch = await announce(a_bar("AAPL", 0))
        off = StrategyRun("mine", 3, True, "KeyError: x", batch.end_at, 0, LATER)
        await store.commit(batch, evaluation_of(batch, account, wishes=False), [off], LATER)
        assert await store.runs() == {"mine": off}

        await store.turn_on("mine", "repaired", LATER)

        assert await store.runs() == {"mine": replace(off, failures=0, is_off=False)}

        for name in ("mine", "never ran"):
            await store.turn_off(name, "earnings week")
        assert await store.runs() == {
            "mine": replace(off, failures=0, last_error="earnings week"),
            "never ran": StrategyRun("never ran", is_off=True, last_error="earnings week"),
        }

    run(scenario)


def test_the_message_commits_with_its_signals_and_reads_back_as_the_same_evaluation(
    settings_for: SettingsFor, account: str
) -> None:
    async def main() -> None:
        announce = announcing(settings_for, account)
        timer = MonotonicTimer()
        async with (
            open_database(settings_for("strategy_engine"), timer, application="test") as ours,
            open_database(settings_for("risk_manager"), timer, application="test") as theirs,
        ):
            store = PostgresEvaluations(ours, account)
            evaluations = []
            for minute, wishes in enumerate([True, False]):
                batch = await announce(a_bar("AAPL", minute))
                evaluations.append(evaluation_of(batch, account, wishes=wishes))
                await store.commit(batch, evaluations[-1], [], LATER)

            async def read(connection: AsyncConnection) -> list[tuple[str, Evaluation]]:
                rows = await Outbox("strategy_engine", account).after(
                    connection, 0, topics=(EVALUATIONS,)
                )
                return [(row.key, EVALUATION.decode(row.payload)) for row in rows]

            found = await theirs.run(read)
            assert [evaluation for _, evaluation in found] == evaluations
            assert found[0][0] == "1Min:2026-01-15T15:01:00+00:00"

    asyncio.run(main())


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE strategy_engine.signals SET conviction = 0",
        "DELETE FROM strategy_engine.signals",
        "DELETE FROM strategy_engine.strategy_runs",
        "UPDATE strategy_engine.outbox SET topic = 'x'",
        "SELECT * FROM data_collector.bar_batches",
    ],
)
def test_its_role_can_neither_change_what_was_said_nor_pass_by_the_views(
    settings_for: SettingsFor, statement: str
) -> None:
    async def main() -> None:
        settings = settings_for("strategy_engine")
        async with open_database(settings, MonotonicTimer(), application="test") as database:

            async def do(connection: AsyncConnection) -> None:
                await connection.execute(text(statement))

            with pytest.raises(DBAPIError, match="permission denied"):
                await database.run(do)

    asyncio.run(main())
