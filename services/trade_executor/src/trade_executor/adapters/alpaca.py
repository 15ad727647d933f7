"""How does Alpaca's trading API carry out what `Broker` asks for?

One attempt per call, never a repeat: who sends an order twice by itself will one day own it twice. Every call has
one deadline for connecting, sending and reading, held by the event loop, so a server that trickles bytes cannot
hold us. Redirects are not followed and answers are bounded. Errors are translated here and nowhere else.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import httpx
import orjson
from pydantic import SecretStr

from shared.crashpoints import crashpoint
from shared.domain.activities import Activity
from shared.domain.calendar import Session
from shared.domain.errors import (
    AccountMismatch,
    InvalidInput,
    OrderRejected,
    OutcomeUnknown,
    RateLimited,
    Unavailable,
)
from shared.domain.orders import OrderChange, OrderRequest
from shared.domain.symbols import Symbol
from shared.ports import BrokerAccount, BrokerExecution, BrokerOrder
from trade_executor import wire
from trade_executor.adapters.gate import Gate
from trade_executor.answers import definite_refusal, pause_asked_for
from trade_executor.budget import Lane
from trade_executor.market import Asset

T = TypeVar("T")
CONNECT_S = 2.0
TOTAL_S = 5.0
# For an answer of many megabytes, which nothing waits for.
LONG_LIST_S = 30.0
_MAX_ANSWER = 16 * 1024 * 1024
_ORDERS_PAGE = 500
_ACTIVITIES_PAGE = 100
_MAX_PAGES = 200
_OVERLAPS = (timedelta(milliseconds=1), timedelta(microseconds=1))
# Shorter than what servers keep idle connections, so that a POST does not meet one just being closed.
_KEEPALIVE_S = 4.0
# What the HTTP library calls the moment at which it holds a connection and has written nothing.
_BEFORE_THE_WRITE = "http11.send_request_headers.started"
_AFTER_THE_WRITE = "http11.send_request_body.complete"


def is_loopback(url: str) -> bool:
    """Whether `url` names this machine, to which no proxy leads."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@asynccontextmanager
async def open_alpaca(
    base_url: str, key: SecretStr, secret: SecretStr, gate: Gate
) -> AsyncIterator[AlpacaBroker]:
    """A client of the trading API at `base_url`; connects when first used."""
    async with httpx.AsyncClient(
        base_url=base_url.rstrip("/"),
        headers={
            "APCA-API-KEY-ID": key.get_secret_value(),
            "APCA-API-SECRET-KEY": secret.get_secret_value(),
            "Accept": "application/json",
            "User-Agent": "full-ai-trader",
        },
        timeout=httpx.Timeout(TOTAL_S, connect=CONNECT_S),
        limits=httpx.Limits(max_connections=8, keepalive_expiry=_KEEPALIVE_S),
        follow_redirects=False,
        # From the environment come proxies and SSL_CERT_FILE; on this machine neither has a say.
        trust_env=not is_loopback(base_url),
    ) as http:
        yield AlpacaBroker(http, gate)


class AlpacaBroker:
    """See `Broker`. `submit` expects that its caller has passed the gate, all other calls pass it themselves."""

    def __init__(self, http: httpx.AsyncClient, gate: Gate) -> None:
        self._http = http
        self._gate = gate

    async def account(self) -> BrokerAccount:
        """See `Broker`."""
        return self._parsed(wire.read_account, await self._get("/v2/account"))

    async def submit(self, order: OrderRequest, last_look: Callable[[], None]) -> BrokerOrder:
        """See `Broker`. The gate was passed before the order was marked SENDING, so nothing waits here."""
        return await self._send(
            "POST", "/v2/orders", order.client_order_id, wire.order_body(order), last_look
        )

    async def replace(
        self,
        broker_order_id: str,
        client_order_id: str,
        change: OrderChange,
        last_look: Callable[[], None],
    ) -> BrokerOrder:
        """See `Broker`."""
        body = wire.change_body(client_order_id, change)
        path = f"/v2/orders/{quote(broker_order_id)}"
        return await self._send("PATCH", path, client_order_id, body, last_look)

    async def _send(
        self,
        method: str,
        path: str,
        mine: str,
        body: Mapping[str, Any],
        last_look: Callable[[], None],
    ) -> BrokerOrder:
        """Ask once for the order called `mine`; anything but a definite answer is unknown."""

        async def look(happening: str, _: Mapping[str, Any]) -> None:
            if happening == _BEFORE_THE_WRITE:
                last_look()
            elif happening == _AFTER_THE_WRITE:
                crashpoint("post.sent")

        try:
            status, headers, content = await self._exchange(
                method, path, content=orjson.dumps(body), extensions={"trace": look}
            )
        except (httpx.HTTPError, OSError, TimeoutError) as error:
            raise OutcomeUnknown(mine, f"no answer ({type(error).__name__})") from error
        answer = _json(content)
        refusal = definite_refusal(status, answer)
        if refusal is not None:
            if refusal.names_a_taken_id:
                raise OutcomeUnknown(mine, "the broker knows this id already")
            raise OrderRejected(refusal.message, status=refusal.status, code=refusal.code)
        if status == httpx.codes.TOO_MANY_REQUESTS:
            self._gate.close(pause_asked_for(headers))
        if status != httpx.codes.OK:
            raise OutcomeUnknown(mine, f"the broker answered {status}: {_excerpt(content)}")
        try:
            accepted = wire.read_order(answer)
        except InvalidInput as error:
            raise OutcomeUnknown(mine, f"{error}: {_excerpt(content)}") from error
        if accepted.client_order_id != mine:
            raise OutcomeUnknown(mine, f"the answer is about order {accepted.client_order_id!r}")
        return accepted

    async def find(self, client_order_id: str) -> BrokerOrder | None:
        """See `Broker`."""
        found = await self._get_or_none(
            "/v2/orders:by_client_order_id", {"client_order_id": client_order_id, "nested": "true"}
        )
        if found is None:
            return None
        order = self._parsed(wire.read_order, found)
        if order.order_class in ("", "simple") or order.legs:
            return order
        # This look-up is not documented to nest; the one by id is.
        return await self.order(order.broker_order_id) or order

    async def order(self, broker_order_id: str) -> BrokerOrder | None:
        """See `Broker`."""
        found = await self._get_or_none(f"/v2/orders/{quote(broker_order_id)}", {"nested": "true"})
        return None if found is None else self._parsed(wire.read_order, found)

    async def cancel(self, broker_order_id: str) -> bool:
        """See `Broker`."""
        path = f"/v2/orders/{quote(broker_order_id)}"
        status, content = await self._ask(Lane.CANCEL, "DELETE", path, {})
        if status in (httpx.codes.NO_CONTENT, httpx.codes.OK):
            return True
        if definite_refusal(status, _json(content)) is not None:
            return False
        raise Unavailable(f"the broker answered a cancel with {status}")

    async def orders(self, *, status: str, after: datetime | None = None) -> list[BrokerOrder]:
        """See `Broker`. Pages overlap, since many orders may bear one instant; less where they crowd."""
        found: dict[str, BrokerOrder] = {}
        query = {
            "status": status,
            "limit": str(_ORDERS_PAGE),
            "direction": "asc",
            "nested": "true",
        }
        since, overlaps = after, list(_OVERLAPS)
        for _ in range(_MAX_PAGES):
            if since is not None:
                query["after"] = since.astimezone(UTC).isoformat().replace("+00:00", "Z")
            page = self._parsed_all(wire.read_order, await self._get("/v2/orders", query))
            fresh = [order for order in page if order.broker_order_id not in found]
            found.update((order.broker_order_id, order) for order in fresh)
            newest = max((o.submitted_at for o in page if o.submitted_at is not None), default=None)
            if len(page) < _ORDERS_PAGE:
                return list(found.values())
            if not fresh:
                overlaps.pop(0)
            if not overlaps or newest is None:
                raise Unavailable(
                    "the broker's list of orders does not move on; more bear one instant than a page holds"
                )
            since = newest - overlaps[0]
        raise Unavailable(f"the broker's list of orders did not end within {_MAX_PAGES} pages")

    async def executions(self, *, after: datetime | None = None) -> list[BrokerExecution]:
        """See `Broker`."""
        found: dict[str, BrokerExecution] = {}
        query = {"direction": "asc", "page_size": str(_ACTIVITIES_PAGE)}
        if after is not None:
            query["after"] = after.astimezone(UTC).isoformat().replace("+00:00", "Z")
        for _ in range(_MAX_PAGES):
            raw = await self._get("/v2/account/activities/FILL", query)
            page = self._parsed_all(wire.read_activity, raw)
            known = len(found)
            found.update((execution.execution_id, execution) for execution in page)
            if len(page) < _ACTIVITIES_PAGE:
                return list(found.values())
            if len(found) == known:
                raise Unavailable("the broker's list of fills does not move on")
            query["page_token"] = str(page[-1].raw["id"])
        raise Unavailable(f"the broker's list of fills did not end within {_MAX_PAGES} pages")

    async def activities(self, *, after: datetime) -> list[Activity]:
        """See `Broker`."""
        found: dict[str, Activity] = {}
        query = {
            "category": "non_trade_activity",
            "direction": "asc",
            "page_size": str(_ACTIVITIES_PAGE),
            "after": after.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        }
        for _ in range(_MAX_PAGES):
            page = self._parsed_all(
                wire.read_non_trade, await self._get("/v2/account/activities", query)
            )
            known = len(found)
            found.update((activity.activity_id, activity) for activity in page)
            if len(page) < _ACTIVITIES_PAGE:
                return list(found.values())
            if len(found) == known:
                break
            query["page_token"] = page[-1].activity_id
        raise Unavailable("the broker's list of activities does not come to an end")

    async def positions(self) -> dict[Symbol, Decimal]:
        """See `Broker`."""
        rows = self._parsed_all(wire.read_position, await self._get("/v2/positions"))
        return {symbol: quantity for symbol, quantity, _ in rows}

    async def asset(self, symbol: Symbol) -> Asset | None:
        """The flags of a share, or None on a 404."""
        found = await self._get_or_none(f"/v2/assets/{quote(symbol)}", {})
        return None if found is None else self._parsed(wire.read_asset, found)

    async def assets(self) -> list[Asset]:
        """See `Lender`. One answer holds all, ten thousand rows and more."""
        query = {"status": "active", "asset_class": "us_equity"}
        listed = await self._get("/v2/assets", query, total_s=LONG_LIST_S)
        if not isinstance(listed, list):
            raise Unavailable("the broker sent no list where one was expected")
        found: list[Asset] = []
        for raw in listed:
            # A share that no symbol of ours can name is none that we trade.
            with suppress(InvalidInput):
                found.append(wire.read_asset(raw))
        return found

    async def configurations(self) -> Mapping[str, Any]:
        """See `Lender`."""
        found = await self._get("/v2/account/configurations")
        if not isinstance(found, dict):
            raise Unavailable("the broker's answer about its configurations is no object")
        return found

    async def clock(self) -> datetime:
        """See `VenueHours`."""
        return self._parsed(wire.read_clock, await self._get("/v2/clock"))

    async def sessions(self, first_on: date, last_on: date) -> list[Session]:
        """See `VenueHours`."""
        query = {"start": first_on.isoformat(), "end": last_on.isoformat()}
        listed = self._parsed_all(wire.read_session, await self._get("/v2/calendar", query))
        # A venue that passes over the bounds is not believed about what was not asked.
        return [session for session in listed if first_on <= session.on <= last_on]

    async def _get(
        self, path: str, query: Mapping[str, str] = {}, *, total_s: float | None = None
    ) -> Any:
        status, content = await self._ask(Lane.QUERY, "GET", path, query, total_s)
        if status != httpx.codes.OK:
            raise Unavailable(f"the broker answered {path} with {status}: {_excerpt(content)}")
        return _whole_json(path, content)

    async def _get_or_none(self, path: str, query: Mapping[str, str]) -> Any:
        status, content = await self._ask(Lane.QUERY, "GET", path, query)
        if status == httpx.codes.NOT_FOUND and isinstance(_json(content), dict):
            return None
        if status != httpx.codes.OK:
            raise Unavailable(f"the broker answered {path} with {status}: {_excerpt(content)}")
        return _whole_json(path, content)

    async def _ask(
        self,
        lane: Lane,
        method: str,
        path: str,
        query: Mapping[str, str],
        total_s: float | None = None,
    ) -> tuple[int, bytes]:
        """One request that may safely be made again by whoever asked."""
        await self._gate.admit(lane)
        try:
            status, headers, content = await self._exchange(
                method, path, total_s=total_s, params=dict(query)
            )
        except (httpx.HTTPError, OSError, TimeoutError) as error:
            raise Unavailable(
                f"the broker gave no answer to {method} {path} ({type(error).__name__})"
            ) from error
        if status == httpx.codes.TOO_MANY_REQUESTS:
            pause_s = pause_asked_for(headers)
            self._gate.close(pause_s)
            raise RateLimited("the broker", pause_s)
        if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise AccountMismatch(
                f"the broker refuses the keys ({status}); check ALPACA_API_KEY, ALPACA_SECRET_KEY and that "
                "ALPACA_BASE_URL is the paper or live venue they belong to"
            )
        return status, content

    async def _exchange(
        self, method: str, path: str, *, total_s: float | None = None, **request: Any
    ) -> tuple[int, httpx.Headers, bytes]:
        """Status, headers and whole body of one answer, within the deadline."""
        try:
            answer = await self._exchange_once(method, path, total_s, **request)
        except (httpx.HTTPError, OSError, TimeoutError):
            self._gate.failed()
            raise
        if answer[0] >= httpx.codes.INTERNAL_SERVER_ERROR:
            self._gate.failed()
        else:
            self._gate.answered()
        return answer

    async def _exchange_once(
        self, method: str, path: str, total_s: float | None, **request: Any
    ) -> tuple[int, httpx.Headers, bytes]:
        async with (
            asyncio.timeout(TOTAL_S if total_s is None else total_s),
            self._http.stream(method, path, headers=_headers(request), **request) as response,
        ):
            content = bytearray()
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > _MAX_ANSWER:
                    raise httpx.ReadError("the answer is longer than any we expect")
            return response.status_code, response.headers, bytes(content)

    @staticmethod
    def _parsed(read: Callable[[Any], T], raw: Any) -> T:
        try:
            return read(raw)
        except InvalidInput as error:
            raise Unavailable(str(error)) from error

    def _parsed_all(self, read: Callable[[Any], T], raw: Any) -> list[T]:
        if not isinstance(raw, list):
            raise Unavailable("the broker sent no list where one was expected")
        return [self._parsed(read, item) for item in raw]


def _headers(request: Mapping[str, Any]) -> dict[str, str]:
    return {"Content-Type": "application/json"} if "content" in request else {}


def _json(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None


def _whole_json(path: str, content: bytes) -> Any:
    body = _json(content)
    if body is None:
        raise Unavailable(f"the broker's answer to {path} is no JSON: {_excerpt(content)}")
    return body


def _excerpt(content: bytes) -> str:
    return content[:200].decode(errors="replace")
