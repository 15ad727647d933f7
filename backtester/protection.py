"""What do stops and targets do in this bar, and where do stops follow to?

A stop is taken before a target that lies in the same bar, and what one leg has sold the other does not sell again. Legs
that an entry of this bar woke meet the rest of it, from the entry's price on.
"""

from __future__ import annotations

from backtester import account, entries
from backtester.account import Book
from backtester.terms import STOP, TARGET, Bars, Days, Managed, Terms
from risk_manager import management
from shared.domain.arithmetic import quantised
from simulator import fill_rules


def meet_bar(
    bars: Bars, days: Days, terms: Terms, fees: tuple[float, float, float], t: int, day: int,
    book: Book, cash: float, n_live: int, n_guard: int, n_fills: int,
) -> tuple[float, int, int]:  # fmt: skip
    """Let the legs of everything held meet row `t`.

    Args:
        fees: see `account.booked`.
    Returns:
        Cash, and how many stops the guard and how many fills the book keep then.
    """
    opens, highs, lows, volumes = bars.open, bars.high, bars.low, bars.volume
    held, legs, touched, live = book.held, book.legs, book.touched, book.live
    stop, target, woken_at, left = book.stop, book.target, book.woken_at, book.left
    rested_since, guard, has_hit, fills = book.rested_since, book.guard, book.has_hit, book.fills
    bps = terms.slippage_bps
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
                cash += account.booked(
                    fills, n_fills, t, k, STOP, buys, shares, price, unslipped, terms, fees
                )
                n_fills += 1
                cap = quantised(cap - shares)
                legs[k] = quantised(legs[k] - shares)
                held[k] = quantised(held[k] + shares if buys else held[k] - shares)
                clock = days.day_clock_us[day] + days.open_us[t] - days.day_open_us[day]
                rested_since[k] = clock
                n_guard = entries.note_stop(guard, n_guard, k, clock, has_hit[k])
                has_hit[k] = True
                if terms.rules.pattern_day_trader:
                    entries.note_deal(book.dealt_on, book.day_trades, day, k, not buys)
        if legs[k] > 0.0 and cap > 0.0:
            price = fill_rules.limit_price(
                target[k], reference, float(highs[t, k]), float(lows[t, k]), buys
            )
            if price != fill_rules.NO_FILL:
                shares = min(legs[k], cap)
                cash += account.booked(
                    fills, n_fills, t, k, TARGET, buys, shares, price, price, terms, fees
                )
                n_fills += 1
                # What one leg has sold the other does not sell again.
                legs[k] = quantised(legs[k] - shares)
                held[k] = quantised(held[k] + shares if buys else held[k] - shares)
                if terms.rules.pattern_day_trader:
                    entries.note_deal(book.dealt_on, book.day_trades, day, k, not buys)
    return cash, n_guard, n_fills


def followed(
    stop: float, target: float, price: float, managed: Managed, true_range: float, is_short: bool
) -> float:
    """Where a stop stands after a close at `price`, as live.

    Args:
        target: the venue takes no pair whose stop has passed it; such a stop stays.
        true_range: dollars, 0 while unknown.
    """
    if not is_short:
        wanted = management.tightened_stop(
            stop, price, managed.trailing_stop, managed.atr_stop, true_range
        )
        return wanted if wanted < target else stop
    wanted = management.lowered_stop(
        stop, price, managed.trailing_stop, managed.atr_stop, true_range
    )
    return wanted if wanted > target else stop
