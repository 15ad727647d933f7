"""Which routes only read?

Reads come from PostgreSQL alone, the broker is not asked, so they work on a process that stands by and while the
broker is away.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from shared.adapters.http_api import Day, ProblemError, Role, requires
from shared.domain.symbols import parse_symbol
from shared.domain.timeframes import Timeframe
from shared.ports import LatestBars
from trade_executor.api.views import (
    AccountView,
    DifferenceView,
    Fills,
    Orders,
    OrderView,
    Performance,
    Positions,
    as_intent,
    fill_view,
    maybe,
    order_view,
    page_of,
    performance_view,
    position_view,
)
from trade_executor.api.wishes import states_of
from trade_executor.positions import PositionFold
from trade_executor.store import Store

Cursor = Annotated[str | None, Query(pattern=r"^\d{1,18}$")]
Limit = Annotated[int, Query(ge=1, le=500)]
OfSymbol = Annotated[str | None, Query(max_length=16)]


async def order_with_fills(store: Store, row: dict[str, Any]) -> OrderView:
    """An order with every execution of it and of its legs."""
    view = order_view(row)
    broker_ids = [order.broker_order_id for order in view.orders]
    found = await store.reads.fills(orders=broker_ids, limit=500) if broker_ids else []
    view.fills = [fill_view(fill) for fill in found]
    return view


def add_reads(
    routes: APIRouter, store: Store, fold: PositionFold, latest: LatestBars, timeframe: Timeframe
) -> None:
    """The routes that any token may ask."""

    @routes.get("/orders", dependencies=[requires(Role.READ)])
    async def list_orders(
        status: Annotated[str, Query(max_length=32)] = "all",
        symbol: OfSymbol = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Orders:
        """Orders of ours, newest first; `status` is all, open, closed or one state."""
        rows = await store.reads.find_orders(
            states=states_of(status),
            symbol=None if symbol is None else parse_symbol(symbol),
            before=None if cursor is None else int(cursor),
            limit=limit + 1,
        )
        return Orders(**page_of(rows, limit, order_view, "sequence"))

    @routes.get("/orders/{order_id}", dependencies=[requires(Role.READ)])
    async def get_order(order_id: str) -> OrderView:
        """One order with its fills, by our client order id, its signal's or decision's id, or the broker's."""
        if len(order_id) <= 128:
            rows = await store.reads.find_orders(any_id=order_id, limit=50)
            if rows:
                return await order_with_fills(store, rows[-1])
            external = await store.reads.external_order(order_id)
            if external is not None:
                return await order_with_fills(store, as_intent(external))
        raise ProblemError(
            404, "order_not_found", "no order has this id; GET /orders lists those there are"
        )

    @routes.get("/fills", dependencies=[requires(Role.READ)])
    async def list_fills(
        symbol: OfSymbol = None, limit: Limit = 100, cursor: Cursor = None
    ) -> Fills:
        """Executions in the ledger, newest first."""
        rows = await store.reads.fills(
            symbol=None if symbol is None else parse_symbol(symbol),
            before=None if cursor is None else int(cursor),
            limit=limit + 1,
        )
        return Fills(**page_of(rows, limit, fill_view, "id"))

    @routes.get("/positions", dependencies=[requires(Role.READ)])
    async def list_positions() -> Positions:
        """What is held, from the ledger, valued at the newest bar where there is one."""
        held = {s: p for s, p in sorted((await fold.now()).items()) if p.quantity}
        bars = await latest.get(timeframe, list(held))
        return Positions(
            items=[
                position_view(p, bars[symbol].bar if symbol in bars else None)
                for symbol, p in held.items()
            ]
        )

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
            cash=maybe(row["cash"]),
            differences=[DifferenceView(**d) for d in await store.differences.all_open()],
        )

    @routes.get("/performance", dependencies=[requires(Role.READ)])
    async def list_performance(limit: Limit = 100, before: Day | None = None) -> Performance:
        """Closed trades by day, newest first: wins, losses, profit factor, expectancy."""
        days = await store.performances.newest(before, limit + 1)
        return Performance(
            items=[performance_view(day) for day in days[:limit]],
            next=days[limit - 1].day_on if len(days) > limit else None,
        )
