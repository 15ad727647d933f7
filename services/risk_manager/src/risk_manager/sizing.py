"""How many shares, and where do stop and target stand?

A method says how many shares are wanted; every limit then caps them: what is free to spend, what may still be put
at risk, the room each further limit leaves. Figures go in, whole shares come out; rules that refuse live in
`limits`, and a size found here passes them by construction. A method that lacks its figures wants nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf, isfinite, sqrt
from typing import TYPE_CHECKING

from shared.domain.arithmetic import to_tick, whole_shares
from shared.domain.errors import InvalidInput

if TYPE_CHECKING:  # the sizes themselves must not bring the settings' machinery along
    from shared.config import Settings

# A market buy becomes a limit at most 4 % above the market at the broker (Alpaca's collar for shares below
# 50 dollars; 2.5 % above), so this much more than the last price may be needed when the open gaps up.
OPEN_GAP = 0.04
# Alpaca wants a short sale at the market to be covered at 3 % above the ask, which may itself gap up by `OPEN_GAP` until then.
SHORT_RESERVE = 0.08
# Fewer closed trades than this say nothing about a strategy's odds, so Kelly bets nothing on them.
LEAST_TRADES = 30


class SizingMethod(StrEnum):
    """How the wanted size is found, before any limit."""

    FIXED_FRACTION = "fixed_fraction"
    RISK_PER_TRADE = "risk_per_trade"
    VOLATILITY_TARGET = "volatility_target"
    ATR = "atr"
    KELLY = "kelly"


@dataclass(frozen=True, slots=True)
class SizingPlan:
    """The method and what it is told. Fractions of equity: 0.01 means 1 %."""

    method: SizingMethod = SizingMethod.FIXED_FRACTION
    # What a fixed fraction buys for; 1 leaves it to the position limit.
    fraction: float = 1.0
    # What is lost when the stop is hit, or when the price moves by `atr_multiple` average true ranges.
    risk_per_trade: float = 0.005
    # Of the position, as a share of equity, annualised.
    volatility_target: float = 0.02
    atr_bars: int = 14
    atr_multiple: float = 2.0
    # The share of the full Kelly bet that is taken, and the most it may come to.
    kelly_share: float = 0.5
    kelly_cap: float = 0.1
    scales_by_conviction: bool = False

    def __post_init__(self) -> None:
        shares = (
            self.fraction,
            self.risk_per_trade,
            self.volatility_target,
            self.kelly_share,
            self.kelly_cap,
        )
        if not all(0.0 < share <= 1.0 for share in shares):
            raise InvalidInput(
                "a sizing fraction lies above 0 and is at most 1: write 0.05 for 5 %"
            )
        if self.atr_bars < 2 or not 0.0 < self.atr_multiple < inf:
            raise InvalidInput("an average true range needs 2 bars or more and a multiple above 0")

    @classmethod
    def of(cls, settings: Settings) -> SizingPlan:
        """The plan that the environment sets."""
        return cls(
            method=SizingMethod(settings.risk_sizing_method),
            fraction=settings.risk_sizing_fraction,
            risk_per_trade=settings.risk_per_trade,
            volatility_target=settings.risk_volatility_target,
            atr_bars=settings.risk_atr_bars,
            atr_multiple=settings.risk_atr_multiple,
            kelly_share=settings.risk_kelly_share,
            kelly_cap=settings.risk_kelly_cap,
            scales_by_conviction=settings.risk_scale_by_conviction,
        )


@dataclass(frozen=True, slots=True)
class TradeRecord:
    """How a strategy's newest closed trades went: how many won and lost, and dollars of each kind."""

    wins: int = 0
    losses: int = 0
    won: float = 0.0
    lost: float = 0.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """Shares a method wants (fractional), and the figures it found them from, by name."""

    shares: float
    figures: Mapping[str, float]


def wanted(
    plan: SizingPlan,
    *,
    equity: float,
    price: float,
    stop: float,
    conviction: float,
    volatility: float | None,
    true_range: float | None,
    record: TradeRecord,
    is_short: bool = False,
    risk_price: float | None = None,
) -> Wanted:
    """How many shares the plan's method asks for.

    Args:
        equity: dollars. `price`, `stop`: dollars per share.
        conviction: 0 to 1, scales the result where the plan says so.
        volatility: annualised standard deviation of the symbol's log returns, None where unknown.
        true_range: average true range, dollars per share, None where unknown.
        record: of the strategy that wishes; Kelly alone asks for it.
        is_short: the shares are sold short, and the stop stands above the price.
        risk_price: from where the way to the stop is measured, dollars per share; None for `price`.
    """
    distance = _way_to(stop, price if risk_price is None else risk_price, is_short=is_short)
    scale = conviction if plan.scales_by_conviction else 1.0
    figures: dict[str, float] = {"conviction_scale": scale}
    shares = 0.0
    if plan.method is SizingMethod.FIXED_FRACTION:
        shares = equity * plan.fraction / price
    elif plan.method is SizingMethod.RISK_PER_TRADE:
        figures["stop_distance"] = distance
        if distance > 0.0:
            shares = equity * plan.risk_per_trade / distance
    elif plan.method is SizingMethod.VOLATILITY_TARGET:
        if volatility is not None and volatility > 0.0:
            figures["annual_volatility"] = volatility
            shares = equity * plan.volatility_target / (volatility * price)
    elif plan.method is SizingMethod.ATR:
        if true_range is not None and true_range > 0.0:
            figures["average_true_range"] = true_range
            shares = equity * plan.risk_per_trade / (plan.atr_multiple * true_range)
    else:
        figures["kelly_fraction"] = bet = kelly(record)
        shares = equity * min(plan.kelly_share * bet, plan.kelly_cap) / price
    # A figure next to nothing in a divisor asks for more than can be counted: the limits will say no.
    shares = max(0.0, shares * scale)
    return Wanted(shares if isfinite(shares) else 0.0, figures)


def kelly(record: TradeRecord) -> float:
    """The growth-optimal share of equity to bet on the odds in `record`; 0 where they are bad or unknown.

    Source: Kelly (1956), Bell System Technical Journal 35(4); as W - (1 - W) / R with the chance to win W and
        the ratio R of the average win to the average loss.
    """
    trades = record.wins + record.losses
    if trades < LEAST_TRADES or record.wins == 0 or record.won <= 0.0:
        return 0.0
    chance = record.wins / trades
    if record.losses == 0 or record.lost <= 0.0:
        return chance
    ratio = (record.won / record.wins) / (record.lost / record.losses)
    return max(0.0, chance - (1.0 - chance) / ratio)


def annual_volatility(returns: Sequence[float], bars_a_year: float) -> float | None:
    """Standard deviation of `returns` (log, one per bar) scaled to a year; None for fewer than two."""
    n = len(returns)
    if n < 2:
        return None
    total = 0.0
    for value in returns:
        total += value
    mean, squares = total / n, 0.0
    for value in returns:
        squares += (value - mean) * (value - mean)
    return sqrt(squares / (n - 1)) * sqrt(bars_a_year)


def average_true_range(
    highs: Sequence[float], lows: Sequence[float], closes: Sequence[float], bars: int
) -> float | None:
    """Mean of the newest `bars` true ranges, dollars; None while fewer are known.

    Args:
        highs, lows, closes: of the same bars, oldest first; the first bar only gives its close.
    Source: Wilder (1978), New Concepts in Technical Trading Systems, ch. 3; a plain mean instead of his smoothing,
        so that the value does not depend on where the series began.
    """
    if len(closes) < bars + 1:
        return None
    total = 0.0
    for i in range(len(closes) - bars, len(closes)):
        total += max(
            highs[i] - lows[i], abs(highs[i] - closes[i - 1]), abs(lows[i] - closes[i - 1])
        )
    return total / bars


@dataclass(frozen=True, slots=True)
class Sizing:
    """Shares to buy or to sell short, with each bound in (fractional) shares, so that the arithmetic can be stored."""

    shares: int
    by_position_size: float
    by_buying_power: float
    by_portfolio_risk: float
    # The room that each further limit leaves, by its name.
    by_others: Mapping[str, float] = field(default_factory=dict)
    by_method: float = inf


def size(
    *,
    equity: float,
    price: float,
    stop: float,
    available_cash: float,
    portfolio_risk: float,
    max_position_size: float,
    max_portfolio_risk: float,
    rooms: Mapping[str, float] | None = None,
    by_method: float = inf,
    is_short: bool = False,
    risk_price: float | None = None,
) -> Sizing:
    """The wanted shares, whole, as far as they keep every limit.

    Args:
        equity, available_cash, portfolio_risk: dollars; the last is what is at risk already.
        price, stop: dollars per share. A market order may fill above `price` by `OPEN_GAP`.
        max_position_size, max_portfolio_risk: fractions of equity.
        by_method: shares that the method wants (fractional); infinite leaves the size to the limits.
        rooms: dollars that each further limit still lets this order be worth, by the limit's name.
        is_short: the shares are sold short: the stop stands above, and the broker blocks more than the sale brings.
        risk_price: from where the way to the stop is measured, dollars per share; None for `price`.
    """
    distance = _way_to(stop, price if risk_price is None else risk_price, is_short=is_short)
    gap = SHORT_RESERVE if is_short else OPEN_GAP
    by_size = max(0.0, equity * max_position_size / price)
    by_cash = max(0.0, available_cash / (price * (1.0 + gap)))
    headroom = max(0.0, equity * max_portfolio_risk - portfolio_risk)
    # A stop that the tick has rounded onto the price protects nothing, so nothing may be risked on it.
    by_risk = headroom / distance if distance > 0.0 else 0.0
    others = {name: max(0.0, room / price) for name, room in (rooms or {}).items()}
    least = min(by_method, by_size, by_cash, by_risk, *others.values())
    return Sizing(whole_shares(least), by_size, by_cash, by_risk, others, by_method)


def _way_to(stop: float, price: float, *, is_short: bool) -> float:
    """What a share loses until its stop is hit, dollars; 0 or less where the stop protects nothing."""
    return stop - price if is_short else price - stop


def stop_price(reference: float, stop_loss: float) -> float:
    """Where the protective stop of a long entry stands, dollars on the exchange's tick; for a short one its target."""
    return to_tick(reference * (1.0 - stop_loss))


def target_price(reference: float, take_profit: float) -> float:
    """Where the profit target of a long entry stands, dollars on the exchange's tick; for a short one its stop."""
    return to_tick(reference * (1.0 + take_profit))
