"""What would a made-up market look like, the same for everybody who asks with the same seed?

Minute sessions whose every figure is a function of (seed, symbol, day and the close before), so a session
can be made when it is needed and twice. Only integers from PCG64 and + - * / floor are used: logarithms and
exponentials differ in the last bit between machines. The prices mean nothing; they are labelled SYNTHETIC
wherever they are shown.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from datetime import date
from math import floor

import numpy as np
from numpy.typing import NDArray

from shared.domain.bar_blocks import to_epoch_us
from shared.domain.calendar import Session, TradingCalendar
from shared.domain.errors import Misconfigured
from shared.domain.money import MICROS
from shared.domain.symbols import Symbol, parse_symbol
from shared.domain.timeframes import Timeframe
from simulator.tape import Segment, Tape

DEFAULT_SYMBOLS = tuple(parse_symbol(s) for s in ("AAPL", "MSFT", "NVDA", "SPY", "TSLA"))
FIRST_ON = date(2026, 1, 5)
_MINUTE_US = 60 * MICROS
_MICROS_PER_CENT = MICROS // 100
# Round numbers that nobody mistakes for quotes; other symbols start at 100 dollars.
_BASE_PRICES = {"AAPL": 100.0, "MSFT": 200.0, "NVDA": 50.0, "SPY": 400.0, "TSLA": 150.0}
_BASE_PRICE = 100.0
# One minute's standard deviation at noon, as a share of the price; the day's ends move 2.5 times as much.
_NOON_MOVE = 0.0005
_U_DEPTH = 1.5
# Strength of a trend in one minute, and how long it lasts: long enough for averages of 20 and 50
# minutes to cross several times a day.
_TREND = 0.00035
_TREND_MINUTES = (35, 80)
_GAP = 0.003
# What pulls the price home over night, so that a long run neither explodes nor dies.
_PULL = 0.05
_NOON_VOLUME = 20_000.0


def make_synthetic_tape(
    calendar: TradingCalendar,
    *,
    seed: int,
    symbols: Sequence[Symbol] = DEFAULT_SYMBOLS,
    sessions: int | None = None,
) -> Tape:
    """A tape of minute bars from `FIRST_ON` on: `sessions` of them, or as far as the calendar knows."""
    days = calendar.between(FIRST_ON, calendar.last_on)[:sessions]
    if not days:
        raise Misconfigured(f"the exchange calendar has no session from {FIRST_ON} on")
    ordered = tuple(sorted(set(symbols)))
    market = _Market(seed, ordered)
    waiting = iter(days)
    first = market.session(next(waiting), 0)
    number = iter(range(1, len(days)))

    def grow() -> Segment | None:
        session = next(waiting, None)
        return None if session is None else market.session(session, next(number))

    names = ",".join(ordered)
    return Tape(
        source=f"SYNTHETIC seed={seed}",
        timeframe=Timeframe.MINUTE,
        symbols=ordered,
        calendar=calendar,
        digest=f"synthetic-1|{seed}|{names}",
        first=first,
        grow=grow if len(days) > 1 else None,
        opening_prices={s: floor(_base_price(s) * MICROS) for s in ordered},
    )


def _base_price(symbol: Symbol) -> float:
    return _BASE_PRICES.get(symbol, _BASE_PRICE)


class _Market:
    """Where each symbol's price stands; sessions must be made in order."""

    def __init__(self, seed: int, symbols: Sequence[Symbol]) -> None:
        self._seed = seed
        self._symbols = symbols
        self._last = {symbol: _base_price(symbol) for symbol in symbols}

    def session(self, session: Session, number: int) -> Segment:
        """All symbols' minutes of one session."""
        opens_us, closes_us = to_epoch_us(session.open_at), to_epoch_us(session.close_at)
        minutes = (closes_us - opens_us) // _MINUTE_US
        count = len(self._symbols)
        figures = np.empty((5, minutes, count), dtype=np.int64)
        for i, symbol in enumerate(self._symbols):
            draws = np.random.Generator(
                np.random.PCG64([self._seed, zlib.crc32(symbol.encode()), session.on.toordinal()])
            )
            figures[:, :, i] = self._day(symbol, draws, minutes)
        start_us = np.repeat(opens_us + _MINUTE_US * np.arange(minutes, dtype=np.int64), count)
        opens, highs, lows, closes, volumes = (f.reshape(-1) for f in figures)
        return Segment(
            symbol=np.tile(np.arange(count, dtype=np.int32), minutes),
            start_us=start_us,
            opens_us=start_us,
            end_us=start_us + _MINUTE_US,
            session=np.full(minutes * count, number, dtype=np.int64),
            open=opens,
            high=highs,
            low=lows,
            close=closes,
            volume=volumes,
        )

    def _day(self, symbol: Symbol, draws: np.random.Generator, minutes: int) -> NDArray[np.int64]:
        """Open, high, low, close (micros) and volume of one symbol's day, shape (5, minutes)."""
        base, price = _base_price(symbol), self._last[symbol]
        noise = _bells(draws, minutes)
        edges = np.abs(_bells(draws, minutes)), np.abs(_bells(draws, minutes))
        crowd = draws.random(minutes)
        trend = self._trends(draws, minutes)
        price *= 1.0 + _GAP * float(_bells(draws, 1)[0]) + _PULL * (base / price - 1.0)
        out = np.empty((5, minutes), dtype=np.int64)
        # A loop and not a cumulative product: the order of operations is then written down.
        for m in range(minutes):
            noon_distance = 2.0 * (m + 0.5) / minutes - 1.0
            u = 1.0 + _U_DEPTH * noon_distance * noon_distance
            move = _NOON_MOVE * u
            opened = price
            price = opened * (1.0 + trend[m] + move * float(noise[m]))
            top = max(opened, price) * (1.0 + 0.5 * move * float(edges[0][m]))
            bottom = min(opened, price) * (1.0 - 0.5 * move * float(edges[1][m]))
            volume = floor(_NOON_VOLUME * u * u * (0.5 + float(crowd[m])))
            out[:, m] = (_cents(opened), _cents(top), _cents(bottom), _cents(price), volume)
        self._last[symbol] = price
        return out

    @staticmethod
    def _trends(draws: np.random.Generator, minutes: int) -> list[float]:
        """The drift of each minute: stretches up, down and, rarely, sideways."""
        trends: list[float] = []
        direction = 1 if draws.random() < 0.5 else -1
        while len(trends) < minutes:
            length = int(draws.integers(*_TREND_MINUTES))
            strength = _TREND * (0.5 + float(draws.random())) * direction
            trends.extend([strength] * length)
            direction = -direction if draws.random() < 0.8 else direction
        return trends[:minutes]


def _bells(draws: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Nearly normal numbers: twelve uniforms less six, added one after the other."""
    uniforms = draws.random((12, count))
    total: NDArray[np.float64] = uniforms[0].copy()
    for row in uniforms[1:]:
        total += row
    total -= 6.0
    return total


def _cents(price: float) -> int:
    """Micros of `price` rounded half up to a cent, at least one."""
    return max(floor(price * 100.0 + 0.5), 1) * _MICROS_PER_CENT
