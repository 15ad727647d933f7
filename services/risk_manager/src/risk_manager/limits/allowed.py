"""What do the settings allow, and what may a person change while trading runs?

A value no limit may have is refused when it is set, at the start or later: 5 is no way to write 5 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from risk_manager.management import ManagementPlan
from risk_manager.sizing import SizingPlan
from shared.domain.errors import InvalidInput

if TYPE_CHECKING:  # the rules themselves must not bring the settings' machinery along
    from shared.config import Settings


# Under Regulation T and the intraday margin rules nobody may hold more than this multiple of equity.
MAX_LEVERAGE = 4.0
# Bounds of what is remembered about recent executions, for the rules that count them.
LONGEST_WINDOW_S = 3_600
MOST_RECENT = 1_000
# What may be changed while trading runs. Not among them: what history is loaded by, where stops and targets of
# new entries stand, maps and lists; those are settings, read at the start.
CHANGEABLE = frozenset(
    {
        "max_position_size", "max_portfolio_risk", "drawdown_limit", "max_daily_trades", "max_correlation",
        "max_signal_age_bars", "max_gross_exposure", "max_net_exposure", "max_sector_exposure",
        "max_strategy_exposure", "max_positions", "max_daily_loss", "max_orders_per_minute", "max_repeats",
        "repeat_window_s", "max_price_deviation", "max_order_value", "max_order_shares", "max_volume_share",
        "cool_down_bars", "stop_guard_stops", "stop_guard_bars", "maintenance_margin",
    }
)  # fmt: skip
# The least and the most of what is no plain fraction, as the settings have it: who may change a limit while trading runs
# may not take it away.
BOUNDS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "max_daily_trades": (1, 10_000),
        "max_signal_age_bars": (1, 100),
        "max_positions": (1, 10_000),
        "max_orders_per_minute": (1, MOST_RECENT),
        "max_repeats": (1, 1_000),
        "repeat_window_s": (1, LONGEST_WINDOW_S),
        "max_order_value": (1, 100_000_000),
        "max_order_shares": (1, 10_000_000),
        "cool_down_bars": (0, 10_000),
        "stop_guard_stops": (1, 1_000),
        "stop_guard_bars": (1, 10_000),
        "maintenance_margin": (0.25, 1),
    }
)
Changes = Mapping[str, float]
"""Limits that a person has set above the settings, by their name; whole numbers where the limit is a count."""
_NOTHING: Mapping[str, float] = MappingProxyType({})
_NO_SECTORS: Mapping[str, str] = MappingProxyType({})


def within_bounds(changes: Changes) -> Changes:
    """`changes` that were accepted earlier, each at the nearest value that it may have today; without unknown names.

    Another release may have taken what no limit may be any more, or a limit that this one does not know. To refuse it here
    would refuse every order, exits included, and the very change that mends it; to take it as it stands would keep the
    limit away.
    """
    nearest: dict[str, float] = {}
    for name, value in changes.items():
        if name not in CHANGEABLE:
            continue
        least, most = BOUNDS.get(name, (value, value))
        nearest[name] = min(max(value, least), most)
    return nearest


@dataclass(frozen=True, slots=True)
class Limits:
    """What the settings allow. Shares of equity are fractions: 0.05 means 5 %.

    Gross and net exposure may pass 1 where an account is margined; every other fraction may not.
    """

    max_position_size: float
    max_portfolio_risk: float
    drawdown_limit: float
    max_daily_trades: int
    max_correlation: float
    correlation_bars: int
    stop_loss: float
    take_profit: float
    max_signal_age_bars: int
    max_gross_exposure: float = 1.0
    max_net_exposure: float = 1.0
    max_sector_exposure: float = 0.3
    # Which sector each symbol belongs to; one that is missing here belongs to none.
    sectors: Mapping[str, str] = field(default_factory=lambda: _NO_SECTORS)
    max_strategy_exposure: float = 1.0
    # The share of equity that a strategy may bind; one that is missing here has no bucket of its own.
    strategy_capital: Mapping[str, float] = field(default_factory=lambda: _NOTHING)
    max_positions: int = 20
    max_daily_loss: float = 0.05
    max_orders_per_minute: int = 60
    max_repeats: int = 10
    repeat_window_s: int = 600
    max_price_deviation: float = 0.2
    max_order_value: float = 100_000.0
    max_order_shares: int = 50_000
    max_volume_share: float = 0.05
    cool_down_bars: int = 2
    stop_guard_stops: int = 8
    stop_guard_bars: int = 24
    maintenance_margin: float = 0.25
    pattern_day_trader_rule: bool = False
    halted_symbols: frozenset[str] = frozenset()
    flatten_on_breach: bool = False
    # Whether shares may be sold short at all; a strategy has its own switch beside this one.
    allow_short: bool = False
    sizing: SizingPlan = field(default_factory=SizingPlan)
    management: ManagementPlan = field(default_factory=ManagementPlan)

    def __post_init__(self) -> None:
        shares = (
            self.max_position_size,
            self.max_portfolio_risk,
            self.drawdown_limit,
            self.max_correlation,
            self.max_sector_exposure,
            self.max_strategy_exposure,
            self.max_daily_loss,
            self.max_price_deviation,
            self.max_volume_share,
            *self.strategy_capital.values(),
        )
        if not all(0.0 < share <= 1.0 for share in shares):
            raise InvalidInput("a limit is a fraction above 0 and at most 1: write 0.05 for 5 %")
        if not (0.0 < self.stop_loss < 1.0 and self.take_profit > 0.0):
            raise InvalidInput("stop loss must lie between 0 and 1, take profit above 0")
        if self.correlation_bars < 1:
            raise InvalidInput("correlation bars must be at least 1")
        if not all(0.0 < each <= MAX_LEVERAGE for each in self._exposures):
            raise InvalidInput(
                f"gross and net exposure are multiples of equity above 0 and at most {MAX_LEVERAGE:g}"
            )
        for name, (least, most) in BOUNDS.items():
            if not least <= getattr(self, name) <= most:
                raise InvalidInput(
                    f"{name} lies between {least:g} and {most:g}, was {getattr(self, name):g}"
                )
        if self.sizing.atr_bars > self.correlation_bars:
            raise InvalidInput(
                f"an average true range of {self.sizing.atr_bars} bars needs as many bars of history; "
                f"RISK_CORRELATION_BARS is {self.correlation_bars}"
            )

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """The limits that the environment sets."""
        return cls(
            max_position_size=settings.risk_max_position_size,
            max_portfolio_risk=settings.risk_max_portfolio_risk,
            drawdown_limit=settings.risk_drawdown_limit,
            max_daily_trades=settings.risk_max_daily_trades,
            max_correlation=settings.risk_max_correlation,
            correlation_bars=settings.risk_correlation_bars,
            stop_loss=settings.risk_stop_loss,
            take_profit=settings.risk_take_profit,
            max_signal_age_bars=settings.risk_max_signal_age_bars,
            max_gross_exposure=settings.risk_max_gross_exposure,
            max_net_exposure=settings.risk_max_net_exposure,
            max_sector_exposure=settings.risk_max_sector_exposure,
            sectors=MappingProxyType(dict(settings.risk_sectors)),
            max_strategy_exposure=settings.risk_max_strategy_exposure,
            strategy_capital=MappingProxyType(dict(settings.risk_strategy_capital)),
            max_positions=settings.risk_max_positions,
            max_daily_loss=settings.risk_max_daily_loss,
            max_orders_per_minute=settings.risk_max_orders_per_minute,
            max_repeats=settings.risk_max_repeats,
            repeat_window_s=settings.risk_repeat_window_s,
            max_price_deviation=settings.risk_max_price_deviation,
            max_order_value=settings.risk_max_order_value,
            max_order_shares=settings.risk_max_order_shares,
            max_volume_share=settings.risk_max_volume_share,
            cool_down_bars=settings.risk_cool_down_bars,
            stop_guard_stops=settings.risk_stop_guard_stops,
            stop_guard_bars=settings.risk_stop_guard_bars,
            maintenance_margin=settings.risk_maintenance_margin,
            pattern_day_trader_rule=settings.risk_pattern_day_trader_rule,
            halted_symbols=frozenset(settings.risk_halted_symbols),
            flatten_on_breach=settings.risk_flatten_on_breach,
            allow_short=settings.risk_allow_short,
            sizing=SizingPlan.of(settings),
            management=ManagementPlan.of(settings),
        )

    def changed_by(self, changes: Changes) -> Limits:
        """These limits with `changes` above them.

        Raises:
            InvalidInput: a name that may not be changed, or a value that no limit may have.
        """
        unknown = sorted(changes.keys() - CHANGEABLE)
        if unknown:
            raise InvalidInput(
                f"{', '.join(unknown)} cannot be changed while trading runs; "
                f"choose of {', '.join(sorted(CHANGEABLE))}"
            )
        given: dict[str, Any] = {}
        for name, value in changes.items():
            is_count = isinstance(getattr(self, name), int)
            if isinstance(value, bool) or not isfinite(value) or (is_count and value != int(value)):
                kind = "a whole number" if is_count else "a number"
                raise InvalidInput(f"{name} must be {kind}, was {value!r}")
            given[name] = int(value) if is_count else float(value)
        return replace(self, **given)

    def with_stored(self, changes: Changes) -> Limits:
        """These limits with `changes` above them that were accepted earlier, as `within_bounds` takes them."""
        return self.changed_by(within_bounds(changes))

    @property
    def _exposures(self) -> tuple[float, float]:
        return self.max_gross_exposure, self.max_net_exposure

    @property
    def least_common_returns(self) -> int:
        """With fewer returns in common than this a correlation is unknown: half of what is asked for.

        A coefficient from a handful of bars is noise; half a window still tells twins apart.
        """
        return max(self.correlation_bars // 2, 2)
