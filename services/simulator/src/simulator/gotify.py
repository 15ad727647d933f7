"""Gotify's `POST /message`, as a server would answer it, for whoever notifies during a replay.

Messages are kept in memory, the newest few hundred; every application token is accepted but an empty one. Whoever
judges a replay reads them as Gotify's own clients do.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.ports import Clock

MOST_KEPT = 500
MOST_BYTES = 64 * 1024
MOST_LISTED = 200
_USUAL_PRIORITY = 5
_APPLICATION = "trading"


class GotifyApi:
    """The routes of a Gotify server that programs use."""

    def __init__(self, machine_clock: Clock) -> None:
        self._clock = machine_clock
        self._messages: deque[dict[str, Any]] = deque(maxlen=MOST_KEPT)
        self._count = 0

    def routes(self) -> list[Route]:
        """Sending, and reading what was sent."""
        table: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
            ("/message", "POST", self.send),
            ("/message", "GET", self.messages),
        ]
        return [Route(path, handler, methods=[method]) for path, method, handler in table]

    async def send(self, request: Request) -> Response:
        """Take one message in."""
        if not _token(request):
            return _unauthorized()
        raw = await request.body()
        if len(raw) > MOST_BYTES:
            return _error(400, "Bad Request", "http: request body too large")
        try:
            said = json.loads(raw) if raw else dict(request.query_params)
        except ValueError as error:
            return _error(400, "Bad Request", str(error))
        if not isinstance(said, dict) or not str(said.get("message") or "").strip():
            return _error(400, "Bad Request", "Field 'message' is required")
        priority = said.get("priority", _USUAL_PRIORITY)
        if not isinstance(priority, int):
            words = "json: cannot unmarshal into Go struct field .priority of type int"
            return _error(400, "Bad Request", words)
        self._count += 1
        message: dict[str, Any] = {
            "id": self._count,
            "appid": 1,
            "message": str(said["message"]),
            "title": str(said.get("title") or "").strip() or _APPLICATION,
            "priority": priority,
            "date": self._clock.now().isoformat(),
        }
        if said.get("extras"):
            message["extras"] = said["extras"]
        self._messages.append(message)
        return JSONResponse(message)

    async def messages(self, request: Request) -> Response:
        """What was sent, newest first; `since` are ids below it."""
        if not _token(request):
            return _unauthorized()
        query = request.query_params
        limit, since = query.get("limit", "100"), query.get("since", "0")
        if not (limit.isdigit() and since.isdigit() and 1 <= int(limit) <= MOST_LISTED):
            return _error(400, "Bad Request", f"limit must be 1 to {MOST_LISTED}")
        older = [m for m in reversed(self._messages) if not int(since) or m["id"] < int(since)]
        page = older[: int(limit)]
        paging: dict[str, Any] = {
            "size": len(page),
            "since": page[-1]["id"] if page else 0,
            "limit": int(limit),
        }
        if len(older) > len(page):
            paging["next"] = str(
                request.url.replace_query_params(limit=limit, since=page[-1]["id"])
            )
        return JSONResponse({"messages": page, "paging": paging})


def _token(request: Request) -> str:
    """Where a Gotify server looks for it, in its order."""
    bearer = request.headers.get("authorization", "")
    return (
        request.query_params.get("token")
        or request.headers.get("x-gotify-key")
        or (bearer[7:] if bearer.startswith("Bearer ") else "")
    )


def _unauthorized() -> Response:
    words = "you need to provide a valid access token or user credentials to access this api"
    return _error(401, "Unauthorized", words)


def _error(status: int, error: str, description: str) -> Response:
    body = {"error": error, "errorCode": status, "errorDescription": description}
    return JSONResponse(body, status)
