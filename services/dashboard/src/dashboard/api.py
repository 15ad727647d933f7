"""Who is let in to the pages, and how does a person log in and out?

Everything but the login, two assets and `GET /health` needs a session. A request from another site is refused: what
changes something must come from our own pages (Origin), and so must the WebSocket over which pages act. The strict
content policy of the other services is not possible here, since the page library needs inline scripts; the policy
that takes its place still forbids any other host (see docs/adr).
"""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import Awaitable, Callable
from datetime import date
from importlib import resources
from urllib.parse import parse_qs, quote, urlsplit

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboard.sessions import Rights, Session, Sessions
from shared.adapters.http_api import ALLOWED_HOSTS, BODY_WITHIN_S, LIVE_PATH, Role, Tokens
from shared.domain.errors import TradingError

COOKIE = "trading_session"
THEME_COOKIE = "trading_theme"
SESSION = "dashboard.session"
# What every service answers, with a token and not with a session.
COMMON = frozenset({"/health", "/ready", "/version", "/metrics", "/openapi.json", LIVE_PATH})
MOST_LOGIN_BYTES = 4096
_SOCKET = "/_nicegui_ws/"
_REPORTS = "/reports/"
_BACKTEST = re.compile(r"/backtests/([A-Za-z0-9]{4,32})/report")
_ASSETS = {
    "/assets/dashboard.css": "text/css",
    "/assets/icon.svg": "image/svg+xml",
    "/assets/live.js": "text/javascript",
}
# Whether a session lives, for a page whose socket was refused: a browser does not tell why.
_SESSION = "/session"
_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; frame-src 'self'; manifest-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# Pages of their own, whose words come from outside. A day's report needs no script, so nothing in it may run. A
# backtest's draws its charts itself: it may run its own script, but in an origin of its own, out of reach of sessions.
_DAY_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
_BACKTEST_POLICY = (
    "sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data: blob:; font-src data:; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    # Not no-referrer: a form's Origin would then be null, and could not be told from a stranger's.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
]


class Door:
    """Everything that asks for a page passes here."""

    def __init__(
        self,
        common: ASGIApp,
        pages: ASGIApp,
        sessions: Sessions,
        tokens: Tokens,
        report_of: Callable[[str], Awaitable[str]],
        backtest_of: Callable[[str], Awaitable[str]],
    ) -> None:
        """`common` answers what all services do; the rest is reached with a session alone.

        `report_of` gives the page about a day, `backtest_of` that about a kept run; they raise TradingError where
        there is none.
        """
        self._report_of = report_of
        self._backtest_of = backtest_of
        self._common = common
        self._pages = pages
        self._sessions = sessions
        self._tokens = tokens
        folder = resources.files("dashboard") / "assets"
        self._assets = {path: (folder / path.rsplit("/", 1)[1]).read_bytes() for path in _ASSETS}
        self._login_page = (folder / "login.html").read_text(encoding="utf-8")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or one socket."""
        if scope["type"] == "http" and scope["path"] in COMMON:
            await self._common(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, _with_headers(scope, send))
        elif scope["type"] == "websocket":
            await self._socket(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        path: str = scope["path"]
        if not _is_served(headers.get("host", "")):
            await _refusal(400, "This host name is not served here.")(scope, receive, send)
            return
        is_safe = scope["method"] in ("GET", "HEAD")
        if not is_safe and not _from_here(headers):
            await _refusal(403, "This came from another site and was refused.")(
                scope, receive, send
            )
            return
        if path in _ASSETS and is_safe:
            answer: Response = Response(
                self._assets[path],
                media_type=_ASSETS[path],
                headers={"Cache-Control": "no-cache"},
            )
        elif path == "/login":
            answer = await self._login(scope, receive)
        elif (session := self._session(headers)) is None:
            query = scope["query_string"].decode("latin-1")
            wanted = f"{path}?{query}" if query else path
            answer = (
                RedirectResponse(f"/login?next={quote(wanted)}", 303)
                if scope["method"] == "GET" and "text/html" in headers.get("accept", "")
                else _refusal(401, "Log in first.")
            )
        elif path == "/logout" and scope["method"] == "POST":
            self._sessions.end(_cookie(headers))
            answer = RedirectResponse("/login", 303)
            answer.delete_cookie(COOKIE, path="/")
        elif path == _SESSION and is_safe:
            answer = Response(status_code=204)
        elif path.startswith(_SOCKET):
            # Pages speak over a WebSocket alone, which is checked below; long polling is not.
            answer = _refusal(404, "Not found.")
        elif path.startswith(_REPORTS) and is_safe:
            answer = await self._report(path.removeprefix(_REPORTS))
        elif is_safe and (run := _BACKTEST.fullmatch(path)) is not None:
            answer = await _document(self._backtest_of(run[1]), _BACKTEST_POLICY)
        elif not is_safe:
            answer = _refusal(405, "Pages act over their socket.")
        else:
            await self._page(_for_pages(scope, session), receive, send)
            return
        await answer(scope, receive, send)

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_gone = False

        async def heard() -> Message:
            nonlocal is_gone
            message = await receive()
            is_gone = is_gone or message["type"] == "http.disconnect"
            return message

        try:
            await self._pages(scope, heard, send)
        except RuntimeError:
            # The framework takes an answer that nobody waited for as a fault of ours.
            if not is_gone:
                raise

    async def _report(self, day: str) -> Response:
        try:
            on = date.fromisoformat(day[:10])
        except ValueError as error:
            return _refusal(404, f"There is no such report: {error}")
        return await _document(self._report_of(on.isoformat()), _DAY_POLICY)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        session = self._session(headers)
        is_ours = (
            scope["path"].startswith(_SOCKET)
            and _is_served(headers.get("host", ""))
            and _from_here(headers)
        )
        if session is None or not is_ours:
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        await _while_it_lives(session, self._pages, _for_pages(scope, session), receive, send)

    async def _login(self, scope: Scope, receive: Receive) -> Response:
        if scope["method"] == "GET":
            asked = parse_qs(scope["query_string"].decode("latin-1"))
            ended = "Your session has ended. Log in again." if "ended" in asked else ""
            return self._form(_local(asked.get("next", ["/"])[0]), ended)
        if scope["method"] != "POST":
            return _refusal(405, "Send the form.")
        form = await _form_of(receive)
        if form is None:
            return self._form("/", "That was too long or too slow. Try again.", 413)
        target = _local(form.get("next", ["/"])[0])
        token = form.get("token", [""])[0].strip()
        role = self._tokens.role_of(token)
        if role is None:
            return self._refused(target, _address(scope))
        key = self._sessions.begin(token, rights_of(role))
        answer = RedirectResponse(target, 303)
        answer.set_cookie(
            COOKIE,
            key,
            max_age=int(self._sessions.longest_s),
            path="/",
            httponly=True,
            samesite="lax",
            secure=scope["scheme"] == "https",
        )
        return answer

    def _refused(self, target: str, address: str) -> Response:
        pause_s = self._sessions.note_wrong(address)
        if pause_s is None:
            return self._form(target, "This token is not known here.", 401)
        wait_s = max(1, round(pause_s))
        answer = self._form(target, f"Too many wrong tokens. Wait {wait_s} seconds.", 429)
        answer.headers["Retry-After"] = str(wait_s)
        return answer

    def _form(self, target: str, refused: str = "", status: int = 200) -> Response:
        said = f'<p class="refused" role="alert">{html.escape(refused)}</p>' if refused else ""
        page = self._login_page.replace("{refused}", said).replace("{next}", html.escape(target))
        return HTMLResponse(page, status, headers={"Cache-Control": "no-store"})

    def _session(self, headers: Headers) -> Session | None:
        key = _cookie(headers)
        return self._sessions.find(key) if key else None


def rights_of(role: Role) -> Rights:
    """What a person with a token of `role` may do."""
    return Rights(
        role.name.lower(),
        may_halt=role >= Role.KILL,
        may_operate=role >= Role.OPERATE,
        may_set_limits=role >= Role.ADMIN,
    )


async def _while_it_lives(
    session: Session, app: ASGIApp, scope: Scope, receive: Receive, send: Send
) -> None:
    """Serve a socket for no longer than its session, also one that is opened while somebody logs out elsewhere."""
    over = asyncio.ensure_future(session.over.wait())

    async def heard() -> Message:
        message = asyncio.ensure_future(receive())
        try:
            await asyncio.wait((over, message), return_when=asyncio.FIRST_COMPLETED)
            if not over.done():
                return message.result()
        finally:
            message.cancel()
        await send({"type": "websocket.close", "code": 1008})
        return {"type": "websocket.disconnect", "code": 1008}

    async def sent(message: Message) -> None:
        if not over.done():
            await send(message)

    try:
        await app(scope, heard, sent)
    finally:
        over.cancel()


def _for_pages(scope: Scope, session: Session) -> Scope:
    # The page library would write a stranger's prefix into the page; nothing of ours sets one.
    headers = [pair for pair in scope["headers"] if pair[0].lower() != b"x-forwarded-prefix"]
    return {**scope, "headers": headers, SESSION: session}


def _is_served(host: str) -> bool:
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    return name in ALLOWED_HOSTS


def _from_here(headers: Headers) -> bool:
    """Whether a page of this very address sent it: scheme apart, Origin and Host agree."""
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == headers.get("host", "")


def _cookie(headers: Headers) -> str:
    return cookie_parser(headers.get("cookie", "")).get(COOKIE, "")[:128]


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


def _local(target: str) -> str:
    """A path of ours to go on to; anything that could lead elsewhere becomes the first page."""
    is_ours = (
        target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    )
    return target[:500] if is_ours else "/"


async def _document(page: Awaitable[str], policy: str) -> Response:
    try:
        return HTMLResponse(await page, headers={"Content-Security-Policy": policy})
    except TradingError as error:
        return _refusal(404, f"There is no such report: {error}")


def _refusal(status: int, text: str) -> Response:
    return PlainTextResponse(text, status, headers={"Cache-Control": "no-store"})


async def _form_of(receive: Receive) -> dict[str, list[str]] | None:
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            while True:
                message = await receive()
                body += message.get("body", b"")
                if len(body) > MOST_LOGIN_BYTES or message["type"] == "http.disconnect":
                    return None
                if not message.get("more_body", False):
                    return parse_qs(body.decode("utf-8", "replace"))
    except TimeoutError:
        return None


def _with_headers(scope: Scope, send: Send) -> Send:
    is_page = not scope["path"].startswith("/_nicegui/")

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = {name.lower() for name, _ in message["headers"]}
            kept = [*message["headers"], *(pair for pair in _HEADERS if pair[0] not in given)]
            if is_page and not any(name.lower() == b"cache-control" for name, _ in kept):
                kept.append((b"cache-control", b"no-store"))
            message = {**message, "headers": kept}
        await send(message)

    return sent
