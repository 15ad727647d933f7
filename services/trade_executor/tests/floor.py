"""The venue's own book without sockets: driven by hand, and asked like a broker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson

from shared.domain.activities import Activity
from shared.domain.errors import OrderRejected, OutcomeUnknown
from shared.domain.orders import OrderChange, OrderRequest
from shared.domain.symbols import Symbol
from shared.ports import BrokerAccount, BrokerExecution, BrokerOrder
from simulator import wire as venue_wire
from simulator.book import Book
from simulator.matching import TapeBar
from simulator.order_form import parse_replace, parse_submit
from simulator.orders import BookRules, Cancel, Order, TradeEvent
from simulator.refusals import Refusal
from simulator.testing import OPEN_AT
from trade_executor import wire

CLOSE_AT = OPEN_AT + timedelta(hours=6, minutes=30)
SYMBOLS = tuple(Symbol(name) for name in ("AAPL", "MSFT"))
PLENTY = 1_000_000


class Floor:
    """A venue at a hundred dollars that remembers every line it told."""

    def __init__(self, *, max_volume_share: float = 0.1, allow_short: bool = False) -> None:
        rules = BookRules(Decimal(100_000), 0.0, max_volume_share, allow_short)
        self.book = Book("floor", rules, OPEN_AT, CLOSE_AT)
        for symbol in SYMBOLS:
            self.book.prices[symbol] = Decimal(100)
        self.told: list[TradeEvent] = []
        self.minute = 0

    def do(self, command: Any) -> Order | None:
        """The order that came of it, None when it was refused."""
        try:
            order, events = self.book.apply(command)
        except Refusal:
            return None
        self.told += events
        return order

    def open(self) -> None:
        at = OPEN_AT + timedelta(minutes=self.minute)
        self.told += self.book.open_step(at, CLOSE_AT, new_session=self.minute == 0)

    def bar(self, price: float = 100.0, volume: int = PLENTY, *, ends: bool = False) -> None:
        self.open()
        self.minute += 1
        bar = TapeBar(price, price + 1, price - 1, price, volume)
        self.told += self.book.fill_step(dict.fromkeys(SYMBOLS, bar))
        self.told += self.book.close_step(
            OPEN_AT + timedelta(minutes=self.minute),
            [(symbol, Decimal(str(price))) for symbol in SYMBOLS],
            session_ends=ends,
            market_open=not ends,
            close_at=CLOSE_AT,
        )

    def frames(self) -> list[bytes]:
        """What the stream brought, oldest first."""
        return [orjson.dumps(venue_wire.trade_update(event)) for event in self.told]


@dataclass
class FloorBroker:
    """See `Broker`; asks the book itself. `before` is called before each answer, with the call's name."""

    floor: Floor
    before: Callable[[str], None] = lambda _: None
    asked: list[str] = field(default_factory=list)
    # Told beside trades, as the broker writes it; what they do to shares and cash the test does by hand.
    activities_told: list[dict[str, Any]] = field(default_factory=list)
    # A list of open orders has neither the stops of pairs, which are held, nor entries that have ended, and nests nothing.
    lists_what_stands: bool = False

    @property
    def _book(self) -> Book:
        return self.floor.book

    def _note(self, call: str) -> None:
        self.asked.append(call)
        self.before(call)

    async def account(self) -> BrokerAccount:
        self._note("account")
        return wire.read_account(venue_wire.account(self._book))

    async def submit(self, order: OrderRequest, last_look: Callable[[], None]) -> BrokerOrder:
        self._note("submit")
        last_look()
        return self._answer(
            order.client_order_id,
            lambda: parse_submit(wire.order_body(order), frozenset(SYMBOLS)),
        )

    async def replace(
        self,
        broker_order_id: str,
        client_order_id: str,
        change: OrderChange,
        last_look: Callable[[], None],
    ) -> BrokerOrder:
        self._note("replace")
        last_look()
        body = wire.change_body(client_order_id, change)
        return self._answer(client_order_id, lambda: parse_replace(broker_order_id, body))

    def _answer(self, name: str, command: Callable[[], Any]) -> BrokerOrder:
        try:
            order, events = self._book.apply(command())
        except Refusal as refusal:
            if "unique" in str(refusal):
                raise OutcomeUnknown(name, "the broker knows this id already") from refusal
            raise OrderRejected(
                str(refusal), status=refusal.status, code=refusal.body.get("code")
            ) from refusal
        self.floor.told += events
        assert order is not None
        return self._seen(order)

    async def find(self, client_order_id: str) -> BrokerOrder | None:
        self._note("find")
        try:
            return self._seen(self._book.order_named(client_order_id))
        except Refusal:
            return None

    async def order(self, broker_order_id: str) -> BrokerOrder | None:
        self._note("order")
        try:
            return self._seen(self._book.order(broker_order_id))
        except Refusal:
            return None

    async def cancel(self, broker_order_id: str) -> bool:
        self._note("cancel")
        return self.floor.do(Cancel(broker_order_id)) is not None

    async def orders(self, *, status: str, after: datetime | None = None) -> list[BrokerOrder]:
        self._note("orders")
        found = {}
        for order in self._book.orders.values():
            if status == "open" and order.status.is_final:
                continue
            if after is not None and order.submitted_at <= after:
                continue
            top = order if order.status.value == "replaced" else self._book.parent_of(order)
            if status == "open" and self.lists_what_stands:
                if order.status.value == "held" or order.role.value == "stop":
                    continue
                raw = orjson.loads(orjson.dumps(venue_wire.order(order, None)))
                found[order.id] = wire.read_order(raw)
                continue
            found[top.id] = self._seen(top)
        return list(found.values())

    async def executions(self, *, after: datetime | None = None) -> list[BrokerExecution]:
        self._note("executions")
        return [
            wire.read_activity(venue_wire.fill_activity(e, venue_wire.is_short_sale(e)))
            for e in self._book.executions
            if after is None or e.at > after
        ]

    async def activities(self, *, after: datetime) -> list[Activity]:
        self._note("activities")
        return [wire.read_non_trade(raw) for raw in self.activities_told]

    async def positions(self) -> dict[Symbol, Decimal]:
        self._note("positions")
        return {s: p.quantity for s, p in self._book.positions.items() if p.quantity}

    def _seen(self, order: Order) -> BrokerOrder:
        raw = venue_wire.order(order, self._book.legs_of(order))
        return wire.read_order(orjson.loads(orjson.dumps(raw)))


def utc(hour: int, minute: int = 0) -> datetime:
    """An instant of the floor's day."""
    return datetime(OPEN_AT.year, OPEN_AT.month, OPEN_AT.day, hour, minute, tzinfo=UTC)
