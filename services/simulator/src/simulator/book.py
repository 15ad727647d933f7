"""What becomes of an account's orders?

The whole account as one deterministic object: commands and the venue's steps go in, events come out; the same
sequence gives the same book to the last byte, so a journal of commands is enough to restore it. Ids come from a
counter. Nothing here reads a clock, a file or a socket.

Prices of fills come from `matching`. Cash is reserved by open buys at their limit or stop, a market order
at the last price; a fill above that estimate may leave cash slightly below zero, as at a real broker.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import ROUND_DOWN, Decimal

from shared.domain.ledger import Fill, Position
from shared.domain.money import parse_price
from shared.domain.orders import OrderClass, OrderStatus, OrderType, Side, TimeInForce
from shared.domain.symbols import Symbol
from simulator import admission, fill_rules, matching, refusals
from simulator.account import Account
from simulator.matching import TapeBar
from simulator.orders import (
    LIVE,
    ZERO,
    BookedExecution,
    Cancel,
    Command,
    Configure,
    Order,
    Replace,
    Role,
    Submit,
    TradeEvent,
)

MAX_OPEN_ORDERS = 10_000
_AT_ONCE = frozenset({TimeInForce.IOC, TimeInForce.FOK})
_NANO_SHARE = Decimal("0.000000001")


class Book(Account):
    """One account at the venue, and all that may happen to it."""

    # ------------------------------------------------------------------ commands

    def apply(self, command: Command) -> tuple[Order | None, list[TradeEvent]]:
        """Do what was asked, or raise a Refusal and leave everything as it was.

        Returns:
            The order that the command was about (None for settings), and what to tell listeners.
        """
        self._events = []
        match command:
            case Submit():
                order: Order | None = self._submit(command)
            case Cancel():
                order = self._cancel(command)
            case Replace():
                order = self._replace(command)
            case Configure():
                self.configuration.update(command.changes)
                order = None
        return order, self._events

    def _submit(self, wish: Submit) -> Order:
        # First of all checks: a second send of an order that lives must be told so, and nothing else.
        self._refuse_used_name(wish.client_order_id)
        self._refuse_when_suspended()
        if len(self._open) + 3 > MAX_OPEN_ORDERS:
            raise refusals.forbidden(f"too many open orders, the maximum is {MAX_OPEN_ORDERS}")
        is_oco = wish.order_class is OrderClass.OCO
        admission.refuse_outside_its_auction(wish.time_in_force, self.now)
        admission.refuse_wash_trade(self, wish)
        intent = admission.intent_of(self, wish)
        wish = self._with_figures(wish)
        reserve_price = self._reserve_price(wish)
        admission.refuse_bad_exits(wish, reserve_price)
        admission.refuse_unaffordable(self, wish, reserve_price)

        at = self._stamp()
        is_trailing = wish.type is OrderType.TRAILING_STOP
        status = OrderStatus.NEW if self.market_open else OrderStatus.ACCEPTED
        order_id = self._new_id()
        role = {
            OrderClass.BRACKET: Role.ENTRY,
            OrderClass.OTO: Role.ENTRY,
            OrderClass.OCO: Role.TARGET,
        }.get(wish.order_class, Role.SIMPLE)
        first = Order(
            id=order_id,
            client_order_id=wish.client_order_id or self._new_id(),
            sequence=self._counter,
            symbol=wish.symbol,
            side=wish.side,
            type=wish.type,
            time_in_force=wish.time_in_force,
            order_class=wish.order_class,
            role=role,
            group=order_id,
            quantity=wish.quantity,
            limit_price=wish.take_profit if is_oco else wish.limit_price,
            stop_price=wish.stop_price,
            reserve_price=reserve_price,
            position_intent=intent,
            source=wish.source,
            status=status,
            created_at=at,
            updated_at=at,
            submitted_at=at,
            expires_at=self._expiry(wish.time_in_force, at),
            trail_price=wish.trail_price,
            trail_percent=wish.trail_percent,
            high_water_mark=self.prices.get(wish.symbol) if is_trailing else None,
            notional=wish.notional,
            extended_hours=wish.extended_hours,
        )
        self._groups[order_id] = []
        self._enter(first)
        stop_type = OrderType.STOP if wish.stop_loss_limit is None else OrderType.STOP_LIMIT
        if role is Role.ENTRY:
            closing = "sell_to_close" if wish.side is Side.BUY else "buy_to_close"
            exits = (
                (Role.TARGET, OrderType.LIMIT, wish.take_profit),
                (Role.STOP, stop_type, wish.stop_loss),
            )
            for role, kind, price in exits:
                if price is not None:
                    self._enter_leg(
                        first, role, kind, wish, wish.side.opposite, closing, OrderStatus.HELD
                    )
        elif is_oco:
            self._enter_leg(first, Role.STOP, stop_type, wish, wish.side, intent, status)
        self._tell(status.value, first)
        return first

    def _with_figures(self, wish: Submit) -> Submit:
        """`wish` with what follows from the last price: a trailing stop's stop, a sum of money's shares."""
        last = self.prices.get(wish.symbol)
        if wish.type is OrderType.TRAILING_STOP:
            if last is None:
                raise refusals.unprocessable(f"no price of {wish.symbol} is known to trail")
            stop = matching.trailing_stop(last, wish.side, wish.trail_price, wish.trail_percent)
            if stop <= 0:
                raise refusals.unprocessable("trail_price must be less than the current price")
            return replace(wish, stop_price=stop)
        if wish.notional is not None:
            price = wish.limit_price or wish.stop_price or last
            if price is None:
                raise refusals.unprocessable(f"no price of {wish.symbol} is known to buy for")
            return replace(wish, quantity=_shares_for(wish.notional, price))
        return wish

    def _enter_leg(
        self,
        first: Order,
        role: Role,
        kind: OrderType,
        wish: Submit,
        side: Side,
        intent: str,
        status: OrderStatus,
    ) -> None:
        leg_id = self._new_id()
        leg = replace(
            first,
            id=leg_id,
            client_order_id=self._new_id(),
            sequence=self._counter,
            side=side,
            type=kind,
            role=role,
            limit_price=wish.take_profit if role is Role.TARGET else wish.stop_loss_limit,
            stop_price=wish.stop_loss if role is Role.STOP else None,
            position_intent=intent,
            status=status,
        )
        self._enter(leg)
        if status is not OrderStatus.HELD:
            self._tell(status.value, leg)

    def _cancel(self, wish: Cancel) -> Order:
        order = self.order(wish.order_id)
        if order.status is OrderStatus.CANCELED:
            return order
        if order.status.is_final:
            raise refusals.not_cancelable(order.status)
        self._end_group(order, OrderStatus.CANCELED, self._stamp())
        return self.orders[order.id]

    def _replace(self, wish: Replace) -> Order:
        old = self.order(wish.order_id)
        if old.status is OrderStatus.REPLACED:
            raise refusals.unprocessable("order already replaced")
        if old.status.is_final:
            raise refusals.unprocessable("unable to replace order, order is not open")
        if old.status not in LIVE:
            raise refusals.unprocessable(f"cannot replace order in {old.status.value} status")
        self._refuse_used_name(wish.client_order_id)
        self._refuse_when_suspended()
        if wish.quantity is not None and old.role is not Role.SIMPLE:
            raise refusals.unprocessable("qty cannot be changed for advanced orders")
        admission.refuse_terms_it_has_not(old, wish)
        total = old.quantity if wish.quantity is None else wish.quantity
        if total <= old.filled_quantity:
            raise refusals.unprocessable("qty must be > filled_qty")
        limit = old.limit_price if wish.limit_price is None else wish.limit_price
        stop = old.stop_price if wish.stop_price is None else wish.stop_price
        force = old.time_in_force if wish.time_in_force is None else wish.time_in_force
        trail_price, trail_percent = old.trail_price, old.trail_percent
        if wish.trail is not None:
            if old.trail_price is not None:
                trail_price = wish.trail
            else:
                trail_percent = wish.trail
            mark = old.high_water_mark
            assert mark is not None
            stop = matching.trailing_stop(mark, old.side, trail_price, trail_percent)
        same = (old.quantity, old.limit_price, old.stop_price, old.time_in_force)
        if (total, limit, stop, force) == same:
            raise refusals.unprocessable("order parameters are not changed")
        # The replacement stands for what is left; the shares already filled stay with the old order.
        quantity = total - old.filled_quantity
        reserve_price = limit or stop or old.reserve_price
        if old.position_intent.endswith("_to_open"):
            reserved = self._reserved_by(old)
            is_short = old.side is Side.SELL
            cost = quantity * (self.short_price(old.symbol, limit) if is_short else reserve_price)
            if cost > self.buying_power + reserved and cost > reserved:
                raise refusals.insufficient_buying_power(self.buying_power + reserved, cost)
        elif old.role is Role.SIMPLE:
            held, related = self.held_for_orders(old.symbol)
            existing = abs(self.quantity_of(old.symbol))
            if quantity > existing - held + old.remaining:
                raise refusals.insufficient_quantity(
                    old.symbol, quantity, existing, held - old.remaining, related
                )

        at = self._stamp()
        new_id = self._new_id()
        new = replace(
            old,
            id=new_id,
            client_order_id=wish.client_order_id or self._new_id(),
            sequence=self._counter,
            quantity=quantity,
            limit_price=limit,
            stop_price=stop,
            trail_price=trail_price,
            trail_percent=trail_percent,
            reserve_price=reserve_price,
            time_in_force=force,
            status=OrderStatus.NEW,
            created_at=at,
            updated_at=at,
            submitted_at=at,
            expires_at=self._expiry(force, at),
            filled_quantity=ZERO,
            filled_value=ZERO,
            fills=0,
            replaces=old.id,
        )
        members = self._groups[old.group]
        members[members.index(old.id)] = new_id
        if old.group == old.id:
            self._groups[new_id] = self._groups.pop(old.group)
            new = replace(new, group=new_id)
            for member in self._groups[new_id]:
                if member != new_id:
                    self._set(replace(self.orders[member], group=new_id), bump=False)
        ended = replace(
            old,
            status=OrderStatus.REPLACED,
            updated_at=at,
            replaced_at=at,
            replaced_by=new_id,
        )
        self._set(ended)
        self._tell("replaced", ended)
        self._set(new)
        self._by_client_id[new.client_order_id] = new_id
        self._tell("new", new)
        return new

    # ------------------------------------------------------------------ the venue's steps

    def open_step(self, at: datetime, close_at: datetime, *, new_session: bool) -> list[TradeEvent]:
        """The market is open at `at`: what waited for it becomes live. Nothing is matched."""
        self._events = []
        self._move_clock(at)
        self._close_at = close_at
        self.market_open = True
        self._is_opening = new_session
        if new_session:
            self.last_equity = self.equity
            self.last_day_prices = dict(self.prices)
            self.opening_positions = {s: p.quantity for s, p in self.positions.items()}
        for order in self.open_orders():
            if order.status is OrderStatus.ACCEPTED:
                self._tell("new", self._set(replace(order, status=OrderStatus.NEW, updated_at=at)))
        return self._events

    def fill_step(self, bars: Mapping[Symbol, TapeBar]) -> list[TradeEvent]:
        """Match what is live against the instant's bars; fills bear the present time."""
        self._events = []
        left: dict[Symbol, Decimal] = {}
        waiting = [
            order
            for order in self.open_orders()
            if order.status in LIVE
            and order.symbol in bars
            and bars[order.symbol].volume > 0
            and order.time_in_force is not TimeInForce.CLS
        ]
        waiting.sort(key=self._turn)
        for order in waiting:
            bar = bars[order.symbol]
            if order.symbol not in left:
                cap = fill_rules.volume_cap(float(bar.volume), self.rules.max_volume_share)
                left[order.symbol] = Decimal(int(cap))
            self._meet(order.id, bar, bar.open, left)
        for order in self.open_orders():
            # Now or never: what the first bar did not take is over.
            if order.status in LIVE and (
                order.time_in_force in _AT_ONCE
                or (order.time_in_force is TimeInForce.OPG and self._is_opening)
            ):
                self._end_group(order, OrderStatus.CANCELED, self.now)
        self._is_opening = False
        return self._events

    def close_step(
        self,
        at: datetime,
        closes: Iterable[tuple[Symbol, Decimal]],
        *,
        session_ends: bool,
        market_open: bool,
        close_at: datetime,
    ) -> list[TradeEvent]:
        """The instant is over at `at`: prices move on, and what was good for the day ends with it.

        Args:
            close_at: when the session closes that is running, or the next one.
        """
        self._events = []
        self._move_clock(at)
        closed_at = dict(closes)
        self.prices.update(closed_at)
        self._trail(closed_at)
        if session_ends:
            self._hold_closing_auction(closed_at)
        for order in self.open_orders():
            if order.id not in self._open or order.status is OrderStatus.HELD:
                continue
            ends_today = session_ends and order.time_in_force is not TimeInForce.GTC
            if ends_today or order.expires_at <= at:
                self._end_group(order, OrderStatus.EXPIRED, at)
        self.market_open = market_open
        self._close_at = close_at
        return self._events

    def _trail(self, closes: Mapping[Symbol, Decimal]) -> None:
        """Trailing stops follow the closed bar, never back."""
        for order in self.open_orders():
            close = closes.get(order.symbol)
            if close is None or order.type is not OrderType.TRAILING_STOP or order.triggered:
                continue
            mark = order.high_water_mark
            best = max if order.side is Side.SELL else min
            moved = close if mark is None else best(mark, close)
            if moved == mark:
                continue
            stop = matching.trailing_stop(moved, order.side, order.trail_price, order.trail_percent)
            self._set(replace(order, high_water_mark=moved, stop_price=stop))

    def _hold_closing_auction(self, closes: Mapping[Symbol, Decimal]) -> None:
        """Orders for the close fill at the session's last price; the tape does not say how much it took."""
        for order in self.open_orders():
            close = closes.get(order.symbol)
            if (
                close is not None
                and order.status in LIVE
                and order.time_in_force is TimeInForce.CLS
                and matching.is_crossed(close, order.terms)
            ):
                self._fill(order, order.remaining, close)

    # ------------------------------------------------------------------ matching

    def _turn(self, order: Order) -> tuple[int, ...]:
        held = self.quantity_of(order.symbol)
        reduces = held * order.side.sign < 0
        return matching.turn(reduces, self.orders[order.group].sequence, order.type, order.sequence)

    def _meet(
        self, order_id: str, bar: TapeBar, reference: float, left: dict[Symbol, Decimal]
    ) -> None:
        """Let one order meet the bar, and after a completed entry its legs as well."""
        order = self.orders[order_id]
        if order.status not in LIVE:
            return  # its pair was filled a moment ago
        price = matching.price_in(bar, order.terms, reference, self.rules.slippage_bps)
        if matching.is_touched(bar, order.terms, reference):
            order = self._set(replace(order, triggered=True), bump=False)
        if price is None:
            return
        if order.notional is not None and order.fills == 0:
            order = self._set(
                replace(order, quantity=_shares_for(order.notional, parse_price(price))), bump=False
            )
        quantity = min(order.remaining, left[order.symbol])
        if quantity <= 0 or (order.time_in_force is TimeInForce.FOK and quantity < order.remaining):
            return
        left[order.symbol] -= quantity
        self._fill(order, quantity, parse_price(price))
        if order.role is Role.ENTRY and self.orders[order_id].status is OrderStatus.FILLED:
            for leg in self._wake_legs(self.orders[order_id]):
                self._meet(leg.id, bar, price, left)

    def _fill(self, order: Order, quantity: Decimal, price: Decimal) -> None:
        at = self.now
        filled = order.filled_quantity + quantity
        is_done = filled == order.quantity
        execution_id = self._new_id()
        order = replace(
            order,
            filled_quantity=filled,
            filled_value=order.filled_value + quantity * price,
            fills=order.fills + 1,
            status=OrderStatus.FILLED if is_done else OrderStatus.PARTIALLY_FILLED,
            filled_at=at if is_done else None,
            updated_at=at,
        )
        fill = Fill(execution_id, order.client_order_id, order.symbol, order.side, quantity, price)
        position = self.positions.get(order.symbol, Position(order.symbol)).after(fill)
        self.positions[order.symbol] = position
        self.cash += fill.cash_effect
        self._set(order)
        execution = BookedExecution(
            id=execution_id,
            order_id=order.id,
            client_order_id=order.client_order_id,
            symbol=order.symbol,
            side=order.side,
            quantity=quantity,
            price=price,
            at=at,
            cumulative=filled,
            leaves=order.remaining,
            position_quantity=position.quantity,
            order_status=order.status,
            number=len(self.executions),
        )
        self.executions.append(execution)
        self._events.append(
            TradeEvent("fill" if is_done else "partial_fill", order, at, execution_id, execution)
        )
        if order.role in (Role.TARGET, Role.STOP):
            self._shrink_pair(order, quantity, at)

    def _shrink_pair(self, leg: Order, quantity: Decimal, at: datetime) -> None:
        """What one leg has sold, the other must not sell again."""
        for other in self._siblings(leg):
            if other.role is Role.ENTRY or other.status.is_final:
                continue
            if leg.status is OrderStatus.FILLED:
                self._end(other, OrderStatus.CANCELED, at)
            else:
                smaller = replace(other, quantity=other.quantity - quantity, updated_at=at)
                self._tell("restated", self._set(smaller))

    def _wake_legs(self, entry: Order) -> list[Order]:
        """Arm the legs of a completed entry, the stop first; never for more shares than are free."""
        at = self.now
        woken: list[Order] = []
        held, _ = self.held_for_orders(entry.symbol)
        free = self.quantity_of(entry.symbol) * entry.side.sign - held
        for leg in self._siblings(entry):
            if leg.status is not OrderStatus.HELD:
                continue
            quantity = min(leg.quantity, free)
            if quantity <= 0:
                self._end(leg, OrderStatus.CANCELED, at)
                continue
            armed = replace(leg, quantity=quantity, status=OrderStatus.NEW, updated_at=at)
            woken.append(self._set(armed))
            self._tell("new", armed)
        return sorted(woken, key=lambda leg: leg.role is not Role.STOP)

    # ------------------------------------------------------------------ checks

    def _refuse_used_name(self, client_order_id: str | None) -> None:
        if client_order_id is not None and client_order_id in self._by_client_id:
            raise refusals.duplicate_client_order_id()

    def _refuse_when_suspended(self) -> None:
        if self.configuration["suspend_trade"]:
            raise refusals.forbidden("new orders are rejected by user request")

    def _reserve_price(self, wish: Submit) -> Decimal:
        last = self.prices.get(wish.symbol, ZERO)
        if wish.order_class is OrderClass.OCO:
            return wish.take_profit or last
        return wish.limit_price or wish.stop_price or last


def _shares_for(notional: Decimal, price: Decimal) -> Decimal:
    """Shares that so many dollars buy, in billionths of a share, never more."""
    return (notional / price).quantize(_NANO_SHARE, ROUND_DOWN)
