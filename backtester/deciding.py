"""What becomes of the wishes of one close?

Exits are begun and open entries taken back; each entry is put to the rules in the order of the risk manager's review, since
the first that refuses is named, and queued when all let it pass. `entries` has how each rule is asked.

Sized by the limits, as live, all exits of a close are answered before its entries, and a wish for the other side of what is
held or on order is answered by an exit. Its entry is answered at the first later close at which nothing is left, unless a
newer wish for the symbol has come or the wish is too old by then.
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

# Later than any bar ends, and earlier than any begins.
_FOREVER_US = 2**62
LONG_AGO_US = -(2**61)


def answer_wishes(
    bars: Bars, wishes: Wishes, days: Days, factor: Floats, listed: Listed, terms: Terms,
    t: int, w: int, day: int, worth: float, peak: float, reduced_row: int, book: Book, cash: float,
    n_live: int, n_queue: int, n_guard: int, n_fills: int, n_leaving: int, n_legs: int, n_turns: int,
    trade_day: int, trades_of_day: int,
) -> tuple[int, int, int, int, int, int, int]:  # fmt: skip
    """Answer the wishes of row `t`, the first of which is `w`, and those whose entries have waited.

    Args:
        worth, peak: equity at this close and its highest so far, dollars. `cash`: micros.
        reduced_row: the row that passed a limit on losses; -1 for none.
        n_live, n_queue, n_guard, n_fills: how many places of the book's arrays are taken.
        n_leaving, n_legs: how many columns are being sold out, and how many are guarded by legs.
        n_turns: how many entries wait for what they turn around.
        trade_day, trades_of_day: the exchange day on which entries decided last are sent, and how many were.
    Returns:
        The first wish of a later row, then `n_queue`, `n_leaving`, `n_legs`, `n_turns`, `trade_day` and `trades_of_day` as they
        are now.
    """
    # Names of their own for what every wish is asked; most wishes ask for little else.
    wish_row, wish_direction = wishes.row, wishes.direction
    close, rules = bars.close, terms.rules
    held, newest, wanted, leaving = book.held, book.newest, book.wanted, book.leaving
    live, queue, turn, is_dropped = book.live, book.queue, book.turn, book.is_dropped
    n_wishes, n_columns = len(wish_row), len(turn)
    by_limits = terms.sizing == BY_LIMITS
    sends_on = days.acts_on[t]
    if sends_on != trade_day:
        trade_day = sends_on
        trades_of_day = 0
    # Asked for only after a stop and for turns: each look into a long array costs a wait for memory.
    clock = 0
    if n_guard or (by_limits and rules.allow_short):
        clock = days.day_clock_us[day] + days.end_us[t] - days.day_open_us[day]
    n_approved = 0
    at_risk = 0.0
    reserved = 0.0
    committed = 0.0
    # What may come to be held net on either side: there is no room in what is on its way out or not there yet.
    net_long = 0.0
    net_short = 0.0
    first = w
    if by_limits:
        i = w
        while i < n_wishes and wish_row[i] == t:
            k = wishes.column[i]
            direction = wish_direction[i]
            if turn[k] >= 0:
                # A newer wish for the symbol has come.
                is_late = reduced_row >= 0 and reduced_row < t
                book.refused[risk_rules.MODE if is_late else risk_rules.SUPERSEDED] += 1
                turn[k] = -1
                n_turns -= 1
            if managing.leads_out(book, k, direction, rules):
                is_there = held[k] != 0.0 or wanted[k] != 0.0
                # An exit for everything takes the place of one for a part.
                leaves_whole = leaving[k] and book.selling[k] >= abs(held[k])
                if direction != FLAT and is_there and not leaves_whole:
                    turn[k], book.turned_at[k] = i, clock
                    n_turns += 1
                # In this review what is still on order counts, as live.
                is_dropped[k] = wanted[k] != 0.0
                if held[k] != 0.0 and not leaves_whole:
                    n_leaving += not leaving[k]
                    n_legs -= book.legs[k] > 0.0
                    managing.leave(book, k, abs(held[k]), EXIT, days.day_on[day])
            i += 1
        # What is filled and open counts as it is before any entry; approvals are added as they are given.
        for i in range(n_live):
            k = live[i]
            value = micros(held[k] * newest[k])
            committed += abs(value)
            at_risk += entries.risk_of(held[k], value, newest[k], terms.bracket, book.stop[k])
            if value > 0.0 or not leaving[k]:
                net_long += value
            if value < 0.0:
                # What its sale brought is blocked, and as much again.
                reserved -= 2.0 * value * entries.MICROS_IN_GAP_UNITS
            if value < 0.0 or not leaving[k]:
                net_short -= value
        for i in range(n_queue):
            k = queue[i]
            price = max(book.sized_at[k], newest[k])
            value = wanted[k] * micros(price)
            committed += value
            reserved += entries.reserved_for(wanted[k], price, book.is_short[k])
            if book.is_short[k]:
                net_short += value
                price = min(book.sized_at[k], newest[k])
            else:
                net_long += value
            at_risk += entries.open_risk(
                wanted[k], price, book.stop[k], terms.bracket, book.is_short[k]
            )
    waiting = 0 if n_turns else n_columns
    while True:
        turns = False
        age = 0
        if waiting < n_columns:
            # Live, they are answered before the entries of this close, by symbol.
            k = waiting
            waiting += 1
            number = turn[k]
            if number < 0 or number >= first:
                continue
            age = clock - book.turned_at[k]
            is_there = held[k] != 0.0 or wanted[k] != 0.0
            if (is_there or leaving[k]) and age <= rules.max_age_us:
                continue
            turn[k] = -1
            n_turns -= 1
        elif w < n_wishes and wish_row[w] == t:
            number = w
            k = wishes.column[w]
            w += 1
            if by_limits and managing.leads_out(book, k, wish_direction[number], rules):
                continue
        else:
            break
        direction = wish_direction[number]
        scale = wishes.conviction[number] if rules.scales_by_conviction else 1.0
        if direction != FLAT and not by_limits:
            turns = held[k] * direction < 0.0
            if wanted[k] != 0.0 and book.is_short[k] != (direction == SHORT):
                # The other way now: what was on order is taken back.
                turns = True
                wanted[k] = 0.0
                n_queue = account.without(queue, n_queue, k)
        if direction == FLAT or turns:
            if direction == FLAT:
                wanted[k] = 0.0
            if held[k] != 0.0 and (not leaving[k] or book.selling[k] < abs(held[k])):
                n_leaving += not leaving[k]
                n_legs -= book.legs[k] > 0.0
                managing.leave(book, k, abs(held[k]), EXIT, days.day_on[day])
        if direction == FLAT:
            continue
        price = float(close[t, k])
        if price != price:
            # An entry that has waited may be answered at a close of others.
            price = newest[k]
        code = risk_rules.ACCEPTED
        if reduced_row >= 0 and reduced_row < t:
            code = risk_rules.MODE
        elif direction == SHORT and by_limits and not rules.allow_short:
            code = risk_rules.SHORT_NOT_ALLOWED
        elif age > rules.max_age_us:
            code = risk_rules.SIGNAL_AGE
        elif (leaving[k] or is_dropped[k]) and not turns:
            code = risk_rules.EXIT_IN_PROGRESS
        elif (held[k] != 0.0 and not turns) or wanted[k] != 0.0:
            code = risk_rules.ALREADY_HELD
        elif sends_on < 0:
            code = risk_rules.MARKET_HOURS
        elif direction == SHORT and listed.unlent[k]:
            code = risk_rules.SHORT_AVAILABILITY
        elif terms.limited:
            # In the order of the review, since the first that refuses is named.
            if listed.halted[k]:
                code = risk_rules.SYMBOL_HALTED
            elif reduced_row == t:
                code = risk_rules.DAILY_LOSS
                if risk_rules.has_fallen(worth, peak, rules.drawdown_limit):
                    code = risk_rules.DRAWDOWN
            elif book.rested_since[k] >= 0 and not risk_rules.has_rested(
                clock - book.rested_since[k], rules.bar_us, rules.cool_down_bars
            ):
                code = risk_rules.COOL_DOWN
            elif n_guard == book.guard.shape[1] and clock - book.guard[1, 0] <= rules.stop_guard_us:
                code = risk_rules.STOP_LOSS_GUARD
            elif trades_of_day + 1 > rules.max_daily_trades:
                code = risk_rules.DAILY_TRADES
            elif n_approved + 1 > rules.max_orders_per_minute:
                # No two bars end within a minute.
                code = risk_rules.ORDERS_PER_MINUTE
            elif rules.max_repeats:
                oldest = book.approved_us[k, book.approvals[k] % rules.max_repeats]
                if oldest >= 0 and oldest > days.end_us[t] - rules.repeat_window_us:
                    code = risk_rules.REPEATED_EXECUTION
                    # Stopped until a person enables it, and in a backtest there is none.
                    book.approved_us[k, :] = _FOREVER_US
            if (
                code == risk_rules.ACCEPTED
                and rules.pattern_day_trader
                and not risk_rules.may_day_trade(
                    risk_rules.day_trades_of(book.day_trades, days.day_on, day), worth
                )
            ):
                code = risk_rules.PATTERN_DAY_TRADER
        shares = UNSIZED
        lose = price
        win = price
        if terms.bracket or by_limits:
            if direction == SHORT:
                lose = sizing.target_price(price, terms.stop_loss)
                win = sizing.stop_price(price, terms.take_profit)
            else:
                lose = sizing.stop_price(price, terms.stop_loss)
                win = sizing.target_price(price, terms.take_profit)
        if (
            code == risk_rules.ACCEPTED
            and terms.bracket
            and not risk_rules.fits_bracket(price, lose, win, direction == SHORT)
        ):
            code = risk_rules.BRACKET_PRICES
        sector = 0.0
        volume = 0.0
        net = net_short if direction == SHORT else net_long
        if code == risk_rules.ACCEPTED and by_limits:
            if listed.sector[k] >= 0:
                sector = entries.in_sector(
                    listed, k, t, bars.open, live, n_live, queue, n_queue, held, newest, wanted,
                    book.sized_at, True,
                )  # fmt: skip
            most = cash / MICROS / price
            volume = entries.usual_volume(close, bars.volume, factor, t, k, most, terms)
            asked = entries.wanted_by_method(
                bars,
                factor,
                book.fills,
                n_fills,
                t,
                k,
                worth,
                price,
                lose,
                direction == SHORT,
                scale,
                terms,
                book.scratch,
                book.reckoned,
            )
            shares, code = entries.size_at_close(
                price,
                lose,
                direction == SHORT,
                worth,
                cash,
                reserved,
                at_risk,
                committed,
                net,
                sector,
                listed.sector[k] >= 0,
                volume,
                asked,
                terms,
            )
        if code == risk_rules.ACCEPTED and terms.limited:
            if entries.is_like_another(
                close, factor, t, k, live, n_live, queue, n_queue, wanted, terms, book.scratch
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
                    net,
                    sector,
                    listed.sector[k] >= 0,
                    volume,
                    symbols,
                    terms,
                )
        if code != risk_rules.ACCEPTED:
            book.refused[code] += 1
            continue
        wanted[k] = shares
        book.sized_at[k] = price
        newest[k] = price
        book.is_short[k] = direction == SHORT
        book.next_stop[k] = 0.0
        if terms.bracket and held[k] == 0.0:
            book.stop[k] = lose
            book.target[k] = win
        elif terms.bracket:
            book.next_stop[k] = lose
            book.next_target[k] = win
        if by_limits:
            book.entered[k], book.met[k], book.placed_on[k] = 0.0, 0, days.day_on[day]
            committed += shares * micros(price)
            if direction == SHORT:
                net_short += shares * micros(price)
            else:
                net_long += shares * micros(price)
            reserved += entries.reserved_for(shares, price, direction == SHORT)
            at_risk += entries.open_risk(
                shares, price, book.stop[k], terms.bracket, direction == SHORT
            )
        trades_of_day += 1
        n_approved += 1
        if rules.max_repeats:
            book.approved_us[k, book.approvals[k] % rules.max_repeats] = days.end_us[t]
            book.approvals[k] += 1
        queue[n_queue] = k
        n_queue += 1
    return w, n_queue, n_leaving, n_legs, n_turns, trade_day, trades_of_day
