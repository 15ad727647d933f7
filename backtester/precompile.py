"""Compile the fast engine by using it on a few bars: `python -m backtester.precompile`.

A process of its own, because the compiler takes as much memory as a million bars; `compiling.make_ready` starts it.
"""

from __future__ import annotations

import numpy as np

import backtester.compiled  # noqa: F401  first of all, so that nobody is asked to make it
from backtester.history import History
from backtester.plan import Plan
from backtester.run import backtest
from backtester.sweep import sweep
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from strategy_engine.panels import Panel
from strategy_engine.strategies.moving_average import MovingAverage


def make() -> None:
    """Compile all there is, by using it on a few bars."""
    n = 60
    day = 738_000 + np.arange(n, dtype=np.int64)
    opened = day * 86_400_000_000
    windows = {"short_window": 2, "long_window": 5}
    # Several symbols ask for more than one does.
    for symbols in ((Symbol("A"), Symbol("B")), (Symbol("A"),)):
        close = np.round(100.0 + 10.0 * np.sin(np.arange(n) / 4.0), 2)
        close = np.repeat(close.reshape(n, 1), len(symbols), axis=1)
        panel = Panel(
            Timeframe.DAY,
            symbols,
            close,
            close + 1.0,
            close - 1.0,
            close.copy(),
            np.full(close.shape, 1e6),
        )
        history = History(panel, opened, opened + 60_000_000, day, day + 1, "made up")
        backtest(MovingAverage(**windows), history, Plan(), compiled=True)
    sweep(MovingAverage, [windows], history, Plan(), workers=1)


if __name__ == "__main__":
    make()
