"""What is done with positions without anybody's wish, and which orders come to their end?

What `risk_manager.positions` asks for at a close: sales at the end of the day, of what has outgrown its most, and at
targets; and stops that follow the price. Orders good till cancelled end after ninety days, as at the venue; what they
guarded is guarded anew.
"""

from __future__ import annotations

from backtester import account, protection, risk_rules
from backtester.account import Book
from backtester.entries import UNSIZED
from backtester.terms import (
    BY_LIMITS,
    DAY_END,
    FLAT,
    REBALANCE,
    SCALE_OUT,
    SHORT,
    Bars,
    Days,
    Floats,
    Managed,
    Rules,
    Terms,
    Wishes,
)
from risk_manager import management

# Days that an order rests; see `simulator.book`.
ORDER_LASTS = 90


def is_active(managed: Managed) -> bool:
    """Whether anything may have to be done at a close at which something is held."""
    return moves_stops(managed) or sells(managed)


def moves_stops(managed: Managed) -> bool:
    """Whether stops follow the price."""
    return managed.trailing_stop > 0.0 or managed.atr_stop > 0.0


def sells(managed: Managed) -> bool:
    """Whether positions are made smaller."""
    return managed.is_of_the_day or managed.rebalance_band > 0.0 or len(managed.gains) > 0


def leave(book: Book, k: int, shares: float, kind: int, today: int) -> None:
    """Begin to sell `shares` of column `k`, or to buy them back: what guards it is withdrawn."""
    book.leaving[k] = True
    book.selling[k] = shares
    book.exit_kind[k] = kind
    book.legs[k] = 0.0
    book.placed_on[k] = today


def leads_out(book: Book, k: int, direction: int, rules: Rules) -> bool:
    """Whether a wish that is sized by the limits is answered by a way out (`risk_manager.review.wishes.leads_out`).

    It wishes for nothing, or for the other side of what is held or on order.
    """
    if direction == FLAT:
        return True
    if not rules.allow_short:
        return False
    if book.held[k] != 0.0:
        return bool(book.held[k] * direction < 0.0)
    return bool(book.wanted[k] != 0.0 and book.is_short[k] != (direction == SHORT))


def guard(book: Book, k: int, today: int) -> None:
    """Place stop and target anew for all that is held of column `k`."""
    book.legs[k] = abs(book.held[k])
    book.touched[k] = False
    book.has_hit[k] = False
    book.placed_on[k] = today


def end_old_orders(
    days: Days, t: int, day: int, book: Book, n_live: int, n_queue: int
) -> tuple[int, int]:
    """End what has rested for too long by the close of row `t`.

    Returns:
        How many places of the queue are taken then, and a day before which nothing under way was placed.
    """
    wanted, placed_on, queue = book.wanted, book.placed_on, book.queue
    today = days.day_on[day]
    oldest = today
    for i in range(n_live):
        k = book.live[i]
        if today - placed_on[k] > ORDER_LASTS:
            if book.leaving[k]:
                book.leaving[k] = False
                placed_on[k] = today
            elif book.legs[k] > 0.0:
                # They ended at the first close of their last day, which may lie behind: nothing had touched them then.
                ended = day
                while today - placed_on[k] > ORDER_LASTS:
                    ended = 0
                    while days.day_on[ended] - placed_on[k] <= ORDER_LASTS:
                        ended += 1
                    placed_on[k] = days.day_on[ended]
                if days.day_row[ended] == t:
                    guard(book, k, today)
        if book.leaving[k] or book.legs[k] > 0.0:
            oldest = min(oldest, placed_on[k])
    kept = 0
    for i in range(n_queue):
        k = queue[i]
        if wanted[k] != UNSIZED and today - placed_on[k] > ORDER_LASTS:
            wanted[k] = 0.0
            continue
        if wanted[k] != UNSIZED:
            oldest = min(oldest, placed_on[k])
        queue[kept] = k
        kept += 1
    return kept, oldest


def sell_down(
    wishes: Wishes, days: Days, terms: Terms, t: int, w: int, day: int, worth: float, book: Book,
    n_live: int, n_queue: int,
) -> int:  # fmt: skip
    """Begin the sales that positions ask for at the close of row `t`; how many places of the queue are taken then.

    Args:
        w: the first wish that is not answered yet: who is wished away at this close is on its way out already.
        worth: equity at this close, dollars.
    """
    managed = terms.managed
    held, wanted, newest, live, queue = book.held, book.wanted, book.newest, book.live, book.queue
    today = days.day_on[day]
    last = w
    turns = terms.sizing == BY_LIMITS and terms.rules.allow_short
    while last < len(wishes.row) and wishes.row[last] == t:
        column, direction = wishes.column[last], wishes.direction[last]
        if direction == FLAT or (turns and leads_out(book, column, direction, terms.rules)):
            book.is_away[column] = True
        elif not turns:
            # Exits stand first.
            break
        last += 1
    is_over = managed.is_of_the_day and days.is_over[t]
    if is_over:
        i = 0
        while i < n_queue:
            k = queue[i]
            i += 1
            if book.is_away[k] or book.leaving[k]:
                continue
            if terms.sizing == BY_LIMITS:
                # In this review what is still on order counts, as live.
                book.is_dropped[k] = True
            else:
                wanted[k] = 0.0
                n_queue = account.without(queue, n_queue, k)
                i -= 1
    for i in range(n_live):
        k = live[i]
        if book.is_away[k] or book.leaving[k]:
            continue
        if is_over:
            leave(book, k, abs(held[k]), DAY_END, today)
            continue
        if wanted[k] != 0.0:
            continue
        owes = held[k] < 0.0
        shares = management.rebalance_shares(
            abs(held[k]), newest[k], worth, terms.rules.max_position_size, managed.rebalance_band
        )
        if shares > 0.0:
            leave(book, k, shares, REBALANCE, today)
            continue
        left = abs(held[k])
        for j in range(len(managed.gains)):
            part = min(risk_rules.whole(book.entered[k] * managed.parts[j]), left)
            is_met = (book.met[k] >> j) & 1 == 1
            if is_met or part <= 0.0:
                continue
            if management.has_gained(newest[k], book.sized_at[k], managed.gains[j], owes):
                book.met[k] |= 1 << j
                left -= part
        if left < abs(held[k]):
            leave(book, k, abs(held[k]) - left, SCALE_OUT, today)
    for i in range(w, last):
        book.is_away[wishes.column[i]] = False
    return n_queue


def follow_close(
    bars: Bars, factor: Floats, days: Days, terms: Terms, t: int, day: int, book: Book, n_live: int
) -> None:
    """Move stops to the close of row `t` where nothing is under way."""
    managed, bars_known = terms.managed, terms.rules.correlation_bars + 1
    for i in range(n_live):
        k = book.live[i]
        if book.leaving[k] or book.wanted[k] != 0.0:
            continue
        true_range = 0.0
        if managed.atr_stop > 0.0:
            true_range = risk_rules.true_range_of(
                bars.high, bars.low, bars.close, factor, t, k, bars_known, managed.atr_bars,
                book.scratch,
            )  # fmt: skip
        stop = protection.followed(
            book.stop[k], book.target[k], book.newest[k], managed, true_range, book.held[k] < 0.0
        )
        if stop != book.stop[k]:
            book.stop[k] = stop
            guard(book, k, days.day_on[day])


def guard_bare(days: Days, day: int, book: Book, n_live: int, n_queue: int) -> int:
    """Give up the rests of entries that the bar filled in part, and guard whatever is held without stop and target.

    Returns:
        How many places of the queue are taken then.
    """
    held, wanted, queue = book.held, book.wanted, book.queue
    kept = 0
    for i in range(n_queue):
        k = queue[i]
        if held[k] != 0.0 and wanted[k] > 0.0:
            wanted[k] = 0.0
        else:
            queue[kept] = k
            kept += 1
    for i in range(n_live):
        k = book.live[i]
        if not book.leaving[k] and book.legs[k] == 0.0:
            guard(book, k, days.day_on[day])
    return kept
