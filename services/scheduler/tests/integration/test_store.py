"""What every job store keeps to: the one in memory that unit tests use, and PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, date, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.backlog import Backlog, Missed
from scheduler.ports import JobStore
from scheduler.runs import Heartbeat, Pause, RunKind, RunState, ServiceHealth
from scheduler.schedules import Occurrence
from scheduler.store import PostgresJobStore
from scheduler.testing import MemoryJobStore
from shared.adapters.clocks import MonotonicTimer
from shared.adapters.postgres import open_database
from shared.domain.errors import Rejected, Unavailable
from shared.testing.time import FakeTimer
from trader.testing.servers import SettingsFor

NOW = datetime(2026, 3, 5, 15, 0, tzinfo=UTC)
DAY = date(2026, 3, 5)
Scenario = Callable[[JobStore], Awaitable[None]]
Run = Callable[[Scenario], None]


@pytest.fixture(params=["memory", "postgres"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a scenario on a fresh store of either kind."""
    if request.param == "memory":
        return lambda scenario: asyncio.run(scenario(MemoryJobStore()))  # type: ignore[arg-type]  # an Awaitable made by async def
    settings_for: SettingsFor = request.getfixturevalue("settings_for")
    account: str = request.getfixturevalue("account")

    def on_postgres(scenario: Scenario) -> None:
        async def main() -> None:
            timer = MonotonicTimer()
            settings = settings_for("scheduler")
            async with open_database(settings, timer, application="test") as database:
                await scenario(PostgresJobStore(database, account, timer))

        asyncio.run(main())

    return on_postgres


def due(minutes: int, worth: int = 60) -> Occurrence:
    """An occurrence due so many minutes before NOW, worth running for so many more."""
    due_at = NOW - timedelta(minutes=minutes)
    return Occurrence(DAY, due_at, due_at + timedelta(minutes=worth))


def test_a_job_is_known_from_its_first_start_on_and_keeps_its_place(run: Run) -> None:
    async def scenario(store: JobStore) -> None:
        assert await store.begin(["a"], NOW) == {"a": NOW}
        await store.settle("a", Backlog(None, None), NOW + timedelta(hours=1))

        later = NOW + timedelta(hours=2)
        assert await store.begin(["a", "b"], later) == {"a": NOW + timedelta(hours=1), "b": later}

    run(scenario)


def test_a_job_is_considered_up_to_where_a_clock_was_set_back_to(run: Run) -> None:
    async def scenario(store: JobStore) -> None:
        await store.begin(["a"], NOW)
        await store.settle("a", Backlog(None, None), NOW - timedelta(hours=1))

        assert await store.begin(["a"], NOW) == {"a": NOW - timedelta(hours=1)}

    run(scenario)


def test_the_same_due_time_is_queued_once(run: Run) -> None:
    async def scenario(store: JobStore) -> None:
        await store.begin(["a"], NOW)
        for _ in range(2):
            await store.settle("a", Backlog(due(5), None), NOW)

        [queued] = await store.runs("a", None, 10)
        assert (queued.state, queued.kind, queued.session_on) == (
            RunState.QUEUED,
            RunKind.SCHEDULED,
            DAY,
        )
        assert (queued.due_at, queued.until_at) == (due(5).due_at, due(5).until_at)

    run(scenario)


def test_missed_occurrences_are_one_row_with_their_number(run: Run) -> None:
    async def scenario(store: JobStore) -> None:
        await store.begin(["a"], NOW)
        await store.settle("a", Backlog(due(5), Missed(due(90), due(70), 7)), NOW)

        [_, missed] = await store.runs("a", None, 10)
        assert (missed.state, missed.occurrences) == (RunState.MISSED, 7)
        assert (missed.first_due_at, missed.due_at) == (due(90).due_at, due(70).due_at)
        assert (await store.histories())["a"].missed == 7

    run(scenario)


def test_runs_are_taken_in_the_order_in_which_they_were_queued(run: Run) -> None:
    async def scenario(store: JobStore) -> None:
        await store.begin(["a", "b"], NOW)
        await store.settle("b", Backlog(due(5), None), NOW)
        await store.request("ask-1", "a", DAY, NOW, "operate")

        taken = [await store.take("me", NOW)]
        assert taken[0] is not None
        assert (taken[0].job_id, taken[0].state, taken[0].started_at) == (
            "b",
            RunState.RUNNING,
            NOW,
        )
        await store.finish(taken[0], RunState.DONE, NOW, 0.5, "", {"n": 1})
        second = await store.take("me", NOW)
        assert second is not None
        assert second.run_id == "ask-1"
        await store.finish(second, RunState.FAILED, NOW, 0.5, "no", {})
        assert await store.take("me", NOW) is None

    run(scenario)


def test_a_run_whose_taking_was_never_heard_of_is_given_to_the_same_runner_again(
    run: Run,
) -> None:
    async def scenario(store: JobStore) -> None:
        await store.begin(["a"], NOW)
        await store.request("ask-1", "a", DAY, NOW, "operate")
        await store.request("ask-2", "a", DAY, NOW, "operate")
        first = await store.take("me", NOW)

        again = await store.take("me", NOW)
        other = await store.take("somebody else", NOW)
        assert first is not None
        assert again is not None
        assert other is not None
        assert (first.run_id, again.run_id, other.run_id) == ("ask-1", "ask-1", "ask-2")

    run(scenario)


def test_a_queued_run_that_became_too_late_is_missed_instead_of_taken(run: Run) -> None:
    async def scenario(store: JobStore) -> None:
        await store.begin(["a"], NOW)
        await store.settle("a", Backlog(due(5, worth=10), None), NOW)

        assert await store.take("me", NOW + timedelta(minutes=5)) is None
        [run_] = await store.runs("a", None, 10)
        assert run_.state is RunState.MISSED

    run(scenario)


def test_a_manual_run_never_becomes_too_late(run: Run) -> None:
    async def scenario(store: JobStore) -> None:
        await store.begin(["a"], NOW)
        await store.request("ask-1", "a", DAY, NOW, "operate")

        assert await store.take("me", NOW + timedelta(days=30)) is not None

    run(scenario)


def test_the_end_of_a_run_is_stored_once(run: Run) -> None:
    async def scenario(store: JobStore) -> None:
        await store.begin(["a"], NOW)
        await store.request("ask-1", "a", DAY, NOW, "operate")
        taken = await store.take("me", NOW)
        assert taken is not None
        await store.finish(taken, RunState.DONE, NOW, 0.25, "", {"equity": "1.5", "n": [1]})
        await store.finish(taken, RunState.FAILED, NOW, 9.0, "late news", {})

        ended = await store.run("ask-1")
        assert ended is not None
        assert (ended.state, ended.duration_s, ended.figures) == (
            RunState.DONE,
            0.25,
            {"equity": "1.5", "n": [1]},
        )
        last = (await store.histories())["a"].last
        assert last == ended

    run(scenario)


def test_a_new_beginning_ends_what_was_running_as_interrupted(run: Run) -> None:
    async def scenario(store: JobStore) -> None:
        await store.begin(["a"], NOW)
        await store.request("ask-1", "a", DAY, NOW, "operate")
        taken = await store.take("me", NOW)
        assert taken is not None
        await store.begin(["a"], NOW)

        await store.finish(taken, RunState.DONE, NOW, 0.25, "", {})
        found = await store.run("ask-1")
        assert found is not None
        assert found.state is RunState.INTERRUPTED
        assert await store.take("another", NOW) is None

    run(scenario)


def test_asking_twice_under_one_id_is_one_run(run: Run) -> None:
    async def scenario(store: JobStore) -> None:
        await store.begin(["a"], NOW)
        first, is_new = await store.request("ask-1", "a", DAY, NOW, "operate")
        again, is_new_again = await store.request("ask-1", "a", DAY, NOW, "admin")

        assert (is_new, is_new_again) == (True, False)
        assert again == first
        assert len(await store.runs("a", None, 10)) == 1

    run(scenario)


def test_a_full_queue_refuses_a_new_run_and_still_knows_an_old_one(run: Run) -> None:
    async def scenario(store: JobStore) -> None:
        await store.begin(["a"], NOW)
        for n in range(20):
            await store.request(f"ask-{n}", "a", DAY, NOW, "operate")

        with pytest.raises(Rejected, match="20 runs are queued already"):
            await store.request("ask-20", "a", DAY, NOW, "operate")
        _, is_new = await store.request("ask-7", "a", DAY, NOW, "operate")
        assert not is_new

    run(scenario)


def test_runs_are_listed_newest_first_before_a_number(run: Run) -> None:
    async def scenario(store: JobStore) -> None:
        await store.begin(["a", "b"], NOW)
        for n in range(4):
            await store.request(f"ask-{n}", "a" if n != 1 else "b", DAY, NOW, "operate")

        first = await store.runs("a", None, 2)
        rest = await store.runs("a", first[-1].number, 2)
        assert [r.run_id for r in [*first, *rest]] == ["ask-3", "ask-2", "ask-0"]
        assert await store.run("ask-9") is None

    run(scenario)


def test_a_pause_keeps_its_first_words_until_it_is_ended(run: Run) -> None:
    async def scenario(store: JobStore) -> None:
        await store.begin(["a", "b"], NOW)
        first = Pause(NOW, "operate", "repairs")
        await store.pause("a", first)
        await store.pause("a", Pause(NOW + timedelta(hours=1), "admin", "other words"))

        assert await store.paused() == {"a": first}
        histories = await store.histories()
        assert (histories["a"].pause, histories["b"].pause) == (first, None)
        await store.pause("a", None)
        assert await store.paused() == {}

    run(scenario)


def test_what_a_service_uses_is_kept_with_its_health(run: Run) -> None:
    async def scenario(store: JobStore) -> None:
        busy = ServiceHealth("x", True, True, {}, 0.1, "", 0.25, 64_000_000)
        await store.record_health([busy], NOW)

        assert [stored.health for stored in await store.health()] == [busy]

    run(scenario)


def test_the_latest_heartbeat_replaces_the_one_before(run: Run) -> None:
    async def scenario(store: JobStore) -> None:
        await store.begin(["a"], NOW)
        assert await store.heartbeats() == {}
        await store.beat(Heartbeat("a", NOW, RunState.DONE, 0.5, ""))
        latest = Heartbeat("a", NOW, RunState.FAILED, 0.75, "no answer")
        await store.beat(latest)

        assert await store.heartbeats() == {"a": latest}

    run(scenario)


def test_since_when_a_service_is_as_it_is_moves_only_when_it_changes(run: Run) -> None:
    async def scenario(store: JobStore) -> None:
        later, latest = NOW + timedelta(minutes=1), NOW + timedelta(minutes=2)
        waits = ServiceHealth("b", True, False, {"redis": False}, 0.5, "waits for redis")
        down = ServiceHealth("b", False, False, {}, None, "does not answer")
        other = ServiceHealth("a", True, True, {}, 0.5, "")
        await store.record_health([waits, other], NOW)
        await store.record_health([waits], later)
        [_, unchanged] = await store.health()
        await store.record_health([down], latest)
        [first, changed] = await store.health()

        assert (unchanged.checked_at, unchanged.since_at) == (later, NOW)
        assert (changed.checked_at, changed.since_at) == (latest, latest)
        assert (first.health, changed.health) == (other, down)

    run(scenario)


def test_accounts_share_a_server_and_never_meet(settings_for: SettingsFor, account: str) -> None:
    async def main() -> None:
        timer = MonotonicTimer()
        async with open_database(settings_for("scheduler"), timer, application="test") as database:
            ours, theirs = (
                PostgresJobStore(database, account, timer),
                PostgresJobStore(database, f"{account}-b", timer),
            )
            await ours.begin(["a"], NOW)
            await ours.request(f"ask-{account}", "a", DAY, NOW, "operate")

            assert await theirs.take("me", NOW) is None
            assert await theirs.run(f"ask-{account}") is None
            assert await theirs.histories() == {}

    asyncio.run(main())


def test_only_one_scheduler_of_an_account_runs_and_the_next_takes_over(
    settings_for: SettingsFor, account: str
) -> None:
    async def main() -> None:
        timer, waiting = MonotonicTimer(), FakeTimer()
        async with AsyncExitStack() as stack:
            one, two = [
                await stack.enter_async_context(
                    open_database(settings_for("scheduler"), timer, application=name)
                )
                for name in ("one", "two")
            ]
            first = PostgresJobStore(one, account, timer)
            second = PostgresJobStore(two, account, waiting)
            took_over = asyncio.Event()

            async def take_over() -> None:
                async with second.alone() as prove_alone:
                    await prove_alone()
                    took_over.set()

            async with first.alone() as prove_alone:
                task = asyncio.create_task(take_over())
                while waiting.sleeping == 0:
                    await timer.sleep(0.01)
                await prove_alone()
                assert not took_over.is_set()
            await waiting.advance(1.0)
            await asyncio.wait_for(task, 10)

    asyncio.run(main())


def test_a_scheduler_whose_lock_is_gone_learns_of_it(
    settings_for: SettingsFor, account: str
) -> None:
    async def main() -> None:
        timer = MonotonicTimer()
        async with (
            open_database(settings_for("scheduler"), timer, application=account) as database,
            open_database(settings_for("scheduler"), timer, application="killer") as killer,
            PostgresJobStore(database, account, timer).alone() as prove_alone,
        ):
            await prove_alone()
            await killer.run(
                lambda connection: connection.execute(
                    text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE application_name = :name"
                    ),
                    {"name": account},
                )
            )
            with pytest.raises(Unavailable, match="lock is lost"):
                await prove_alone()

    asyncio.run(main())


@pytest.mark.parametrize(
    "statement", ["DELETE FROM scheduler.job_runs", "DELETE FROM scheduler.jobs"]
)
def test_the_scheduler_itself_cannot_delete_what_has_run(
    settings_for: SettingsFor, statement: str
) -> None:
    async def main() -> None:
        timer = MonotonicTimer()
        async with open_database(settings_for("scheduler"), timer, application="test") as database:
            with pytest.raises(DBAPIError, match="permission denied"):
                await database.run(lambda connection: connection.execute(text(statement)))

    asyncio.run(main())


def test_other_services_read_the_views_and_no_table(settings_for: SettingsFor) -> None:
    async def main() -> None:
        timer = MonotonicTimer()
        async with open_database(settings_for("operator"), timer, application="test") as database:
            for view in ("v_jobs", "v_job_runs", "v_service_health"):
                reading = text(f"SELECT * FROM scheduler.{view}")
                await database.run(partial(AsyncConnection.execute, statement=reading))
            table = text("SELECT * FROM scheduler.jobs")
            with pytest.raises(DBAPIError, match="permission denied"):
                await database.run(partial(AsyncConnection.execute, statement=table))

    asyncio.run(main())
