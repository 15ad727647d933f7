"""Which strategy earned what?

Executions go in, oldest first, and what is held after them; `shared.domain.lots` matches them, and what a way out earned
belongs to the strategy whose entry opened the shares, long or short, whoever closed them. The newest executions alone may
begin in the middle: what was held or owed before them had a price that nobody knows, and earns nobody anything. Amounts
are exact; an entry's fee counts with its shares, as they are closed. Pure.
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
    """One entry order as far as it was closed; `pnl` in dollars after fees, whole once nothing is left."""

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


def matched(executions: Iterable[Execution], held: Mapping[Symbol, Decimal]) -> Matched:
    """Match ways out to entries, first in, first out.

    Args:
        executions: oldest first. `held`: shares after the last of them, below zero for what is owed; missing for none.
    """
    known = list(executions)
    found = match([*_held_before(known, held), *known])
    gains: dict[str, Decimal] = {}
    closed: dict[str, Decimal] = {}
    for closing in found.closings:
        order = closing.opened.execution.order_id
        closed[order] = closed.get(order, ZERO) + closing.quantity
        gains[order] = gains.get(order, ZERO) + (closing.gain or ZERO)
    lots: dict[Symbol, tuple[Part, ...]] = {}
    for lot in found.open_lots:
        if lot.amount is not None:
            symbol = lot.execution.symbol
            lots[symbol] = (*lots.get(symbol, ()), lot)
    left = {lot.execution.order_id for kept in lots.values() for lot in kept}
    entries: dict[str, Execution] = {}
    for execution in known:
        is_entry = execution.order_id in left or execution.order_id in closed
        if is_entry and execution.price is not None:
            entries.setdefault(execution.order_id, execution)
    trades = tuple(
        Trade(
            entry.strategy,
            entry.symbol,
            closed.get(order, ZERO),
            gains.get(order, ZERO),
            order not in left,
        )
        for order, entry in entries.items()
    )
    return Matched(trades, lots)


def _held_before(known: Sequence[Execution], held: Mapping[Symbol, Decimal]) -> list[Execution]:
    """What was held or owed before the first of them, at a price that nobody knows."""
    before: dict[Symbol, Decimal] = {}
    for each in known:
        there = before.get(each.symbol, held.get(each.symbol, ZERO))
        before[each.symbol] = there - each.side.sign * each.quantity
    return [
        Execution(
            f"before:{symbol}",
            "",
            "",
            symbol,
            Side.BUY if shares > 0 else Side.SELL,
            abs(shares),
            None,
            ZERO,
            known[0].executed_at,
        )
        for symbol, shares in before.items()
        if shares
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
    """What one strategy has earned and still holds; dollars, below zero for what is owed."""

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
            strategy, sign = lot.execution.strategy, lot.execution.side.sign
            cost, price = sign * (lot.amount or ZERO), prices.get(symbol)
            value = cost if price is None else sign * lot.quantity * price
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
