"""Where do moving averages cross, over a million bars or a thousand pairs of windows?

The compiled form of what `strategy_engine.strategies.moving_average` says in panels: the same crossings, from the same
exact sums of whole micros, held equal by a property test. Two means of whole numbers compare like the whole
numbers `long_window * short_sum` and `short_window * long_sum`, as long as float64 tells such means apart (see
`TOLD_APART`); so no division is needed. A column with gaps is left to the panels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Signs = NDArray[np.int8]

MICROS = 1_000_000
# Of what a block needs, all stays beside the processor.
_BLOCK = 2_048
# Different means up to `price` differ by at least price's share of one in short * long * MICROS, and neighbouring
# float64 by less than price / 2**52: below this product of the two they are told apart.
TOLD_APART = 4503599627370496.0


def crossings(close: Floats, short: int, long: int) -> tuple[int, Ints, Ints, Bools, Floats]:
    """All crossings of the means of `short` and `long` closes, row by row.

    Args:
        close: shape (bars, symbols).
    Returns:
        How many (-1 when a gap or a price too high leaves the question to the panels), and for each its row,
        its column, whether it is upwards, and conviction: how far apart the means are (see the strategy), NaN where one
        symbol alone leaves nothing to be ordered by it.
    """
    n_rows, n_columns = close.shape
    row = np.empty(256, np.int64)
    column = np.empty(256, np.int64)
    is_up = np.empty(256, np.bool_)
    conviction = np.empty(256)
    if n_rows <= long:
        return 0, row, column, is_up, conviction
    # Whole micros, and differences of their sums: exact in float64 as long as means are told apart, in any order of adding up
    # neighbours. long * (sum of short) - short * (sum of long): above zero where the short mean is above.
    limit = TOLD_APART / (short * long * MICROS)
    n = 0
    if n_columns == 1:
        # Found in blocks of fixed arrays: a loop that may grow its arrays is not made fast code of. Of what lies
        # behind only the longer window is kept, since to write all of it down takes longer than to add it up.
        prices = close.reshape(-1)
        kept = np.empty(long + _BLOCK)
        apart = np.empty(_BLOCK)
        side = np.zeros(_BLOCK + 1, np.int8)
        change = np.zeros(_BLOCK, np.int8)
        places = np.empty(_BLOCK, np.int64)
        if not whole_micros(prices[:long], kept, limit):
            return -1, row, column, is_up, conviction
        before = 0.0
        for i in range(long):
            before += (long if i >= long - short else 0.0) * kept[i] - short * kept[i]
        side[0] = np.int8(before > 0.0) - np.int8(before < 0.0)
        for start in range(long, n_rows, _BLOCK):
            length = min(_BLOCK, n_rows - start)
            newest = kept[long : long + length]
            if not whole_micros(prices[start : start + length], newest, limit):
                return -1, row, column, is_up, conviction
            out_of_short = kept[long - short : long - short + length]
            out_of_long = kept[:length]
            for i in range(length):
                apart[i] = long * (newest[i] - out_of_short[i]) - short * (
                    newest[i] - out_of_long[i]
                )
            apart[length:] = 0.0
            before = add_up(apart, before)
            for i in range(long):
                kept[i] = kept[length + i]
            for i in range(length):
                side[i + 1] = np.int8(apart[i] > 0.0) - np.int8(apart[i] < 0.0)
            found = turns(side[1 : length + 1], side[:length], change, places)
            side[0] = side[length]
            while n + found > len(row):
                row = np.concatenate((row, row))
                column = np.concatenate((column, column))
                is_up = np.concatenate((is_up, is_up))
                conviction = np.concatenate((conviction, conviction))
            for i in range(found):
                row[n] = start + places[i]
                column[n] = 0
                is_up[n] = side[places[i] + 1] > 0
                n += 1
        conviction[:] = np.nan
    else:
        # Of what lies behind only a ring of the longer window is kept, which stays near the processor.
        n_kept = long + 1
        ring = np.empty((n_kept, n_columns))
        short_sum = np.zeros(n_columns)
        long_sum = np.zeros(n_columns)
        for t in range(long):
            if not whole_micros(close[t], ring[t], limit):
                return -1, row, column, is_up, conviction
            long_sum += ring[t]
            if t >= long - short:
                short_sum += ring[t]
        now = np.zeros(n_columns, np.int8)
        before_now = np.empty_like(now)
        change = np.zeros((n_columns + 7) // 8 * 8, np.int8)
        places = np.empty(n_columns, np.int64)
        for k in range(n_columns):
            apart = long * short_sum[k] - short * long_sum[k]
            now[k] = np.int8(apart > 0.0) - np.int8(apart < 0.0)
        for t in range(long, n_rows):
            before_now[:] = now
            if not sides(
                close[t],
                ring[t % n_kept],
                ring[(t - short) % n_kept],
                ring[(t - long) % n_kept],
                short_sum,
                long_sum,
                short,
                long,
                limit,
                now,
            ):
                return -1, row, column, is_up, conviction
            found = turns(now, before_now, change, places)
            while n + found > len(row):
                row = np.concatenate((row, row))
                column = np.concatenate((column, column))
                is_up = np.concatenate((is_up, is_up))
                conviction = np.concatenate((conviction, conviction))
            for i in range(found):
                k = places[i]
                short_mean = short_sum[k] / (short * MICROS)
                long_mean = long_sum[k] / (long * MICROS)
                row[n] = t
                column[n] = k
                is_up[n] = now[k] > 0
                conviction[n] = min(abs(short_mean - long_mean) / long_mean / 0.01, 1.0)
                n += 1
    return n, row, column, is_up, conviction


def whole_micros(prices: Floats, found: Floats, limit: float) -> bool:
    """Write whole micros of `prices` into `found`; whether each is a price, and below `limit` dollars."""
    wrong = 0
    for i in range(len(prices)):
        found[i] = np.floor(prices[i] * MICROS + 0.5)
        wrong += not prices[i] < limit
    return wrong == 0


def add_up(steps: Floats, before: float) -> float:
    """Turn each of `_BLOCK` steps into what `before` and all steps up to it come to; the last of these.

    Four stretches at once, because each sum has to wait for the one before it. Whole numbers, exact in any order.
    """
    part = _BLOCK // 4
    first, second, third, fourth = (
        steps[:part],
        steps[part : 2 * part],
        steps[2 * part : 3 * part],
        steps[3 * part :],
    )
    a = before
    b = c = d = 0.0
    for i in range(part):
        a += first[i]
        b += second[i]
        c += third[i]
        d += fourth[i]
        first[i] = a
        second[i] = b
        third[i] = c
        fourth[i] = d
    b += a
    c += b
    for i in range(part):
        second[i] += a
        third[i] += b
        fourth[i] += c
    return c + d


def sides(
    prices: Floats,
    newest: Floats,
    out_of_short: Floats,
    out_of_long: Floats,
    short_sum: Floats,
    long_sum: Floats,
    short: int,
    long: int,
    limit: float,
    found: Signs,
) -> bool:
    """Move the sums of every column on by a bar, and write on which side of the long mean the short one is then.

    Args:
        prices: the bar's closes, whose micros are written into `newest`. `out_of_short`, `out_of_long`: micros that leave.
        found: 1 for above, 0 for equal, -1 for below.
    Returns:
        Whether each is a price, and below `limit` dollars.
    """
    wrong = 0
    for k in range(len(prices)):
        micros = np.floor(prices[k] * MICROS + 0.5)
        wrong += not prices[k] < limit
        short_micros = short_sum[k] + (micros - out_of_short[k])
        long_micros = long_sum[k] + (micros - out_of_long[k])
        newest[k] = micros
        short_sum[k] = short_micros
        long_sum[k] = long_micros
        apart = long * short_micros - short * long_micros
        found[k] = np.int8(apart > 0.0) - np.int8(apart < 0.0)
    return wrong == 0


def turns(side: Signs, before: Signs, change: Signs, places: Ints) -> int:
    """Where the side becomes another one of the two, written into `places`; how many there are.

    Eight are looked at together: crossings are rare, so nearly all of the work is the comparison, which the processor does for
    many at once. Where one of eight has changed, all are written down and those that have not are written over, since a
    question for each would be guessed wrong.

    Args:
        side, before: 1 for above, 0 for equal, -1 for below, now and a bar ago; of one length.
        change: room for as many bytes, in whole eights.
    """
    length = len(side)
    eights = change.view(np.int64)
    for j in range(length):
        change[j] = (side[j] != before[j]) & (side[j] != 0)
    for j in range(length, (length + 7) // 8 * 8):
        change[j] = 0
    found = 0
    for e in range((length + 7) // 8):
        if eights[e] != 0:
            for j in range(8 * e, min(8 * e + 8, length)):
                places[found] = j
                found += change[j] != 0
    return found


def means_of(close: Floats, windows: Ints) -> Floats:
    """The mean of the last closes of one gapless symbol, shape (windows, bars); NaN until there are so many."""
    n = len(close)
    found = np.full((len(windows), n), np.nan)
    sums = np.empty(n + 1, np.int64)
    sums[0] = 0
    for t in range(n):
        sums[t + 1] = sums[t] + np.int64(np.rint(close[t] * MICROS))
    for i in range(len(windows)):
        window = windows[i]
        scale = np.float64(window * MICROS)
        for t in range(window - 1, n):
            found[i, t] = np.float64(sums[t + 1] - sums[t + 1 - window]) / scale
    return found


def crossings_of_means(short: Floats, long: Floats, first: int) -> tuple[int, Ints, Bools]:
    """Where one symbol's `short` means cross its `long` ones after bar `first`, where both exist.

    Returns:
        How many, and for each its row and whether it is upwards.
    """
    n_rows = len(short)
    row = np.empty(256, np.int64)
    is_up = np.empty(256, np.bool_)
    side = np.zeros(_BLOCK + 1, np.int8)
    change = np.zeros(_BLOCK, np.int8)
    places = np.empty(_BLOCK, np.int64)
    n = 0
    if first >= n_rows:
        return n, row, is_up
    side[0] = np.int8(short[first] > long[first]) - np.int8(short[first] < long[first])
    start = first + 1
    while start < n_rows:
        length = min(_BLOCK, n_rows - start)
        a = short[start : start + length]
        b = long[start : start + length]
        for j in range(length):
            side[j + 1] = np.int8(a[j] > b[j]) - np.int8(a[j] < b[j])
        found = turns(side[1 : length + 1], side[:length], change, places)
        while n + found > len(row):
            row = np.concatenate((row, row))
            is_up = np.concatenate((is_up, is_up))
        for i in range(found):
            row[n] = start + places[i]
            is_up[n] = side[places[i] + 1] > 0
            n += 1
        side[0] = side[length]
        start += length
    return n, row, is_up
