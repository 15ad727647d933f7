"""What does a new day bring before its open: interest on borrowed shares, splits, dividends?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

from backtester import costs, risk_rules
from backtester.reference.account import ZERO, Account, Intent, decimal_of
from backtester.terms import ENTRY, EXIT, MICROS, SPLIT, micros
from shared.domain.arithmetic import quantised, to_tick
from shared.domain.ledger import Position
from shared.domain.lots import Execution
from shared.domain.money import parse_price
from shared.domain.orders import OrderStatus, Side
from shared.domain.symbols import Symbol
from simulator.orders import Cancel, Order


def pay_for_borrowing(account: Account, row: int) -> None:
    """What borrowed shares cost for the nights before `row`."""
    session = account.history.session
    nights = int(session[row] - session[row - 1]) if row else 0
    if not nights:
        return
    for symbol, position in account.book.positions.items():
        if position.quantity < 0:
            worth = -float(position.quantity) * float(account.book.prices[symbol])
            owed = costs.borrow_fee(worth, account.terms.borrow_rate, nights)
            account.book.cash -= Decimal(int(owed)).scaleb(-6)
            account.borrow_fees = (micros(account.borrow_fees) + owed) / MICROS


def act(account: Account, row: int, symbol: Symbol, ratio: float, amount: float) -> None:
    """A split changes shares, prices and orders together; a dividend is paid on the new shares."""
    if ratio != 1.0:
        split(account, row, symbol, ratio)
    held = float(account.book.quantity_of(symbol))
    if amount > 0.0 and held:
        paid = micros(held * amount)
        account.book.cash += Decimal(int(paid)).scaleb(-6)
        account.dividends = (micros(account.dividends) + paid) / MICROS


def split(account: Account, row: int, symbol: Symbol, ratio: float) -> None:
    """Shares, prices and orders change together; fractions that are left are paid out."""

    def moved(price: Decimal | float) -> float:
        return to_tick(float(price) / ratio)

    book = account.book
    if symbol in book.prices:
        book.prices[symbol] = parse_price(quantised(float(book.prices[symbol]) / ratio))
    if symbol in account.sized_at:
        account.sized_at[symbol] = quantised(account.sized_at[symbol] / ratio)
    if symbol in account.stops:
        stop, target = account.stops[symbol]
        account.stops[symbol] = (decimal_of(moved(stop)), decimal_of(moved(target)))
    if symbol in account.entered:
        entered = account.entered[symbol]
        account.entered[symbol] = replace(
            entered,
            reference=decimal_of(quantised(float(entered.reference) / ratio)),
            filled=decimal_of(quantised(float(entered.filled) * ratio)),
        )
    account.unsized = [
        Intent(
            i.symbol,
            i.side,
            quantised(i.reference / ratio),
            None if i.stop is None else moved(i.stop),
            None if i.target is None else moved(i.target),
        )
        if i.symbol == symbol
        else i
        for i in account.unsized
    ]
    position = book.positions.get(symbol)
    held = 0.0 if position is None else float(position.quantity)
    if position is not None and held:
        total = quantised(held * ratio)
        kept = total
        if total != held:
            change = quantised(total - held)
            account.write(row, symbol, SPLIT, change, 0.0, buys=total > held)
            account.booked.append(_moved(account, row, symbol, change, None))
        if account.terms.whole_shares:
            kept = risk_rules.whole(abs(total)) * (1 if total > 0 else -1)
        rest = quantised(abs(total) - abs(kept))
        if rest > 0.0:
            price = float(book.prices[symbol])
            value = Decimal(int(micros(rest * price))).scaleb(-6)
            book.cash += value if total > 0 else -value
            account.write(row, symbol, EXIT, rest, price, buys=total < 0)
            account.booked.append(_moved(account, row, symbol, -rest if total > 0 else rest, price))
        book.positions[symbol] = Position(
            symbol, decimal_of(kept), position.average_price / decimal_of(ratio)
        )
    for order in book.open_orders():
        if order.symbol == symbol:
            split_order(account, order, ratio, moved, abs(held))


def _moved(
    account: Account, row: int, symbol: Symbol, shares: float, price: float | None
) -> Execution:
    """Shares that a split brought, or that it paid out at `price`."""
    name, side = f"split:{symbol}:{row}", Side.BUY if shares > 0 else Side.SELL
    paid, reason = (None, "SPLIT") if price is None else (parse_price(price), "")
    quantity = decimal_of(abs(shares))
    return Execution(
        name, name, account.strategy, symbol, side, quantity, paid, ZERO, account.opens_at[row], reason
    )  # fmt: skip


def split_order(
    account: Account, order: Order, ratio: float, moved: Callable[[Decimal], float], held: float
) -> None:
    """What the venue does to an order that rests; its legs guard what is held, and an exit may sell all of it.

    Args:
        held: shares before the split.
    """
    more = float(order.remaining) * ratio
    is_part = account.is_exit(order) and float(order.remaining) < held
    if account.kind(order) == ENTRY or order.status is OrderStatus.HELD or is_part:
        cut = risk_rules.whole if account.terms.whole_shares else risk_rules.parts
        remaining = decimal_of(cut(more))
    else:
        remaining = abs(account.book.quantity_of(order.symbol))
    if not remaining:
        account.book.apply(Cancel(order.id))
        return
    account.book._set(
        replace(
            order,
            quantity=order.filled_quantity + remaining,
            reserve_price=parse_price(quantised(float(order.reserve_price) / ratio)),
            limit_price=None if order.limit_price is None else decimal_of(moved(order.limit_price)),
            stop_price=None if order.stop_price is None else decimal_of(moved(order.stop_price)),
        )
    )
