"""The outbox of messages and the watch over the services' views, on real PostgreSQL."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text

from scheduler.adapters.happenings import PostgresWatch
from scheduler.adapters.notice_box import PostgresNoticeBox
from scheduler.notices import Happenings, Message
from scheduler.testing import FakePeers
from shared.adapters.clocks import MonotonicTimer
from shared.adapters.postgres import Database, open_database
from shared.domain.notices import Event, Priority
from trader.testing.servers import SettingsFor

NOW = datetime(2026, 3, 4, 17, 0, tzinfo=UTC)


def message(key: str, priority: Priority = Priority.NORMAL, due_at: datetime = NOW) -> Message:
    return Message(Event.STOP_HIT, key, f"title {key}", "text", priority, due_at)


def with_database(settings_for: SettingsFor, service: str, work: Any) -> Any:
    async def main() -> Any:
        settings = settings_for(service)
        async with open_database(settings, MonotonicTimer(), application="test") as database:
            return await work(database)

    return asyncio.run(main())


def test_a_message_is_kept_once_and_handed_on_the_most_urgent_first(
    settings_for: SettingsFor, account: str
) -> None:
    async def work(database: Database) -> Any:
        box = PostgresNoticeBox(database, account)
        kept = [
            await box.keep(message("a"), NOW, is_wanted=True),
            await box.keep(message("a"), NOW, is_wanted=True),
            await box.keep(message("b", Priority.URGENT), NOW, is_wanted=True),
            await box.keep(message("later", due_at=NOW + timedelta(hours=1)), NOW, is_wanted=True),
            await box.keep(message("nobody"), NOW, is_wanted=False),
        ]
        return kept, [each.title for each in await box.due(NOW, 0.0, 10)]

    kept, due = with_database(settings_for, "scheduler", work)

    assert kept == [True, False, True, True, True]
    assert due == ["title b", "title a"]


def test_what_failed_waits_is_counted_and_ends(settings_for: SettingsFor, account: str) -> None:
    async def work(database: Database) -> Any:
        box = PostgresNoticeBox(database, account)
        await box.keep(message("a"), NOW, is_wanted=True)
        first = (await box.due(NOW, 0.0, 10))[0]
        await box.failed(first.number, "no answer", 10.0, is_last=False)
        early = await box.due(NOW, 0.0, 10)
        waiting = await box.undelivered()
        again = (await box.due(NOW, 11.0, 10))[0]
        await box.sent(again.number, NOW)
        return early, waiting, again.tries, await box.undelivered(), await box.due(NOW, 99.0, 10)

    assert with_database(settings_for, "scheduler", work) == ([], 1, 1, 0, [])


def test_a_mode_that_changed_is_seen_and_an_old_one_is_not(
    settings_for: SettingsFor, account: str
) -> None:
    async def halt(database: Database) -> None:
        async def write(connection: Any) -> None:
            for version, mode, previous, at in (
                (1, "ACTIVE", None, NOW - timedelta(days=2)),
                (2, "HALTED", "ACTIVE", NOW),
            ):
                await connection.execute(
                    text(
                        "INSERT INTO risk_manager.modes (account, version, mode, previous, reason, actor, "
                        "restarts_peak, changed_at) VALUES (:a, :v, :m, :p, 'why', 'me', false, :t)"
                    ),
                    {"a": account, "v": version, "m": mode, "p": previous, "t": at},
                )

        await database.run(write)

    async def look(database: Database) -> Happenings:
        watch = PostgresWatch(database, account, FakePeers())
        return await watch.happenings(NOW - timedelta(hours=12), NOW, with_limits=True)

    with_database(settings_for, "risk_manager", halt)
    seen = with_database(settings_for, "scheduler", look)

    assert [(row["version"], row["mode"]) for row in seen.modes] == [(2, "HALTED")]
    assert (seen.fills, seen.unknown, seen.differences, seen.runs) == ([], [], [], [])


def test_shares_that_are_guarded_again_are_seen_where_agreement_closed_it_lately(
    settings_for: SettingsFor, account: str
) -> None:
    async def write(database: Database) -> None:
        async def rows(connection: Any) -> None:
            for subject, kind, closed_by, at in (
                ("NEW", "UNGUARDED", "agreement", NOW),
                ("OLD", "UNGUARDED", "agreement", NOW - timedelta(days=2)),
                ("SEEN", "UNGUARDED", "a person", NOW),
                ("OTHER", "POSITION", "agreement", NOW),
                ("BARE", "UNGUARDED", None, None),
            ):
                await connection.execute(
                    text(
                        "INSERT INTO trade_executor.differences (account, kind, subject, symbol, ours, theirs, evidence, "
                        "opened_at, closed_at, closed_by) VALUES (:a, :k, :s, :s, '', '', '{}', :o, :c, :b)"
                    ),
                    {"a": account, "k": kind, "s": subject, "o": NOW, "c": at, "b": closed_by},
                )

        await database.run(rows)

    async def look(database: Database) -> Happenings:
        watch = PostgresWatch(database, account, FakePeers())
        return await watch.happenings(NOW - timedelta(hours=12), NOW, with_limits=True)

    with_database(settings_for, "trade_executor", write)
    seen = with_database(settings_for, "scheduler", look)

    assert [row["subject"] for row in seen.guarded] == ["NEW"]
    assert [row["subject"] for row in seen.differences] == ["BARE"]


def test_a_run_that_was_done_late_is_news_when_it_is_done(
    settings_for: SettingsFor, account: str
) -> None:
    async def work(database: Database) -> list[str]:
        async def write(connection: Any) -> None:
            for days, run_id, finished_at in (
                (1, "late", NOW),
                (2, "old", NOW - timedelta(days=2)),
            ):
                await connection.execute(
                    text(
                        "INSERT INTO scheduler.job_runs (run_id, account, job_id, kind, state, session_on, "
                        "first_due_at, due_at, until_at, occurrences, actor, finished_at, detail) VALUES "
                        "(:r, :a, 'reconcile', 'scheduled', 'MISSED', :d, :due, :due, :f, 1, 'scheduler', :f, '')"
                    ),
                    {
                        "r": f"{run_id}-{account}",
                        "a": account,
                        "d": NOW.date(),
                        "due": NOW - timedelta(days=days),
                        "f": finished_at,
                    },
                )

        await database.run(write)
        watch = PostgresWatch(database, account, FakePeers())
        seen = await watch.happenings(NOW - timedelta(hours=12), NOW, with_limits=False)
        return [row["run_id"] for row in seen.runs]

    assert with_database(settings_for, "scheduler", work) == [f"late-{account}"]
