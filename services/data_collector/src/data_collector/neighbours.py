"""Does a bar fit to the ones before it?

Of each symbol the newest bars are kept, as columns over all symbols, since the whole market comes at once. A price far from
every recent close is a bad print; what persists becomes the new level, because bars are judged only by neighbours
that are close in time, and refused ones are no neighbours. So the verdict follows from the stored bars alone, and a
restart decides alike. A step between days that looks like a split is let in and told, as is a series that stands still.
Nothing here reads a clock or a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from shared.domain.bar_blocks import BarBlock, from_epoch_us
from shared.domain.corporate_actions import exchange_day
from shared.domain.history_checks import SplitStep
from shared.domain.quality import (
    FROZEN_BARS,
    LEAST_JUMP,
    LEAST_SPLIT_STEP,
    MAD_TO_SIGMA,
    SIGMAS,
    split_ratio,
)
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe

# How many bars a symbol is judged by, and how many it must have for that.
WINDOW = 20
_LEAST = 10
# How old the newest neighbour may be, in lengths of a bar; days count weekends and holidays.
_NEAR = {True: 2, False: 4}
_US = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Misfit:
    """A bar that lies far from all its neighbours."""

    row: int
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found; all bars but the misfits fit."""

    good: BarBlock
    misfits: tuple[tuple[BarBlock, str], ...]
    steps: tuple[SplitStep, ...]
    stood_still: tuple[Symbol, ...]
    moved_again: tuple[Symbol, ...]


class Neighbours:
    """The newest bars of each symbol of one timeframe."""

    def __init__(self, timeframe: Timeframe) -> None:
        self._timeframe = timeframe
        self._length_us = timeframe.length // _US
        self._numbers: dict[Symbol, int] = {}
        self._closes: NDArray[np.float64] = np.full((0, WINDOW), np.nan)
        self._start_us: NDArray[np.int64] = np.zeros(0, np.int64)
        # The newest bar's figures, and how many equal ones in a row it ends.
        self._figures: NDArray[np.int64] = np.zeros((0, 5), np.int64)
        self._equal: NDArray[np.int64] = np.zeros(0, np.int64)

    def learn(self, block: BarBlock) -> None:
        """Take the bars of `block` (sorted by symbol, then start) for granted."""
        for some in _by_start(block):
            self._keep(self._rows(some.symbols), some)

    def judge(self, block: BarBlock) -> Verdict:
        """Compare the bars of `block` with what is known, oldest first, and keep those that fit."""
        good: list[NDArray[np.intp]] = []
        bad: list[tuple[BarBlock, str]] = []
        steps: list[SplitStep] = []
        still: set[Symbol] = set()
        moved: set[Symbol] = set()
        for numbers in _numbers_by_start(block):
            some = block if len(numbers) == len(block) else block.picked(numbers)
            rows = self._rows(some.symbols)
            found, misfits = self._look(rows, some)
            steps += found
            fits = np.ones(len(some), np.bool_)
            for misfit in misfits:
                fits[misfit.row] = False
                bad.append((some.picked(np.array([misfit.row])), misfit.reason))
            good.append(numbers[fits])
            kept = some if fits.all() else some.picked(fits)
            were_still = self._equal[rows[fits]] >= FROZEN_BARS[self._timeframe.is_intraday]
            self._keep(rows[fits], kept)
            are_still = self._equal[rows[fits]] >= FROZEN_BARS[self._timeframe.is_intraday]
            for row in np.flatnonzero(are_still != were_still).tolist():
                (still if are_still[row] else moved).add(kept.symbols[row])
                (moved if are_still[row] else still).discard(kept.symbols[row])
        all_good = np.sort(np.concatenate(good)) if good else np.empty(0, np.intp)
        return Verdict(
            block if len(all_good) == len(block) else block.picked(all_good),
            tuple(bad),
            tuple(steps),
            tuple(sorted(still)),
            tuple(sorted(moved)),
        )

    def _rows(self, symbols: Sequence[Symbol]) -> NDArray[np.intp]:
        """Where the symbols are kept; new ones are given a place."""
        known = self._numbers
        new = [symbol for symbol in dict.fromkeys(symbols) if symbol not in known]
        if new:
            for symbol in new:
                known[symbol] = len(known)
            count = len(new)
            self._closes = np.concatenate([self._closes, np.full((count, WINDOW), np.nan)])
            self._start_us = np.concatenate([self._start_us, np.zeros(count, np.int64)])
            self._figures = np.concatenate([self._figures, np.zeros((count, 5), np.int64)])
            self._equal = np.concatenate([self._equal, np.zeros(count, np.int64)])
        return np.fromiter((known[symbol] for symbol in symbols), np.intp, len(symbols))

    def _keep(self, rows: NDArray[np.intp], block: BarBlock) -> None:
        """Make the bars of `block`, one instant's, the newest; older ones than that change nothing."""
        newer = block.start_us > self._start_us[rows]
        rows = rows[newer]
        figures = np.stack([block.open, block.high, block.low, block.close, block.volume], axis=1)[
            newer
        ]
        same = (figures == self._figures[rows]).all(axis=1) & (figures[:, 4] > 0)
        self._equal[rows] = np.where(same, self._equal[rows] + 1, 1)
        self._figures[rows] = figures
        self._start_us[rows] = block.start_us[newer]
        self._closes[rows, :-1] = self._closes[rows, 1:]
        self._closes[rows, -1] = figures[:, 3]

    def _look(
        self, rows: NDArray[np.intp], block: BarBlock
    ) -> tuple[list[SplitStep], list[Misfit]]:
        """The steps and misfits among one instant's bars."""
        closes = self._closes[rows]
        known = np.count_nonzero(~np.isnan(closes), axis=1)
        steps = self._steps(rows, block, known > 0)
        intraday = self._timeframe.is_intraday
        away_us = np.abs(block.start_us - self._start_us[rows])
        judged = (known >= _LEAST) & (away_us <= _NEAR[intraday] * self._length_us)
        # A bar that comes again, or late, is judged by the bars around it.
        judged |= (
            (known >= _LEAST)
            & (block.start_us <= self._start_us[rows])
            & (away_us <= WINDOW * self._length_us)
        )
        judged[[row for row, _ in steps]] = False
        asked = np.flatnonzero(judged)
        if not len(asked):
            return [step for _, step in steps], []
        with np.errstate(invalid="ignore"):
            logs = np.log(closes[asked])
            # Four times as fast, and most symbols have a whole window.
            median = np.median if known[asked].min() == WINDOW else np.nanmedian
            middle = median(logs, axis=1)
            spread = median(np.abs(logs - middle[:, None]), axis=1) * MAD_TO_SIGMA
            allowed = np.maximum(spread * SIGMAS, LEAST_JUMP[intraday])
            above = np.nanmin(np.abs(np.log(block.high[asked])[:, None] - logs), axis=1)
            below = np.nanmin(np.abs(np.log(block.low[asked])[:, None] - logs), axis=1)
        far = np.flatnonzero((above > allowed) | (below > allowed))
        misfits = [
            Misfit(
                int(asked[i]),
                f"a bad print: low {block.low[asked[i]] / 1e6:g} and high {block.high[asked[i]] / 1e6:g} "
                f"while the bars around it stand at {np.exp(middle[i]) / 1e6:.4g}",
            )
            for i in far.tolist()
        ]
        return [step for _, step in steps], misfits

    def _steps(
        self, rows: NDArray[np.intp], block: BarBlock, known: NDArray[np.bool_]
    ) -> list[tuple[int, SplitStep]]:
        """Opens that stand to the close of an earlier day as after a split, with their rows."""
        before = np.where(known, self._closes[rows, -1], block.open)
        wide = np.abs(np.log(before / block.open)) >= LEAST_SPLIT_STEP
        found = []
        for row in np.flatnonzero(wide & (block.start_us > self._start_us[rows])).tolist():
            on = exchange_day(from_epoch_us(int(block.start_us[row])))
            last_on = exchange_day(from_epoch_us(int(self._start_us[rows[row]])))
            split = split_ratio(float(before[row] / block.open[row]))
            if split is None or on <= last_on:
                continue
            reason = (
                f"{before[row] / 1e6:g} on {last_on} to {block.open[row] / 1e6:g} on {on} is the step of a "
                f"{split} split; no corporate action explains it"
            )
            found.append((row, SplitStep(block.symbols[row], last_on, on, reason)))
        return found


def _numbers_by_start(block: BarBlock) -> list[NDArray[np.intp]]:
    """The rows of each start, oldest first."""
    order = np.argsort(block.start_us, kind="stable")
    cuts = np.flatnonzero(np.diff(block.start_us[order])) + 1
    return np.split(order, cuts) if len(block) else []


def _by_start(block: BarBlock) -> list[BarBlock]:
    return [block.picked(numbers) for numbers in _numbers_by_start(block)]
