"""How large are the entries that meet this open?

For the sizings that live trading does not know: with the cash that is there after the open's exits, each entry
reserving its own before the next is sized.
"""

from __future__ import annotations

from backtester import costs, entries, risk_rules
from backtester.account import Book
from backtester.entries import UNSIZED
from backtester.terms import MICROS, Bars, Floats, Listed, Terms, micros
from simulator import fill_rules


def size_at_open(
    bars: Bars, factor: Floats, listed: Listed, terms: Terms, t: int, today: int, book: Book,
    cash: float, n_live: int, n_queue: int,
) -> None:  # fmt: skip
    """Size every entry of the book's queue that meets the open of row `t`; 0 shares for one that is refused."""
    opens, close, volumes = bars.open, bars.close, bars.volume
    held, newest, queue = book.held, book.newest, book.queue
    wanted, is_short, stop = book.wanted, book.is_short, book.stop
    bps = terms.slippage_bps
    worth = cash
    at_risk = 0.0
    reserved = 0.0
    committed = 0.0
    net = 0.0
    for i in range(n_live):
        k = book.live[i]
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
            value = micros(wanted[k] * book.sized_at[k])
            committed += value
            net += -value if is_short[k] else value
            at_risk += entries.open_risk(
                wanted[k], book.sized_at[k], stop[k], terms.bracket, is_short[k]
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
        if book.next_stop[k] > 0.0:
            stop[k], book.target[k] = book.next_stop[k], book.next_target[k]
            book.next_stop[k] = 0.0
        price = fill_rules.market_price(float(opens[t, k]), not is_short[k], bps)
        if terms.bracket and not risk_rules.fits_bracket(
            price, stop[k], book.target[k], is_short[k]
        ):
            # The broker takes no bracket whose stop or target the open has passed.
            book.refused[risk_rules.BRACKET_PRICES] += 1
            wanted[k] = 0.0
            continue
        sector = 0.0
        volume = 0.0
        if terms.limited:
            if listed.sector[k] >= 0:
                sector = entries.in_sector(
                    listed, k, t, opens, book.live, n_live, queue, n_queue, held, newest, wanted,
                    book.sized_at, False,
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
        book.sized_at[k] = price
        if code != risk_rules.ACCEPTED:
            book.refused[code] += 1
            continue
        book.entered[k], book.met[k], book.placed_on[k] = 0.0, 0, today
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
