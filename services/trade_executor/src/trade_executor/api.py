"""What may be asked of the executor over HTTP?

Reads come from PostgreSQL alone, the broker is not asked, so they work on a process that stands by and while the
broker is away. An order given here is stored as a wish and takes the same road through risk as any signal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from shared.adapters.http_api import ProblemError, Role, requires
from shared.domain.errors import InvalidInput
from shared.domain.ids import manual_signal_id
from shared.domain.money import parse_number, parse_price, plain
from shared.domain.orders import IntentState, OrderType, Side, TimeInForce
from shared.domain.signals import ManualOrder
from shared.domain.symbols import parse_symbol
from shared.domain.timeframes import Timeframe
from shared.messages import BELL_MANUAL
from shared.ports import Bells, Clock, Ids, LatestBars, Timer
from trade_executor.positions import PositionFold
from trade_executor.service import Executor
from trade_executor.store import Store

_ANSWER_WITHIN_S = 2.0
_LOOK_EVERY_S = 0.05
_MAX_QUANTITY = Decimal(10_000_000)
_NEVER_SENT = {IntentState.CANCELLED_UNSENT, IntentState.EXPIRED_UNSENT, IntentState.NEVER_EXISTED}
_OPEN = [state.value for state in IntentState if not state.is_final]
_CLOSED = [state.value for state in IntentState if state.is_final]


class TakeProfit(BaseModel):
    """Where a bracket takes its gain."""

    model_config = ConfigDict(extra="forbid")

    limit_price: str


class StopLoss(BaseModel):
    """Where a bracket gives up."""

    model_config = ConfigDict(extra="forbid")

    stop_price: str


class OrderWish(BaseModel):
    """A person's order; quantities and prices as texts of exact decimals (numbers are taken too)."""

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)

    symbol: str
    side: Side
    qty: str
    type: OrderType = OrderType.MARKET
    time_in_force: TimeInForce = TimeInForce.DAY
    limit_price: str | None = None
    stop_price: str | None = None
    take_profit: TakeProfit | None = None
    stop_loss: StopLoss | None = None
    client_key: Annotated[str | None, Field(min_length=1, max_length=128)] = None

    @model_validator(mode="after")
    def _consistent(self) -> OrderWish:
        wants_limit = self.type is OrderType.LIMIT
        wants_stop = self.type is OrderType.STOP
        if wants_limit != (self.limit_price is not None):
            raise ValueError("limit_price belongs to limit orders, and they need it")
        if wants_stop != (self.stop_price is not None):
            raise ValueError("stop_price belongs to stop orders, and they need it")
        if (self.take_profit is None) != (self.stop_loss is None):
            raise ValueError("a bracket needs both take_profit and stop_loss")
        return self


class BrokerOrderView(BaseModel):
    """One order at the broker: the one sent, or a leg of it."""

    broker_order_id: str
    client_order_id: str
    parent_order_id: str | None
    side: str
    type: str
    order_class: str
    status: str
    quantity: str | None
    filled_quantity: str
    filled_average_price: str | None
    limit_price: str | None
    stop_price: str | None
    submitted_at: datetime | None
    updated_at: datetime


class FillView(BaseModel):
    """One execution in the ledger; shares, dollars per share, dollars."""

    execution_id: str
    broker_order_id: str
    client_order_id: str | None
    symbol: str
    side: str
    quantity: str
    price: str
    fee: str
    executed_at: datetime
    booked_at: datetime


class OrderView(BaseModel):
    """One order as wished, with what became of it; `purpose` is external for somebody else's."""

    client_order_id: str
    broker_order_id: str | None
    signal_id: str | None
    decision_id: str | None
    symbol: str
    side: str
    purpose: str
    type: str
    order_class: str
    time_in_force: str | None
    quantity: str | None
    filled_quantity: str
    limit_price: str | None
    stop_price: str | None
    take_profit: str | None
    stop_loss: str | None
    state: str
    reason: str | None
    act_from: datetime | None
    act_until: datetime | None
    created_at: datetime | None
    sent_at: datetime | None
    ended_at: datetime | None
    orders: list[BrokerOrderView]
    fills: list[FillView] | None = None


class Orders(BaseModel):
    """A page of orders, newest first."""

    items: list[OrderView]
    next: str | None


class Fills(BaseModel):
    """A page of executions, newest first."""

    items: list[FillView]
    next: str | None


class PositionView(BaseModel):
    """Net shares in one symbol; value and unrealised result only where a price is known."""

    symbol: str
    quantity: str
    average_price: str
    realised_pnl: str
    last_price: str | None
    last_price_at: datetime | None
    market_value: str | None
    unrealised_pnl: str | None


class Positions(BaseModel):
    """All open positions, by symbol."""

    items: list[PositionView]
    next: None = None


class DifferenceView(BaseModel):
    """What we and the broker disagree on."""

    kind: str
    subject: str
    symbol: str | None
    ours: str
    theirs: str
    opened_at: datetime


class AccountView(BaseModel):
    """The account as the ledger has it, and what the executor may do."""

    account: str
    broker_account_id: str | None
    state: str
    reason: str
    since_at: datetime
    reconciled_at: datetime | None
    cash: str | None
    differences: list[DifferenceView]


class ReconcileWish(BaseModel):
    """Symbols whose differences a person has looked at, so that entries may go again."""

    model_config = ConfigDict(extra="forbid")

    acknowledge: Annotated[list[str], Field(max_length=500)] = []


class Reconciliation(BaseModel):
    """What a full comparison with the broker saw."""

    orders_seen: int
    executions_seen: int
    fills_booked: int
    positions_agree: bool | None
    cash_agrees: bool | None
    never_existed: list[str]
    took_s: float
    acknowledged: int
    differences: list[DifferenceView]


def router(
    store: Store,
    executor: Executor,
    bells: Bells,
    latest: LatestBars,
    clock: Clock,
    timer: Timer,
    ids: Ids,
    timeframe: Timeframe,
) -> APIRouter:
    """The executor's own routes."""
    routes = APIRouter(tags=["execution"])
    fold = PositionFold(store)

    @routes.post("/orders", status_code=201, response_model=OrderView, responses={202: {}})
    async def submit_order(
        wish: OrderWish,
        response: Response,
        role: Annotated[Role, requires(Role.OPERATE)],
        idempotency_key: Annotated[str | None, Header(min_length=1, max_length=128)] = None,
    ) -> Any:
        """Ask for an order. It is stored, reviewed by risk, and sent; the answer waits up to two seconds.

        201 with the order once the broker has it; 202 with a Location while it is held or its outcome is being
        verified; 422 with a reason code when risk or the broker refused. The same Idempotency-Key (or
        client_key) names the same order for ever.
        """
        key = idempotency_key or wish.client_key or ids.new()
        order = manual_order(wish, store.account, key, clock.now(), role)
        if not await store.manual.add(order, key=key):
            raise ProblemError(
                409, "idempotency_conflict", "this key was used for another order; take a new one"
            )
        await bells.ring(BELL_MANUAL)
        found = await _answer(order.signal_id)
        location = f"/orders/{order.signal_id}"
        response.headers["Location"] = location
        if found is None or IntentState(found["state"]) in (
            IntentState.PENDING, IntentState.SENDING, IntentState.UNKNOWN,
        ):  # fmt: skip
            response.status_code = 202
            if found is None:
                return Response(status_code=202, headers={"Location": location})
        return await _with_fills(found)

    async def _answer(signal_id: str) -> dict[str, Any] | None:
        """The order of that wish as soon as the broker has it, or as it stands when time is up."""
        until_s = timer.monotonic_s() + _ANSWER_WITHIN_S
        while True:
            decided = await store.manual.answer(signal_id)
            if decided is not None and decided.reason_code is not None:
                raise ProblemError(422, decided.reason_code.lower(), decided.reason)
            rows = await store.reads.find_orders(any_id=signal_id, limit=50)
            found = rows[-1] if rows else None
            if found is not None:
                state = IntentState(found["state"])
                if state is IntentState.REJECTED and not found["orders"]:
                    raise ProblemError(
                        422, "broker_refused", f"the broker refused: {found['reason']}"
                    )
                if state in _NEVER_SENT:
                    raise ProblemError(422, state.value.lower(), f"not sent: {found['reason']}")
                is_held = state is IntentState.PENDING and found["act_from"] > clock.now()
                is_moving = state in (IntentState.PENDING, IntentState.SENDING)
                if is_held or not is_moving:
                    return found
            if timer.monotonic_s() >= until_s:
                return found
            await timer.sleep(_LOOK_EVERY_S)

    async def _with_fills(row: dict[str, Any]) -> OrderView:
        view = order_view(row)
        broker_ids = [order.broker_order_id for order in view.orders]
        view.fills = (
            [fill_view(f) for f in await store.reads.fills(orders=broker_ids, limit=500)]
            if broker_ids
            else []
        )
        return view

    @routes.get("/orders", dependencies=[requires(Role.READ)])
    async def list_orders(
        status: Annotated[str, Query(max_length=32)] = "all",
        symbol: Annotated[str | None, Query(max_length=16)] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
        cursor: Annotated[str | None, Query(pattern=r"^\d{1,18}$")] = None,
    ) -> Orders:
        """Orders of ours, newest first; `status` is all, open, closed or one state."""
        rows = await store.reads.find_orders(
            states=states_of(status),
            symbol=None if symbol is None else parse_symbol(symbol),
            before=None if cursor is None else int(cursor),
            limit=limit + 1,
        )
        more = len(rows) > limit
        items = [order_view(row) for row in rows[:limit]]
        return Orders(items=items, next=str(rows[limit - 1]["sequence"]) if more else None)

    @routes.get("/orders/{order_id}", dependencies=[requires(Role.READ)])
    async def get_order(order_id: str) -> OrderView:
        """One order with its fills, by our client order id, its signal's or decision's id, or the broker's."""
        if len(order_id) <= 128:
            rows = await store.reads.find_orders(any_id=order_id, limit=50)
            if rows:
                return await _with_fills(rows[-1])
            external = await store.reads.external_order(order_id)
            if external is not None:
                return await _with_fills(_as_intent(external))
        raise ProblemError(
            404, "order_not_found", "no order has this id; GET /orders lists those there are"
        )

    @routes.get("/fills", dependencies=[requires(Role.READ)])
    async def list_fills(
        symbol: Annotated[str | None, Query(max_length=16)] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
        cursor: Annotated[str | None, Query(pattern=r"^\d{1,18}$")] = None,
    ) -> Fills:
        """Executions in the ledger, newest first."""
        rows = await store.reads.fills(
            symbol=None if symbol is None else parse_symbol(symbol),
            before=None if cursor is None else int(cursor),
            limit=limit + 1,
        )
        more = len(rows) > limit
        return Fills(
            items=[fill_view(row) for row in rows[:limit]],
            next=str(rows[limit - 1]["id"]) if more else None,
        )

    @routes.get("/positions", dependencies=[requires(Role.READ)])
    async def list_positions() -> Positions:
        """What is held, from the ledger, valued at the newest bar where there is one."""
        held = {s: p for s, p in (await fold.now()).items() if p.quantity}
        bars = await latest.get(timeframe, sorted(held))
        items = []
        for symbol, position in sorted(held.items()):
            bar = bars.get(symbol)
            price = None if bar is None else parse_price(bar.bar.close)
            value = None if price is None else position.quantity * price
            gain = None if price is None else position.quantity * (price - position.average_price)
            items.append(
                PositionView(
                    symbol=symbol,
                    quantity=plain(position.quantity),
                    average_price=_rounded(position.average_price),
                    realised_pnl=_rounded(position.realised_pnl),
                    last_price=_maybe(price),
                    last_price_at=None if bar is None else bar.bar.end_at,
                    market_value=None if value is None else _rounded(value),
                    unrealised_pnl=None if gain is None else _rounded(gain),
                )
            )
        return Positions(items=items)

    @routes.get("/account", dependencies=[requires(Role.READ)])
    async def get_account() -> AccountView:
        """State, cash by the ledger, and open differences with the broker."""
        row = await store.reads.account_row()
        if row is None:
            raise ProblemError(503, "not_adopted", "no executor has run for this account yet")
        return AccountView(
            account=store.account,
            broker_account_id=row["broker_account_id"],
            state=row["state"],
            reason=row["reason"],
            since_at=row["since_at"],
            reconciled_at=row["reconciled_at"],
            cash=_maybe(row["cash"]),
            differences=[DifferenceView(**d) for d in await store.differences.all_open()],
        )

    @routes.post("/reconcile")
    async def reconcile(
        role: Annotated[Role, requires(Role.OPERATE)], wish: ReconcileWish | None = None
    ) -> Reconciliation:
        """Compare everything with the broker now, and acknowledge the differences of given symbols."""
        symbols = [parse_symbol(name) for name in (wish.acknowledge if wish else [])]
        acknowledged = 0
        if symbols:
            acknowledged = await store.differences.acknowledge(
                symbols, actor=f"token:{role.name.lower()}", at=clock.now()
            )
        report = await executor.reconcile_now()
        return Reconciliation(
            orders_seen=report.orders_seen,
            executions_seen=report.executions_seen,
            fills_booked=report.fills_booked,
            positions_agree=report.positions_agree,
            cash_agrees=report.cash_agrees,
            never_existed=report.never_existed,
            took_s=round(report.took_s, 4),
            acknowledged=acknowledged,
            differences=[DifferenceView(**d) for d in await store.differences.all_open()],
        )

    return routes


def manual_order(wish: OrderWish, account: str, key: str, at: datetime, role: Role) -> ManualOrder:
    """The wish as the message that risk reviews.

    Raises:
        InvalidInput: a symbol, quantity or price that cannot be right.
    """
    return ManualOrder(
        signal_id=manual_signal_id(account, key),
        account=account,
        symbol=parse_symbol(wish.symbol),
        side=wish.side,
        quantity=parse_quantity(wish.qty),
        type=wish.type,
        time_in_force=wish.time_in_force,
        limit_price=_price(wish.limit_price),
        stop_price=_price(wish.stop_price),
        take_profit=_price(wish.take_profit.limit_price if wish.take_profit else None),
        stop_loss=_price(wish.stop_loss.stop_price if wish.stop_loss else None),
        requested_at=at,
        actor=f"token:{role.name.lower()}",
    )


def parse_quantity(text: str) -> Decimal:
    """Shares, more than zero, at most nine decimals.

    Raises:
        InvalidInput: anything else.
    """
    try:
        quantity = parse_number(text.strip())
    except ValueError:
        raise InvalidInput(f"qty must be a number of shares, was {text[:40]!r}") from None
    if not (quantity.is_finite() and 0 < quantity <= _MAX_QUANTITY):
        raise InvalidInput(f"qty must be above zero and at most {_MAX_QUANTITY}, was {text[:40]!r}")
    exponent = quantity.normalize().as_tuple().exponent
    if isinstance(exponent, int) and exponent < -9:
        raise InvalidInput(f"qty may have nine decimals at most, was {text[:40]!r}")
    return quantity


def states_of(status: str) -> Sequence[str]:
    """The intent states that a filter word stands for; empty for all.

    Raises:
        InvalidInput: no such word.
    """
    words = {"all": [], "open": _OPEN, "closed": _CLOSED}
    if status.lower() in words:
        return words[status.lower()]
    if status.upper() in IntentState.__members__:
        return [status.upper()]
    raise InvalidInput(
        f"status must be all, open, closed or one of {', '.join(IntentState)}, was {status[:32]!r}"
    )


def order_view(row: Mapping[str, Any]) -> OrderView:
    """An intent's row with its orders, for people."""
    return OrderView(
        client_order_id=row["client_order_id"],
        broker_order_id=row["broker_order_id"],
        signal_id=row["signal_id"],
        decision_id=row["decision_id"],
        symbol=row["symbol"],
        side=row["side"],
        purpose=row["purpose"],
        type=row["type"],
        order_class=row["order_class"],
        time_in_force=row["time_in_force"],
        quantity=_maybe(row["quantity"]),
        filled_quantity=plain(row["filled_quantity"]),
        limit_price=_maybe(row["limit_price"]),
        stop_price=_maybe(row["stop_price"]),
        take_profit=_maybe(row["take_profit"]),
        stop_loss=_maybe(row["stop_loss"]),
        state=row["state"],
        reason=row["reason"],
        act_from=row["act_from"],
        act_until=row["act_until"],
        created_at=row["created_at"],
        sent_at=row["sent_at"],
        ended_at=row["ended_at"],
        orders=[_broker_view(order) for order in row["orders"]],
    )


def fill_view(row: Mapping[str, Any]) -> FillView:
    """A fill's row, for people."""
    return FillView(
        execution_id=row["execution_id"],
        broker_order_id=row["broker_order_id"],
        client_order_id=row["client_order_id"],
        symbol=row["symbol"],
        side=row["side"],
        quantity=plain(row["quantity"]),
        price=plain(row["price"]),
        fee=plain(row["fee"]),
        executed_at=row["executed_at"],
        booked_at=row["booked_at"],
    )


def _broker_view(row: Mapping[str, Any]) -> BrokerOrderView:
    return BrokerOrderView(
        broker_order_id=row["broker_order_id"],
        client_order_id=row["client_order_id"],
        parent_order_id=row["parent_order_id"],
        side=row["side"],
        type=row["type"],
        order_class=row["order_class"],
        status=row["status"],
        quantity=_maybe(row["quantity"]),
        filled_quantity=plain(row["filled_quantity"]),
        filled_average_price=_maybe(row["filled_average_price"]),
        limit_price=_maybe(row["limit_price"]),
        stop_price=_maybe(row["stop_price"]),
        submitted_at=row["submitted_at"],
        updated_at=row["updated_at"],
    )


def _as_intent(order: dict[str, Any]) -> dict[str, Any]:
    """Somebody else's order in the shape of ours."""
    absent = dict.fromkeys(
        ("signal_id", "decision_id", "time_in_force", "take_profit", "stop_loss", "reason", "act_from",
         "act_until", "created_at", "sent_at", "ended_at")
    )  # fmt: skip
    return {
        **absent,
        **order,
        "purpose": "external",
        "state": order["status"].upper(),
        "orders": [order],
    }


def _price(text: str | None) -> Decimal | None:
    return None if text is None else parse_price(text)


def _maybe(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)


def _rounded(value: Decimal) -> str:
    return plain(value.quantize(Decimal("0.000001")))
