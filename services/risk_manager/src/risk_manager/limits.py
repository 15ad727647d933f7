"""Which rules may refuse an order, and what does each one measure?

The catalogue: figures go in, a `Check` with limit and usage comes out. Reason codes are stable: tables,
reports and people refer to them. How large an order should be is asked in `sizing`; in which order the rules
are applied, and to what, in `review`. Nothing here reads a clock, a table or a socket. Arithmetic as
`shared.domain.arithmetic` says: what comes in is quantised, so live trading and backtests agree.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from math import inf, isfinite, log, sqrt
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from risk_manager.management import ManagementPlan
from risk_manager.sizing import SizingPlan
from shared.domain.arithmetic import GRID, NOISE
from shared.domain.decisions import Check, Purpose, TradingMode
from shared.domain.errors import InvalidInput

if TYPE_CHECKING:  # the rules themselves must not bring the settings' machinery along
    from shared.config import Settings

# A bracket's legs must stand at least a cent away from the price (Alpaca, error 42210000).
LEAST_LEG_DISTANCE = 0.01
# Under Regulation T and the intraday margin rules nobody may hold more than this multiple of equity.
MAX_LEVERAGE = 4.0
# Bounds of what is remembered about recent executions, for the rules that count them.
LONGEST_WINDOW_S = 3_600
MOST_RECENT = 1_000
# The pattern-day-trader rule, for whoever still lives under it: FINRA rule 4210 before 2026-06-04.
PDT_EQUITY = 25_000.0
PDT_DAY_TRADES = 3
PDT_SESSIONS = 5


class Code(StrEnum):
    """Every reason for which an order can be refused; the first that fails names the refusal."""

    MODE = "MODE"
    SHORT_NOT_ALLOWED = "SHORT_NOT_ALLOWED"
    CROSSES_ZERO = "CROSSES_ZERO"
    NO_POSITION = "NO_POSITION"
    EXIT_IN_PROGRESS = "EXIT_IN_PROGRESS"
    UNKNOWN_ORDER = "UNKNOWN_ORDER"
    ALREADY_HELD = "ALREADY_HELD"
    MARKET_HOURS = "MARKET_HOURS"
    SIGNAL_AGE = "SIGNAL_AGE"
    STALE_PRICE = "STALE_PRICE"
    UNPRICED_POSITION = "UNPRICED_POSITION"
    DRAWDOWN = "DRAWDOWN"
    DAILY_TRADES = "DAILY_TRADES"
    WHOLE_SHARES = "WHOLE_SHARES"
    BRACKET_PRICES = "BRACKET_PRICES"
    QUANTITY_ZERO = "QUANTITY_ZERO"
    POSITION_SIZE = "POSITION_SIZE"
    BUYING_POWER = "BUYING_POWER"
    PORTFOLIO_RISK = "PORTFOLIO_RISK"
    CORRELATION = "CORRELATION"
    GROSS_EXPOSURE = "GROSS_EXPOSURE"
    NET_EXPOSURE = "NET_EXPOSURE"
    SECTOR_EXPOSURE = "SECTOR_EXPOSURE"
    STRATEGY_EXPOSURE = "STRATEGY_EXPOSURE"
    STRATEGY_CAPITAL = "STRATEGY_CAPITAL"
    CONCURRENT_POSITIONS = "CONCURRENT_POSITIONS"
    DAILY_LOSS = "DAILY_LOSS"
    ORDERS_PER_MINUTE = "ORDERS_PER_MINUTE"
    REPEATED_EXECUTION = "REPEATED_EXECUTION"
    PRICE_COLLAR = "PRICE_COLLAR"
    ORDER_VALUE = "ORDER_VALUE"
    ORDER_SHARES = "ORDER_SHARES"
    SYMBOL_HALTED = "SYMBOL_HALTED"
    SYMBOL_QUARANTINED = "SYMBOL_QUARANTINED"
    WASH_TRADE = "WASH_TRADE"
    FAT_FINGER = "FAT_FINGER"
    COOL_DOWN = "COOL_DOWN"
    STOP_LOSS_GUARD = "STOP_LOSS_GUARD"
    INTRADAY_MARGIN = "INTRADAY_MARGIN"
    PATTERN_DAY_TRADER = "PATTERN_DAY_TRADER"


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
Changes = Mapping[str, float]
"""Limits that a person has set above the settings, by their name; whole numbers where the limit is a count."""

_NOTHING: Mapping[str, float] = MappingProxyType({})
_NO_SECTORS: Mapping[str, str] = MappingProxyType({})


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
            self.maintenance_margin,
            *self.strategy_capital.values(),
        )
        if not all(0.0 < share <= 1.0 for share in shares):
            raise InvalidInput("a limit is a fraction above 0 and at most 1: write 0.05 for 5 %")
        if not (0.0 < self.stop_loss < 1.0 and self.take_profit > 0.0):
            raise InvalidInput("stop loss must lie between 0 and 1, take profit above 0")
        if min(self.max_daily_trades, self.correlation_bars, self.max_signal_age_bars) < 1:
            raise InvalidInput("daily trades, correlation bars and signal age must be at least 1")
        if not all(0.0 < each <= MAX_LEVERAGE for each in self._exposures):
            raise InvalidInput(
                f"gross and net exposure are multiples of equity above 0 and at most {MAX_LEVERAGE:g}"
            )
        counts = (
            self.max_positions,
            self.max_orders_per_minute,
            self.max_repeats,
            self.repeat_window_s,
            self.max_order_shares,
            self.stop_guard_stops,
            self.stop_guard_bars,
        )
        if min(counts) < 1 or self.cool_down_bars < 0:
            raise InvalidInput("a count is at least 1; the cool-down may be 0 bars for none")
        if self.repeat_window_s > LONGEST_WINDOW_S or self.max_orders_per_minute > MOST_RECENT:
            raise InvalidInput(
                f"executions are remembered for {LONGEST_WINDOW_S} s and {MOST_RECENT} entries at most"
            )
        if self.sizing.atr_bars > self.correlation_bars:
            raise InvalidInput(
                f"an average true range of {self.sizing.atr_bars} bars needs as many bars of history; "
                f"RISK_CORRELATION_BARS is {self.correlation_bars}"
            )
        if not 0.0 < self.max_order_value < inf:
            raise InvalidInput("the value of an order is limited to dollars above 0")

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

    @property
    def _exposures(self) -> tuple[float, float]:
        return self.max_gross_exposure, self.max_net_exposure

    @property
    def least_common_returns(self) -> int:
        """With fewer returns in common than this a correlation is unknown: half of what is asked for.

        A coefficient from a handful of bars is noise; half a window still tells twins apart.
        """
        return max(self.correlation_bars // 2, 2)


def mode(current: TradingMode, purpose: Purpose) -> Check:
    """ACTIVE lets all pass, REDUCING only exits, HALTED nothing.

    Source: rule R10 of the fault model; SEC rule 15c3-5 asks for such a switch.
    """
    limit = 0 if purpose is Purpose.ENTRY else 1
    return Check(
        Code.MODE,
        current.strictness <= limit,
        float(limit),
        float(current.strictness),
        "0 ACTIVE, 1 REDUCING, 2 HALTED",
        f"trading is {current}; an {purpose} needs {'ACTIVE' if limit == 0 else 'no HALTED'}",
    )


def short_not_allowed(selling: float, held: float) -> Check:
    """Nothing may be sold that is not held: this system opens no short positions.

    Args:
        selling, held: shares.
    """
    return Check(
        Code.SHORT_NOT_ALLOWED,
        selling <= max(held, 0.0) + NOISE,
        max(held, 0.0),
        selling,
        "shares",
        f"selling {selling:g} of {held:g} held; short positions are not opened",
    )


def crosses_zero(buying: float, short: float) -> Check:
    """A buy against a short position may close it and no more; what it would mean beyond is unclear.

    Args:
        buying, short: shares; `short` is how many are owed.
    """
    return Check(
        Code.CROSSES_ZERO,
        buying <= short + NOISE,
        short,
        buying,
        "shares",
        f"buying {buying:g} against a short position of {short:g}; buy at most that much",
    )


def no_position(reducible: float) -> Check:
    """An exit needs something to get out of: shares held, or an entry that may still fill."""
    return Check(
        Code.NO_POSITION,
        reducible > NOISE,
        0.0,
        reducible,
        "shares",
        f"{reducible:g} shares are held or on order",
    )


def exit_in_progress(leaving: float, reducible: float) -> Check:
    """All exits together sell no more than there is, so that none opens a short position.

    Args:
        leaving: shares of live exits with this one.
        reducible: shares held or in entries that may still fill.
    Source: invariant I10 of the fault model.
    """
    return Check(
        Code.EXIT_IN_PROGRESS,
        leaving <= reducible + NOISE,
        reducible,
        leaving,
        "shares",
        f"exits for {leaving:g} of {reducible:g} shares, this one included",
    )


def entry_during_exit(leaving: float) -> Check:
    """While a symbol is being sold it takes no entry, which that sale would cancel or sell along.

    Args:
        leaving: shares of live exits.
    """
    return Check(
        Code.EXIT_IN_PROGRESS,
        leaving <= NOISE,
        0.0,
        leaving,
        "shares",
        f"exits for {leaving:g} shares are under way",
    )


def unknown_order(orders: int) -> Check:
    """A symbol with an order of unknown outcome takes no new entry until the outcome is proven.

    Args:
        orders: how many the broker may or may not have.
    Source: rule R6 of the fault model.
    """
    return Check(
        Code.UNKNOWN_ORDER,
        orders == 0,
        0.0,
        float(orders),
        "orders",
        f"{orders} orders have an unknown outcome",
    )


def already_held(committed: float) -> Check:
    """A wish to hold is fulfilled once something is held or on order; it is no wish for more."""
    return Check(
        Code.ALREADY_HELD,
        abs(committed) <= NOISE,
        0.0,
        abs(committed),
        "shares",
        f"{committed:g} shares are held or on order already",
    )


def market_hours(act_from: datetime | None, act_until: datetime | None) -> Check:
    """An entry is sent inside a session, narrowed by the settings' window; None where there is none."""
    if act_from is None or act_until is None:
        text = "no session of the next 30 days meets TRADING_START_TIME..TRADING_END_TIME"
    else:
        text = f"may be sent from {act_from.isoformat()} until {act_until.isoformat()}"
    return Check(
        Code.MARKET_HOURS, act_from is not None, 1.0, float(act_from is not None), "windows", text
    )


def signal_age(age: timedelta, bar_length: timedelta, limit_bars: int) -> Check:
    """A wish is worth acting on for a few bars; only open hours count.

    Args:
        age: session time from the deciding bar's end to the earliest sending.
    Source: invariant I21 of the fault model.
    """
    bars = age / bar_length
    return Check(
        Code.SIGNAL_AGE,
        bars <= limit_bars,
        float(limit_bars),
        bars,
        "bars",
        f"{bars:.2f} bars old when it can be sent first, at most {limit_bars}",
    )


def stale_price(age: timedelta | None, bar_length: timedelta, limit_bars: int) -> Check:
    """An entry needs a fresh price; `age` is session time since its bar ended, None without a price."""
    bars = age / bar_length if age is not None else float(limit_bars + 1)
    text = f"the price is {bars:.2f} bars old" if age is not None else "there is no price"
    return Check(
        Code.STALE_PRICE,
        bars <= limit_bars,
        float(limit_bars),
        bars,
        "bars",
        f"{text}, at most {limit_bars} are fresh",
    )


def unpriced_position(symbols: Sequence[str]) -> Check:
    """While something held has no market price, equity is an estimate and nothing is added to it.

    Source: rule R9 of the fault model: fail closed, while exits keep working.
    """
    named = ", ".join(symbols) if symbols else "none"
    return Check(
        Code.UNPRICED_POSITION,
        not symbols,
        0.0,
        float(len(symbols)),
        "positions",
        f"positions without a market price: {named}",
    )


def drawdown_of(equity: float, peak: float) -> float:
    """How far `equity` (dollars) is below its running `peak`, as a fraction of the peak; 0 or more."""
    return max(0.0, (peak - equity) / peak) if peak > 0.0 else 0.0


def drawdown(equity: float, peak: float, limit: float) -> Check:
    """No entry once the account has lost more than `limit` of its peak."""
    lost = drawdown_of(equity, peak)
    return Check(
        Code.DRAWDOWN,
        lost <= limit + NOISE,
        limit,
        lost,
        "of peak equity",
        f"equity {equity:.2f} is {lost:.2%} below its peak {peak:.2f}, at most {limit:.2%}",
    )


def daily_trades(entries: int, limit: int) -> Check:
    """At most `limit` entries for one exchange day, this one included; exits are not counted."""
    return Check(
        Code.DAILY_TRADES,
        entries <= limit,
        float(limit),
        float(entries),
        "entries a day",
        f"entry {entries} of at most {limit} for that exchange day",
    )


def whole_shares_only(quantity: float) -> Check:
    """Entries are whole shares: the broker takes no bracket on fractions, so they would go unprotected."""
    fraction = quantity % 1.0
    return Check(
        Code.WHOLE_SHARES,
        fraction <= NOISE,
        0.0,
        fraction,
        "shares",
        f"{quantity:g} shares; an entry needs whole ones",
    )


def bracket_prices(price: float, stop: float | None, target: float | None) -> Check:
    """Stop and target come together, a cent or more on their own side of the price.

    Args:
        price: what one share is expected to cost, dollars. `stop`, `target`: None for no bracket.
    Source: Alpaca's bracket rules.
    """
    if stop is None and target is None:
        text = "no bracket, so nothing guards the shares and their whole value counts as at risk"
        return Check(Code.BRACKET_PRICES, True, LEAST_LEG_DISTANCE, LEAST_LEG_DISTANCE, "USD", text)
    if stop is None or target is None:
        text = "give both stop_loss and take_profit, or neither"
        return Check(Code.BRACKET_PRICES, False, LEAST_LEG_DISTANCE, 0.0, "USD", text)
    distance = min(price - stop, target - price)
    return Check(
        Code.BRACKET_PRICES,
        distance >= LEAST_LEG_DISTANCE - NOISE,
        LEAST_LEG_DISTANCE,
        distance,
        "USD",
        f"stop {stop:g} and target {target:g} around {price:g} leave {distance:.4f}, "
        f"at least {LEAST_LEG_DISTANCE} is needed",
    )


def quantity_zero(shares: float, least: float = 1.0) -> Check:
    """An order is for `least` shares or more; `shares` is what the size limit buys, or was asked for."""
    return Check(
        Code.QUANTITY_ZERO,
        shares + NOISE >= least,
        least,
        shares,
        "shares",
        f"{shares:.4f} shares, at least {least:g} is needed",
    )


def position_size(committed_value: float, order_value: float, equity: float, limit: float) -> Check:
    """One symbol's share of equity: what is held, open, reserved or unknown, and this order.

    Args:
        committed_value, order_value, equity: dollars.
    """
    usage = (committed_value + order_value) / equity if equity > 0.0 else limit + 1.0
    return Check(
        Code.POSITION_SIZE,
        usage <= limit + NOISE,
        limit,
        usage,
        "of equity",
        f"{committed_value + order_value:.2f} USD is {usage:.2%} of equity {equity:.2f}, "
        f"at most {limit:.2%}",
    )


def buying_power(cost: float, available: float, share_cost: float) -> Check:
    """What the order may cost, an opening gap included, against cash that nothing has reserved yet.

    Args:
        cost, available: dollars on the grid of a millionth, of which one step is no breach.
        share_cost: dollars for one share, which the noise of a floor scales with.
    """
    return Check(
        Code.BUYING_POWER,
        cost <= available + GRID + NOISE * share_cost,
        available,
        cost,
        "USD",
        f"needs {cost:.2f} USD with room for a gap, {available:.2f} USD is free",
    )


def portfolio_risk(risk: float, order_risk: float, equity: float, limit: float) -> Check:
    """What would be lost if every stop were hit: filled, open, reserved, unknown and this order.

    Args:
        risk, order_risk, equity: dollars. What has no stop is at risk as a whole.
    Source: "portfolio heat", Elder (2014), The New Trading for a Living, ch. 50.
    """
    usage = (risk + order_risk) / equity if equity > 0.0 else limit + 1.0
    return Check(
        Code.PORTFOLIO_RISK,
        usage <= limit + NOISE,
        limit,
        usage,
        "of equity",
        f"{risk + order_risk:.2f} USD down to all stops is {usage:.2%} of equity {equity:.2f}, "
        f"at most {limit:.2%}",
    )


Closes = Mapping[int, float]
"""A symbol's newest closes (dollars) by the end of their bar (any growing number), oldest first."""


def correlation_of(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Pearson's coefficient of two series of the same length; 0 when one of them never moves."""
    return _coefficient(_centred(xs), _centred(ys))


def _coefficient(dxs: Sequence[float], dys: Sequence[float]) -> float:
    """Pearson's of two series that have their means taken away."""
    xx, yy, xy = 0.0, 0.0, 0.0
    for dx, dy in zip(dxs, dys, strict=True):
        xx += dx * dx
        yy += dy * dy
        xy += dx * dy
    if xx <= 0.0 or yy <= 0.0:
        return 0.0
    return max(-1.0, min(1.0, xy / (sqrt(xx) * sqrt(yy))))


def _centred(values: Sequence[float]) -> list[float]:
    total = 0.0
    for value in values:
        total += value
    mean = total / len(values) if values else 0.0
    return [value - mean for value in values]


def common_ends(mine: Closes, other: Closes, returns: int) -> tuple[int, ...]:
    """The ends of the newest bars that both have: one more than the returns wanted, if there are."""
    shared = mine if mine.keys() == other.keys() else [end for end in mine if end in other]
    return tuple(shared)[-(returns + 1) :]


def log_returns(closes: Closes, ends: Sequence[int]) -> list[float]:
    """Log returns between consecutive bars of `ends`; one fewer than there are bars."""
    logs = [log(closes[end]) for end in ends]
    return [later - earlier for earlier, later in pairwise(logs)]


def correlation(mine: Closes, others: Mapping[str, Closes], limits: Limits) -> Check:
    """How alike this symbol moves to each one held or on order; nothing held, nothing to compare.

    With too few bars in common the answer is unknown, which refuses: two symbols nobody can tell apart might
    be one bet twice.

    Args:
        mine: closes of the symbol to be bought; `others`: those of each symbol held or on order.
    """
    worst, worst_symbol = 0.0, ""
    # Mostly all symbols have the same bars, so its own returns are the same for each comparison.
    known: dict[tuple[int, ...], list[float]] = {}
    for symbol, closes in others.items():
        ends = common_ends(mine, closes, limits.correlation_bars)
        xs = known.get(ends)
        if xs is None:
            xs = known[ends] = _centred(log_returns(mine, ends))
        if len(xs) < limits.least_common_returns:
            return Check(
                Code.CORRELATION,
                False,
                float(limits.least_common_returns),
                float(len(xs)),
                "returns in common",
                f"only {len(xs)} returns in common with {symbol}, which is held or on order; "
                f"{limits.least_common_returns} are needed to compare",
            )
        alike = abs(_coefficient(xs, _centred(log_returns(closes, ends))))
        if alike > worst or not worst_symbol:
            worst, worst_symbol = alike, symbol
    text = (
        f"{worst:.3f} with {worst_symbol}" if worst_symbol else "nothing else is held or on order"
    )
    return Check(
        Code.CORRELATION,
        worst <= limits.max_correlation + NOISE,
        limits.max_correlation,
        worst,
        "absolute correlation",
        f"{text}, at most {limits.max_correlation:g}",
    )


# ------------------------------------------------------------------ exposure


def _share_of_equity(
    code: Code, value: float, order_value: float, equity: float, limit: float, what: str
) -> Check:
    """`value` and this order, dollars, as a fraction of equity against `limit`."""
    usage = (value + order_value) / equity if equity > 0.0 else limit + 1.0
    return Check(
        code,
        usage <= limit + NOISE,
        limit,
        usage,
        "of equity",
        f"{what} {value + order_value:.2f} USD is {usage:.2%} of equity {equity:.2f}, "
        f"at most {limit:.2%}",
    )


def gross_exposure(committed: float, order_value: float, equity: float, limit: float) -> Check:
    """All that is held, open, reserved or unknown, whichever side, and this order.

    Args:
        committed, order_value, equity: dollars; `committed` is a sum of absolute values.
    Source: invariant I9 of the fault model; RTS 6, article 15.
    """
    return _share_of_equity(
        Code.GROSS_EXPOSURE, committed, order_value, equity, limit, "gross exposure"
    )


def net_exposure(net: float, order_value: float, equity: float, limit: float) -> Check:
    """What is held and on order with its sign, and this purchase; being short enough lets more be bought.

    Args:
        net, order_value, equity: dollars; short positions count below zero.
    """
    return _share_of_equity(Code.NET_EXPOSURE, net, order_value, equity, limit, "net exposure")


def sector_exposure(
    sector: str | None, committed: float, order_value: float, equity: float, limit: float
) -> Check:
    """One sector's share of equity. A symbol that the settings put into no sector is not counted.

    Args:
        sector: the symbol's own, None for none.
        committed: dollars held and on order in symbols of that sector.
    Source: concentration limits as in QuantConnect's MaximumSectorExposureRiskManagementModel.
    """
    if sector is None:
        text = "the symbol is in no sector of RISK_SECTORS"
        return Check(Code.SECTOR_EXPOSURE, True, limit, 0.0, "of equity", text)
    return _share_of_equity(
        Code.SECTOR_EXPOSURE, committed, order_value, equity, limit, f"sector {sector} with"
    )


def strategy_exposure(
    strategy: str, committed: float, order_value: float, equity: float, limit: float
) -> Check:
    """What one strategy has bought and ordered, as a share of equity.

    Args:
        committed: dollars held and on order that this strategy's entries brought.
    """
    return _share_of_equity(
        Code.STRATEGY_EXPOSURE, committed, order_value, equity, limit, f"strategy {strategy} with"
    )


def strategy_capital(
    strategy: str, committed: float, order_value: float, equity: float, bucket: float | None
) -> Check:
    """What one strategy binds against the capital set aside for it; None where it has no bucket."""
    if bucket is None:
        text = f"strategy {strategy} has no bucket in RISK_STRATEGY_CAPITAL"
        return Check(Code.STRATEGY_CAPITAL, True, 1.0, 0.0, "of equity", text)
    return _share_of_equity(
        Code.STRATEGY_CAPITAL, committed, order_value, equity, bucket, f"bucket of {strategy} with"
    )


def concurrent_positions(symbols: int, limit: int) -> Check:
    """At most `limit` symbols held or on order, this one included."""
    return Check(
        Code.CONCURRENT_POSITIONS,
        symbols <= limit,
        float(limit),
        float(symbols),
        "symbols",
        f"{symbols} symbols held or on order, this one included, at most {limit}",
    )


def intraday_margin(
    committed: float, order_value: float, equity: float, maintenance_margin: float
) -> Check:
    """Equity must cover the maintenance margin of all that is held and on order, this order included.

    Args:
        committed, order_value, equity: dollars.
        maintenance_margin: the fraction of market value that must be own money, 0.25 for long shares.
    Source: FINRA rule 4210 as of 2026-06-04, which replaced counting day trades: no order may leave that
        makes or widens an intraday margin deficit.
    """
    required = (committed + order_value) * maintenance_margin
    return Check(
        Code.INTRADAY_MARGIN,
        required <= equity + GRID,
        equity,
        required,
        "USD",
        f"maintenance margin {required:.2f} USD at {maintenance_margin:.2%}, "
        f"equity is {equity:.2f} USD",
    )


def pattern_day_trader(day_trades: int, equity: float) -> Check:
    """Below 25,000 USD of equity, no entry once three day trades were made in five sessions.

    The entry would be the fourth as soon as it is closed the same day, which its own stop may do.

    Args:
        day_trades: symbols bought and sold on the same exchange day, over the last five sessions.
    Source: FINRA rule 4210(f)(8) until 2026-06-04; asked for by RISK_PATTERN_DAY_TRADER_RULE.
    """
    is_free = equity >= PDT_EQUITY
    return Check(
        Code.PATTERN_DAY_TRADER,
        is_free or day_trades < PDT_DAY_TRADES,
        float(PDT_DAY_TRADES - 1),
        float(day_trades),
        "day trades",
        f"{day_trades} day trades in {PDT_SESSIONS} sessions with equity {equity:.2f} USD; "
        f"fewer than {PDT_DAY_TRADES} below {PDT_EQUITY:.0f} USD",
    )


# ------------------------------------------------------------------ losses


def loss_of(equity: float, day_equity: float) -> float:
    """How much of `day_equity` (dollars, where the day began) is lost, as a fraction; 0 or more."""
    return max(0.0, (day_equity - equity) / day_equity) if day_equity > 0.0 else 0.0


def daily_loss(equity: float, day_equity: float, limit: float) -> Check:
    """No entry once the account has lost more than `limit` of what it was worth when the day began."""
    lost = loss_of(equity, day_equity)
    return Check(
        Code.DAILY_LOSS,
        lost <= limit + NOISE,
        limit,
        lost,
        "of the day's first equity",
        f"equity {equity:.2f} is {lost:.2%} below {day_equity:.2f}, where the day began, "
        f"at most {limit:.2%}",
    )


def cool_down(since_stop: timedelta | None, bar_length: timedelta, limit_bars: int) -> Check:
    """After a stop was hit the symbol rests for a few bars, so that a falling knife is caught once.

    Args:
        since_stop: session time since the symbol's newest stop was hit; None when none was lately.
    Source: freqtrade's CooldownPeriod.
    """
    bars = since_stop / bar_length if since_stop is not None else inf
    usage = max(0.0, limit_bars - bars)
    text = "no stop was hit lately" if since_stop is None else f"a stop was hit {bars:.2f} bars ago"
    return Check(
        Code.COOL_DOWN,
        bars >= limit_bars - NOISE,
        0.0,
        usage,
        "bars left",
        f"{text}; the symbol rests for {limit_bars} bars",
    )


def stop_loss_guard(stops: int, limit: int, bars: int) -> Check:
    """No entry anywhere while stops are hit in a row: the market is doing what nobody foresaw.

    Args:
        stops: how many stops were hit within the last `bars` bars, whichever symbol.
    Source: freqtrade's StoplossGuard.
    """
    return Check(
        Code.STOP_LOSS_GUARD,
        stops < limit,
        float(limit - 1),
        float(stops),
        "stops",
        f"{stops} stops were hit within {bars} bars; entries rest from {limit} on",
    )


# ------------------------------------------------------------------ pace


def orders_per_minute(entries: int, limit: int) -> Check:
    """At most `limit` entries approved within a minute, this one included.

    Source: SEC rule 15c3-5(c)(1)(ii); the fault model's F83, a strategy that emits at each tick.
    """
    return Check(
        Code.ORDERS_PER_MINUTE,
        entries <= limit,
        float(limit),
        float(entries),
        "entries a minute",
        f"entry {entries} within a minute, at most {limit}",
    )


def repeated_execution(
    strategy: str, symbol: str, entries: int, limit: int, window_s: int
) -> Check:
    """One strategy buys one symbol at most `limit` times within the window, this time included.

    Args:
        entries: approved entries of that strategy in that symbol within `window_s` seconds, with this one.
    Source: RTS 6, article 15(2), repeated automated execution throttle.
    """
    return Check(
        Code.REPEATED_EXECUTION,
        entries <= limit,
        float(limit),
        float(entries),
        "entries",
        f"entry {entries} of {strategy} in {symbol} within {window_s} s, at most {limit}",
    )


# ------------------------------------------------------------------ price and size of the order


def price_collar(price: float, last: float | None, limit: float) -> Check:
    """An order's price stands near the last price that was accepted from the market.

    Args:
        price: the order's limit, stop or reference, dollars per share.
        last: None where there is none, which another rule refuses.
    Source: RTS 6, article 15(1)(a), price collars.
    """
    if last is None or last <= 0.0:
        return Check(Code.PRICE_COLLAR, False, limit, limit + 1.0, "of the last price", "no price")
    away = abs(price - last) / last
    return Check(
        Code.PRICE_COLLAR,
        away <= limit + NOISE,
        limit,
        away,
        "of the last price",
        f"{price:g} is {away:.2%} away from the last price {last:g}, at most {limit:.2%}",
    )


def order_value(value: float, limit: float) -> Check:
    """One order is worth at most `limit` dollars.

    Source: RTS 6, article 15(1)(b), maximum order value.
    """
    return Check(
        Code.ORDER_VALUE,
        value <= limit + GRID,
        limit,
        value,
        "USD",
        f"the order is worth {value:.2f} USD, at most {limit:.2f} USD",
    )


def order_shares(shares: float, limit: int) -> Check:
    """One order is for at most `limit` shares.

    Source: RTS 6, article 15(1)(c), maximum order volume.
    """
    return Check(
        Code.ORDER_SHARES,
        shares <= limit + NOISE,
        float(limit),
        shares,
        "shares",
        f"{shares:g} shares, at most {limit}",
    )


def fat_finger(shares: float, average_volume: float | None, limit: float) -> Check:
    """An order is a small part of what usually trades in a session; an unknown volume refuses.

    Args:
        average_volume: shares a session, None where no bars tell.
    """
    if average_volume is None or average_volume <= 0.0:
        return Check(
            Code.FAT_FINGER,
            False,
            limit,
            limit + 1.0,
            "of a session's average volume",
            "no volume is known to compare the order with",
        )
    share = shares / average_volume
    return Check(
        Code.FAT_FINGER,
        share <= limit + NOISE,
        limit,
        share,
        "of a session's average volume",
        f"{shares:g} shares are {share:.4%} of {average_volume:.0f} traded in an average session, "
        f"at most {limit:.2%}",
    )


# ------------------------------------------------------------------ the symbol


def symbol_halted(symbol: str, halted: Collection[str], paused: Collection[str]) -> Check:
    """No entry in a symbol that a person has halted, or that the executor has paused.

    Args:
        halted: named by RISK_HALTED_SYMBOLS. `paused`: with differences that nobody has looked at yet.
    """
    reasons = []
    if symbol in halted:
        reasons.append("it is halted by RISK_HALTED_SYMBOLS")
    if symbol in paused:
        reasons.append("the executor has paused it until a person has looked at its differences")
    return Check(
        Code.SYMBOL_HALTED,
        not reasons,
        0.0,
        float(len(reasons)),
        "halts",
        f"{symbol}: {' and '.join(reasons)}" if reasons else f"{symbol} is not halted",
    )


def symbol_quarantined(
    refused_at: datetime | None, price_at: datetime | None, held: str | None = None
) -> Check:
    """While a symbol's newest bar was refused by the collector, or it is held there, its price is not trusted.

    Args:
        refused_at: when a bar of it was refused last, None for never. `price_at`: the end of its newest good bar.
        held: why the collector holds the symbol, None when it does not.
    """
    if held is not None:
        return Check(
            Code.SYMBOL_QUARANTINED, False, 0.0, 1.0, "refused bars", f"held: {held}"[:400]
        )
    is_newer = refused_at is not None and (price_at is None or refused_at >= price_at)
    text = (
        f"a bar was refused at {refused_at.isoformat()}, and no good one has come since"
        if refused_at is not None and is_newer
        else "no bar was refused since the newest good one"
    )
    return Check(Code.SYMBOL_QUARANTINED, not is_newer, 0.0, float(is_newer), "refused bars", text)


def wash_trade(buy_limit: float | None, sells: Sequence[float | None]) -> Check:
    """A purchase must not be able to meet one's own open sale.

    Args:
        buy_limit: dollars per share, None for a market or stop order.
        sells: of each open sale that is not ours to cancel: its limit, None for market or stop orders.
    Source: Alpaca refuses such orders (403, code 40310000); FINRA rule 5210, self-trades.
    """
    meeting = sum(
        1 for sell in sells if sell is None or buy_limit is None or buy_limit >= sell - NOISE
    )
    return Check(
        Code.WASH_TRADE,
        meeting == 0,
        0.0,
        float(meeting),
        "orders",
        f"{meeting} open sales of this account could be met",
    )
