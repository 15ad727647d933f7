"""Jobs that beat in machine time: health, and the stages of the pipeline, by the market's phases."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import date, datetime, timedelta

import pytest

from scheduler.jobs import BeatingJob, catalogue
from scheduler.pipeline import Screening, Waiting, late_screen, words_of_screen
from scheduler.runs import Pause, RunState, ServiceHealth
from scheduler.service import Timekeeper
from scheduler.testing import (
    FakePeers,
    FakePipeline,
    a_week_in_march,
    fake_actions,
)
from services.scheduler.tests.rooms import MIDNIGHT, Room, heart, utc
from shared.domain.errors import RateLimited, Rejected, TradingError, Unavailable
from shared.testing.time import CountingIds, FakeTimer


def test_health_is_asked_for_in_machine_time_while_the_venues_clock_stands_still() -> None:
    async def scenario() -> None:
        down = ServiceHealth("risk_manager", False, False, {}, None, "does not answer")
        room = Room(peers=FakePeers(found=[down]))
        timer = FakeTimer()
        calendar = a_week_in_march()
        jobs = catalogue(fake_actions(room.peers, room.views, room.store, calendar, room.clock))
        timekeeper = Timekeeper(jobs, room.store, calendar, room.clock, timer, CountingIds())
        job = heart(timekeeper)
        assert timekeeper.next_beat_in_s(job) == 0
        task = asyncio.ensure_future(timekeeper.keep_beating(job))
        await timer.advance(65)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

        assert room.peers.calls == ["health", "budgets"] * 3
        assert timekeeper.next_beat_in_s(job) == pytest.approx(25)
        assert room.store.answers["risk_manager"].health.detail == "does not answer"
        assert room.store.beats["service_health"].state is RunState.DONE
        assert room.store.rows == {}

    asyncio.run(scenario())


def test_since_when_a_service_is_down_survives_further_answers_of_the_same_kind() -> None:
    async def scenario() -> None:
        room = Room(peers=FakePeers(found=[ServiceHealth("x", False, False, {}, None, "")]))
        timekeeper = room.timekeeper()
        job = heart(timekeeper)
        await timekeeper.beat(job)
        room.clock.advance(30)
        await timekeeper.beat(job)

        stored = room.store.answers["x"]
        assert stored.since_at == MIDNIGHT
        assert stored.checked_at == MIDNIGHT + timedelta(seconds=30)

    asyncio.run(scenario())


def test_a_heartbeat_that_cannot_be_stored_does_not_end_the_heart() -> None:
    async def scenario() -> None:
        room = Room()
        room.store.absent = ["beat"]
        timekeeper = room.timekeeper()
        job = heart(timekeeper)
        await timekeeper.beat(job)
        await timekeeper.beat(job)

        assert room.store.beats.keys() == {"service_health"}

    asyncio.run(scenario())


def test_a_service_that_is_just_starting_is_waited_for_and_is_no_failure() -> None:
    async def scenario() -> None:
        stands_by = Unavailable("the trade executor cannot do it now: 503 this process stands by")
        room = Room(peers=FakePeers(failures=[stands_by] * 3))
        timekeeper = room.timekeeper()
        await timekeeper.beat(heart(timekeeper, "portfolio_sync"))

        beat = room.store.beats["portfolio_sync"]
        assert (beat.state, beat.detail) == (RunState.DONE, "differences 0")
        assert room.timer.slept == [1.0, 2.0, 4.0]

    asyncio.run(scenario())


def test_a_service_that_stands_by_for_a_minute_fails_the_job_that_needs_it() -> None:
    async def scenario() -> None:
        stands_by = Unavailable("the trade executor cannot do it now: 503 this process stands by")
        room = Room(peers=FakePeers(failures=[stands_by] * 100))
        timekeeper = room.timekeeper()
        await timekeeper.beat(heart(timekeeper, "portfolio_sync"))

        beat = room.store.beats["portfolio_sync"]
        assert (beat.state, beat.detail) == (RunState.FAILED, str(stands_by))
        assert 50 < sum(room.timer.slept) <= 60

    asyncio.run(scenario())


def test_only_the_first_beat_waits_for_whom_it_asks() -> None:
    async def scenario() -> None:
        room = Room(peers=FakePeers())
        timekeeper = room.timekeeper()
        await timekeeper.beat(heart(timekeeper, "portfolio_sync"))
        room.peers.failures.append(Unavailable("the trade executor does not answer"))
        await timekeeper.beat(heart(timekeeper, "portfolio_sync"))

        assert room.store.beats["portfolio_sync"].state is RunState.FAILED
        assert room.timer.slept == []

    asyncio.run(scenario())


@pytest.mark.parametrize("no", [Rejected("no"), RateLimited("the venue", 30.0)])
def test_a_definite_no_and_a_wish_for_a_pause_fail_a_beat_at_once(no: TradingError) -> None:
    async def scenario() -> None:
        room = Room(peers=FakePeers(failures=[no]))
        timekeeper = room.timekeeper()
        await timekeeper.beat(heart(timekeeper, "portfolio_sync"))

        assert room.store.beats["portfolio_sync"].state is RunState.FAILED
        assert room.timer.slept == []

    asyncio.run(scenario())


def test_clock_and_calendar_are_compared_at_start_and_again_but_never_in_a_replay() -> None:
    async def scenario(*, is_replay: bool) -> tuple[list[str], str]:
        room, timer, calendar = Room(), FakeTimer(), a_week_in_march()
        room.clock.set(utc(2, 15, 0))
        actions = fake_actions(
            room.peers, room.views, room.store, calendar, room.clock, is_replay=is_replay
        )
        timekeeper = Timekeeper(
            catalogue(actions), room.store, calendar, room.clock, timer, CountingIds()
        )
        task = asyncio.ensure_future(timekeeper.keep_beating(heart(timekeeper, "check_hours")))
        await timer.advance(1_000)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return room.peers.calls, room.store.beats["check_hours"].detail

    assert asyncio.run(scenario(is_replay=False)) == (
        ["check_hours"] * 2,
        "sessions 21, agree True",
    )
    assert asyncio.run(scenario(is_replay=True)) == (
        [],
        "compared nothing: the time of a replay is the venue's own",
    )


@pytest.mark.parametrize(
    ("now", "awake"),
    [
        (utc(2, 8, 59), set[str]()),
        (utc(2, 9, 0), {"check_hours"}),
        (
            utc(2, 14, 30),
            {"check_hours", "screens", "price_updates", "strategy_evaluation", "risk_checks"},
        ),
        (
            utc(2, 20, 50),
            {"check_hours", "screens", "price_updates", "strategy_evaluation", "risk_checks"},
        ),
        (utc(2, 21, 0), {"price_updates", "strategy_evaluation", "risk_checks"}),
        (utc(3, 1, 0), set[str]()),
        (utc(4, 15, 0), set[str]()),
    ],
    ids=["night", "pre", "open", "close", "after", "evening", "holiday"],
)
def test_the_markets_phases_start_and_stop_the_work(now: datetime, awake: set[str]) -> None:
    async def scenario() -> set[str]:
        room = Room()
        room.clock.set(now)
        timekeeper = room.timekeeper()
        beating = [job for job in timekeeper.jobs.values() if isinstance(job, BeatingJob)]
        return {job.job_id for job in beating if await timekeeper.is_awake(job)}

    # Health is asked for at any time, and what may be open at the broker is compared around the session too.
    always = {"service_health"} | ({"portfolio_sync"} if awake else set())
    assert asyncio.run(scenario()) == awake | always


def test_a_job_begins_with_its_phase_though_its_pause_is_longer() -> None:
    async def scenario() -> list[bool]:
        room, timer = Room(), FakeTimer()
        room.clock.set(utc(2, 14, 29))
        calendar = a_week_in_march()
        jobs = catalogue(fake_actions(room.peers, room.views, room.store, calendar, room.clock))
        timekeeper = Timekeeper(jobs, room.store, calendar, room.clock, timer, CountingIds())
        task = asyncio.ensure_future(timekeeper.keep_beating(heart(timekeeper, "risk_checks")))
        found = []
        await timer.advance(5)
        found.append("risk_checks" in room.store.beats)
        room.clock.set(utc(2, 14, 30))
        await timer.advance(2)
        found.append("risk_checks" in room.store.beats)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return found

    assert asyncio.run(scenario()) == [False, True]


def test_screens_are_looked_after_in_the_venues_time_however_fast_it_passes() -> None:
    async def scenario() -> tuple[list[datetime], list[datetime | None]]:
        room, timer = Room(), FakeTimer()
        room.clock.set(utc(2, 14, 30))
        calendar = a_week_in_march()
        jobs = catalogue(fake_actions(room.peers, room.views, room.store, calendar, room.clock))
        timekeeper = Timekeeper(jobs, room.store, calendar, room.clock, timer, CountingIds())
        job = heart(timekeeper, "screens")
        task = asyncio.ensure_future(timekeeper.keep_beating(job))
        looked, due = [], []
        for minute in (30, 33, 35, 50):
            room.clock.set(utc(2, 14, minute))
            await timer.advance(1.5)
            looked.append(room.store.beats["screens"].at)
            due.append(timekeeper.next_due_at(job))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return looked, due

    looked, due = asyncio.run(scenario())

    assert looked == [utc(2, 14, 30), utc(2, 14, 30), utc(2, 14, 35), utc(2, 14, 50)]
    assert due == [utc(2, 14, 35), utc(2, 14, 35), utc(2, 14, 40), utc(2, 14, 55)]


def test_a_job_that_rests_is_next_due_when_one_of_its_phases_begins() -> None:
    room = Room()
    timekeeper = room.timekeeper()
    due = {}
    for now in (utc(2, 15, 0), utc(2, 21, 30), utc(4, 15, 0)):
        room.clock.set(now)
        due[now] = [
            timekeeper.next_due_at(heart(timekeeper, job_id))
            for job_id in ("service_health", "portfolio_sync", "price_updates", "screens")
        ]

    assert due == {
        utc(2, 15, 0): [None, None, None, utc(2, 15, 0)],
        utc(2, 21, 30): [None, None, None, utc(3, 14, 30)],
        utc(4, 15, 0): [None, utc(5, 9, 0), utc(5, 14, 30), utc(5, 14, 30)],
    }


def a_screening(outcome: str, detail: str = "") -> Screening:
    return Screening("small_caps", utc(2, 15, 25), outcome, utc(2, 15, 25), 3, 0.25, detail)


@pytest.mark.parametrize(
    ("screening", "newest_at", "said"),
    [
        (None, None, None),
        (a_screening("off", "no key"), None, None),
        (a_screening("taken"), utc(2, 15, 25), None),
        (a_screening("failed", "a page"), utc(2, 15, 20), None),
        (a_screening("failed", "a page"), None, "no screen yet: a page"),
        (
            a_screening("failed", "a page"),
            utc(2, 15, 5),
            "no screen since 2026-03-02T15:05:00+00:00: a page",
        ),
        (
            a_screening("taken"),
            utc(2, 15, 5),
            "no screen since 2026-03-02T15:05:00+00:00: the data collector is behind",
        ),
    ],
)
def test_screens_that_stay_away_are_complained_of_where_any_are_taken(
    screening: Screening | None, newest_at: datetime | None, said: str | None
) -> None:
    state = replace(FakePipeline().now, screening=screening, newest_screen_at=newest_at)

    assert late_screen(state, a_week_in_march(), utc(2, 15, 30)) == said


def test_the_job_says_how_the_newest_screen_went() -> None:
    assert [
        words_of_screen(each)
        for each in (
            None,
            a_screening("off", "no key"),
            a_screening("taken"),
            a_screening("failed", "no"),
        )
    ] == [
        {"screen": "none was due yet"},
        {"screen": "no key"},
        {
            "screen": "small_caps",
            "due": "2026-03-02T15:25:00+00:00",
            "symbols": 3,
            "took_s": 0.25,
        },
        {"screen": "small_caps", "due": "2026-03-02T15:25:00+00:00", "failed": "no"},
    ]


def test_a_paused_job_does_not_beat_and_a_store_that_is_away_lets_none_beat() -> None:
    async def scenario() -> list[bool]:
        room = Room()
        room.clock.set(utc(2, 15, 0))
        timekeeper = room.timekeeper()
        job = heart(timekeeper, "risk_checks")
        await room.store.pause("risk_checks", Pause(MIDNIGHT, "operate", "noisy"))
        paused = await timekeeper.is_awake(job)
        await room.store.pause("risk_checks", None)
        room.store.absent = ["paused"]
        return [paused, await timekeeper.is_awake(job), await timekeeper.is_awake(job)]

    assert asyncio.run(scenario()) == [False, False, True]


def test_bars_that_stay_away_are_asked_for_once_wherever_they_stopped_and_never_in_a_replay() -> (
    None
):
    async def scenario(*, is_replay: bool) -> list[str]:
        room = Room()
        room.clock.set(utc(2, 15, 30))
        actions = fake_actions(
            room.peers, room.views, room.store, a_week_in_march(), room.clock, is_replay=is_replay
        )
        said = []
        for _ in range(2):
            with pytest.raises(Rejected) as late:
                await actions.price_updates(date(2026, 3, 2))
            said.append(str(late.value))
        asked = room.peers.calls.count("ask_for_bars")
        return [said[0].partition(": ")[0], said[0].partition("; ")[2], said[1], str(asked)]

    late = "1Min bars are late: the newest ended at 2026-03-02T15:00:00+00:00"
    asked = "the data collector was asked to catch up"
    assert asyncio.run(scenario(is_replay=False)) == ["1Min bars are late", asked, late, "1"]
    assert asyncio.run(scenario(is_replay=True)) == ["1Min bars are late", "", late, "0"]


def test_a_stage_that_lets_messages_wait_fails_its_watching_job_in_a_sentence() -> None:
    async def scenario() -> list[str]:
        room = Room()
        room.clock.set(utc(2, 15, 2))
        pipeline = FakePipeline()
        waiting = Waiting(3, utc(2, 15, 0))
        pipeline.now = replace(
            pipeline.now,
            waiting=dict.fromkeys(pipeline.now.waiting, waiting),
        )
        actions = fake_actions(
            room.peers, room.views, room.store, a_week_in_march(), room.clock, pipeline=pipeline
        )
        said = []
        for work in (actions.strategy_evaluation, actions.risk_checks, actions.portfolio_sync):
            with pytest.raises(Rejected) as behind:
                await work(date(2026, 3, 2))
            said.append(str(behind.value))
        return said

    words = "is behind: 3 messages wait, the oldest for 120 s"
    assert asyncio.run(scenario()) == [
        f"the strategy engine {words}",
        f"the risk manager {words}",
        f"the trade executor {words}",
    ]
