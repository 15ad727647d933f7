"""What is a bar, and when may it be used?

A bar covers [start_at, end_at) and is usable only from `end_at` on. One that contradicts itself
cannot be built, so nobody downstream checks again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from shared.domain.errors import InvalidBar, InvalidTime
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe

# A day's volume of the whole US market is around 1e10 shares; above this the figure is garbage.
MAX_VOLUME = 10**12


def require_aware(at: datetime, name: str) -> datetime:
    """Return `at` unchanged; raise InvalidTime when it has no time zone."""
    if at.tzinfo is None or at.utcoffset() is None:
        raise InvalidTime(f"{name} must carry a time zone, was {at.isoformat()}")
    return at


@dataclass(frozen=True, slots=True)
class Bar:
    """Open, high, low, close in dollars per share and volume in shares, of one interval.

    Build prices with `parse_price`: they are exact to a micro.
    """

    symbol: Symbol
    timeframe: Timeframe
    start_at: datetime
    end_at: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: int

    def __post_init__(self) -> None:
        require_aware(self.start_at, "start_at")
        require_aware(self.end_at, "end_at")
        if self.end_at <= self.start_at:
            raise InvalidBar(
                f"{self._name()}: end_at {self.end_at.isoformat()} is not after start_at"
            )
        prices = (self.open, self.high, self.low, self.close)
        if not all(p.is_finite() and p > 0 for p in prices):
            raise InvalidBar(
                f"{self._name()}: each price must be finite and above zero, were {prices}"
            )
        if self.high < max(prices) or self.low > min(prices):
            raise InvalidBar(
                f"{self._name()}: open {self.open} and close {self.close} must lie between "
                f"low {self.low} and high {self.high}"
            )
        if not 0 <= self.volume <= MAX_VOLUME:
            raise InvalidBar(f"{self._name()}: volume must be 0 to {MAX_VOLUME}, was {self.volume}")

    def _name(self) -> str:
        return f"bar {self.symbol} {self.timeframe} {self.start_at.isoformat()}"
