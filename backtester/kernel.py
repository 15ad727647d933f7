"""What becomes of an account when these wishes meet these bars?

The fast engine: one loop over a whole portfolio with shared cash. Written so that the interpreter runs it as it stands
and `compiled` makes machine code of the very same lines: arrays, numbers and named tuples, nothing else. Prices
of fills come from the simulator's rules, limits and sizes from the risk manager's, so a backtest trades as
live does. `reference` does the same with the objects that trade live; a property test holds the two equal.

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

import numpy as np

from backtester import costs, entries, marking, risk_rules
from backtester.entries import UNSIZED
from backtester.terms import (
    BY_LIMITS,
    ENTRY,
    EXIT,
    FLAT,
    MICROS,
    SHORT,
    SPLIT,
    STOP,
    TARGET,
    Actions,
    Bars,
    Days,
    Floats,
    Ints,
    Listed,
    Outcome,
    Terms,
    Wishes,
    micros,
)
from risk_manager import management, sizing
from shared.domain.arithmetic import NOISE, quantised, to_tick
from simulator import fill_rules


def simulate(
    bars: Bars, wishes: Wishes, days: Days, actions: Actions, listed: Listed, terms: Terms
) -> Outcome:
    """Trade `wishes` over `bars`. See the module's text for the order of things within a bar."""
    # Enough unless bars fill in many parts. Room that grows inside the loop would slow all of it down.
    room = 2 * len(wishes.row) + 5 * bars.close.shape[1] + 64
    while True:
        fits, outcome = trade(bars, wishes, days, actions, listed, terms, np.empty((8, room)))
        if fits:
            return outcome
        room *= 4


def trade(
    bars: Bars,
    wishes: Wishes,
    days: Days,
    actions: Actions,
    listed: Listed,
    terms: Terms,
    fills: Floats,
) -> tuple[bool, Outcome]:
    """See `simulate`; False when `fills` (rows of an outcome's fills) has not room enough."""
    n_rows, n_columns = bars.close.shape
    n_wishes = len(wishes.row)
    # Names of their own for what the loop reads: compiled, a look into a tuple costs a count of references.
    opens, highs, lows, close, volumes = bars.open, bars.high, bars.low, bars.close, bars.volume
    straight, sent = close.reshape(-1), days.acts_on.reshape((n_rows, 1))
    wish_row, wish_column, wish_direction = wishes.row, wishes.column, wishes.direction
    acts_on, fee_row, day_row = days.acts_on, days.fee_row, days.day_row
    action_row, factor = actions.row, actions.factor
    n_actions = len(action_row)
    rules = terms.rules
    open_us, end_us = days.open_us, days.end_us
    sec_rate, taf_per_share, taf_most = days.sec_rate, days.taf_per_share, days.taf_most
    bps = terms.slippage_bps
    fits = True
    equity = np.empty(n_rows)
    refused = np.zeros(len(risk_rules.CODES), np.int64)

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
    # Shares, below zero where they are owed.
    held = marking.numbers(n_columns)
    newest = marking.numbers(n_columns)
    # Shares that stop and target still guard, and whether the stop was touched.
    legs = marking.numbers(n_columns)
    touched = marking.flags(n_columns)
    stop = marking.numbers(n_columns)
    target = marking.numbers(n_columns)
    # Those of an entry that turns a position around, which has to go first; 0 for none.
    next_stop = marking.numbers(n_columns)
    next_target = marking.numbers(n_columns)
    leaving = marking.flags(n_columns)
    # Shares of an entry that may still fill, UNSIZED before its open, the price they were sized at, whether it sells.
    wanted = marking.numbers(n_columns)
    sized_at = marking.numbers(n_columns)
    is_short = marking.flags(n_columns)
    is_dropped = marking.flags(n_columns)
    # Columns that hold something, and those with an entry under way in the order of decision.
    live = marking.places(n_columns)
    n_live = 0
    queue = marking.places(n_columns)
    n_queue = 0
    n_leaving = 0
    n_legs = 0
    n_owed = 0
    trade_day = -1
    trades_of_day = 0
    # Where an entry of this bar woke its legs, and what the bar's volume leaves them.
    woken_at = marking.numbers(n_columns)
    left = marking.numbers(n_columns)
    # What an exit has taken of a bar's volume, and of which bar, for the entry that turns it around.
    spent = marking.numbers(n_columns)
    spent_row = marking.numbers(n_columns)
    scratch = np.empty((3, rules.correlation_bars + 1))
    # Session time of the newest stop that was hit: per column (-1: none), and of the newest orders, oldest first.
    rested_since = np.full(n_columns, -1, np.int64)
    guard = np.empty((2, rules.stop_guard_stops), np.int64)
    n_guard = 0
    has_hit = marking.flags(n_columns)
    # When each column's newest entries were approved, in a ring.
    approved_us = np.full((n_columns if rules.max_repeats else 0, rules.max_repeats), -1, np.int64)
    approvals = np.zeros(n_columns, np.int64)
    # Per column the days of its newest purchase, sale and day trade; day trades per day.
    dealt_on = np.full((3, n_columns if rules.pattern_day_trader else 0), -1, np.int64)
    day_trades = np.zeros(len(day_row) if rules.pattern_day_trader else 0, np.int64)
    n_fills = 0
    fee = 0

    t = 0
    w = 0
    a = 0
    while t < n_rows:
        next_row = wish_row[w] if w < n_wishes else n_rows
        # ---------------------------------------------------------- nothing can happen until a row
        until = -1
        if n_queue == 0 and n_leaving == 0:
            until = next_row if next_row < n_rows else n_rows - 1
            if n_live:
                if a < n_actions:
                    until = min(until, action_row[a] - 1)
                if n_owed and day + 1 < len(day_row):
                    # What is borrowed is paid for when a day begins.
                    until = min(until, day_row[day + 1] - 1)
                if n_legs and terms.trail > 0.0:
                    until = -1
                if n_legs and until >= t:
                    until = (
                        marking.first_meeting(
                            opens,
                            highs,
                            lows,
                            t,
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
        if until >= t:
            marking.mark_rows(
                close, straight, terms.has_gaps, t, until, held, newest, live, n_live, cash, equity
            )
            first = t
            t = until
            if n_live:
                past, passed = marking.follow_peak(
                    equity,
                    day_row,
                    first,
                    until,
                    marking.Losses(peak, worst, day_equity, day),
                    marking.Most(
                        terms.limited and reduced_row < 0,
                        rules.drawdown_limit,
                        rules.max_daily_loss,
                        rules.flatten_on_breach,
                    ),
                )
                peak, worst, day_equity, day = past
                if passed >= 0:
                    reduced_row = passed
                    if rules.flatten_on_breach and passed < until:
                        t = passed
                        for i in range(n_live):
                            newest[live[i]] = entries.newest_close(close, t, live[i])
                rows_held += t - first + 1
            else:
                while day + 1 < len(day_row) and day_row[day + 1] <= t:
                    day += 1
                    day_equity = cash / MICROS
                # Nothing was held that they could have changed.
                while a < n_actions and action_row[a] <= t:
                    a += 1
        else:
            # One fill each for what is held, two for its legs and a split, three for an entry whose legs are woken.
            if n_fills + 5 * (n_live + n_queue) > fills.shape[1]:
                fits = False
                break
            if day + 1 < len(day_row) and day_row[day + 1] <= t:
                day += 1
                day_equity = equity[t - 1]
                if n_owed:
                    nights = days.day_on[day] - days.day_on[day - 1]
                    for i in range(n_live):
                        k = live[i]
                        if held[k] < 0.0:
                            owed = borrow_fee(-held[k] * newest[k], terms.borrow_rate, nights)
                            cash -= owed
                            borrow_fees += owed
            while fee + 1 < len(fee_row) and fee_row[fee + 1] <= t:
                fee += 1
            fees = (sec_rate[fee], taf_per_share[fee], taf_most[fee])

            may_be_live = n_leaving > 0
            # ------------------------------------------------------ splits and dividends
            while a < n_actions and action_row[a] <= t:
                k = actions.column[a]
                ratio, amount = actions.ratio[a], actions.amount[a]
                a += 1
                if held[k] == 0.0 and wanted[k] == 0.0:
                    continue
                may_be_live = True
                if ratio != 1.0:
                    newest[k] = quantised(newest[k] / ratio)
                    sized_at[k] = quantised(sized_at[k] / ratio)
                    stop[k] = to_tick(stop[k] / ratio)
                    target[k] = to_tick(target[k] / ratio)
                    next_stop[k] = to_tick(next_stop[k] / ratio)
                    next_target[k] = to_tick(next_target[k] / ratio)
                    if wanted[k] > 0.0:
                        more = wanted[k] * ratio
                        wanted[k] = (
                            risk_rules.whole(more) if terms.whole_shares else risk_rules.parts(more)
                        )
                    total = quantised(held[k] * ratio)
                    if total != held[k]:
                        is_more = total > held[k]
                        change = total - held[k]
                        write(
                            fills, n_fills, t, k, SPLIT, is_more, quantised(change), 0.0, 0.0, 0.0
                        )
                        n_fills += 1
                        held[k] = total
                    rest = abs(total) - risk_rules.whole(abs(total)) if terms.whole_shares else 0.0
                    rest = quantised(rest)
                    if rest > 0.0:
                        # Fractions that a split leaves are paid out.
                        buys = total < 0.0
                        value = micros(rest * newest[k])
                        cash += -value if buys else value
                        write(fills, n_fills, t, k, EXIT, buys, rest, newest[k], 0.0, newest[k])
                        n_fills += 1
                        held[k] = quantised(held[k] + rest if buys else held[k] - rest)
                    if legs[k] > 0.0:
                        legs[k] = abs(held[k])
                if amount > 0.0:
                    paid = micros(held[k] * amount)
                    cash += paid
                    dividends += paid

            # ------------------------------------------------------ exits meet the open
            if n_leaving:
                for i in range(n_live):
                    k = live[i]
                    volume = float(volumes[t, k])
                    if not (leaving[k] and volume > 0.0) or held[k] == 0.0:
                        continue
                    buys = held[k] < 0.0
                    price = fill_rules.market_price(float(opens[t, k]), buys, bps)
                    cap = fill_rules.volume_cap(volume, terms.max_volume_share)
                    shares = min(abs(held[k]), cap)
                    taken = fee_of(buys, shares, price, terms, fees)
                    value = micros(shares * price)
                    cash += (-value if buys else value) - micros(taken)
                    write(
                        fills, n_fills, t, k, EXIT, buys, shares, price, taken, float(opens[t, k])
                    )
                    n_fills += 1
                    held[k] = quantised(held[k] + shares if buys else held[k] - shares)
                    spent[k], spent_row[k] = shares, float(t)
                    if rules.pattern_day_trader:
                        entries.note_deal(dealt_on, day_trades, day, k, not buys)

            # ------------------------------------------------------ entries are sized at the open
            if n_queue and terms.sizing != BY_LIMITS:
                worth = cash
                at_risk = 0.0
                reserved = 0.0
                committed = 0.0
                net = 0.0
                for i in range(n_live):
                    k = live[i]
                    price = float(opens[t, k])
                    price = price if price == price else newest[k]
                    value = micros(held[k] * price)
                    worth += value
                    committed += abs(value)
                    net += value
                    at_risk += entries.risk_of(held[k], value, price, terms.bracket, stop[k])
                    if held[k] < 0.0:
                        # What a short sale brought is blocked, and as much again.
                        reserved -= 2.0 * value
                for i in range(n_queue):
                    k = queue[i]
                    if wanted[k] > 0.0:
                        value = micros(wanted[k] * sized_at[k])
                        committed += value
                        net += -value if is_short[k] else value
                        at_risk += entries.open_risk(
                            wanted[k], sized_at[k], stop[k], terms.bracket, is_short[k]
                        )
                        # A micro more, so that what rounding took is never asked for twice.
                        if is_short[k]:
                            price = float(opens[t, k])
                            price = price if price == price else newest[k]
                            value = micros(wanted[k] * price * entries.SHORT_MARGIN)
                        reserved += value + 1.0
                for i in range(n_queue):
                    k = queue[i]
                    # One that turns a position around waits until that is gone.
                    if wanted[k] != UNSIZED or not float(volumes[t, k]) > 0.0 or held[k] != 0.0:
                        continue
                    if next_stop[k] > 0.0:
                        stop[k], target[k] = next_stop[k], next_target[k]
                        next_stop[k] = 0.0
                    price = fill_rules.market_price(float(opens[t, k]), not is_short[k], bps)
                    if terms.bracket and not fits_bracket(price, stop[k], target[k], is_short[k]):
                        # The broker takes no bracket whose stop or target the open has passed.
                        refused[risk_rules.BRACKET_PRICES] += 1
                        wanted[k] = 0.0
                        continue
                    sector = 0.0
                    volume = 0.0
                    if terms.limited:
                        if listed.sector[k] >= 0:
                            sector = entries.in_sector(
                                listed, k, t, opens, live, n_live, queue, n_queue, held, newest, wanted,
                                sized_at, False,
                            )  # fmt: skip
                        most = (cash - reserved) / MICROS / price
                        volume = entries.usual_volume(close, volumes, factor, t - 1, k, most, terms)
                    shares, code = entries.size_at_open(
                        price,
                        stop[k],
                        is_short[k],
                        worth,
                        cash - reserved,
                        at_risk,
                        committed,
                        net,
                        sector,
                        listed.sector[k] >= 0,
                        volume,
                        terms,
                    )
                    wanted[k] = shares
                    sized_at[k] = price
                    if code != risk_rules.ACCEPTED:
                        refused[code] += 1
                        continue
                    value = micros(shares * price)
                    committed += value
                    net += -value if is_short[k] else value
                    if is_short[k]:
                        value = micros(shares * price * entries.SHORT_MARGIN)
                    taken = costs.commission(
                        shares, shares * price, terms.commission_bps, terms.commission_per_share
                    )
                    reserved += value + 1.0 + micros(taken)
                    worth -= micros(taken)
                    at_risk += entries.open_risk(shares, price, stop[k], terms.bracket, is_short[k])

            # ------------------------------------------------------ entries
            kept = 0
            for i in range(n_queue):
                k = queue[i]
                volume = float(volumes[t, k])
                if volume > 0.0 and wanted[k] > 0.0:
                    buys = not is_short[k]
                    cap = fill_rules.volume_cap(volume, terms.max_volume_share)
                    if spent[k] > 0.0 and spent_row[k] == t:
                        cap = risk_rules.whole(cap - spent[k])
                    if cap > 0.0:
                        price = fill_rules.market_price(float(opens[t, k]), buys, bps)
                        shares = min(wanted[k], cap)
                        taken = fee_of(buys, shares, price, terms, fees)
                        value = micros(shares * price)
                        cash -= (value if buys else -value) + micros(taken)
                        write(
                            fills,
                            n_fills,
                            t,
                            k,
                            ENTRY,
                            buys,
                            shares,
                            price,
                            taken,
                            float(opens[t, k]),
                        )
                        n_fills += 1
                        wanted[k] = quantised(wanted[k] - shares)
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
                        if rules.pattern_day_trader:
                            entries.note_deal(dealt_on, day_trades, day, k, not buys)
                        if wanted[k] == 0.0 and terms.bracket:
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
                for i in range(n_live):
                    k = live[i]
                    volume = float(volumes[t, k])
                    if legs[k] <= 0.0 or not volume > 0.0:
                        continue
                    buys = held[k] < 0.0
                    reference = float(opens[t, k])
                    if woken_at[k] > 0.0:
                        reference = woken_at[k]
                        cap = left[k]
                        woken_at[k] = 0.0
                    else:
                        cap = fill_rules.volume_cap(volume, terms.max_volume_share)
                    if touched[k]:
                        # What was left of a stop goes on as a market order.
                        unslipped = reference
                        price = fill_rules.market_price(reference, buys, bps)
                    else:
                        price = fill_rules.stop_price(
                            stop[k], reference, float(highs[t, k]), float(lows[t, k]), buys
                        )
                        unslipped = price
                    if price != fill_rules.NO_FILL:
                        touched[k] = True
                        shares = min(legs[k], cap)
                        if shares > 0.0:
                            taken = fee_of(buys, shares, price, terms, fees)
                            value = micros(shares * price)
                            cash += (-value if buys else value) - micros(taken)
                            write(fills, n_fills, t, k, STOP, buys, shares, price, taken, unslipped)
                            n_fills += 1
                            cap = quantised(cap - shares)
                            legs[k] = quantised(legs[k] - shares)
                            held[k] = quantised(held[k] + shares if buys else held[k] - shares)
                            clock = days.day_clock_us[day] + open_us[t] - days.day_open_us[day]
                            rested_since[k] = clock
                            n_guard = entries.note_stop(guard, n_guard, k, clock, has_hit[k])
                            has_hit[k] = True
                            if rules.pattern_day_trader:
                                entries.note_deal(dealt_on, day_trades, day, k, not buys)
                    if legs[k] > 0.0 and cap > 0.0:
                        price = fill_rules.limit_price(
                            target[k], reference, float(highs[t, k]), float(lows[t, k]), buys
                        )
                        if price != fill_rules.NO_FILL:
                            shares = min(legs[k], cap)
                            taken = fee_of(buys, shares, price, terms, fees)
                            value = micros(shares * price)
                            cash += (-value if buys else value) - micros(taken)
                            write(fills, n_fills, t, k, TARGET, buys, shares, price, taken, price)
                            n_fills += 1
                            # What one leg has sold the other does not sell again.
                            legs[k] = quantised(legs[k] - shares)
                            held[k] = quantised(held[k] + shares if buys else held[k] - shares)
                            if rules.pattern_day_trader:
                                entries.note_deal(dealt_on, day_trades, day, k, not buys)

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
                if leaving[k]:
                    n_leaving += 1
                elif legs[k] > 0.0:
                    n_legs += 1
            n_live = kept

            for i in range(n_queue):
                price = float(close[t, queue[i]])
                if price == price:
                    newest[queue[i]] = price
            worth = cash
            for i in range(n_live):
                k = live[i]
                price = float(close[t, k])
                if price == price:
                    newest[k] = price
                worth += micros(held[k] * newest[k])
            worth /= MICROS
            equity[t] = worth
            if n_live:
                rows_held += 1
            if worth > peak:
                peak = worth
            elif (peak - worth) / peak > worst:
                worst = (peak - worth) / peak
            if (
                terms.limited
                and reduced_row < 0
                and (
                    risk_rules.has_fallen(worth, peak, rules.drawdown_limit)
                    or risk_rules.has_lost(worth, day_equity, rules.max_daily_loss)
                )
            ):
                reduced_row = t

        # -------------------------------------------------------------- what was wished for at this close
        if t == next_row:
            sends_on = acts_on[t]
            if sends_on != trade_day:
                trade_day = sends_on
                trades_of_day = 0
            worth = equity[t]
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
                        n_queue = without(queue, n_queue, k)
                if direction == FLAT or turns:
                    if direction == FLAT and terms.sizing == BY_LIMITS:
                        # In this review what is still on order counts, as live.
                        is_dropped[k] = wanted[k] != 0.0
                    elif direction == FLAT:
                        wanted[k] = 0.0
                    if held[k] != 0.0 and not leaving[k]:
                        leaving[k] = True
                        n_leaving += 1
                        if legs[k] > 0.0:
                            legs[k] = 0.0
                            n_legs -= 1
                if direction == FLAT:
                    continue
                price = float(close[t, k])
                code = risk_rules.ACCEPTED
                if reduced_row >= 0 and reduced_row < t:
                    code = risk_rules.MODE
                elif direction == SHORT and terms.sizing == BY_LIMITS:
                    code = risk_rules.SHORT_NOT_ALLOWED
                elif leaving[k] and not turns:
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
                    if (
                        code == risk_rules.ACCEPTED
                        and rules.pattern_day_trader
                        and not risk_rules.may_day_trade(
                            risk_rules.day_trades_of(day_trades, days.day_on, day), worth
                        )
                    ):
                        code = risk_rules.PATTERN_DAY_TRADER
                shares = UNSIZED
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
            if w < n_wishes and wish_row[w] + 1 < n_rows:
                marking.expect(opens, wish_row[w] + 1, wish_column[w])
                marking.expect(volumes, wish_row[w] + 1, wish_column[w])
                marking.expect(close, wish_row[w], wish_column[w])
                marking.expect(sent, wish_row[w], 0)

        if reduced_row == t and rules.flatten_on_breach:
            # Whoever may take no risk any more leaves everything.
            for i in range(n_live):
                k = live[i]
                if not leaving[k]:
                    leaving[k] = True
                    n_leaving += 1
                    if legs[k] > 0.0:
                        legs[k] = 0.0
                        n_legs -= 1
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

        # -------------------------------------------------------------- what a bar filled in part
        if terms.bracket and n_queue:
            # The rest of a bracket entry is given up, and what was filled is guarded by itself.
            kept = 0
            for i in range(n_queue):
                k = queue[i]
                if held[k] != 0.0 and wanted[k] > 0.0:
                    wanted[k] = 0.0
                    if not leaving[k]:
                        legs[k] = abs(held[k])
                        touched[k] = False
                        has_hit[k] = False
                        n_legs += 1
                else:
                    queue[kept] = k
                    kept += 1
            n_queue = kept

        # -------------------------------------------------------------- stops follow the close
        if terms.trail > 0.0 and n_legs:
            for i in range(n_live):
                k = live[i]
                price = float(close[t, k])
                if legs[k] > 0.0 and not touched[k] and price == price:
                    stop[k] = trailed(stop[k], price, terms.trail, held[k] < 0.0)
        t += 1

    return fits, Outcome(
        equity,
        cash / MICROS,
        fills[0, :n_fills].astype(np.int64),
        fills[1, :n_fills].astype(np.int64),
        fills[2, :n_fills].astype(np.int64),
        fills[3, :n_fills].copy(),
        fills[4, :n_fills].copy(),
        fills[5, :n_fills].copy(),
        fills[6, :n_fills].copy(),
        fills[7, :n_fills].astype(np.int64),
        refused,
        reduced_row,
        rows_held,
        worst,
        borrow_fees / MICROS,
        dividends / MICROS,
    )


def without(queue: Ints, n_queue: int, column: int) -> int:
    """Take `column` out of the queue; how many are left."""
    kept = 0
    for i in range(n_queue):
        if queue[i] != column:
            queue[kept] = queue[i]
            kept += 1
    return kept


def fits_bracket(price: float, stop: float, target: float, is_short: bool) -> bool:
    """Whether stop and target still stand on their own sides of `price`."""
    if is_short:
        return risk_rules.fits_bracket(price, target, stop)
    return risk_rules.fits_bracket(price, stop, target)


def trailed(stop: float, price: float, trail: float, is_short: bool) -> float:
    """Where a trailing stop stands after a close at `price`, as live; a short one is its mirror image."""
    if not is_short:
        return management.tightened_stop(stop, price, trail, 0.0, 0.0)
    wanted = min(stop, to_tick(price * (1.0 + trail)))
    is_worth_it = stop - wanted + NOISE >= price * management.LEAST_STEP
    return wanted if is_worth_it and wanted > price else stop


def borrow_fee(worth: float, rate: float, nights: int) -> float:
    """Micros paid for `nights` with borrowed shares of so many dollars; a year of lending has 360 days."""
    return micros(worth * rate * nights / 360.0)


def fee_of(
    buys: bool, shares: float, price: float, terms: Terms, fees: tuple[float, float, float]
) -> float:
    """What a fill costs beside its price, dollars.

    Args:
        fees: the day's rate of the SEC, dollars per share for FINRA and its most. Both take them from sales.
    """
    value = micros(shares * price) / MICROS
    taken = costs.commission(shares, value, terms.commission_bps, terms.commission_per_share)
    if not buys:
        taken += costs.regulatory_fee(shares, value, fees[0], fees[1], fees[2])
    return taken


def write(
    fills: Floats,
    at: int,
    row: int,
    column: int,
    kind: int,
    buys: bool,
    shares: float,
    price: float,
    fee: float,
    unslipped: float,
) -> None:
    """Keep one fill; `unslipped` is the price it would have had without slippage."""
    fills[0, at] = row
    fills[1, at] = column
    fills[2, at] = kind
    fills[3, at] = shares
    fills[4, at] = price
    fills[5, at] = fee
    fills[6, at] = quantised(shares * (price - unslipped if buys else unslipped - price))
    fills[7, at] = 1 if buys else -1
