"""Alpaca's trading REST API over one venue.

Each route reads the request, lets the venue do or refuse it, and writes the answer in the broker's shapes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared.domain.calendar import NEW_YORK
from shared.domain.errors import InvalidTime
from shared.domain.orders import OrderClass, OrderStatus, OrderType, Side, TimeInForce
from shared.domain.symbols import Symbol
from simulator import wire
from simulator.book import Book
from simulator.http_edge import answer, json_body, refused
from simulator.order_form import parse_quantity, parse_replace, parse_submit
from simulator.orders import BookedExecution, Cancel, Configure, Order, Submit
from simulator.refusals import Refusal, invalid_body, invalid_parameter, not_found
from simulator.venue import Venue

_MAX_ORDERS = 500
_MAX_ACTIVITIES = 100
_NINE_PLACES = Decimal("0.000000001")
_CONFIGURATION: dict[str, tuple[type, frozenset[str]]] = {
    "trade_confirm_email": (str, frozenset({"all", "none"})),
    "suspend_trade": (bool, frozenset()),
    "no_shorting": (bool, frozenset()),
    "fractional_trading": (bool, frozenset()),
    "max_margin_multiplier": (str, frozenset({"1", "2", "4"})),
    "max_options_trading_level": (int, frozenset()),
    "ptp_no_exception_entry": (bool, frozenset()),
    "disable_overnight_trading": (bool, frozenset()),
}

Handler = Callable[[Request], Awaitable[Response]]


class TradingApi:
    """The routes under /v2 that need an account."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._symbols = frozenset(venue.tape.symbols)

    @property
    def _book(self) -> Book:
        return self._venue.book

    def routes(self) -> list[Route]:
        """All of them; more exact paths first."""
        table: list[tuple[str, str, Handler]] = [
            ("GET", "/v2/account", self.get_account),
            ("GET", "/v2/account/configurations", self.get_configuration),
            ("PATCH", "/v2/account/configurations", self.patch_configuration),
            ("GET", "/v2/account/activities", self.get_activities),
            ("GET", "/v2/account/activities/{type}", self.get_activities),
            ("GET", "/v2/assets", self.get_assets),
            ("GET", "/v2/assets/{name}", self.get_asset),
            ("GET", "/v2/clock", self.get_clock),
            ("GET", "/v2/calendar", self.get_calendar),
            ("GET", "/v2/positions", self.get_positions),
            ("DELETE", "/v2/positions", self.close_positions),
            ("GET", "/v2/positions/{name}", self.get_position),
            ("DELETE", "/v2/positions/{name}", self.close_position),
            ("POST", "/v2/orders", self.post_order),
            ("GET", "/v2/orders", self.get_orders),
            ("DELETE", "/v2/orders", self.cancel_orders),
            ("GET", "/v2/orders:by_client_order_id", self.get_order_by_name),
            ("GET", "/v2/orders/{id}", self.get_order),
            ("PATCH", "/v2/orders/{id}", self.replace_order),
            ("DELETE", "/v2/orders/{id}", self.cancel_order),
        ]
        return [
            Route(path, _in_the_brokers_words(handler), methods=[method])
            for method, path, handler in table
        ]

    # ------------------------------------------------------------------ account

    async def get_account(self, _request: Request) -> Response:
        """The account."""
        return answer(wire.account(self._book))

    async def get_configuration(self, _request: Request) -> Response:
        """The account's settings."""
        return answer(self._book.configuration)

    async def patch_configuration(self, request: Request) -> Response:
        """Change some; `suspend_trade` makes the broker refuse every new order."""
        body = await json_body(request)
        if not isinstance(body, Mapping):
            raise invalid_body()
        # The official client sends back all it knows, null for what the broker no longer has.
        changes = {name: value for name, value in body.items() if value is not None}
        for name, value in changes.items():
            if name not in _CONFIGURATION:
                raise invalid_parameter(f"unknown account configuration {str(name)[:40]}")
            kind, allowed = _CONFIGURATION[name]
            if type(value) is not kind or (allowed and value not in allowed):
                raise invalid_parameter(f"invalid {name}")
        self._venue.obey(Configure(changes))
        return answer(self._book.configuration)

    async def get_activities(self, request: Request) -> Response:
        """Fills; other kinds of activity do not happen here."""
        query = request.query_params
        path_type = request.path_params.get("type")
        wanted = path_type or query.get("activity_types") or ""
        if path_type and query.get("activity_types"):
            raise invalid_parameter("activity_types cannot be used with an activity type path")
        kinds = {kind.strip().upper() for kind in wanted.split(",") if kind.strip()}
        if query.get("category") == "non_trade_activity" or (kinds and "FILL" not in kinds):
            return answer([])
        after, until = _instant(query, "after"), _instant(query, "until")
        if query.get("date"):
            after, until = _whole_day(query["date"])
        size = _whole(query, "page_size", _MAX_ACTIVITIES, 1, _MAX_ACTIVITIES)
        is_ascending = _direction(query) == "asc"
        rows = [
            execution
            for execution in self._book.executions
            if (after is None or execution.at > after) and (until is None or execution.at < until)
        ]
        if not is_ascending:
            rows.reverse()
        token = query.get("page_token")
        if token:
            ids = [wire.activity_id(row) for row in rows]
            rows = rows[ids.index(token) + 1 :] if token in ids else []
        return answer([self._activity(row) for row in rows[:size]])

    def _activity(self, execution: BookedExecution) -> dict[str, Any]:
        return wire.fill_activity(execution, wire.is_short_sale(execution))

    # ------------------------------------------------------------------ reference

    async def get_assets(self, request: Request) -> Response:
        """Every share of the tape."""
        query = request.query_params
        if query.get("status") not in (None, "", "active"):
            return answer([])
        if query.get("asset_class") not in (None, "", "us_equity"):
            return answer([])
        found = [self._asset(symbol) for symbol in self._venue.tape.symbols]
        exchange = query.get("exchange")
        return answer([a for a in found if not exchange or a["exchange"] == exchange])

    async def get_asset(self, request: Request) -> Response:
        """One share, by symbol or id."""
        name = request.path_params["name"]
        return answer(self._asset(self._symbol_of(name, f"asset not found for {name}")))

    def _asset(self, symbol: Symbol) -> dict[str, Any]:
        return wire.asset(symbol, shortable=self._book.rules.lends(symbol))

    def _symbol_of(self, name: str, absent: str) -> Symbol:
        for symbol in self._venue.tape.symbols:
            if name == symbol or name == wire.asset_id(symbol):
                return symbol
        raise not_found(absent)

    async def get_clock(self, _request: Request) -> Response:
        """The venue's time."""
        at, calendar = self._venue.venue_at, self._venue.tape.calendar
        running = calendar.session_at(at)
        try:
            coming = calendar.next_session(at + timedelta(microseconds=1))
        except InvalidTime:
            coming = calendar.last_session(at)  # type: ignore[assignment]
        next_close = (running or coming).close_at
        return answer(wire.clock(at, running is not None, coming.open_at, next_close))

    async def get_calendar(self, request: Request) -> Response:
        """Trading days of a span."""
        calendar = self._venue.tape.calendar
        query = request.query_params
        first_on = _day(query, "start", calendar.first_on)
        last_on = _day(query, "end", calendar.last_on)
        days = calendar.between(first_on, last_on)
        following = [*days[1:], None]
        if days:
            after = calendar.between(
                days[-1].on + timedelta(days=1), days[-1].on + timedelta(days=14)
            )
            following[-1] = after[0] if after else None
        return answer([wire.calendar_day(d, n) for d, n in zip(days, following, strict=True)])

    # ------------------------------------------------------------------ positions

    async def get_positions(self, _request: Request) -> Response:
        """What is held."""
        return answer([wire.position(self._book, symbol) for symbol in self._held()])

    async def get_position(self, request: Request) -> Response:
        """What is held of one share."""
        return answer(wire.position(self._book, self._held_symbol(request)))

    async def close_position(self, request: Request) -> Response:
        """Sell (or buy back) all of it, or `qty` or `percentage` of it, at the market."""
        symbol = self._held_symbol(request)
        query = request.query_params
        whole = abs(self._book.quantity_of(symbol))
        if query.get("qty") and query.get("percentage"):
            raise invalid_parameter("only one of qty or percentage is accepted")
        quantity = whole
        if query.get("qty"):
            quantity = parse_quantity(query["qty"])
        elif query.get("percentage"):
            percentage = parse_quantity(query["percentage"], "percentage")
            if percentage > 100:
                raise invalid_parameter("percentage must be 0 to 100")
            quantity = (whole * percentage / 100).quantize(_NINE_PLACES, ROUND_DOWN)
        order = self._venue.obey(self._closing(symbol, quantity))
        assert order is not None
        return answer(wire.acknowledged(order, []))

    async def close_positions(self, request: Request) -> Response:
        """Close everything, with `cancel_orders=true` after cancelling all orders."""
        if _flag(request.query_params.get("cancel_orders")):
            self._cancel_all()
        symbols = self._held()
        wishes = [self._closing(s, abs(self._book.quantity_of(s))) for s in symbols]
        rows: list[dict[str, Any]] = []
        for symbol, wish in zip(symbols, wishes, strict=True):
            try:
                order = self._venue.obey(wish)
            except Refusal as refusal:
                rows.append({"symbol": symbol, "status": refusal.status, "body": refusal.body})
            else:
                assert order is not None
                body = wire.acknowledged(order, [])
                rows.append({"symbol": symbol, "status": 200, "body": body})
        return answer(rows, 207)

    def _held(self) -> list[Symbol]:
        return sorted(symbol for symbol, p in self._book.positions.items() if p.quantity)

    def _held_symbol(self, request: Request) -> Symbol:
        symbol = self._symbol_of(request.path_params["name"], "position does not exist")
        if not self._book.quantity_of(symbol):
            raise not_found("position does not exist")
        return symbol

    def _closing(self, symbol: Symbol, quantity: Decimal) -> Submit:
        side = Side.SELL if self._book.quantity_of(symbol) > 0 else Side.BUY
        return Submit(symbol, side, quantity, OrderType.MARKET, TimeInForce.DAY)

    # ------------------------------------------------------------------ orders

    async def post_order(self, request: Request) -> Response:
        """A new order; the answer means that it was taken, not that it will fill."""
        wish = parse_submit(await json_body(request), self._symbols)
        order = self._venue.obey(wish)
        assert order is not None
        return answer(wire.acknowledged(order, self._book.legs_of(order)))

    async def get_orders(self, request: Request) -> Response:
        """Orders by status, time, symbol and side."""
        query = request.query_params
        status = query.get("status") or "open"
        if status not in ("open", "closed", "all"):
            raise invalid_parameter("invalid status")
        limit = _whole(query, "limit", 50, 1, _MAX_ORDERS)
        is_ascending = _direction(query) == "asc"
        nested = _flag(query.get("nested"))
        after, until = _instant(query, "after"), _instant(query, "until")
        first, last = self._bounds(query, after is not None or until is not None)
        symbols = {s for s in (query.get("symbols") or "").split(",") if s}
        side = query.get("side")
        if side not in (None, "", "buy", "sell"):
            raise invalid_parameter("invalid side")
        if query.get("asset_class") not in (None, "", "us_equity", "all"):
            return answer([])

        def matches(order: Order) -> bool:
            return (
                (status == "all" or (status == "open") is not order.status.is_final)
                and (after is None or order.submitted_at > after)
                and (until is None or order.submitted_at < until)
                and (first is None or order.sequence > first)
                and (last is None or order.sequence < last)
                and (not symbols or order.symbol in symbols)
                and (not side or order.side.value == side)
            )

        found = [order for order in self._book.orders.values() if matches(order)]
        found.sort(key=lambda order: order.sequence, reverse=not is_ascending)
        if nested:
            parents: dict[str, Order] = {}
            for order in found:
                parent = self._book.parent_of(order) if self._is_member(order) else order
                parents[parent.id] = parent
            page = list(parents.values())[:limit]
            return answer([wire.order(o, self._book.legs_of(o)) for o in page])
        return answer([wire.order(order) for order in found[:limit]])

    def _is_member(self, order: Order) -> bool:
        """Whether it still belongs to its group; what a replacement displaced stands alone."""
        return order.order_class is not OrderClass.SIMPLE and (
            order.status is not OrderStatus.REPLACED
        )

    def _bounds(self, query: Mapping[str, str], has_times: bool) -> tuple[int | None, int | None]:
        """Exclusive bounds on an order's place in time, from `after_order_id` and `before_order_id`."""
        newer, older = query.get("after_order_id"), query.get("before_order_id")
        if (newer and older) or ((newer or older) and has_times):
            raise invalid_parameter(
                "only one of after_order_id, before_order_id or after/until is accepted"
            )
        return (
            self._book.order(newer).sequence if newer else None,
            self._book.order(older).sequence if older else None,
        )

    async def get_order(self, request: Request) -> Response:
        """One order, by the broker's id."""
        return self._one(self._book.order(request.path_params["id"]), request)

    async def get_order_by_name(self, request: Request) -> Response:
        """One order, by the client's id."""
        return self._one(
            self._book.order_named(request.query_params.get("client_order_id", "")), request
        )

    def _one(self, order: Order, request: Request) -> Response:
        nested = _flag(request.query_params.get("nested"))
        return answer(wire.order(order, self._book.legs_of(order) if nested else None))

    async def replace_order(self, request: Request) -> Response:
        """Another order in the place of one."""
        wish = parse_replace(request.path_params["id"], await json_body(request))
        order = self._venue.obey(wish)
        assert order is not None
        return answer(wire.acknowledged(order, self._book.legs_of(order)))

    async def cancel_order(self, request: Request) -> Response:
        """Cancel one, with its group; a second time is fine."""
        self._venue.obey(Cancel(request.path_params["id"]))
        return Response(status_code=204)

    async def cancel_orders(self, _request: Request) -> Response:
        """Cancel all that are open."""
        return answer(self._cancel_all(), 207)

    def _cancel_all(self) -> list[dict[str, Any]]:
        ids = [order.id for order in self._book.open_orders()]
        rows: list[dict[str, Any]] = []
        # An order whose group went with an earlier one is canceled already, which is no refusal.
        for order_id, (_, refusal) in zip(
            ids, self._venue.obey_all([Cancel(i) for i in ids]) if ids else [], strict=True
        ):
            row: dict[str, Any] = {"id": order_id, "status": 200}
            if refusal is not None:
                row = {"id": order_id, "status": refusal.status, "body": refusal.body}
            rows.append(row)
        return rows


def _in_the_brokers_words(handler: Handler) -> Handler:
    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except Refusal as refusal:
            return refused(refusal)

    return handle


def _flag(value: str | None) -> bool:
    return (value or "").lower() == "true"


def _direction(query: Mapping[str, str]) -> str:
    direction = query.get("direction") or "desc"
    if direction not in ("asc", "desc"):
        raise invalid_parameter("invalid direction")
    return direction


def _whole(query: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = query.get(name)
    if not text:
        return default
    if not text.isdecimal() or len(text) > 18 or not low <= int(text) <= high:
        raise invalid_parameter(f"{name} must be {low} to {high}")
    return int(text)


def _instant(query: Mapping[str, str], name: str) -> datetime | None:
    text = query.get(name)
    if not text:
        return None
    try:
        at = parse_instant(text)
    except ValueError:
        raise invalid_parameter(f"invalid {name}") from None
    return at


def parse_instant(text: str) -> datetime:
    """An RFC 3339 instant or a date (its midnight, UTC). Raises ValueError."""
    # A plus sign that a client forgot to encode arrives as a blank.
    at = datetime.fromisoformat(text[:-6] + text[-6:].replace(" ", "+"))
    try:
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{text[:40]!r} lies outside the calendar") from error


def _day(query: Mapping[str, str], name: str, default: date) -> date:
    text = query.get(name)
    if not text:
        return default
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        raise invalid_parameter(f"invalid {name}") from None


def _whole_day(text: str) -> tuple[datetime, datetime]:
    """The bounds of an exchange day, exclusive."""
    try:
        day = date.fromisoformat(text[:10])
    except ValueError:
        raise invalid_parameter("invalid date") from None
    begins = datetime(day.year, day.month, day.day, tzinfo=NEW_YORK)
    return begins - timedelta(microseconds=1), begins + timedelta(days=1)
