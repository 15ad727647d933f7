"""What becomes of an account when these wishes meet these bars?

The fast engine: one loop over a whole portfolio with shared cash. Written so that the interpreter runs it as it stands
and `compiled` makes machine code of the very same lines: arrays, numbers and named tuples, nothing else. Prices
of fills come from the simulator's rules, limits and sizes from the risk manager's, so a backtest trades as
live does. `reference` does the same with the objects that trade live; a property test holds the two equal.

The order of things within a bar stands here; what the larger steps do stands in `corporate_actions`, `opening`,
`protection` and `deciding`, over the book of `account`.

One bar in order: splits and dividends, and what borrowed shares cost; exits meet the open; entries that are sized at the
open are sized with the cash that is there then; entries, resting stops and targets meet the bar, then the legs that
entries wake; the account is marked at the close; what was wished for at the close is decided; trailing stops
move. A strategy sees a bar only once it has closed.

Money is float64 in whole micros (millionths of a dollar). Sums of whole numbers below 2**53 are exact in any order, so
no result depends on how a loop was vectorised; beyond 9 billion dollars that ends, and `plan` refuses such accounts.
A symbol has at most one order at a time: an entry, its legs or an exit. A wish for the other side of what is held
sells that first, and its entry waits until nothing is left.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from backtester import (
    account,
    corporate_actions,
    costs,
    deciding,
    entries,
    managing,
    marking,
    opening,
    protection,
    risk_rules,
)
from backtester.account import Book
from backtester.terms import (
    BY_LIMITS,
    ENTRY,
    EXIT,
    MICROS,
    Actions,
    Bars,
    Days,
    Floats,
    Listed,
    Outcome,
    Terms,
    Wishes,
    micros,
)
from shared.domain.arithmetic import quantised
from simulator import fill_rules


class End(NamedTuple):
    """How it stands after the last bar, beside what book and equity hold; see `Outcome`. Money in micros."""

    # False when the book's room for fills was not enough, and nothing here counts.
    fits: bool
    n_fills: int
    cash: float
    reduced_row: int
    rows_held: int
    worst: float
    borrow_fees: float
    dividends: float


def simulate(
    bars: Bars, wishes: Wishes, days: Days, actions: Actions, listed: Listed, terms: Terms
) -> Outcome:
    """Trade `wishes` over `bars`. See the module's text for the order of things within a bar."""
    # Enough unless bars fill in many parts. Room that grows inside the loop would slow all of it down.
    room = 2 * len(wishes.row) + 5 * bars.close.shape[1] + 64
    equity = np.empty(bars.close.shape[0])
    while True:
        book = account.opened(
            bars.close.shape[1], len(days.day_row), terms.rules, np.empty((8, room))
        )
        end = trade(bars, wishes, days, actions, listed, terms, book, equity)
        if end.fits:
            return outcome_of(end, book, equity)
        room *= 4


def outcome_of(end: End, book: Book, equity: Floats) -> Outcome:
    """What happened, out of what `trade` has written."""
    n_fills = end.n_fills
    fills = book.fills
    return Outcome(
        equity,
        end.cash / MICROS,
        fills[0, :n_fills].astype(np.int64),
        fills[1, :n_fills].astype(np.int64),
        fills[2, :n_fills].astype(np.int64),
        fills[3, :n_fills].copy(),
        fills[4, :n_fills].copy(),
        fills[5, :n_fills].copy(),
        fills[6, :n_fills].copy(),
        fills[7, :n_fills].astype(np.int64),
        book.refused,
        end.reduced_row,
        end.rows_held,
        end.worst,
        end.borrow_fees / MICROS,
        end.dividends / MICROS,
    )


def trade(
    bars: Bars,
    wishes: Wishes,
    days: Days,
    actions: Actions,
    listed: Listed,
    terms: Terms,
    book: Book,
    equity: Floats,
) -> End:
    """See `simulate`. Nothing is made in here, only written: compiled, nobody need count who still looks at an array.

    Args:
        book: an account that holds nothing yet. `equity`: room for a value per bar.
    """
    n_rows = bars.close.shape[0]
    n_wishes = len(wishes.row)
    # Names of their own for what the loop reads.
    opens, highs, lows, close, volumes = bars.open, bars.high, bars.low, bars.close, bars.volume
    straight, sent = close.reshape(-1), days.acts_on.reshape((n_rows, 1))
    wish_row, wish_column = wishes.row, wishes.column
    fee_row, day_row, day_on = days.fee_row, days.day_row, days.day_on
    n_fees, n_days = len(fee_row), len(day_row)
    action_row, factor = actions.row, actions.factor
    n_actions = len(action_row)
    rules = terms.rules
    bracket, limited, has_gaps, max_share = (
        terms.bracket, terms.limited, terms.has_gaps, terms.max_volume_share,
    )  # fmt: skip
    flattens, counts_deals = rules.flatten_on_breach, rules.pattern_day_trader
    sec_rate, taf_per_share, taf_most = days.sec_rate, days.taf_per_share, days.taf_most
    bps = terms.slippage_bps
    is_managed, moves_stops = managing.is_active(terms.managed), managing.moves_stops(terms.managed)
    sells = managing.sells(terms.managed)
    fits = True
    # ------------------------------------------------------------------ the account
    cash = micros(terms.cash)
    borrow_fees = 0.0
    dividends = 0.0
    peak = terms.cash
    worst = 0.0
    day = 0
    day_equity = terms.cash
    reduced_row = -1
    rows_held = 0
    fills = book.fills
    room = fills.shape[1]
    held, newest, legs, touched = book.held, book.newest, book.legs, book.touched
    stop, target, leaving, has_hit = book.stop, book.target, book.leaving, book.has_hit
    selling, exit_kind, entered = book.selling, book.exit_kind, book.entered
    wanted, is_short, is_dropped = book.wanted, book.is_short, book.is_dropped
    turn, turned_at = book.turn, book.turned_at
    live, queue, woken_at, left = book.live, book.queue, book.woken_at, book.left
    spent, spent_row, dealt_on, day_trades = (
        book.spent,
        book.spent_row,
        book.dealt_on,
        book.day_trades,
    )
    n_live = 0
    n_queue = 0
    n_leaving = 0
    n_legs = 0
    n_turns = 0
    n_owed = 0
    n_guard = 0
    trade_day = -1
    trades_of_day = 0
    # No order under way was placed before that day.
    oldest = day_on[0]
    n_fills = 0
    fee = 0
    fees = (float(sec_rate[0]), float(taf_per_share[0]), float(taf_most[0]))
    most = marking.Most(rules.drawdown_limit, rules.max_daily_loss, flattens)

    t = 0
    w = 0
    a = 0
    while t < n_rows:
        next_row = wish_row[w] if w < n_wishes else n_rows
        begins_day = day + 1 < n_days and day_row[day + 1] <= t
        # ---------------------------------------------------------- something may happen in this bar
        is_busy = n_queue + n_leaving + n_turns > 0
        if n_live and not is_busy:
            # What is borrowed is paid for when a day begins.
            is_busy = n_legs > 0 or is_managed or (n_owed > 0 and begins_day)
            is_busy = is_busy or (a < n_actions and action_row[a] <= t)
        if is_busy:
            # One fill each for what is held, two for its legs and a split, three for an entry whose legs are woken.
            if n_fills + 5 * (n_live + n_queue) > room:
                fits = False
                break
            if begins_day:
                day += 1
                day_equity = float(equity[t - 1])
                if n_owed:
                    nights = day_on[day] - day_on[day - 1]
                    for i in range(n_live):
                        k = live[i]
                        if held[k] < 0.0:
                            owed = costs.borrow_fee(-held[k] * newest[k], terms.borrow_rate, nights)
                            cash -= owed
                            borrow_fees += owed
            while fee + 1 < n_fees and fee_row[fee + 1] <= t:
                fee += 1
                fees = (float(sec_rate[fee]), float(taf_per_share[fee]), float(taf_most[fee]))

            may_be_live = n_leaving > 0
            if a < n_actions and action_row[a] <= t:
                may_be_live = True
                a, cash, n_fills, paid = corporate_actions.apply_actions(
                    actions, a, t, book, cash, n_fills, terms
                )
                dividends += paid

            # ------------------------------------------------------ exits meet the open
            if n_leaving:
                for i in range(n_live):
                    k = live[i]
                    volume = float(volumes[t, k])
                    if not (leaving[k] and volume > 0.0) or held[k] == 0.0:
                        continue
                    buys = held[k] < 0.0
                    unslipped = float(opens[t, k])
                    price = fill_rules.market_price(unslipped, buys, bps)
                    cap = fill_rules.volume_cap(volume, max_share)
                    shares = min(selling[k], cap)
                    cash += account.booked(
                        fills,
                        n_fills,
                        t,
                        k,
                        exit_kind[k],
                        buys,
                        shares,
                        price,
                        unslipped,
                        terms,
                        fees,
                    )
                    n_fills += 1
                    held[k] = quantised(held[k] + shares if buys else held[k] - shares)
                    selling[k] = quantised(selling[k] - shares)
                    spent[k], spent_row[k] = shares, float(t)
                    if counts_deals:
                        entries.note_deal(dealt_on, day_trades, day, k, not buys)

            if n_queue and terms.sizing != BY_LIMITS:
                opening.size_at_open(
                    bars, factor, listed, terms, t, day_on[day], book, cash, n_live, n_queue
                )

            # ------------------------------------------------------ entries
            kept = 0
            for i in range(n_queue):
                k = queue[i]
                volume = float(volumes[t, k])
                if volume > 0.0 and wanted[k] > 0.0:
                    buys = not is_short[k]
                    cap = fill_rules.volume_cap(volume, max_share)
                    if spent[k] > 0.0 and spent_row[k] == t:
                        cap = risk_rules.whole(cap - spent[k])
                    if cap > 0.0:
                        unslipped = float(opens[t, k])
                        price = fill_rules.market_price(unslipped, buys, bps)
                        shares = min(wanted[k], cap)
                        cash += account.booked(
                            fills, n_fills, t, k, ENTRY, buys, shares, price, unslipped, terms, fees
                        )
                        n_fills += 1
                        wanted[k] = quantised(wanted[k] - shares)
                        entered[k] = quantised(entered[k] + shares)
                        if held[k] == 0.0:
                            # One that turned around or that a split paid out is still among them.
                            is_new = True
                            for j in range(n_live if may_be_live else 0):
                                is_new = is_new and live[j] != k
                            if is_new:
                                live[n_live] = k
                                n_live += 1
                            leaving[k] = False
                        held[k] = quantised(held[k] + shares if buys else held[k] - shares)
                        if counts_deals:
                            entries.note_deal(dealt_on, day_trades, day, k, not buys)
                        if wanted[k] == 0.0 and bracket:
                            # Completed, it wakes its legs, which meet the rest of this bar from its price on.
                            legs[k] = abs(held[k])
                            touched[k] = False
                            has_hit[k] = False
                            woken_at[k] = price
                            left[k] = quantised(cap - shares)
                            n_legs += 1
                if wanted[k] != 0.0:
                    queue[kept] = k
                    kept += 1
            n_queue = kept

            # ------------------------------------------------------ stops, then targets
            if n_legs:
                cash, n_guard, n_fills = protection.meet_bar(
                    bars, days, terms, fees, t, day, book, cash, n_live, n_guard, n_fills
                )

            # ------------------------------------------------------ what is flat now is let go
            kept = 0
            n_leaving = 0
            n_legs = 0
            n_owed = 0
            for i in range(n_live):
                k = live[i]
                if held[k] == 0.0:
                    leaving[k] = False
                    legs[k] = 0.0
                    continue
                live[kept] = k
                kept += 1
                n_owed += held[k] < 0.0
                if leaving[k] and selling[k] <= 0.0:
                    leaving[k] = False
                if leaving[k]:
                    n_leaving += 1
                elif legs[k] > 0.0:
                    n_legs += 1
            n_live = kept
            if n_queue + n_leaving + n_legs and day_on[day] > oldest + managing.ORDER_LASTS:
                n_queue, oldest = managing.end_old_orders(days, t, day, book, n_live, n_queue)
                n_leaving, n_legs = account.under_way(book, n_live)

            for i in range(n_queue):
                price = float(close[t, queue[i]])
                if price == price:
                    newest[queue[i]] = price

        # -------------------------------------------------------------- from here on nothing can happen until a close
        until = t
        is_bare = bracket and n_legs < n_live
        if n_queue + n_leaving + n_turns == 0 and not is_bare:
            until = next_row if next_row < n_rows else n_rows - 1
            if n_live:
                if a < n_actions:
                    until = min(until, action_row[a] - 1)
                if n_owed and day + 1 < n_days:
                    until = min(until, day_row[day + 1] - 1)
                if is_managed:
                    until = t
                if n_legs and until > t:
                    until = (
                        marking.first_meeting(
                            opens,
                            highs,
                            lows,
                            t + 1,
                            until,
                            live,
                            n_live,
                            held,
                            legs,
                            touched,
                            stop,
                            target,
                        )
                        - 1
                    )
        marking.mark_rows(
            close, straight, has_gaps, t, until, held, newest, live, n_live, cash, equity
        )
        first = t
        passed = -1
        may_pass = limited and reduced_row < 0
        if n_live:
            peak, worst, day_equity, day, passed = marking.follow_peak(
                equity, day_row, t, until, peak, worst, day_equity, day, most, may_pass
            )
        else:
            # An account that holds nothing stands still after its last sale.
            worth = cash / MICROS
            peak = max(peak, worth)
            worst = max(worst, (peak - worth) / peak)
            if may_pass and (
                risk_rules.has_fallen(worth, peak, most.drawdown)
                or risk_rules.has_lost(worth, day_equity, most.daily_loss)
            ):
                passed = t
        t = until
        if passed >= 0:
            reduced_row = passed
            if flattens and passed < until:
                t = passed
                for i in range(n_live):
                    newest[live[i]] = entries.newest_close(close, t, live[i])
        if n_live:
            rows_held += t - first + 1
        else:
            today = marking.newest_day(day_row, day, t)
            if today != day:
                day = today
                day_equity = cash / MICROS
            # Nothing was held that they could have changed.
            while a < n_actions and action_row[a] <= t:
                a += 1

        # -------------------------------------------------------------- what positions ask for at this close
        if sells and n_live + n_queue and not (reduced_row == t and flattens):
            n_queue = managing.sell_down(
                wishes, days, terms, t, w, day, equity[t], book, n_live, n_queue
            )
            n_leaving, n_legs = account.under_way(book, n_live)

        # -------------------------------------------------------------- what was wished for at this close
        if t == next_row or n_turns:
            answered = w
            w, n_queue, n_leaving, n_legs, n_turns, trade_day, trades_of_day = deciding.answer_wishes(
                bars, wishes, days, factor, listed, terms, t, w, day, float(equity[t]), peak, reduced_row, book,
                cash, n_live, n_queue, n_guard, n_fills, n_leaving, n_legs, n_turns, trade_day, trades_of_day,
            )  # fmt: skip
            marking.expect(opens, volumes, close, sent, wish_row, wish_column, answered, w)

        if reduced_row == t and flattens:
            # Whoever may take no risk any more leaves everything, and what waits for an exit is over.
            for k in range(len(turn) if n_turns else 0):
                if turn[k] >= 0 and wish_row[turn[k]] < t:
                    turned_at[k] = deciding.LONG_AGO_US
            for i in range(n_live):
                k = live[i]
                if not leaving[k] or selling[k] < abs(held[k]):
                    managing.leave(book, k, abs(held[k]), EXIT, day_on[day])
            n_leaving, n_legs = account.under_way(book, n_live)
            for i in range(n_queue):
                wanted[queue[i]] = 0.0
        # An exit may have taken back an entry that was still open.
        kept = 0
        for i in range(n_queue):
            if is_dropped[queue[i]]:
                is_dropped[queue[i]] = False
                wanted[queue[i]] = 0.0
            if wanted[queue[i]] != 0.0:
                queue[kept] = queue[i]
                kept += 1
        n_queue = kept

        # -------------------------------------------------------------- stops follow the close
        if moves_stops and n_live and bracket:
            managing.follow_close(bars, factor, days, terms, t, day, book, n_live)

        # -------------------------------------------------------------- what is held without a stop
        if bracket and n_leaving + n_legs < n_live:
            n_queue = managing.guard_bare(days, day, book, n_live, n_queue)
            n_leaving, n_legs = account.under_way(book, n_live)
        t += 1

    return End(fits, n_fills, cash, reduced_row, rows_held, worst, borrow_fees, dividends)
