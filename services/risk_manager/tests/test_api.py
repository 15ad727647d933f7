"""The risk manager's HTTP API, against its memory store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from typing import Any

import httpx
import pytest

from risk_manager.api import make_router
from risk_manager.reports import StoredReport
from risk_manager.snapshot import LimitChange, Throttle
from risk_manager.testing import (
    AAPL,
    ACCOUNT,
    NOW,
    a_holding,
    a_manual_order,
    a_signal,
    an_evaluation,
    an_order,
)
from services.risk_manager.tests.test_service import Room
from shared.adapters.http_api import make_app
from shared.config import load_settings
from shared.domain.orders import Side
from shared.testing.time import CountingIds, InstantTimer

pytestmark = pytest.mark.anyio
TOKENS = {
    "API_TOKEN_READ": "read-token-0",
    "API_TOKEN_OPERATE": "operate-token-0",
    "API_TOKEN_KILL": "kill-token-0",
    "API_TOKEN_ADMIN": "admin-token-0",
}
READ, OPERATE, KILL, ADMIN = ({"Authorization": f"Bearer {token}"} for token in TOKENS.values())
AN_ORDER = {
    "symbol": "AAPL",
    "side": "buy",
    "quantity": "10",
    "stop_loss": "95",
    "take_profit": "110",
}
ROUTES = [
    ("GET", "/risk/portfolio"),
    ("GET", "/risk/reports"),
    ("GET", "/risk/reports/{on}"),
    ("POST", "/risk/validate"),
    ("GET", "/risk/mode"),
    ("POST", "/risk/halt"),
    ("POST", "/risk/reduce"),
    ("POST", "/risk/resume"),
    ("POST", "/risk/flatten"),
    ("GET", "/risk/decisions"),
    ("GET", "/risk/limits"),
    ("POST", "/risk/limits"),
    ("GET", "/risk/throttles"),
    ("POST", "/risk/throttles/enable"),
]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.fixture
async def http(room: Room) -> AsyncIterator[httpx.AsyncClient]:
    app = make_app("risk_manager", load_settings(TOKENS), {}, InstantTimer())
    app.include_router(make_router(room.manager, ACCOUNT, CountingIds()))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        yield client


async def post(http: httpx.AsyncClient, path: str, body: Any, token: dict[str, str]) -> Any:
    return await http.post(path, json=body, headers=token)


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_nothing_answers_without_a_token(
    http: httpx.AsyncClient, method: str, path: str
) -> None:
    response = await http.request(method, path)

    assert response.status_code == 401
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", [path for method, path in ROUTES if method == "POST"])
async def test_a_reader_changes_nothing(http: httpx.AsyncClient, path: str) -> None:
    assert (await post(http, path, {"reason": "drill"}, READ)).status_code == 403


async def test_the_portfolio_says_on_which_side_a_symbol_is(
    http: httpx.AsyncClient, room: Room
) -> None:
    room.store.cash = Decimal(102_000)
    room.store.holdings.append(a_holding("MSFT", -10, stop=105))
    room.store.working.append(an_order("TSLA", 5, side=Side.SELL, stop_loss=105))
    room.store.working.append(an_order("AAPL", 5, is_foreign=True))

    shown = (await http.get("/risk/portfolio", headers=READ)).json()

    sides = {each["symbol"]: (each["side"], each["quantity"]) for each in shown["positions"]}
    assert sides == {"MSFT": ("short", "-10"), "TSLA": ("short", "0"), "AAPL": (None, "0")}


async def test_a_validated_sale_of_nothing_held_is_no_short_sale(http: httpx.AsyncClient) -> None:
    order = {"symbol": "MSFT", "side": "sell", "quantity": "5"}

    answer = (await post(http, "/risk/validate", order, OPERATE)).json()

    assert (answer["outcome"], answer["reason_code"]) == ("refused", "NO_POSITION")
    assert (answer["side"], answer["purpose"]) == ("sell", "exit")


async def test_the_portfolio_shows_figures_limits_and_ages(
    http: httpx.AsyncClient, room: Room
) -> None:
    room.store.cash = Decimal("99000.50")
    room.store.holdings.append(a_holding("MSFT", 10, stop=95))
    room.store.working.append(an_order("TSLA", 5))

    shown = (await http.get("/risk/portfolio", headers=READ)).json()

    assert shown["equity"] == "100000.5"
    assert shown["cash"] == "99000.5"
    assert shown["reserved_cash"] == "520"
    assert (shown["gross_exposure"], shown["committed_exposure"]) == ("1000", "1500")
    assert shown["portfolio_risk"] == "75"
    assert shown["mode"]["mode"] == "ACTIVE"
    msft, tsla = shown["positions"]
    assert (msft["symbol"], msft["quantity"], msft["market_value"]) == ("MSFT", "10", "1000")
    assert (msft["price"], msft["price_age_s"], msft["risk"]) == ("100", 0.0, "50")
    assert (tsla["quantity"], tsla["entering_quantity"]) == ("0", "5")
    assert (msft["side"], tsla["side"]) == ("long", "long")
    usage = {limit["code"]: (limit["limit"], limit["usage"]) for limit in shown["limits"]}
    assert usage["POSITION_SIZE"] == (0.05, pytest.approx(1000 / 100000.5))
    assert usage["DRAWDOWN"] == (0.15, 0.0)


async def test_an_order_that_would_pass_is_answered_with_every_check(
    http: httpx.AsyncClient, room: Room
) -> None:
    answer = (await post(http, "/risk/validate", AN_ORDER, OPERATE)).json()

    assert (answer["outcome"], answer["quantity"]) == ("approved", "10")
    assert all(check["passed"] for check in answer["checks"])
    assert answer["validation_id"] == room.store.validations[0][0]
    assert room.store.validations[0][2] == "token:operate"


async def test_an_order_that_would_not_pass_is_answered_with_the_figures(
    http: httpx.AsyncClient,
) -> None:
    response = await post(http, "/risk/validate", {**AN_ORDER, "quantity": "51"}, OPERATE)

    answer = response.json()
    assert response.status_code == 200
    assert (answer["outcome"], answer["reason_code"]) == ("refused", "POSITION_SIZE")
    failed = [check for check in answer["checks"] if not check["passed"]]
    assert [(c["limit"], c["usage"], c["unit"]) for c in failed] == [
        (0.05, pytest.approx(0.051), "of equity")
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"symbol": "../x"},
        {"symbol": "aapl"},
        {"quantity": "0"},
        {"quantity": "-1"},
        {"quantity": "NaN"},
        {"quantity": "1e30"},
        {"quantity": "1_0"},
        {"quantity": "\u0661\u0660"},
        {"side": "hold"},
        {"type": "limit"},
        {"limit_price": "90"},
        {"type": "stop"},
        {"stop_price": "90"},
        {"stop_loss": "Infinity"},
        {"qty": "10"},
    ],
)
async def test_what_cannot_be_an_order_is_refused_in_a_sentence(
    http: httpx.AsyncClient, room: Room, wrong: dict[str, str]
) -> None:
    response = await post(http, "/risk/validate", {**AN_ORDER, **wrong}, OPERATE)

    assert response.status_code == 422
    assert response.json()["code"] == "invalid_request"
    assert room.store.validations == []


async def test_an_account_that_is_not_there_yet_is_a_503(
    http: httpx.AsyncClient, room: Room
) -> None:
    room.store.cash = None

    response = await http.get("/risk/portfolio", headers=READ)

    assert response.status_code == 503
    assert "has not adopted it" in response.json()["detail"]


async def test_the_kill_token_halts_and_reduces_and_may_not_resume(
    http: httpx.AsyncClient,
) -> None:
    reduced = await post(http, "/risk/reduce", {"reason": "storm"}, KILL)
    halted = await post(http, "/risk/halt", {"reason": "storm"}, KILL)
    resumed = await post(http, "/risk/resume", {"reason": "calm", "version": 3}, KILL)

    assert (reduced.json()["mode"], halted.json()["mode"]) == ("REDUCING", "HALTED")
    assert halted.json()["actor"] == "token:kill"
    assert resumed.status_code == 403


@pytest.mark.parametrize("reason", ["storm\x1b[31m", "storm\nmode: ACTIVE", "x" * 501])
async def test_a_reason_that_a_terminal_would_obey_is_refused(
    http: httpx.AsyncClient, room: Room, reason: str
) -> None:
    response = await post(http, "/risk/halt", {"reason": reason}, KILL)

    assert response.status_code == 422
    assert (await room.manager.mode()).mode == "ACTIVE"


async def test_resuming_needs_a_reason_and_the_version_that_was_seen(
    http: httpx.AsyncClient,
) -> None:
    await post(http, "/risk/halt", {"reason": "storm"}, KILL)
    seen = (await http.get("/risk/mode", headers=READ)).json()["version"]

    without = await post(http, "/risk/resume", {"version": seen}, OPERATE)
    stale = await post(http, "/risk/resume", {"reason": "calm", "version": seen - 1}, OPERATE)
    good = await post(http, "/risk/resume", {"reason": "calm", "version": seen}, OPERATE)

    assert without.status_code == 422
    assert (stale.status_code, stale.json()["code"]) == (409, "mode_conflict")
    assert (good.status_code, good.json()["mode"], good.json()["version"]) == (200, "ACTIVE", 3)


async def test_a_halt_may_end_for_exits_alone_and_no_entry_leaves_in_between(
    http: httpx.AsyncClient,
) -> None:
    halted = (await post(http, "/risk/halt", {"reason": "storm"}, KILL)).json()
    wanted = {"reason": "out of it", "version": halted["version"], "mode": "REDUCING"}

    by_kill = await post(http, "/risk/resume", wanted, KILL)
    reduced = await post(http, "/risk/resume", wanted, OPERATE)
    unknown = await post(http, "/risk/resume", {**wanted, "version": 3, "mode": "HALTED"}, OPERATE)

    assert by_kill.status_code == 403
    assert (reduced.json()["mode"], reduced.json()["version"]) == ("REDUCING", 3)
    assert unknown.status_code == 422


@pytest.mark.parametrize("version", [True, "1", 1.0])
async def test_a_version_that_only_looks_like_a_number_is_none(
    http: httpx.AsyncClient, room: Room, version: object
) -> None:
    bodies = {
        "/risk/resume": {"reason": "calm", "version": version},
        "/risk/limits": {"changes": {"max_positions": 3}, "reason": "calm", "version": version},
        "/risk/throttles/enable": {
            "strategy": "momentum", "symbol": "AAPL", "reason": "calm", "version": version,
        },
    }  # fmt: skip

    answers = [await post(http, path, body, ADMIN) for path, body in bodies.items()]

    assert {answer.status_code for answer in answers} == {422}
    assert room.store.limit_changes == []


@pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": "x"}], ids=str)
async def test_a_halt_does_not_wait_for_words(
    http: httpx.AsyncClient, body: dict[str, str]
) -> None:
    halted = await post(http, "/risk/halt", body, KILL)

    assert halted.json()["mode"] == "HALTED"
    assert halted.json()["reason"] == (body.get("reason") or "no reason given")


async def test_reducing_does_not_weaken_a_halt(http: httpx.AsyncClient) -> None:
    await post(http, "/risk/halt", {"reason": "storm"}, KILL)

    response = await post(http, "/risk/reduce", {"reason": "less"}, OPERATE)

    assert response.status_code == 409


async def test_flatten_approves_exits_once_per_key(http: httpx.AsyncClient, room: Room) -> None:
    room.store.holdings.append(a_holding("MSFT"))
    headers = {**OPERATE, "Idempotency-Key": "friday"}

    first = await http.post("/risk/flatten", json={"reason": "holiday"}, headers=headers)
    again = await http.post("/risk/flatten", json={"reason": "holiday"}, headers=headers)

    assert first.status_code == 202
    assert first.json() == again.json()
    assert [item["symbol"] for item in first.json()["items"]] == ["MSFT"]
    assert first.json()["items"][0]["figures"]["reason"] == "holiday"
    assert len(room.store.reviews) == 1


async def test_flatten_under_halted_is_a_conflict(http: httpx.AsyncClient) -> None:
    await post(http, "/risk/halt", {"reason": "storm"}, KILL)

    response = await post(http, "/risk/flatten", {"reason": "holiday"}, OPERATE)

    assert (response.status_code, response.json()["code"]) == (409, "halted")


async def test_a_key_that_is_no_key_is_refused(http: httpx.AsyncClient) -> None:
    headers = {**OPERATE, "Idempotency-Key": "a b\tc"}

    response = await http.post("/risk/flatten", json={"reason": "holiday"}, headers=headers)

    assert response.status_code == 422


async def test_decisions_are_listed_newest_first_with_filters_and_pages(
    http: httpx.AsyncClient, room: Room
) -> None:
    room.send(an_evaluation(a_signal("AAPL", conviction=0.9), a_signal("MSFT")))
    room.send(a_manual_order("TSLA", quantity=51, at=NOW))
    while await room.manager.work():
        pass

    async def listed(**query: str) -> Any:
        return (await http.get("/risk/decisions", params=query, headers=READ)).json()

    assert [i["symbol"] for i in (await listed())["items"]] == ["TSLA", "MSFT", "AAPL"]
    assert [i["symbol"] for i in (await listed(outcome="refused"))["items"]] == ["TSLA"]
    assert [i["source"] for i in (await listed(symbol="TSLA"))["items"]] == ["manual:man-1"]
    page = await listed(limit="2")
    rest = await listed(limit="2", before=str(page["next"]))
    assert [i["symbol"] for i in rest["items"]] == ["AAPL"]
    assert rest["next"] is None
    assert (await listed(limit="3"))["next"] is None  # the page holds them all


@pytest.mark.parametrize(
    "query",
    [{"limit": "501"}, {"outcome": "maybe"}, {"symbol": "a/b"}, {"before": str(2**63)}],
)
async def test_a_question_for_decisions_that_makes_no_sense_is_refused(
    http: httpx.AsyncClient, query: dict[str, str]
) -> None:
    assert (await http.get("/risk/decisions", params=query, headers=READ)).status_code == 422


async def test_the_description_names_every_endpoint(http: httpx.AsyncClient) -> None:
    described = (await http.get("/openapi.json", headers=READ)).json()["paths"]

    for method, path in ROUTES:
        assert method.lower() in described[path]


async def test_limits_are_changed_by_the_admin_with_the_version_that_was_seen(
    http: httpx.AsyncClient,
) -> None:
    body = {"changes": {"max_position_size": 0.01}, "version": 0, "reason": "nervous"}

    forbidden = await post(http, "/risk/limits", body, OPERATE)
    changed = await post(http, "/risk/limits", body, ADMIN)
    again = await post(http, "/risk/limits", body, ADMIN)
    absurd = await post(
        http, "/risk/limits", {**body, "changes": {"max_position_size": 5}, "version": 1}, ADMIN
    )
    refused = await post(http, "/risk/validate", AN_ORDER | {"quantity": "11"}, OPERATE)

    assert forbidden.status_code == 403
    assert changed.json()["version"] == 1
    assert changed.json()["limits"]["max_position_size"] == 0.01
    assert changed.json()["history"][0]["actor"] == "token:admin"
    assert (again.status_code, again.json()["code"]) == (409, "limits_conflict")
    assert (absurd.status_code, absurd.json()["code"]) == (422, "invalid_limit")
    assert refused.json()["reason_code"] == "POSITION_SIZE"


@pytest.mark.parametrize(
    "terms",
    [
        {"qty": "1", "type": "limit", "limit_price": "99", "time_in_force": "day", "extended_hours": True},
        {"quantity": "1", "type": "stop_limit", "stop_price": "101", "limit_price": "102"},
        {"qty": "1", "type": "trailing_stop", "trail_percent": "5"},
        {"notional": "250", "time_in_force": "day"},
        {
            "qty": "1", "order_class": "bracket", "take_profit": {"limit_price": "120"},
            "stop_loss": {"stop_price": "90", "limit_price": "89.5"},
        },
    ],
)  # fmt: skip
async def test_validation_takes_the_terms_that_orders_take_and_keeps_them(
    http: httpx.AsyncClient, room: Room, terms: dict[str, Any]
) -> None:
    answered = await post(
        http, "/risk/validate", {"symbol": "AAPL", "side": "buy", **terms}, OPERATE
    )

    assert answered.status_code == 200, answered.text
    figures = answered.json()["figures"]
    assert figures["type"] == terms.get("type", "market")
    for name in ("limit_price", "stop_price", "trail_percent", "notional", "order_class"):
        assert figures.get(name) == terms.get(name)
    if "notional" in terms:
        assert answered.json()["quantity"] == "2.5"
    if "stop_loss" in terms:
        assert (figures["stop_loss"], figures["stop_loss_limit"]) == ("90", "89.5")
    (kept,) = room.store.validations
    assert kept[1].figures == figures
    assert (await room.store.book(NOW)).working == ()


@pytest.mark.parametrize(
    "terms",
    [
        {},
        {"qty": "1", "notional": "100"},
        {"qty": "1", "type": "limit"},
        {"qty": "1", "limit_price": "5"},
        {"qty": "1", "stop_price": "5"},
        {"qty": "1", "type": "trailing_stop"},
        {"qty": "1", "type": "trailing_stop", "trail_price": "1", "trail_percent": "1"},
        {"qty": "1", "trail_price": "1"},
        {"notional": "0.5"},
        {"notional": "1e400"},
        {"qty": "NaN"},
        {"qty": "-1"},
        {"qty": "\u0661"},
        {"qty": "1", "no_such_term": 1},
    ],
)
async def test_terms_that_contradict_themselves_are_turned_away(
    http: httpx.AsyncClient, terms: dict[str, Any]
) -> None:
    answered = await post(
        http, "/risk/validate", {"symbol": "AAPL", "side": "buy", **terms}, OPERATE
    )

    assert answered.status_code == 422


async def test_a_stopped_strategy_is_enabled_by_who_has_seen_why(
    http: httpx.AsyncClient, room: Room
) -> None:
    room.store.stopped.append(Throttle("ma", AAPL, 1, True, "entry 11", "risk_manager", NOW))
    shown = (await http.get("/risk/throttles", headers=READ)).json()["items"]
    body = {"strategy": "ma", "symbol": "AAPL", "version": 1, "reason": "a bad feed, mended"}

    forbidden = await post(http, "/risk/throttles/enable", body, READ)
    enabled = await post(http, "/risk/throttles/enable", body, OPERATE)
    again = await post(http, "/risk/throttles/enable", body, OPERATE)

    assert [(each["strategy"], each["is_stopped"], each["reason"]) for each in shown] == [
        ("ma", True, "entry 11")
    ]
    assert forbidden.status_code == 403
    assert (enabled.json()["is_stopped"], enabled.json()["version"]) == (False, 2)
    assert enabled.json()["actor"] == "token:operate"
    assert (again.status_code, again.json()["code"]) == (409, "throttle_conflict")


async def test_a_limit_that_an_earlier_release_took_stops_neither_work_nor_its_own_mend(
    http: httpx.AsyncClient, room: Room
) -> None:
    taken = {"max_positions": 20_000, "max_order_value": 1e300, "maintenance_margin": 0.1}
    room.store.limit_changes.append(LimitChange(1, taken, "wide", "token:admin", NOW))

    shown = (await http.get("/risk/limits", headers=READ)).json()
    portfolio = await http.get("/risk/portfolio", headers=READ)
    answered = await post(http, "/risk/validate", AN_ORDER, OPERATE)
    halted = await post(http, "/risk/halt", {"reason": "look"}, OPERATE)
    beyond = {"changes": {"max_positions": 20_000}, "version": 1, "reason": "again"}
    refused = await post(http, "/risk/limits", beyond, ADMIN)
    narrower = {"changes": {"max_daily_loss": 0.01}, "version": 1, "reason": "nervous"}
    changed = (await post(http, "/risk/limits", narrower, ADMIN)).json()

    assert shown["limits"]["max_positions"] == 10_000
    assert shown["limits"]["max_order_value"] == 100_000_000
    assert shown["limits"]["maintenance_margin"] == 0.25
    assert shown["history"][0]["changes"]["max_positions"] == 20_000
    assert (portfolio.status_code, answered.status_code, halted.status_code) == (200, 200, 200)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_limit")
    assert changed["history"][0]["changes"] == {
        "max_positions": 10_000,
        "max_order_value": 100_000_000,
        "maintenance_margin": 0.25,
        "max_daily_loss": 0.01,
    }


@pytest.mark.parametrize("absurd", ["5", "-1", "0", "NaN", "1e400", "true", '"0.05"', "[1]"])
async def test_an_absurd_limit_changes_nothing(http: httpx.AsyncClient, absurd: str) -> None:
    body = f'{{"changes": {{"max_position_size": {absurd}}}, "version": 0, "reason": "absurd"}}'

    answered = await http.post(
        "/risk/limits", content=body, headers={**ADMIN, "content-type": "application/json"}
    )
    shown = (await http.get("/risk/limits", headers=READ)).json()

    assert answered.status_code == 422
    assert shown["version"] == 0


async def test_the_portfolio_tells_what_it_could_lose_with_units_and_ages(
    http: httpx.AsyncClient, room: Room
) -> None:
    room.store.holdings.append(a_holding("AAPL", 10, stop=95))

    risk = (await http.get("/risk/portfolio", headers=READ)).json()["risk"]

    assert (risk["losses"]["unit"], risk["losses"]["horizon"]) == ("USD", "one bar")
    assert risk["losses"]["historical_cvar"] >= risk["losses"]["historical_var"] > 0
    assert risk["prices_age_s"] == 0.0
    assert {(s["symbol"], s["change"], s["pnl"]) for s in risk["scenarios"]} == {
        (None, -0.1, -100.0), (None, -0.2, -200.0), ("AAPL", -0.1, -100.0), ("AAPL", -0.2, -200.0),
    }  # fmt: skip
    assert risk["benchmark"] == "SPY"
    assert risk["beta_weighted_delta"] == pytest.approx(1_000 * risk["betas"]["AAPL"])
    assert risk["uncovered"] == []


async def test_reports_are_listed_by_day_and_a_day_without_one_is_not_found(
    http: httpx.AsyncClient, room: Room
) -> None:
    for day in (13, 14, 15):
        on = date(2026, 1, day)
        await room.store.record_report(StoredReport(on, NOW, {"on": on.isoformat(), "pnl": "1.5"}))

    first = (await http.get("/risk/reports?limit=2", headers=READ)).json()
    rest = (await http.get(f"/risk/reports?before={first['next']}", headers=READ)).json()
    one = await http.get("/risk/reports/2026-01-14", headers=READ)
    none = await http.get("/risk/reports/2026-01-01", headers=READ)

    assert [item["on"] for item in first["items"]] == ["2026-01-15", "2026-01-14"]
    assert ([item["on"] for item in rest["items"]], rest["next"]) == (["2026-01-13"], None)
    assert one.json()["report"] == {"on": "2026-01-14", "pnl": "1.5"}
    assert (none.status_code, none.json()["code"]) == (404, "not_found")
