"""What becomes of the wishes of one close?

Exits are begun and open entries taken back; each entry is put to the rules in the order of the risk manager's review, since
the first that refuses is named, and queued when all let it pass. `entries` has how each rule is asked.
"""

from __future__ import annotations

from backtester import account, entries, managing, risk_rules
from backtester.account import Book
from backtester.entries import UNSIZED
from backtester.terms import (
    BY_LIMITS,
    EXIT,
    FLAT,
    MICROS,
    SHORT,
    Bars,
    Days,
    Floats,
    Listed,
    Terms,
    Wishes,
    micros,
)
from risk_manager import sizing

# Later than any bar ends.
_FOREVER_US = 2**62


def answer_wishes(
    bars: Bars, wishes: Wishes, days: Days, factor: Floats, listed: Listed, terms: Terms,
    t: int, w: int, day: int, worth: float, peak: float, reduced_row: int, book: Book, cash: float,
    n_live: int, n_queue: int, n_guard: int, n_fills: int, n_leaving: int, n_legs: int,
    trade_day: int, trades_of_day: int,
) -> tuple[int, int, int, int, int, int]:  # fmt: skip
    """Answer the wishes of row `t`, the first of which is `w`.

    Args:
        worth, peak: equity at this close and its highest so far, dollars. `cash`: micros.
        reduced_row: the row that passed a limit on losses; -1 for none.
        n_live, n_queue, n_guard, n_fills: how many places of the book's arrays are taken.
        n_leaving, n_legs: how many columns are being sold out, and how many are guarded by legs.
        trade_day, trades_of_day: the exchange day on which entries decided last are sent, and how many were.
    Returns:
        The first wish of a later row, then `n_queue`, `n_leaving`, `n_legs`, `trade_day` and `trades_of_day` as they are now.
    """
    opens, close, volumes = bars.open, bars.close, bars.volume
    wish_row, wish_column, wish_direction = wishes.row, wishes.column, wishes.direction
    n_wishes = len(wish_row)
    end_us = days.end_us
    rules = terms.rules
    held, newest, legs, leaving = book.held, book.newest, book.legs, book.leaving
    wanted, sized_at, is_short, is_dropped = (
        book.wanted, book.sized_at, book.is_short, book.is_dropped,
    )  # fmt: skip
    stop, target, next_stop, next_target = (
        book.stop, book.target, book.next_stop, book.next_target,
    )  # fmt: skip
    live, queue, guard, rested_since = book.live, book.queue, book.guard, book.rested_since
    approved_us, approvals = book.approved_us, book.approvals
    refused, fills, scratch = book.refused, book.fills, book.scratch
    sends_on = days.acts_on[t]
    if sends_on != trade_day:
        trade_day = sends_on
        trades_of_day = 0
    # Asked for only after a stop: each look into a long array costs a wait for memory.
    clock = 0
    if n_guard:
        clock = days.day_clock_us[day] + end_us[t] - days.day_open_us[day]
    n_approved = 0
    at_risk = 0.0
    reserved = 0.0
    committed = 0.0
    if terms.limited and terms.sizing == BY_LIMITS:
        # What is filled and open counts as it is before any answer; approvals are added as they are given.
        for i in range(n_live):
            k = live[i]
            value = micros(held[k] * newest[k])
            committed += value
            at_risk += entries.risk_of(held[k], value, newest[k], terms.bracket, stop[k])
        for i in range(n_queue):
            k = queue[i]
            price = max(sized_at[k], newest[k])
            committed += wanted[k] * micros(price)
            reserved += wanted[k] * micros(price) * entries.GAP_PERCENT
            at_risk += entries.open_risk(wanted[k], price, stop[k], terms.bracket, False)
    while w < n_wishes and wish_row[w] == t:
        k = wish_column[w]
        direction = wish_direction[w]
        scale = wishes.conviction[w] if rules.scales_by_conviction else 1.0
        w += 1
        turns = False
        if direction != FLAT and terms.sizing != BY_LIMITS:
            turns = held[k] * direction < 0.0
            if wanted[k] != 0.0 and is_short[k] != (direction == SHORT):
                # The other way now: what was on order is taken back.
                turns = True
                wanted[k] = 0.0
                n_queue = account.without(queue, n_queue, k)
        if direction == FLAT or turns:
            if direction == FLAT and terms.sizing == BY_LIMITS:
                # In this review what is still on order counts, as live.
                is_dropped[k] = wanted[k] != 0.0
            elif direction == FLAT:
                wanted[k] = 0.0
            # Live, whoever is being sold in part cannot be sold as a whole before that is over.
            is_part = terms.sizing != BY_LIMITS and book.selling[k] < abs(held[k])
            if held[k] != 0.0 and (not leaving[k] or is_part):
                n_leaving += not leaving[k]
                n_legs -= legs[k] > 0.0
                managing.leave(book, k, abs(held[k]), EXIT, days.day_on[day])
        if direction == FLAT:
            continue
        price = float(close[t, k])
        code = risk_rules.ACCEPTED
        if reduced_row >= 0 and reduced_row < t:
            code = risk_rules.MODE
        elif direction == SHORT and terms.sizing == BY_LIMITS:
            code = risk_rules.SHORT_NOT_ALLOWED
        elif (leaving[k] or is_dropped[k]) and not turns:
            code = risk_rules.EXIT_IN_PROGRESS
        elif (held[k] != 0.0 and not turns) or wanted[k] != 0.0:
            code = risk_rules.ALREADY_HELD
        elif sends_on < 0:
            code = risk_rules.MARKET_HOURS
        elif direction == SHORT and listed.unlent[k]:
            code = risk_rules.NOT_LENT
        elif terms.limited:
            # In the order of the review, since the first that refuses is named.
            if listed.halted[k]:
                code = risk_rules.SYMBOL_HALTED
            elif reduced_row == t:
                code = risk_rules.DAILY_LOSS
                if risk_rules.has_fallen(worth, peak, rules.drawdown_limit):
                    code = risk_rules.DRAWDOWN
            elif rested_since[k] >= 0 and not risk_rules.has_rested(
                clock - rested_since[k], rules.bar_us, rules.cool_down_bars
            ):
                code = risk_rules.COOL_DOWN
            elif n_guard == guard.shape[1] and clock - guard[1, 0] <= rules.stop_guard_us:
                code = risk_rules.STOP_LOSS_GUARD
            elif trades_of_day + 1 > rules.max_daily_trades:
                code = risk_rules.DAILY_TRADES
            elif n_approved + 1 > rules.max_orders_per_minute:
                # No two bars end within a minute.
                code = risk_rules.ORDERS_PER_MINUTE
            elif rules.max_repeats:
                oldest = approved_us[k, approvals[k] % rules.max_repeats]
                if oldest >= 0 and oldest > end_us[t] - rules.repeat_window_us:
                    code = risk_rules.REPEATED_EXECUTION
                    # Stopped until a person enables it, and in a backtest there is none.
                    approved_us[k, :] = _FOREVER_US
            if (
                code == risk_rules.ACCEPTED
                and rules.pattern_day_trader
                and not risk_rules.may_day_trade(
                    risk_rules.day_trades_of(book.day_trades, days.day_on, day), worth
                )
            ):
                code = risk_rules.PATTERN_DAY_TRADER
        shares = UNSIZED
        below = price
        above = price
        if terms.bracket or terms.sizing == BY_LIMITS:
            below = sizing.stop_price(price, terms.stop_loss)
            above = sizing.target_price(price, terms.take_profit)
            if direction == SHORT:
                below = sizing.stop_price(price, terms.take_profit)
                above = sizing.target_price(price, terms.stop_loss)
        if (
            code == risk_rules.ACCEPTED
            and terms.bracket
            and not risk_rules.fits_bracket(price, below, above)
        ):
            code = risk_rules.BRACKET_PRICES
        sector = 0.0
        volume = 0.0
        if code == risk_rules.ACCEPTED and terms.sizing == BY_LIMITS:
            if listed.sector[k] >= 0:
                sector = entries.in_sector(
                    listed, k, t, opens, live, n_live, queue, n_queue, held, newest, wanted,
                    sized_at, True,
                )  # fmt: skip
            most = cash / MICROS / price
            volume = entries.usual_volume(close, volumes, factor, t, k, most, terms)
            asked = entries.wanted_by_method(
                bars,
                factor,
                fills,
                n_fills,
                t,
                k,
                worth,
                price,
                below,
                scale,
                terms,
                scratch,
            )
            shares, code = entries.size_at_close(
                price,
                below,
                worth,
                cash,
                reserved,
                at_risk,
                committed,
                sector,
                listed.sector[k] >= 0,
                volume,
                asked,
                terms,
            )
        if code == risk_rules.ACCEPTED and terms.limited:
            if entries.is_like_another(
                close, factor, t, k, live, n_live, queue, n_queue, wanted, terms, scratch
            ):
                code = risk_rules.CORRELATION
            else:
                symbols = n_live + 1 - (held[k] != 0.0)
                for i in range(n_queue):
                    symbols += held[queue[i]] == 0.0 and wanted[queue[i]] != 0.0
                code = entries.refusal_after_correlation(
                    shares,
                    price,
                    worth,
                    committed,
                    sector,
                    listed.sector[k] >= 0,
                    volume,
                    symbols,
                    terms,
                )
        if code != risk_rules.ACCEPTED:
            refused[code] += 1
            continue
        wanted[k] = shares
        sized_at[k] = price
        newest[k] = price
        is_short[k] = direction == SHORT
        next_stop[k] = 0.0
        if terms.bracket and held[k] == 0.0:
            stop[k] = above if direction == SHORT else below
            target[k] = below if direction == SHORT else above
        elif terms.bracket:
            next_stop[k] = above if direction == SHORT else below
            next_target[k] = below if direction == SHORT else above
        if terms.sizing == BY_LIMITS:
            book.entered[k], book.met[k], book.placed_on[k] = 0.0, 0, days.day_on[day]
            committed += shares * micros(price)
            reserved += shares * micros(price) * entries.GAP_PERCENT
            at_risk += entries.open_risk(shares, price, stop[k], terms.bracket, False)
        trades_of_day += 1
        n_approved += 1
        if rules.max_repeats:
            approved_us[k, approvals[k] % rules.max_repeats] = end_us[t]
            approvals[k] += 1
        queue[n_queue] = k
        n_queue += 1
    return w, n_queue, n_leaving, n_legs, trade_day, trades_of_day
