"""Which symbols had passed the screen, and what was known of their companies, at the end of each bar?

A screen is a provider's list of symbols that satisfy fundamental and other filters, kept with the instant at which it was
taken, and so are the figures it showed. A bar knows the newest of either taken before its end: what comes at that very
instant, as in a replay, whose clock stands still meanwhile, may or may not be there when the bar is decided on. What is too
old says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np

from strategy_engine.fundamentals import NO_SNAPSHOTS, Snapshots, fundamentals_of
from strategy_engine.panels import Panel

# Over the longest weekend, and no further: after that the list speaks of another company's figures.
OLDEST = timedelta(days=5)
_OLDEST_US = OLDEST // timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Screen:
    """What a screen let through at `taken_us`, microseconds since 1970 UTC."""

    taken_us: int
    symbols: frozenset[str]


@dataclass(frozen=True, slots=True)
class Universe:
    """What had been seen by an instant: which symbols passed screens, and the figures of their companies."""

    screens: Sequence[Screen] = ()
    snapshots: Snapshots = NO_SNAPSHOTS


def with_screens(panel: Panel, screens: Sequence[Screen]) -> Panel:
    """`panel` with what `screens` said before the end of each of its bars.

    Raises:
        InvalidInput: the panel has no times.
    """
    ends = panel.times
    ordered = sorted(screens, key=lambda screen: screen.taken_us)
    taken = np.array([screen.taken_us for screen in ordered], np.int64)
    # One more row for "none was taken yet".
    through = np.full((len(ordered) + 1, len(panel.symbols)), np.nan)
    for row, screen in enumerate(ordered):
        through[row] = [symbol in screen.symbols for symbol in panel.symbols]
    newest = np.searchsorted(taken, ends, side="left") - 1
    known = through[newest, np.arange(len(panel.symbols))]
    if len(taken):
        known = np.where(ends - taken[np.maximum(newest, 0)] > _OLDEST_US, np.nan, known)
    return replace(panel, screened=known)


def with_fundamentals(panel: Panel, snapshots: Snapshots) -> Panel:
    """`panel` with what `snapshots` said of its companies by the end of each of its bars.

    Raises:
        InvalidInput: the panel has no times.
    """
    known = fundamentals_of(snapshots, panel.symbols, panel.times, _OLDEST_US)
    return replace(panel, fundamentals=known)
