"""In which order do bars, orders and decisions follow each other?

One bar: what a new day brings, the open, the fills with their costs, the close, the review, and what the executor does
about its answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from math import ceil

import numpy as np

from backtester import costs, risk_rules
from backtester.history import History
from backtester.plan import Plan
from backtester.reference import actions, at_open, executor, reviewing
from backtester.reference.account import Account
from backtester.terms import BY_LIMITS, ENTRY, FLAT, LONG, MICROS, SHORT, Outcome, micros
from backtester.wishing import Wished
from risk_manager.snapshot import StopHit
from shared.domain.arithmetic import quantised
from shared.domain.calendar import NEW_YORK
from shared.domain.lots import Execution
from shared.domain.money import parse_price
from shared.domain.orders import OrderType, Side
from shared.domain.signals import Direction
from shared.domain.symbols import Symbol
from simulator import fill_rules
from simulator.matching import TapeBar
from simulator.orders import BookedExecution

_DIRECTIONS = {LONG: Direction.LONG, FLAT: Direction.FLAT, SHORT: Direction.SHORT}


def simulate(history: History, wished: Wished, plan: Plan, strategy: str) -> Outcome:
    """Trade what `strategy` wished over `history`; the outcome has the shape of the kernel's."""
    account = Account(history, wished, plan, strategy)
    equity = np.empty(len(account.history))
    due = account.history.actions_by_row
    at_row = _by_row(account.wished, account.symbols, len(account.history))
    for row in range(len(account.history)):
        bars = account.bars(row)
        actions.pay_for_borrowing(account, row)
        for column, ratio, amount in due.get(row, ()):
            actions.act(account, row, account.symbols[column], ratio, amount)
        open_bar(account, row, bars)
        close_bar(account, row, bars)
        equity[row] = account.mark_equity()
        decide(account, row, at_row[row])
        if account.terms.bracket:
            executor.give_up_rests(account)
            executor.guard_anew(account)
        whole = np.array([fill[:3] for fill in account.fills], np.int64).reshape(-1, 3).T
    parts = np.array([fill[3:7] for fill in account.fills], np.float64).reshape(-1, 4).T
    sides = np.array([fill[7] for fill in account.fills], np.int64)
    return Outcome(
        equity,
        float(account.book.cash),
        whole[0],
        whole[1],
        whole[2],
        parts[0],
        parts[1],
        parts[2],
        parts[3],
        sides,
        account.refused,
        account.reduced_row,
        account.rows_held,
        account.max_drawdown,
        account.borrow_fees,
        account.dividends,
    )


def open_bar(account: Account, row: int, bars: dict[Symbol, TapeBar]) -> None:
    """The market opens: exits first, then entries that are sized at the open, then all else."""
    session = int(account.history.session[row])
    new = row == 0 or session != int(account.history.session[row - 1])
    account.book.open_step(
        account.opens_at[row], account.close_after(account.opens_at[row]), new_session=new
    )
    leaving = {order.symbol for order in account.book.open_orders() if account.is_exit(order)}
    known = len(account.book.executions)
    fill(account, row, {s: bar for s, bar in bars.items() if s in leaving})
    at_open.send_unsized(account, row, bars)
    rest = {s: bar for s, bar in bars.items() if s not in leaving}
    for execution in account.book.executions[known:]:
        # An entry that turns a position around fills from what the exit leaves of the bar's volume.
        bar, share = bars[execution.symbol], account.terms.max_volume_share
        cap = fill_rules.volume_cap(float(bar.volume), share)
        left = risk_rules.whole(cap - float(execution.quantity))
        if left > 0.0:
            rest[execution.symbol] = bar._replace(volume=ceil(left / share))
    fill(account, row, rest)


def fill(account: Account, row: int, bars: dict[Symbol, TapeBar]) -> None:
    """Let the book's orders meet `bars`, and take each fill's costs."""
    touched_before = {order.id for order in account.book.open_orders() if order.triggered}
    known = len(account.book.executions)
    account.book.fill_step(bars)
    for execution in account.book.executions[known:]:
        pay(account, row, execution, bars[execution.symbol], touched_before)


def pay(
    account: Account, row: int, execution: BookedExecution, bar: TapeBar, touched_before: set[str]
) -> None:
    """Take the fill's costs from cash and write it down."""
    order = account.book.orders[execution.order_id]
    kind = account.kind(order)
    buys = order.side is Side.BUY
    shares, price = float(execution.quantity), float(execution.price)
    value = micros(shares * price)
    # A fraction of a share times its price is booked on the grid of a micro.
    exact = execution.quantity * execution.price
    booked = Decimal(int(value)).scaleb(-6)
    account.book.cash += (exact - booked) if buys else (booked - exact)
    fee = costs.commission(
        shares, value / MICROS, account.terms.commission_bps, account.terms.commission_per_share
    )
    if not buys:
        period = int(np.searchsorted(account.days.fee_row, row, side="right")) - 1
        fee += costs.regulatory_fee(
            shares,
            value / MICROS,
            float(account.days.sec_rate[period]),
            float(account.days.taf_per_share[period]),
            float(account.days.taf_most[period]),
        )
    account.book.cash -= Decimal(int(micros(fee))).scaleb(-6)
    if kind == ENTRY:
        entered = account.entered[execution.symbol]
        filled = entered.filled + execution.quantity
        account.entered[execution.symbol] = replace(entered, filled=filled)
    is_market = order.type is OrderType.MARKET or order.id in touched_before
    unslipped = bar.open if is_market else price
    slipped = quantised(shares * (price - unslipped if buys else unslipped - price))
    account.write(row, execution.symbol, kind, shares, price, fee, slipped, buys=buys)
    if order.type is OrderType.STOP:
        account.stop_hits[order.id] = StopHit(order.symbol, execution.at)
    day = execution.at.astimezone(NEW_YORK).date()
    account.dealt.setdefault((day, order.symbol), set()).add(order.side)
    account.booked.append(
        Execution(
            execution.id,
            order.id,
            account.strategy,
            order.symbol,
            order.side,
            execution.quantity,
            execution.price,
            Decimal(int(micros(fee))).scaleb(-6),
            execution.at,
        )
    )


def close_bar(account: Account, row: int, bars: dict[Symbol, TapeBar]) -> None:
    """The bars are over: prices move on, and orders whose time is up end."""
    end_at = account.ends_at[row]
    running = account.calendar.session_at(end_at)
    account.book.close_step(
        end_at,
        [(symbol, parse_price(bar.close)) for symbol, bar in bars.items()],
        session_ends=running is None,
        market_open=running is not None,
        close_at=account.close_after(end_at),
    )
    for symbol, bar in bars.items():
        account.seen[symbol][row] = bar


def decide(account: Account, row: int, wishes: Sequence[reviewing.Wish]) -> None:
    """Answer what was wished for at this close, and do what positions themselves ask for."""
    if account.terms.sizing == BY_LIMITS:
        reviewing.review(account, row, wishes)
        return
    # Every close is marked, whether or not anything is wished for.
    exits = [wish for wish in wishes if wish[1] is Direction.FLAT]
    outcome = reviewing.asked(account, row, exits)
    reviewing.manage(account, outcome)
    for symbol, direction, conviction in wishes:
        if direction is Direction.FLAT:
            executor.leave(account, symbol)
        else:
            at_open.wish_for_an_open(account, row, symbol, direction, conviction)
    reviewing.keep_mark(account, row, outcome)
    for symbol in reviewing.flattened(outcome):
        executor.leave(account, symbol)
    executor.move_stops(account, reviewing.moves(outcome))


def _by_row(wished: Wished, symbols: Sequence[Symbol], rows: int) -> list[list[reviewing.Wish]]:
    found: list[list[reviewing.Wish]] = [[] for _ in range(rows)]
    wishes = wished.wishes
    for row, column, direction, conviction in zip(
        wishes.row.tolist(),
        wishes.column.tolist(),
        wishes.direction.tolist(),
        wishes.conviction.tolist(),
        strict=True,
    ):
        found[row].append((symbols[column], _DIRECTIONS[direction], conviction))
    return found
