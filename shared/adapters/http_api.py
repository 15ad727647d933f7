"""What do all services' HTTP APIs have in common?

Bearer tokens with roles on everything but `GET /health`, errors as problem+json with a stable code, bounded
bodies, an allow-list of host names, `/ready`, `/metrics`, `/version`, and figures about each request. A
service adds its own routes and nothing of this.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import importlib.metadata
import re
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date
from enum import IntEnum
from typing import Annotated, Any

import prometheus_client
import uvicorn
from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.adapters.figures import watch_loop
from shared.adapters.live_settings import LiveSettings
from shared.adapters.metrics import ServiceMetrics
from shared.adapters.request_heads import BoundedHeads
from shared.config import Settings
from shared.domain.errors import (
    InvalidInput,
    Misconfigured,
    RateLimited,
    Rejected,
    Retryable,
    StateMismatch,
    TradingError,
    Unproven,
)
from shared.domain.ids import broker_mark
from shared.ports import Timer

# Ten thousand symbols of ten letters fit.
MAX_BODY_BYTES = 256 * 1024
BODY_WITHIN_S = 10.0
MOST_GUESSES = 30
GUESSES_WITHIN_S = 60.0
LIVE_PATH = "/settings/live"
_LONGEST_DETAIL = 1_000
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
ALLOWED_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
_SECURITY_HEADERS = [
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
]


class Role(IntEnum):
    """What a token may do; a higher one may do all that a lower one may.

    KILL stands beside the ladder: it may read and halt, and nothing else.
    """

    READ = 1
    KILL = 2
    OPERATE = 3
    ADMIN = 4


class Problem(BaseModel):
    """An error as RFC 9457 has it; `code` is stable, `detail` is for people."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str


class ProblemError(Exception):
    """Raised by a route to answer with a problem."""

    def __init__(
        self, status: int, code: str, detail: str, headers: Mapping[str, str] = {}
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers)


class Tokens:
    """The configured tokens, compared in constant time."""

    def __init__(self, settings: Settings) -> None:
        """Raises Misconfigured when none is set: an API without a token would be open."""
        pairs = [
            (Role.ADMIN, settings.api_token_admin),
            (Role.OPERATE, settings.api_token_operate),
            (Role.KILL, settings.api_token_kill),
            (Role.READ, settings.api_token_read),
        ]
        self._tokens = [(role, t.get_secret_value().encode()) for role, t in pairs if t]
        if not self._tokens:
            raise Misconfigured(
                "missing setting API_TOKEN_READ, API_TOKEN_OPERATE, API_TOKEN_KILL or "
                "API_TOKEN_ADMIN: run `make setup`, which makes them"
            )

    def role_of(self, given: str) -> Role | None:
        """The role of token `given`, or None when it is not one of ours."""
        found = None
        for role, token in self._tokens:
            if hmac.compare_digest(token, given.encode()) and found is None:
                found = role
        return found


class Guesses:
    """Wrong tokens within the last while, so that nobody may try them for long.

    Who has a right one is never held up: a stranger must not be able to lock the operator out.
    """

    def __init__(self, timer: Timer) -> None:
        self._timer = timer
        self._at_s: deque[float] = deque(maxlen=MOST_GUESSES)

    def another(self) -> float | None:
        """Count one; the pause to ask for in seconds, or None while they are few."""
        now_s = self._timer.monotonic_s()
        oldest_s = self._at_s[0] if len(self._at_s) == MOST_GUESSES else None
        self._at_s.append(now_s)
        if oldest_s is None or now_s - oldest_s >= GUESSES_WITHIN_S:
            return None
        return GUESSES_WITHIN_S - (now_s - oldest_s)


def _plain_day(given: object) -> object:
    # pydantic itself reads a number as seconds since 1970, and what was meant as a price as a day.
    if not (isinstance(given, str) and _DAY.fullmatch(given)) and type(given) is not date:
        raise ValueError("write a day like 2026-01-15")
    return given


# A day in a request.
Day = Annotated[date, BeforeValidator(_plain_day)]

_bearer = HTTPBearer(auto_error=False)


def requires(role: Role) -> Any:
    """A dependency that lets a request through when its token may act as `role`; gives the role."""

    def check(
        request: Request,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    ) -> Role:
        tokens: Tokens = request.app.state.tokens
        held = tokens.role_of(credentials.credentials) if credentials is not None else None
        if held is None:
            guesses: Guesses = request.app.state.guesses
            pause_s = None if credentials is None else guesses.another()
            if pause_s is not None:
                raise ProblemError(
                    429,
                    "too_many_guesses",
                    "too many wrong tokens were sent; look up the right one in .env",
                    {"Retry-After": str(max(1, round(pause_s)))},
                )
            raise ProblemError(
                401,
                "unauthorized",
                "send a valid token as `Authorization: Bearer <token>`",
                {"WWW-Authenticate": "Bearer"},
            )
        if held is Role.KILL and role is Role.OPERATE:
            raise ProblemError(403, "forbidden", "this token may halt trading, and nothing else")
        if held < role:
            raise ProblemError(403, "forbidden", f"this needs a token of role {role.name.lower()}")
        if role >= Role.OPERATE and _is_closed_for(request):
            raise ProblemError(
                503,
                "read_only",
                "this is maintenance, in which nothing changes; ask for trader maintenance off",
                {"Retry-After": "60"},
            )
        return held

    return Depends(check)


def _is_closed_for(request: Request) -> bool:
    """Whether maintenance forbids this request; what ends it must stay open."""
    live: LiveSettings = request.app.state.live_settings
    is_safe = request.method in ("GET", "HEAD") or request.url.path == LIVE_PATH
    return live.is_read_only and not is_safe


Probe = Callable[[], Awaitable[bool]]


class Health(BaseModel):
    """The process lives; `status` is always ok when it can answer at all."""

    service: str
    status: str


class Readiness(BaseModel):
    """Whether the service can do its work, and each thing it needs."""

    service: str
    ready: bool
    checks: dict[str, bool]


class SettingsWish(BaseModel):
    """Settings to take over now, each as it is written in `.env`; an empty text is the default."""

    model_config = ConfigDict(extra="forbid")

    settings: Annotated[dict[str, Annotated[str, Field(max_length=2_000)]], Field(max_length=32)]
    reason: Annotated[str, Field(min_length=1, max_length=500)]


class SettingsNow(BaseModel):
    """The settings that may change while the service runs, and which of them just did."""

    service: str
    settings: dict[str, str]
    changed: list[str]


class Version(BaseModel):
    """Which build answers, and which broker's keys it was told, if any (see `ids.broker_mark`)."""

    service: str
    version: str
    broker_mark: str | None = None


def make_app(
    service: str, settings: Settings, probes: Mapping[str, Probe], timer: Timer
) -> FastAPI:
    """The part of a service's API that all have; the caller adds its routers."""
    app = FastAPI(
        title=f"full-ai-trader {service.replace('_', ' ')}",
        version=importlib.metadata.version("full-ai-trader"),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        responses={
            code: {"model": Problem, "content": {"application/problem+json": {}}}
            for code in (400, 401, 403, 404, 409, 413, 422, 429, 503)
        },
    )
    app.state.tokens = Tokens(settings)
    app.state.guesses = Guesses(timer)
    registry = prometheus_client.CollectorRegistry()
    app.state.metrics = registry
    prometheus_client.ProcessCollector(registry=registry)
    own = ServiceMetrics(service, app.version)
    own.register(registry)
    seconds = prometheus_client.Histogram(
        "http_request_seconds",
        "Time to answer, by route and status.",
        ["method", "route", "status"],
        registry=registry,
    )
    # Where services are hosts of their own, the others call this one by its name.
    hosts = ALLOWED_HOSTS | ({service} if settings.api_peers_by_name else set())
    app.add_middleware(_Guard, seconds=seconds, timer=timer, hosts=hosts)
    _answer_errors_as_problems(app)

    @app.get("/health", tags=["operation"])
    async def health() -> Health:
        """Liveness, open to anybody: says that the process answers and nothing more."""
        return Health(service=service, status="ok")

    @app.get("/ready", tags=["operation"], dependencies=[requires(Role.READ)])
    async def ready(response: Response) -> Readiness:
        """Whether everything this service needs answers; 503 when not."""
        checks = {name: await _bounded(probe) for name, probe in probes.items()}
        is_ready = all(checks.values())
        response.status_code = 200 if is_ready else 503
        return Readiness(service=service, ready=is_ready, checks=checks)

    live = LiveSettings(settings)
    app.state.live_settings = live

    @app.get(LIVE_PATH, tags=["operation"], dependencies=[requires(Role.READ)])
    async def live_settings() -> SettingsNow:
        """What may change while this service runs, as it is now."""
        return SettingsNow(service=service, settings=live.values(), changed=[])

    @app.post(LIVE_PATH, tags=["operation"])
    async def change_settings(
        wish: SettingsWish, role: Annotated[Role, requires(Role.ADMIN)]
    ) -> SettingsNow:
        """Take over settings that may change while the service runs; the log keeps who, what and why."""
        changed = live.take(wish.settings, actor=f"token:{role.name.lower()}", reason=wish.reason)
        return SettingsNow(service=service, settings=live.values(), changed=sorted(changed))

    @app.get("/version", tags=["operation"], dependencies=[requires(Role.READ)])
    async def version() -> Version:
        """Which build answers, and with which keys at the broker; `trader kill` asks that."""
        key = settings.alpaca_api_key
        mark = (
            None if key is None else broker_mark(settings.alpaca_base_url, key.get_secret_value())
        )
        return Version(service=service, version=app.version, broker_mark=mark)

    @app.get(
        "/metrics",
        tags=["operation"],
        dependencies=[requires(Role.READ)],
        response_class=PlainTextResponse,
    )
    async def metrics() -> Response:
        """Figures in Prometheus' text format."""
        own.note({name: await _bounded(probe) for name, probe in probes.items()})
        return Response(
            prometheus_client.generate_latest(registry), media_type="text/plain; version=0.0.4"
        )

    @app.get("/openapi.json", tags=["operation"], dependencies=[requires(Role.READ)])
    async def openapi() -> dict[str, Any]:
        """This description."""
        return app.openapi()

    return app


async def _bounded(probe: Probe) -> bool:
    try:
        async with asyncio.timeout(2):
            return await probe()
    except (TimeoutError, TradingError, OSError):
        return False


def _problem(status: int, code: str, detail: str, headers: Mapping[str, str]) -> Response:
    titles = {
        400: "Bad request",
        401: "Unauthorized",
        403: "Forbidden",
        404: "Not found",
        405: "Method not allowed",
        408: "Request timeout",
        409: "Conflict",
        413: "Body too large",
        422: "Not valid",
        429: "Too many requests",
        503: "Unavailable",
    }
    said = detail if len(detail) <= _LONGEST_DETAIL else f"{detail[:_LONGEST_DETAIL]}…"
    # Words of the request come back in it, and are read in terminals, which obey control characters.
    said = "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in said)
    body = Problem(title=titles.get(status, "Error"), status=status, code=code, detail=said)
    return JSONResponse(
        body.model_dump(), status, headers=dict(headers), media_type="application/problem+json"
    )


def problem_of(error: TradingError) -> tuple[int, str, dict[str, str]]:
    """Status, code and headers of an error that reached the edge."""
    match error:
        case InvalidInput():
            return 422, "invalid_input", {}
        case RateLimited():
            return 503, "rate_limited", {"Retry-After": str(max(1, round(error.pause_s)))}
        case Retryable():
            return 503, "unavailable", {"Retry-After": "1"}
        case Rejected():
            return 422, "rejected", {}
        case Unproven():
            return 409, "outcome_unknown", {}
        case StateMismatch():
            return 409, "state_mismatch", {}
    return 500, "internal", {}


def _answer_errors_as_problems(app: FastAPI) -> None:
    @app.exception_handler(ProblemError)
    async def on_problem(_request: Request, error: ProblemError) -> Response:
        return _problem(error.status, error.code, error.detail, error.headers)

    @app.exception_handler(TradingError)
    async def on_trading_error(_request: Request, error: TradingError) -> Response:
        status, code, headers = problem_of(error)
        return _problem(status, code, str(error), headers)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(_request: Request, error: RequestValidationError) -> Response:
        # The given value is left out on purpose: it may be a secret in the wrong field.
        complaints = [
            f"{'.'.join(str(part) for part in detail['loc'][1:]) or 'body'}: {detail['msg']}"
            for detail in error.errors()[:10]
        ]
        return _problem(422, "invalid_request", "; ".join(complaints), {})

    @app.exception_handler(HTTPException)
    async def on_http(_request: Request, error: HTTPException) -> Response:
        codes = {404: "not_found", 405: "method_not_allowed"}
        code = codes.get(error.status_code, "error")
        return _problem(error.status_code, code, str(error.detail), error.headers or {})

    @app.exception_handler(Exception)
    async def on_bug(_request: Request, _error: Exception) -> Response:
        # The error itself goes to the log, which the framework does after this answer.
        return _problem(500, "internal", "this is a fault of the service; its log says more", {})


class _Guard:
    """Turns away strange hosts and oversized bodies, adds headers, and times each request."""

    def __init__(
        self,
        app: ASGIApp,
        seconds: prometheus_client.Histogram,
        timer: Timer,
        hosts: AbstractSet[str],
    ) -> None:
        self._app = app
        self._seconds = seconds
        self._hosts = hosts
        self._timer = timer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s = self._timer.monotonic_s()
        status = 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], *_SECURITY_HEADERS]}
            await send(message)

        refusal = _refusal(scope, self._hosts)
        if refusal is not None:
            await refusal(scope, receive, send_with_headers)
            return
        # Read here, before any framework turns "too large" into an error of its own.
        try:
            async with asyncio.timeout(BODY_WITHIN_S):
                body = await _bounded_body(receive)
        except TimeoutError:
            # Who sends a byte now and then would hold a connection that others need.
            words = f"send the whole body within {BODY_WITHIN_S:.0f} s"
            refusal = _problem(408, "body_too_slow", words, {"Connection": "close"})
            await refusal(scope, receive, send_with_headers)
            return
        if body is None:
            await _too_large()(scope, receive, send_with_headers)
            return
        if _holds_nul(scope, body):
            refusal = _problem(422, "invalid_request", "leave out the NUL character", {})
            await refusal(scope, receive, send_with_headers)
            return
        is_read = False

        async def receive_body_first() -> Message:
            nonlocal is_read
            if is_read:
                return await receive()
            is_read = True
            return {"type": "http.request", "body": body, "more_body": False}

        try:
            await self._app(scope, receive_body_first, send_with_headers)
        finally:
            # The route's pattern, never its text: a label per symbol would have no bound.
            route = getattr(scope.get("route"), "path", "unmatched")
            self._seconds.labels(scope["method"], route, str(status)).observe(
                self._timer.monotonic_s() - began_s
            )


def _refusal(scope: Scope, hosts: AbstractSet[str]) -> Response | None:
    headers: Sequence[tuple[bytes, bytes]] = scope["headers"]
    values = {name.lower(): value for name, value in headers}
    host = values.get(b"host", b"").decode("latin-1")
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    if name not in hosts:
        return _problem(400, "unknown_host", "this host name is not served here", {})
    length = values.get(b"content-length", b"0")
    if not length.isdigit() or int(length) > MAX_BODY_BYTES:
        return _too_large()
    return None


def _too_large() -> Response:
    return _problem(413, "body_too_large", f"send at most {MAX_BODY_BYTES} bytes", {})


def _holds_nul(scope: Scope, body: bytes) -> bool:
    # PostgreSQL stores every other character; this one would fail deep inside a transaction.
    return "\0" in scope["path"] or b"%00" in scope["query_string"] or b"\\u0000" in body


async def _bounded_body(receive: Receive) -> bytes | None:
    """The request's body, or None as soon as it is too large or its sender is gone."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        # Half an order may read as a whole one, so a sender who hung up has sent nothing.
        if len(body) > MAX_BODY_BYTES or message["type"] == "http.disconnect":
            return None
        if not message.get("more_body", False):
            return bytes(body)


class _Server(uvicorn.Server):
    """A server that leaves signals to the process that wires it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


async def serve(app: ASGIApp, host: str, port: int) -> None:
    """Serve `app` until cancelled, then finish open requests within two seconds.

    Raises:
        Misconfigured: the port cannot be used.
    """
    listening = _listen(host, port)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=BoundedHeads,
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=True,
        limit_concurrency=200,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=2,
        lifespan="off",
    )
    server = _Server(config)
    watch_loop()
    task = asyncio.create_task(server.serve(sockets=[listening]), name="http")
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        server.should_exit = True
        await task
        raise
    finally:
        listening.close()


def _listen(host: str, port: int) -> socket.socket:
    # Bound here: the server's own way out of a taken port would end the whole event loop.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise Misconfigured(
            f"port {port} on {host} cannot be used ({error.strerror}); free it or set another"
        ) from None
    return listening
