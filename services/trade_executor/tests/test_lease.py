"""The lease: one holder at a time, measured on each machine's own timer."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.errors import Unavailable
from shared.testing.time import FakeTimer
from trade_executor.adapters.holder import LocalHolder, this_process
from trade_executor.lease import (
    BEAT_S,
    EXPIRES_S,
    HOLD_S,
    Lease,
    LeaseLost,
    LeaseRow,
    Watch,
    take_lease,
)

ROW = LeaseRow(7, 40, "host:1")


@dataclass
class MemoryLeases:
    """A row that can be away."""

    row: LeaseRow
    is_away: bool = False

    async def look(self) -> LeaseRow | None:
        return self.row

    async def take(self, seen: LeaseRow | None, holder: str) -> int | None:
        if seen != self.row:
            return None
        self.row = LeaseRow(self.row.epoch + 1, 0, holder)
        return self.row.epoch

    async def beat(self, epoch: int) -> bool:
        if self.is_away:
            raise Unavailable("PostgreSQL gave no answer")
        if epoch != self.row.epoch:
            return False
        self.row = replace(self.row, beats=self.row.beats + 1)
        return True

    async def release(self, epoch: int) -> None:
        self.row = replace(self.row, holder=None)


def test_a_lease_that_nobody_holds_may_be_taken_at_once() -> None:
    assert Watch().has_expired(None, 100.0)
    assert Watch().has_expired(replace(ROW, holder=None), 100.0)


def test_a_lease_that_is_counted_up_never_expires() -> None:
    watch = Watch()
    looks = [watch.has_expired(replace(ROW, beats=n), 100 + n * BEAT_S) for n in range(50)]
    assert not any(looks)


def test_a_lease_whose_count_stands_still_expires_after_three_seconds() -> None:
    watch = Watch()
    expired = [watch.has_expired(ROW, 100 + n * BEAT_S) for n in range(8)]
    assert expired == [False] * 6 + [True] * 2


def test_who_did_not_look_for_a_while_begins_to_wait_anew() -> None:
    watch = Watch()
    assert not watch.has_expired(ROW, 100.0)
    assert not watch.has_expired(ROW, 160.0)
    assert not watch.has_expired(ROW, 161.0)


@given(
    pauses=st.lists(st.floats(0.01, 1.5), min_size=1, max_size=60),
    heard=st.floats(0, 5),
    began=st.floats(0, 5),
)
def test_the_holder_has_stopped_believing_before_anybody_takes_over(
    pauses: list[float], heard: float, began: float
) -> None:
    """The last beat was committed at `heard`, asked for no later; a standby looks from then on."""
    watch, now = Watch(), heard + began
    for pause in pauses:
        if watch.has_expired(ROW, now):
            assert now - heard > HOLD_S
            break
        now += pause
    assert EXPIRES_S > HOLD_S


def test_a_holder_without_answers_is_not_sure_but_goes_on_when_the_database_is_back() -> None:
    async def scenario() -> None:
        timer = FakeTimer()
        leases = MemoryLeases(ROW)
        lease = Lease(leases, ROW.epoch, timer, timer.monotonic_s())
        keeping = asyncio.create_task(lease.keep())
        await timer.advance(3 * BEAT_S)
        seen = [lease.is_sure]
        leases.is_away = True
        await timer.advance(HOLD_S)
        seen.append(lease.is_sure)
        leases.is_away = False
        await timer.advance(BEAT_S)
        seen.append(lease.is_sure)
        leases.row = LeaseRow(8, 0, "host:2")
        await timer.advance(BEAT_S)
        seen.append(lease.is_sure)
        assert seen == [True, False, True, False]
        with pytest.raises(LeaseLost):
            await keeping

    asyncio.run(scenario())


def test_a_holder_of_this_machine_that_is_dead_need_not_be_waited_for() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    me = this_process()
    alive = LocalHolder(me.place, os.getpid())
    child.wait()
    dead = LocalHolder(me.place, child.pid)
    elsewhere = LocalHolder("host/another-running/4026531836", child.pid)
    assert me.is_gone(dead.name) == ("/" in me.place)
    assert not me.is_gone(alive.name)
    assert not me.is_gone(elsewhere.name)
    assert not me.is_gone("anything else")

    async def scenario() -> None:
        timer = FakeTimer()
        leases = MemoryLeases(LeaseRow(7, 40, "gone"))
        assert (await take_lease(leases, KnowsTheDead("gone"), timer)).epoch == 8
        assert timer.monotonic_s() == 0

    asyncio.run(scenario())


@dataclass
class KnowsTheDead:
    """A holder that knows of one that it is gone."""

    dead: str
    name: str = "me"

    def is_gone(self, name: str) -> bool:
        return name == self.dead
