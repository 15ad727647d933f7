"""No route of any service does anything for somebody without a token, except to say that it lives."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from trader.runtime.instance import SERVICES

# The specification's endpoints, by service.
PROMISED = {
    "data_collector": {
        "GET /health",
        "GET /status",
        "POST /collect/market-data",
        "GET /data/symbols",
        "GET /data/latest/{}",
    },
    "strategy_engine": {"GET /health", "GET /strategies", "POST /signals/generate"},
    "risk_manager": {"GET /health", "GET /risk/portfolio", "POST /risk/validate"},
    "trade_executor": {"GET /health", "POST /orders", "GET /orders/{}", "GET /positions"},
    "scheduler": {"GET /health", "GET /jobs", "POST /jobs/{}/trigger"},
}


def ask(app: FastAPI, method: str, path: str, token: str | None = None) -> int:
    """The status of the answer to an empty request."""

    async def main() -> int:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            return (await http.request(method, path, headers=headers)).status_code

    return asyncio.run(main())


@pytest.mark.parametrize("service", SERVICES)
def test_every_route_but_health_is_closed_to_whoever_has_no_token(
    apis: dict[str, Any], service: str
) -> None:
    api, open_ones = apis[service], set()
    for route in api.routes:
        for method in route.methods:
            path = re.sub(r"\{[^}]*\}", "X", route.path)
            if ask(api.app, method, path) != 401:
                open_ones.add(f"{method} {route.path}")

    assert open_ones == {"GET /health"}


@pytest.mark.parametrize("service", SERVICES)
def test_every_endpoint_of_the_specification_exists(apis: dict[str, Any], service: str) -> None:
    assert PROMISED[service] <= apis[service].endpoints


@pytest.mark.parametrize("service", SERVICES)
def test_what_changes_something_needs_more_than_the_token_to_read(
    apis: dict[str, Any], service: str
) -> None:
    api = apis[service]
    reading = {
        f"POST {route.path}"
        for route in api.routes
        if "POST" in route.methods
        and ask(api.app, "POST", re.sub(r"\{[^}]*\}", "X", route.path), "read-token-0") != 403
    }

    # By default it only shows; storing is refused inside (see the strategy engine's tests).
    assert reading <= {"POST /signals/generate"}


@pytest.mark.parametrize("service", SERVICES)
def test_every_route_says_what_it_does(apis: dict[str, Any], service: str) -> None:
    assert [route.path for route in apis[service].routes if not route.description] == []
