"""Tests of screens: nothing but an empty answer is an empty universe, and ignored filters show."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from data_collector.adapters.finviz import Finviz
from data_collector.outcomes import NotData, ServerFailed, TooSlow, Truncated
from data_collector.screening import Screening
from data_collector.screens import COLUMNS, PRESETS, Taken, figure, parse_screen
from data_collector.testing import FreeBudget, MemoryUniverse
from shared.domain.errors import InvalidInput, Misconfigured, RateLimited
from shared.testing.bar_stores import NOON
from shared.testing.calendars import a_calendar
from shared.testing.time import FakeClock, FakeTimer

SMALL = PRESETS["small_caps"]
HEADER = ",".join(f'"{name}"' for name in COLUMNS.values())
GOOD = '"AAPL",150.5,2000.00,12.50,1800000,3.10%,7.20%'
Answer = Callable[[httpx.Request], httpx.Response]


def export(*rows: str) -> httpx.Response:
    body = "\r\n".join([HEADER, *rows]) + "\r\n"
    return httpx.Response(200, text="\ufeff" + body, headers={"content-type": "text/csv"})


def take(answer: Answer | httpx.Response, budget: FreeBudget | None = None) -> Any:
    async def story() -> Any:
        respond = (lambda _: answer) if isinstance(answer, httpx.Response) else answer
        transport = httpx.MockTransport(respond)
        async with httpx.AsyncClient(transport=transport, base_url="https://f.test") as client:
            finviz = Finviz(client, "secret-token", budget or FreeBudget(), FakeClock(NOON))
            return await finviz.take(SMALL)

    return asyncio.run(story())


def test_rows_come_in_dollars_and_shares_and_columns_are_always_named() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return export(GOOD)

    (candidate,), dropped, at = take(answer)

    assert (candidate.symbol, candidate.market_cap, candidate.average_volume) == (
        "AAPL",
        150_500_000.0,
        2_000_000.0,
    )
    assert (candidate.price, candidate.weekly_volatility, dropped, at) == (12.5, 7.2, 0, NOON)
    assert asked[0].url.path == "/export/screener"
    assert asked[0].url.params["c"] == "1,6,63,65,67,52,50"
    assert asked[0].url.params["f"] == ",".join(SMALL.filters)


def test_limits_are_applied_again_to_what_comes_back() -> None:
    found, dropped, _ = take(
        export(
            GOOD,
            '"BIG",90000,2000,12.50,1,1%,7%',
            '"DEAR",150,2000,35.01,1,1%,7%',
            '"IDLE",150,999.99,12,1,1%,7%',
            '"ETF",,2000,12,1,1%,7%',
            '"../../x",150,2000,12,1,1%,7%',
        )
    )

    assert [candidate.symbol for candidate in found] == ["AAPL"]
    assert dropped == 5


def test_a_header_alone_is_a_result_without_candidates() -> None:
    assert take(export())[0] == []


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (httpx.Response(200, html="<!DOCTYPE html><html>log in</html>"), Misconfigured),
        (httpx.Response(200, html="\ufeff <html>"), Misconfigured),
        (httpx.Response(401, text="no"), Misconfigured),
        (httpx.Response(301, headers={"Location": "/login"}), NotData),
        (httpx.Response(200, text=""), NotData),
        (httpx.Response(200, text='"Ticker","Price"\r\n'), NotData),
        (httpx.Response(200, content=b"\xff\xfe"), NotData),
        (export(*[GOOD] * 3_001), NotData),
        (httpx.Response(200, text=f"{HEADER}\r\n{GOOD[:-8]}"), Truncated),
        (httpx.Response(200, text=f"{HEADER}\r\n{GOOD[:-1]}"), Truncated),
        (httpx.Response(200, text=f'{HEADER}\r\n"AA'), Truncated),
        (httpx.Response(503, html="<html>"), ServerFailed),
    ],
)
def test_everything_else_is_no_result(response: httpx.Response, outcome: type[Exception]) -> None:
    with pytest.raises(outcome):
        take(response)


@pytest.mark.parametrize("status", [429, 403])
def test_too_many_requests_stop_everybody_for_a_minute_at_least(status: int) -> None:
    budget = FreeBudget()

    with pytest.raises(RateLimited):
        take(httpx.Response(status, html="<html>", headers={"Retry-After": "5"}), budget)

    assert budget.pauses == [60.0]


def test_no_failure_repeats_the_token() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout(f"slow: {request.url}", request=request)

    with pytest.raises(TooSlow) as caught:
        take(answer)

    assert "secret-token" not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("code", ["sh_volume_o500", "cap", "cap_small&x=1", "", "cap_../../x"])
def test_a_filter_that_would_be_ignored_is_refused_before_it_is_sent(code: str) -> None:
    with pytest.raises(InvalidInput):
        parse_screen(code)


def test_presets_are_made_of_codes_that_exist_and_free_screens_are_taken() -> None:
    for preset in PRESETS.values():
        assert parse_screen(",".join(preset.filters)).filters == preset.filters
    assert parse_screen("exch_nyse|nasd, fa_pe_10to20").filters == (
        "exch_nyse|nasd",
        "fa_pe_10to20",
    )


def test_figures_are_read_in_every_form_that_has_been_seen() -> None:
    assert figure("32516.22", 1e6) == 32_516_220_000.0
    assert figure("1.23B", 1e6) == 1.23e9
    assert figure("-0.29%") == -0.29
    assert figure("-") is figure("") is None


class Scripted:
    """A `Screener` of given answers."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    async def take(self, screen: Any) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_results_are_noted_with_their_time_and_a_failure_leaves_the_last_one() -> None:
    (candidate,), _, _ = take(export(GOOD))
    timer, universe, clock = FakeTimer(), MemoryUniverse(), FakeClock(NOON)
    screener = Scripted(
        ([candidate], 0, NOON), NotData("a page"), ([], 0, NOON + timedelta(minutes=10))
    )
    screening = Screening(SMALL, screener, universe, a_calendar(), clock, timer)

    async def story() -> None:
        task = asyncio.create_task(screening.run())
        await timer.advance(299.0)
        first = Taken("small_caps", SMALL.filters, NOON, (candidate.symbol,))
        assert universe.noted == [first]
        await timer.advance(300.0)
        assert universe.noted == [first]
        errors = [screening.last_error]
        await timer.advance(300.0)
        assert [taken.symbols for taken in universe.noted] == [(candidate.symbol,), ()]
        assert [*errors, screening.last_error] == ["a page", None]
        clock.set(datetime(2026, 1, 17, 15, 0, tzinfo=UTC))
        await timer.advance(900.0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(story())
