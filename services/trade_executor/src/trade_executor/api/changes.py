"""Which routes change something?

An order given here is stored as a wish and takes the same road through risk as any signal; a cancel or a replacement
is stored before the broker hears of it. Each answers within two seconds with what has become of it so far.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel

from shared.adapters.http_api import ProblemError, Role, requires
from shared.domain.errors import Retryable
from shared.domain.ids import manual_signal_id
from shared.domain.money import parse_price
from shared.domain.orders import IntentState, Side
from shared.domain.signals import ManualOrder
from shared.domain.symbols import Symbol, parse_symbol
from shared.domain.timeframes import Timeframe
from shared.messages import BELL_MANUAL
from shared.ports import Bells, Clock, HaltSwitch, Ids, LatestBars, Timer
from trade_executor.api.reads import order_with_fills
from trade_executor.api.views import (
    DifferenceView,
    HoursView,
    OrderView,
    PerformanceView,
    Reconciliation,
    hours_view,
    performance_view,
)
from trade_executor.api.wishes import (
    ChangeWish,
    CloseWish,
    OrderWish,
    PerformanceWish,
    ReconcileWish,
    closing_order,
    manual_order,
    parse_quantity,
    refusal,
    request_of,
)
from trade_executor.hours import HoursCheck
from trade_executor.market import Market, problem_with_asset
from trade_executor.positions import PositionFold
from trade_executor.preflight import Problem
from trade_executor.service import Executor
from trade_executor.store import Store

_ANSWER_WITHIN_S = 2.0
_LOOK_EVERY_S = 0.05
_NEVER_SENT = {IntentState.CANCELLED_UNSENT, IntentState.EXPIRED_UNSENT, IntentState.NEVER_EXISTED}
_IN_FLIGHT = (IntentState.PENDING, IntentState.SENDING, IntentState.UNKNOWN)
_CONFLICT = ProblemError(
    409, "idempotency_conflict", "this key was used for another order; take a new one"
)
Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=128)]
Operate = Annotated[Role, requires(Role.OPERATE)]


class Asked(BaseModel):
    """Orders that a request set in motion, by their client ids or, for closes, their signals' ids."""

    items: list[str]


@dataclass(frozen=True, slots=True)
class Desk:
    """What changing anything needs."""

    store: Store
    executor: Executor
    fold: PositionFold
    bells: Bells
    latest: LatestBars
    clock: Clock
    timer: Timer
    ids: Ids
    timeframe: Timeframe
    market: Market
    hours: HoursCheck
    halt: HaltSwitch

    async def require_dealt(self, order: ManualOrder) -> None:
        """Turn away what the share's flags forbid. Raises ProblemError.

        Not a way out of what is held; and while the broker does not answer the sender asks again before it sends.
        """
        position = (await self.fold.now()).get(order.symbol)
        held = Decimal(0) if position is None else position.quantity
        if held * order.side.sign < 0:
            return
        with contextlib.suppress(Retryable):
            problem = problem_with_asset(
                request_of(order),
                await self.market.asset(order.symbol),
                opens_short=order.side is Side.SELL,
            )
            if problem is not None:
                raise refusal(problem)

    async def give(self, order: ManualOrder, key: str) -> None:
        """Store and announce a wish. Raises ProblemError when its key names another."""
        if not await self.store.manual.add(order, key=key):
            raise _CONFLICT
        await self.bells.ring(BELL_MANUAL)

    async def last_price(self, symbol: Symbol) -> Decimal | None:
        """The newest close, None when there is none."""
        bar = (await self.latest.get(self.timeframe, [symbol])).get(symbol)
        return None if bar is None else parse_price(bar.bar.close)

    async def answer(self, signal_id: str) -> dict[str, Any] | None:
        """The order of that wish as soon as the broker has it, or as it stands when time is up."""

        async def look() -> tuple[dict[str, Any] | None, bool]:
            decided = await self.store.manual.answer(signal_id)
            if decided is not None and decided.reason_code is not None:
                raise ProblemError(422, decided.reason_code.lower(), decided.reason)
            rows = await self.store.reads.find_orders(any_id=signal_id, limit=50)
            found = rows[-1] if rows else None
            return found, found is not None and self._is_settled(found)

        return await self._await(look)

    async def ended(self, client_order_id: str) -> dict[str, Any]:
        """That order once it has ended, or as it stands when time is up."""

        async def look() -> tuple[dict[str, Any] | None, bool]:
            [found] = await self.store.reads.find_orders(any_id=client_order_id, limit=1)
            return found, IntentState(found["state"]).is_final

        found = await self._await(look)
        assert found is not None
        return found

    async def accepted(self, client_order_id: str) -> dict[str, Any]:
        """That order once the broker has answered for it, or as it stands when time is up."""

        async def look() -> tuple[dict[str, Any] | None, bool]:
            [found] = await self.store.reads.find_orders(any_id=client_order_id, limit=1)
            return found, self._is_settled(found)

        found = await self._await(look)
        assert found is not None
        return found

    async def _await(self, look: Callable[[], Any]) -> dict[str, Any] | None:
        until_s = self.timer.monotonic_s() + _ANSWER_WITHIN_S
        while True:
            found, is_settled = await look()
            if is_settled or self.timer.monotonic_s() >= until_s:
                kept: dict[str, Any] | None = found
                return kept
            await self.timer.sleep(_LOOK_EVERY_S)

    def _is_settled(self, found: dict[str, Any]) -> bool:
        """Whether waiting on tells nothing new. Raises ProblemError for an order that was turned away."""
        state = IntentState(found["state"])
        if state is IntentState.REJECTED and not found["orders"]:
            raise ProblemError(422, "broker_refused", f"the broker refused: {found['reason']}")
        if state in _NEVER_SENT:
            raise ProblemError(422, state.value.lower(), f"not sent: {found['reason']}")
        is_held = state is IntentState.PENDING and found["act_from"] > self.clock.now()
        return is_held or state not in (IntentState.PENDING, IntentState.SENDING)


def add_changes(routes: APIRouter, desk: Desk) -> None:
    """The routes that need the right to operate."""
    store = desk.store

    @routes.post("/orders", status_code=201, response_model=OrderView, responses={202: {}})
    async def submit_order(
        wish: OrderWish, response: Response, role: Operate, idempotency_key: Key = None
    ) -> Any:
        """Ask for an order. It is stored, reviewed by risk, and sent; the answer waits up to two seconds.

        201 with the order once the broker has it; 202 with a Location while it is held or its outcome is being
        verified; 422 with a reason code when risk or the broker refused, or would refuse. The same
        Idempotency-Key (or client_key) names the same order for ever.
        """
        key = idempotency_key or wish.client_key or desk.ids.new()
        price = None if wish.notional is None else await desk.last_price(parse_symbol(wish.symbol))
        # A sum of money is worth other shares a moment later: who asks again means the order there is.
        signal_id = manual_signal_id(store.account, key)
        if wish.notional is None or await store.manual.answer(signal_id) is None:
            order = manual_order(wish, store.account, key, desk.clock.now(), role, price)
            await desk.require_dealt(order)
            await desk.give(order, key)
        found = await desk.answer(signal_id)
        location = f"/orders/{signal_id}"
        response.headers["Location"] = location
        if found is None:
            return Response(status_code=202, headers={"Location": location})
        if IntentState(found["state"]) in _IN_FLIGHT:
            response.status_code = 202
        return await order_with_fills(store, found)

    @routes.patch("/orders/{order_id}", response_model=OrderView, responses={202: {}})
    async def replace_order(
        order_id: str,
        wish: ChangeWish,
        response: Response,
        role: Operate,
        idempotency_key: Key = None,
    ) -> Any:
        """Put another order in the place of one that stands, for no more than risk approved, and an entry within its collar.

        With take_profit or stop_loss the target or stop of what a bracket brought moves (202 with the entry): what rests is
        cancelled and a pair at the new prices takes its place. Refused while trading is halted, and where the last price
        has reached the stop or the target, or none is known.

        200 with the new order once the broker has it, 202 while its outcome is being verified. The same
        Idempotency-Key names the same replacement for ever.
        """
        name, exits = await _client_order_id(order_id), wish.exits()
        asked: dict[str, Any] = {
            "key": idempotency_key or desk.ids.new(),
            "actor": f"token:{role.name.lower()}",
            "at": desk.clock.now(),
        }
        if exits is not None:
            target, stop = exits
            answer = await store.requests.move_exits(
                name,
                take_profit=target,
                stop_loss=stop,
                last_price=await _last_price_of(name),
                halt_note=desk.halt.note(),
                **asked,
            )
        else:
            answer = await store.requests.replace(name, wish.change(), **asked)
        if isinstance(answer, Problem):
            raise refusal(answer)
        desk.executor.wake()
        found = await desk.accepted(answer)
        response.headers["Location"] = f"/orders/{answer}"
        if exits is not None or IntentState(found["state"]) in _IN_FLIGHT:
            response.status_code = 202
        return await order_with_fills(store, found)

    @routes.delete(
        "/orders/{order_id}",
        response_model=OrderView,
        responses={202: {}},
        dependencies=[requires(Role.OPERATE)],
    )
    async def cancel_order(order_id: str, response: Response) -> Any:
        """Take an order back. 200 with the order once it has ended, 202 while the broker has yet to prove it.

        What it filled before stays; asking twice is one cancel.
        """
        name = await _client_order_id(order_id)
        problem = await store.requests.cancel(name, at=desk.clock.now())
        if problem is not None:
            raise refusal(problem)
        desk.executor.wake()
        found = await desk.ended(name)
        if not IntentState(found["state"]).is_final:
            response.status_code = 202
        return await order_with_fills(store, found)

    @routes.delete("/orders", status_code=202, dependencies=[requires(Role.OPERATE)])
    async def cancel_orders(
        symbol: Annotated[str | None, Query(max_length=16)] = None,
    ) -> Asked:
        """Take back all entries and exits that stand or wait, of one symbol or all; stops and targets stay."""
        asked = await store.requests.cancel_all(
            symbol=None if symbol is None else parse_symbol(symbol), at=desk.clock.now()
        )
        desk.executor.wake()
        return Asked(items=asked)

    @routes.post("/positions/{symbol}/close", status_code=202)
    async def close_position(
        symbol: str, role: Operate, wish: CloseWish | None = None, idempotency_key: Key = None
    ) -> Asked:
        """Sell (or buy back) what is held, at the market, after its stop and target have been cancelled.

        It takes the road through risk as an exit; GET /orders/{id} tells what has become of it.
        """
        name = parse_symbol(symbol)
        held = (await desk.fold.now()).get(name)
        quantity = parse_quantity(wish.qty) if wish is not None and wish.qty is not None else None
        return Asked(
            items=[
                await _close(
                    name,
                    Decimal(0) if held is None else held.quantity,
                    quantity,
                    idempotency_key or desk.ids.new(),
                    role,
                )
            ]
        )

    @routes.post("/positions/close", status_code=202)
    async def close_positions(role: Operate, idempotency_key: Key = None) -> Asked:
        """Close everything that is held, each position as by its own request."""
        key = idempotency_key or desk.ids.new()
        held = {s: p.quantity for s, p in sorted((await desk.fold.now()).items()) if p.quantity}
        return Asked(
            items=[
                await _close(symbol, quantity, None, f"{key}:{symbol}", role)
                for symbol, quantity in held.items()
            ]
        )

    async def _close(
        symbol: Symbol, held: Decimal, quantity: Decimal | None, key: str, role: Role
    ) -> str:
        signal_id = manual_signal_id(store.account, key)
        if await store.manual.answer(signal_id) is not None:
            return signal_id  # asked for before; what was held then may be gone by now
        if held == 0:
            raise refusal(
                Problem(
                    "position_not_found", f"nothing of {symbol} is held", "GET /positions lists it"
                )
            )
        order = closing_order(
            symbol, held, quantity or abs(held), store.account, key, desk.clock.now(), role
        )
        await desk.give(order, key)
        return signal_id

    @routes.post("/reconcile")
    async def reconcile(role: Operate, wish: ReconcileWish | None = None) -> Reconciliation:
        """Compare everything with the broker now, and acknowledge the differences of given symbols."""
        symbols = [parse_symbol(name) for name in (wish.acknowledge if wish else [])]
        acknowledged = 0
        if symbols:
            acknowledged = await store.differences.acknowledge(
                symbols, actor=f"token:{role.name.lower()}", at=desk.clock.now()
            )
        report = await desk.executor.reconcile_now()
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

    @routes.post("/hours/check", dependencies=[requires(Role.OPERATE)])
    async def check_hours() -> HoursView:
        """Compare the coming sessions and the clock with the broker's; what differs takes no entry."""
        return hours_view(await desk.hours.run())

    @routes.post("/performance", dependencies=[requires(Role.OPERATE)])
    async def record_performance(wish: PerformanceWish) -> PerformanceView:
        """Compute how a day's closed trades went from the whole ledger, and keep it."""
        return performance_view(await store.performances.record(wish.day_on, desk.clock.now()))

    async def _client_order_id(any_id: str) -> str:
        """The name of the one order of ours that `any_id` names."""
        rows = await store.reads.find_orders(any_id=any_id, limit=1) if len(any_id) <= 128 else []
        return str(rows[0]["client_order_id"]) if rows else any_id[:128]

    async def _last_price_of(name: str) -> Decimal | None:
        """The newest price of that order's symbol, None when there is none."""
        rows = await store.reads.find_orders(any_id=name, limit=1)
        return await desk.last_price(parse_symbol(rows[0]["symbol"])) if rows else None
