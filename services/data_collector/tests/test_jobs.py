"""What becomes of a collection job: fetched piece by piece, paused, cut off, refused."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal

import orjson
import pytest

from data_collector.backfill import Marker
from data_collector.boundary import Refused
from data_collector.jobs import KeyReused, Range
from data_collector.ports import Doubt, Job, JobState, UnappliedAction
from data_collector.testing import (
    ScriptedActions,
    ScriptedHistory,
    raw,
)
from services.data_collector.tests.rigs import (
    AAPL,
    MINUTE,
    MSFT,
    RANGE,
    SYMBOLS,
    TSLA,
    Rig,
    a_morning_after_a_split,
    ended,
    jobs_of,
    quiet_minutes,
)
from shared.domain.corporate_actions import Split
from shared.domain.errors import RateLimited, Rejected, Unavailable
from shared.domain.timeframes import Timeframe
from shared.ports import LatestBar
from shared.testing.bar_stores import NOON, a_bar, a_block
from shared.testing.time import FakeClock, FakeTimer


def test_a_job_fetches_every_page_and_counts_what_was_new() -> None:
    rig = Rig(clock=FakeClock(NOON + 10 * MINUTE))
    rig.history.bars = [a_bar("AAPL", minute) for minute in range(5)]
    rig.store.append(a_block(a_bar("AAPL", 2)), provider="p", fetched_at=NOON)
    jobs = jobs_of(rig)

    async def story() -> Job:
        return await ended(jobs, rig, await jobs.submit(RANGE, None))

    job = asyncio.run(story())

    assert (job.state, job.bars_read, job.bars_new) == (JobState.DONE, 5, 4)
    assert len(rig.store.between(Timeframe.MINUTE, [AAPL], NOON, NOON + 5 * MINUTE)) == 5
    assert rig.journal.batches == []


def test_a_job_that_stores_a_newer_bar_replaces_the_cached_one_and_no_other() -> None:
    rig = Rig(clock=FakeClock(NOON + 10 * MINUTE))
    rig.history.bars = [*(a_bar("AAPL", minute) for minute in range(4)), a_bar("MSFT", 1)]
    for old in (a_bar("AAPL", 2), a_bar("MSFT", 5)):
        rig.newest.known[Timeframe.MINUTE, old.symbol] = LatestBar(old, "stream", NOON)
    jobs = jobs_of(rig)
    wanted = Range((AAPL, MSFT), Timeframe.MINUTE, NOON, NOON + 5 * MINUTE)

    async def story() -> None:
        await ended(jobs, rig, await jobs.submit(wanted, None))

    asyncio.run(story())

    cached = asyncio.run(rig.newest.get(Timeframe.MINUTE, [AAPL, MSFT]))
    assert (cached[AAPL].bar, cached[AAPL].provider) == (a_bar("AAPL", 3), "scripted")
    assert (cached[MSFT].bar, cached[MSFT].provider) == (a_bar("MSFT", 5), "stream")


def test_a_job_brings_the_splits_and_dividends_of_its_symbols_of_two_years_at_least() -> None:
    rig = Rig(clock=FakeClock(NOON + 10 * MINUTE))
    split = Split(AAPL, NOON.date() - timedelta(days=500), Decimal(7), Decimal(1))
    bad = Refused("AAPL", "no ex-date", "{}")
    actions = ScriptedActions([split], [bad])
    jobs = jobs_of(rig, actions=actions)

    async def story() -> Job:
        return await ended(jobs, rig, await jobs.submit(RANGE, None))

    job = asyncio.run(story())

    assert (job.state, job.note) == (JobState.DONE, None)
    assert rig.store.actions.actions() == [split]
    assert actions.asked == [((AAPL,), NOON.date() - timedelta(days=730), NOON.date())]
    assert rig.journal.refused == [bad]


def test_f73_a_bad_print_in_fetched_history_stays_out_in_its_providers_words() -> None:
    rig = Rig(clock=FakeClock(NOON + 10 * MINUTE))
    # The first of the job's own bars, judged by what is stored before it and by what follows.
    spike = a_bar("AAPL", 0, close=130)
    later = [a_bar("AAPL", n, close=100 + n % 3 / 10) for n in range(1, 6)]
    rig.store.append(a_block(*quiet_minutes()), provider="p", fetched_at=NOON)
    rig.history.bars = [spike, *later]
    jobs = jobs_of(rig)

    async def story() -> Job:
        return await ended(jobs, rig, await jobs.submit(RANGE, None))

    job = asyncio.run(story())

    assert (job.state, job.bars_new, job.bars_refused) == (JobState.DONE, 5, 1)
    (bad,) = rig.journal.refused
    assert "a bad print: low 129 and high 131 while the bars around it stand at 100" in bad.reason
    assert bad.raw == orjson.dumps(raw(spike).raw).decode()
    assert spike not in list(rig.store.last(Timeframe.MINUTE, [AAPL], 99, NOON + 9 * MINUTE))


@pytest.mark.parametrize("is_told", [False, True])
def test_f74_fetched_history_that_steps_as_after_a_split_holds_its_symbol_unless_it_is_told(
    is_told: bool,
) -> None:
    rig = Rig(clock=FakeClock(NOON + 10 * MINUTE))
    rig.history.bars = [a_morning_after_a_split(rig)]
    split = Split(AAPL, NOON.date(), Decimal(7), Decimal(1))
    jobs = jobs_of(rig, actions=ScriptedActions([split] if is_told else []))

    async def story() -> None:
        await ended(jobs, rig, await jobs.submit(RANGE, "one"))
        if not is_told:
            (hold,) = await rig.journal.holds()
            await rig.journal.release_hold(hold.hold_id, reason="it fell", at=NOON)
        await ended(jobs, rig, await jobs.submit(RANGE, "two"))

    asyncio.run(story())

    # Let go by a person, it is not held again for the same step.
    (hold,) = rig.journal.held
    assert (hold.symbol, hold.kind, hold.step_on) == (AAPL, Doubt.SPLIT, NOON.date())
    assert hold.end_reason == ("a corporate action explains it" if is_told else "it fell")


def test_a_spin_off_holds_its_symbol_until_a_person_has_looked_and_not_again_for_its_day() -> None:
    rig = Rig(clock=FakeClock(NOON + 10 * MINUTE))
    today = NOON.date()
    told = [
        UnappliedAction(AAPL, today - timedelta(days=1), "spin off"),
        UnappliedAction(MSFT, today - timedelta(days=61), "cash merger"),
        UnappliedAction(TSLA, today + timedelta(days=6), "stock merger"),
    ]
    jobs = jobs_of(rig, actions=ScriptedActions(unapplied=told))

    async def story() -> None:
        await ended(jobs, rig, await jobs.submit(RANGE, "one"))
        (hold,) = await rig.journal.holds()
        await rig.journal.release_hold(hold.hold_id, reason="looked at", at=NOON)
        await ended(jobs, rig, await jobs.submit(RANGE, "two"))

    asyncio.run(story())

    (hold,) = rig.journal.held
    assert (hold.symbol, hold.kind) == (AAPL, Doubt.CORPORATE_ACTION)
    assert hold.reason.startswith("spin off on 2026-01-14: it is applied to no price")
    assert hold.end_reason == "looked at"


def test_a_job_without_its_splits_is_done_and_says_so() -> None:
    rig = Rig(clock=FakeClock(NOON + 10 * MINUTE))
    rig.history.bars = [a_bar("AAPL", 0)]
    known = Split(AAPL, NOON.date(), Decimal(7), Decimal(1))
    rig.store.actions.put([known], provider="p", fetched_at=NOON)
    jobs = jobs_of(rig, actions=ScriptedActions(failures=[Unavailable("it is down")]))

    async def story() -> Job:
        return await ended(jobs, rig, await jobs.submit(RANGE, None))

    job = asyncio.run(story())

    assert (job.state, job.bars_new) == (JobState.DONE, 1)
    assert job.note == "splits and dividends were not fetched: it is down"
    assert rig.store.actions.actions() == [known]


def test_the_same_key_gives_the_same_job_and_another_request_under_it_is_refused() -> None:
    rig = Rig()
    jobs = jobs_of(rig)

    async def story() -> None:
        first = await jobs.submit(RANGE, "key")
        assert (await jobs.submit(RANGE, "key")).job_id == first.job_id
        assert (await jobs.submit(RANGE, None)).job_id != first.job_id
        with pytest.raises(KeyReused, match="another request"):
            await jobs.submit(Range((MSFT,), Timeframe.MINUTE, NOON, NOON + MINUTE), "key")

    asyncio.run(story())


def test_a_job_waits_for_a_provider_that_may_come_back_and_gives_up_in_the_end() -> None:
    rig = Rig(clock=FakeClock(NOON + 10 * MINUTE))
    rig.history.bars = [a_bar("AAPL", 0)]
    rig.history.failures = [Unavailable("no answer"), RateLimited("the provider", 9.0)]
    jobs = jobs_of(rig)

    async def story() -> tuple[Job, Job]:
        done = await ended(jobs, rig, await jobs.submit(RANGE, None))
        rig.history.failures = [Unavailable("no answer")] * 99
        return done, await ended(jobs, rig, await jobs.submit(RANGE, None))

    done, failed = asyncio.run(story())

    assert done.state is JobState.DONE
    assert (failed.state, failed.error) == (JobState.FAILED, "no answer")


def test_a_definite_no_fails_the_job_at_once() -> None:
    rig = Rig()
    rig.history.failures = [Rejected("invalid timeframe"), Unavailable("never asked")]
    jobs = jobs_of(rig)

    async def story() -> Job:
        return await ended(jobs, rig, await jobs.submit(RANGE, None))

    job = asyncio.run(story())

    assert (job.state, job.error) == (JobState.FAILED, "invalid timeframe")
    assert len(rig.history.failures) == 1


def test_a_job_that_a_crash_cut_off_is_taken_up_again_at_the_start() -> None:
    rig = Rig(clock=FakeClock(NOON + 10 * MINUTE))
    rig.history.bars = [a_bar("AAPL", 0)]
    left = Job("left", (AAPL,), Timeframe.MINUTE, NOON, NOON + MINUTE, NOON, None, JobState.RUNNING)
    rig.journal.jobs["left"] = left

    job = asyncio.run(ended(jobs_of(rig), rig, left))

    assert (job.state, job.bars_new) == (JobState.DONE, 1)


def test_what_the_first_provider_cannot_give_comes_from_the_next_and_is_kept_under_its_name() -> (
    None
):
    rig = Rig(clock=FakeClock(NOON + 10 * MINUTE))
    rig.history.failures = [Unavailable("down")] * 99
    other = ScriptedHistory(bars=[a_bar("AAPL", 0)], name="other")
    jobs = jobs_of(rig, other)

    async def story() -> Job:
        return await ended(jobs, rig, await jobs.submit(RANGE, None))

    job = asyncio.run(story())

    newest = rig.store.newest(Timeframe.MINUTE, AAPL, NOON + 10 * MINUTE)
    assert newest is not None
    assert newest.provider == "other"
    assert (job.state, job.providers, jobs.failovers) == (
        JobState.DONE,
        ("other",),
        {"scripted": 1},
    )


def test_only_the_symbols_that_one_provider_refuses_are_asked_of_the_next() -> None:
    rig = Rig(clock=FakeClock(NOON + 10 * MINUTE))
    rig.history.bars = [a_bar("AAPL", 0)]
    rig.history.unknown = frozenset({MSFT})
    other = ScriptedHistory(name="other", unknown=frozenset({MSFT}))
    jobs = jobs_of(rig, other)
    wanted = Range((AAPL, MSFT), Timeframe.MINUTE, NOON, NOON + 5 * MINUTE)

    async def story() -> Job:
        return await ended(jobs, rig, await jobs.submit(wanted, None))

    job = asyncio.run(story())

    assert [asked[0] for asked in other.asked] == [(MSFT,)]
    assert (job.state, job.bars_new) == (JobState.DONE, 1)
    assert job.note == "other has no bars of MSFT: no such symbol"


def test_a_job_goes_on_after_the_last_piece_that_was_stored() -> None:
    rig = Rig(clock=FakeClock(NOON + 10 * MINUTE))
    rig.history.group_size = 1
    rig.history.bars = [a_bar("AAPL", 0), a_bar("MSFT", 0)]
    left = Job(
        "left",
        SYMBOLS,
        Timeframe.MINUTE,
        NOON,
        NOON + MINUTE,
        NOON,
        state=JobState.RUNNING,
        marker=Marker("AAPL"),
        pieces_done=1,
        bars_new=7,
    )
    rig.journal.jobs["left"] = left

    job = asyncio.run(ended(jobs_of(rig), rig, left))

    assert [asked[0] for asked in rig.history.asked] == [(MSFT,)]
    assert (job.pieces_done, job.pieces_total, job.bars_new) == (2, 2, 8)


def test_a_job_outlasts_any_number_of_pauses_and_shows_why_it_waits() -> None:
    rig = Rig(clock=FakeClock(NOON + 10 * MINUTE), timer=FakeTimer())
    timer = rig.timer
    assert isinstance(timer, FakeTimer)
    rig.history.failures = [RateLimited("the budget", 3600.0) for _ in range(20)]
    jobs = jobs_of(rig)

    async def story() -> Job:
        job = await jobs.submit(RANGE, None)
        task = asyncio.create_task(ended(jobs, rig, job))
        await timer.advance(10.0)
        assert jobs.paused[job.job_id].until_at == NOON + 10 * MINUTE + timedelta(hours=1)
        assert "the budget" in jobs.paused[job.job_id].why
        for _ in range(20):
            await timer.advance(3600.0)
        return await task

    assert asyncio.run(story()).state is JobState.DONE
    assert jobs.paused == {}


def test_too_many_waiting_jobs_are_refused() -> None:
    rig = Rig()
    jobs = jobs_of(rig)

    async def story() -> None:
        for _ in range(100):
            await jobs.submit(RANGE, None)
        with pytest.raises(Unavailable, match="wait already"):
            await jobs.submit(RANGE, None)

    asyncio.run(story())
