"""What is the account worth bar by bar, and when does something happen next?

Passes over many rows in which nothing is decided, each in two forms: for the interpreter, which is quick with whole arrays,
and for the compiler, which is quick with loops. Tests hold each pair equal. `compiled` puts the second in the place of
the first.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np

from backtester import risk_rules
from backtester.terms import MICROS, Bools, Floats, Ints, micros
from shared.domain.arithmetic import NOISE

# From so many bars on, looking at a part of an array costs less than it saves.
_WORTH_A_SLICE = 8
# So many wishes take longer than memory takes to answer, also where others keep it busy.
AHEAD = 8
# As arrays, because NumPy takes as long again to make one of a number of the interpreter's.
_MICROS, _HALF = np.array(MICROS), np.array(0.5)


def mark_rows(
    close: Floats,
    straight: Floats,  # noqa: ARG001
    has_gaps: bool,
    first: int,
    last: int,
    held: Floats,
    newest: Floats,
    live: Ints,
    n_live: int,
    cash: float,
    equity: Floats,
) -> None:
    """Write the equity at the close of rows `first` to `last`, dollars, and keep each newest close.

    For the interpreter; compiled code runs `mark_rows_one_by_one`, and a test holds them equal.

    Args:
        straight: `close` in one dimension, for an account in one symbol.
        held, newest: shares and newest close per column, of which `live` are looked at.
        cash: micros.
    """
    worth: Floats | float = cash
    if first == last:
        for k in live[:n_live]:
            price = float(close[first, k])
            if price == price:
                newest[k] = price
            worth += micros(held[k] * newest[k])
        equity[first] = worth / MICROS
        return
    rows = slice(first, last + 1)
    marks = equity[rows]
    if n_live == 0:
        marks.fill(cash / MICROS)
        return
    for k in live[:n_live]:
        prices = close[rows, k]
        if has_gaps:
            gaps = np.isnan(prices)
            places = np.maximum.accumulate(np.where(gaps, -1, np.arange(len(prices))))
            prices = np.where(places < 0, newest[k], prices[places])
        newest[k] = float(prices[-1])
        # In place, since on so few bars an array costs more to make than to fill.
        value = held[k] * prices
        value *= _MICROS
        value += _HALF
        np.floor(value, value)
        value += worth
        worth = value
    np.divide(worth, _MICROS, marks)


def mark_rows_one_by_one(
    close: Floats,
    straight: Floats,
    has_gaps: bool,  # noqa: ARG001
    first: int,
    last: int,
    held: Floats,
    newest: Floats,
    live: Ints,
    n_live: int,
    cash: float,
    equity: Floats,
) -> None:
    """See `mark_rows`."""
    if n_live == 0:
        flat = cash / MICROS
        for t in range(first, last + 1):
            equity[t] = flat
        return
    if n_live == 1 and close.shape[1] == 1 and last - first >= _WORTH_A_SLICE:
        # Straight through memory, which the compiler makes four bars at a time of.
        shares = held[0]
        marks = equity[first : last + 1]
        prices = straight[first : last + 1]
        gaps = 0
        for i in range(len(marks)):
            price = prices[i]
            gaps += price != price
            marks[i] = (cash + np.floor(shares * price * MICROS + 0.5)) / MICROS
        if gaps == 0:
            newest[0] = prices[-1]
            return
    for t in range(first, last + 1):
        worth = cash
        for i in range(n_live):
            k = live[i]
            price = close[t, k]
            if price == price:
                newest[k] = price
            worth += np.floor(held[k] * newest[k] * MICROS + 0.5)
        equity[t] = worth / MICROS


class Most(NamedTuple):
    """How much may be lost, fractions of the peak and of the day's beginning."""

    drawdown: float
    daily_loss: float
    # Whether what follows a loss beyond that is different at once.
    ends: bool


def follow_peak(
    equity: Floats, day_row: Ints, first: int, last: int, peak: float, worst: float, day_equity: float,
    day: int, most: Most, counts: bool,
) -> tuple[float, float, float, int, int]:  # fmt: skip
    """How the account stands after rows `first` to `last`, and the row that passed a limit.

    For the interpreter; compiled code runs `follow_peak_one_by_one`.

    Args:
        day_row: the first row of each exchange day.
        peak, worst: the highest equity so far in dollars, and the deepest fall below a peak as a fraction of it.
        day_equity, day: what the account was worth when the exchange day began, and the day's number.
        counts: whether anybody asks for `most`: not without the rules, and not once it has happened.
    Returns:
        These four as they are then, and the first row in which `most` is passed, -1 for none. With `most.ends` nothing
        after that row is looked at.
    """
    part = equity[first : last + 1]
    passed = -1
    # To ask where they are takes a fifth of the time that it takes to ask what they are.
    highest, lowest = max(peak, float(part[part.argmax()])), float(part[part.argmin()])
    # Mostly nothing fell too far, even from the highest point there was to the lowest; and no day began above a peak.
    deepest = (highest - lowest) / highest + NOISE
    counts = counts and not (deepest <= most.drawdown and deepest <= most.daily_loss)
    if not counts and (highest == peak or deepest <= worst):
        worst = max(worst, (peak - lowest) / peak)
        today = newest_day(day_row, day, last)
        if today != day:
            day_equity = _before_day(equity, day_row, today)
        return highest, worst, day_equity, today, passed
    if counts:
        rows = np.arange(first, last + 1)
        days = np.searchsorted(day_row, rows, side="right") - 1
        # A day begins with what the account was worth at the last close before it.
        began = np.where(days == day, day_equity, equity[np.maximum(day_row[days], 1) - 1])
        peaks = np.maximum.accumulate(np.maximum(part, peak))
        lost = (began - part) / np.where(began > 0.0, began, np.inf)
        over = np.flatnonzero(
            ((peaks - part) / peaks > most.drawdown + NOISE) | (lost > most.daily_loss + NOISE)
        )
        if len(over):
            passed = int(over[0]) + first
            if most.ends:
                last = passed
                part = equity[first : last + 1]
    peaks = np.maximum.accumulate(np.maximum(part, peak))
    worst = max(worst, float(((peaks - part) / peaks).max()))
    today = newest_day(day_row, day, last)
    if today != day:
        day_equity = _before_day(equity, day_row, today)
    return float(peaks[-1]), worst, day_equity, today, passed


def _before_day(equity: Floats, day_row: Ints, day: int) -> float:
    """What the account was worth at the last close before `day`."""
    return float(equity[max(int(day_row[day]), 1) - 1])


def newest_day(day_row: Ints, day: int, row: int) -> int:
    """The number of the exchange day that `row` lies in, which is `day` or a later one.

    For the interpreter; compiled code runs `newest_day_one_by_one`.
    """
    if day + 1 == len(day_row) or day_row[day + 1] > row:
        return day
    if row < len(day_row) and day_row[row] == row:
        # Daily bars: each row so far is a day of its own.
        return row
    return int(day_row.searchsorted(row, "right")) - 1


def newest_day_one_by_one(day_row: Ints, day: int, row: int) -> int:
    """See `newest_day`."""
    while day + 1 < len(day_row) and day_row[day + 1] <= row:
        day += 1
    return day


def follow_peak_one_by_one(
    equity: Floats, day_row: Ints, first: int, last: int, peak: float, worst: float, day_equity: float,
    day: int, most: Most, counts: bool,
) -> tuple[float, float, float, int, int]:  # fmt: skip
    """See `follow_peak`."""
    passed = -1
    t = first
    while t <= last:
        if day + 1 < len(day_row) and day_row[day + 1] <= t:
            day += 1
            day_equity = equity[day_row[day] - 1]
            continue
        until = last + 1
        if day + 1 < len(day_row) and day_row[day + 1] < until:
            until = day_row[day + 1]
        # A division is only worth its time for what may be the new worst, or lose too much of the day's beginning.
        least = day_equity * (1.0 - most.daily_loss) * (1.0 + NOISE) if counts else -np.inf
        near = max(peak * (1.0 - worst) * (1.0 + NOISE), least)
        while t < until:
            worth = equity[t]
            if worth > peak:
                peak = worth
                near = max(peak * (1.0 - worst) * (1.0 + NOISE), least)
            elif worth < near:
                fallen = (peak - worth) / peak
                worst = max(worst, fallen)
                if counts and (
                    fallen > most.drawdown + NOISE
                    or risk_rules.has_lost(worth, day_equity, most.daily_loss)
                ):
                    passed = t
                    if most.ends:
                        return peak, worst, day_equity, day, passed
                    counts = False
                    least = -np.inf
                near = max(peak * (1.0 - worst) * (1.0 + NOISE), least)
            t += 1
    return peak, worst, day_equity, day, passed


def first_meeting(
    opens: Floats,
    highs: Floats,
    lows: Floats,
    first: int,
    last: int,
    live: Ints,
    n_live: int,
    held: Floats,
    legs: Floats,
    touched: Bools,
    stop: Floats,
    target: Floats,
) -> int:
    """The first of rows `first` to `last` in which a stop or target may fill, or last + 1.

    For the interpreter; compiled code runs `first_meeting_one_by_one`.
    """
    found = last + 1
    for k in live[:n_live]:
        if legs[k] <= 0.0:
            continue
        if touched[k]:
            return first
        rows = slice(first, found)
        if held[k] > 0.0:
            is_met = (
                (lows[rows, k] <= stop[k])
                | (opens[rows, k] <= stop[k])
                | (highs[rows, k] > target[k])
            )
        else:
            is_met = (
                (highs[rows, k] >= stop[k])
                | (opens[rows, k] >= stop[k])
                | (lows[rows, k] < target[k])
            )
        met = np.flatnonzero(is_met)
        if len(met):
            found = first + int(met[0])
    return found


def first_meeting_one_by_one(
    opens: Floats,
    highs: Floats,
    lows: Floats,
    first: int,
    last: int,
    live: Ints,
    n_live: int,
    held: Floats,
    legs: Floats,
    touched: Bools,
    stop: Floats,
    target: Floats,
) -> int:
    """See `first_meeting`."""
    for i in range(n_live):
        k = live[i]
        if touched[k] and legs[k] > 0.0:
            return first
    for t in range(first, last + 1):
        for i in range(n_live):
            k = live[i]
            if legs[k] <= 0.0:
                continue
            if held[k] > 0.0:
                if lows[t, k] <= stop[k] or opens[t, k] <= stop[k] or highs[t, k] > target[k]:
                    return t
            elif highs[t, k] >= stop[k] or opens[t, k] >= stop[k] or lows[t, k] < target[k]:
                return t
    return last + 1


def numbers(n: int) -> Floats:
    """`n` zeros to keep account in.

    Lists for the interpreter, which is several times quicker with numbers of its own; compiled, arrays.
    """
    return cast("Floats", [0.0] * n)


def flags(n: int) -> Bools:
    """`n` times False; see `numbers`."""
    return cast("Bools", [False] * n)


def places(n: int) -> Ints:
    """`n` whole zeros; see `numbers`."""
    return cast("Ints", [0] * n)


def numbers_as_array(n: int) -> Floats:
    """See `numbers`."""
    return np.zeros(n)


def flags_as_array(n: int) -> Bools:
    """See `numbers`."""
    return np.zeros(n, np.bool_)


def places_as_array(n: int) -> Ints:
    """See `numbers`."""
    return np.zeros(n, np.int64)


def expect(
    opens: Floats,
    volumes: Floats,
    close: Floats,
    sent: Ints,
    row: Ints,
    column: Ints,
    first: int,
    last: int,
) -> None:
    """Wishes `first` to `last` - 1 were answered: say that what those `AHEAD` of them ask for will be read soon.

    Nothing for the interpreter; compiled, the processor begins to fetch it: the bar that decides and the open after it. Over a
    million bars a fill costs two waits for memory otherwise, which is half of its time.
    """
