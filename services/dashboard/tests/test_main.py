"""How pages come to know that something has happened, and how often they ask."""

from __future__ import annotations

import asyncio

from dashboard.service import LEAST_GAP_S, Feed, keep_showing
from dashboard.sessions import MOST_SESSIONS, Rights, Sessions
from shared.domain.errors import Unavailable
from shared.messages import BELL_REVIEWS
from shared.testing.bus import CountedBells
from shared.testing.time import CountingIds, FakeTimer, settle


class Source:
    """Something to read that counts how often it was read."""

    def __init__(self) -> None:
        self.reads = 0
        self.broken = False

    async def read(self) -> int:
        self.reads += 1
        await settle()
        if self.broken:
            raise Unavailable("PostgreSQL gave no answer")
        return self.reads


def test_pages_that_ask_in_the_same_moment_share_one_read() -> None:
    async def main() -> tuple[list[int], int]:
        feed, source = Feed(CountedBells(), FakeTimer()), Source()
        got = await asyncio.gather(*(feed.get("orders", source.read) for _ in range(20)))
        return got, source.reads

    assert asyncio.run(main()) == ([1] * 20, 1)


def test_a_read_is_kept_until_something_happens() -> None:
    async def main() -> list[int]:
        feed, source = Feed(CountedBells(), FakeTimer()), Source()
        first = await feed.get("orders", source.read)
        again = await feed.get("orders", source.read)
        feed.wake()
        return [first, again, await feed.get("orders", source.read)]

    assert asyncio.run(main()) == [1, 1, 2]


def test_a_costly_answer_is_kept_for_its_time_whatever_happens() -> None:
    async def main() -> list[int]:
        timer, source = FakeTimer(), Source()
        feed = Feed(CountedBells(), timer)
        answers = [await feed.get("risk", source.read, least_age_s=1.0)]
        for _ in range(3):
            feed.wake()
            await timer.advance(0.4)
            answers.append(await feed.get("risk", source.read, least_age_s=1.0))
        return answers

    assert asyncio.run(main()) == [1, 1, 1, 2]


def test_a_failed_read_is_told_to_all_and_not_kept() -> None:
    async def main() -> tuple[list[object], int]:
        feed, source = Feed(CountedBells(), FakeTimer()), Source()
        source.broken = True
        failed = await asyncio.gather(
            *(feed.get("orders", source.read) for _ in range(3)), return_exceptions=True
        )
        source.broken = False
        return [type(each) for each in failed], await feed.get("orders", source.read)

    assert asyncio.run(main()) == ([Unavailable] * 3, 2)


def test_a_page_that_leaves_does_not_take_the_read_of_the_others_with_it() -> None:
    async def main() -> int:
        feed, source = Feed(CountedBells(), FakeTimer()), Source()
        leaving = asyncio.create_task(feed.get("orders", source.read))
        staying = asyncio.create_task(feed.get("orders", source.read))
        await asyncio.sleep(0)  # noqa: TID251  # let both ask before one leaves
        leaving.cancel()
        return await staying

    assert asyncio.run(main()) == 1


def test_a_storm_of_bells_wakes_pages_no_more_often_than_people_read() -> None:
    async def main() -> int:
        timer, bells = FakeTimer(), CountedBells()
        feed = Feed(bells, timer)
        task = asyncio.create_task(feed.follow())
        await settle()
        for _ in range(100):
            await bells.ring(BELL_REVIEWS)
            await timer.advance(LEAST_GAP_S / 10)
        task.cancel()
        return feed.generation

    assert 9 <= asyncio.run(main()) <= 12


def test_a_page_says_why_it_is_out_of_date_and_recovers_by_itself() -> None:
    async def main() -> list[str | None]:
        feed, source, said = Feed(CountedBells(), FakeTimer()), Source(), list[str | None]()
        is_open = True

        async def refresh() -> None:
            await source.read()

        task = asyncio.create_task(keep_showing(feed, refresh, said.append, lambda: is_open))
        for broken in (True, False):
            source.broken = broken
            feed.wake()
            await settle()
            await settle()
        is_open = False
        feed.wake()
        await task
        return said

    said = asyncio.run(main())

    assert said[-2:] == ["PostgreSQL gave no answer", None]


def test_the_newest_login_takes_the_place_of_the_one_used_longest_ago() -> None:
    async def main() -> tuple[bool, bool]:
        timer = FakeTimer()
        sessions = Sessions(timer, CountingIds(), 3600.0)
        first = sessions.begin("token", Rights("read"))
        for _ in range(MOST_SESSIONS):
            await timer.advance(0.1)
            last = sessions.begin("token", Rights("read"))
        return sessions.find(first) is None, sessions.find(last) is None

    assert asyncio.run(main()) == (True, False)
