"""Which strategy earned what?

Executions go in, oldest first; `shared.domain.lots` matches them, and what a sale earned belongs to the strategy whose
entry brought the shares, whoever sold them. The newest executions alone may begin in the middle: shares that were
sold and that no known purchase brought were there before, at a cost nobody knows, and earn nobody anything. Amounts
are exact; a purchase's fee counts with its shares, as they are sold. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from risk_manager.sizing import TradeRecord
from shared.domain.lots import ZERO, Execution, Part, match
from shared.domain.orders import Side
from shared.domain.symbols import Symbol


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
    """Every entry order's trade, in the order of entry, and the lots of known cost that are left per symbol."""

    trades: tuple[Trade, ...]
    lots: Mapping[Symbol, tuple[Part, ...]]


def matched(executions: Iterable[Execution]) -> Matched:
    """Match sales to purchases, first in, first out; `executions` come oldest first."""
    known = list(executions)
    found = match([*_held_before(known), *known])
    gains: dict[str, Decimal] = {}
    sold: dict[str, Decimal] = {}
    for closing in found.closings:
        order = closing.opened.execution.order_id
        sold[order] = sold.get(order, ZERO) + closing.quantity
        gains[order] = gains.get(order, ZERO) + (closing.gain or ZERO)
    lots: dict[Symbol, tuple[Part, ...]] = {}
    for lot in found.open_lots:
        if lot.amount is not None:
            symbol = lot.execution.symbol
            lots[symbol] = (*lots.get(symbol, ()), lot)
    left = {lot.execution.order_id for held in lots.values() for lot in held}
    entries: dict[str, Execution] = {}
    for execution in known:
        if execution.side is Side.BUY and execution.price is not None:
            entries.setdefault(execution.order_id, execution)
    trades = tuple(
        Trade(
            entry.strategy,
            entry.symbol,
            sold.get(order, ZERO),
            gains.get(order, ZERO),
            order not in left,
        )
        for order, entry in entries.items()
    )
    return Matched(trades, lots)


def _held_before(known: Sequence[Execution]) -> list[Execution]:
    """The fewest shares that must have been there for every sale to be one of shares that were held."""
    held: dict[Symbol, Decimal] = {}
    least: dict[Symbol, Decimal] = {}
    for each in known:
        change = each.quantity if each.side is Side.BUY else -each.quantity
        held[each.symbol] = held.get(each.symbol, ZERO) + change
        least[each.symbol] = min(least.get(each.symbol, ZERO), held[each.symbol])
    return [
        Execution(
            f"before:{symbol}", "", "", symbol, Side.BUY, -short, None, ZERO, known[0].executed_at
        )
        for symbol, short in least.items()
        if short < 0
    ]


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
            strategy, cost, price = lot.execution.strategy, lot.amount or ZERO, prices.get(symbol)
            value = cost if price is None else lot.quantity * price
            gained[strategy] = gained.get(strategy, ZERO) + value - cost
            worth[strategy] = worth.get(strategy, ZERO) + value
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
