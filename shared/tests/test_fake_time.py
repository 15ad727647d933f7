"""The fakes by which tests move time behave as the real ports do."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest

from shared.domain.errors import InvalidTime
from shared.testing.time import CountingIds, FakeClock, FakeTimer, InstantTimer, settle

AT = datetime(2026, 3, 2, 14, 30, tzinfo=UTC)


def test_a_fake_clock_stands_still_until_it_is_moved() -> None:
    clock = FakeClock(AT)
    assert clock.now() == clock.now() == AT
    clock.advance(1.5)
    clock.advance(timedelta(minutes=1))
    assert clock.now() == AT + timedelta(seconds=61.5)
    clock.set(AT)
    assert clock.now() == AT


def test_a_fake_clock_speaks_utc_and_takes_no_naive_time() -> None:
    clock = FakeClock(AT.astimezone(timezone(timedelta(hours=-5))))
    assert clock.now().tzinfo is UTC
    with pytest.raises(InvalidTime):
        clock.set(datetime(2026, 3, 2))  # noqa: DTZ001  # what is tested


def test_sleepers_wake_in_the_order_of_their_instants_each_at_its_own() -> None:
    async def scenario() -> None:
        timer, woken = FakeTimer(), list[tuple[str, float]]()

        async def sleeper(name: str, *pauses: float) -> None:
            for pause_s in pauses:
                await timer.sleep(pause_s)
                woken.append((name, timer.monotonic_s()))

        tasks = [
            asyncio.ensure_future(sleeper("a", 1, 1, 1)),
            asyncio.ensure_future(sleeper("b", 2.5)),
        ]
        await timer.advance(2)
        assert woken == [("a", 1), ("a", 2)]
        assert timer.sleeping == 2
        await timer.advance(5)
        assert woken == [("a", 1), ("a", 2), ("b", 2.5), ("a", 3)]
        assert timer.monotonic_s() == 7
        await asyncio.gather(*tasks)

    asyncio.run(scenario())


def test_nobody_wakes_before_the_test_says_so_and_a_cancelled_sleeper_never() -> None:
    async def scenario() -> None:
        timer = FakeTimer()
        task = asyncio.ensure_future(timer.sleep(1))
        await settle()
        assert timer.sleeping == 1
        task.cancel()
        await settle()
        assert timer.sleeping == 0
        await timer.advance(10)
        assert task.cancelled()

    asyncio.run(scenario())


def test_an_instant_timer_lets_sleeps_pass_and_remembers_them() -> None:
    async def scenario() -> None:
        timer = InstantTimer()
        await timer.sleep(2)
        await timer.sleep(0.5)
        assert (timer.slept, timer.monotonic_s()) == ([2, 0.5], 2.5)

    asyncio.run(scenario())


def test_counting_ids_can_be_foretold() -> None:
    ids = CountingIds()
    assert [ids.new(), ids.new()] == ["id-1", "id-2"]
