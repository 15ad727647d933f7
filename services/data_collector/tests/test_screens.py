"""Tests of screens: nothing but an empty answer is an empty universe, and ignored filters show."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from data_collector.adapters.finviz import Finviz
from data_collector.outcomes import NotData, ServerFailed, TooSlow, Truncated
from data_collector.screening import Outcome, Screening, Unbelievable, tell_off
from data_collector.screens import (
    COLUMNS,
    FIGURES,
    PRESETS,
    Candidate,
    Taken,
    figure,
    parse_screen,
)
from data_collector.testing import FreeBudget, MemoryUniverse, ScriptedNewest
from data_collector.tracking import tracked
from shared.adapters.logs import set_up_logging
from shared.domain.errors import (
    InvalidInput,
    Misconfigured,
    RateLimited,
    TradingError,
    Unavailable,
)
from shared.domain.fundamentals import FUNDAMENTALS
from shared.domain.symbols import Symbol
from shared.testing.bar_stores import NOON
from shared.testing.calendars import a_calendar
from shared.testing.time import FakeClock, FakeTimer

SMALL = PRESETS["small_caps"]
HEADER = ",".join(f'"{name}"' for name in COLUMNS.values())
# As far as a test says nothing else, all is known of a company.
FILLED = ",".join(["20.00"] * (len(FIGURES) - 1))


def a_row(text: str) -> str:
    """A row whose first columns are those of `text` and whose company has figures."""
    symbol, market_cap, rest = text.split(",", 2)
    return f"{symbol},{market_cap},{FILLED},{rest}"


GOOD = a_row('"AAPL",150.5,2000.00,12.50,1800000,3.10%,7.20%')
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
    assert asked[0].url.params["c"] == (
        "1,6,7,8,9,10,11,13,14,17,18,22,23,32,33,35,38,39,40,41,63,65,67,52,50"
    )
    assert asked[0].url.params["f"] == ",".join(SMALL.filters)


def test_limits_are_applied_again_to_what_comes_back() -> None:
    found, dropped, _ = take(
        export(
            GOOD,
            a_row('"BIG",90000,2000,12.50,1,1%,7%'),
            a_row('"DEAR",150,2000,35.01,1,1%,7%'),
            a_row('"IDLE",150,999.99,12,1,1%,7%'),
            a_row('"ETF",,2000,12,1,1%,7%'),
            a_row('"../../x",150,2000,12,1,1%,7%'),
        )
    )

    assert [candidate.symbol for candidate in found] == ["AAPL"]
    assert dropped == 5


def test_figures_of_companies_are_read_by_header_percent_as_fractions_and_missing_as_missing() -> (
    None
):
    (candidate,), _, _ = take(
        export(
            '"AAPL",150.5,29.41,-,,7.5,40.2,31,0.45%,8.1%,-2.5%,12.00%,4.00%,27.5%,150%,0.9,1.87,44.1%,30.0%,24.0%,'
            "2000.00,12.50,1800000,3.10%,7.20%"
        )
    )

    known = {name: value for name, value in candidate.figures.items() if value is not None}
    assert set(candidate.figures) == set(FUNDAMENTALS) == set(FIGURES)
    assert set(candidate.figures) - set(known) == {"forward_pe", "peg"}
    assert (known["market_cap"], known["pe"], known["debt_to_equity"]) == (
        150_500_000.0,
        29.41,
        1.87,
    )
    assert known["eps_growth_next_year"] == pytest.approx(-0.025)
    assert (known["return_on_equity"], known["eps_growth_quarter"]) == (1.5, 0.12)


def test_a_column_that_the_filters_need_is_named_when_it_was_renamed() -> None:
    for column in ("Ticker", "Market Cap", "Average Volume", "Price"):
        renamed = export(GOOD).text.replace(f'"{column}"', '"Something else"')

        with pytest.raises(NotData, match=f"without the column '{column}'; has it been renamed"):
            take(httpx.Response(200, text=renamed))


def test_a_renamed_column_of_a_figure_costs_that_figure_and_no_symbol() -> None:
    renamed = export(GOOD).text.replace('"P/E"', '"PE Ratio"')
    (candidate,), dropped, _ = take(httpx.Response(200, text=renamed))
    whole, _, _ = take(export(GOOD))
    universe = MemoryUniverse()
    answers = [([candidate], 0, NOON), ([], 0, NOON), ([], 0, NOON), (whole, 0, NOON)]
    screening = Screening(
        SMALL,
        Scripted(*answers),
        universe,
        a_calendar(),
        FakeClock(NOON),
        FakeTimer(),
        ScriptedNewest(),
    )
    missing = []

    async def taken() -> tuple[str, ...]:
        # One that suddenly shrinks to nothing is doubted at first.
        with contextlib.suppress(Unbelievable):
            await screening.take()
        return screening.missing

    async def story() -> None:
        missing.extend([await taken() for _ in answers])

    with structlog.testing.capture_logs() as logged:
        asyncio.run(story())

    assert (candidate.symbol, dropped) == ("AAPL", 0)
    assert set(FUNDAMENTALS) - set(candidate.figures) == {"pe"}
    assert universe.noted[0].symbols == ("AAPL",)
    # A screen without a row does not say that the column is back.
    assert missing == [("P/E",), ("P/E",), ("P/E",), ()]
    assert [each["columns"] for each in logged if "columns" in each] == [("P/E",)]


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
    assert figure("-") is figure("") is figure("9" * 400) is None


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
        ([candidate], 0, NOON),
        NotData("a page"),
        ([candidate], 0, NOON + timedelta(minutes=10)),
    )
    screening = Screening(SMALL, screener, universe, a_calendar(), clock, timer, ScriptedNewest())

    async def story() -> None:
        first = Taken("small_caps", SMALL.filters, NOON, (candidate.symbol,))
        for seconds in (0, 1, 299):
            clock.set(NOON + timedelta(seconds=seconds))
            await screening.look()
        assert universe.noted == [first]
        clock.set(NOON + timedelta(minutes=5))
        await screening.look()
        assert universe.noted == [first]
        errors = [screening.last_error]
        clock.set(NOON + timedelta(minutes=11))
        await screening.look()
        assert [taken.symbols for taken in universe.noted] == [(candidate.symbol,)] * 2
        assert universe.companies == {candidate.symbol: candidate.figures}
        assert [*errors, screening.last_error] == ["a page", None]
        clock.set(datetime(2026, 1, 17, 15, 0, tzinfo=UTC))
        await screening.look()

    asyncio.run(story())

    assert [
        (run.due_at - NOON, run.ended_at - NOON, run.outcome, run.symbols, run.detail)
        for run in universe.runs.values()
    ] == [
        (timedelta(0), timedelta(0), Outcome.TAKEN, 1, ""),
        (timedelta(minutes=5), timedelta(minutes=5), Outcome.FAILED, 0, "a page"),
        (timedelta(minutes=10), timedelta(minutes=11), Outcome.TAKEN, 1, ""),
    ]


def a_screening(universe: MemoryUniverse, *answers: Any) -> Screening:
    return Screening(
        SMALL,
        Scripted(*answers),
        universe,
        a_calendar(),
        FakeClock(NOON),
        FakeTimer(),
        ScriptedNewest(),
    )


def test_after_a_restart_a_screen_that_was_taken_is_left_alone_and_one_that_failed_tried_again() -> (
    None
):
    (candidate,), _, _ = take(export(GOOD))
    universe = MemoryUniverse()

    async def story() -> None:
        await a_screening(universe, NotData("a page")).look()
        assert universe.runs[NOON].outcome is Outcome.FAILED
        await a_screening(universe, ([candidate], 0, NOON)).look()
        assert universe.runs[NOON].outcome is Outcome.TAKEN
        await a_screening(universe).look()

    asyncio.run(story())

    assert list(universe.runs) == [NOON]


def test_how_a_screen_went_is_stored_once_the_database_answers_without_asking_again() -> None:
    universe = MemoryUniverse(absent=1)
    screening = a_screening(universe, NotData("a page"))

    async def story() -> None:
        with pytest.raises(Unavailable):
            await screening.look()
        await screening.look()
        await screening.look()

    asyncio.run(story())

    assert [run.detail for run in universe.runs.values()] == ["a page"]


def test_that_no_screen_is_taken_is_stored_once_and_a_key_begins_anew() -> None:
    (candidate,), _, _ = take(export(GOOD))
    universe = MemoryUniverse()

    async def story() -> None:
        await tell_off(universe, NOON - timedelta(hours=1))
        await tell_off(universe, NOON - timedelta(minutes=30))
        await a_screening(universe, ([candidate], 0, NOON)).look()

    asyncio.run(story())

    assert [(run.outcome, run.detail) for run in universe.runs.values()] == [
        (Outcome.OFF, "no screen is taken: FINVIZ_API_KEY is not set"),
        (Outcome.TAKEN, ""),
    ]


def candidates(*names: str) -> list[Candidate]:
    return [Candidate(Symbol(name), 1e9, 2e6, 12.0, None, None, None) for name in names]


def takes(
    *answers: list[Candidate], assets: ScriptedNewest | None = None
) -> tuple[list[tuple[str, ...]], list[str | None], int]:
    """What was noted, what was said of each answer, and how often somebody was told."""
    universe = MemoryUniverse()
    told: list[bool] = []
    said: list[str | None] = []
    given = [(found, 0, NOON + timedelta(minutes=5 * n)) for n, found in enumerate(answers)]
    screening = Screening(
        SMALL,
        Scripted(*given),
        universe,
        a_calendar(),
        FakeClock(NOON),
        FakeTimer(),
        assets or ScriptedNewest(),
        lambda: told.append(True),
    )

    async def story() -> None:
        for _ in answers:
            try:
                await screening.take()
                said.append(None)
            except Unbelievable as error:
                said.append(str(error))

    asyncio.run(story())
    return [taken.symbols for taken in universe.noted], said, len(told)


def test_f75_a_screen_that_suddenly_shrinks_is_believed_when_it_says_so_again() -> None:
    five, three = candidates("A", "B", "C", "D", "E"), candidates("A", "B", "C")

    noted, said, told = takes(five, three, five, three, three)

    assert [len(symbols) for symbols in noted] == [5, 5, 3]
    assert said[1] == (
        "the screen shrank from 5 to 3 symbols; the last one stays until it says so again"
    )
    assert ([each is None for each in said], told) == ([True, False, True, False, True], 3)


def test_f75_nothing_at_once_is_not_believed_and_four_of_five_are() -> None:
    five = candidates("A", "B", "C", "D", "E")

    assert [len(symbols) for symbols in takes(five, five[:4], [])[0]] == [5, 4]
    assert [len(symbols) for symbols in takes(five, [], [])[0]] == [5, 0]


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Path]:
    """The folder of all logs, which know of no secret to mask."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    set_up_logging("data_collector", tmp_path, "DEBUG", secrets=[])
    yield tmp_path
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def test_f76_the_key_that_travels_in_the_address_reaches_no_log_and_no_output(
    capsys: pytest.CaptureFixture[str], written: Path
) -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError(f"cannot reach {request.url}", request=request)

    refusals = (httpx.Response(429), httpx.Response(403), httpx.Response(500))
    answers: list[Any] = [export(GOOD), broken, *refusals]
    for answer in answers:
        try:
            take(answer)
        except TradingError:
            logging.getLogger("data_collector").exception("no screen")

    out = "".join(capsys.readouterr())
    logged = "".join(path.read_text() for path in written.rglob("*") if path.is_file())
    assert logged.count("Traceback") >= len(answers) - 1
    assert "secret-token" not in out + logged


def test_f77_symbols_that_no_provider_of_prices_knows_are_left_out() -> None:
    assets = ScriptedNewest(unknown=frozenset([Symbol("FAKE")]))

    noted, _, _ = takes(candidates("AAPL", "FAKE"), assets=assets)

    assert noted == [("AAPL",)]


def test_without_an_answer_about_its_symbols_a_screen_is_not_noted() -> None:
    with pytest.raises(NotData):
        takes(candidates("AAPL"), assets=ScriptedNewest(failures=[NotData("a page")]))


def a_screen(minutes: int, *names: str) -> Taken:
    at = NOON - timedelta(minutes=minutes)
    return Taken("small_caps", SMALL.filters, at, tuple(Symbol(name) for name in names))


def test_static_held_and_lately_screened_symbols_are_tracked() -> None:
    static, held = [Symbol("SPY"), Symbol("AAPL")], [Symbol("OLD")]
    screens = [a_screen(5, "AAPL", "NEW"), a_screen(30, "SEEN"), a_screen(90, "GONE")]

    found = tracked(static, screens, held, NOON, timedelta(hours=1))

    assert found == ("SPY", "AAPL", "OLD", "NEW", "SEEN")


def test_a_screen_that_is_too_wide_does_not_crowd_out_what_is_asked_for_or_held() -> None:
    wide = a_screen(5, *(f"A{n}" for n in range(2_000)))

    found = tracked([Symbol("SPY")], [wide], [Symbol("OLD")], NOON, timedelta(hours=1))

    assert (found[:2], len(found)) == (("SPY", "OLD"), 502)
