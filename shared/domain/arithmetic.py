"""Which arithmetic do the rules share?

Rules (sizing, limits, fills) are scalar float64, so that compiled and interpreted Python, live trading and
backtests agree to the last bit: only + - * / floor sqrt log exp min max and explicit loops. What enters a
rule lies on the grid of a millionth; what leaves it as shares or prices is rounded here and nowhere else.
"""

from __future__ import annotations

from math import floor

# Absorbs the binary noise of products before a floor or a comparison; far below any share or cent.
NOISE = 1e-9
# The step of what enters a rule.
GRID = 1e-6


def quantised(value: float) -> float:
    """`value` on the grid of a millionth, half up."""
    return floor(value * 1_000_000.0 + 0.5) / 1_000_000.0


def whole_shares(shares: float) -> int:
    """Whole shares in `shares`; never negative."""
    whole = floor(shares + NOISE)
    return whole if whole > 0 else 0


def to_tick(price: float) -> float:
    """`price` half up to the cent, below one dollar to a hundredth of a cent, as exchanges quote it."""
    if price >= 1.0:
        return floor(price * 100.0 + 0.5 + NOISE) / 100.0
    return floor(price * 10_000.0 + 0.5 + NOISE) / 10_000.0
