"""Tests of request budgets: never more than allowed in any window, whoever asks and whatever restarts."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_collector.budgets import Limits, Spent, Wait, block, spend
from data_collector.paying import StoredBudget
from data_collector.testing import MemoryBudgets
from shared.domain.errors import InvalidInput, RateLimited
from shared.testing.time import FakeClock, FakeTimer, settle

NOON = datetime(2026, 1, 15, 15, 0, tzinfo=UTC)
FREE_PLAN = Limits(8, 60, 800)


@given(
    asked=st.lists(st.tuples(st.integers(1, 8), st.integers(0, 90_000)), min_size=1, max_size=60)
)
def test_no_window_ever_holds_more_than_its_limit(asked: list[tuple[int, int]]) -> None:
    spent, now = Spent(), NOON
    granted: list[tuple[datetime, int]] = []
    for cost, pause_ms in asked:
        now += timedelta(milliseconds=pause_ms)
        after = spend(spent, FREE_PLAN, cost, now)
        if not isinstance(after, Wait):
            spent = after
            granted.append((now, cost))

    for at, _ in granted:
        inside = [c for when, c in granted if at <= when < at + timedelta(seconds=60)]
        assert sum(inside) <= 8


@given(asked=st.lists(st.integers(1, 8), min_size=1, max_size=40))
def test_whoever_waits_as_long_as_told_is_let_through(asked: list[int]) -> None:
    spent, now = Spent(), NOON
    for cost in asked:
        after = spend(spent, FREE_PLAN, cost, now)
        if isinstance(after, Wait):
            assert after.until_at > now
            now = after.until_at
            after = spend(spent, FREE_PLAN, cost, now)
        assert isinstance(after, Spent)
        spent = after


def test_the_day_is_counted_until_midnight_utc() -> None:
    spent = Spent(day_on=date(2026, 1, 15), day_used=795)

    answer = spend(spent, FREE_PLAN, 6, NOON)

    assert answer == Wait(datetime(2026, 1, 16, tzinfo=UTC), "795 of 800 of the day are used")
    tomorrow = spend(spent, FREE_PLAN, 6, datetime(2026, 1, 16, tzinfo=UTC))
    assert isinstance(tomorrow, Spent)
    assert tomorrow.day_used == 6


def test_a_pause_that_the_provider_asked_for_holds_everybody_and_a_shorter_one_does_not_end_it() -> (
    None
):
    until = NOON + timedelta(seconds=50)
    spent = block(block(Spent(), until, "429"), NOON + timedelta(seconds=5), "again")

    assert spend(spent, FREE_PLAN, 1, NOON) == Wait(until, "429")
    assert isinstance(spend(spent, FREE_PLAN, 1, until), Spent)


def test_a_request_that_can_never_fit_is_refused_with_the_figures() -> None:
    with pytest.raises(InvalidInput, match="a request of 9 can never go out: at most 8"):
        spend(Spent(), FREE_PLAN, 9, NOON)


def test_a_clock_that_was_set_back_holds_a_budget_no_longer_than_its_window() -> None:
    after = spend(Spent(), FREE_PLAN, 8, NOON + timedelta(days=2))
    assert isinstance(after, Spent)

    assert isinstance(spend(after, FREE_PLAN, 8, NOON), Spent)


class Rig:
    """Two processes that share one stored budget."""

    def __init__(self) -> None:
        self.clock, self.timer, self.stored = FakeClock(NOON), FakeTimer(), MemoryBudgets()
        self.one, self.two = self._process(), self._process()

    def _process(self) -> StoredBudget:
        return StoredBudget("td", FREE_PLAN, self.stored, self.clock, self.timer)


def test_two_processes_share_a_budget_and_the_one_that_waits_shows_why_and_until_when() -> None:
    rig = Rig()

    async def story() -> None:
        await rig.one.spend(8, "bars of AAPL")
        waiting = asyncio.create_task(rig.two.spend(1, "bars of MSFT"))
        await settle()
        (shown,) = (await rig.two.state()).waiting
        assert (shown.what, shown.why) == ("bars of MSFT", "8 of 8 of the last 60 s are used")
        assert shown.until_at == NOON + timedelta(seconds=61)
        rig.clock.advance(61.0)
        await rig.timer.advance(61.0)
        await waiting
        assert (await rig.one.state()).waiting == ()
        assert (await rig.one.state()).used_today == 9

    asyncio.run(story())


def test_a_restart_forgets_nothing() -> None:
    rig = Rig()

    async def story() -> None:
        await rig.one.spend(8, "bars")
        again = StoredBudget("td", FREE_PLAN, rig.stored, rig.clock, rig.timer)
        assert (await again.state()).used_in_window == 8

    asyncio.run(story())


def test_a_wait_till_tomorrow_sends_the_caller_elsewhere() -> None:
    rig = Rig()
    rig.stored.spent["td"] = Spent(day_on=NOON.date(), day_used=800)

    with pytest.raises(RateLimited, match="800 of 800 of the day") as caught:
        asyncio.run(rig.one.spend(1, "bars"))

    assert caught.value.pause_s == 9 * 3600


def test_a_caller_that_gives_up_is_no_longer_shown_as_waiting() -> None:
    rig = Rig()

    async def story() -> None:
        await rig.one.spend(8, "bars")
        waiting = asyncio.create_task(rig.one.spend(1, "more bars"))
        await settle()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert (await rig.one.state()).waiting == ()

    asyncio.run(story())
