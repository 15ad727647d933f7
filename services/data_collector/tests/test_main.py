"""Tests of the collector at work, with scripted feed and history and everything else in memory."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from data_collector.__main__ import run
from data_collector.batches import digest_of
from data_collector.service import FeedState
from data_collector.testing import (
    ScriptedFeed,
    raw,
)
from services.data_collector.tests.rigs import (
    AAPL,
    MINUTE,
    MSFT,
    SYMBOLS,
    Rig,
    live,
    running,
    until_live,
)
from shared.config import load_settings
from shared.domain.errors import Misconfigured, RateLimited, Unavailable
from shared.domain.timeframes import Timeframe
from shared.messages import BELL_BARS
from shared.testing.bar_stores import NOON, a_bar
from shared.testing.calendars import a_calendar
from shared.testing.time import FakeClock, FakeTimer, InstantTimer


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
