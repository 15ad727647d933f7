"""What may a conductor, a judge or a saboteur ask of the simulator?

Steps in lock-step, the whole book, faults, and orders placed by somebody else. None of it exists at a real
broker, so only a bearer of SIMULATOR_ADMIN_TOKEN may call it, or without a token a program on this machine: no page that a
browser here has open, which names its origin, and no name that somebody else let point to this machine.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared.domain.errors import InvalidInput
from shared.domain.money import plain
from simulator import wire
from simulator.data_stream import DataStream
from simulator.faults import DROP_STREAM, Faults
from simulator.http_edge import answer, json_body, refused
from simulator.order_form import parse_submit
from simulator.orders import Order
from simulator.refusals import Refusal
from simulator.trade_stream import TradeStream
from simulator.venue import StepRefused, Venue

Handler = Callable[[Request], Awaitable[Response]]
_OWN_NAMES = ("127.0.0.1", "localhost", "::1")


class AdminApi:
    """The routes under /admin."""

    def __init__(
        self,
        venue: Venue,
        faults: Faults,
        trades: TradeStream,
        data: DataStream,
        *,
        token: str | None,
        speed: float | None,
    ) -> None:
        """`speed`: times real time of a free run, None in lock-step."""
        self._venue = venue
        self._faults = faults
        self._trades = trades
        self._data = data
        self._token = token
        self._speed = speed

    def routes(self) -> list[Route]:
        """All of them."""
        table: list[tuple[str, str, Handler]] = [
            ("POST", "/admin/advance", self.advance),
            ("GET", "/admin/state", self.state),
            ("GET", "/admin/changes", self.changes),
            ("GET", "/admin/book", self.book),
            ("POST", "/admin/trade", self.trade),
            ("POST", "/admin/faults", self.add_fault),
            ("GET", "/admin/faults", self.list_faults),
            ("DELETE", "/admin/faults", self.clear_faults),
        ]
        return [
            Route(path, self._guarded(handler), methods=[method]) for method, path, handler in table
        ]

    def _guarded(self, handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            if not self._may(request):
                words = "send SIMULATOR_ADMIN_TOKEN as `Authorization: Bearer <token>`"
                return answer({"message": words}, 401)
            try:
                return await handler(request)
            except Refusal as refusal:
                return refused(refusal)
            except StepRefused as error:
                return answer({"message": str(error), "step": self._venue.step}, 409)
            except InvalidInput as error:
                return answer({"message": str(error)}, 422)

        return handle

    def _may(self, request: Request) -> bool:
        if self._token is None:
            return (
                request.client is not None
                and is_loopback(request.client.host)
                and "origin" not in request.headers
                and request.url.hostname in _OWN_NAMES
            )
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        return hmac.compare_digest(given.encode(), self._token.encode())

    async def advance(self, request: Request) -> Response:
        """Make one step; the last one may be asked for again."""
        body = await json_body(request)
        step = body.get("step") if isinstance(body, dict) else None
        if not isinstance(step, int) or isinstance(step, bool):
            raise InvalidInput('send {"step": n} with the number of the step to make')
        if self._speed is not None:
            raise StepRefused("the simulator runs freely; start it with --lock-step to advance it")
        return answer(self._venue.advance(step).as_dict())

    async def state(self, _request: Request) -> Response:
        """Where the replay stands."""
        state = self._venue.state()
        state["speed"] = self._speed
        # Only who listens for something counts: a test or a conductor may wait for it.
        state["trade_streams"] = self._trades.listeners
        state["data_subscribers"] = self._data.listeners
        return answer(state)

    async def changes(self, request: Request) -> Response:
        """Every order that changed after a revision, as it stands now."""
        text = request.query_params.get("after", "0")
        if not text.isdecimal() or len(text) > 18:
            raise InvalidInput("after must be the revision of an earlier answer")
        book = self._venue.book
        return answer(
            {
                "revision": book.revision,
                "orders": [self._change(order) for order in book.changed_after(int(text))],
            }
        )

    def _change(self, order: Order) -> dict[str, Any]:
        return {
            "id": order.id,
            "client_order_id": order.client_order_id,
            "symbol": order.symbol,
            "status": order.status.value,
            "qty": plain(order.quantity),
            "filled_qty": plain(order.filled_quantity),
            "fills": order.fills,
            "legs": [leg.id for leg in self._venue.book.legs_of(order)],
        }

    async def book(self, _request: Request) -> Response:
        """The whole book, for whoever judges what the executor believes."""
        return answer(self._venue.book.snapshot())

    async def trade(self, request: Request) -> Response:
        """An order placed by somebody else on the same account, as in the broker's own interface."""
        symbols = frozenset(self._venue.tape.symbols)
        wish = parse_submit(await json_body(request), symbols, source="external")
        order = self._venue.obey(wish)
        assert order is not None
        return answer(wire.acknowledged(order, self._venue.book.legs_of(order)))

    async def add_fault(self, request: Request) -> Response:
        """Switch a fault on; dropping streams happens here and now."""
        try:
            wish = orjson.loads(await request.body())
        except orjson.JSONDecodeError:
            raise InvalidInput("a fault is a JSON object with a kind") from None
        fault = self._faults.add(wish)
        answered = fault.as_dict()
        if fault.kind == DROP_STREAM:
            answered["dropped"] = self._trades.drop_all(fault) + self._data.drop_all(fault)
        return answer(answered, 201)

    async def list_faults(self, _request: Request) -> Response:
        """Faults that still have times left."""
        return answer([fault.as_dict() for fault in self._faults.active])

    async def clear_faults(self, _request: Request) -> Response:
        """Switch all faults off."""
        return answer({"cleared": self._faults.clear()})


def is_loopback(host: str) -> bool:
    """Whether an address is of this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
