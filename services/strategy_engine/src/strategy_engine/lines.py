"""Which lines may be drawn beside the prices of one symbol?

The very functions that strategies use, under short names, so that a chart shows what was decided on and not a second
reckoning of it. Bars go in, lines come out; nothing is read here and nothing is traded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from shared.domain.bar_blocks import BarBlock
from shared.domain.errors import InvalidInput
from strategy_engine.indicators.averages import ema, ema_memory, sma, wilder_memory
from strategy_engine.indicators.oscillators import macd, macd_memory, rsi
from strategy_engine.indicators.ranges import atr, bollinger, donchian
from strategy_engine.indicators.volumes import vwap
from strategy_engine.panels import Floats

MOST_NAMES = 8
_MICROS = 1e6
# A session of minutes and one before it: a mean since the open knows where that session began.
_TWO_SESSIONS = 780


@dataclass(frozen=True, slots=True)
class Line:
    """One line: a value per bar, None where it is not known yet. `is_price` says that it belongs among the prices."""

    name: str
    title: str
    is_price: bool
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class _Bars:
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    end_us: np.ndarray[tuple[int, ...], np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class _Known:
    titles: tuple[str, ...]
    is_price: bool
    memory: int
    compute: Callable[[_Bars], Sequence[Floats]]


KNOWN: Mapping[str, _Known] = {
    "sma20": _Known(("SMA 20",), True, 20, lambda b: (sma(b.close, 20),)),
    "sma50": _Known(("SMA 50",), True, 50, lambda b: (sma(b.close, 50),)),
    "sma200": _Known(("SMA 200",), True, 200, lambda b: (sma(b.close, 200),)),
    "ema12": _Known(("EMA 12",), True, ema_memory(12), lambda b: (ema(b.close, 12),)),
    "ema26": _Known(("EMA 26",), True, ema_memory(26), lambda b: (ema(b.close, 26),)),
    "bollinger": _Known(
        ("Lower band", "Middle band", "Upper band"), True, 20, lambda b: bollinger(b.close)
    ),
    "donchian": _Known(
        ("Channel low", "Channel high"), True, 20, lambda b: donchian(b.high, b.low)
    ),
    "vwap": _Known(
        ("VWAP",),
        True,
        _TWO_SESSIONS,
        lambda b: (vwap(b.high, b.low, b.close, b.volume, b.end_us),),
    ),
    "rsi14": _Known(("RSI 14",), False, wilder_memory(14) + 1, lambda b: (rsi(b.close),)),
    "macd": _Known(("MACD", "Signal", "Difference"), False, macd_memory(26, 9), lambda b: macd(b.close)),
    "atr14": _Known(("ATR 14",), False, wilder_memory(14) + 1, lambda b: (atr(b.high, b.low, b.close),)),
}  # fmt: skip


def memory_of(names: Sequence[str]) -> int:
    """How many bars before the first drawn one are needed.

    Raises:
        InvalidInput: a name is not known, or there are too many.
    """
    if len(names) > MOST_NAMES:
        raise InvalidInput(f"at most {MOST_NAMES} lines are drawn at once, {len(names)} were asked")
    for name in names:
        if name not in KNOWN:
            raise InvalidInput(f"there is no line {name[:40]!r}; known are {', '.join(KNOWN)}")
    return max((KNOWN[name].memory for name in names), default=0)


def lines_of(block: BarBlock, names: Sequence[str], shown: int) -> list[Line]:
    """The lines called `names` over one symbol's bars, for the newest `shown` of them."""
    bars = _bars(block)
    found = []
    for name in dict.fromkeys(names):
        known = KNOWN[name]
        for title, values in zip(known.titles, known.compute(bars), strict=True):
            column = values[:, 0][-shown:] if len(block) else ()
            found.append(
                Line(
                    name,
                    title,
                    known.is_price,
                    tuple(round(float(v), 6) if np.isfinite(v) else None for v in column),
                )
            )
    return found


def _bars(block: BarBlock) -> _Bars:
    column = (-1, 1)
    return _Bars(
        (block.high / _MICROS).reshape(column),
        (block.low / _MICROS).reshape(column),
        (block.close / _MICROS).reshape(column),
        block.volume.astype(np.float64).reshape(column),
        block.end_us.reshape(column),
    )
