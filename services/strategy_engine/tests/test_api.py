"""The strategy engine's HTTP API, over its memory store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from shared.adapters.http_api import make_app
from shared.config import load_settings
from shared.domain.symbols import Symbol
from shared.testing.bar_stores import a_bar
from shared.testing.time import InstantTimer
from strategy_engine.api import router
from strategy_engine.catalogue import Catalogue
from strategy_engine.indicators import sma
from strategy_engine.panels import View
from strategy_engine.service import StrategyEngine
from strategy_engine.strategies.moving_average import MovingAverage
from strategy_engine.strategy import Strategy
from strategy_engine.testing import Market, work_off

TOKENS = {"API_TOKEN_READ": "read-token-0", "API_TOKEN_OPERATE": "operate-token-0"}
READ = {"Authorization": "Bearer read-token-0"}
OPERATE = {"Authorization": "Bearer operate-token-0"}
PROBLEM = "application/problem+json"


class Faulty(Strategy):
    """Cannot be asked."""

    @property
    def bars_needed(self) -> int:
        return 1

    def generate_signal(self, view: View) -> None:
        raise KeyError("no such thing")


@dataclass
class Room:
    app: FastAPI
    market: Market
    engine: StrategyEngine


@pytest.fixture
def room() -> Room:
    market = Market()
    engine = market.engine(MovingAverage(short_window=1, long_window=2))
    catalogue = Catalogue(
        {"faulty": Faulty, "moving_average": MovingAverage}, {"mine.py": "SyntaxError: oh"}
    )
    app = make_app(
        "strategy_engine", load_settings(TOKENS), {"warmed_up": engine.is_warm}, InstantTimer()
    )
    app.include_router(
        router(engine, catalogue, market.store, [Symbol("NVDA")], market.bars, market.clock)
    )
    return Room(app, market, engine)


Conversation = Callable[[httpx.AsyncClient], Awaitable[None]]


def talk(room: Room, conversation: Conversation) -> None:
    async def main() -> None:
        transport = httpx.ASGITransport(room.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8002") as http:
            await conversation(http)

    asyncio.run(main())


def with_a_rise(room: Room) -> None:
    """Two bars of history, then one of two symbols that both rise above their average."""
    for minute, close in enumerate([10, 9]):
        room.market.keep(a_bar("AAPL", minute, close=close), a_bar("MSFT", minute, close=close))
    room.market.announce(a_bar("AAPL", 2, close="12.5"), a_bar("MSFT", 2, close=11))


def test_every_route_needs_a_token(room: Room) -> None:
    async def conversation(http: httpx.AsyncClient) -> None:
        assert (await http.get("/strategies")).status_code == 401
        assert (await http.get("/signals")).status_code == 401
        assert (await http.post("/signals/generate", json={})).status_code == 401
        assert (await http.post("/strategies/faulty/resume", json={})).status_code == 401
        # Storing and turning on change something: a reading token may not.
        stored = await http.post("/signals/generate", json={"dry_run": False}, headers=READ)
        assert (stored.status_code, stored.json()["code"]) == (403, "forbidden")
        on = await http.post("/strategies/faulty/resume", json={"reason": "why"}, headers=READ)
        assert on.status_code == 403
        off = await http.post("/strategies/faulty/pause", json={"reason": "why"}, headers=READ)
        assert off.status_code == 403

    talk(room, conversation)


def test_strategies_are_listed_with_parameters_bounds_values_and_what_a_sell_means(
    room: Room,
) -> None:
    async def conversation(http: httpx.AsyncClient) -> None:
        body = (await http.get("/strategies", headers=READ)).json()

        assert body["broken"] == {"mine.py": "SyntaxError: oh"}
        faulty, average = body["items"]
        assert (faulty["name"], faulty["state"]) == ("faulty", "available")
        assert (average["name"], average["state"], average["bars_needed"]) == (
            "moving_average",
            "on",
            3,
        )
        assert average["sell_means"] == MovingAverage.sell_means
        assert average["parameters"][0] == {
            "name": "short_window",
            "type": "int",
            "value": 1,
            "default": 20,
            "low": 1,
            "high": 899,
            "about": "bars of the short average",
        }
        assert average["last_run"] is None

    talk(room, conversation)


def test_lines_are_drawn_with_the_functions_that_strategies_decide_with(room: Room) -> None:
    closes = [100.0 + minute % 7 for minute in range(60)]
    room.market.keep(*(a_bar("AAPL", minute, close=close) for minute, close in enumerate(closes)))
    room.market.clock.set(a_bar("AAPL", 60).start_at)

    async def conversation(http: httpx.AsyncClient) -> None:
        asked = "/indicators/AAPL?names=sma20,bollinger,rsi14&limit=30"
        body = (await http.get(asked, headers=READ)).json()

        titles = {line["title"]: line["values"] for line in body["items"]}
        column = np.asarray(closes).reshape(-1, 1)
        assert titles["SMA 20"] == [round(v, 6) for v in sma(column, 20)[-30:, 0].tolist()]
        assert list(titles) == ["SMA 20", "Lower band", "Middle band", "Upper band", "RSI 14"]
        assert [line["is_price"] for line in body["items"]] == [True] * 4 + [False]
        assert len(body["start_at"]) == len(titles["RSI 14"]) == 30

    talk(room, conversation)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/indicators/AAPL?names=magic", "known are sma20"),
        ("/indicators/AAPL?names=" + ",".join(["sma20"] * 9), "at most 8 lines"),
        ("/indicators/..x?names=sma20", "symbol"),
        ("/indicators/AAPL?names=sma20&timeframe=7Min", "7Min"),
    ],
)
def test_a_line_that_nobody_can_draw_is_refused_with_the_mend(
    room: Room, path: str, says: str
) -> None:
    async def conversation(http: httpx.AsyncClient) -> None:
        answer = await http.get(path, headers=READ)
        assert answer.status_code == 422
        assert says in answer.json()["detail"]

    talk(room, conversation)


def test_lines_up_to_a_day_that_has_not_come_end_today(room: Room) -> None:
    room.market.keep(*(a_bar("AAPL", minute) for minute in range(20)))
    room.market.clock.set(a_bar("AAPL", 20).start_at)

    async def conversation(http: httpx.AsyncClient) -> None:
        asked = "/indicators/AAPL?names=sma20"
        until_now = (await http.get(asked, headers=READ)).json()
        assert len(until_now["start_at"]) == 20
        assert (await http.get(f"{asked}&end=9999-12-31", headers=READ)).json() == until_now

    talk(room, conversation)


def test_lines_of_a_symbol_without_bars_are_empty(room: Room) -> None:
    async def conversation(http: httpx.AsyncClient) -> None:
        body = (await http.get("/indicators/MSFT?names=sma20", headers=READ)).json()
        assert (body["start_at"], body["items"]) == ([], [])

    talk(room, conversation)


def test_the_last_run_is_shown(room: Room) -> None:
    async def conversation(http: httpx.AsyncClient) -> None:
        with_a_rise(room)
        await work_off(room.engine)

        average = (await http.get("/strategies", headers=READ)).json()["items"][1]

        assert average["last_run"]["signals"] == 2
        assert average["last_run"]["instant_at"] == "2026-01-15T15:03:00Z"

    talk(room, conversation)


def test_a_dry_run_shows_what_the_pipeline_will_store_and_stores_nothing(room: Room) -> None:
    async def conversation(http: httpx.AsyncClient) -> None:
        with_a_rise(room)

        dry = (await http.post("/signals/generate", json={}, headers=READ)).json()
        assert (dry["stored"], dry["batch_id"], dry["symbols_evaluated"]) == (False, 1, 2)
        assert (room.market.store.outbox, room.market.store.read) == ([], 0)

        await work_off(room.engine)
        stored = (await http.get("/signals", headers=READ)).json()["items"]
        assert sorted(dry["signals"], key=lambda s: s["symbol"]) == sorted(
            stored, key=lambda s: s["symbol"]
        )
        assert dry["signals"][0]["reference_price"] == "12.5"

    talk(room, conversation)


def test_generating_twice_gives_the_same_ids_and_stores_nothing_twice(room: Room) -> None:
    async def conversation(http: httpx.AsyncClient) -> None:
        with_a_rise(room)
        ask = {"strategy": "moving_average", "dry_run": False}

        first = (await http.post("/signals/generate", json=ask, headers=OPERATE)).json()
        second = (await http.post("/signals/generate", json=ask, headers=OPERATE)).json()

        assert first == second
        assert (first["stored"], len(first["signals"])) == (True, 2)
        assert (len(room.market.store.kept), len(room.market.store.outbox)) == (2, 1)

    talk(room, conversation)


def test_a_wish_to_be_short_is_shown_stored_and_the_same_each_time(room: Room) -> None:
    engine = room.market.engine(MovingAverage(short_window=1, long_window=2, allow_short=True))
    app = make_app("strategy_engine", load_settings(TOKENS), {}, InstantTimer())
    catalogue = Catalogue({"moving_average": MovingAverage}, {})
    app.include_router(
        router(engine, catalogue, room.market.store, [], room.market.bars, room.market.clock)
    )
    for minute, close in enumerate([10, 11]):
        room.market.keep(a_bar("AAPL", minute, close=close))
    room.market.announce(a_bar("AAPL", 2, close=8))

    async def conversation(http: httpx.AsyncClient) -> None:
        generate = {"dry_run": False}
        [strategy] = (await http.get("/strategies", headers=READ)).json()["items"]
        shown = (await http.post("/signals/generate", json={}, headers=READ)).json()
        stored = (await http.post("/signals/generate", json=generate, headers=OPERATE)).json()
        again = (await http.post("/signals/generate", json=generate, headers=OPERATE)).json()

        assert strategy["allows_shorts"] is True
        assert [s["direction"] for s in shown["signals"]] == ["SHORT"]
        assert shown["signals"] == stored["signals"] == again["signals"]

    talk(Room(app, room.market, engine), conversation)
    assert len(room.market.store.kept) == 1


def test_generating_lets_the_pipeline_do_every_earlier_batch_first(room: Room) -> None:
    async def conversation(http: httpx.AsyncClient) -> None:
        for minute in range(3):
            room.market.announce(a_bar("AAPL", minute))

        ask = {"dry_run": False}
        assert (await http.post("/signals/generate", json=ask, headers=OPERATE)).status_code == 200

        instants = [evaluation.instant_at for evaluation in room.market.store.outbox]
        assert instants == [batch.end_at for batch in room.market.store.batches]

    talk(room, conversation)


def test_only_the_symbols_asked_for_are_answered(room: Room) -> None:
    async def conversation(http: httpx.AsyncClient) -> None:
        with_a_rise(room)

        for dry_run in (True, False):
            ask = {"symbols": ["MSFT", "NVDA"], "dry_run": dry_run}
            body = (await http.post("/signals/generate", json=ask, headers=OPERATE)).json()
            assert [signal["symbol"] for signal in body["signals"]] == ["MSFT"]
            assert body["symbols_evaluated"] == 1
        # The pipeline itself left nobody out.
        assert len(room.market.store.kept) == 2

    talk(room, conversation)


@pytest.mark.parametrize(
    ("ask", "status", "code", "detail"),
    [
        ({"strategy": "moving_avg"}, 404, "unknown_strategy", "did you mean moving_average?"),
        ({"symbols": ["MSTF"]}, 404, "unknown_symbol", "did you mean MSFT?"),
        ({"symbols": ["../x"]}, 422, "invalid_input", "is not a symbol"),
        ({"symbols": []}, 422, "invalid_request", "symbols"),
        ({"strategi": "x"}, 422, "invalid_request", "strategi"),
        ({"strategy": "faulty"}, 422, "rejected", "faulty failed: KeyError"),
        ({"strategy": "faulty", "dry_run": False}, 409, "not_running", "set STRATEGY_NAME"),
    ],
)
def test_a_request_that_cannot_be_meant_gets_one_clear_sentence(
    room: Room, ask: dict[str, object], status: int, code: str, detail: str
) -> None:
    async def conversation(http: httpx.AsyncClient) -> None:
        with_a_rise(room)

        answer = await http.post("/signals/generate", json=ask, headers=OPERATE)

        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.headers["content-type"] == PROBLEM
        assert detail in answer.json()["detail"]
        assert room.market.store.outbox == []

    talk(room, conversation)


def test_before_any_bars_there_is_nothing_to_generate_from(room: Room) -> None:
    async def conversation(http: httpx.AsyncClient) -> None:
        answer = await http.post("/signals/generate", json={}, headers=READ)

        assert (answer.status_code, answer.json()["code"]) == (409, "no_bars")

    talk(room, conversation)


def test_signals_come_newest_first_page_by_page_and_by_symbol(room: Room) -> None:
    async def conversation(http: httpx.AsyncClient) -> None:
        for minute, close in enumerate([10, 9, 12, 8, 12]):
            room.market.announce(
                a_bar("AAPL", minute, close=close), a_bar("MSFT", minute, close=close)
            )
        await work_off(room.engine)

        seen: list[tuple[str, str]] = []
        query = {"limit": 4}
        pages = 0
        while True:
            pages += 1
            page = (await http.get("/signals", params=query, headers=READ)).json()
            seen += [(s["symbol"], s["direction"]) for s in page["items"]]
            if page["next"] is None:
                break
            query["before"] = page["next"]
        assert pages == 2
        assert seen == [
            (symbol, direction)
            for direction in ("LONG", "FLAT", "LONG")
            for symbol in ("MSFT", "AAPL")
        ]
        mine = (await http.get("/signals", params={"symbol": "AAPL"}, headers=READ)).json()
        assert {s["symbol"] for s in mine["items"]} == {"AAPL"}
        assert len(mine["items"]) == 3
        bad = await http.get("/signals", params={"symbol": "../x"}, headers=READ)
        assert (bad.status_code, bad.json()["code"]) == (422, "invalid_input")
        assert (await http.get("/signals?limit=501", headers=READ)).status_code == 422

    talk(room, conversation)


def test_a_strategy_is_turned_on_again_with_a_reason(room: Room) -> None:
    async def conversation(http: httpx.AsyncClient) -> None:
        faulty = Faulty()
        engine = room.market.engine(faulty)
        app = make_app("strategy_engine", load_settings(TOKENS), {}, InstantTimer())
        market = room.market
        catalogue = Catalogue({"faulty": Faulty})
        app.include_router(router(engine, catalogue, market.store, [], market.bars, market.clock))
        room.app = app
        for minute in range(3):
            room.market.announce(a_bar("AAPL", minute))
        await work_off(engine)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as own:
            [shown] = (await own.get("/strategies", headers=READ)).json()["items"]
            assert (shown["state"], shown["failures"]) == ("off", 3)
            assert "KeyError" in shown["last_error"]

            path, reason = "/strategies/faulty/resume", {"reason": "repaired"}
            assert (await own.post(path, json={}, headers=OPERATE)).status_code == 422
            on = (await own.post(path, json=reason, headers=OPERATE)).json()
            assert (on["state"], on["failures"]) == ("on", 0)
            again = await own.post(path, json=reason, headers=OPERATE)
            assert (again.status_code, again.json()["detail"]) == (422, "faulty is not off")
            off = await own.post("/strategies/faulty/pause", json=reason, headers=OPERATE)
            assert (off.json()["state"], off.status_code) == ("off", 200)
            assert off.json()["last_error"] == "turned off by token:operate: repaired"
            nobody = await own.post("/strategies/fault/resume", json=reason, headers=OPERATE)
            assert nobody.status_code == 404

    talk(room, conversation)


def test_it_is_ready_once_everything_announced_has_been_evaluated(room: Room) -> None:
    async def conversation(http: httpx.AsyncClient) -> None:
        with_a_rise(room)
        await room.engine.step()
        assert (await http.get("/ready", headers=READ)).status_code == 503

        await work_off(room.engine)
        assert (await http.get("/ready", headers=READ)).json()["checks"] == {"warmed_up": True}

    talk(room, conversation)
