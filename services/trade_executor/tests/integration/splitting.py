"""What a broker tells of corporate actions, and what it makes of orders in a split."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from services.trade_executor.tests.integration.recordkeeping import (
    AAPL,
    Desk,
)
from shared.domain.ledger import Position
from shared.domain.orders import Side
from shared.domain.symbols import Symbol
from simulator.orders import Cancel

SHORT: dict[str, Any] = {
    "side": Side.SELL,
    "stop_loss": Decimal(110),
    "take_profit": Decimal(80),
}


def told(desk: Desk, kind: str, number: int = 1, **fields: Any) -> None:
    """The broker's list of activities holds one more."""
    desk.broker.activities_told.append(
        {
            "id": f"20261120000000000::{kind.lower()}-{number}",
            "activity_type": kind,
            "date": "2026-11-20",
            "status": "executed",
            **fields,
        }
    )


def holds(desk: Desk, symbol: Symbol, quantity: int) -> None:
    """The broker's own book after the action."""
    desk.floor.book.positions[symbol] = Position(symbol, Decimal(quantity), Decimal(1))


async def cash_entries(desk: Desk) -> list[tuple[str, Decimal]]:
    async def read(connection: Any) -> Any:
        return await desk.store.ledger._all(
            connection,
            "SELECT reason, amount FROM trade_executor.v_cash_entries WHERE account = :account "
            "AND key <> 'opening' ORDER BY id",
        )

    return [(row.reason, row.amount) for row in await desk.risk.run(read)]


def guarded(desk: Desk) -> list[tuple[Decimal, str | None]]:
    """(shares, stop) of each stop at the venue, the lowest first."""
    return sorted((shares, stop) for _, _, kind, shares, stop in desk.resting() if kind == "stop")


async def is_split(desk: Desk, before: int, after: int) -> None:
    """The broker tells of a split, and holds what is left of it."""
    told(desk, "SPLIT", len(desk.broker.activities_told), symbol="AAPL", qty=str(after - before))
    holds(desk, AAPL, after)
    price = desk.floor.book.prices[AAPL] * before / after
    desk.floor.book.prices[AAPL] = price.quantize(Decimal("0.01"))
    for _ in range(3):
        assert (await desk.compare()).positions_agree
        await desk.work()


def ends_them(desk: Desk, shares: Decimal) -> None:
    for order in list(desk.floor.book.open_orders()):
        desk.floor.do(Cancel(order.id))


def leaves_them(desk: Desk, shares: Decimal) -> None:
    pass


def puts_them_into_new_shares(desk: Desk, shares: Decimal, ratio: Decimal | None = None) -> None:
    """The orders at the venue are for `shares` now; at `ratio` times their prices, where it is told."""
    book = desk.floor.book
    for order in list(book.orders.values()):
        if not order.status.is_final:
            prices = {
                name: price * ratio
                for name in ("stop_price", "limit_price")
                if ratio is not None and (price := getattr(order, name)) is not None
            }
            changed = {**prices, "updated_at": book.now} if prices else {}
            book.orders[order.id] = replace(order, quantity=shares, **changed)


BROKERS = [ends_them, leaves_them, puts_them_into_new_shares]
