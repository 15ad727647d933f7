"""The official Twelve Data client, unmodified, is the witness of that protocol."""

import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

with warnings.catch_warnings():
    # What it imports is older than this Python; that is its own business.
    warnings.simplefilter("ignore")
    from twelvedata import TDClient
    from twelvedata.exceptions import (
        BadRequestError,
        InternalServerError,
        InvalidApiKeyError,
        TwelveDataError,
    )

from shared.testing.time import FakeClock
from simulator.tape import Tape
from simulator.testing import RunningSimulator, running_simulator

# Its session is closed by the garbage collector alone.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

MINUTES = [
    (100.0, 101.0, 99.0, 100.5, 10_000),
    (100.5, 102.0, 100.0, 101.0, 10_001),
    (101.0, 103.0, 100.5, 102.25, 10_002),
]


@pytest.fixture
def simulator(make_tape: Callable[..., Tape]) -> Iterator[RunningSimulator]:
    with running_simulator(make_tape(MINUTES, ["AAPL", "MSFT"])) as running:
        running.advance(9)
        yield running


@pytest.fixture
def client(simulator: RunningSimulator) -> Any:
    return TDClient(apikey="K", base_url=simulator.url)


def test_bars_come_newest_first_as_texts_in_the_zone_that_was_asked_for(client: Any) -> None:
    rows = client.time_series(
        symbol="AAPL", interval="1min", outputsize=2, timezone="UTC"
    ).as_json()

    assert [row["datetime"] for row in rows] == ["2026-01-05 14:32:00", "2026-01-05 14:31:00"]
    assert rows[0] == {
        "datetime": "2026-01-05 14:32:00",
        "open": "101.00000",
        "high": "103.00000",
        "low": "100.50000",
        "close": "102.25000",
        "volume": "10002",
    }
    local = client.time_series(symbol="AAPL", interval="1min", outputsize=1).as_json()
    assert local[0]["datetime"] == "2026-01-05 09:32:00"


def test_a_range_of_dates_bounds_the_bars_on_both_sides(client: Any) -> None:
    rows = client.time_series(
        symbol="AAPL",
        interval="1min",
        start_date="2026-01-05 14:31:00",
        end_date="2026-01-05 14:31:00",
        timezone="UTC",
        order="asc",
    ).as_json()

    assert [row["datetime"] for row in rows] == ["2026-01-05 14:31:00"]


def test_csv_is_what_the_client_takes_for_csv(client: Any) -> None:
    rows = client.time_series(symbol="AAPL", interval="1min", outputsize=3).as_csv()

    assert rows[0] == ["datetime", "open", "high", "low", "close", "volume"]
    assert [row[4] for row in rows[1:]] == ["102.25000", "101.00000", "100.50000"]


def test_a_batch_holds_every_symbol_and_leaves_out_what_is_unknown(client: Any) -> None:
    found = client.time_series(
        symbol=["AAPL", "MSFT", "NOPE"], interval="1min", outputsize=1
    ).as_json()

    assert sorted(found) == ["AAPL", "MSFT"]


def test_quote_price_end_of_day_and_usage_are_understood(client: Any) -> None:
    quote = client.quote(symbol="AAPL").as_json()
    assert (quote["open"], quote["high"], quote["close"]) == ("100", "103", "102.25")
    assert quote["volume"] == "30003"
    assert client.price(symbol="AAPL").as_json() == {"price": "102.25"}
    assert client.eod(symbol="AAPL").as_json()["datetime"] == "2026-01-05"
    assert set(client.api_usage().as_json()) >= {"current_usage", "plan_limit"}


def test_errors_are_of_the_types_that_the_client_knows(
    client: Any, simulator: RunningSimulator
) -> None:
    with pytest.raises(TwelveDataError, match="symbol"):
        client.time_series(symbol="NOPE", interval="1min").as_json()
    with pytest.raises(BadRequestError, match="interval"):
        client.time_series(symbol="AAPL", interval="2h").as_json()
    with pytest.raises(BadRequestError, match="No data is available"):
        client.time_series(
            symbol="AAPL", interval="1min", start_date="2020-01-01", end_date="2020-01-02"
        ).as_json()
    with pytest.raises(InvalidApiKeyError, match="apikey"):
        TDClient(apikey="", base_url=simulator.url).price(symbol="AAPL").as_json()
    simulator.fault(kind="status", status=503, match={"path": "/time_series"})
    with pytest.raises(InternalServerError):
        client.time_series(symbol="AAPL", interval="1min").as_json()


def test_an_error_that_comes_as_a_success_is_an_error_all_the_same(
    client: Any, simulator: RunningSimulator
) -> None:
    words = '{"code":429,"message":"out of credits for the day","status":"error"}'
    simulator.fault(kind="status", status=200, body=words, match={"path": "/time_series"})

    with pytest.raises(TwelveDataError, match="for the day"):
        client.time_series(symbol="AAPL", interval="1min").as_json()


def test_credits_run_out_for_the_minute_of_the_clock_and_refused_calls_count_too(
    make_tape: Callable[..., Tape],
) -> None:
    clock = FakeClock(datetime(2026, 1, 5, 14, 30, 30, tzinfo=UTC))
    tape = make_tape(MINUTES, ["AAPL", "MSFT"])
    with running_simulator(tape, credits_per_minute=3, machine_clock=clock) as running:
        running.advance(9)
        client = TDClient(apikey="K", base_url=running.url)
        client.price(symbol=["AAPL", "MSFT"]).as_json()
        with pytest.raises(TwelveDataError, match=r"current minute\. 4 API credits were used"):
            client.price(symbol=["AAPL", "MSFT"]).as_json()
        with pytest.raises(TwelveDataError, match=r"current minute\. 5 API credits were used"):
            client.price(symbol="AAPL").as_json()
        clock.advance(30.0)
        usage = client.api_usage().as_json()

    assert (usage["current_usage"], usage["plan_limit"], usage["daily_usage"]) == (1, 3, 6)
