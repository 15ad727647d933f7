"""Are there too many orders, whatever each one is worth?"""

from __future__ import annotations

from datetime import datetime

from risk_manager.limits.codes import Code
from shared.domain.decisions import Check

# The pattern-day-trader rule, for whoever still lives under it: FINRA rule 4210 before 2026-06-04.
PDT_EQUITY = 25_000.0
PDT_DAY_TRADES = 3
PDT_SESSIONS = 5


def daily_trades(entries: int, limit: int) -> Check:
    """At most `limit` entries for one exchange day, this one included; exits are not counted.

    Source: RTS 6, article 15(1)(d), limits of messages.
    """
    return Check(
        Code.DAILY_TRADES,
        entries <= limit,
        float(limit),
        float(entries),
        "entries a day",
        f"entry {entries} of at most {limit} for that exchange day",
    )


def orders_per_minute(entries: int, limit: int) -> Check:
    """At most `limit` entries approved within a minute, this one included.

    Source: SEC rule 15c3-5(c)(1)(ii); a strategy that emits at each tick.
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
    strategy: str,
    symbol: str,
    entries: int,
    limit: int,
    window_s: int,
    stopped_at: datetime | None = None,
) -> Check:
    """One strategy buys one symbol at most `limit` times within the window; once it wants more, a person decides.

    Args:
        entries: approved entries of that strategy in that symbol within `window_s` seconds, with this one.
        stopped_at: since when it is stopped there; None while it is not.
    Source: RTS 6, article 15(2), repeated automated execution throttle: the system "is then automatically disabled
        until re-enabled by a designated staff member".
    """
    text = f"entry {entries} of {strategy} in {symbol} within {window_s} s, at most {limit}"
    if stopped_at is not None:
        text = (
            f"{strategy} is stopped in {symbol} since {stopped_at.isoformat()}, when it repeated itself; a person "
            f"lets it go on: trader risk enable {strategy} {symbol}"
        )
    return Check(
        Code.REPEATED_EXECUTION,
        entries <= limit and stopped_at is None,
        float(limit),
        float(entries),
        "entries",
        text,
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
