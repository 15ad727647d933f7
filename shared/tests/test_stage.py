"""How a stage keeps going: it works, waits for a bell, and waits out what may pass."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from shared.domain.errors import RateLimited, Unavailable
from shared.stage import keep_working
from shared.testing.time import InstantTimer


class NoMoreBells(Exception):
    """Ends the endless loop of a test."""


@dataclass
class CountedEar:
    """An `Ear` that hears `bells` bells, then ends the test."""

    bells: int
    waits: list[float] = field(default_factory=list)

    async def wait(self, timeout_s: float) -> bool:
        self.waits.append(timeout_s)
        if len(self.waits) > self.bells:
            raise NoMoreBells
        return True


@dataclass
class Work:
    """Does what the script says: True (more to do), False (nothing left) or an error to raise."""

    script: Sequence[bool | Exception]
    done: int = 0

    async def __call__(self) -> bool:
        step = self.script[self.done]
        self.done += 1
        if isinstance(step, Exception):
            raise step
        return step


def run(work: Work, ear: CountedEar, timer: InstantTimer) -> None:
    with pytest.raises(NoMoreBells):
        asyncio.run(keep_working("test", work, ear, timer, poll_s=0.25))


def test_a_stage_works_until_nothing_is_left_and_then_waits_for_a_bell_or_the_poll() -> None:
    work, ear = Work([True, True, False, False]), CountedEar(1)

    run(work, ear, InstantTimer())

    assert work.done == 4
    assert ear.waits == [0.25, 0.25]


def test_what_may_pass_is_waited_out_with_growing_bounded_pauses_and_without_a_bell() -> None:
    gone = Unavailable("PostgreSQL gave no answer")
    work, ear, timer = Work([gone] * 7 + [False]), CountedEar(0), InstantTimer()

    run(work, ear, timer)

    assert timer.slept == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    assert len(ear.waits) == 1


def test_a_venue_that_names_a_pause_is_given_exactly_that() -> None:
    work, timer = Work([RateLimited("Alpaca", 7.5), False]), InstantTimer()

    run(work, CountedEar(0), timer)

    assert timer.slept == [7.5]


def test_after_a_success_the_pauses_start_small_again() -> None:
    gone = Unavailable("x")
    work, timer = Work([gone, gone, False, gone, False]), InstantTimer()

    run(work, CountedEar(1), timer)

    assert timer.slept == [0.1, 0.2, 0.1]


def test_anything_else_ends_the_stage() -> None:
    work = Work([ZeroDivisionError()])

    with pytest.raises(ZeroDivisionError):
        asyncio.run(keep_working("test", work, CountedEar(0), InstantTimer()))
