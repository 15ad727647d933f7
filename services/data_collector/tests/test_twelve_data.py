"""Tests of Twelve Data's client: each outcome is of its own kind, and bars are exact and at their instant."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from data_collector.adapters.twelve_data import TwelveData
from data_collector.boundary import RawBar, admit
from data_collector.outcomes import (
    NotData,
    ServerFailed,
    SymbolsRefused,
    TooSlow,
    Truncated,
    Unreachable,
)
from data_collector.testing import FreeBudget
from shared.domain.errors import Misconfigured, RateLimited, Rejected
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.testing.bar_stores import NOON
from shared.testing.calendars import a_calendar
from shared.testing.time import FakeClock

Answer = Callable[[httpx.Request], httpx.Response]
META = {"symbol": "AAPL", "interval": "1min", "exchange_timezone": "America/New_York"}
VALUE = {
    "datetime": "2026-01-15 15:00:00",
    "open": "187.45001",
    "high": "188",
    "low": "187.10",
    "close": "187.5",
    "volume": "184213",
}
NO_DATA = {
    "code": 400,
    "message": "No data is available on the specified dates. Try setting different dates.",
    "status": "error",
}
UNKNOWN = {"code": 404, "message": "**symbol** is missing or invalid", "status": "error"}


def client_story(answer: Answer, tell: Callable[[TwelveData], Any], budget: FreeBudget) -> Any:
    async def story() -> Any:
        transport = httpx.MockTransport(answer)
        async with httpx.AsyncClient(transport=transport, base_url="https://td.test") as client:
            return await tell(TwelveData(client, budget, FakeClock(NOON), group=8))

    return asyncio.run(story())


def read(
    answer: Answer,
    symbols: tuple[str, ...] = ("AAPL",),
    timeframe: Timeframe = Timeframe.MINUTE,
    budget: FreeBudget | None = None,
) -> list[RawBar]:
    async def tell(client: TwelveData) -> list[RawBar]:
        names = [Symbol(name) for name in symbols]
        end_at = NOON + timedelta(hours=1)
        pages = client.pages(names, timeframe, NOON, end_at)
        return [row async for rows in pages for row in rows]

    found: list[RawBar] = client_story(answer, tell, budget or FreeBudget())
    return found


def series(*values: Any, symbol: str = "AAPL") -> dict[str, Any]:
    return {"meta": {**META, "symbol": symbol}, "values": list(values), "status": "ok"}


def test_a_bar_comes_at_its_utc_instant_without_the_noise_of_floats_and_unadjusted() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json=series(VALUE))

    rows = read(answer)
    (bar,) = admit(rows, Timeframe.MINUTE, a_calendar(), NOON + timedelta(hours=1)).bars

    assert (bar.start_at, bar.open, bar.volume) == (NOON, Decimal("187.45"), 184_213)
    assert dict(asked[0].url.params) == {
        "symbol": "AAPL",
        "interval": "1min",
        "start_date": "2026-01-15 15:00:00",
        "end_date": "2026-01-15 16:00:00",
        "outputsize": "5000",
        "timezone": "UTC",
        "order": "asc",
        "adjust": "none",
        "prepost": "false",
    }


@pytest.mark.parametrize(
    ("day", "midnight"), [("2026-01-14", "2026-01-14T05"), ("2026-07-14", "2026-07-14T04")]
)
def test_a_day_begins_at_midnight_of_its_exchange_in_winter_and_summer(
    day: str, midnight: str
) -> None:
    (row,) = read(
        lambda _: httpx.Response(200, json=series({**VALUE, "datetime": day})),
        timeframe=Timeframe.DAY,
    )

    assert row.start == f"{midnight}:00:00+00:00"


def test_a_batch_is_one_request_of_as_many_credits_as_symbols() -> None:
    budget = FreeBudget()

    def answer(request: httpx.Request) -> httpx.Response:
        names = request.url.params["symbol"].split(",")
        parts = {name: series(VALUE, symbol=name) for name in names}
        return httpx.Response(200, json=parts if len(names) > 1 else parts[names[0]])

    rows = read(answer, tuple(f"A{n}" for n in range(9)), budget=budget)

    assert len(rows) == 9
    assert [cost for cost, _ in budget.spent] == [8, 1]


def test_no_data_is_an_answer_of_its_own_and_holds_no_bars() -> None:
    assert read(lambda _: httpx.Response(400, json=NO_DATA)) == []
    assert read(lambda _: httpx.Response(200, json=NO_DATA)) == []
    assert read(lambda _: httpx.Response(200, json=series())) == []


def test_a_symbol_that_is_refused_is_named_after_the_others_were_given() -> None:
    given: list[RawBar] = []

    async def tell(client: TwelveData) -> None:
        names = [Symbol("AAPL"), Symbol("NOPE")]
        async for rows in client.pages(names, Timeframe.MINUTE, NOON, NOON + timedelta(hours=1)):
            given.extend(rows)

    with pytest.raises(SymbolsRefused, match="NOPE") as caught:
        client_story(
            lambda _: httpx.Response(200, json={"AAPL": series(VALUE), "NOPE": UNKNOWN}),
            tell,
            FreeBudget(),
        )

    assert caught.value.symbols == ("NOPE",)
    assert [row.symbol for row in given] == ["AAPL"]
    with pytest.raises(SymbolsRefused, match="NOPE"):
        read(lambda _: httpx.Response(404, json=UNKNOWN), ("NOPE",))


def test_an_answer_that_is_full_is_asked_for_again_in_halves() -> None:
    spans: list[tuple[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        query = request.url.params
        spans.append((query["start_date"][11:16], query["end_date"][11:16]))
        full = len(spans) == 1
        return httpx.Response(200, json=series(*([VALUE] * (5_000 if full else 1))))

    read(answer)

    assert spans == [("15:00", "16:00"), ("15:00", "15:30"), ("15:30", "16:00")]


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (httpx.Response(200, html="<html>log in</html>"), NotData),
        (httpx.Response(302, headers={"Location": "https://login.test"}), NotData),
        (httpx.Response(403, html="<html>blocked</html>"), NotData),
        (httpx.Response(200, text='{"meta": {"symbol": "AAPL"}, "val'), Truncated),
        (httpx.Response(200, text="maintenance"), NotData),
        (httpx.Response(200, json=[]), NotData),
        (httpx.Response(200, json={"meta": META, "status": "ok"}), NotData),
        (httpx.Response(200, json=series(symbol="MSFT")), NotData),
        (httpx.Response(200, json={"code": 500, "status": "error"}), ServerFailed),
        (httpx.Response(502, html="<html>bad gateway"), ServerFailed),
        (
            httpx.Response(200, json={"code": 400, "message": "Invalid x", "status": "error"}),
            Rejected,
        ),
        (
            httpx.Response(401, json={"code": 401, "message": "key", "status": "error"}),
            Misconfigured,
        ),
        (
            httpx.Response(200, json={"code": 401, "message": "key", "status": "error"}),
            Misconfigured,
        ),
    ],
)
def test_each_way_to_misbehave_is_an_outcome_of_its_own_and_never_empty(
    response: httpx.Response, outcome: type[Exception]
) -> None:
    with pytest.raises(outcome):
        read(lambda _: response)


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [(httpx.ReadTimeout, TooSlow), (httpx.ConnectError, Unreachable)],
)
def test_a_slow_and_a_dead_server_are_told_apart(
    failure: type[httpx.TransportError], outcome: type[Exception]
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise failure("failed", request=request)

    with pytest.raises(outcome):
        read(answer)


MINUTE_WORDS = "You have run out of API credits for the current minute. 9 API credits were used"
DAY_WORDS = "You have run out of API credits for the day. 801 API credits were used"


@pytest.mark.parametrize("status", [200, 429])
@pytest.mark.parametrize(("words", "pause_s"), [(MINUTE_WORDS, 61.0), (DAY_WORDS, 9 * 3600.0)])
def test_credits_that_are_used_up_are_a_pause_till_the_minute_or_the_day_is_over(
    status: int, words: str, pause_s: float
) -> None:
    budget = FreeBudget()
    body = {"code": 429, "message": words, "status": "error"}

    with pytest.raises(RateLimited) as caught:
        read(lambda _: httpx.Response(status, json=body), budget=budget)

    assert caught.value.pause_s == pause_s
    assert budget.pauses == [pause_s]


def test_a_429_that_is_a_web_page_is_a_pause_as_well() -> None:
    with pytest.raises(RateLimited):
        read(lambda _: httpx.Response(429, html="<html>slow down</html>"))


def test_quotes_are_exact_and_an_unknown_symbol_is_left_out() -> None:
    quote = {
        "symbol": "AAPL",
        "close": "187.6",
        "previous_close": "186.4",
        "volume": "31184213",
        "timestamp": 1_768_489_200,
        "is_market_open": True,
    }

    async def tell(client: TwelveData) -> Any:
        return await client.quotes([Symbol("AAPL"), Symbol("NOPE")])

    found = client_story(
        lambda _: httpx.Response(200, json={"AAPL": quote, "NOPE": UNKNOWN}), tell, FreeBudget()
    )

    assert list(found) == ["AAPL"]
    assert found["AAPL"].close == Decimal("187.6")
    assert found["AAPL"].at == datetime(2026, 1, 15, 15, 0, tzinfo=UTC)


def test_the_providers_own_count_of_credits_is_read_with_and_without_a_day() -> None:
    async def tell(client: TwelveData) -> Any:
        return await client.usage()

    basic = {"current_usage": 3, "plan_limit": 8, "daily_usage": 120, "plan_daily_limit": 800}
    paid = {"current_usage": 3, "plan_limit": 377}

    assert (
        client_story(lambda _: httpx.Response(200, json=basic), tell, FreeBudget()).day_used == 120
    )
    assert (
        client_story(lambda _: httpx.Response(200, json=paid), tell, FreeBudget()).day_limit is None
    )
    with pytest.raises(NotData):
        client_story(lambda _: httpx.Response(200, json={"x": 1}), tell, FreeBudget())
