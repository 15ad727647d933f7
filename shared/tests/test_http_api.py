"""What every service's API keeps to, whoever asks and whatever is sent."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel, SecretStr

from shared.adapters.http_api import (
    MAX_BODY_BYTES,
    MOST_GUESSES,
    Day,
    ProblemError,
    Role,
    Tokens,
    make_app,
    problem_of,
    requires,
    serve,
)
from shared.config import load_settings
from shared.domain.errors import (
    InvalidSymbol,
    Misconfigured,
    OrderRejected,
    OutcomeUnknown,
    RateLimited,
    StateMismatch,
    TradingError,
    Unavailable,
)
from shared.testing.time import InstantTimer
from trader.runtime.ports import Ports

SETTINGS = load_settings(
    {
        "API_TOKEN_READ": "read-token-0",
        "API_TOKEN_OPERATE": "operate-token-0",
        "API_TOKEN_KILL": "kill-token-0",
        "API_TOKEN_ADMIN": "admin-token-0",
    }
)
ROLES = ("read", "kill", "operate", "admin")


class Wish(BaseModel):
    quantity: int


def app_with(probes: dict[str, Callable[[], Awaitable[bool]]] | None = None) -> FastAPI:
    app = make_app("risk_manager", SETTINGS, probes or {}, InstantTimer())

    for role in Role:

        @app.get(f"/as/{role.name.lower()}", dependencies=[requires(role)])
        async def as_role() -> str:
            return "yes"

    @app.post("/wish", dependencies=[requires(Role.OPERATE)])
    async def wish(body: Wish) -> int:
        return body.quantity

    @app.get("/fail/{kind}", dependencies=[requires(Role.READ)])
    async def fail(kind: str) -> None:
        raise {
            "invalid": InvalidSymbol("'x' is not a symbol"),
            "away": Unavailable("PostgreSQL gave no answer"),
            "busy": RateLimited("Alpaca", 7.4),
            "refused": OrderRejected("no", status=403, code=None),
            "unknown": OutcomeUnknown("fat-1", "timeout"),
            "differs": StateMismatch("the broker holds 3"),
            "other": TradingError("something"),
            "own": ProblemError(404, "unknown_job", "there is no job 'x'"),
            "echo": InvalidSymbol("\x1b[2J\ud800\n" + "x" * 5_000 + " is no symbol"),
        }[kind]

    return app


def ask(
    method: str,
    path: str,
    token: str | None = None,
    *,
    app: FastAPI | None = None,
    host: str = "127.0.0.1:8003",
    content: bytes | AsyncIterator[bytes] | None = None,
    headers: list[tuple[bytes, bytes]] | dict[str, str] | None = None,
) -> httpx.Response:
    async def main() -> httpx.Response:
        transport = httpx.ASGITransport(app or app_with())
        sent = httpx.Headers(headers)
        if content is not None:
            sent.setdefault("Content-Type", "application/json")
        if token is not None:
            sent["Authorization"] = f"Bearer {token}-token-0"
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as http:
            return await http.request(method, path, content=content, headers=sent)

    return asyncio.run(main())


def test_only_health_is_open() -> None:
    assert ask("GET", "/health").json() == {"service": "risk_manager", "status": "ok"}
    for path in ("/ready", "/version", "/metrics", "/openapi.json", "/as/read"):
        answer = ask("GET", path)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["code"] == "unauthorized"


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/docs/oauth2-redirect"])
def test_no_page_of_the_frameworks_own_is_served(path: str) -> None:
    assert ask("GET", path, "admin").status_code == 404


ALLOWED = {
    "read": {"read"},
    "kill": {"read", "kill"},
    "operate": {"read", "kill", "operate"},
    "admin": {"read", "kill", "operate", "admin"},
}


@pytest.mark.parametrize(("token", "needed"), list(itertools.product(ROLES, ROLES)))
def test_a_token_may_do_what_its_role_says_and_nothing_more(token: str, needed: str) -> None:
    answer = ask("GET", f"/as/{needed}", token)

    assert answer.status_code == (200 if needed in ALLOWED[token] else 403)


def test_the_token_that_may_halt_is_told_so_where_it_tries_more() -> None:
    said = ask("GET", "/as/operate", "kill").json()

    assert said["detail"] == "this token may halt trading, and nothing else"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic read-token-0",
        "Bearer read-token-",
        "read-token-0",
    ],
)
def test_what_is_no_token_of_ours_is_turned_away(header: str) -> None:
    answer = ask("GET", "/as/read", headers={"Authorization": header})

    assert answer.status_code == 401


def test_a_token_with_letters_beyond_ascii_is_turned_away_and_breaks_nothing() -> None:
    answer = ask("GET", "/as/read", headers=[(b"Authorization", "Bearer ü".encode())])

    assert answer.status_code == 401


def test_one_secret_for_two_roles_counts_as_the_stronger() -> None:
    settings = load_settings({"API_TOKEN_READ": "same-token", "API_TOKEN_OPERATE": "same-token"})

    assert Tokens(settings).role_of("same-token") is Role.OPERATE


def test_an_api_without_any_token_does_not_start() -> None:
    with pytest.raises(Misconfigured, match="API_TOKEN_READ"):
        make_app("risk_manager", load_settings({}), {}, InstantTimer())


@pytest.mark.parametrize("token", [SecretStr(""), None])
def test_an_empty_token_opens_nothing(token: SecretStr | None) -> None:
    settings = SETTINGS.model_copy(update={"api_token_read": token})

    assert Tokens(settings).role_of("") is None


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("invalid", 422, "invalid_input"),
        ("away", 503, "unavailable"),
        ("busy", 503, "rate_limited"),
        ("refused", 422, "rejected"),
        ("unknown", 409, "outcome_unknown"),
        ("differs", 409, "state_mismatch"),
        ("other", 500, "internal"),
        ("own", 404, "unknown_job"),
    ],
)
def test_every_error_is_a_problem_with_a_stable_code(kind: str, status: int, code: str) -> None:
    answer = ask("GET", f"/fail/{kind}", "read")

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == code
    assert answer.json()["status"] == status
    assert answer.json()["detail"]


def test_words_that_come_back_in_an_error_are_one_short_line_that_no_terminal_obeys() -> None:
    detail = ask("GET", "/fail/echo", "read").json()["detail"]

    assert detail == "\ufffd[2J\ufffd " + "x" * 994 + "…"


def test_a_pause_is_asked_for_in_whole_seconds_and_never_zero() -> None:
    assert ask("GET", "/fail/busy", "read").headers["retry-after"] == "7"
    assert problem_of(RateLimited("Alpaca", 0.2))[2] == {"Retry-After": "1"}
    assert ask("GET", "/fail/away", "read").headers["retry-after"] == "1"


def test_unknown_paths_and_methods_are_problems_too() -> None:
    assert ask("GET", "/nowhere", "read").json()["code"] == "not_found"
    assert ask("DELETE", "/health", "read").json()["code"] == "method_not_allowed"


def test_a_body_that_is_wrong_names_the_field_and_does_not_repeat_the_value() -> None:
    answer = ask("POST", "/wish", "operate", content=b'{"quantity": "my-secret"}')

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json()["detail"].startswith("quantity: ")
    assert "my-secret" not in answer.text


@pytest.mark.parametrize("given", ["0", "1e-311", "1767571200", "2026-1-5", "20260105", "today"])
def test_a_day_is_written_as_a_day_and_no_number_passes_for_one(given: str) -> None:
    app = app_with()

    @app.get("/day")
    async def day(on: Day) -> str:
        return on.isoformat()

    answer = ask("GET", f"/day?on={given}", app=app)
    assert answer.status_code == 422
    assert "write a day like 2026-01-15" in answer.json()["detail"]
    assert ask("GET", "/day?on=2026-01-05", app=app).json() == "2026-01-05"


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[]", b"null", b""])
def test_a_body_that_is_no_object_is_refused_in_one_sentence(content: bytes) -> None:
    answer = ask("POST", "/wish", "operate", content=content)

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_read() -> None:
    answer = ask("POST", "/wish", "operate", content=b" " * (MAX_BODY_BYTES + 1))

    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_a_body_that_grows_too_large_on_the_way_is_refused_too() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY_BYTES // 1024 + 1):
            yield b" " * 1024

    answer = ask("POST", "/wish", "operate", content=pieces())

    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("length", ["-1", "1e3", "x", "9" * 30])
def test_a_length_that_is_none_is_refused(length: str) -> None:
    answer = ask("POST", "/wish", "operate", content=b"{}", headers={"Content-Length": length})

    assert answer.status_code == 413


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil", "0.0.0.0"]
)
def test_a_page_elsewhere_cannot_reach_us_by_a_name_of_its_own(host: str) -> None:
    answer = ask("GET", "/health", host=host)

    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_host")


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8003", "localhost:8003", "localhost", "[::1]:8003", "[::1]"]
)
def test_this_machine_may_be_called_by_its_own_names(host: str) -> None:
    assert ask("GET", "/health", host=host).status_code == 200


@pytest.mark.parametrize("path", ["/health", "/nowhere", "/as/read", "/fail/other"])
def test_every_answer_carries_the_security_headers(path: str) -> None:
    headers = ask("GET", path, "read").headers

    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in headers["content-security-policy"]


def test_readiness_names_each_thing_that_is_needed_and_a_failing_probe_is_not_ready() -> None:
    async def yes() -> bool:
        return True

    async def no() -> bool:
        return False

    async def gone() -> bool:
        raise ConnectionRefusedError

    good = ask("GET", "/ready", "read", app=app_with({"postgres": yes}))
    bad = ask("GET", "/ready", "read", app=app_with({"postgres": yes, "redis": no, "feed": gone}))

    assert (good.status_code, good.json()["ready"]) == (200, True)
    assert bad.status_code == 503
    assert bad.json()["checks"] == {"postgres": True, "redis": False, "feed": False}


def test_figures_name_routes_by_their_pattern_so_that_labels_are_bounded() -> None:
    app = app_with()
    for kind in ("other", "away"):
        ask("GET", f"/fail/{kind}", "read", app=app)
    ask("GET", "/somewhere/else", app=app)

    said = ask("GET", "/metrics", "read", app=app).text
    assert 'route="/fail/{kind}",status="500"' in said
    assert 'route="unmatched",status="404"' in said
    assert "somewhere" not in said


def test_the_description_lists_routes_and_the_version_is_the_distributions() -> None:
    app = app_with()

    assert "/wish" in ask("GET", "/openapi.json", "read", app=app).json()["paths"]
    assert ask("GET", "/version", "read", app=app).json() == {
        "service": "risk_manager",
        "version": app.version,
        "broker_mark": None,
    }


def test_a_port_in_use_ends_in_one_sentence_that_names_it() -> None:
    async def main(port: int) -> None:
        with pytest.raises(Misconfigured, match=f"port {port} on 127.0.0.1 cannot be used"):
            await serve(app_with(), "127.0.0.1", port)

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        asyncio.run(main(taken.getsockname()[1]))


def test_a_cancelled_server_answers_until_then_and_frees_its_port() -> None:
    async def main(port: int) -> None:
        task = asyncio.create_task(serve(app_with(), "127.0.0.1", port))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            while True:
                try:
                    answer = await http.get("/health")
                    break
                except httpx.ConnectError:
                    await asyncio.wait({task}, timeout=0.01)
        assert answer.status_code == 200
        assert "server" not in answer.headers
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    port = Ports.free().scheduler
    asyncio.run(main(port))
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))


async def said_to(port: int, pieces: list[bytes]) -> bytes:
    """What a server answers to `pieces` until it hangs up; after a whole request its answer is waited for."""
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            break
        except ConnectionRefusedError:
            continue
    answer = b""
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            if piece is FIRST:
                answer += await reader.readuntil(b"}")
        async with asyncio.timeout(20):
            answer += await reader.read()
    except ConnectionError:
        pass
    writer.close()
    return answer


WHOLE = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
FIRST = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    ("pieces", "answers"),
    [
        pytest.param([], 0, id="nothing"),
        pytest.param([b"GET /health HTTP/1.1\r\nHo"], 0, id="half a head"),
        pytest.param([FIRST, b"GET /hea"], 1, id="half a second head"),
        pytest.param([b"GET /health HTTP/1.1\r\n", b"X: " + b"x" * 70_000], 0, id="endless head"),
        pytest.param([WHOLE[:30], WHOLE[30:]], 1, id="in two pieces"),
    ],
)
def test_a_head_that_is_never_whole_holds_no_connection_and_others_are_answered(
    pieces: list[bytes], answers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.adapters.request_heads.HEAD_WITHIN_S", 0.2)

    async def main(port: int) -> tuple[bytes, bytes]:
        task = asyncio.create_task(serve(app_with(), "127.0.0.1", port))
        slow, other = await asyncio.gather(said_to(port, pieces), said_to(port, [WHOLE]))
        task.cancel()
        await asyncio.wait({task})
        return slow, other

    port = Ports.free().scheduler
    slow, other = asyncio.run(main(port))

    assert slow.count(b"HTTP/1.1 200") == answers
    assert other.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/as/read%00", None),
        ("/as/read?symbol=A%00", None),
        ("/wish", b'{"quantity": "\\u0000"}'),
    ],
)
def test_a_nul_character_is_refused_wherever_it_stands(path: str, content: bytes | None) -> None:
    answer = ask("POST", path, "admin", content=content)

    assert answer.status_code == 422
    assert answer.json()["detail"] == "leave out the NUL character"


def test_a_bug_answers_with_a_problem_that_tells_nothing_of_it() -> None:
    app = app_with()

    @app.get("/bug")
    async def bug() -> None:
        raise ZeroDivisionError("secret figure 42")

    async def main() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            return await http.get("/bug")

    answer = asyncio.run(main())
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "internal"
    assert "42" not in answer.text


def half_a_body(then: Callable[[], Awaitable[dict[str, object]]]) -> list[dict[str, object]]:
    """What is answered to a sender who begins a body that reads as a whole wish and goes on with `then`."""
    answered: list[dict[str, object]] = []
    first = {"type": "http.request", "body": b'{"quantity": 1}', "more_body": True}
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/wish",
        "query_string": b"",
        "headers": [
            (b"host", b"127.0.0.1"),
            (b"content-type", b"application/json"),
            (b"authorization", b"Bearer admin-token-0"),
        ],
    }
    parts = iter([first])

    async def receive() -> dict[str, object]:
        part = next(parts, None)
        return part if part is not None else await then()

    async def send(message: MutableMapping[str, object]) -> None:
        answered.append(dict(message))

    asyncio.run(app_with()(scope, receive, send))
    return answered


def test_half_a_body_whose_sender_hung_up_is_not_acted_upon() -> None:
    async def hang_up() -> dict[str, object]:
        return {"type": "http.disconnect"}

    assert half_a_body(hang_up)[0]["status"] == 413


def test_a_body_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.adapters.http_api.BODY_WITHIN_S", 0.01)

    async def dawdle() -> dict[str, object]:
        await asyncio.get_running_loop().create_future()
        return {}

    assert half_a_body(dawdle)[0]["status"] == 408


def test_who_tries_many_wrong_tokens_is_told_to_wait_and_the_right_one_is_let_in() -> None:
    app = app_with()

    answers = [ask("GET", "/version", f"guess-{n}", app=app) for n in range(MOST_GUESSES + 1)]

    assert [answer.status_code for answer in answers] == [401] * MOST_GUESSES + [429]
    assert int(answers[-1].headers["retry-after"]) > 0
    assert ask("GET", "/version", "read", app=app).status_code == 200
