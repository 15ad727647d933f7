"""Which rules may refuse an order, and what does each one measure?

The catalogue: figures go in, a `Check` with limit and usage comes out. Reason codes are stable: tables,
reports and people refer to them. How large an order should be is asked in `sizing`; in which order the rules
are applied, and to what, in `review`. Nothing here reads a clock, a table or a socket. Arithmetic as
`shared.domain.arithmetic` says: what comes in is quantised, so live trading and backtests agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from math import log, sqrt
from typing import TYPE_CHECKING

from shared.domain.arithmetic import GRID, NOISE
from shared.domain.decisions import Check, Purpose, TradingMode
from shared.domain.errors import InvalidInput

if TYPE_CHECKING:  # the rules themselves must not bring the settings' machinery along
    from shared.config import Settings

# A market buy becomes a limit at most 4 % above the market at the broker (Alpaca's collar for shares below
# 50 dollars; 2.5 % above), so this much more than the last price may be needed when the open gaps up.
OPEN_GAP = 0.04
# A bracket's legs must stand at least a cent away from the price (Alpaca, error 42210000).
LEAST_LEG_DISTANCE = 0.01


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


@dataclass(frozen=True, slots=True)
class Limits:
    """What the settings allow. Shares of equity are fractions: 0.05 means 5 %."""

    max_position_size: float
    max_portfolio_risk: float
    drawdown_limit: float
    max_daily_trades: int
    max_correlation: float
    correlation_bars: int
    stop_loss: float
    take_profit: float
    max_signal_age_bars: int

    def __post_init__(self) -> None:
        shares = (
            self.max_position_size,
            self.max_portfolio_risk,
            self.drawdown_limit,
            self.max_correlation,
        )
        if not all(0.0 < share <= 1.0 for share in shares):
            raise InvalidInput("a limit is a fraction above 0 and at most 1: write 0.05 for 5 %")
        if not (0.0 < self.stop_loss < 1.0 and self.take_profit > 0.0):
            raise InvalidInput("stop loss must lie between 0 and 1, take profit above 0")
        if min(self.max_daily_trades, self.correlation_bars, self.max_signal_age_bars) < 1:
            raise InvalidInput("daily trades, correlation bars and signal age must be at least 1")

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
        )

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
        return Check(
            Code.BRACKET_PRICES, True, LEAST_LEG_DISTANCE, LEAST_LEG_DISTANCE, "USD", "no bracket"
        )
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
    xx, yy, xy = 0.0, 0.0, 0.0
    for dx, dy in zip(_centred(xs), _centred(ys), strict=True):
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
    return tuple(end for end in mine if end in other)[-(returns + 1) :]


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
            xs = known[ends] = log_returns(mine, ends)
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
        alike = abs(correlation_of(xs, log_returns(closes, ends)))
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
