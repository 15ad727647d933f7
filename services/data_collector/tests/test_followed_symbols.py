"""Whose bars are followed, and whose enter a batch."""

from __future__ import annotations

import asyncio

from data_collector.testing import (
    raw,
)
from services.data_collector.tests.rigs import (
    MINUTE,
    SYMBOLS,
    TSLA,
    Rig,
    live,
)
from shared.domain.errors import Misconfigured
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.testing.bar_stores import NOON, a_bar


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


def test_a_symbol_that_is_not_tracked_enters_no_batch() -> None:
    rig = Rig()

    async def story() -> None:
        async with live(rig.collector()):
            rig.feed.push(raw(a_bar("TSLA", 0)))
            rig.play(0, a_bar("AAPL", 0))
            await rig.journal.until_batches(1)

    asyncio.run(story())

    assert rig.announced() == [([a_bar("AAPL", 0)], True)]
