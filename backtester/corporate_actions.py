"""What do splits and dividends do to an account?

Before the open of their day: shares, resting orders and their prices change together, fractions that are left are
paid out, and dividends are paid to who holds and by who owes.
"""

from __future__ import annotations

from backtester import account, risk_rules
from backtester.account import Book
from backtester.terms import EXIT, SPLIT, Actions, Terms, micros
from shared.domain.arithmetic import quantised, to_tick


def apply_actions(
    actions: Actions, a: int, t: int, book: Book, cash: float, n_fills: int, terms: Terms
) -> tuple[int, float, int, float]:
    """Apply what is due by row `t`, from action `a` on.

    Returns:
        The next action, cash and how many fills there are then, and the dividends that came in, micros.
    """
    held, newest, legs, wanted, sized_at = (
        book.held, book.newest, book.legs, book.wanted, book.sized_at,
    )  # fmt: skip
    stop, target, next_stop, next_target = (
        book.stop, book.target, book.next_stop, book.next_target,
    )  # fmt: skip
    fills = book.fills
    dividends = 0.0
    while a < len(actions.row) and actions.row[a] <= t:
        k = actions.column[a]
        ratio, amount = actions.ratio[a], actions.amount[a]
        a += 1
        if held[k] == 0.0 and wanted[k] == 0.0 and book.turn[k] < 0:
            continue
        if ratio != 1.0:
            newest[k] = quantised(newest[k] / ratio)
            sized_at[k] = quantised(sized_at[k] / ratio)
            stop[k] = to_tick(stop[k] / ratio)
            target[k] = to_tick(target[k] / ratio)
            next_stop[k] = to_tick(next_stop[k] / ratio)
            next_target[k] = to_tick(next_target[k] / ratio)
            if wanted[k] > 0.0:
                more = wanted[k] * ratio
                wanted[k] = risk_rules.whole(more) if terms.whole_shares else risk_rules.parts(more)
            sells_all = book.selling[k] >= abs(held[k])
            book.entered[k] = quantised(book.entered[k] * ratio)
            total = quantised(held[k] * ratio)
            if total != held[k]:
                is_more = total > held[k]
                change = total - held[k]
                account.write(
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
                account.write(fills, n_fills, t, k, EXIT, buys, rest, newest[k], 0.0, newest[k])
                n_fills += 1
                held[k] = quantised(held[k] + rest if buys else held[k] - rest)
            if legs[k] > 0.0:
                legs[k] = abs(held[k])
            if book.leaving[k]:
                more = book.selling[k] * ratio
                if sells_all:
                    book.selling[k] = abs(held[k])
                else:
                    book.selling[k] = (
                        risk_rules.whole(more) if terms.whole_shares else risk_rules.parts(more)
                    )
        if amount > 0.0:
            paid = micros(held[k] * amount)
            cash += paid
            dividends += paid
    return a, cash, n_fills, dividends
