"""What does the executor do about an answer?

What rests is cancelled before anything is sold, stops move by cancelling and placing anew, and whatever is held without a
stop and target gets a pair of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from backtester.reference.account import Account, Entered
from backtester.terms import EXIT
from shared.domain.decisions import Approved
from shared.domain.orders import OrderClass, OrderStatus, OrderType, Side, TimeInForce
from shared.domain.symbols import Symbol
from simulator.orders import Cancel, Role, Submit


def send_entry(account: Account, approved: Approved) -> None:
    """A market bracket."""
    assert approved.stop_loss is not None
    assert approved.take_profit is not None
    account.stops[approved.symbol] = (approved.stop_loss, approved.take_profit)
    account.entered[approved.symbol] = Entered(approved.decision_id, approved.reference_price)
    account.book.apply(
        Submit(
            approved.symbol,
            approved.side,
            approved.quantity,
            OrderType.MARKET,
            TimeInForce.GTC,
            OrderClass.BRACKET,
            take_profit=approved.take_profit,
            stop_loss=approved.stop_loss,
        )
    )


def leave(account: Account, symbol: Symbol, kind: int = EXIT) -> None:
    """Take back what was wished for and get out of what is held."""
    account.unsized = [intent for intent in account.unsized if intent.symbol != symbol]
    leave_keeping_intents(account, symbol, kind)


def leave_keeping_intents(account: Account, symbol: Symbol, kind: int = EXIT) -> None:
    """Cancel what rests and sell what is left, once."""
    mine = [order for order in account.book.open_orders() if order.symbol == symbol]
    held = abs(account.book.quantity_of(symbol))
    for order in mine:
        # An exit for everything takes the place of one for a part.
        if account.is_exit(order) and order.remaining >= held:
            return
    sell(account, symbol, held, kind)


def sell(account: Account, symbol: Symbol, shares: Decimal, kind: int) -> None:
    """Cancel what rests in `symbol` and sell so many of its shares, or buy them back."""
    for order in account.book.open_orders():
        if order.symbol == symbol and not account.book.orders[order.id].status.is_final:
            account.book.apply(Cancel(order.id))
    held = account.book.quantity_of(symbol)
    shares = min(shares, abs(held))
    if shares:
        side = Side.SELL if held > 0 else Side.BUY
        sale, _ = account.book.apply(
            Submit(symbol, side, shares, OrderType.MARKET, TimeInForce.GTC)
        )
        assert sale is not None
        account.sales[sale.id] = kind


def give_up_rests(account: Account) -> None:
    """End what is left of bracket entries that the bar filled in part."""
    for order in account.book.open_orders():
        if (
            order.role is Role.ENTRY
            and order.status is OrderStatus.PARTIALLY_FILLED
            and not order.status.is_final
        ):
            account.book.apply(Cancel(order.id))


def guard_anew(account: Account) -> None:
    """A pair of stop and target for whatever is held without one and is not being sold."""
    busy = {order.symbol for order in account.book.open_orders()}
    for symbol, position in sorted(account.book.positions.items()):
        if position.quantity and symbol not in busy:
            stop, target = account.stops[symbol]
            account.book.apply(
                Submit(
                    symbol,
                    Side.SELL if position.quantity > 0 else Side.BUY,
                    abs(position.quantity),
                    OrderType.LIMIT,
                    TimeInForce.GTC,
                    OrderClass.OCO,
                    take_profit=target,
                    stop_loss=stop,
                )
            )


def move_stops(account: Account, moves: Iterable[tuple[Symbol, Decimal]]) -> None:
    """Cancel the pairs whose stops follow the price; `guard_anew` places them again."""
    for symbol, stop in moves:
        target = account.stops[symbol][1]
        is_short = account.book.quantity_of(symbol) < 0
        # The venue takes no pair whose stop has passed its target.
        if (stop <= target) if is_short else (stop >= target):
            continue
        mine = [order for order in account.book.open_orders() if order.symbol == symbol]
        if any(account.is_exit(order) for order in mine):
            continue
        account.stops[symbol] = (stop, account.stops[symbol][1])
        for order in mine:
            if not account.book.orders[order.id].status.is_final:
                account.book.apply(Cancel(order.id))
