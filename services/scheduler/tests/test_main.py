"""The timekeeper: what runs, when, how often, and what a failure leaves behind."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta

import pytest

from scheduler.jobs import BeatingJob, Job, catalogue, likely
from scheduler.pipeline import Waiting
from scheduler.runs import Figures, Pause, Run, RunState, ServiceHealth
from scheduler.service import Nudge, Timekeeper
from scheduler.testing import (
    FakePeers,
    FakePipeline,
    FakeUpkeep,
    FakeViews,
    MemoryJobStore,
    a_week_in_march,
    fake_actions,
)
from shared.domain.errors import Rejected, Unavailable
from shared.testing.time import CountingIds, FakeClock, FakeTimer, InstantTimer, settle

MIDNIGHT = datetime(2026, 3, 2, 5, 0, tzinfo=UTC)


def utc(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 3, day, hour, minute, tzinfo=UTC)


@dataclass
class Room:
    """A scheduler with everything around it, at New York midnight of 2026-03-02."""

    clock: FakeClock = field(default_factory=lambda: FakeClock(MIDNIGHT))
    timer: InstantTimer = field(default_factory=InstantTimer)
    store: MemoryJobStore = field(default_factory=MemoryJobStore)
    peers: FakePeers = field(default_factory=FakePeers)
    views: FakeViews = field(default_factory=FakeViews)

    def timekeeper(self) -> Timekeeper:
        calendar = a_week_in_march()
        actions = fake_actions(self.peers, self.views, self.store, calendar, self.clock)
        jobs = catalogue(actions)
        return Timekeeper(jobs, self.store, calendar, self.clock, self.timer, CountingIds())

    async def look_at(self, timekeeper: Timekeeper, *instants: datetime) -> None:
        for at in instants:
            self.clock.set(at)
            await timekeeper.look("me")

    def of(self, job_id: str) -> list[Run]:
        return [run for run in self.store.rows.values() if run.job_id == job_id]


async def begun(room: Room) -> Timekeeper:
    timekeeper = room.timekeeper()
    await timekeeper.begin()
    return timekeeper


def heart(timekeeper: Timekeeper, job_id: str = "service_health") -> BeatingJob:
    job = timekeeper.jobs[job_id]
    assert isinstance(job, BeatingJob)
    return job


def states(runs: list[Run]) -> list[tuple[str, int]]:
    return [(run.state.value, run.occurrences) for run in runs]


def test_a_whole_day_runs_each_job_once_in_the_days_order() -> None:
    async def scenario() -> None:
        room = Room()
        timekeeper = await begun(room)
        # Every minute from midnight to midnight, as a free-running clock would be seen.
        await room.look_at(timekeeper, *(MIDNIGHT + timedelta(minutes=m) for m in range(24 * 60)))

        ran = [(run.job_id, run.state.value) for run in room.store.rows.values()]
        assert ran == [
            ("market_data_catch_up", "DONE"),
            ("check_hours", "DONE"),
            ("reconcile", "DONE"),
            ("portfolio_snapshot", "DONE"),
            ("daily_performance", "DONE"),
            ("end_of_day_report", "DONE"),
            ("cross_check", "DONE"),
            ("compact_history", "DONE"),
            ("bar_retention", "DONE"),
            ("log_retention", "DONE"),
            ("vacuum", "DONE"),
            ("backup", "DONE"),
        ]

    asyncio.run(scenario())


def test_a_job_new_to_the_store_has_missed_nothing() -> None:
    async def scenario() -> None:
        room = Room(clock=FakeClock(utc(12, 23)))
        timekeeper = await begun(room)
        await timekeeper.look("me")

        assert room.store.rows == {}

    asyncio.run(scenario())


def test_a_clock_that_jumps_over_days_runs_the_newest_and_leaves_one_missed_record_per_job() -> (
    None
):
    async def scenario() -> None:
        room = Room()
        timekeeper = await begun(room)
        await room.look_at(timekeeper, utc(11, 22))

        assert states(room.of("end_of_day_report")) == [("MISSED", 6), ("DONE", 1)]
        assert states(room.of("portfolio_snapshot")) == [("MISSED", 6), ("DONE", 1)]
        # Before the open of the 11th has long passed, so nothing of these is worth running.
        assert states(room.of("reconcile")) == [("MISSED", 7)]
        assert "reconcile" not in room.peers.calls

    asyncio.run(scenario())


def test_what_was_missed_in_one_jump_is_not_counted_again_in_the_next() -> None:
    async def scenario() -> None:
        room = Room()
        timekeeper = await begun(room)
        await room.look_at(timekeeper, utc(5, 22), utc(10, 22))

        assert states(room.of("reconcile")) == [("MISSED", 3), ("MISSED", 3)]

    asyncio.run(scenario())


def test_a_replay_that_jumps_from_close_to_open_misses_what_belongs_in_between() -> None:
    async def scenario() -> None:
        room = Room()
        timekeeper = await begun(room)
        await room.look_at(timekeeper, utc(2, 14, 30), utc(2, 21), utc(3, 14, 30))

        assert states(room.of("portfolio_snapshot")) == [("MISSED", 1)]
        assert states(room.of("end_of_day_report")) == [("DONE", 1)]
        assert room.views.asked == [date(2026, 3, 2)]

    asyncio.run(scenario())


def test_a_second_look_at_the_same_instant_runs_nothing_twice() -> None:
    async def scenario() -> None:
        room = Room()
        timekeeper = await begun(room)
        await room.look_at(timekeeper, utc(2, 14, 20), utc(2, 14, 20))

        assert room.peers.calls.count("reconcile") == 1

    asyncio.run(scenario())


def test_a_clock_that_steps_back_repeats_nothing() -> None:
    async def scenario() -> None:
        room = Room()
        timekeeper = await begun(room)
        await room.look_at(timekeeper, utc(2, 14, 20), utc(2, 13), utc(2, 14, 20))

        assert room.peers.calls.count("reconcile") == 1

    asyncio.run(scenario())


def test_a_scheduler_started_anew_takes_up_where_the_last_one_stopped() -> None:
    async def scenario() -> None:
        room = Room()
        await begun(room)
        room.clock.set(utc(2, 14, 25))
        second = room.timekeeper()
        await second.begin()
        await second.look("second")

        assert states(room.of("reconcile")) == [("DONE", 1)]

    asyncio.run(scenario())


def test_a_run_that_a_crash_cut_off_is_shown_as_interrupted_and_not_repeated() -> None:
    async def scenario() -> None:
        room = Room()
        timekeeper = await begun(room)
        run, _ = await room.store.request(
            "ask-1", "reconcile", date(2026, 3, 2), MIDNIGHT, "operate"
        )
        await room.store.take("me", MIDNIGHT)
        second = room.timekeeper()
        await second.begin()
        await second.look("second")

        assert room.store.rows[run.run_id].state is RunState.INTERRUPTED
        assert room.peers.calls == []
        assert timekeeper.jobs.keys() == second.jobs.keys()

    asyncio.run(scenario())


def test_a_run_that_was_queued_before_a_crash_and_came_too_late_is_missed() -> None:
    async def scenario() -> None:
        room = Room()
        timekeeper = await begun(room)
        room.store.absent = ["take"]
        with pytest.raises(Unavailable):
            await room.look_at(timekeeper, utc(2, 14, 21))
        second = await begun(room)
        await room.look_at(second, utc(2, 14, 40))

        assert states(room.of("reconcile")) == [("MISSED", 1)]
        assert "reconcile" not in room.peers.calls

    asyncio.run(scenario())


def test_what_may_pass_by_itself_is_tried_again_with_growing_pauses() -> None:
    async def scenario() -> None:
        room = Room(peers=FakePeers(failures=[Unavailable("down"), Unavailable("down")]))
        room.store.considered["market_data_catch_up"] = utc(2, 14, 20)
        room.store.considered["check_hours"] = utc(2, 14, 20)
        timekeeper = await begun(room)
        await room.look_at(timekeeper, utc(2, 14, 20))

        [run] = room.of("reconcile")
        assert (run.state, run.figures) == (RunState.DONE, {"differences": 0})
        assert room.timer.slept == [1.0, 2.0]

    asyncio.run(scenario())


def test_a_job_that_never_gets_an_answer_fails_with_the_reason_and_the_next_one_runs() -> None:
    async def scenario() -> None:
        down = Unavailable("the data collector does not answer; is it running?")
        room = Room(peers=FakePeers(failures=[down] * 4))
        timekeeper = await begun(room)
        await room.look_at(timekeeper, utc(2, 14, 20))

        [catch_up], [reconcile] = room.of("market_data_catch_up"), room.of("reconcile")
        assert (catch_up.state, catch_up.detail) == (RunState.FAILED, str(down))
        assert reconcile.state is RunState.DONE

    asyncio.run(scenario())


def test_a_job_is_not_tried_again_once_it_is_too_late_for_it() -> None:
    @dataclass
    class SlowPeers(FakePeers):
        clock: FakeClock = field(default_factory=FakeClock)

        async def reconcile(self) -> Figures:
            self.clock.set(utc(2, 14, 30))
            return await super().reconcile()

    async def scenario() -> None:
        clock = FakeClock(MIDNIGHT)
        room = Room(clock=clock, peers=SlowPeers(failures=[Unavailable("down")] * 2, clock=clock))
        room.store.considered["market_data_catch_up"] = utc(2, 14, 20)
        room.store.considered["check_hours"] = utc(2, 14, 20)
        timekeeper = await begun(room)
        await room.look_at(timekeeper, utc(2, 14, 20))

        assert room.peers.calls == ["reconcile"]
        assert states(room.of("reconcile")) == [("FAILED", 1)]

    asyncio.run(scenario())


def test_a_definite_no_is_not_tried_again() -> None:
    async def scenario() -> None:
        room = Room(peers=FakePeers(failures=[Rejected("no")]))
        timekeeper = await begun(room)
        await room.look_at(timekeeper, utc(2, 13, 30))

        assert room.peers.calls == ["catch_up"]
        assert room.of("market_data_catch_up")[0].state is RunState.FAILED

    asyncio.run(scenario())


def test_a_job_that_breaks_is_recorded_and_stops_no_other() -> None:
    async def scenario() -> None:
        async def break_down(_on: date) -> dict[str, object]:
            raise ZeroDivisionError

        room = Room()
        calendar = a_week_in_march()
        broken = Job("broken", "Breaks.", break_down)
        timekeeper = Timekeeper(
            [broken], room.store, calendar, room.clock, room.timer, CountingIds()
        )
        await timekeeper.begin()
        await room.store.request("ask-1", "broken", date(2026, 3, 2), MIDNIGHT, "operate")
        await room.store.request("ask-2", "gone", date(2026, 3, 2), MIDNIGHT, "operate")
        await timekeeper.look("me")

        assert room.store.rows["ask-1"].detail == "broke: ZeroDivisionError; see the log"
        assert room.store.rows["ask-2"].detail == "this build has no such job"

    asyncio.run(scenario())


def test_the_end_of_a_run_is_stored_even_when_the_database_is_away_for_a_moment() -> None:
    async def scenario() -> None:
        room = Room()
        timekeeper = await begun(room)
        room.store.absent = ["finish", "finish", "finish"]
        await room.look_at(timekeeper, utc(2, 13, 30))

        assert states(room.of("market_data_catch_up")) == [("DONE", 1)]

    asyncio.run(scenario())


def test_the_loop_outlives_a_lost_database_and_takes_up_the_queue() -> None:
    async def scenario() -> None:
        room = Room()
        timer = FakeTimer()
        calendar = a_week_in_march()
        jobs = catalogue(fake_actions(room.peers, room.views, room.store, calendar, room.clock))
        timekeeper = Timekeeper(jobs, room.store, calendar, room.clock, timer, CountingIds())
        room.store.absent = ["begin"]
        task = asyncio.ensure_future(timekeeper.keep_time())
        await settle()
        assert room.store.considered == {}
        await timer.advance(0.5)
        room.store.absent = ["alone"]
        room.clock.set(utc(2, 14, 25))
        await timer.advance(5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

        assert states(room.of("reconcile")) == [("DONE", 1)]

    asyncio.run(scenario())


def test_a_nudge_makes_the_loop_look_before_its_next_second() -> None:
    async def scenario() -> None:
        room = Room()
        timer = FakeTimer()
        calendar = a_week_in_march()
        jobs = catalogue(fake_actions(room.peers, room.views, room.store, calendar, room.clock))
        timekeeper = Timekeeper(jobs, room.store, calendar, room.clock, timer, CountingIds())
        task = asyncio.ensure_future(timekeeper.keep_time())
        await settle()
        await room.store.request("ask-1", "reconcile", date(2026, 3, 2), MIDNIGHT, "operate")
        timekeeper.nudge.ask()
        await settle()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

        assert room.store.rows["ask-1"].state is RunState.DONE
        assert timer.monotonic_s() == 0

    asyncio.run(scenario())


def test_one_nudge_is_one_look() -> None:
    async def scenario() -> None:
        timer = FakeTimer()
        nudge = Nudge(timer)
        nudge.ask()
        await nudge.wait(1.0)
        assert timer.monotonic_s() == 0
        again = asyncio.ensure_future(nudge.wait(1.0))
        await settle()
        assert not again.done()
        await timer.advance(1.0)
        assert again.done()

    asyncio.run(scenario())


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


@pytest.mark.parametrize(
    ("now", "awake"),
    [
        (utc(2, 8, 59), set[str]()),
        (utc(2, 9, 0), {"portfolio_sync"}),
        (utc(2, 14, 30), {"screens", "price_updates", "strategy_evaluation", "risk_checks"}),
        (utc(2, 20, 50), {"screens", "price_updates", "strategy_evaluation", "risk_checks"}),
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


def test_the_nights_upkeep_is_keyed_by_its_due_time_and_its_outcome_is_kept() -> None:
    async def scenario() -> None:
        room = Room()
        upkeep = FakeUpkeep()
        jobs = catalogue(
            fake_actions(
                room.peers, room.views, room.store, a_week_in_march(), room.clock, upkeep=upkeep
            )
        )
        timekeeper = Timekeeper(
            jobs, room.store, a_week_in_march(), room.clock, room.timer, CountingIds()
        )
        await timekeeper.begin()
        # Half past nine and ten in the evening in New York, each looked at twice.
        await room.look_at(timekeeper, utc(3, 2, 31), utc(3, 2, 32), utc(3, 3, 1), utc(3, 3, 2))

        assert upkeep.done == ["forget_logs", "vacuum", "back_up"]
        assert room.peers.calls.count("retention") == 1
        for job_id in ("bar_retention", "log_retention", "vacuum", "backup"):
            assert states(room.of(job_id)) == [("DONE", 1)]
        assert room.of("vacuum")[0].figures == {"tables": 40, "dead_rows_before": 7}

    asyncio.run(scenario())


def test_a_report_holds_the_days_figures_and_its_profit() -> None:
    async def scenario() -> None:
        room = Room()
        actions = fake_actions(room.peers, room.views, room.store, a_week_in_march(), room.clock)

        figures = await actions.end_of_day_report(date(2026, 3, 2))

        assert figures == {
            "session_on": "2026-03-02",
            "signals": 5,
            "approved": 2,
            "refused": 3,
            "refused_by_code": {"DRAWDOWN": 3},
            "orders": 2,
            "fills": 4,
            "fees": "1.25",
            "equity": "100000",
            "pnl": "1000",
        }

    asyncio.run(scenario())


def test_a_snapshot_of_no_account_waits_for_one_instead_of_storing_zeros() -> None:
    async def scenario() -> None:
        room = Room(views=FakeViews(held=None))
        actions = fake_actions(room.peers, room.views, room.store, a_week_in_march(), room.clock)

        with pytest.raises(Unavailable, match="has not adopted an account"):
            await actions.portfolio_snapshot(date(2026, 3, 2))

    asyncio.run(scenario())


def test_a_snapshot_holds_exact_money_as_text() -> None:
    async def scenario() -> None:
        room = Room()
        actions = fake_actions(room.peers, room.views, room.store, a_week_in_march(), room.clock)

        figures = await actions.portfolio_snapshot(date(2026, 3, 2))

        assert figures["cash"] == "90000.5"
        assert figures["positions"] == {"GOOG": "10"}

    asyncio.run(scenario())


def test_an_unknown_job_is_answered_with_the_likeliest_one() -> None:
    jobs = Room().timekeeper().jobs

    assert likely("reconsile", jobs) == "there is no job 'reconsile'; did you mean reconcile?"
    assert "choose one of service_health" in likely("x", jobs)


def test_what_comes_due_while_a_job_is_paused_is_missed_and_a_person_may_still_ask_for_it() -> None:
    async def scenario() -> None:
        room = Room()
        timekeeper = await begun(room)
        await room.store.pause("reconcile", Pause(MIDNIGHT, "operate", "books are repaired"))
        await room.look_at(timekeeper, utc(2, 14, 21), utc(3, 14, 21))
        assert states(room.of("reconcile")) == [("MISSED", 1), ("MISSED", 1)]

        await room.store.request("by hand", "reconcile", date(2026, 3, 3), utc(3, 15), "operate")
        await room.look_at(timekeeper, utc(3, 15))
        await room.store.pause("reconcile", None)
        await room.look_at(timekeeper, utc(5, 14, 21))

        assert states(room.of("reconcile"))[2:] == [("DONE", 1), ("DONE", 1)]

    asyncio.run(scenario())
