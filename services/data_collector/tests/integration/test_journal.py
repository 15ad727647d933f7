"""What every journal does, over PostgreSQL and over the stand-in of the other tests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from data_collector.backfill import Marker
from data_collector.batches import digest_of
from data_collector.boundary import Refused
from data_collector.budgets import Limits, Spent, block
from data_collector.paying import StoredBudget
from data_collector.ports import Announced, Doubt, Hold, Job, JobState, Journal
from data_collector.store import PostgresBudgets, PostgresJournal
from data_collector.testing import MemoryJournal
from shared.adapters.clocks import MonotonicTimer
from shared.adapters.postgres import open_database
from shared.domain.bar_blocks import BarBlock
from shared.domain.errors import RateLimited
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.testing.bar_stores import NOON, a_bar, a_block
from shared.testing.time import FakeClock
from trader.testing.servers import SettingsFor

MINUTE = timedelta(minutes=1)
Story = Callable[[Journal], Awaitable[None]]
Tell = Callable[[Story], None]
JOB = Job("job-1", (Symbol("AAPL"),), Timeframe.MINUTE, NOON, NOON + MINUTE, NOON, "key")


async def announce(journal: Journal, block: BarBlock, *, decidable: bool = True) -> int | None:
    return await journal.announce(
        block, digest=digest_of(block), decidable=decidable, at=NOON + MINUTE
    )


class JournalContract:
    """A test class inherits it and gives a `tell` fixture, which runs a story with a journal."""

    def test_batches_get_ascending_ids_and_the_newest_is_known(self, tell: Tell) -> None:
        async def story(journal: Journal) -> None:
            assert await journal.newest_batch(Timeframe.MINUTE) is None
            first = await announce(journal, a_block(a_bar("AAPL", 0)))
            second = await announce(
                journal, a_block(a_bar("AAPL", 1), a_bar("MSFT", 1)), decidable=False
            )
            assert first is not None
            assert second is not None
            assert first < second
            assert await journal.newest_batch(Timeframe.MINUTE) == Announced(
                second, NOON + MINUTE, NOON + 2 * MINUTE, 2, False, NOON + MINUTE
            )
            assert await journal.newest_batch(Timeframe.DAY) is None

        tell(story)

    def test_an_instant_is_announced_once_and_never_after_a_later_one(self, tell: Tell) -> None:
        async def story(journal: Journal) -> None:
            assert await announce(journal, a_block(a_bar("AAPL", 1))) is not None
            assert await announce(journal, a_block(a_bar("AAPL", 1))) is None
            assert await announce(journal, a_block(a_bar("MSFT", 1))) is None
            assert await announce(journal, a_block(a_bar("AAPL", 0))) is None
            newest = await journal.newest_batch(Timeframe.MINUTE)
            assert newest is not None
            assert (newest.end_at, newest.symbols) == (NOON + 2 * MINUTE, 1)

        tell(story)

    def test_timeframes_are_announced_apart(self, tell: Tell) -> None:
        async def story(journal: Journal) -> None:
            day = a_bar(timeframe=Timeframe.DAY)
            assert await announce(journal, a_block(day, timeframe=Timeframe.DAY)) is not None
            assert await announce(journal, a_block(a_bar("AAPL", 0))) is not None

        tell(story)

    def test_a_refused_bar_is_kept_once(self, tell: Tell) -> None:
        async def story(journal: Journal) -> None:
            bar = Refused("A\\x00", "price must be above zero", '{"c":0}')
            other = replace(bar, raw='{"c":-1}')
            about = {"provider": "p", "at": NOON}
            assert await journal.quarantine([bar, bar], Timeframe.MINUTE, **about) == 1  # type: ignore[arg-type]
            assert await journal.quarantine([bar, other], Timeframe.MINUTE, **about) == 1  # type: ignore[arg-type]
            assert await journal.quarantine([], Timeframe.MINUTE, **about) == 0  # type: ignore[arg-type]

        tell(story)

    def test_a_job_is_found_again_by_id_and_by_key(self, tell: Tell) -> None:
        async def story(journal: Journal) -> None:
            assert await journal.job("job-1") is None
            assert await journal.add_job(JOB) == JOB
            assert await journal.add_job(JOB) == JOB
            assert await journal.add_job(replace(JOB, job_id="job-2")) == JOB
            keyless = replace(JOB, job_id="job-3", idempotency_key=None)
            assert await journal.add_job(keyless) == keyless
            assert await journal.add_job(replace(keyless, job_id="job-4")) != keyless
            assert await journal.job("job-1") == JOB
            assert await journal.job("job-2") is None

        tell(story)

    def test_refused_bars_are_listed_newest_first_and_released_once(self, tell: Tell) -> None:
        async def story(journal: Journal) -> None:
            bars = [Refused("AAPL", f"reason {n}", f"raw {n}") for n in range(3)]
            await journal.quarantine(bars, Timeframe.MINUTE, provider="p", at=NOON)
            first, *rest = await journal.rejects(before=None, limit=2)
            assert [first.reason, rest[0].reason] == ["reason 2", "reason 1"]
            (last,) = await journal.rejects(before=rest[0].reject_id, limit=9)
            assert (last.reason, last.released_at) == ("reason 0", None)
            await journal.release(last.reject_id, reason="right", at=NOON)
            await journal.release(last.reject_id, reason="again", at=NOON + MINUTE)
            released = await journal.reject(last.reject_id)
            assert released == replace(last, released_at=NOON, release_reason="right")
            assert await journal.reject_counts() == {"p": 2}
            assert await journal.reject(2**40) is None

        tell(story)

    def test_a_symbol_is_held_once_for_each_doubt_until_it_is_let_go(self, tell: Tell) -> None:
        async def story(journal: Journal) -> None:
            aapl = Symbol("AAPL")
            frozen = Hold(aapl, Doubt.FROZEN, "stands still", NOON)
            on = NOON.date()
            split = Hold(aapl, Doubt.SPLIT, "a step", NOON, on, on)
            assert await journal.hold([frozen, split]) == 2
            assert await journal.hold([replace(frozen, reason="again")]) == 0
            newest, first = await journal.holds()
            assert (newest.kind, newest.step_on, first.reason) == (Doubt.SPLIT, on, "stands still")
            assert await journal.holds(before=newest.hold_id) == [first]
            later = NOON + MINUTE
            assert await journal.end_holds([aapl], Doubt.FROZEN, reason="moved", at=later) == 1
            assert await journal.end_holds([aapl], Doubt.FROZEN, reason="moved", at=later) == 0
            assert await journal.end_holds([], Doubt.SPLIT, reason="none", at=later) == 0
            assert await journal.holds() == [newest]
            let_go = await journal.release_hold(newest.hold_id, reason="right", at=later)
            again = await journal.release_hold(newest.hold_id, reason="again", at=NOON)
            assert let_go == again == replace(newest, ended_at=later, end_reason="right")
            assert await journal.release_hold(2**40, reason="no", at=NOON) is None
            merger = Hold(aapl, Doubt.CORPORATE_ACTION, "cash merger", NOON, on, on)
            assert await journal.hold([frozen, merger]) == 2
            assert len(await journal.holds(is_open=False)) == 4

        tell(story)

    def test_a_jobs_progress_is_kept_and_ended_ones_are_not_taken_up(self, tell: Tell) -> None:
        async def story(journal: Journal) -> None:
            await journal.add_job(JOB)
            running = replace(JOB, state=JobState.RUNNING, bars_read=7, bars_new=5, bars_refused=2)
            running = replace(
                running,
                marker=Marker("AAPL", "MSFT", NOON),
                pieces_done=3,
                pieces_total=9,
                providers=("one", "other"),
                note="nobody has ZZZ",
            )
            await journal.save_job(running)
            assert await journal.unfinished_jobs() == [running]
            failed = replace(running, state=JobState.FAILED, error="no", ended_at=NOON + MINUTE)
            await journal.save_job(failed)
            assert await journal.unfinished_jobs() == []
            assert await journal.job("job-1") == failed

        tell(story)


class TestMemoryJournal(JournalContract):
    @pytest.fixture
    def tell(self) -> Tell:
        return lambda story: asyncio.run(_with_memory(story))


async def _with_memory(story: Story) -> None:
    await story(MemoryJournal())


class TestPostgresJournal(JournalContract):
    @pytest.fixture
    def tell(self, settings_for: SettingsFor) -> Tell:
        settings = settings_for("data_collector")

        async def told(story: Story) -> None:
            async with open_database(settings, MonotonicTimer(), application="test") as database:
                await story(PostgresJournal(database, settings.trading_account))

        return lambda story: asyncio.run(told(story))


def test_two_collectors_at_once_announce_each_instant_once(settings_for: SettingsFor) -> None:
    settings = settings_for("data_collector")

    async def story() -> list[int | None]:
        async with open_database(settings, MonotonicTimer(), application="test") as database:
            journals = [PostgresJournal(database, settings.trading_account) for _ in range(4)]
            answers = []
            for minute in range(10):
                block = a_block(a_bar("AAPL", minute))
                answers += await asyncio.gather(*(announce(j, block) for j in journals))
            return answers

    ids = [batch_id for batch_id in asyncio.run(story()) if batch_id is not None]

    assert len(ids) == 10
    assert ids == sorted(set(ids))


def test_processes_that_spend_at_once_share_one_budget_to_the_last_credit(
    settings_for: SettingsFor,
) -> None:
    settings = settings_for("data_collector")
    provider = f"budget of {settings.trading_account}"

    async def story() -> list[bool]:
        async with open_database(settings, MonotonicTimer(), application="test") as database:
            limits = Limits(8, 60, 800)

            async def one(number: int) -> bool:
                stored = PostgresBudgets(database)
                budget = StoredBudget(
                    provider, limits, stored, FakeClock(NOON), MonotonicTimer(), patience_s=0
                )
                try:
                    await budget.spend(1, f"request {number}")
                except RateLimited:
                    return False
                return True

            return await asyncio.gather(*(one(number) for number in range(20)))

    assert sum(asyncio.run(story())) == 8


def test_a_budget_reads_back_as_it_was_stored(settings_for: SettingsFor) -> None:
    settings = settings_for("data_collector")
    provider = f"budget of {settings.trading_account}"
    spent = block(Spent(((1, 2), (3, 4)), NOON.date(), 6), NOON + MINUTE, "429")

    async def story() -> Spent:
        async with open_database(settings, MonotonicTimer(), application="test") as database:
            await PostgresBudgets(database).change(provider, lambda _: spent)
            return await PostgresBudgets(database).change(provider, lambda before: before)

    assert asyncio.run(story()) == spent
