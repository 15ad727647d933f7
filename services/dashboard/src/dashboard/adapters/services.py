"""How does the dashboard ask the services, and have them act?

With the token it was handed for reading, and with the token of whoever is logged in for everything that changes
something: the service, not this page, decides what that person may do. Each call has a deadline; a service's
refusal comes back as its own sentence.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx

from shared.config import Settings
from shared.domain.errors import Misconfigured, Rejected, Unavailable

SERVICES = ("data_collector", "strategy_engine", "risk_manager", "trade_executor", "scheduler")
_CALL_WITHIN_S = 15.0
_CONNECT_WITHIN_S = 2.0
_LONGEST_QUOTE = 400


class HttpServices:
    """The services at the addresses of the settings."""

    def __init__(self, http: httpx.AsyncClient, settings: Settings) -> None:
        """Raises Misconfigured without the token to read with."""
        if settings.api_token_read is None:
            raise Misconfigured("missing setting API_TOKEN_READ: run `make setup`, which makes it")
        self._http = http
        self._read = settings.api_token_read.get_secret_value()
        self._urls = {name: settings.url_of(name) for name in SERVICES}

    async def read(self, service: str, path: str, **query: str | int) -> dict[str, Any]:
        """What `service` shows under `path`.

        Raises:
            Unavailable: it does not answer. Rejected: it answers with a refusal.
        """
        return await self._call("GET", service, path, self._read, query=query)

    async def act(
        self,
        token: str,
        service: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        method: str = "POST",
    ) -> dict[str, Any]:
        """Have `service` do something in the name of whoever holds `token`.

        Args:
            key: asked twice under the same one, it is done once.
        Raises:
            Unavailable: no answer, so it may have been done: look. Rejected: the service's refusal.
        """
        return await self._call(method, service, path, token, body=dict(body or {}), key=key)

    async def _call(
        self,
        method: str,
        service: str,
        path: str,
        token: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> dict[str, Any]:
        name = service.replace("_", " ")
        headers = {"Authorization": f"Bearer {token}"}
        if key is not None:
            headers["Idempotency-Key"] = key
        try:
            answer = await self._http.request(
                method,
                f"{self._urls[service]}{path}",
                params=dict(query or {}),
                json=body if method != "GET" else None,
                headers=headers,
            )
        except httpx.ConnectError as error:
            raise Unavailable(f"the {name} does not run") from error
        except httpx.HTTPError as error:
            hint = "" if method == "GET" else "; look whether it took effect before asking again"
            raise Unavailable(f"the {name} did not answer in time{hint}") from error
        said = _object(answer)
        if answer.is_success:
            return said
        detail = said.get("detail")
        quote = (detail if isinstance(detail, str) else answer.text)[:_LONGEST_QUOTE]
        if answer.status_code >= 500:
            raise Unavailable(f"the {name} cannot do it now: {quote}")
        raise Rejected(quote or f"the {name} refused with status {answer.status_code}")


@contextlib.asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[HttpServices]:
    """Connections to the services, opened when first used."""
    timeout = httpx.Timeout(_CALL_WITHIN_S, connect=_CONNECT_WITHIN_S)
    limits = httpx.Limits(max_connections=20, max_keepalive_connections=10, keepalive_expiry=5)
    # What the environment says of proxies is about the internet, not about this machine.
    async with httpx.AsyncClient(timeout=timeout, limits=limits, trust_env=False) as http:
        yield HttpServices(http, settings)


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        said = answer.json()
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
