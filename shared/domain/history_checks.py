"""Does fetched or imported history fit to itself and to what is stored before it?

The same tests that a check of files makes, over a block of many symbols at once: which bars lie far from all their
neighbours, and where a day opens as after a split. A bar of the store gives context and is never judged. Nothing here
reads a clock or a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from shared.domain.bar_blocks import BarBlock
from shared.domain.money import MICROS
from shared.domain.quality import dates_of, far_from_neighbours, split_steps
from shared.domain.symbols import Symbol

# So many bars before a block are enough to judge its first ones by, unless they are older than a long weekend.
NEIGHBOURS = 20
_NEAR_US = timedelta(days=7) // timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class SplitStep:
    """A step between two days that looks like a split, from after `last_on` up to `on`."""

    symbol: Symbol
    last_on: date
    on: date
    reason: str


@dataclass(frozen=True, slots=True)
class Judged:
    """Which rows of a block are far, where the bars around each of these stand (dollars), and what looks like a split."""

    far: NDArray[np.bool_]
    level: NDArray[np.float64]
    steps: tuple[SplitStep, ...]


def judge(block: BarBlock, before: BarBlock) -> Judged:
    """Look at `block`, with `before` as what is known of its symbols; both sorted by symbol, then start."""
    far = np.zeros(len(block), np.bool_)
    level = block.close / MICROS
    steps: list[SplitStep] = []
    known = _rows_by_symbol(before)
    for symbol, rows in _rows_by_symbol(block).items():
        older = known.get(symbol, slice(0, 0))
        if older.stop and before.start_us[older.stop - 1] < block.start_us[rows.start] - _NEAR_US:
            older = slice(0, 0)
        count = older.stop - older.start
        prices = {
            name: np.concatenate([getattr(before, name)[older], getattr(block, name)[rows]])
            / MICROS
            for name in ("open", "high", "low", "close")
        }
        found, levels = far_from_neighbours(
            block.timeframe, prices["high"], prices["low"], prices["close"]
        )
        dates = dates_of(np.concatenate([before.start_us[older], block.start_us[rows]]))
        opens, closes = prices["open"], prices["close"]
        # The first bar after a split lies alone as well, until others follow.
        found[[row for row, _ in split_steps(dates, opens, closes)]] = False
        far[rows], level[rows] = found[count:], levels[count:]
        sound = np.flatnonzero(~found)
        for at, split in split_steps(dates[sound], opens[sound], closes[sound]):
            row, last = int(sound[at]), int(sound[at - 1])
            if row < count:
                continue
            reason = (
                f"{closes[last]:g} on {dates[last]} to {opens[row]:g} on {dates[row]} is the step of a "
                f"{split} split; no corporate action explains it"
            )
            steps.append(SplitStep(symbol, dates[last].item(), dates[row].item(), reason))
    return Judged(far, level, tuple(steps))


def _rows_by_symbol(block: BarBlock) -> dict[Symbol, slice]:
    """Where each symbol's rows are; they lie together."""
    if not len(block):
        return {}
    names = np.array(block.symbols, dtype=object)
    firsts = np.flatnonzero(np.concatenate([[True], names[1:] != names[:-1]]))
    ends = np.append(firsts[1:], len(names))
    return {
        names[first]: slice(int(first), int(end)) for first, end in zip(firsts, ends, strict=True)
    }
