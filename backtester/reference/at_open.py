"""Which entries are made whose size is known only at the open, and how large?

Sizings that live trading does not know. All that is no question of size is asked of the review at the close that decides,
and the size of the kernel's own rule at the open.
"""

from __future__ import annotations

from decimal import Decimal

from backtester import costs, entries, risk_rules
from backtester.reference import executor, reviewing
from backtester.reference.account import Account, Entered, Intent
from backtester.terms import ENTRY, micros
from risk_manager import limits as rules
from risk_manager.sizing import stop_price, target_price
from shared.domain.money import parse_price
from shared.domain.orders import OrderClass, OrderType, Side, TimeInForce
from shared.domain.signals import Direction
from shared.domain.symbols import Symbol
from simulator import fill_rules
from simulator.matching import TapeBar
from simulator.orders import Submit

# What an entry that is sized at the open is asked at the close: without the rules, and with them.
_ALWAYS = frozenset({"EXIT_IN_PROGRESS", "ALREADY_HELD", "MARKET_HOURS"})
_BY_RULES = frozenset(
    {
        "MODE", "SYMBOL_HALTED", "DRAWDOWN", "DAILY_LOSS", "COOL_DOWN", "STOP_LOSS_GUARD", "DAILY_TRADES",
        "ORDERS_PER_MINUTE", "REPEATED_EXECUTION", "PATTERN_DAY_TRADER", "CORRELATION",
        "CONCURRENT_POSITIONS",
    }
)  # fmt: skip


def wish_for_an_open(
    account: Account, row: int, symbol: Symbol, direction: Direction, conviction: float
) -> None:
    """An entry whose size is known only at the open; all that is no question of size is decided now."""
    side = Side.BUY if direction is Direction.LONG else Side.SELL
    waiting = [intent.side for intent in account.unsized if intent.symbol == symbol]
    waiting += [
        order.side
        for order in account.book.open_orders()
        if order.symbol == symbol and account.kind(order) == ENTRY
    ]
    opposite = account.book.quantity_of(symbol) * side.sign < 0
    turns = opposite or (bool(waiting) and side not in waiting)
    if turns and side not in waiting:
        executor.leave(account, symbol)
    elif opposite:
        executor.leave_keeping_intents(account, symbol)
    price = float(account.history.panel.close[row, account.columns[symbol]])
    stop, target = bracket(account, price, side)
    # The rules that are asked do not look at the side, and the review knows no entry that sells.
    outcome = reviewing.asked(account, row, [(symbol, Direction.LONG, conviction)])
    (decision,) = (d for d in outcome.decisions if d.answer.signal_id == f"{row}-{symbol}")
    asked = _ALWAYS | (_BY_RULES if account.terms.limited else frozenset())
    failed = []
    for check in decision.answer.checks:
        passed = check.passed
        if check.code == "BRACKET_PRICES" and stop is not None and target is not None:
            passed = rules.bracket_prices(price, stop, target, is_short=side is Side.SELL).passed
        elif check.code == "ALREADY_HELD":
            # What is owed and what is still to be sold short are not one sum to the review.
            is_held = bool(account.book.quantity_of(symbol)) and not turns
            passed = not (is_held or side in waiting)
        elif (check.code == "EXIT_IN_PROGRESS" and turns) or check.code not in asked:
            passed = True
        if check.code == "MARKET_HOURS" and passed and side is Side.SELL:
            passed = symbol not in account.plan.unlent
            if not passed:
                failed.append("SHORT_AVAILABILITY")
                continue
        if not passed:
            failed.append(check.code)
    if failed:
        account.refused[reviewing.CODES[failed[0]]] += 1
        if failed[0] == "REPEATED_EXECUTION":
            # The review may have named another reason first, one that is not asked about here.
            reviewing.stop(account, row, symbol)
        return
    account.count_entry(row, symbol, int(account.days.acts_on[row]))
    account.unsized.append(Intent(symbol, side, price, stop, target))


def bracket(account: Account, price: float, side: Side) -> tuple[float | None, float | None]:
    """Stop and target of an entry that was decided at `price`."""
    if not account.terms.bracket:
        return None, None
    lose, win = account.terms.stop_loss, account.terms.take_profit
    if side is Side.BUY:
        return stop_price(price, lose), target_price(price, win)
    return target_price(price, lose), stop_price(price, win)


def send_unsized(account: Account, row: int, bars: dict[Symbol, TapeBar]) -> None:
    """Size what waits for this open, with the cash that its exits leave."""
    ready = [
        intent
        for intent in account.unsized
        # One that turns a position around waits until that is gone.
        if intent.symbol in bars
        and bars[intent.symbol].volume > 0
        and not account.book.quantity_of(intent.symbol)
    ]
    if not ready:
        return
    account.unsized = [intent for intent in account.unsized if intent not in ready]
    worth, at_risk, reserved = micros(float(account.book.cash)), 0.0, 0.0
    # Micros held and on order per symbol.
    committed: dict[Symbol, float] = {}
    net = 0.0
    # The market has just opened: what the broker blocks and reserves is measured by that.
    account.book.prices.update((s, parse_price(bar.open)) for s, bar in bars.items())
    for symbol, position in account.book.positions.items():
        if not position.quantity:
            continue
        price = float(account.book.prices[symbol])
        shares = float(position.quantity)
        value = micros(shares * price)
        worth += value
        committed[symbol] = committed.get(symbol, 0.0) + abs(value)
        net += value
        if value < 0.0:
            reserved -= 2.0 * value
        stop = float(account.stops[symbol][0]) if account.terms.bracket else 0.0
        at_risk += entries.risk_of(shares, value, price, account.terms.bracket, stop)
    for order in account.book.open_orders():
        if account.kind(order) == ENTRY:
            short = order.side is Side.SELL
            shares, price = float(order.remaining), account.sized_at[order.symbol]
            stop = float(account.stops[order.symbol][0]) if account.terms.bracket else 0.0
            value = micros(shares * price)
            committed[order.symbol] = committed.get(order.symbol, 0.0) + value
            net += -value if short else value
            at_risk += entries.open_risk(shares, price, stop, account.terms.bracket, short)
            if short:
                now = float(account.book.prices[order.symbol])
                value = micros(shares * now * entries.SHORT_MARGIN)
            reserved += value + 1.0
    for intent in ready:
        opened = bars[intent.symbol].open
        short = intent.side is Side.SELL
        price = fill_rules.market_price(opened, not short, account.terms.slippage_bps)
        bracket = rules.bracket_prices(price, intent.stop, intent.target, is_short=short)
        if account.terms.bracket and not bracket.passed:
            account.refused[risk_rules.BRACKET_PRICES] += 1
            continue
        stop = intent.stop or 0.0
        free = micros(float(account.book.cash)) - reserved
        sectors = account.limits.sectors
        sector = sectors.get(intent.symbol)
        shares, code = entries.size_at_open(
            price,
            stop,
            short,
            worth,
            free,
            at_risk,
            sum(committed.values()),
            net,
            sum(v for s, v in committed.items() if sector and sectors.get(s) == sector),
            sector is not None,
            account.session_volume(intent.symbol, row - 1),
            account.terms,
        )
        if code != risk_rules.ACCEPTED:
            account.refused[code] += 1
            continue
        fee = micros(
            costs.commission(
                shares,
                shares * price,
                account.terms.commission_bps,
                account.terms.commission_per_share,
            )
        )
        value = micros(shares * price)
        committed[intent.symbol] = committed.get(intent.symbol, 0.0) + value
        net += -value if short else value
        if short:
            value = micros(shares * price * entries.SHORT_MARGIN)
        reserved += value + 1.0 + fee
        worth -= fee
        at_risk += entries.open_risk(shares, price, stop, account.terms.bracket, short)
        submit_at_open(account, intent, shares, price)


def submit_at_open(account: Account, intent: Intent, shares: float, price: float) -> None:
    """Send the entry, which was sized at `price`."""
    # The market has just opened: what the broker reserves is measured by that.
    account.book.prices[intent.symbol] = parse_price(price)
    account.sized_at[intent.symbol] = price
    name = f"{intent.symbol}-{len(account.book.orders)}"
    account.entered[intent.symbol] = Entered(name, parse_price(price))
    quantity = Decimal(repr(shares)) if not account.terms.whole_shares else Decimal(int(shares))
    stop = target = None
    kind = OrderClass.SIMPLE
    if intent.stop is not None and intent.target is not None:
        stop, target = Decimal(repr(intent.stop)), Decimal(repr(intent.target))
        account.stops[intent.symbol] = (stop, target)
        kind = OrderClass.BRACKET
    account.book.apply(
        Submit(
            intent.symbol,
            intent.side,
            quantity,
            OrderType.MARKET,
            TimeInForce.GTC,
            kind,
            take_profit=target,
            stop_loss=stop,
        )
    )
