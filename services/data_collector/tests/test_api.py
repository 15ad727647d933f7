"""Tests of the collector's HTTP routes over stores in memory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from data_collector.adapters.alpaca_history import raw_bar, read_again
from data_collector.api import CollectorFigures, Rooms, router
from data_collector.boundary import admit
from data_collector.budgets import Limits, Spent
from data_collector.jobs import CollectionJobs
from data_collector.maintenance import Maintenance
from data_collector.paying import StoredBudget
from data_collector.ports import Doubt, Hold
from data_collector.service import Collector
from data_collector.testing import (
    MemoryBudgets,
    MemoryJournal,
    MemoryNewest,
    ScriptedActions,
    ScriptedFeed,
    ScriptedHistory,
    ScriptedNewest,
    raw,
)
from shared.adapters.http_api import make_app
from shared.config import load_settings
from shared.domain.corporate_actions import CashDividend, Split
from shared.domain.errors import Unavailable
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.ports import LatestBar
from shared.testing.bar_stores import NOON, MemoryBars, a_bar, a_block
from shared.testing.bus import CountedBells, MemoryBarStream
from shared.testing.calendars import a_calendar
from shared.testing.time import CountingIds, FakeClock, InstantTimer

MINUTE = timedelta(minutes=1)
TOKENS = {"API_TOKEN_READ": "r" * 40, "API_TOKEN_OPERATE": "o" * 40, "API_TOKEN_KILL": "k" * 40}


@dataclass
class Api:
    """The app with what stands behind it."""

    app: FastAPI
    store: MemoryBars
    newest: MemoryNewest
    journal: MemoryJournal
    provider: ScriptedNewest

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
                return await http.request(method, path, **more)

        return asyncio.run(asked())

    def get(self, path: str, token: str = "r", **query: Any) -> httpx.Response:
        return self.ask("GET", path, params=query, headers=bearer(token))

    def collect(self, body: Any, token: str = "o", **headers: str) -> httpx.Response:
        return self.ask(
            "POST", "/collect/market-data", json=body, headers={**bearer(token), **headers}
        )


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token * 40}"}


@pytest.fixture
def api() -> Api:
    settings = load_settings(TOKENS)
    clock, timer = FakeClock(NOON + 10 * MINUTE), InstantTimer()
    store, newest, journal, history = (
        MemoryBars(),
        MemoryNewest(),
        MemoryJournal(),
        ScriptedHistory(),
    )
    calendar, asked = a_calendar(), ScriptedNewest()
    collector = Collector(
        timeframe=Timeframe.MINUTE,
        symbols=(Symbol("MSFT"), Symbol("AAPL")),
        calendar=calendar,
        clock=clock,
        timer=timer,
        feed=ScriptedFeed(),
        history=history,
        store=store,
        newest=newest,
        stream=MemoryBarStream(),
        bells=CountedBells(),
        journal=journal,
        actions=store.actions,
        max_age_bars=2,
    )
    jobs = CollectionJobs(
        [history],
        store,
        journal,
        calendar,
        clock,
        timer,
        CountingIds(),
        ScriptedActions(),
        store.actions,
        newest,
    )
    stored = MemoryBudgets({"twelve_data": Spent(((int(NOON.timestamp()), 7),), NOON.date(), 407)})
    budget = StoredBudget("twelve_data", Limits(8, 60, 800), stored, FakeClock(NOON), timer)
    app = make_app("data_collector", settings, {"feed": collector.is_live}, timer)
    app.include_router(
        router(
            Rooms(
                "paper",
                collector,
                jobs,
                store,
                newest,
                journal,
                clock,
                store.actions,
                Maintenance({}, clock),
                asked,
                (budget,),
                {"alpaca": read_again},
            )
        )
    )
    CollectorFigures(collector, (budget,)).register(app.state.metrics)
    return Api(app, store, newest, journal, asked)


def test_status_says_what_the_collector_does(api: Api) -> None:
    status = api.get("/status").json()

    assert status["service"] == "data_collector"
    assert (status["timeframe"], status["symbols"], status["feed"]) == ("1Min", 2, "connecting")
    assert status["newest_batch"] is None


def test_status_and_providers_show_what_is_used_of_each_budget(api: Api) -> None:
    (budget,) = api.get("/status").json()["budgets"]

    assert (budget["provider"], budget["used"], budget["limit"]) == ("twelve_data", 7, 8)
    assert (budget["used_today"], budget["day_limit"], budget["waiting"]) == (407, 800, [])
    assert api.get("/providers").json() == {"items": [budget], "failovers": {}}
    page = api.get("/metrics").text
    assert 'collector_requests_waiting{provider="twelve_data"} 0.0' in page
    assert 'collector_budget_per_minute{provider="twelve_data"} 8.0' in page


def refuse(api: Api, **figures: float) -> None:
    """Put a bar into quarantine that spans a 7:1 split, or is worse."""
    said = {"t": NOON.isoformat(), "o": 645.57, "h": 645.57, "l": 92.23, "c": 92.42, "v": 600}
    row = raw_bar("AAPL", {**said, **figures})
    refused = admit([row], Timeframe.MINUTE, a_calendar(), NOON + 5 * MINUTE).refused
    asyncio.run(
        api.journal.quarantine(refused, Timeframe.MINUTE, provider="alpaca", at=NOON + MINUTE)
    )


def test_a_bar_that_spans_a_split_waits_in_quarantine_with_its_reason(api: Api) -> None:
    refuse(api)

    said = api.get("/data/quality").json()

    assert said["waiting"] == {"alpaca": 1}
    (reject,) = said["items"]
    assert "7:1 split" in reject["reason"]
    assert (reject["symbol"], reject["released_at"], said["next"]) == ("AAPL", None, None)


def test_a_person_releases_a_bar_with_a_reason_and_it_is_stored_under_its_provider(
    api: Api,
) -> None:
    refuse(api)
    path = "/data/quality/1/release"

    assert api.ask("POST", path, json={"reason": "seen"}, headers=bearer("r")).status_code == 403
    done = api.ask("POST", path, json={"reason": "seen elsewhere too"}, headers=bearer("o"))

    assert (done.status_code, done.json()["high"]) == (200, "645.57")
    said = api.get("/data/quality").json()
    assert said["waiting"] == {}
    assert said["items"][0]["release_reason"] == "seen elsewhere too"
    newest = api.store.newest(Timeframe.MINUTE, Symbol("AAPL"), NOON + 5 * MINUTE)
    assert newest is not None
    assert newest.provider == "alpaca"


def test_what_contradicts_itself_cannot_be_released_by_anybody(api: Api) -> None:
    refuse(api, h=1.0)

    done = api.ask(
        "POST", "/data/quality/1/release", json={"reason": "please"}, headers=bearer("o")
    )

    assert (done.status_code, done.json()["code"]) == (409, "cannot_be_released")
    assert len(api.store.last(Timeframe.MINUTE, [Symbol("AAPL")], 9, NOON + 5 * MINUTE)) == 0
    missing = api.ask(
        "POST", "/data/quality/7/release", json={"reason": "none"}, headers=bearer("o")
    )
    assert missing.status_code == 404


def test_it_is_not_ready_before_it_follows_its_feed(api: Api) -> None:
    answer = api.get("/ready")

    assert answer.status_code == 503
    assert answer.json()["checks"] == {"feed": False}


def test_tracked_symbols_are_listed_in_pages_with_the_end_of_their_newest_bar(api: Api) -> None:
    api.store.append(a_block(a_bar("AAPL")), provider="p", fetched_at=NOON)

    first = api.get("/data/symbols", limit=1).json()
    second = api.get("/data/symbols", limit=1, after=first["next"]).json()

    assert [s["symbol"] for s in first["items"] + second["items"]] == ["AAPL", "MSFT"]
    assert first["items"][0]["latest_end_at"] == "2026-01-15T15:01:00Z"
    assert second["items"][0]["latest_end_at"] is None
    assert second["next"] is None


def test_the_latest_bar_comes_from_the_cache_with_its_age_and_provider(api: Api) -> None:
    bar = a_bar("AAPL", 8, close="187.25")
    api.newest.known[Timeframe.MINUTE, bar.symbol] = LatestBar(bar, "alpaca", NOON)

    latest = api.get("/data/latest/AAPL").json()

    assert (latest["close"], latest["age_s"]) == ("187.25", 60.0)
    assert (latest["provider"], latest["source"]) == ("alpaca", "cache")


def test_with_an_empty_cache_the_latest_bar_comes_from_the_store(api: Api) -> None:
    api.store.append(a_block(a_bar("AAPL", 3)), provider="other", fetched_at=NOON)

    latest = api.get("/data/latest/AAPL").json()

    assert (latest["provider"], latest["source"], latest["age_s"]) == ("other", "store", 360.0)
    figures = api.get("/metrics").text
    assert "collector_cache_misses_total 1.0" in figures
    assert "collector_cache_hits_total 0.0" in figures


def test_a_symbol_without_bars_is_a_404_that_names_the_mend(api: Api) -> None:
    answer = api.get("/data/latest/AAPL")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert "POST /collect/market-data" in answer.json()["detail"]


@pytest.mark.parametrize("symbol", ["..%2Fx", "aapl", "A%00", "TOOLONGSYMBOL"])
def test_a_bad_symbol_is_refused_in_one_sentence(api: Api, symbol: str) -> None:
    for path in (f"/data/latest/{symbol}", f"/data/bars/{symbol}"):
        assert api.get(path).status_code in (404, 422)
    assert api.collect({"symbols": ["../x"]}).status_code == 422
    assert "is not a symbol" in api.collect({"symbols": ["../x"]}).json()["detail"]


def test_the_newest_bars_come_without_a_start_and_pages_with_one(api: Api) -> None:
    bars = [a_bar("AAPL", minute) for minute in range(5)]
    api.store.append(a_block(*bars), provider="p", fetched_at=NOON)

    newest = api.get("/data/bars/AAPL", limit=2).json()
    first = api.get("/data/bars/AAPL", start="2026-01-15", limit=3).json()
    second = api.get("/data/bars/AAPL", start=first["next"], limit=3).json()

    assert [bar["start_at"] for bar in newest["items"]] == [
        "2026-01-15T15:03:00Z",
        "2026-01-15T15:04:00Z",
    ]
    assert len(first["items"]) == 3
    assert len(second["items"]) == 2
    assert (first["next"], second["next"]) == ("2026-01-15T15:03:00+00:00", None)


def test_bars_of_years_are_paged_without_losing_any(api: Api) -> None:
    days = [
        a_bar("AAPL", n, timeframe=Timeframe.DAY, begins_at=NOON - timedelta(days=700))
        for n in range(700)
    ]
    api.store.append(a_block(*days, timeframe=Timeframe.DAY), provider="p", fetched_at=NOON)

    seen: list[str] = []
    start: str | None = "1990-01-01"
    while start is not None:
        page = api.get("/data/bars/AAPL", timeframe="1Day", start=start, limit=300).json()
        seen += [bar["start_at"] for bar in page["items"]]
        start = page["next"]

    assert len(seen) == len(set(seen)) == 700


@pytest.mark.parametrize(
    "query",
    [
        {"start": "yesterday"},
        {"start": "2026-13-01"},
        {"end": "2026-01-15T15:00:00"},
        {"timeframe": "2Min"},
        {"limit": 501},
        {"limit": 0},
    ],
)
def test_a_bad_query_is_refused_in_one_sentence(api: Api, query: dict[str, Any]) -> None:
    answer = api.get("/data/bars/AAPL", **query)

    assert answer.status_code == 422
    assert answer.json()["detail"]


def test_collecting_answers_202_with_a_job_to_follow(api: Api) -> None:
    answer = api.collect({"symbols": ["MSFT", "AAPL"], "start": "2026-01-12", "end": "2026-01-13"})

    assert answer.status_code == 202
    job = answer.json()
    assert job["symbols"] == ["AAPL", "MSFT"]
    assert (job["start_at"], job["end_at"]) == ("2026-01-12T05:00:00Z", "2026-01-14T05:00:00Z")
    assert api.get(answer.headers["Location"]).json() == job


def test_collecting_without_a_word_fetches_the_warm_up_of_all_tracked_symbols(api: Api) -> None:
    job = api.ask("POST", "/collect/market-data", headers=bearer("o")).json()

    assert job["symbols"] == ["AAPL", "MSFT"]
    assert job["timeframe"] == "1Min"
    assert job["end_at"] == "2026-01-15T15:10:00Z"


def test_the_same_idempotency_key_gives_the_same_job(api: Api) -> None:
    key = {"Idempotency-Key": "once"}
    body = {"symbols": ["AAPL"], "start": "2026-01-12", "end": "2026-01-13"}

    first, again = api.collect(body, **key).json(), api.collect(body, **key).json()
    other = api.collect({**body, "symbols": ["MSFT"]}, **key)

    assert first["job_id"] == again["job_id"]
    assert other.status_code == 409
    assert other.json()["code"] == "idempotency_key_reused"


@pytest.mark.parametrize(
    "body",
    [
        {"start": "2026-01-14", "end": "2026-01-12"},
        {"start": "2030-01-01"},
        {"start": "1900-01-01", "end": "1900-02-01"},
        {"symbols": []},
        {"symbols": ["AAPL"] * 10_001},
        {"timeframe": "fortnight"},
        {"from": "2026-01-01"},
    ],
)
def test_a_bad_request_to_collect_is_refused_and_leaves_no_job(api: Api, body: Any) -> None:
    answer = api.collect(body)

    assert answer.status_code == 422
    assert answer.json()["detail"]
    assert api.journal.jobs == {}


def test_an_unknown_job_is_a_404(api: Api) -> None:
    assert api.get("/collect/market-data/nothing").status_code == 404
    assert api.get("/collect/market-data/" + "x" * 500).status_code == 404


@pytest.mark.parametrize("token", ["r", "k"])
def test_collecting_needs_the_role_operate(api: Api, token: str) -> None:
    assert api.collect({}, token=token).status_code == 403


@pytest.mark.parametrize(
    "path", ["/status", "/data/symbols", "/data/latest/AAPL", "/data/bars/AAPL", "/metrics"]
)
def test_without_a_token_nothing_is_told(api: Api, path: str) -> None:
    assert api.ask("GET", path).status_code == 401


def test_the_figures_are_shown_to_prometheus(api: Api) -> None:
    text = api.get("/metrics").text

    assert "collector_live 0.0" in text
    assert "collector_batches_announced_total 0.0" in text


def test_bars_are_shown_as_traded_or_in_the_shares_of_a_day(api: Api) -> None:
    bars = [a_bar(close=c, begins_at=NOON - timedelta(days=n)) for c, n in ((200, 2), (100, 1))]
    api.store.append(a_block(*bars), provider="alpaca", fetched_at=NOON)
    ex_on = bars[1].start_at.date()
    split = Split(bars[0].symbol, ex_on, Decimal(2), Decimal(1))
    api.store.actions.put([split], provider="alpaca", fetched_at=NOON)

    def closes(**query: str) -> list[str]:
        said = api.get("/data/bars/AAPL", **query).json()
        return [bar["close"] for bar in said["items"]]

    since = (NOON - timedelta(days=3)).isoformat()
    for start in ({}, {"start": since}):
        assert closes(**start) == ["200", "100"]
        assert closes(adjustment="split", **start) == ["100", "100"]
        before = str(ex_on - timedelta(days=1))
        assert closes(adjustment="all", as_of=before, **start) == ["200", "100"]
    said = api.get("/data/bars/AAPL", adjustment="split", as_of="2099-01-01").json()
    assert (said["adjustment"], said["as_of"]) == ("split", NOON.date().isoformat())
    assert api.get("/data/bars/AAPL", adjustment="dividends").status_code == 422


def test_the_newest_bar_of_a_symbol_that_nobody_follows_is_asked_for_and_not_stored(
    api: Api,
) -> None:
    bad = raw(a_bar("TSLA", 1, close=50))._replace(high=1.0)
    api.provider.rows = [raw(a_bar("TSLA", 0, close=50)), bad, raw(a_bar("NVDA", 3))]

    found = api.get("/data/latest/TSLA").json()

    assert (found["close"], found["source"], found["provider"]) == ("50", "provider", "scripted")
    assert len(api.store.last(Timeframe.MINUTE, [Symbol("TSLA")], 1, NOON + 9 * MINUTE)) == 0
    assert api.get("/data/latest/GM").json()["code"] == "no_data"
    assert api.get("/data/latest/TSLA", timeframe="1Day").json()["code"] == "no_data"
    api.provider.failures = [Unavailable("it is down")]
    assert api.get("/data/latest/TSLA").status_code == 503


def test_nightly_work_is_asked_for_and_followed(api: Api) -> None:
    path = "/maintenance/cross-check"
    assert api.get(path).json()["code"] == "no_such_run"
    assert api.ask("POST", path, headers=bearer("r")).status_code == 403

    asked = api.ask("POST", path, headers=bearer("o"))

    assert (asked.status_code, asked.headers["location"]) == (202, path)
    assert asked.json() == api.get(path).json()
    assert (asked.json()["task"], asked.json()["state"]) == ("cross-check", "QUEUED")
    assert api.get("/maintenance/tidy").status_code == 422


def test_held_symbols_are_listed_and_let_go_with_a_reason(api: Api) -> None:
    hold = Hold(Symbol("AAPL"), Doubt.DISAGREEMENT, "two say different things", NOON)
    asyncio.run(api.journal.hold([hold]))

    (shown,) = api.get("/data/holds").json()["items"]
    assert (shown["symbol"], shown["kind"], shown["ended_at"]) == ("AAPL", "disagreement", None)
    path = f"/data/holds/{shown['id']}/release"
    reason = {"reason": "I have looked"}
    assert api.ask("POST", path, json=reason, headers=bearer("r")).status_code == 403
    let_go = api.ask("POST", path, json=reason, headers=bearer("o")).json()

    assert let_go["end_reason"] == "I have looked"
    assert api.get("/data/holds").json() == {"items": [], "next": None}
    assert api.get("/data/holds", ended="true").json()["items"] == [let_go]
    unknown = api.ask("POST", "/data/holds/9/release", json=reason, headers=bearer("o"))
    assert (unknown.status_code, unknown.json()["code"]) == (404, "no_such_hold")


def test_the_splits_and_dividends_of_a_symbol_are_listed(api: Api) -> None:
    symbol, ex_on = Symbol("AAPL"), NOON.date()
    api.store.actions.put(
        [
            Split(symbol, ex_on, Decimal(7), Decimal(1)),
            CashDividend(symbol, ex_on, Decimal("0.470")),
        ],
        provider="alpaca",
        fetched_at=NOON,
    )

    dividend, split = api.get("/data/corporate-actions/AAPL").json()["items"]

    assert (dividend["kind"], dividend["amount"], dividend["ex_on"]) == (
        "cash_dividend",
        "0.47",
        str(ex_on),
    )
    assert (split["kind"], split["new_rate"], split["old_rate"]) == ("split", "7", "1")
    assert api.get("/data/corporate-actions/MSFT").json() == {"items": []}
    assert api.get("/data/corporate-actions/..x").status_code == 422


def test_the_whole_markets_symbols_fit_into_one_request(api: Api) -> None:
    letters = "ABCDEFGHIJ"
    names = [
        f"{a}{b}{c}{d}WXYZVW" for a in letters for b in letters for c in letters for d in letters
    ]

    job = api.collect({"symbols": names, "start": "2026-01-13"})

    assert (job.status_code, len(job.json()["symbols"])) == (202, 10_000)
    assert api.collect({"symbols": [*names, "ONEMORE"]}).status_code == 422
