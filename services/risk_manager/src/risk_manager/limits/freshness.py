"""Is the wish still worth acting on, and does it rest on prices of now?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from risk_manager.limits.codes import Code
from shared.domain.decisions import Check


def market_hours(act_from: datetime | None, act_until: datetime | None) -> Check:
    """An entry is sent inside a session, narrowed by the settings' window; None where there is none.

    Source: the exchange's calendar, and the window of the settings inside it.
    """
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
    """An entry needs a fresh price; `age` is session time since its bar ended, None without a price.

    Source: invariant I21 of the fault model, for the price as for the wish.
    """
    bars = age / bar_length if age is not None else float(limit_bars + 1)
    text = f"the price is {bars:.2f} bars old" if age is not None else "there is no price at hand"
    return Check(
        Code.STALE_PRICE,
        bars <= limit_bars,
        float(limit_bars),
        bars,
        "bars",
        f"{text}, at most {limit_bars} are fresh",
    )


def unpriced_position(symbols: Sequence[str]) -> Check:
    """While something held has no sure market price, equity is an estimate and nothing is added to it.

    Source: rule R9 of the fault model: fail closed, while exits keep working.
    """
    named = ", ".join(symbols) if symbols else "none"
    return Check(
        Code.UNPRICED_POSITION,
        not symbols,
        0.0,
        float(len(symbols)),
        "positions",
        f"positions without a sure market price: {named}",
    )
