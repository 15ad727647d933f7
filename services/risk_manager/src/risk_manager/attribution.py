"""Which strategy earned what?

Executions go in, oldest first; shares are matched first in, first out within a symbol, and what a sale earned belongs
to the strategy whose entry brought the shares, whoever sold them. A sale of shares that no known purchase brought
earns nobody anything. Amounts are exact. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from risk_manager.sizing import TradeRecord
from shared.domain.orders import Side
from shared.domain.symbols import Symbol

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Execution:
    """One fill; `strategy` is whose decision it was, empty for nobody's. Dollars per share, fee in dollars."""

    order_id: str
    strategy: str
    symbol: Symbol
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal
    at: datetime


@dataclass(frozen=True, slots=True)
class Lot:
    """Shares that are still held, and what they cost."""

    order_id: str
    strategy: str
    quantity: Decimal
    price: Decimal


@dataclass(frozen=True, slots=True)
class Trade:
    """One entry order as far as it was sold; `pnl` in dollars after fees, whole once nothing is left."""

    strategy: str
    symbol: Symbol
    quantity: Decimal
    pnl: Decimal
    is_closed: bool


@dataclass(frozen=True, slots=True)
class Matched:
    """Every entry order's trade, in the order of entry, and the lots that are left per symbol."""

    trades: tuple[Trade, ...]
    lots: Mapping[Symbol, tuple[Lot, ...]]


def matched(executions: Iterable[Execution]) -> Matched:
    """Match sales to purchases, first in, first out; `executions` come oldest first.

    Raises nothing: a sale beyond what is known is left out, as shares from before the records are.
    """
    lots: dict[Symbol, deque[Lot]] = {}
    sums: dict[str, Trade] = {}
    for execution in executions:
        waiting = lots.setdefault(execution.symbol, deque())
        if execution.side is Side.BUY:
            waiting.append(
                Lot(execution.order_id, execution.strategy, execution.quantity, execution.price)
            )
            known = sums.get(execution.order_id)
            sums[execution.order_id] = Trade(
                execution.strategy,
                execution.symbol,
                known.quantity if known is not None else ZERO,
                (known.pnl if known is not None else ZERO) - execution.fee,
                is_closed=False,
            )
            continue
        left = execution.quantity
        while left > 0 and waiting:
            lot = waiting.popleft()
            sold = min(left, lot.quantity)
            left -= sold
            if sold < lot.quantity:
                waiting.appendleft(Lot(lot.order_id, lot.strategy, lot.quantity - sold, lot.price))
            trade = sums[lot.order_id]
            fee = execution.fee * sold / execution.quantity
            sums[lot.order_id] = Trade(
                trade.strategy,
                trade.symbol,
                trade.quantity + sold,
                trade.pnl + sold * (execution.price - lot.price) - fee,
                is_closed=all(each.order_id != lot.order_id for each in waiting),
            )
    return Matched(
        tuple(sums.values()), {symbol: tuple(held) for symbol, held in lots.items() if held}
    )


def records_of(trades: Iterable[Trade]) -> dict[str, TradeRecord]:
    """How each strategy's closed trades went; one that broke even is a loss of nothing."""
    records: dict[str, TradeRecord] = {}
    for trade in trades:
        if not trade.is_closed:
            continue
        known = records.get(trade.strategy, TradeRecord())
        pnl = float(trade.pnl)
        records[trade.strategy] = (
            TradeRecord(known.wins + 1, known.losses, known.won + pnl, known.lost)
            if pnl > 0.0
            else TradeRecord(known.wins, known.losses + 1, known.won, known.lost - pnl)
        )
    return records


@dataclass(frozen=True, slots=True)
class Attribution:
    """What one strategy has earned and still holds; dollars."""

    strategy: str
    realised_pnl: Decimal
    unrealised_pnl: Decimal
    market_value: Decimal
    closed_trades: int


def attributed(found: Matched, prices: Mapping[Symbol, Decimal]) -> list[Attribution]:
    """Per strategy, by name. A lot without a price is valued at its cost."""
    realised: dict[str, Decimal] = {}
    closed: dict[str, int] = {}
    for trade in found.trades:
        realised[trade.strategy] = realised.get(trade.strategy, ZERO) + trade.pnl
        closed[trade.strategy] = closed.get(trade.strategy, 0) + trade.is_closed
    gained: dict[str, Decimal] = {}
    worth: dict[str, Decimal] = {}
    for symbol, lots in found.lots.items():
        for lot in lots:
            price = prices.get(symbol, lot.price)
            gained[lot.strategy] = gained.get(lot.strategy, ZERO) + lot.quantity * (
                price - lot.price
            )
            worth[lot.strategy] = worth.get(lot.strategy, ZERO) + lot.quantity * price
    return [
        Attribution(
            strategy,
            realised[strategy],
            gained.get(strategy, ZERO),
            worth.get(strategy, ZERO),
            closed[strategy],
        )
        for strategy in sorted(realised)
    ]
