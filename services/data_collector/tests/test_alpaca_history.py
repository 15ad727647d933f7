"""Tests of Alpaca's historical bars: each outcome is of its own kind, and no page is left unread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from data_collector.adapters.alpaca_data import AlpacaData, data_keys
from data_collector.adapters.alpaca_history import AlpacaHistory, history_feed
from data_collector.boundary import RawBar
from data_collector.outcomes import NotData, ServerFailed, TooSlow, Truncated, Unreachable
from data_collector.testing import FreeBudget
from shared.config import load_settings
from shared.domain.errors import Misconfigured, RateLimited, Rejected, Unavailable
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.testing.bar_stores import NOON
from shared.testing.time import FakeClock

BAR = {"t": "2026-01-15T15:00:00Z", "o": 1, "h": 2, "l": 1, "c": 2, "v": 9, "n": 1, "vw": 1.5}
Answer = Callable[[httpx.Request], httpx.Response]


def read(
    answer: Answer,
    symbols: tuple[str, ...] = ("AAPL",),
    feed: str | None = "iex",
    budget: FreeBudget | None = None,
) -> list[list[RawBar]]:
    """Every page that the venue behind `answer` has."""

    async def story() -> list[list[RawBar]]:
        transport = httpx.MockTransport(answer)
        async with httpx.AsyncClient(transport=transport, base_url="https://data.test") as client:
            data = AlpacaData(client, budget or FreeBudget(), FakeClock(NOON))
            history = AlpacaHistory(data, feed=feed)
            names = [Symbol(name) for name in symbols]
            end_at = NOON + timedelta(hours=1)
            return [p async for p in history.pages(names, Timeframe.MINUTE, NOON, end_at)]

    return asyncio.run(story())


def page(bars: Any, token: str | None = None) -> httpx.Response:
    return httpx.Response(200, json={"bars": bars, "next_page_token": token})


def test_all_pages_are_read_up_to_the_null_token() -> None:
    asked: list[dict[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(dict(request.url.params))
        token = request.url.params.get("page_token")
        return {
            None: page({"AAPL": [BAR]}, "one"),
            "one": page({}, "two"),
            "two": page({"MSFT": [BAR]}),
        }[token]

    pages = read(answer, ("AAPL", "MSFT"))

    assert [[row.symbol for row in rows] for rows in pages] == [["AAPL"], [], ["MSFT"]]
    assert pages[0][0].close == 2
    assert asked[0] == {
        "symbols": "AAPL,MSFT",
        "timeframe": "1Min",
        "start": "2026-01-15T15:00:00Z",
        "end": "2026-01-15T16:00:00Z",
        "limit": "10000",
        "adjustment": "raw",
        "sort": "asc",
        "feed": "iex",
    }


def test_a_feed_that_has_no_history_is_not_asked_for() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return page({})

    url = {"ALPACA_DATA_STREAM_URL": "wss://stream.test/v2/test"}
    read(answer, feed=history_feed(load_settings(url)))
    url = {"ALPACA_DATA_STREAM_URL": "wss://stream.test/v2/sip/"}
    read(answer, feed=history_feed(load_settings(url)))

    assert "feed" not in asked[0].url.params
    assert asked[1].url.params["feed"] == "sip"


def test_many_symbols_are_asked_for_in_several_requests() -> None:
    asked: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(len(request.url.params["symbols"].split(",")))
        return page({})

    read(answer, tuple(f"A{n}" for n in range(450)))

    assert asked == [200, 200, 50]


@pytest.mark.parametrize("bars", [{}, None, {"AAPL": None}, {"AAPL": []}])
def test_no_bars_is_an_answer(bars: Any) -> None:
    assert read(lambda _: page(bars)) == [[]]


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(500, json={"message": "internal"}),
        httpx.Response(503, text="try later"),
        httpx.Response(302, headers={"Location": "https://login.test"}),
        httpx.Response(200, html="<html>log in</html>"),
        httpx.Response(200, text='{"bars": {"AAPL": [{"t": "2026-'),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"bars": {}}),
        httpx.Response(200, json={"bars": [BAR], "next_page_token": None}),
        httpx.Response(200, json={"bars": {"AAPL": BAR}, "next_page_token": None}),
        httpx.Response(200, json={"bars": {}, "next_page_token": 7}),
        httpx.Response(200, content=b" " * (17 * 1024 * 1024)),
    ],
)
def test_what_is_no_usable_answer_is_unavailable_and_never_empty(response: httpx.Response) -> None:
    with pytest.raises(Unavailable):
        read(lambda _: response)


def test_a_connection_that_fails_is_unavailable() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("slow", request=request)

    with pytest.raises(Unavailable, match="ReadTimeout"):
        read(answer)


def test_a_token_that_comes_again_ends_the_reading() -> None:
    with pytest.raises(Unavailable, match="repeats a page token"):
        read(lambda _: page({}, "round and round"))


@pytest.mark.parametrize(
    ("headers", "pause_s"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"X-RateLimit-Reset": str(int(NOON.timestamp()) + 20)}, 20.0),
        ({"Retry-After": "999999"}, 60.0),
        ({"Retry-After": "-1"}, 5.0),
        ({"Retry-After": "nan"}, 5.0),
        ({}, 5.0),
    ],
)
def test_a_429_is_a_pause_as_long_as_the_venue_asks_within_bounds(
    headers: dict[str, str], pause_s: float
) -> None:
    with pytest.raises(RateLimited) as caught:
        read(lambda _: httpx.Response(429, headers=headers))

    assert caught.value.pause_s == pause_s


def test_a_definite_no_carries_the_venues_words_without_control_characters() -> None:
    body = {"message": "invalid limit\x1b[31m"}

    with pytest.raises(Rejected, match=r"400: invalid limit \[31m"):
        read(lambda _: httpx.Response(400, json=body))


@pytest.mark.parametrize("status", [401, 403])
def test_refused_keys_name_the_settings_to_mend(status: int) -> None:
    with pytest.raises(Misconfigured, match="ALPACA_DATA_API_KEY"):
        read(lambda _: httpx.Response(status, html="<html>"))


def test_a_bar_that_is_no_object_reaches_the_boundary_and_is_refused_there() -> None:
    ((row,),) = read(lambda _: page({"AAPL": ["nonsense"]}))

    assert row.close is None
    assert row.raw == {"bar": "nonsense"}


def test_each_request_is_paid_for_and_a_429_stops_whoever_shares_the_budget() -> None:
    budget = FreeBudget()
    read(lambda _: page({}), tuple(f"A{n}" for n in range(450)), budget=budget)
    with pytest.raises(RateLimited):
        read(lambda _: httpx.Response(429, headers={"Retry-After": "9"}), budget=budget)

    assert [cost for cost, _ in budget.spent] == [1, 1, 1, 1]
    assert budget.pauses == [9.0]


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (httpx.Response(200, html="<html>log in</html>"), NotData),
        (httpx.Response(302, headers={"Location": "https://login.test"}), NotData),
        (httpx.Response(200, text='{"bars": {"AAPL": [{"t": "2026-'), Truncated),
        (httpx.Response(503, text="try later"), ServerFailed),
    ],
)
def test_each_way_to_give_no_answer_has_its_own_type(
    response: httpx.Response, outcome: type[Exception]
) -> None:
    with pytest.raises(outcome):
        read(lambda _: response)


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        (httpx.ReadTimeout, TooSlow),
        (httpx.ConnectError, Unreachable),
        (httpx.RemoteProtocolError, Truncated),
    ],
)
def test_a_slow_a_dead_and_a_broken_connection_are_told_apart(
    failure: type[httpx.TransportError], outcome: type[Exception]
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise failure("it failed", request=request)

    with pytest.raises(outcome):
        read(answer)


def test_the_data_pair_of_keys_is_taken_before_the_trading_pair() -> None:
    trading = {"ALPACA_API_KEY": "trade", "ALPACA_SECRET_KEY": "ts"}
    data = {"ALPACA_DATA_API_KEY": "data", "ALPACA_DATA_SECRET_KEY": "ds"}

    both = data_keys(load_settings({**trading, **data}))
    one = data_keys(load_settings({**trading, "ALPACA_DATA_API_KEY": "half a pair"}))

    assert both == {"APCA-API-KEY-ID": "data", "APCA-API-SECRET-KEY": "ds"}
    assert one == {"APCA-API-KEY-ID": "trade", "APCA-API-SECRET-KEY": "ts"}
