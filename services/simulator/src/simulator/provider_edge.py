"""What may go wrong with an answer of the data providers that are no broker?

The same faults as before the broker's routes, around each route by itself: a page, an error, a 429, an answer that
is held, lost or cut in half. Keys and credits are each protocol's own affair.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.ports import Timer
from simulator.faults import AFTER, BEFORE, Faults
from simulator.http_edge import cut_connection, truncated


class ProviderEdge:
    """Puts faults around routes."""

    def __init__(self, faults: Faults, timer: Timer) -> None:
        self._faults = faults
        self._timer = timer

    def around(self, route: Route) -> Route:
        """`route` with faults around it."""
        return Route(route.path, self._guard(route.app), methods=sorted(route.methods or ()))

    def _guard(self, app: ASGIApp) -> ASGIApp:
        return _Guarded(app, self._faults, self._timer)


class _Guarded:
    """One route's application; a class, so that the router hands it the bare connection."""

    def __init__(self, app: ASGIApp, faults: Faults, timer: Timer) -> None:
        self._app = app
        self._faults = faults
        self._timer = timer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        facts = {"method": request.method, "path": request.url.path}
        fault = self._faults.take(BEFORE, **facts)
        if fault is not None:
            status = 429 if fault.kind == "rate_limit" else fault.status
            body = "<html><body>simulated fault</body></html>" if fault.body is None else fault.body
            kind = "application/json" if body.startswith(("{", "[")) else "text/html"
            await Response(body, status, media_type=kind)(scope, receive, send)
            return
        later = self._faults.take(AFTER, **facts)
        if later is None:
            await self._app(scope, receive, send)
            return
        replies: list[Message] = []

        async def collect(message: Message) -> None:
            replies.append(message)

        await self._app(scope, receive, collect)
        if later.kind == "lose_reply":
            await cut_connection(scope, receive)
            return
        if later.kind == "truncate":
            replies = truncated(replies)
        await self._timer.sleep(later.delay_s)
        for message in replies:
            await send(message)
