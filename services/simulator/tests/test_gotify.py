"""Gotify's protocol at the simulator, with apprise as its witness."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import apprise
import httpx
import pytest

from scheduler.adapters.receivers import receiver_of
from shared.config import load_settings
from shared.domain.notices import Priority
from simulator.tape import Tape
from simulator.testing import RunningSimulator, running_simulator

MINUTES = [(10.0, 11.0, 9.0, 10.5, 2_000_000)]


@pytest.fixture
def simulator(make_tape: Callable[..., Tape]) -> Iterator[RunningSimulator]:
    with running_simulator(make_tape(MINUTES)) as running:
        yield running


def received(simulator: RunningSimulator) -> list[tuple[str, str, int]]:
    answer = simulator.admin.get("/message", headers={"X-Gotify-Key": "client"})
    return [(m["title"], m["message"], m["priority"]) for m in answer.json()["messages"]]


def test_apprise_delivers_with_title_text_and_priority(simulator: RunningSimulator) -> None:
    host = str(simulator.admin.base_url).removeprefix("http://").rstrip("/")
    notifier = apprise.Apprise()
    notifier.add(f"gotify://{host}/APPTOKEN?priority=high")

    assert notifier.notify(title="Stop hit", body="sell 10 AAPL at 95 USD")
    assert received(simulator) == [("Stop hit", "sell 10 AAPL at 95 USD", 8)]


@pytest.mark.parametrize("priority", Priority)
def test_our_receiver_hands_the_priority_on(
    simulator: RunningSimulator, priority: Priority
) -> None:
    url = str(simulator.admin.base_url).rstrip("/")
    receiver = receiver_of(load_settings({"GOTIFY_URL": url, "GOTIFY_TOKEN": "app/token"}))
    assert receiver is not None

    assert asyncio.run(receiver.send("Title", "Text <b>&</b>", priority)) is None
    assert received(simulator) == [("Title", "Text <b>&</b>", int(priority))]


def test_a_server_that_is_away_or_refuses_is_a_reason_and_no_error(
    simulator: RunningSimulator,
) -> None:
    nowhere = receiver_of(load_settings({"GOTIFY_URL": "http://127.0.0.1:9", "GOTIFY_TOKEN": "t"}))
    assert nowhere is not None

    assert asyncio.run(nowhere.send("Title", "Text", Priority.LOW)) is not None


@pytest.mark.parametrize(
    ("headers", "body", "status", "words"),
    [
        ({}, {"message": "x"}, 401, "you need to provide a valid access token"),
        ({"X-Gotify-Key": "A"}, {"title": "only"}, 400, "Field 'message' is required"),
        ({"X-Gotify-Key": "A"}, {"message": "x", "priority": "high"}, 400, "cannot unmarshal"),
    ],
)
def test_errors_are_worded_as_gotifys(
    simulator: RunningSimulator,
    headers: dict[str, str],
    body: dict[str, object],
    status: int,
    words: str,
) -> None:
    answer = simulator.admin.post("/message", json=body, headers=headers)

    assert answer.status_code == status
    assert answer.json()["errorCode"] == status
    assert words in answer.json()["errorDescription"]


def test_the_token_is_found_where_a_server_looks_for_it(simulator: RunningSimulator) -> None:
    url = f"{str(simulator.admin.base_url).rstrip('/')}/message"

    def send(headers: dict[str, str] | None = None, params: dict[str, str] | None = None) -> int:
        return httpx.post(url, json={"message": "x"}, headers=headers, params=params).status_code

    assert send(params={"token": "A"}) == 200
    assert send(headers={"X-Gotify-Key": "A"}) == 200
    assert send(headers={"Authorization": "Bearer A"}) == 200
    assert send() == 401


def test_messages_are_listed_newest_first_page_by_page(simulator: RunningSimulator) -> None:
    for n in range(3):
        simulator.admin.post("/message", json={"message": f"{n}"}, headers={"X-Gotify-Key": "A"})

    first = simulator.admin.get("/message?limit=2", headers={"X-Gotify-Key": "C"}).json()
    second = simulator.admin.get(first["paging"]["next"], headers={"X-Gotify-Key": "C"}).json()

    assert [m["message"] for m in first["messages"]] == ["2", "1"]
    assert [m["message"] for m in second["messages"]] == ["0"]
    assert "next" not in second["paging"]
