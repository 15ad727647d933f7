"""The simulator's parts list: one venue behind all of its doors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from shared.domain.corporate_actions import CorporateAction
from shared.ports import Clock, Timer
from simulator import data_stream, trade_stream
from simulator.admin_api import AdminApi
from simulator.corporate_actions import CorporateActionsApi
from simulator.data_api import DataApi
from simulator.data_stream import DataStream
from simulator.faults import Faults
from simulator.finviz import FinvizApi
from simulator.gotify import GotifyApi
from simulator.http_edge import BrokerEdge, answer, is_data_path
from simulator.provider_edge import ProviderEdge
from simulator.rate_limit import RateLimit
from simulator.trade_stream import TradeStream
from simulator.trading_api import TradingApi
from simulator.twelve_data import TwelveDataApi
from simulator.venue import JournalFailed, Venue


@dataclass(frozen=True, slots=True)
class Doors:
    """The web application and the streams behind it, which must be told goodbye at the end."""

    app: Starlette
    trades: TradeStream
    data: DataStream
    faults: Faults


def make_doors(
    venue: Venue,
    *,
    timer: Timer,
    machine_clock: Clock,
    requests_per_minute: int = 200,
    admin_token: str | None = None,
    speed: float | None = None,
    credits_per_minute: int = 0,
    actions: Sequence[CorporateAction] = (),
) -> Doors:
    """Put all APIs and streams before `venue`.

    `credits_per_minute`: of Twelve Data's protocol, with a hundred times as many in a day; 0: no limit.
    """
    faults = Faults()
    trades = TradeStream(faults, timer)
    data = DataStream(venue.tape.timeframe, timer)
    venue.on_trades.append(trades.publish)
    venue.on_bars.append(data.publish)
    admin = AdminApi(venue, faults, trades, data, token=admin_token, speed=speed)
    data_api = DataApi(venue)
    provider = ProviderEdge(faults, timer)
    twelve_data = TwelveDataApi(venue, data_api, machine_clock, credits_per_minute)
    finviz = FinvizApi(venue, data_api)
    gotify = GotifyApi(machine_clock)
    trading_limit, data_limit = RateLimit(requests_per_minute), RateLimit(requests_per_minute)
    routes: list[BaseRoute] = [
        *admin.routes(),
        *TradingApi(venue).routes(),
        *data_api.routes(),
        *CorporateActionsApi(venue, actions).routes(),
        *(
            provider.around(route)
            for route in [*twelve_data.routes(), *finviz.routes(), *gotify.routes()]
        ),
        Route("/health", _health, methods=["GET"]),
        WebSocketRoute(trade_stream.PATH, trades.endpoint),
        *(WebSocketRoute(f"/v2/{feed}", data.endpoint) for feed in data_stream.FEEDS),
    ]
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(
                BrokerEdge,
                faults=faults,
                limits=lambda is_data: data_limit if is_data else trading_limit,
                timer=timer,
                machine_clock=machine_clock,
            )
        ],
        exception_handlers={HTTPException: _no_such_thing, JournalFailed: _journal_failed},
    )
    return Doors(app, trades, data, faults)


async def _health(_request: Request) -> Response:
    return answer({"service": "simulator", "status": "ok"})


async def _no_such_thing(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    body: dict[str, object] = {"message": f"{error.detail}: {request.method} {request.url.path}"}
    if not is_data_path(request.url.path):
        body = {"code": 40410000 if error.status_code == 404 else 40010000, **body}
    return answer(body, error.status_code)


async def _journal_failed(_request: Request, error: Exception) -> Response:
    return answer({"message": str(error)}, 500)
