"""What is done with positions that are held, without anybody's wish?

The plan, and the scalars behind it: where a stop stands once a bar has closed, when a day is over. What follows for
an account is asked in `positions`. Arithmetic as `shared.domain.arithmetic` says. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import floor, inf
from typing import TYPE_CHECKING

from shared.domain.arithmetic import GRID, NOISE, to_tick
from shared.domain.calendar import TradingCalendar
from shared.domain.errors import InvalidInput

if TYPE_CHECKING:  # the rules themselves must not bring the settings' machinery along
    from shared.config import Settings

# A stop moves by this share of the price or stays: each move costs two requests at the broker.
LEAST_STEP = 0.001


@dataclass(frozen=True, slots=True)
class ManagementPlan:
    """What is done with positions; by default nothing.

    Fractions of the price: 0.03 means 3 %. `scale_out` are gains over the entry's price, each with the share of
    the entry that is sold there.
    """

    trailing_stop: float = 0.0
    atr_stop: float = 0.0
    scale_out: tuple[tuple[float, float], ...] = ()
    rebalance_band: float = 0.0
    day_strategies: frozenset[str] = frozenset()
    flat_before_close_s: int = 600

    def __post_init__(self) -> None:
        if not (0.0 <= self.trailing_stop < 1.0 and 0.0 <= self.atr_stop < inf):
            raise InvalidInput("a trailing stop is a fraction below 1, an ATR stop a multiple")
        if not 0.0 <= self.rebalance_band < inf:
            raise InvalidInput("the band of rebalancing is a fraction of 0 or more")
        gains = [gain for gain, _ in self.scale_out]
        if not all(gain > 0.0 and 0.0 < share <= 1.0 for gain, share in self.scale_out):
            raise InvalidInput("a position is scaled out above its price, by fractions of it")
        if len(set(gains)) < len(gains):
            raise InvalidInput("each target of scaling out stands once")

    @classmethod
    def of(cls, settings: Settings) -> ManagementPlan:
        """The plan that the environment sets."""
        return cls(
            trailing_stop=settings.risk_trailing_stop,
            atr_stop=settings.risk_atr_stop,
            scale_out=tuple(sorted(settings.risk_scale_out)),
            rebalance_band=settings.risk_rebalance_band,
            day_strategies=frozenset(settings.risk_day_strategies),
            flat_before_close_s=settings.risk_flat_before_close_s,
        )

    @property
    def without_prices(self) -> ManagementPlan:
        """What is left of it where no price is fresh: what goes by the clock alone."""
        return ManagementPlan(
            day_strategies=self.day_strategies, flat_before_close_s=self.flat_before_close_s
        )

    @property
    def is_empty(self) -> bool:
        """Whether nothing is done."""
        return not (
            self.moves_stops or self.scale_out or self.rebalance_band > 0.0 or self.day_strategies
        )

    @property
    def moves_stops(self) -> bool:
        """Whether it moves stops at all."""
        return self.trailing_stop > 0.0 or self.atr_stop > 0.0


def tightened_stop(
    stop: float, price: float, trailing_stop: float, atr_stop: float, true_range: float
) -> float:
    """Where a long position's stop stands once a bar has closed at `price`; never below `stop`.

    Args:
        stop, price: dollars.
        trailing_stop: distance as a fraction of the price; 0 for none.
        atr_stop: distance in average true ranges; 0 for none. `true_range`: dollars, 0 while unknown.
    """
    wanted = stop
    if trailing_stop > 0.0:
        wanted = max(wanted, to_tick(price * (1.0 - trailing_stop)))
    if atr_stop > 0.0 and true_range > 0.0:
        wanted = max(wanted, to_tick(price - atr_stop * true_range))
    is_worth_it = wanted - stop + NOISE >= price * LEAST_STEP
    return wanted if is_worth_it and wanted < price else stop


def lowered_stop(
    stop: float, price: float, trailing_stop: float, atr_stop: float, true_range: float
) -> float:
    """Where a short position's stop stands once a bar has closed at `price`; never above `stop`.

    The mirror image of `tightened_stop`, which says what the arguments are.
    """
    wanted = stop
    if trailing_stop > 0.0:
        wanted = min(wanted, to_tick(price * (1.0 + trailing_stop)))
    if atr_stop > 0.0 and true_range > 0.0:
        wanted = min(wanted, to_tick(price + atr_stop * true_range))
    is_worth_it = stop - wanted + NOISE >= price * LEAST_STEP
    return wanted if is_worth_it and wanted > price else stop


def rebalance_shares(
    shares: float, price: float, equity: float, max_position_size: float, band: float
) -> float:
    """Shares by which a position that has outgrown its most by more than `band` is made smaller: whole ones, or all.

    Args:
        shares: held, or owed.
        price, equity: dollars. `max_position_size`: the most, a fraction of equity. `band`: a fraction of the most.
    """
    if band <= 0.0 or equity <= 0.0 or price <= 0.0:
        return 0.0
    value, most = shares * price, equity * max_position_size
    if value <= most * (1.0 + band) + GRID:
        return 0.0
    return min(-floor(NOISE - (value - most) / price) * 1.0, shares)


def has_gained(price: float, reference: float, gain: float, is_short: bool) -> bool:
    """Whether `price` is `gain` (a fraction) or more above what the entry was decided at; below it for a short one."""
    if is_short:
        return price - NOISE <= reference * (1.0 - gain)
    return price + NOISE >= reference * (1.0 + gain)


def is_day_over(now: datetime, calendar: TradingCalendar, before_close_s: int) -> bool:
    """Whether the session that `now` is in, or has just ended with, closes within `before_close_s`."""
    session = calendar.session_at(now - timedelta(microseconds=1))
    return session is not None and now >= session.close_at - timedelta(seconds=before_close_s)
