"""Has the account, or the symbol, lost too much lately to take an entry?"""

from __future__ import annotations

from datetime import timedelta
from math import inf

from risk_manager.limits.codes import Code
from shared.domain.arithmetic import NOISE
from shared.domain.decisions import Check


def drawdown_of(equity: float, peak: float) -> float:
    """How far `equity` (dollars) is below its running `peak`, as a fraction of the peak; 0 or more."""
    return max(0.0, (peak - equity) / peak) if peak > 0.0 else 0.0


def drawdown(equity: float, peak: float, limit: float) -> Check:
    """No entry once the account has lost more than `limit` of its peak.

    Source: freqtrade's MaxDrawdown protection.
    """
    lost = drawdown_of(equity, peak)
    return Check(
        Code.DRAWDOWN,
        lost <= limit + NOISE,
        limit,
        lost,
        "of peak equity",
        f"equity {equity:.2f} is {lost:.2%} below its peak {peak:.2f}, at most {limit:.2%}",
    )


def loss_of(equity: float, day_equity: float) -> float:
    """How much of `day_equity` (dollars, where the day began) is lost, as a fraction; 0 or more."""
    return max(0.0, (day_equity - equity) / day_equity) if day_equity > 0.0 else 0.0


def daily_loss(equity: float, day_equity: float, limit: float) -> Check:
    """No entry once the account has lost more than `limit` of what it was worth when the day began.

    Source: SEC rule 15c3-5(c)(1)(i), capital thresholds in the aggregate.
    """
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
