"""What do prices say, on average, against each other and against their own past?

Every function takes and gives panels: float64 of shape (bars, symbols), oldest first, NaN where a symbol has no bar. Windows
count the symbol's own bars, and what smooths forgets at a stated depth (`ema_memory`, `wilder_memory`), so a value depends
neither on which other symbols are loaded nor on where the series began: live (a short window) and backtest (the whole
history) agree to the last bit. A price that does not move crosses nothing. This module defines nothing.
"""

from strategy_engine.indicators.averages import (
    MAX_WINDOW,
    ema,
    ema_memory,
    sma,
    wilder,
    wilder_memory,
    wma,
)
from strategy_engine.indicators.crossings import crossed_above, crossed_below
from strategy_engine.indicators.oscillators import cci, macd, macd_memory, roc, rsi, stochastic
from strategy_engine.indicators.own_bars import lag
from strategy_engine.indicators.ranges import (
    atr,
    bollinger,
    donchian,
    highest,
    lowest,
    standard_deviation,
    true_range,
)
from strategy_engine.indicators.trends import adx, adx_memory, efficiency
from strategy_engine.indicators.volumes import obv, vwap

__all__ = [
    "MAX_WINDOW",
    "adx",
    "adx_memory",
    "atr",
    "bollinger",
    "cci",
    "crossed_above",
    "crossed_below",
    "donchian",
    "efficiency",
    "ema",
    "ema_memory",
    "highest",
    "lag",
    "lowest",
    "macd",
    "macd_memory",
    "obv",
    "roc",
    "rsi",
    "sma",
    "standard_deviation",
    "stochastic",
    "true_range",
    "vwap",
    "wilder",
    "wilder_memory",
    "wma",
]
