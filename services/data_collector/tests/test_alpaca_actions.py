"""Tests of Alpaca's corporate actions, against the simulator and its misbehaviour."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import httpx
import pytest

from data_collector.adapters.alpaca_actions import AlpacaActions
from data_collector.adapters.alpaca_data import AlpacaData
from data_collector.outcomes import NotData, ServerFailed, Truncated, Unreachable
from data_collector.ports import ToldActions
from data_collector.testing import FreeBudget
from shared.domain.corporate_actions import CashDividend, Split
from shared.domain.errors import RateLimited, Unavailable
from shared.domain.symbols import Symbol
from shared.testing.bar_stores import NOON
from shared.testing.calendars import a_calendar
from shared.testing.time import FakeClock
from simulator.testing import RunningSimulator, running_simulator, tape_of

AAPL, MSFT = Symbol("AAPL"), Symbol("MSFT")
START_ON, END_ON = date(2025, 1, 1), date(2026, 1, 5)
SPLIT = Split(AAPL, date(2025, 6, 9), Decimal("7.0"), Decimal("1.0"))
REVERSE = Split(MSFT, date(2025, 6, 9), Decimal("1.0"), Decimal("20.0"))
# Paid after the last day that is asked for.
DIVIDEND = CashDividend(AAPL, date(2025, 12, 30), Decimal("0.47"))


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    tape = tape_of([(100.0, 101.0, 99.0, 100.5, 1_000)], ["AAPL", "MSFT"], a_calendar())
    with running_simulator(tape, actions=(SPLIT, REVERSE, DIVIDEND)) as running:
        yield running


def ask(client: httpx.AsyncClient, *symbols: Symbol, budget: FreeBudget) -> Any:
    source = AlpacaActions(AlpacaData(client, budget, FakeClock(NOON)))
    return source.told(symbols, START_ON, END_ON)


def told(simulator: RunningSimulator, *symbols: Symbol) -> ToldActions:
    async def story() -> ToldActions:
        keys = {"APCA-API-KEY-ID": "K", "APCA-API-SECRET-KEY": "S"}
        async with httpx.AsyncClient(
            base_url=simulator.url, headers=keys, trust_env=False
        ) as client:
            found: ToldActions = await ask(client, *symbols, budget=FreeBudget())
            return found

    return asyncio.run(story())


def told_by(*pages: Any, symbols: tuple[Symbol, ...] = (AAPL,)) -> ToldActions:
    """What is made of pages that no simulator would send."""
    waiting = list(pages)

    def answer(_: httpx.Request) -> httpx.Response:
        body = waiting.pop(0)
        token = "more" + str(len(waiting)) if waiting else None
        return httpx.Response(200, json={"corporate_actions": body, "next_page_token": token})

    async def story() -> ToldActions:
        transport = httpx.MockTransport(answer)
        async with httpx.AsyncClient(transport=transport, base_url="https://data.test") as client:
            found: ToldActions = await ask(client, *symbols, budget=FreeBudget())
            return found

    return asyncio.run(story())


def test_splits_and_dividends_of_the_symbols_asked_for_are_told(
    simulator: RunningSimulator,
) -> None:
    assert set(told(simulator, AAPL, MSFT).actions) == {SPLIT, REVERSE, DIVIDEND}
    assert told(simulator, MSFT) == ToldActions((REVERSE,), ())


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ({"kind": "status", "status": 200, "body": "<html>log in</html>"}, NotData),
        ({"kind": "status", "status": 503}, ServerFailed),
        ({"kind": "status", "status": 200, "body": '{"next_page_token": null}'}, Unavailable),
        ({"kind": "rate_limit"}, RateLimited),
        ({"kind": "truncate"}, Truncated),
        ({"kind": "lose_reply"}, (Unreachable, Truncated)),
    ],
)
def test_a_provider_that_misbehaves_is_never_taken_for_one_that_knows_of_none(
    simulator: RunningSimulator, fault: dict[str, Any], outcome: type[Exception]
) -> None:
    simulator.fault(**fault, match={"path": "/v1/corporate-actions"})

    with pytest.raises(outcome):
        told(simulator, AAPL)
    assert len(told(simulator, AAPL).actions) == 2


def test_a_dividend_in_shares_is_a_split() -> None:
    row = {"symbol": "AAPL", "rate": 0.05, "ex_date": "2025-06-09"}

    assert told_by({"stock_dividends": [row]}).actions == (
        Split(AAPL, date(2025, 6, 9), Decimal("1.05"), Decimal(1)),
    )


def test_a_row_that_comes_twice_counts_once_and_others_symbols_not_at_all() -> None:
    row = {"id": "one", "symbol": "AAPL", "rate": 0.5, "ex_date": "2025-06-09"}
    other = {"id": "two", "symbol": "MSFT", "rate": 0.5, "ex_date": "2025-06-09"}
    early = {"id": "three", "symbol": "AAPL", "rate": 0.5, "ex_date": "2024-06-09"}

    found = told_by({"cash_dividends": [row, other]}, {"cash_dividends": [row, early]})

    assert found.actions == (CashDividend(AAPL, date(2025, 6, 9), Decimal("0.5")),)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"new_rate": 0}, "both rates must be finite and above zero"),
        ({"new_rate": "7"}, "new_rate of the corporate action is no number"),
        ({"ex_date": None}, "no ex-date but 'None'"),
        ({"ex_date": "soon"}, "no ex-date but 'soon'"),
        ({"symbol": "../../x"}, "is not a symbol"),
        ({"symbol": 7}, "names no symbol"),
    ],
)
def test_a_row_that_can_be_none_is_refused_by_itself(change: dict[str, Any], why: str) -> None:
    good = {"symbol": "AAPL", "new_rate": 7, "old_rate": 1, "ex_date": "2025-06-09"}

    found = told_by({"forward_splits": [{**good, **change}], "reverse_splits": [good]})

    assert len(found.actions) == 1
    ((bad,),) = (found.refused,)
    assert why in bad.reason
    assert "forward_splits" in bad.raw


def test_what_changes_a_share_otherwise_is_told_with_its_day_and_applied_to_nothing() -> None:
    found = told_by(
        {
            "spin_offs": [
                {"id": "1", "source_symbol": "AAPL", "new_symbol": "PEAR", "ex_date": "2025-06-09"},
                {"id": "2", "source_symbol": "AAPL", "ex_date": "soon"},
            ],
            "stock_and_cash_mergers": [
                {"id": "3", "acquiree_symbol": "AAPL", "effective_date": "2025-07-01"},
                {"id": "4", "acquiree_symbol": "MSFT", "effective_date": "2025-07-01"},
            ],
        }
    )

    assert found.actions == ()
    assert [(each.symbol, str(each.on), each.kind) for each in found.unapplied] == [
        ("AAPL", "2025-06-09", "spin off"),
        ("AAPL", "2025-07-01", "stock and cash merger"),
    ]
    assert [bad.reason for bad in found.refused] == [
        "the corporate action has no ex-date but 'soon'"
    ]


def test_an_action_keeps_the_name_by_which_its_provider_knows_it(
    simulator: RunningSimulator,
) -> None:
    found = told(simulator, AAPL)

    assert all(len(action.ids) == 1 for action in found.actions)
    assert len({action.ids for action in found.actions}) == len(found.actions) == 2
