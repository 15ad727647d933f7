"""Which parameters would have done how well?

One history, many parameter sets, all processor cores: the compiled kernel holds no interpreter lock, so threads are enough
and nothing is copied. What sets share is made once: the averages of a window serve every pair that has it.
A sweep finds what fitted the past best, which is no promise.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtester import metrics
from backtester.history import History
from backtester.plan import Plan
from backtester.terms import Bars, Wishes
from backtester.wishing import wishes_of
from shared.domain.errors import InvalidInput
from strategy_engine.strategies.moving_average import MovingAverage
from strategy_engine.strategy import Strategy

# More sets than this are a mistake, or belong to a search that does not try them all.
MAX_SETS = 100_000
_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Tried:
    """One parameter set and how it did; see `metrics` for the figures."""

    values: Mapping[str, Any]
    final_equity: float
    fills: int
    total_return: float
    max_drawdown: float
    sharpe: float | None


def sweep(
    kind: type[Strategy],
    sets: Sequence[Mapping[str, Any]],
    history: History,
    plan: Plan,
    workers: int | None = None,
) -> list[Tried]:
    """Backtest `kind` with every one of `sets` over all of `history`, in their order.

    Raises:
        InvalidInput: no set or too many; and whatever a strategy says of its parameters.
    """
    if not 1 <= len(sets) <= MAX_SETS:
        raise InvalidInput(f"a sweep takes 1 to {MAX_SETS} parameter sets, was given {len(sets)}")
    from backtester import compiling

    compiling.make_ready()
    from backtester import compiled

    strategies = [kind(**values) for values in sets]
    bars = Bars(*(np.ascontiguousarray(figure) for figure in history.bars))
    panel = history.panel
    terms = plan.terms(panel.timeframe, strategies[0].name, has_gaps=history.has_gaps)
    days, listed = history.days(plan.fees), plan.listed(panel.symbols)
    actions, seen = history.actions_as_arrays, history.in_newest_shares
    cores = workers or os.cpu_count() or 1
    means = None
    if kind is MovingAverage and len(history.panel.symbols) == 1 and not history.has_gaps:
        means = _Means.of(seen.panel.close[:, 0], strategies, cores)
    ends = history.session_ends

    def one(strategy: Strategy) -> Tried:
        wishes = (
            wishes_of(strategy, seen, compiled=True).wishes
            if means is None
            else means.crossings(strategy)
        )
        outcome = compiled.simulate(bars, wishes, days, actions, listed, terms)
        final = float(outcome.equity[-1])
        return Tried(
            strategy.values,
            final,
            len(outcome.fill_row),
            metrics.total_return(plan.cash, final),
            outcome.max_drawdown,
            metrics.sharpe(metrics.daily_returns(plan.cash, outcome.equity[ends])),
        )

    def several(some: Sequence[Strategy]) -> list[Tried]:
        return [one(strategy) for strategy in some]

    # The first run makes the machine code where there is none yet.
    first = one(strategies[0])
    rest = strategies[1:]
    # Some at a time: handing one over costs as much as a short backtest.
    parts = [rest[i : i + _AT_ONCE] for i in range(0, len(rest), _AT_ONCE)]
    with ThreadPoolExecutor(cores) as pool:
        return [first, *(tried for part in pool.map(several, parts) for tried in part)]


@dataclass(frozen=True, slots=True)
class _Means:
    """The averages of every window that occurs."""

    of_window: Mapping[int, NDArray[np.float64]]

    @classmethod
    def of(cls, close: NDArray[np.float64], strategies: Sequence[Strategy], cores: int) -> _Means:
        from backtester.compiled import means_of

        windows = np.unique([int(w) for s in strategies for w in s.values.values()])
        straight = np.ascontiguousarray(close)
        with ThreadPoolExecutor(cores) as pool:
            parts = pool.map(lambda part: means_of(straight, part), np.array_split(windows, cores))
            found = [row for part in parts for row in part]
        return cls(dict(zip(windows.tolist(), found, strict=True)))

    def crossings(self, strategy: Strategy) -> Wishes:
        from backtester.compiled import crossings_of_means

        short, long = int(strategy.values["short_window"]), int(strategy.values["long_window"])
        n, row, is_up = crossings_of_means(self.of_window[short], self.of_window[long], long - 1)
        return Wishes(row[:n], np.zeros(n, np.int64), is_up[:n].astype(np.int64), np.ones(n))
