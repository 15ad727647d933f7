"""The scheduler's HTTP API, against its memory store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from scheduler.api import router
from scheduler.daily_report import Day
from scheduler.jobs import BeatingJob, catalogue
from scheduler.pipeline import PipelineRun, Screening
from scheduler.runs import Heartbeat, RunState, ServiceHealth
from scheduler.service import Timekeeper
from scheduler.testing import (
    FakePeers,
    FakePipeline,
    FakeViews,
    MemoryJobStore,
    a_week_in_march,
    fake_actions,
)
from shared.adapters.http_api import make_app
from shared.config import load_settings
from shared.domain.calendar import Session
from shared.testing.time import CountingIds, FakeClock, InstantTimer

TOKENS = {
    "API_TOKEN_READ": "read-token-0",
    "API_TOKEN_OPERATE": "operate-token-0",
    "API_TOKEN_KILL": "kill-token-0",
}
READ = {"Authorization": "Bearer read-token-0"}
OPERATE = {"Authorization": "Bearer operate-token-0"}
KILL = {"Authorization": "Bearer kill-token-0"}
# A Monday, half an hour after the open.
NOW = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)


class QuietDays:
    """Days on which nothing happened."""

    async def day(self, session: Session, next_session: str) -> Day:
        return Day(
            "paper",
            session.on,
            None,
            None,
            None,
            None,
            None,
            Decimal(0),
            None,
            0,
            0,
            (),
            (),
            (),
            (),
            (),
            next_session,
        )


@dataclass
class Room:
    app: FastAPI
    store: MemoryJobStore
    timekeeper: Timekeeper
    clock: FakeClock
    pipeline: FakePipeline


@pytest.fixture
def room() -> Room:
    settings = load_settings({**TOKENS, "TRADING_START_TIME": "10:00", "TRADING_END_TIME": "15:30"})
    clock, timer, store, calendar = (
        FakeClock(NOW),
        InstantTimer(),
        MemoryJobStore(),
        a_week_in_march(),
    )
    pipeline = FakePipeline()
    actions = fake_actions(FakePeers(), FakeViews(), store, calendar, clock)
    timekeeper = Timekeeper(catalogue(actions), store, calendar, clock, timer, CountingIds())
    app = make_app("scheduler", settings, {}, timer)
    app.include_router(
        router(
            "paper",
            timekeeper,
            store,
            calendar,
            settings.trading_window,
            clock,
            CountingIds(),
            QuietDays(),
            pipeline,
            lambda: actions.budgets,
            is_replay=True,
        )
    )
    return Room(app, store, timekeeper, clock, pipeline)


def talk(room: Room, conversation: Callable[[httpx.AsyncClient], Awaitable[None]]) -> None:
    async def main() -> None:
        transport = httpx.ASGITransport(room.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8005") as http:
            await room.timekeeper.begin()
            await conversation(http)

    asyncio.run(main())


def test_health_needs_no_token_and_everything_else_does(room: Room) -> None:
    async def conversation(http: httpx.AsyncClient) -> None:
        assert (await http.get("/health")).json() == {"service": "scheduler", "status": "ok"}
        for path in ("/status", "/jobs", "/jobs/reconcile/runs", "/services", "/ready"):
            assert (await http.get(path)).status_code == 401
        assert (await http.post("/jobs/reconcile/trigger")).status_code == 401

    talk(room, conversation)


def a_run(batch_id: int, **changes: Any) -> PipelineRun:
    end_at = NOW + timedelta(minutes=batch_id)
    run = PipelineRun(
        batch_id=batch_id,
        timeframe="1Min",
        start_at=end_at - timedelta(minutes=1),
        end_at=end_at,
        symbols=3,
        decidable=True,
        screened_at=None,
        collected_at=end_at + timedelta(seconds=1),
        evaluated_at=end_at + timedelta(seconds=1.5),
        reviewed_at=end_at + timedelta(seconds=1.75),
        sent_at=end_at + timedelta(seconds=2),
        filled_at=None,
        signals=2,
        approved=1,
        refused=1,
        orders=1,
        fills=0,
    )
    return replace(run, **changes)


def test_a_run_of_the_pipeline_shows_each_stage_with_its_time_and_pages_go_on(room: Room) -> None:
    room.pipeline.kept = [
        a_run(1),
        a_run(2, evaluated_at=None, reviewed_at=None, sent_at=None, signals=0),
    ]

    async def conversation(http: httpx.AsyncClient) -> None:
        first = (await http.get("/pipeline/runs?limit=1", headers=READ)).json()
        second = (await http.get(f"/pipeline/runs?cursor={first['next']}", headers=READ)).json()

        assert [each["stage"] for each in first["items"][0]["stages"]] == ["collection"]
        [whole] = second["items"]
        assert [(each["stage"], each["took_s"]) for each in whole["stages"]] == [
            ("collection", 1.0),
            ("strategies", 0.5),
            ("risk", 0.25),
            ("execution", 0.25),
        ]
        assert (whole["signals"], whole["approved"], whole["orders"]) == (2, 1, 1)
        assert second["next"] is None

    talk(room, conversation)


def test_the_screen_before_a_run_is_its_first_stage_and_one_that_failed_says_why(
    room: Room,
) -> None:
    due_at = NOW + timedelta(minutes=1)
    taken = Screening("small_caps", due_at, "taken", due_at, 4, 0.25, "")
    room.pipeline.kept = [
        a_run(2, screening=taken),
        a_run(1, screening=replace(taken, outcome="failed", symbols=0, detail="a page")),
    ]

    async def conversation(http: httpx.AsyncClient) -> None:
        shown = (await http.get("/pipeline/runs", headers=READ)).json()["items"]

        assert (shown[0]["stages"][0]["stage"], shown[0]["stages"][0]["took_s"]) == (
            "screener",
            0.25,
        )
        assert (shown[0]["screening"]["symbols"], shown[0]["screening"]["screen"]) == (
            4,
            "small_caps",
        )
        assert shown[1]["stages"][0]["stage"] == "collection"
        assert (shown[1]["screening"]["outcome"], shown[1]["screening"]["detail"]) == (
            "failed",
            "a page",
        )

    talk(room, conversation)


def test_what_providers_let_us_ask_stands_beside_the_health_of_services(room: Room) -> None:
    async def conversation(http: httpx.AsyncClient) -> None:
        assert (await http.get("/services", headers=READ)).json()["budgets"] == []
        job = room.timekeeper.jobs["service_health"]
        assert isinstance(job, BeatingJob)
        await room.timekeeper.beat(job)
        said = (await http.get("/services", headers=READ)).json()

        assert [each["service"] for each in said["items"]] == ["postgres"]
        assert said["budgets"] == [
            {
                "provider": "alpaca",
                "used": 3,
                "limit": 200,
                "per_s": 60,
                "blocked_why": "",
                "waits": 0,
            }
        ]

    talk(room, conversation)


def test_the_status_shows_phase_next_open_and_close_and_the_entry_window(room: Room) -> None:
    async def conversation(http: httpx.AsyncClient) -> None:
        said = (await http.get("/status", headers=READ)).json()

        assert said["phase"] == "open"
        assert said["market_phase"] == "open"
        assert said["clock"] == "replay"
        assert said["session_on"] == "2026-03-02"
        assert said["next_close_at"] == "2026-03-02T21:00:00Z"
        assert said["next_open_at"] == "2026-03-03T14:30:00Z"
        assert said["trading_window"] == "10:00-15:30 America/New_York"
        assert said["entries_allowed"] is True
        assert said["entries_until_at"] == "2026-03-02T20:30:00Z"

    talk(room, conversation)


def test_a_month_shows_sessions_half_days_holidays_and_what_is_not_known(room: Room) -> None:
    async def conversation(http: httpx.AsyncClient) -> None:
        days = (await http.get("/calendar/2026/3", headers=READ)).json()["items"]

        assert len(days) == 31
        kinds = {day["on"][-2:]: day["kind"] for day in days}
        assert [kinds[n] for n in ("01", "02", "04", "06", "07", "16")] == [
            "weekend",
            "session",
            "holiday",
            "half_day",
            "weekend",
            "unknown",
        ]
        assert days[5]["close_at"] == "2026-03-06T18:00:00Z"
        assert (await http.get("/calendar/2026/13", headers=READ)).status_code == 422
        assert (await http.get("/calendar/2026/3")).status_code == 401

    talk(room, conversation)


def test_jobs_show_their_next_due_time_in_the_venues_time(room: Room) -> None:
    async def conversation(http: httpx.AsyncClient) -> None:
        said = (await http.get("/jobs", headers=READ)).json()

        jobs = {job["job_id"]: job for job in said["items"]}
        assert jobs["reconcile"]["next_due_at"] == "2026-03-03T14:20:00Z"
        assert jobs["end_of_day_report"]["next_due_at"] == "2026-03-02T21:10:00Z"
        assert jobs["reconcile"]["last_run"] is None
        assert jobs["service_health"]["next_in_s"] == 0
        assert jobs["service_health"]["next_due_at"] is None

    talk(room, conversation)


def test_jobs_show_the_last_run_with_duration_and_outcome_and_the_missed(room: Room) -> None:
    async def conversation(http: httpx.AsyncClient) -> None:
        room.clock.set(datetime(2026, 3, 5, 22, 0, tzinfo=UTC))
        await room.timekeeper.look("me")
        await room.store.beat(Heartbeat("service_health", NOW, RunState.FAILED, 0.5, "no answer"))
        said = (await http.get("/jobs", headers=READ)).json()

        jobs = {job["job_id"]: job for job in said["items"]}
        report = jobs["end_of_day_report"]
        assert report["missed"] == 2
        assert report["last_run"]["state"] == "DONE"
        assert report["last_run"]["at"] == "2026-03-05T22:00:00Z"
        assert report["last_run"]["duration_s"] == 0
        assert jobs["reconcile"]["missed"] == 2
        assert jobs["reconcile"]["last_run"] is None
        assert jobs["service_health"]["last_run"]["detail"] == "no answer"

    talk(room, conversation)


def test_a_triggered_job_is_answered_at_once_and_its_run_is_found_at_the_location(
    room: Room,
) -> None:
    async def conversation(http: httpx.AsyncClient) -> None:
        answer = await http.post("/jobs/end_of_day_report/trigger", headers=OPERATE)
        assert answer.status_code == 202
        assert answer.json()["state"] == "QUEUED"
        await room.timekeeper.look("me")

        run = (await http.get(answer.headers["location"], headers=READ)).json()
        assert run["run_id"] == answer.json()["run_id"]
        assert (run["state"], run["kind"], run["actor"]) == ("DONE", "manual", "operate")
        assert run["figures"]["pnl"] == "1000"

    talk(room, conversation)


def test_the_same_idempotency_key_is_the_same_run_and_another_key_another(room: Room) -> None:
    async def conversation(http: httpx.AsyncClient) -> None:
        async def trigger(job: str, key: str) -> str:
            headers = {**OPERATE, "Idempotency-Key": key}
            answer = await http.post(f"/jobs/{job}/trigger", headers=headers)
            return str(answer.json()["run_id"])

        first = await trigger("reconcile", "a")
        await room.timekeeper.look("me")
        assert await trigger("reconcile", "a") == first
        assert await trigger("reconcile", "b") != first
        assert await trigger("portfolio_snapshot", "a") != first
        assert len(room.store.rows) == 3

    talk(room, conversation)


def test_an_unknown_job_is_a_404_that_names_the_likeliest(room: Room) -> None:
    async def conversation(http: httpx.AsyncClient) -> None:
        answer = await http.post("/jobs/end_of_day/trigger", headers=OPERATE)

        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "unknown_job"
        assert "did you mean end_of_day_report?" in answer.json()["detail"]
        assert (await http.get("/jobs/nope/runs", headers=READ)).status_code == 404

    talk(room, conversation)


@pytest.mark.parametrize("token", [READ, KILL])
def test_a_token_that_may_not_operate_triggers_nothing(room: Room, token: dict[str, str]) -> None:
    async def conversation(http: httpx.AsyncClient) -> None:
        answer = await http.post("/jobs/reconcile/trigger", headers=token)

        assert answer.status_code == 403
        assert room.store.rows == {}

    talk(room, conversation)


def test_a_script_gone_wrong_meets_a_full_queue(room: Room) -> None:
    async def conversation(http: httpx.AsyncClient) -> None:
        answers = [await http.post("/jobs/reconcile/trigger", headers=OPERATE) for _ in range(21)]

        assert [answer.status_code for answer in answers] == [202] * 20 + [409]
        assert answers[-1].json()["code"] == "queue_full"

    talk(room, conversation)


def test_runs_are_paged_newest_first_without_gap_or_repetition(room: Room) -> None:
    async def conversation(http: httpx.AsyncClient) -> None:
        for _ in range(4):
            await http.post("/jobs/reconcile/trigger", headers=OPERATE)
        seen, cursor, pages = [], None, 0
        while True:
            pages += 1
            query = {"limit": "2", **({"cursor": cursor} if cursor else {})}
            page = (await http.get("/jobs/reconcile/runs", params=query, headers=READ)).json()
            seen += [run["run_id"] for run in page["items"]]
            cursor = page["next"]
            if cursor is None:
                break

        assert seen == list(reversed(room.store.rows))
        # The second page is full and still the last.
        assert pages == 2

    talk(room, conversation)


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "cursor=x", "cursor=-1"])
def test_a_page_out_of_bounds_is_refused(room: Room, query: str) -> None:
    async def conversation(http: httpx.AsyncClient) -> None:
        answer = await http.get(f"/jobs/reconcile/runs?{query}", headers=READ)

        assert answer.status_code == 422
        assert query.split("=", maxsplit=1)[0] in answer.json()["detail"]

    talk(room, conversation)


def test_one_jobs_run_is_not_found_under_another_job(room: Room) -> None:
    async def conversation(http: httpx.AsyncClient) -> None:
        run, _ = await room.store.request("ask-1", "reconcile", date(2026, 3, 2), NOW, "operate")

        answer = await http.get(f"/jobs/end_of_day_report/runs/{run.run_id}", headers=READ)
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_run")

    talk(room, conversation)


def test_services_show_what_each_answered_and_since_when(room: Room) -> None:
    async def conversation(http: httpx.AsyncClient) -> None:
        found = [
            ServiceHealth("risk_manager", True, False, {"redis": False}, 0.01, "waits for redis"),
            ServiceHealth("data_collector", True, True, {"redis": True}, 0.01, ""),
        ]
        await room.store.record_health(found, NOW)

        said = (await http.get("/services", headers=READ)).json()["items"]
        assert [(s["service"], s["state"]) for s in said] == [
            ("data_collector", "ready"),
            ("risk_manager", "not ready"),
        ]
        assert said[1]["detail"] == "waits for redis"

    talk(room, conversation)


def test_a_paused_job_says_since_when_by_whom_and_why_until_it_is_resumed(room: Room) -> None:
    async def conversation(http: httpx.AsyncClient) -> None:
        why = {"reason": "the broker repairs its clock"}
        for _ in range(2):
            paused = await http.post("/jobs/reconcile/pause", json=why, headers=OPERATE)
            assert paused.json()["paused"] == {
                "since_at": "2026-03-02T15:00:00Z",
                "actor": "operate",
                "reason": "the broker repairs its clock",
            }
            room.clock.advance(60)
        resumed = await http.post("/jobs/reconcile/resume", headers=OPERATE)
        assert resumed.json()["paused"] is None

    talk(room, conversation)


def test_a_beating_job_that_is_paused_is_shown_with_how_it_went_last(room: Room) -> None:
    async def conversation(http: httpx.AsyncClient) -> None:
        job = room.timekeeper.jobs["screens"]
        assert isinstance(job, BeatingJob)
        await room.timekeeper.beat(job)
        paused = await http.post("/jobs/screens/pause", json={"reason": "x"}, headers=OPERATE)

        last = paused.json()["last_run"]
        assert (last["state"], last["detail"]) == ("DONE", "screen none was due yet")

    talk(room, conversation)


def test_a_pause_needs_a_reason_a_job_that_may_rest_and_a_token_that_may_operate(
    room: Room,
) -> None:
    async def conversation(http: httpx.AsyncClient) -> None:
        async def answer(job: str, body: dict[str, str], token: dict[str, str]) -> int:
            said = await http.post(f"/jobs/{job}/pause", json=body, headers=token)
            return said.status_code

        assert await answer("reconcile", {}, OPERATE) == 422
        assert await answer("service_health", {"reason": "x"}, OPERATE) == 409
        assert await answer("reconcile", {"reason": "x"}, READ) == 403
        assert await room.store.paused() == {}

    talk(room, conversation)


def test_a_days_report_is_given_as_text_and_page_and_a_holiday_has_none(room: Room) -> None:

    async def conversation(http: httpx.AsyncClient) -> None:
        found = await http.get("/reports/2026-03-02", headers=READ)
        assert found.status_code == 200
        assert found.json()["text"].startswith("Monday 2026-03-02, account paper")
        assert found.json()["html"].startswith("<!doctype html>")
        room.clock.set(datetime(2026, 3, 5, 22, 0, tzinfo=UTC))
        later = await http.get("/reports/2026-03-02", headers=READ)
        # The session after that day, whenever it is read.
        assert "Tuesday 2026-03-03" in later.json()["text"]
        for day in ("2026-03-04", "2026-03-13", "2030-01-01"):
            assert (await http.get(f"/reports/{day}", headers=READ)).status_code == 404

    talk(room, conversation)
