"""What is wrong with a bar or a series stays out of batches, and holds its symbol where that must be looked at."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import orjson

from data_collector.boundary import RawBar
from data_collector.ports import Doubt
from data_collector.testing import (
    ScriptedActions,
    raw,
)
from services.data_collector.tests.rigs import (
    AAPL,
    MINUTE,
    RANGE,
    Rig,
    a_morning_after_a_split,
    ended,
    jobs_of,
    live,
    quiet_minutes,
)
from shared.domain.corporate_actions import Split
from shared.domain.timeframes import Timeframe
from shared.testing.bar_stores import NOON, a_bar


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
