"""Tests of Alpaca's newest bars and snapshots, against the simulator and its misbehaviour."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest

from data_collector.adapters.alpaca_data import AlpacaData
from data_collector.adapters.alpaca_latest import AlpacaLatest
from data_collector.outcomes import NotData, ServerFailed, Truncated
from data_collector.testing import FreeBudget
from shared.domain.errors import RateLimited, Unavailable
from shared.domain.symbols import Symbol
from shared.testing.bar_stores import NOON
from shared.testing.calendars import a_calendar
from shared.testing.time import FakeClock
from simulator.testing import RunningSimulator, running_simulator, tape_of

AAPL, MSFT, FAKE = Symbol("AAPL"), Symbol("MSFT"), Symbol("FAKE")
MINUTES = [(100.0, 101.0, 99.0, 100.5, 1_000), (100.5, 103.0, 100.0, 102.0, 2_000)]


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    with running_simulator(tape_of(MINUTES, ["AAPL", "MSFT"], a_calendar())) as running:
        running.advance(6)
        yield running


def ask(
    where: RunningSimulator | httpx.MockTransport, story: Callable[[AlpacaLatest], Awaitable[Any]]
) -> Any:
    async def run() -> Any:
        keys = {"APCA-API-KEY-ID": "K", "APCA-API-SECRET-KEY": "S"}
        url, transport = "https://data.test", None
        if isinstance(where, RunningSimulator):
            url = where.url
        else:
            transport = where
        async with httpx.AsyncClient(
            base_url=url, transport=transport, headers=keys, trust_env=False
        ) as http:
            return await story(
                AlpacaLatest(AlpacaData(http, FreeBudget(), FakeClock(NOON)), feed="iex")
            )

    return asyncio.run(run())


def test_the_newest_bars_of_known_symbols_are_given_and_others_are_missing(
    simulator: RunningSimulator,
) -> None:
    rows = ask(simulator, lambda latest: latest.bars([AAPL, FAKE, MSFT]))

    assert [(row.symbol, row.close) for row in rows] == [("AAPL", 102.0), ("MSFT", 102.0)]


def test_a_snapshot_holds_the_minute_the_day_and_what_is_missing(
    simulator: RunningSimulator,
) -> None:
    (found,) = ask(simulator, lambda latest: latest.snapshots([AAPL, FAKE]))

    assert (found.symbol, found.minute.close, found.day.high) == (AAPL, 102.0, 103.0)
    assert found.day_before is None


def test_f77_only_symbols_with_a_snapshot_are_known(simulator: RunningSimulator) -> None:
    assert ask(simulator, lambda latest: latest.known([AAPL, FAKE])) == {AAPL}
    assert ask(simulator, lambda latest: latest.known([])) == frozenset()


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ({"kind": "status", "status": 200, "body": "<html>log in</html>"}, NotData),
        ({"kind": "status", "status": 200, "body": "[]"}, Unavailable),
        ({"kind": "status", "status": 503}, ServerFailed),
        ({"kind": "rate_limit"}, RateLimited),
        ({"kind": "truncate"}, Truncated),
    ],
)
@pytest.mark.parametrize("path", ["/v2/stocks/bars/latest", "/v2/stocks/snapshots"])
def test_f75_a_provider_that_misbehaves_is_never_taken_for_one_that_knows_nothing(
    simulator: RunningSimulator, path: str, fault: dict[str, Any], outcome: type[Exception]
) -> None:
    simulator.fault(**fault, match={"path": path})

    with pytest.raises(outcome):
        ask(
            simulator,
            lambda latest: latest.bars([AAPL]) if path.endswith("latest") else latest.known([AAPL]),
        )


def test_keys_that_are_no_symbols_asked_for_are_passed_over() -> None:
    body = {"AAPL": {"minuteBar": None}, "next_page_token": None, "MSFT": {}, "FAKE": None}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=body))

    found = ask(transport, lambda latest: latest.snapshots([AAPL, FAKE]))

    assert [each.symbol for each in found] == [AAPL]


def test_many_symbols_are_asked_for_in_several_requests() -> None:
    asked: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(len(request.url.params["symbols"].split(",")))
        assert request.url.params["feed"] == "iex"
        return httpx.Response(200, json={})

    names = [Symbol(f"A{n}") for n in range(450)]
    ask(httpx.MockTransport(answer), lambda latest: latest.known(names))

    assert asked == [200, 200, 50]
