"""A step of a replay is over when everybody is at rest and the books agree, and not before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from shared.domain.errors import Unavailable
from shared.ports import Ear
from shared.testing.time import InstantTimer
from trader.replay.conductor import Conductor, Stalled
from trader.replay.rest import BookLine, Phase, Progress, Step, difference, unfinished

NOON = datetime(2026, 1, 5, 17, 0, tzinfo=UTC)
AT_REST = Progress("READY", 0, NOON, 7, 7, 7, 7, 3, 3, 9, 9)
FILLED = BookLine("filled", Decimal(10), 2)


def a_step(phase: Phase = Phase.CLOSE) -> Step:
    return Step(1, phase, NOON, NOON, finished=False)


def test_a_step_is_over_when_every_stage_is_at_rest() -> None:
    assert unfinished(a_step(), AT_REST) is None


@pytest.mark.parametrize(
    ("behind", "who"),
    [
        ({"strategy_position": 6}, "strategy_engine"),
        ({"risk_position": 6}, "risk_manager"),
        ({"manual_position": 2}, "manual order"),
        ({"executor_position": 8}, "trade_executor"),
        ({"executor_state": "RECONCILING"}, "trade_executor is RECONCILING"),
        ({"executor_state": ""}, "trade_executor is not there"),
        ({"pending_work": 1}, "1 orders in work"),
        ({"newest_batch_end_at": NOON - timedelta(minutes=1)}, "data_collector"),
        ({"newest_batch_end_at": None}, "data_collector"),
    ],
)
def test_whoever_is_behind_is_named(behind: dict[str, object], who: str) -> None:
    assert who in str(unfinished(a_step(), replace(AT_REST, **behind)))  # type: ignore[arg-type]


def test_a_screen_that_is_due_is_waited_for_until_it_was_attempted() -> None:
    before = replace(AT_REST, screen_due_at=NOON - timedelta(minutes=5))

    assert "screen" in str(unfinished(a_step(Phase.OPEN), AT_REST, NOON))
    assert "screen" in str(unfinished(a_step(Phase.OPEN), before, NOON))
    assert unfinished(a_step(Phase.OPEN), replace(AT_REST, screen_due_at=NOON), NOON) is None
    assert unfinished(a_step(Phase.OPEN), before, None) is None


def test_only_a_close_waits_for_bars() -> None:
    none_yet = replace(AT_REST, newest_batch_end_at=None, batch_head=0)
    assert unfinished(a_step(Phase.OPEN), none_yet) is None
    assert unfinished(a_step(Phase.FILL), none_yet) is None


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"a": BookLine("partially_filled", Decimal(10), 2)},
        {"a": BookLine("filled", Decimal(9), 2)},
        {"a": BookLine("filled", Decimal(10), 1)},
    ],
)
def test_an_order_stored_otherwise_than_booked_is_a_difference(stored: dict[str, BookLine]) -> None:
    assert "order a" in str(difference({"a": FILLED}, stored))


def test_equal_books_do_not_differ() -> None:
    assert difference({"a": FILLED}, {"a": FILLED, "older": FILLED}) is None


@dataclass
class ScriptedVenue:
    """Advances at once; its book changes as the test says."""

    changed: list[dict[str, BookLine]]
    down_for: int = 0
    advanced: list[int] = field(default_factory=list)

    async def advance(self, number: int) -> Step:
        if self.down_for > 0:
            self.down_for -= 1
            raise Unavailable("the simulator gave no answer")
        self.advanced.append(number)
        return a_step()

    async def changes(self, after: int) -> tuple[int, dict[str, BookLine]]:
        merged: dict[str, BookLine] = {}
        for change in self.changed[after:]:
            merged |= change
        return len(self.changed), merged


@dataclass
class ScriptedTruth:
    """Answers from lists, the last answer for ever; `on_look` may change the world meanwhile."""

    progresses: list[Progress]
    books: list[dict[str, BookLine]]
    on_look: Callable[[int], None] = lambda _: None
    looks: int = 0

    async def progress(self, venue_at: datetime) -> Progress:
        self.looks += 1
        self.on_look(self.looks)
        return self.progresses.pop(0) if len(self.progresses) > 1 else self.progresses[0]

    async def orders(self, ids: Sequence[str]) -> dict[str, BookLine]:
        return self.books.pop(0) if len(self.books) > 1 else self.books[0]


@dataclass
class SilentBells:
    """Nobody rings; waiting costs the time waited for."""

    timer: InstantTimer
    rung: list[str] = field(default_factory=list)

    async def ring(self, *names: str) -> None:
        self.rung += names

    @asynccontextmanager
    async def listen(self, *_names: str) -> AsyncIterator[Ear]:
        yield self

    async def wait(self, timeout_s: float) -> bool:
        await self.timer.sleep(timeout_s)
        return False


def conduct(venue: ScriptedVenue, truth: ScriptedTruth, *, stall_s: float = 60.0) -> Step:
    timer = InstantTimer()
    bells = SilentBells(timer)
    conductor = Conductor(venue, truth, bells, bells, timer, stall_s=stall_s)
    return asyncio.run(conductor.step(1))


def test_a_fill_that_is_not_booked_yet_is_waited_for() -> None:
    truth = ScriptedTruth([AT_REST], [{}, {"a": BookLine("new", Decimal(0), 0)}, {"a": FILLED}])
    conduct(ScriptedVenue([{"a": FILLED}]), truth)
    assert truth.books == [{"a": FILLED}]


def test_work_that_follows_from_booking_a_fill_is_waited_for() -> None:
    venue = ScriptedVenue([{"entry": FILLED}])

    def protect(look: int) -> None:
        if look == 2:
            venue.changed.append({"stop": BookLine("new", Decimal(0), 0)})

    truth = ScriptedTruth(
        [AT_REST, replace(AT_REST, pending_work=1), AT_REST],
        [{"entry": FILLED}, {"stop": BookLine("new", Decimal(0), 0)}],
        on_look=protect,
    )
    conduct(venue, truth)
    assert truth.looks >= 3
    assert truth.books == [{"stop": BookLine("new", Decimal(0), 0)}]


def test_a_simulator_that_is_just_restarting_is_asked_again() -> None:
    venue = ScriptedVenue([], down_for=3)
    conduct(venue, ScriptedTruth([AT_REST], [{}]))
    assert venue.advanced == [1]


def test_a_stage_that_never_finishes_is_named() -> None:
    stuck = replace(AT_REST, risk_position=1)
    with pytest.raises(Stalled, match="risk_manager has not reviewed"):
        conduct(ScriptedVenue([]), ScriptedTruth([stuck], [{}]), stall_s=1.0)
