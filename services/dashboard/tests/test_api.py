"""Who is let in, and who is not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from dashboard.api import COOKIE, SESSION, Door, rights_of
from dashboard.sessions import (
    IDLE_S,
    MOST_ADDRESSES,
    WRONG_TRIES,
    WRONG_WITHIN_S,
    Sessions,
)
from shared.adapters.http_api import Role, Tokens, make_app
from shared.config import load_settings
from shared.domain.errors import Rejected
from shared.testing.time import CountingIds, FakeTimer, settle

HERE = "http://127.0.0.1:8000"
SOCKET = "/_nicegui_ws/socket.io/"
LONGEST_S = 12 * 3600.0
SETTINGS = load_settings(
    {
        "API_TOKEN_READ": "read-token-0",
        "API_TOKEN_OPERATE": "operate-token-0",
        "API_TOKEN_KILL": "kill-token-0",
        "API_TOKEN_ADMIN": "admin-token-0",
    }
)


async def pages(scope: Scope, receive: Receive, send: Send) -> None:
    """Says who came through the door."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        return
    role = scope[SESSION].rights.role
    prefix = dict(scope["headers"]).get(b"x-forwarded-prefix", b"none").decode()
    await PlainTextResponse(f"{role} at {scope['path']}, prefix {prefix}")(scope, receive, send)


class House:
    """A door with pages behind it, and a clock for its sessions."""

    def __init__(self, behind: ASGIApp = pages) -> None:
        self.timer = FakeTimer()
        self.sessions = Sessions(self.timer, CountingIds(), LONGEST_S)
        common = make_app("dashboard", SETTINGS, {}, self.timer)
        self.door = Door(
            common, behind, self.sessions, Tokens(SETTINGS), self.report, self.backtest
        )

    async def report(self, day: str) -> str:
        if day != "2026-01-05":
            raise Rejected(f"{day} has no session")
        return "<h1>Monday</h1>"

    async def backtest(self, run_id: str) -> str:
        if run_id != "abcd1234":
            raise Rejected(f"no run {run_id} is kept")
        return "<h1>Run</h1>"

    def visit(self, steps: Callable[[httpx.AsyncClient], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            transport = httpx.ASGITransport(self.door)
            async with httpx.AsyncClient(transport=transport, base_url=HERE) as http:
                return await steps(http)

        return asyncio.run(main())


async def log_in(http: httpx.AsyncClient, token: str, **form: str) -> httpx.Response:
    return await http.post("/login", data={"token": token, **form}, headers={"Origin": HERE})


@pytest.mark.parametrize("role", Role)
def test_a_token_logs_in_with_its_role(role: Role) -> None:
    async def steps(http: httpx.AsyncClient) -> tuple[httpx.Response, httpx.Response]:
        entered = await log_in(http, f"{role.name.lower()}-token-0", next="/orders")
        return entered, await http.get("/orders")

    entered, page = House().visit(steps)

    assert (entered.status_code, entered.headers["location"]) == (303, "/orders")
    assert page.text.startswith(f"{role.name.lower()} at /orders")


def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites() -> None:
    entered = House().visit(lambda http: log_in(http, "read-token-0"))

    cookie = entered.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "read-token-0" not in cookie


def test_each_role_may_do_what_its_token_may() -> None:
    may = {role: rights_of(role) for role in Role}

    assert [r.name for r in Role if may[r].may_halt] == ["KILL", "OPERATE", "ADMIN"]
    assert [r.name for r in Role if may[r].may_operate] == ["OPERATE", "ADMIN"]
    assert [r.name for r in Role if may[r].may_set_limits] == ["ADMIN"]


@pytest.mark.parametrize("token", ["", "read-token-1", "read-token-0x", "\udcff"])
def test_a_wrong_token_is_refused_without_a_session(token: str) -> None:
    text = token.encode("utf-8", "replace").decode()
    answer = House().visit(lambda http: log_in(http, text))

    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


def test_who_sends_many_wrong_tokens_is_told_to_wait_and_the_right_one_is_let_in() -> None:
    house = House()

    async def steps(http: httpx.AsyncClient) -> list[int]:
        codes = [(await log_in(http, "guess")).status_code for _ in range(WRONG_TRIES + 1)]
        codes.append((await log_in(http, "read-token-0")).status_code)
        await house.timer.advance(WRONG_WITHIN_S + 1)
        return [*codes, (await log_in(http, "guess")).status_code]

    assert house.visit(steps) == [401] * WRONG_TRIES + [429, 303, 401]


def test_wrong_tokens_count_for_the_address_that_they_came_from_and_no_more_are_kept_than_a_bound() -> (
    None
):
    sessions = Sessions(FakeTimer(), CountingIds(), 3600.0)
    for _ in range(WRONG_TRIES):
        assert sessions.note_wrong("10.0.0.1") is None

    assert sessions.note_wrong("10.0.0.2") is None
    assert sessions.note_wrong("10.0.0.1") == WRONG_WITHIN_S
    for number in range(MOST_ADDRESSES):
        sessions.note_wrong(f"stranger {number}")
    assert sessions.note_wrong("10.0.0.1") is None


def test_without_a_session_a_browser_is_sent_to_the_login_and_anything_else_is_refused() -> None:
    async def steps(http: httpx.AsyncClient) -> tuple[httpx.Response, httpx.Response]:
        return await http.get("/risk", headers={"Accept": "text/html"}), await http.get(
            "/_nicegui/x.js"
        )

    browser, other = House().visit(steps)

    assert (browser.status_code, browser.headers["location"]) == (303, "/login?next=/risk")
    assert other.status_code == 401


@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "http://127.0.0.1:9999"])
def test_a_request_that_changes_something_must_come_from_our_own_pages(origin: str | None) -> None:
    async def steps(http: httpx.AsyncClient) -> list[int]:
        headers = {} if origin is None else {"Origin": origin}
        form = {"token": "read-token-0"}
        entered = await http.post("/login", data=form, headers=headers)
        await log_in(http, "read-token-0")
        left = await http.post("/logout", headers=headers)
        return [entered.status_code, left.status_code]

    assert House().visit(steps) == [403, 403]


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil.example", "evil", "/a\r\nX: y"]
)
def test_the_login_leads_to_no_other_site(target: str) -> None:
    entered = House().visit(lambda http: log_in(http, "read-token-0", next=target))

    assert entered.headers["location"] == "/"


def test_the_login_page_shows_what_it_was_given_as_text() -> None:
    answer = House().visit(
        lambda http: http.get("/login", params={"next": '/"><script>x</script>'})
    )

    assert "<script>" not in answer.text


def test_a_strange_host_name_is_not_served() -> None:
    answer = House().visit(lambda http: http.get("/login", headers={"Host": "evil.example"}))

    assert answer.status_code == 400


@pytest.mark.parametrize(("pauses", "expected"), [((IDLE_S - 1,), 200), ((IDLE_S + 1,), 401)])
def test_a_session_that_nobody_uses_ends(pauses: tuple[float, ...], expected: int) -> None:
    house = House()

    async def steps(http: httpx.AsyncClient) -> int:
        await log_in(http, "read-token-0")
        for pause_s in pauses:
            await house.timer.advance(pause_s)
        return (await http.get("/")).status_code

    assert house.visit(steps) == expected


def test_a_session_that_is_used_all_day_ends_as_well() -> None:
    house = House()

    async def steps(http: httpx.AsyncClient) -> int:
        await log_in(http, "read-token-0")
        for _ in range(int(LONGEST_S // (IDLE_S / 2)) + 1):
            await house.timer.advance(IDLE_S / 2)
            answer = await http.get("/")
        return answer.status_code

    assert house.visit(steps) == 401


def test_logging_out_ends_the_session_and_not_only_the_cookie() -> None:
    async def steps(http: httpx.AsyncClient) -> int:
        await log_in(http, "read-token-0")
        key = http.cookies[COOKIE]
        await http.post("/logout", headers={"Origin": HERE})
        return (await http.get("/", headers={"Cookie": f"{COOKIE}={key}"})).status_code

    assert House().visit(steps) == 401


def test_every_answer_forbids_framing_sniffing_and_other_hosts() -> None:
    async def steps(http: httpx.AsyncClient) -> list[httpx.Response]:
        await log_in(http, "read-token-0")
        return [await http.get(path) for path in ("/", "/login", "/assets/dashboard.css")]

    for answer in House().visit(steps):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "http" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_prefix_that_a_stranger_sends_does_not_reach_the_pages() -> None:
    async def steps(http: httpx.AsyncClient) -> str:
        await log_in(http, "read-token-0")
        return (await http.get("/", headers={"X-Forwarded-Prefix": "/evil"})).text

    assert House().visit(steps).endswith("prefix none")


def test_what_all_services_answer_is_asked_with_a_token_and_not_with_a_session() -> None:
    async def steps(http: httpx.AsyncClient) -> list[int]:
        await log_in(http, "read-token-0")
        bearer = {"Authorization": "Bearer read-token-0"}
        return [
            (await http.get("/health")).status_code,
            (await http.get("/metrics")).status_code,
            (await http.get("/metrics", headers=bearer)).status_code,
        ]

    assert House().visit(steps) == [200, 401, 200]


@pytest.mark.parametrize(
    ("origin", "with_session", "path", "accepted"),
    [
        (HERE, True, "/_nicegui_ws/socket.io/", True),
        (HERE, False, "/_nicegui_ws/socket.io/", False),
        ("http://evil.example", True, "/_nicegui_ws/socket.io/", False),
        (None, True, "/_nicegui_ws/socket.io/", False),
        (HERE, True, "/elsewhere", False),
    ],
)
def test_a_socket_needs_a_session_and_our_own_origin(
    origin: str | None, with_session: bool, path: str, accepted: bool
) -> None:
    house, sent = House(), list[Any]()
    key = house.sessions.begin("read-token-0", rights_of(Role.READ))
    headers = [(b"host", b"127.0.0.1:8000")]
    if origin is not None:
        headers.append((b"origin", origin.encode()))
    if with_session:
        headers.append((b"cookie", f"{COOKIE}={key}".encode()))

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    scope = {"type": "websocket", "path": path, "headers": headers, "scheme": "ws"}
    asyncio.run(house.door(scope, receive, send))

    assert sent == ["websocket.accept" if accepted else "websocket.close"]


class Socket:
    """A browser's end of a socket: it connects, and then says what it is given to say."""

    def __init__(self, house: House, key: str) -> None:
        self.heard: asyncio.Queue[Any] = asyncio.Queue()
        self.heard.put_nowait({"type": "websocket.connect"})
        self.sent: list[str] = []
        headers = [
            (b"host", b"127.0.0.1:8000"),
            (b"origin", HERE.encode()),
            (b"cookie", f"{COOKIE}={key}".encode()),
        ]
        self.scope = {"type": "websocket", "path": SOCKET, "headers": headers, "scheme": "ws"}
        self.door = house.door

    async def serve(self) -> None:
        async def send(message: Any) -> None:
            self.sent.append(message["type"])

        await self.door(self.scope, self.heard.get, send)


async def listening(scope: Scope, receive: Receive, send: Send) -> None:
    """A page's socket: answers whatever it hears, and closes at the end."""
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": "done"})
    await send({"type": "websocket.close"})


def test_with_its_session_a_socket_ends_and_nothing_it_says_is_heard_any_more() -> None:
    async def main() -> list[str]:
        house = House(listening)
        key = house.sessions.begin("read-token-0", rights_of(Role.READ))
        socket = Socket(house, key)
        task = asyncio.create_task(socket.serve())
        socket.heard.put_nowait({"type": "websocket.receive", "text": "act"})
        await settle()
        house.sessions.end(key)
        # It is in the queue before anybody has looked.
        socket.heard.put_nowait({"type": "websocket.receive", "text": "act"})
        await asyncio.wait_for(task, 30)
        return socket.sent

    sent = asyncio.run(main())

    assert sent == ["websocket.accept", "websocket.send", "websocket.close"]


def test_a_socket_ends_when_its_session_has_lasted_its_time() -> None:
    async def main() -> list[str]:
        house = House(listening)
        key = house.sessions.begin("read-token-0", rights_of(Role.READ))
        session = house.sessions.find(key)
        assert session is not None
        socket = Socket(house, key)
        task = asyncio.create_task(socket.serve())
        await settle()
        for _ in range(int(LONGEST_S // (IDLE_S / 2)) + 1):
            await house.timer.advance(IDLE_S / 2)
            if house.sessions.lives(session):
                house.sessions.touch(session)
        await asyncio.wait_for(task, 30)
        return socket.sent

    assert asyncio.run(main()) == ["websocket.accept", "websocket.close"]


def test_a_page_can_ask_whether_its_session_lives_and_the_login_says_that_it_has_ended() -> None:
    async def steps(http: httpx.AsyncClient) -> tuple[int, int, str]:
        await log_in(http, "read-token-0")
        lives = (await http.get("/session")).status_code
        await http.post("/logout", headers={"Origin": HERE})
        ended = (await http.get("/session")).status_code
        return lives, ended, (await http.get("/login?ended=1&next=/risk")).text

    lives, ended, form = House().visit(steps)

    assert (lives, ended) == (204, 401)
    assert "Your session has ended. Log in again." in form
    assert 'value="/risk"' in form


def test_long_polling_is_no_way_around_the_check_of_sockets() -> None:
    async def steps(http: httpx.AsyncClient) -> int:
        await log_in(http, "read-token-0")
        return (await http.get("/_nicegui_ws/socket.io/?transport=polling")).status_code

    assert House().visit(steps) == 404


def test_a_days_report_opens_with_a_session_and_nothing_in_it_may_run() -> None:
    async def steps(http: httpx.AsyncClient) -> list[httpx.Response]:
        before = await http.get("/reports/2026-01-05")
        await log_in(http, "read-token-0")
        return [
            before,
            *[await http.get(f"/reports/{day}") for day in ("2026-01-05", "2026-01-04", "x")],
        ]

    closed, found, holiday, nonsense = House().visit(steps)

    assert [each.status_code for each in (closed, found, holiday, nonsense)] == [401, 200, 404, 404]
    assert "script" not in found.headers["content-security-policy"]


def test_a_backtests_report_may_run_its_own_script_but_out_of_reach_of_the_session() -> None:
    async def steps(http: httpx.AsyncClient) -> list[httpx.Response]:
        before = await http.get("/backtests/abcd1234/report")
        await log_in(http, "read-token-0")
        names = ("abcd1234", "none1234", "..%2f..%2fx")
        return [before, *[await http.get(f"/backtests/{name}/report") for name in names]]

    closed, found, unknown, nonsense = House().visit(steps)

    assert [each.status_code for each in (closed, found, unknown)] == [401, 200, 404]
    policy = found.headers["content-security-policy"]
    # Without allow-same-origin its origin is its own: it reads no cookie and asks nobody.
    assert "sandbox allow-scripts" in policy
    assert "allow-same-origin" not in policy
    assert "default-src 'none'" in policy
    assert "connect-src" not in policy
    # What is no run's name is a page like any other, and no word for the command line.
    assert nonsense.text.startswith("read at /backtests/")


def test_who_is_sent_to_the_login_comes_back_to_the_very_view() -> None:
    answer = House().visit(
        lambda http: http.get("/orders?id=abc&x=1", headers={"Accept": "text/html"})
    )

    assert answer.headers["location"] == "/login?next=/orders%3Fid%3Dabc%26x%3D1"
