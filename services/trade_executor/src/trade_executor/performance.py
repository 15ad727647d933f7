"""How did the trades of a day go?

A trade is what one order closed of one other order; it belongs to the New York day on which it was closed, and wins if it
earned anything after fees. Figures are folds over closed lots, so asking again gives the same. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal

from shared.domain.calendar import NEW_YORK
from shared.domain.lots import ZERO, Closing
from shared.domain.money import MICROS

_MICRO = Decimal(1) / MICROS


@dataclass(frozen=True, slots=True)
class DayPerformance:
    """One day's closed trades; dollars after fees, `gross_loss` at or above zero."""

    day_on: date
    wins: int = 0
    losses: int = 0
    gross_profit: Decimal = ZERO
    gross_loss: Decimal = ZERO

    @property
    def trades(self) -> int:
        """How many were closed."""
        return self.wins + self.losses

    @property
    def pnl(self) -> Decimal:
        """Dollars earned."""
        return self.gross_profit - self.gross_loss

    @property
    def win_rate(self) -> float | None:
        """The share of trades that earned something; None without trades."""
        return self.wins / self.trades if self.trades else None

    @property
    def profit_factor(self) -> float | None:
        """Dollars won per dollar lost; None where nothing was lost."""
        return float(self.gross_profit / self.gross_loss) if self.gross_loss else None

    @property
    def expectancy(self) -> Decimal | None:
        """Dollars that a trade earned on average, on the grid of a micro; None without trades."""
        if not self.trades:
            return None
        return (self.pnl / self.trades).quantize(_MICRO, ROUND_HALF_EVEN)


def performance_on(day: date, closings: Iterable[Closing]) -> DayPerformance:
    """The figures of `day`; what has no known cost says nothing about winning and is left out."""
    gains: dict[tuple[str, str], Decimal] = {}
    for closing in closings:
        closed = closing.closed.execution
        if closing.gain is None or closed.executed_at.astimezone(NEW_YORK).date() != day:
            continue
        trade = (closing.opened.execution.order_id, closed.order_id)
        gains[trade] = gains.get(trade, ZERO) + closing.gain
    won = [gain for gain in gains.values() if gain > 0]
    lost = [-gain for gain in gains.values() if gain <= 0]
    return DayPerformance(day, len(won), len(lost), sum(won, ZERO), sum(lost, ZERO))
