"""What the scheduler makes of the other services' answers, right and wrong ones."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import date

import httpx
import pytest

from scheduler.adapters.peers import HttpPeers
from scheduler.runs import ServiceHealth
from shared.config import load_settings
from shared.domain.errors import Misconfigured, Rejected, Unavailable
from shared.testing.time import InstantTimer

SETTINGS = load_settings({"API_TOKEN_READ": "read-token-0", "API_TOKEN_OPERATE": "operate-token-0"})
URLS = {
    "trade_executor": "http://127.0.0.1:8004",
    "data_collector": "http://127.0.0.1:8001",
}
Answer = Callable[[httpx.Request], httpx.Response]


def peers(answer: Answer, timer: InstantTimer | None = None) -> HttpPeers:
    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    return HttpPeers(http, URLS, SETTINGS, timer or InstantTimer())


def health_of_executor(answer: Answer) -> ServiceHealth:
    return asyncio.run(peers(answer).health())[0]


def test_a_ready_service_is_alive_and_ready_and_only_readiness_is_shown_the_token() -> None:
    seen: dict[str, str | None] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        service = "trade_executor" if request.url.port == 8004 else "data_collector"
        seen[request.url.path] = request.headers.get("authorization")
        if request.url.path == "/health":
            return httpx.Response(200, json={"service": service, "status": "ok"})
        return httpx.Response(200, json={"ready": True, "checks": {"postgres": True}})

    found = health_of_executor(answer)

    assert (found.alive, found.ready, found.checks) == (True, True, {"postgres": True})
    token = "Bearer read-token-0"
    assert seen == {"/health": None, "/ready": token, "/metrics": token}


def test_what_a_service_uses_is_the_difference_of_two_looks_and_a_restart_begins_anew() -> None:
    cpu_s = iter([10.0, 12.5, 0.5])

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/health":
            return httpx.Response(200, json={"service": "trade_executor", "status": "ok"})
        if request.url.path == "/metrics":
            text = f"# HELP x\nprocess_cpu_seconds_total {next(cpu_s)}\nprocess_resident_memory_bytes 6.4e+07\n"
            return httpx.Response(200, text=text)
        return httpx.Response(200, json={"ready": True, "checks": {}})

    async def scenario() -> list[tuple[float | None, int | None]]:
        timer = InstantTimer()
        http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
        urls = {"trade_executor": URLS["trade_executor"]}
        looking = HttpPeers(http, urls, SETTINGS, timer)
        found = []
        for _ in range(3):
            [health] = await looking.health()
            found.append((health.cpu_share, health.memory_bytes))
            await timer.sleep(10)
        return found

    assert asyncio.run(scenario()) == [(None, 64_000_000), (0.25, 64_000_000), (None, 64_000_000)]


def test_a_service_that_waits_for_something_says_for_what() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/health":
            return httpx.Response(200, json={"service": "trade_executor", "status": "ok"})
        return httpx.Response(
            503, json={"ready": False, "checks": {"postgres": True, "redis": False}}
        )

    found = health_of_executor(answer)

    assert (found.alive, found.ready, found.detail) == (True, False, "waits for redis")


def test_a_closed_port_and_a_silent_service_are_down_and_told_apart() -> None:
    def closed(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    def silent(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("silent", request=request)

    assert health_of_executor(closed).detail == "does not answer"
    assert health_of_executor(silent).detail == "no answer in time"
    assert not health_of_executor(closed).alive


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b'{"service": "somebody else"}', b'{"service": null}']
)
def test_something_else_on_the_port_is_not_taken_for_the_service(body: bytes) -> None:
    found = health_of_executor(lambda _: httpx.Response(200, content=body))

    assert not found.alive
    assert found.detail.startswith("something else answers")


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"checks": 1}'])
def test_a_readiness_that_cannot_be_read_is_not_ready(body: bytes) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/health":
            return httpx.Response(200, json={"service": "trade_executor"})
        return httpx.Response(200, content=body)

    found = health_of_executor(answer)

    assert (found.alive, found.ready) == (True, False)


def test_performance_is_asked_for_its_day() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert (request.method, request.url.path) == ("POST", "/performance")
        assert json.loads(request.content) == {"day_on": "2026-03-02"}
        return httpx.Response(200, json={"trades": 2})

    assert asyncio.run(peers(answer).performance(date(2026, 3, 2))) == {"trades": 2}


def test_reconcile_is_asked_with_the_token_to_operate() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert (request.method, request.url.path) == ("POST", "/reconcile")
        assert request.headers["authorization"] == "Bearer operate-token-0"
        return httpx.Response(200, json={"differences": 0, "orders": [1, 2]})

    assert asyncio.run(peers(answer).reconcile()) == {"differences": 0}


def test_an_answer_that_may_change_is_worth_another_try_and_a_refusal_is_not() -> None:
    problem = {"detail": "reconciling already"}

    with pytest.raises(Unavailable, match="503 reconciling already"):
        asyncio.run(peers(lambda _: httpx.Response(503, json=problem)).reconcile())
    with pytest.raises(Rejected, match="the trade executor refused: 403 reconciling already"):
        asyncio.run(peers(lambda _: httpx.Response(403, json=problem)).reconcile())


def test_a_collection_is_followed_to_its_end() -> None:
    states = iter(["QUEUED", "RUNNING", "DONE"])

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            location = {"location": "/collect/market-data/job-1"}
            return httpx.Response(202, json={"job_id": "job-1"}, headers=location)
        assert request.url.path == "/collect/market-data/job-1"
        return httpx.Response(200, json={"state": next(states), "bars_new": 7})

    timer = InstantTimer()

    assert asyncio.run(peers(answer, timer).catch_up()) == {"state": "DONE", "bars_new": 7}
    assert timer.slept == [1.0, 1.0]


def test_maintenance_is_asked_for_and_followed_to_its_end() -> None:
    asked: list[tuple[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, request.url.path))
        state = "DONE" if request.method == "GET" else "QUEUED"
        return httpx.Response(
            202, json={"state": state}, headers={"location": "/maintenance/compact"}
        )

    assert asyncio.run(peers(answer).maintain("compact")) == {"state": "DONE"}
    assert asked == [("POST", "/maintenance/compact"), ("GET", "/maintenance/compact")]


def test_a_failed_collection_is_a_failed_run_with_its_reason() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(202, headers={"location": "/collect/market-data/job-1"})
        return httpx.Response(200, json={"state": "FAILED", "error": "Alpaca refused the key"})

    with pytest.raises(Rejected, match="Alpaca refused the key"):
        asyncio.run(peers(answer).catch_up())


def test_a_collection_that_never_ends_is_not_followed_for_ever() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(
            202, json={"state": "RUNNING"}, headers={"location": "/collect/market-data/job-1"}
        )

    timer = InstantTimer()
    with pytest.raises(Unavailable, match="still at /collect/market-data/job-1"):
        asyncio.run(peers(answer, timer).catch_up())
    assert len(timer.slept) == 90


def test_a_location_elsewhere_is_not_followed() -> None:
    away = {"location": "http://example.com/collect/market-data/1"}

    with pytest.raises(Unavailable, match="named no job to follow"):
        asyncio.run(peers(lambda _: httpx.Response(202, headers=away)).catch_up())


def test_without_tokens_the_scheduler_says_which_are_missing() -> None:
    with pytest.raises(Misconfigured, match="API_TOKEN_READ or API_TOKEN_OPERATE"):
        HttpPeers(httpx.AsyncClient(), URLS, load_settings({}), InstantTimer())


def test_hours_that_differ_from_the_brokers_are_a_refusal_in_the_executors_words() -> None:
    said = {"agree": False, "said": "2026-11-27: we have no session, the broker 09:30 to 13:00"}

    with pytest.raises(Rejected, match="no entry goes out: 2026-11-27: we have no session"):
        asyncio.run(peers(lambda _: httpx.Response(200, json=said)).check_hours())


def test_budgets_are_read_from_the_collector_and_nonsense_is_no_answer() -> None:
    row = {"provider": "alpaca", "used": 3, "limit": 200, "window_s": 60, "waiting": [{}]}

    [budget] = asyncio.run(peers(lambda _: httpx.Response(200, json={"items": [row]})).budgets())

    assert (budget.used, budget.limit, budget.waits) == (3, 200, 1)
    with pytest.raises(Unavailable, match="cannot be read"):
        asyncio.run(peers(lambda _: httpx.Response(200, json={"items": [{}]})).budgets())
