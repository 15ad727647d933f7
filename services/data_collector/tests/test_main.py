"""Tests of the collector at work, with scripted feed and history and everything else in memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import orjson
import pytest

from data_collector.__main__ import run
from data_collector.backfill import Marker
from data_collector.batches import digest_of
from data_collector.boundary import RawBar, Refused
from data_collector.jobs import CollectionJobs, KeyReused, Range
from data_collector.ports import Doubt, InstantEnded, Job, JobState, UnappliedAction
from data_collector.service import Collector, FeedState
from data_collector.testing import (
    MemoryJournal,
    MemoryNewest,
    ScriptedActions,
    ScriptedFeed,
    ScriptedHistory,
    raw,
)
from shared.config import load_settings
from shared.domain.bars import Bar
from shared.domain.corporate_actions import Split
from shared.domain.errors import Misconfigured, RateLimited, Rejected, Unavailable
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.messages import BELL_BARS
from shared.ports import LatestBar
from shared.testing.bar_stores import NOON, MemoryBars, a_bar, a_block
from shared.testing.bus import CountedBells, MemoryBarStream
from shared.testing.calendars import a_calendar
from shared.testing.time import CountingIds, FakeClock, FakeTimer, InstantTimer

AAPL, MSFT, TSLA = Symbol("AAPL"), Symbol("MSFT"), Symbol("TSLA")
SYMBOLS = (AAPL, MSFT)
MINUTE = timedelta(minutes=1)


@dataclass
class Rig:
    """A collector and all that it leans on."""

    clock: FakeClock = field(default_factory=lambda: FakeClock(NOON))
    timer: FakeTimer | InstantTimer = field(default_factory=InstantTimer)
    feed: ScriptedFeed = field(default_factory=ScriptedFeed)
    history: ScriptedHistory = field(default_factory=ScriptedHistory)
    store: MemoryBars = field(default_factory=MemoryBars)
    newest: MemoryNewest = field(default_factory=MemoryNewest)
    stream: MemoryBarStream = field(default_factory=MemoryBarStream)
    bells: CountedBells = field(default_factory=CountedBells)
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    grace_s: float | None = None

    def collector(self) -> Collector:
        return Collector(
            timeframe=Timeframe.MINUTE,
            symbols=SYMBOLS,
            calendar=a_calendar(),
            clock=self.clock,
            timer=self.timer,
            feed=self.feed,
            history=self.history,
            store=self.store,
            newest=self.newest,
            stream=self.stream,
            bells=self.bells,
            journal=self.journal,
            actions=self.store.actions,
            max_age_bars=2,
            grace_s=self.grace_s,
        )

    def play(self, minute: int, *bars: Bar) -> None:
        """What a replay's venue does at the end of a minute: clock, bars, marker."""
        end_at = NOON + minute * MINUTE + MINUTE
        self.clock.set(end_at)
        self.history.bars += bars
        self.feed.push(*map(raw, bars), InstantEnded(Timeframe.MINUTE, end_at))

    def announced(self) -> list[tuple[list[Bar], bool]]:
        return [(list(block), decidable) for _, block, _, decidable, _ in self.journal.batches]


@contextlib.asynccontextmanager
async def running(collector: Collector) -> AsyncIterator[None]:
    task = asyncio.create_task(collector.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def live(collector: Collector) -> AsyncIterator[None]:
    """Running, and following its feed already."""
    async with running(collector):
        await until_live(collector)
        yield


async def until_live(collector: Collector) -> None:
    """Return once the collector follows its feed; its threads end by themselves."""
    async with asyncio.timeout(20):
        while not await collector.is_live():
            await asyncio.to_thread(lambda: None)


def test_an_instant_is_stored_cached_committed_streamed_and_rung_for() -> None:
    rig = Rig()
    bars = [a_bar("AAPL"), a_bar("MSFT")]

    async def story() -> None:
        async with live(rig.collector()):
            rig.play(0, *bars)
            await rig.journal.until_batches(1)
            await asyncio.to_thread(lambda: None)

    asyncio.run(story())

    ((batch_id, block, digest, decidable, at),) = rig.journal.batches
    assert (list(block), decidable, at) == (bars, True, NOON + MINUTE)
    assert digest == digest_of(block)
    assert list(rig.store.last(Timeframe.MINUTE, SYMBOLS, 1, at)) == bars
    assert rig.newest.known[Timeframe.MINUTE, AAPL].bar == bars[0]
    assert rig.stream.blocks == {batch_id: block}
    assert rig.bells.rung == [BELL_BARS]


def test_bars_and_prices_are_there_before_the_batch_is_committed() -> None:
    rig = Rig()
    bar = a_bar("AAPL")
    rig.journal.failures = [Unavailable("the database is on its way down")] * 2

    async def story() -> None:
        async with live(rig.collector()):
            rig.play(0, bar)
            async with asyncio.timeout(20):
                while len(rig.journal.failures) == 2:
                    await asyncio.to_thread(lambda: None)
            assert list(rig.store.last(Timeframe.MINUTE, [AAPL], 1, bar.end_at)) == [bar]
            assert rig.newest.known[Timeframe.MINUTE, AAPL].bar == bar
            assert rig.stream.blocks == {}
            await rig.journal.until_batches(1)

    asyncio.run(story())

    assert rig.announced() == [([bar], True)]
    assert rig.feed.connects == 3


def test_a_batch_cut_off_by_a_crash_is_the_very_same_after_the_restart() -> None:
    bars = [a_bar("AAPL", 0), a_bar("MSFT", 0)]
    undisturbed, crashed = Rig(), Rig()

    async def without() -> None:
        async with live(undisturbed.collector()):
            undisturbed.play(0, *bars)
            await undisturbed.journal.until_batches(1)

    async def with_crash() -> None:
        collector = crashed.collector()
        async with running(collector):
            await until_live(collector)
        # It is dead while the venue publishes, and nobody ever reads what the stream said.
        crashed.play(0, *bars)
        crashed.feed = ScriptedFeed()
        async with running(crashed.collector()):
            await crashed.journal.until_batches(1)

    asyncio.run(without())
    asyncio.run(with_crash())

    assert crashed.announced() == undisturbed.announced()
    assert [b[2] for b in crashed.journal.batches] == [b[2] for b in undisturbed.journal.batches]


def test_warm_up_history_is_stored_and_only_its_newest_instants_are_announced() -> None:
    rig = Rig(clock=FakeClock(NOON + 20 * MINUTE))
    rig.history.bars = [a_bar(symbol, minute) for symbol in SYMBOLS for minute in range(20)]
    collector = rig.collector()

    async def story() -> None:
        async with running(collector):
            await until_live(collector)

    asyncio.run(story())

    assert len(rig.store.between(Timeframe.MINUTE, SYMBOLS, NOON, NOON + 20 * MINUTE)) == 40
    assert rig.announced() == [
        ([a_bar("AAPL", minute), a_bar("MSFT", minute)], True) for minute in (17, 18, 19)
    ]


def test_after_an_absence_every_instant_is_announced_and_old_ones_are_not_decidable() -> None:
    rig = Rig()

    async def story() -> None:
        async with running(rig.collector()):
            rig.play(0, a_bar("AAPL", 0))
            await rig.journal.until_batches(1)
        for minute in range(1, 6):
            rig.play(minute, a_bar("AAPL", minute))
        rig.feed = ScriptedFeed()
        async with running(rig.collector()):
            await rig.journal.until_batches(6)

    asyncio.run(story())

    assert [(bars[0], decidable) for bars, decidable in rig.announced()] == [
        (a_bar("AAPL", 0), True),
        (a_bar("AAPL", 1), False),
        (a_bar("AAPL", 2), False),
        (a_bar("AAPL", 3), True),
        (a_bar("AAPL", 4), True),
        (a_bar("AAPL", 5), True),
    ]


def test_a_lost_stream_is_connected_anew_with_growing_pauses_and_caught_up_with() -> None:
    rig = Rig()
    timer = rig.timer
    assert isinstance(timer, InstantTimer)

    async def story() -> None:
        async with live(rig.collector()):
            rig.play(0, a_bar("AAPL", 0))
            await rig.journal.until_batches(1)
            rig.feed.refusals = [Unavailable("no")] * 3
            rig.feed.drop()
            rig.clock.set(NOON + 2 * MINUTE)
            rig.history.bars.append(a_bar("AAPL", 1))
            await rig.journal.until_batches(2)

    asyncio.run(story())

    assert rig.announced() == [([a_bar("AAPL", 0)], True), ([a_bar("AAPL", 1)], True)]
    assert timer.slept == [1.0, 2.0, 4.0, 5.0]


def test_a_provider_that_asks_for_a_pause_gets_it() -> None:
    rig = Rig()
    timer = rig.timer
    assert isinstance(timer, InstantTimer)
    rig.history.failures = [RateLimited("the provider", 17.0), Unavailable("no answer")]
    collector = rig.collector()

    async def story() -> None:
        async with running(collector):
            await until_live(collector)

    asyncio.run(story())

    assert timer.slept[0] == 17.0
    assert rig.feed.connects == 3


def test_wrong_keys_end_the_collector_with_their_sentence() -> None:
    rig = Rig()
    rig.feed.refusals = [Misconfigured("check the keys")]

    with pytest.raises(Misconfigured, match="check the keys"):
        asyncio.run(rig.collector().run())


def test_a_late_bar_is_stored_and_changes_no_batch() -> None:
    rig = Rig()
    collector = rig.collector()

    async def story() -> None:
        async with live(collector):
            rig.play(0, a_bar("AAPL", 0))
            await rig.journal.until_batches(1)
            rig.feed.push(raw(a_bar("MSFT", 0)))
            rig.play(1, a_bar("AAPL", 1))
            await rig.journal.until_batches(2)

    asyncio.run(story())

    assert [bars for bars, _ in rig.announced()] == [[a_bar("AAPL", 0)], [a_bar("AAPL", 1)]]
    stored = rig.store.last(Timeframe.MINUTE, [MSFT], 1, NOON + 2 * MINUTE)
    assert list(stored) == [a_bar("MSFT", 0)]
    assert collector.figures.late_bars == 1


def test_a_bad_bar_goes_to_quarantine_and_the_rest_of_its_batch_goes_on() -> None:
    rig = Rig()
    bad = RawBar("MSFT", NOON.isoformat(), 1, 2, 3, 1, 5, {"h": 2, "l": 3})
    collector = rig.collector()

    async def story() -> None:
        async with live(collector):
            rig.feed.push(bad)
            rig.play(0, a_bar("AAPL", 0))
            await rig.journal.until_batches(1)

    asyncio.run(story())

    assert rig.announced() == [([a_bar("AAPL", 0)], True)]
    assert [bar.symbol for bar in rig.journal.refused] == ["MSFT"]
    assert collector.figures.bars_refused == 1


def quiet_minutes(count: int = 20) -> list[Bar]:
    """Minutes of AAPL that end at NOON."""
    return [
        a_bar("AAPL", n - count, close=100 + n % 3 / 10, volume=1_000 + n) for n in range(count)
    ]


def test_f73_a_bad_print_among_live_bars_is_kept_in_its_providers_words_and_enters_no_batch() -> (
    None
):
    rig = Rig()
    rig.history.bars = quiet_minutes()
    spike = a_bar("AAPL", 0, close=130)

    async def story() -> None:
        async with live(rig.collector()):
            rig.play(0, spike, a_bar("MSFT", 0))
            rig.play(1, a_bar("AAPL", 1, close=100))
            # Three of the quiet minutes are young enough to be announced.
            await rig.journal.until_batches(5)
        # The next process fetches the bad print once more.
        async with live(rig.collector()):
            pass

    asyncio.run(story())

    assert [bars for bars, _ in rig.announced()[3:]] == [
        [a_bar("MSFT", 0)],
        [a_bar("AAPL", 1, close=100)],
    ]
    (bad,) = rig.journal.refused
    assert "a bad print: low 129 and high 131 while the bars around it stand at 100.1" in bad.reason
    assert bad.raw == orjson.dumps(raw(spike).raw).decode()
    assert spike not in list(rig.store.last(Timeframe.MINUTE, [AAPL], 99, NOON + 9 * MINUTE))


def a_morning_after_a_split(rig: Rig) -> Bar:
    """Yesterday's minutes are in the store; the bar is today's first, at a seventh."""
    yesterday = [
        replace(
            bar,
            start_at=bar.start_at - timedelta(days=1),
            end_at=bar.end_at - timedelta(days=1),
            **{n: getattr(bar, n) * 7 for n in ("open", "high", "low", "close")},
        )
        for bar in quiet_minutes()
    ]
    rig.store.append(a_block(*yesterday), provider="p", fetched_at=NOON)
    return a_bar("AAPL", 0, close=100)


def test_f74_a_split_that_nobody_explains_holds_its_symbol_until_an_action_does() -> None:
    rig = Rig()
    bar = a_morning_after_a_split(rig)
    split = Split(AAPL, NOON.date(), Decimal(7), Decimal(1))

    async def story() -> None:
        async with live(rig.collector()):
            rig.play(0, bar)
            await rig.journal.until_batches(1)
        (hold,) = await rig.journal.holds()
        assert (hold.symbol, hold.kind) == (AAPL, Doubt.SPLIT)
        assert "7:1 split; no corporate action explains it" in hold.reason
        actions = ScriptedActions()
        jobs = jobs_of(rig, actions=actions)
        await ended(jobs, rig, await jobs.submit(RANGE, "one"))
        assert len(await rig.journal.holds()) == 1
        actions.actions.append(split)
        await ended(jobs, rig, await jobs.submit(RANGE, "two"))

    asyncio.run(story())

    assert rig.announced() == [([bar], True)]
    (hold,) = rig.journal.held
    assert hold.end_reason == "a corporate action explains it"


def test_a_split_that_is_known_holds_nothing() -> None:
    rig = Rig()
    bar = a_morning_after_a_split(rig)
    split = Split(AAPL, NOON.date(), Decimal(7), Decimal(1))
    rig.store.actions.put([split], provider="p", fetched_at=NOON)

    async def story() -> None:
        async with live(rig.collector()):
            rig.play(0, bar)
            await rig.journal.until_batches(1)

    asyncio.run(story())

    assert rig.journal.held == []


def test_a_screened_symbol_is_subscribed_to_caught_up_with_and_let_into_batches() -> None:
    rig = Rig()
    rig.history.bars = [a_bar("TSLA", -1)]
    collector = rig.collector()
    wanted: list[Symbol] = list(SYMBOLS)

    async def following() -> list[Symbol]:
        return list(wanted)

    collector.tracking = following

    async def story() -> None:
        async with live(collector):
            collector.reconsider()
            rig.play(0, a_bar("AAPL", 0))
            await rig.journal.until_batches(1)
            wanted.append(TSLA)
            collector.reconsider()
            rig.play(1, a_bar("AAPL", 1))
            await rig.journal.until_batches(2)
            while rig.feed.connects < 2 or not await collector.is_live():
                await asyncio.to_thread(lambda: None)
            rig.play(2, a_bar("AAPL", 2), a_bar("TSLA", 2))
            await rig.journal.until_batches(3)

    asyncio.run(story())

    assert rig.feed.subscribed == [SYMBOLS, (*SYMBOLS, TSLA)]
    assert rig.announced()[-1][0] == [a_bar("AAPL", 2), a_bar("TSLA", 2)]
    assert a_bar("TSLA", -1) in list(rig.store.last(Timeframe.MINUTE, [TSLA], 9, NOON + 9 * MINUTE))


def test_when_the_plan_allows_no_more_the_static_list_is_followed_alone() -> None:
    rig = Rig()
    rig.feed.refusals = [Misconfigured("the plan allows fewer symbols")]
    collector = rig.collector()

    async def following() -> tuple[Symbol, ...]:
        return (*SYMBOLS, TSLA)

    collector.tracking = following

    async def story() -> None:
        async with live(collector):
            pass

    asyncio.run(story())

    assert rig.feed.subscribed == [(*SYMBOLS, TSLA), SYMBOLS]


def test_f72_a_symbol_whose_feed_stands_still_is_held_until_it_moves() -> None:
    rig = Rig()
    still = [a_bar("AAPL", minute, close=100, volume=7) for minute in range(10)]

    async def story() -> None:
        async with live(rig.collector()):
            for minute, bar in enumerate(still):
                rig.play(minute, bar)
            await rig.journal.until_batches(10)
            (hold,) = await rig.journal.holds()
            assert (hold.symbol, hold.kind) == (AAPL, Doubt.FROZEN)
            rig.play(10, a_bar("AAPL", 10, close=100, volume=8))
            await rig.journal.until_batches(11)

    asyncio.run(story())

    assert [(h.kind, h.end_reason) for h in rig.journal.held] == [
        (Doubt.FROZEN, "its bars differ again")
    ]


def test_a_symbol_that_is_not_tracked_enters_no_batch() -> None:
    rig = Rig()

    async def story() -> None:
        async with live(rig.collector()):
            rig.feed.push(raw(a_bar("TSLA", 0)))
            rig.play(0, a_bar("AAPL", 0))
            await rig.journal.until_batches(1)

    asyncio.run(story())

    assert rig.announced() == [([a_bar("AAPL", 0)], True)]


def test_live_a_batch_closes_after_its_grace_time_without_any_marker() -> None:
    timer = FakeTimer()
    rig = Rig(timer=timer, grace_s=2.0)
    collector = rig.collector()

    async def story() -> None:
        async with running(collector):
            await until_live(collector)
            rig.clock.set(NOON + MINUTE)
            rig.feed.push(raw(a_bar("AAPL", 0)))
            await rig.journal.until_batches(0)
            while collector.figures.bars_stored == 0:
                await timer.advance(2.0)
                await asyncio.to_thread(lambda: None)
            await rig.journal.until_batches(1)

    asyncio.run(story())

    assert rig.announced() == [([a_bar("AAPL", 0)], True)]


def test_live_an_instant_that_has_just_ended_waits_for_all_its_bars_after_a_reconnect() -> None:
    timer = FakeTimer()
    rig = Rig(timer=timer, grace_s=2.0, clock=FakeClock(NOON + MINUTE))
    rig.history.bars = [a_bar("AAPL", 0)]
    collector = rig.collector()

    async def story() -> None:
        async with running(collector):
            await until_live(collector)
            assert rig.announced() == []
            rig.feed.push(raw(a_bar("MSFT", 0)))
            await rig.journal.until_batches(1)

    asyncio.run(story())

    assert rig.announced() == [([a_bar("AAPL", 0), a_bar("MSFT", 0)], True)]


def test_it_is_ready_only_while_it_follows_the_feed() -> None:
    rig = Rig()
    rig.feed.refusals = [Unavailable("no")]
    collector = rig.collector()
    assert collector.figures.state is FeedState.CONNECTING

    async def story() -> None:
        assert not await collector.is_live()
        async with running(collector):
            await until_live(collector)

    asyncio.run(story())


# ---------------------------------------------------------------- jobs


def jobs_of(
    rig: Rig, *more: ScriptedHistory, actions: ScriptedActions | None = None
) -> CollectionJobs:
    return CollectionJobs(
        [rig.history, *more],
        rig.store,
        rig.journal,
        a_calendar(),
        rig.clock,
        rig.timer,
        CountingIds(),
        actions or ScriptedActions(),
        rig.store.actions,
        rig.newest,
    )


async def ended(jobs: CollectionJobs, rig: Rig, job: Job) -> Job:
    task = asyncio.create_task(jobs.run())
    try:
        return await rig.journal.until_ended(job.job_id)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


RANGE = Range((AAPL,), Timeframe.MINUTE, NOON, NOON + 5 * MINUTE)


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


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "missing setting TRADING_SYMBOLS"),
        ({"TRADING_SYMBOLS": "AAPL"}, "ALPACA_DATA_API_KEY"),
        (
            {
                "TRADING_SYMBOLS": "AAPL",
                "TRADING_TIMEFRAME": "5Min",
                "ALPACA_DATA_API_KEY": "k",
                "ALPACA_DATA_SECRET_KEY": "s",
            },
            "the live stream has no 5Min bars",
        ),
    ],
)
def test_a_missing_or_impossible_setting_ends_in_one_sentence(
    changes: dict[str, str], sentence: str
) -> None:
    settings = load_settings({"DB_PASSWORD": "x", **changes})

    with pytest.raises(Misconfigured, match=sentence):
        asyncio.run(run(settings))


def test_times_of_these_tests_lie_inside_a_session() -> None:
    assert a_calendar().session_at(NOON) is not None
    assert datetime(2026, 1, 15, 15, 0, tzinfo=UTC) == NOON
