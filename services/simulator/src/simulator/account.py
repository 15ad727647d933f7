"""What does the account hold, owe and have open?

Orders, executions, positions and cash in exact decimals, with what follows from them: equity, buying power, shares
bound by orders. `Account` only keeps its own tables in step; what becomes of orders decides `book`.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from shared.domain.calendar import NEW_YORK
from shared.domain.ledger import Position
from shared.domain.money import plain
from shared.domain.orders import OrderStatus, Side, TimeInForce
from shared.domain.symbols import Symbol
from simulator import refusals
from simulator.orders import (
    DEFAULT_CONFIGURATION,
    ZERO,
    BookedExecution,
    BookRules,
    Order,
    TradeEvent,
    plain_execution,
    plain_order,
)

_NAMESPACE = uuid.UUID("5d1f8a52-6a3c-4f0e-9b57-0f6d7c6f3a11")
_MICROSECOND = timedelta(microseconds=1)
# Orders good till canceled end 90 days later, a quarter of an hour after the close.
_GTC_LIFE = timedelta(days=90)
_GTC_ENDS = time(16, 15)
# What the venue asks of a short sale: the proceeds stay blocked, at no less than 3 % above the market.
_SHORT_MARGIN = Decimal("1.03")


class Account:
    """One account at the venue, as it stands."""

    def __init__(self, account: str, rules: BookRules, now: datetime, close_at: datetime) -> None:
        """`now` and `close_at`: where the clock stands and when the next session closes."""
        self.account = account
        self.rules = rules
        self.now = now
        self.created_at = now
        self.market_open = False
        self._is_opening = False
        self.cash = rules.cash
        self.last_equity = rules.cash
        self.revision = 0
        self.orders: dict[str, Order] = {}
        self.executions: list[BookedExecution] = []
        self.positions: dict[Symbol, Position] = {}
        # What the account held when the running session began: today's result is measured from here.
        self.opening_positions: dict[Symbol, Decimal] = {}
        self.prices: dict[Symbol, Decimal] = {}
        self.last_day_prices: dict[Symbol, Decimal] = {}
        self.configuration = dict(DEFAULT_CONFIGURATION)
        self._close_at = close_at
        self._ticks = 0
        self._counter = 0
        self._by_client_id: dict[str, str] = {}
        self._groups: dict[str, list[str]] = {}
        self._open: dict[str, None] = {}
        # Order ids by when they last changed, oldest first.
        self._changed: dict[str, int] = {}
        self._events: list[TradeEvent] = []

    # ------------------------------------------------------------------ what others may ask

    @property
    def account_id(self) -> str:
        """The account's own id, a function of its name."""
        return str(uuid.uuid5(_NAMESPACE, f"account:{self.account}"))

    def order(self, order_id: str) -> Order:
        """Raises a 404 refusal when there is none."""
        try:
            return self.orders[order_id]
        except KeyError:
            raise refusals.not_found(f"order not found for {order_id}") from None

    def order_named(self, client_order_id: str) -> Order:
        """The order of that client order id; a 404 refusal when there is none."""
        try:
            return self.orders[self._by_client_id[client_order_id]]
        except KeyError:
            raise refusals.not_found("order not found") from None

    def open_orders(self) -> list[Order]:
        """All orders that have not ended, held legs included, oldest first."""
        return [self.orders[order_id] for order_id in self._open]

    def legs_of(self, order: Order) -> list[Order]:
        """The orders that hang on `order`; empty for a leg and for a simple order."""
        members = self._groups.get(order.id, ())
        return [self.orders[member] for member in members if member != order.id]

    def parent_of(self, order: Order) -> Order:
        """The first order of its group; for a replaced parent the one that stands for the group."""
        return self.orders[order.group]

    def changed_after(self, revision: int) -> list[Order]:
        """Orders that changed after that revision, the longest unchanged first."""
        found: list[Order] = []
        for order_id in reversed(self._changed):
            if self._changed[order_id] <= revision:
                break
            found.append(self.orders[order_id])
        found.reverse()
        return found

    def quantity_of(self, symbol: Symbol) -> Decimal:
        """Signed shares held."""
        held = self.positions.get(symbol)
        return ZERO if held is None else held.quantity

    def held_for_orders(self, symbol: Symbol) -> tuple[Decimal, list[str]]:
        """Shares bound by the working orders that would close the position, and the ids of those.

        Sales of what is held, purchases of what is owed; a pair of legs binds its shares once.
        """
        closing = Side.BUY if self.quantity_of(symbol) < 0 else Side.SELL
        per_group: dict[str, Decimal] = {}
        related: list[str] = []
        for order in self.open_orders():
            if order.symbol == symbol and order.side is closing and order.is_working:
                per_group[order.group] = max(per_group.get(order.group, ZERO), order.remaining)
                related.append(order.id)
        return sum(per_group.values(), ZERO), related

    def market_value(self, symbol: Symbol) -> Decimal:
        """Signed worth of the position at the last price, or at cost where none is known."""
        held = self.positions[symbol]
        return held.quantity * self.prices.get(symbol, held.average_price)

    @property
    def equity(self) -> Decimal:
        """Cash plus positions at last prices."""
        return self.cash + sum((self.market_value(s) for s in self.positions), ZERO)

    @property
    def buying_power(self) -> Decimal:
        """Cash that no open order has reserved; a short position blocks its proceeds and as much again."""
        reserved = sum((self._reserved_by(order) for order in self.open_orders()), ZERO)
        blocked = sum(
            (-2 * value for value in map(self.market_value, self.positions) if value < 0), ZERO
        )
        return max(self.cash - reserved - blocked, ZERO)

    def snapshot(self) -> dict[str, Any]:
        """All of it as plain values, for comparison and for whoever judges the account from outside."""
        return {
            "account": self.account,
            "now": self.now.isoformat(),
            "cash": plain(self.cash),
            "last_equity": plain(self.last_equity),
            "revision": self.revision,
            "counter": self._counter,
            "configuration": self.configuration,
            "orders": [plain_order(order) for order in self.orders.values()],
            "executions": [plain_execution(e) for e in self.executions],
            "positions": {
                symbol: {"quantity": plain(p.quantity), "average_price": plain(p.average_price)}
                for symbol, p in sorted(self.positions.items())
                if p.quantity
            },
        }

    def short_price(self, symbol: Symbol, limit: Decimal | None) -> Decimal:
        """What a share sold short is reckoned at."""
        market = self.prices.get(symbol, ZERO) * _SHORT_MARGIN
        return market if limit is None else max(market, limit)

    def _reserved_by(self, order: Order) -> Decimal:
        """Cash that an open order keeps from others: an opening buy's cost, a short sale's cover."""
        if not order.is_working or order.position_intent.endswith("_to_close"):
            return ZERO
        if order.side is Side.SELL:
            return order.remaining * self.short_price(order.symbol, order.limit_price)
        return order.remaining * order.reserve_price

    # ------------------------------------------------------------------ bookkeeping

    def _move_clock(self, at: datetime) -> None:
        self.now = at
        self._ticks = 0

    def _stamp(self) -> datetime:
        """The present, a microsecond later for each command, so that lists by time have one order."""
        self._ticks += 1
        return self.now + self._ticks * _MICROSECOND

    def _new_id(self) -> str:
        self._counter += 1
        return str(uuid.uuid5(_NAMESPACE, f"{self.account}:{self._counter}"))

    def _expiry(self, force: TimeInForce, at: datetime) -> datetime:
        if force is not TimeInForce.GTC:
            return self._close_at
        last_on: date = at.astimezone(NEW_YORK).date() + _GTC_LIFE
        return datetime.combine(last_on, _GTC_ENDS, NEW_YORK).astimezone(UTC)

    def _enter(self, order: Order) -> None:
        self._groups[order.group].append(order.id)
        self._by_client_id[order.client_order_id] = order.id
        self._set(order)

    def _set(self, order: Order, *, bump: bool = True) -> Order:
        self.orders[order.id] = order
        if order.status.is_final:
            self._open.pop(order.id, None)
        else:
            self._open[order.id] = None
        if bump:
            self.revision += 1
            self._changed.pop(order.id, None)
            self._changed[order.id] = self.revision
        return order

    def _tell(self, event: str, order: Order) -> None:
        self._events.append(TradeEvent(event, order, order.updated_at, self._new_id()))

    def _siblings(self, order: Order) -> list[Order]:
        return [self.orders[m] for m in self._groups[order.group] if m != order.id]

    def _end_group(self, order: Order, status: OrderStatus, at: datetime) -> None:
        """End `order` with `status`; what hangs on it is canceled, as an exit without entry is nonsense."""
        self._end(order, status, at)
        for other in self._siblings(order):
            if not other.status.is_final:
                # A pair expires together: both were good for the same time.
                alike = status is OrderStatus.EXPIRED and other.is_working
                self._end(other, status if alike else OrderStatus.CANCELED, at)

    def _end(self, order: Order, status: OrderStatus, at: datetime) -> None:
        is_expiry = status is OrderStatus.EXPIRED
        ended = replace(
            order,
            status=status,
            updated_at=at,
            expired_at=at if is_expiry else None,
            canceled_at=None if is_expiry else at,
        )
        self._tell(status.value, self._set(ended))
