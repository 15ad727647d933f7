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

MICROS = 1_000_000
_BLOCK = 4_096
# Different means up to `price` differ by at least price's share of one in short * long * MICROS, and neighbouring
# float64 by less than price / 2**52: below this product of the two they are told apart.
TOLD_APART = 4503599627370496.0


def crossings(
    close: Floats, short: int, long: int, with_conviction: bool
) -> tuple[int, Ints, Ints, Bools, Floats]:
    """All crossings of the means of `short` and `long` closes, row by row.

    Args:
        close: shape (bars, symbols). `with_conviction`: also how far apart the means are (see the strategy).
    Returns:
        How many (-1 when a gap or a price too high leaves the question to the panels), and for each its row,
        its column, whether it is upwards, and conviction.
    """
    n_rows, n_columns = close.shape
    row = np.empty(256, np.int64)
    column = np.empty(256, np.int64)
    is_up = np.empty(256, np.bool_)
    conviction = np.empty(256)
    if n_rows <= long:
        return 0, row, column, is_up, conviction
    # Whole micros, and differences of their sums: exact in float64 as long as means are told apart.
    # long * (sum of short) - short * (sum of long): above zero where the short mean is above.
    limit = TOLD_APART / (short * long * MICROS)
    steps = np.empty(_BLOCK)
    places = np.empty(_BLOCK, np.int64)
    ups = np.empty(_BLOCK, np.bool_)
    n = 0
    if n_columns == 1:
        # Found in blocks of fixed arrays: a loop that may grow its arrays is not made fast code of. Of what lies
        # behind only the longer window is kept, since to write all of it down takes longer than to add it up.
        prices = close.reshape(-1)
        kept = np.empty(long + _BLOCK)
        if not whole_micros(prices[:long], kept, limit):
            return -1, row, column, is_up, conviction
        before = 0.0
        for i in range(long):
            before += (long if i >= long - short else 0.0) * kept[i] - short * kept[i]
        for start in range(long, n_rows, _BLOCK):
            length = min(_BLOCK, n_rows - start)
            newest = kept[long : long + length]
            if not whole_micros(prices[start : start + length], newest, limit):
                return -1, row, column, is_up, conviction
            out_of_short = kept[long - short : long - short + length]
            out_of_long = kept[:length]
            for i in range(length):
                steps[i] = long * (newest[i] - out_of_short[i]) - short * (
                    newest[i] - out_of_long[i]
                )
            for i in range(long):
                kept[i] = kept[length + i]
            found = 0
            for i in range(length):
                now = before + steps[i]
                if (now > 0.0 and before <= 0.0) or (now < 0.0 and before >= 0.0):
                    places[found] = i
                    ups[found] = now > 0.0
                    found += 1
                before = now
            while n + found > len(row):
                row = np.concatenate((row, row))
                column = np.concatenate((column, column))
                is_up = np.concatenate((is_up, is_up))
                conviction = np.concatenate((conviction, conviction))
            for i in range(found):
                row[n] = start + places[i]
                column[n] = 0
                is_up[n] = ups[i]
                n += 1
    else:
        whole = np.empty((n_rows, n_columns))
        if not whole_micros(close.reshape(-1), whole.reshape(-1), limit):
            return -1, row, column, is_up, conviction
        apart = np.zeros(n_columns)
        for t in range(long):
            apart -= short * whole[t]
        for t in range(long - short, long):
            apart += long * whole[t]
        hits = np.zeros((n_columns + 7) // 8 * 8, np.int8)
        eights = hits.view(np.int64)
        for t in range(long, n_rows):
            newest, out_of_short, out_of_long = whole[t], whole[t - short], whole[t - long]
            for k in range(n_columns):
                was = apart[k]
                now = was + (
                    long * (newest[k] - out_of_short[k]) - short * (newest[k] - out_of_long[k])
                )
                apart[k] = now
                hits[k] = np.int8((now > 0.0) & (was <= 0.0)) | np.int8((now < 0.0) & (was >= 0.0))
            for e in range(len(eights)):
                if eights[e] == 0:
                    continue
                for k in range(8 * e, min(8 * e + 8, n_columns)):
                    if hits[k] == 0:
                        continue
                    if n == len(row):
                        row = np.concatenate((row, row))
                        column = np.concatenate((column, column))
                        is_up = np.concatenate((is_up, is_up))
                        conviction = np.concatenate((conviction, conviction))
                    row[n] = t
                    column[n] = k
                    is_up[n] = apart[k] > 0.0
                    n += 1
    if with_conviction:
        for i in range(n):
            short_sum = 0.0
            long_sum = 0.0
            for t in range(row[i] - long + 1, row[i] + 1):
                micros = np.floor(close[t, column[i]] * MICROS + 0.5)
                long_sum += micros
                if t > row[i] - short:
                    short_sum += micros
            short_mean = short_sum / (short * MICROS)
            long_mean = long_sum / (long * MICROS)
            conviction[i] = min(abs(short_mean - long_mean) / long_mean / 0.01, 1.0)
    else:
        conviction[:] = np.nan
    return n, row, column, is_up, conviction


def whole_micros(prices: Floats, found: Floats, limit: float) -> bool:
    """Write whole micros of `prices` into `found`; whether each is a price, and below `limit` dollars."""
    wrong = 0
    for i in range(len(prices)):
        found[i] = np.floor(prices[i] * MICROS + 0.5)
        wrong += not prices[i] < limit
    return wrong == 0


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
    # One byte a bar says above (1), equal (0) or below (-1), and eight of them are looked at together: crossings
    # are rare, so nearly all of the work is the comparison, which the processor does for four bars at once.
    side = np.zeros(_BLOCK + 8, np.int8)
    change = np.zeros(_BLOCK, np.int8)
    eights = change.view(np.int64)
    places = np.empty(_BLOCK, np.int64)
    n = 0
    if first >= n_rows:
        return n, row, is_up
    last = np.int8(short[first] > long[first]) - np.int8(short[first] < long[first])
    start = first + 1
    while start < n_rows:
        length = min(_BLOCK, n_rows - start)
        a = short[start : start + length]
        b = long[start : start + length]
        side[7] = last
        for j in range(length):
            side[j + 8] = np.int8(a[j] > b[j]) - np.int8(a[j] < b[j])
        for j in range(length):
            change[j] = side[j + 8] ^ side[j + 7]
        for j in range(length, (length + 7) // 8 * 8):
            change[j] = 0
        found = 0
        for e in range((length + 7) // 8):
            if eights[e] != 0:
                for j in range(8 * e, min(8 * e + 8, length)):
                    if change[j] != 0 and side[j + 8] != 0:
                        places[found] = j
                        found += 1
        while n + found > len(row):
            row = np.concatenate((row, row))
            is_up = np.concatenate((is_up, is_up))
        for i in range(found):
            row[n] = start + places[i]
            is_up[n] = side[places[i] + 8] > 0
            n += 1
        last = side[length + 7]
        start += length
    return n, row, is_up
