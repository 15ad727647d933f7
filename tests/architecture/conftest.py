"""The five services' HTTP APIs as they are, without anything behind them."""

from __future__ import annotations

import importlib
import inspect
import re
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from shared.adapters.http_api import make_app
from shared.config import load_settings
from shared.testing.time import InstantTimer
from trader.runtime.instance import SERVICES

SETTINGS = load_settings({"API_TOKEN_READ": "read-token-0", "API_TOKEN_OPERATE": "operate-token-0"})

# What a service calls the function that makes its routes, where it is not `router`.
FACTORIES = {"risk_manager": "make_router"}


class Behind:
    """What stands behind a route and must not be reached: it may be named, and using it fails."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Behind:
        return Behind(f"{self._name}.{name}")

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise AssertionError(f"a request without a token came as far as {self._name}")


@dataclass(frozen=True, slots=True)
class Api:
    """One service's API, and each route of it (FastAPI keeps an included router's to itself)."""

    app: FastAPI
    routes: tuple[APIRoute, ...]

    @property
    def endpoints(self) -> set[str]:
        """What is served, e.g. `GET /orders/{}`: parameters without their names."""
        return {
            f"{method} {re.sub(r'{[^}]*}', '{}', route.path)}"
            for route in self.routes
            for method in route.methods or ()
        }


@pytest.fixture(scope="session")
def apis() -> dict[str, Api]:
    """What all services have in common, and each one's own router."""
    made = {}
    for service in SERVICES:
        app = make_app(service, SETTINGS, {}, InstantTimer())
        make = getattr(importlib.import_module(f"{service}.api"), FACTORIES.get(service, "router"))
        parts: dict[str, Any] = {name: Behind(name) for name in inspect.signature(make).parameters}
        own: APIRouter = make(**parts)
        routes = []
        for route in [*app.routes, *own.routes]:
            # A mount or a socket would be an entrance that no test here knows how to try.
            assert isinstance(route, APIRoute), f"{service} serves {route!r}, which nobody checks"
            routes.append(route)
        app.include_router(own)
        made[service] = Api(app, tuple(routes))
    return made
