"""The timekeeper: what runs, when, how often, and what a failure leaves behind."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal

import pytest

from scheduler.jobs import Job, catalogue, likely
from scheduler.runs import Figures, Pause, RunState
from scheduler.service import Nudge, Timekeeper
from scheduler.testing import (
    FakePeers,
    FakeUpkeep,
    FakeViews,
    a_week_in_march,
    fake_actions,
)
from services.scheduler.tests.rooms import MIDNIGHT, Room, begun, states, utc
from shared.domain.errors import Rejected, Unavailable
from shared.testing.time import CountingIds, FakeClock, FakeTimer, settle


def test_a_whole_day_runs_each_job_once_in_the_days_order() -> None:
    async def scenario() -> None:
        room = Room()
        timekeeper = await begun(room)
        # Every minute from midnight to midnight, as a free-running clock would be seen.
        await room.look_at(timekeeper, *(MIDNIGHT + timedelta(minutes=m) for m in range(24 * 60)))

        ran = [(run.job_id, run.state.value) for run in room.store.rows.values()]
        assert ran == [
            ("market_data_catch_up", "DONE"),
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


def test_after_a_clock_that_ran_days_ahead_was_set_back_jobs_are_due_again() -> None:
    async def scenario() -> None:
        room = Room()
        timekeeper = await begun(room)
        await room.look_at(timekeeper, utc(12, 23), utc(2, 14), utc(2, 14, 20))

        assert states(room.of("reconcile")) == [("MISSED", 8), ("DONE", 1)]

    asyncio.run(scenario())


def test_a_scheduler_started_after_its_clock_was_set_back_waits_for_no_lost_days() -> None:
    async def scenario() -> None:
        room = Room()
        await room.look_at(await begun(room), utc(12, 23))
        room.clock.set(utc(2, 14))
        second = room.timekeeper()
        await second.begin()
        await second.look("second")
        # As if it had been down when the next job was due.
        room.clock.set(utc(2, 14, 25))
        third = room.timekeeper()
        await third.begin()
        await third.look("third")

        assert states(room.of("reconcile")) == [("MISSED", 8), ("DONE", 1)]

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
        timekeeper = await begun(room)
        await room.look_at(timekeeper, utc(2, 14, 20))

        [run] = room.of("reconcile")
        assert (run.state, run.figures) == (RunState.DONE, {"differences": 0})
        assert room.timer.slept == [1.0, 2.0]

    asyncio.run(scenario())


def test_a_beating_job_that_a_person_asked_for_is_tried_once_since_it_comes_again_by_itself() -> (
    None
):
    async def scenario() -> None:
        down = Unavailable("the trade executor does not answer; is it running?")
        room = Room(peers=FakePeers(failures=[down] * 4))
        timekeeper = await begun(room)
        now = utc(2, 15, 0)
        await room.store.request("ask-1", "check_hours", date(2026, 3, 2), now, "ann")
        await timekeeper.look("me")

        [asked] = room.of("check_hours")
        assert (asked.state, asked.detail) == (RunState.FAILED, str(down))
        assert room.peers.calls == ["check_hours"]
        assert room.timer.slept == []

    asyncio.run(scenario())


def test_all_tries_of_a_job_together_hold_the_queue_no_longer_than_its_own_time() -> None:
    async def scenario() -> tuple[RunState, float, int]:
        room = Room()
        tries = 0

        async def hangs(_on: date) -> Figures:
            nonlocal tries
            tries += 1
            # A call that gets no answer.
            await room.timer.sleep(40.0)
            raise Unavailable("the trade executor does not answer; is it running?")

        timekeeper = await begun(room)
        timekeeper.jobs["reconcile"] = replace(timekeeper.jobs["reconcile"], work=hangs)
        await room.look_at(timekeeper, utc(2, 14, 20))
        return room.of("reconcile")[0].state, room.timer.monotonic_s(), tries

    state, held_s, tries = asyncio.run(scenario())
    assert state is RunState.FAILED
    assert (held_s, tries) == (123.0, 3)


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
        # Whoever reads the list of jobs sees what was done, not only that it was.
        assert room.of("vacuum")[0].detail == "tables 40, dead_rows_before 7"

    asyncio.run(scenario())


def test_a_backup_in_a_replay_says_that_nothing_was_kept() -> None:
    async def scenario() -> None:
        room = Room()
        calendar, upkeep = a_week_in_march(), FakeUpkeep()
        actions = fake_actions(
            room.peers, room.views, room.store, calendar, room.clock, upkeep=upkeep, is_replay=True
        )
        timekeeper = Timekeeper(
            catalogue(actions), room.store, calendar, room.clock, room.timer, CountingIds()
        )
        await timekeeper.begin()
        await room.look_at(timekeeper, utc(3, 3, 1))

        [run] = room.of("backup")
        assert (run.state, run.detail) == (
            RunState.DONE,
            "kept nothing: a replay is not backed up",
        )
        assert "back_up" not in upkeep.done

    asyncio.run(scenario())


def test_a_report_holds_the_days_figures_and_its_profit() -> None:
    async def scenario() -> None:
        room = Room()
        room.views.counts = replace(room.views.counts, paid_in=Decimal(250))
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
            "paid_in": "250",
            "pnl": "750",
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
