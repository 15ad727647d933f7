"""Tests of nightly work: two providers compared, and tasks that run one at a time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from data_collector.cross_check import CrossCheck, Tolerances, compare, tonights
from data_collector.maintenance import Maintenance, Run, RunState, Task
from data_collector.ports import Doubt
from data_collector.testing import MemoryJournal, ScriptedHistory
from shared.domain.bars import Bar
from shared.domain.errors import RateLimited, Unavailable
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.testing.bar_stores import NOON, a_bar, a_block
from shared.testing.calendars import a_calendar
from shared.testing.time import FakeClock

TOLERANCES = Tolerances(close=0.01, range_=0.03, volume_times=500)
AAPL, MSFT, TSLA = Symbol("AAPL"), Symbol("MSFT"), Symbol("TSLA")
MIDNIGHT = NOON.replace(hour=5)


def day(symbol: str, back: int, close: float) -> Bar:
    """The session `back` days before NOON's."""
    begins_at = MIDNIGHT - timedelta(days=back)
    return a_bar(symbol, close=close, timeframe=Timeframe.DAY, begins_at=begins_at)


def checked(
    one: ScriptedHistory, other: ScriptedHistory, journal: MemoryJournal | None = None
) -> tuple[Any, MemoryJournal]:
    journal = journal or MemoryJournal()
    work = CrossCheck(
        [one, other], journal, a_calendar(), FakeClock(NOON), tolerances=TOLERANCES, most=400
    )
    return asyncio.run(work.run([AAPL, MSFT, TSLA])), journal


def test_a_symbol_of_which_two_providers_say_different_things_is_held_with_both_figures() -> None:
    one = ScriptedHistory([day("AAPL", 1, 100), day("AAPL", 2, 90), day("MSFT", 1, 50)], name="one")
    other = ScriptedHistory(
        [day("AAPL", 1, 103), day("AAPL", 2, 90.5), day("MSFT", 1, 50.4)], name="other"
    )

    figures, journal = checked(one, other)

    (hold,) = journal.held
    assert (hold.symbol, hold.kind) == (AAPL, Doubt.DISAGREEMENT)
    assert hold.reason == (
        "close of 2026-01-14: one says 100, other 103, 3.00% apart; "
        "low of 2026-01-14: one says 99, other 102, 3.03% apart"
    )
    assert figures == {
        "providers": ["one", "other"],
        "asked": 3,
        "compared": 2,
        "disagree": 1,
        "symbols": ["AAPL"],
        "known_to_one_only": 1,
        "not_reached": 0,
        "not_reached_symbols": [],
    }


def test_a_symbol_is_let_go_when_they_agree_again_and_not_when_one_knows_nothing() -> None:
    apart = ScriptedHistory([day("AAPL", 1, 100), day("MSFT", 1, 50)])
    _, journal = checked(apart, ScriptedHistory([day("AAPL", 1, 103), day("MSFT", 1, 60)]))

    checked(apart, ScriptedHistory([day("AAPL", 1, 100)]), journal)

    assert [(h.symbol, h.end_reason) for h in journal.held] == [
        (AAPL, "two providers agree again"),
        (MSFT, None),
    ]


def test_the_running_session_is_not_compared() -> None:
    one, other = ScriptedHistory([day("AAPL", 0, 100)]), ScriptedHistory([day("AAPL", 0, 200)])

    figures, journal = checked(one, other)

    assert (figures["compared"], journal.held) == (0, [])


def test_a_symbol_that_one_of_them_does_not_know_spoils_nothing() -> None:
    one = ScriptedHistory([day("AAPL", 1, 100)], unknown=frozenset([TSLA]))

    figures, _ = checked(one, ScriptedHistory([day("AAPL", 1, 100), day("TSLA", 1, 100)]))

    assert figures["compared"] == 1


def test_a_provider_without_an_answer_proves_nothing() -> None:
    journal = MemoryJournal()
    other = ScriptedHistory([day("AAPL", 1, 1)], failures=[Unavailable("it is down")])

    with pytest.raises(Unavailable):
        checked(ScriptedHistory([day("AAPL", 1, 100)]), other, journal)
    assert journal.held == []


def test_one_provider_alone_is_not_checked() -> None:
    work = CrossCheck(
        [ScriptedHistory()],
        MemoryJournal(),
        a_calendar(),
        FakeClock(NOON),
        tolerances=TOLERANCES,
        most=400,
    )

    assert "TWELVE_DATA_API_KEY" in str(asyncio.run(work.run([AAPL]))["skipped"])


def reason_of(one: Bar, other: Bar, tolerances: Tolerances = TOLERANCES) -> str | None:
    """Why two bars of one symbol and session are apart, the same from either side."""
    blocks = [a_block(bar, timeframe=Timeframe.DAY) for bar in (one, other)]
    found = compare(blocks[0], blocks[1], ("one", "other"), tolerances)
    back = compare(blocks[1], blocks[0], ("one", "other"), tolerances)
    assert found.compared == back.compared == {one.symbol}
    assert found.apart.keys() == back.apart.keys()
    return found.apart.get(one.symbol)


@pytest.mark.parametrize(
    ("figure", "within", "beyond"),
    [("close", "100.9", "101.1"), ("open", "102.9", "103.1"), ("high", "108.1", "108.3")],
)
def test_each_price_has_its_own_tolerance(figure: str, within: str, beyond: str) -> None:
    one = replace(day("AAPL", 1, 100), high=Decimal(105), low=Decimal(95))

    def with_figure(text: str) -> Bar:
        changed: dict[str, Any] = {figure: Decimal(text)}
        return replace(one, **changed)

    assert reason_of(one, with_figure(within)) is None
    said = reason_of(one, with_figure(beyond))
    assert said is not None
    assert said.startswith(f"{figure} of 2026-01-14: one says")


def test_a_low_beyond_its_tolerance_is_apart_too() -> None:
    one = replace(day("AAPL", 1, 100), low=Decimal(95))

    assert reason_of(one, replace(one, low=Decimal("92.5"))) is None
    assert "low of 2026-01-14" in str(reason_of(one, replace(one, low=Decimal(92))))


@pytest.mark.parametrize(
    ("mine", "yours", "is_apart"),
    [
        (50_000_000, 600_000, False),  # one venue of many
        (50_000_000, 100_000, False),
        (50_000_000, 99_000, True),  # lots taken for shares, and a tape that hears little
        (50_000_000, 0, True),
        (9_999, 0, False),  # too few to say anything
        (0, 0, False),
    ],
)
def test_volumes_may_differ_as_much_as_tapes_do_and_no_more(
    mine: int, yours: int, is_apart: bool
) -> None:
    one = day("AAPL", 1, 100)

    said = reason_of(replace(one, volume=mine), replace(one, volume=yours))

    assert (said is not None) is is_apart
    if said is not None:
        assert said.startswith(f"volume of 1 sessions: one says {mine}, other {yours}")


def test_the_worst_session_of_a_price_is_the_one_that_is_told() -> None:
    one = a_block(day("AAPL", 1, 100), day("AAPL", 2, 100), timeframe=Timeframe.DAY)
    other = a_block(day("AAPL", 1, 103), day("AAPL", 2, 80), timeframe=Timeframe.DAY)

    said = compare(one, other, ("one", "other"), TOLERANCES).apart[AAPL]

    assert "close of 2026-01-13: one says 100, other 80, 25.00% apart" in said


def test_what_the_budget_does_not_carry_is_told_and_has_its_turn_the_next_night() -> None:
    symbols = [Symbol(f"S{n}") for n in range(5)]
    bars = [day(name, back, 100) for name in symbols for back in (1, 2)]
    reached: set[str] = set()
    for later in range(3):
        clock = FakeClock(NOON + timedelta(days=later))
        histories = [ScriptedHistory(bars, name="one"), ScriptedHistory(bars, name="other")]
        work = CrossCheck(
            histories, MemoryJournal(), a_calendar(), clock, tolerances=TOLERANCES, most=2
        )

        figures: Any = asyncio.run(work.run(symbols))

        assert (figures["asked"], figures["not_reached"]) == (2, 3)
        reached |= set(symbols) - set(figures["not_reached_symbols"])
    assert reached == set(symbols)


def test_a_budget_that_ends_on_the_way_leaves_what_was_compared_and_tells_the_rest() -> None:
    symbols = [Symbol(f"S{n:03}") for n in range(120)]
    bars = [day(name, 1, 100) for name in symbols]
    spoilt = [day(name, 1, 200) for name in symbols]
    used_up = RateLimited("the budget of twelve_data", 3_600)
    one = ScriptedHistory(bars, name="one")
    other = ScriptedHistory(spoilt, name="other", failures=[None, used_up])
    journal = MemoryJournal()
    work = CrossCheck(
        [one, other], journal, a_calendar(), FakeClock(NOON), tolerances=TOLERANCES, most=400
    )

    figures: Any = asyncio.run(work.run(symbols))

    assert (figures["asked"], figures["disagree"], figures["not_reached"]) == (50, 50, 70)
    assert "budget of twelve_data" in figures["ended_by"]
    assert {hold.symbol for hold in journal.held} == set(symbols[:50])


def test_many_symbols_take_turns_night_by_night() -> None:
    symbols = [Symbol(f"S{n}") for n in range(10)]

    seen = [tonights(symbols, night, 4) for night in range(3)]

    assert [len(some) for some in seen] == [4, 4, 4]
    assert {symbol for some in seen for symbol in some} == set(symbols)
    assert tonights(symbols, 7, 10) == sorted(symbols)


async def ended(upkeep: Maintenance, task: Task) -> Run:
    """The run of `task` when it has ended."""
    async with asyncio.timeout(20):
        while True:
            run = upkeep.newest(task)
            if run is not None and run.ended_at is not None:
                return run
            await asyncio.to_thread(lambda: None)


def test_a_task_that_runs_is_not_begun_twice_and_ends_with_its_figures() -> None:
    began: list[str] = []
    clock = FakeClock(NOON)

    async def story() -> None:
        gate = asyncio.Event()

        async def work() -> dict[str, object]:
            began.append("compact")
            await gate.wait()
            return {"files": 3}

        upkeep = Maintenance({Task.COMPACT: work}, clock)
        assert upkeep.newest(Task.COMPACT) is None
        running = asyncio.create_task(upkeep.run())
        upkeep.ask(Task.COMPACT)
        await asyncio.to_thread(lambda: None)
        assert upkeep.ask(Task.COMPACT).state is RunState.RUNNING
        gate.set()
        done = await ended(upkeep, Task.COMPACT)
        assert (done.state, done.figures) == (RunState.DONE, {"files": 3})
        running.cancel()

    asyncio.run(story())
    assert began == ["compact"]


@pytest.mark.parametrize(
    ("error", "said"),
    [(Unavailable("it is down"), "it is down"), (KeyError("x"), "unexpected: KeyError")],
)
def test_a_task_that_fails_says_why_and_the_next_one_runs(error: Exception, said: str) -> None:
    async def story() -> None:
        async def fails() -> dict[str, object]:
            raise error

        async def works() -> dict[str, object]:
            return {}

        upkeep = Maintenance({Task.COMPACT: fails, Task.CROSS_CHECK: works}, FakeClock(NOON))
        running = asyncio.create_task(upkeep.run())
        upkeep.ask(Task.COMPACT)
        upkeep.ask(Task.CROSS_CHECK)
        last = await ended(upkeep, Task.CROSS_CHECK)
        failed = upkeep.newest(Task.COMPACT)
        assert failed is not None
        assert failed.state is RunState.FAILED
        assert said in str(failed.error)
        assert last.state is RunState.DONE
        running.cancel()

    asyncio.run(story())
