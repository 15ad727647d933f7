"""When is a screen due?

Once in every five minutes of open market, counted from the open, in the venue's time: so a replay takes the screens of
its day as live trading does, and whoever asks knows without a word from anybody whether one is still to come.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from shared.domain.calendar import TradingCalendar

SCREEN_EVERY = timedelta(minutes=5)


def screen_due_at(calendar: TradingCalendar, now: datetime) -> datetime | None:
    """Since when a screen is due at `now`; None while the exchange is closed."""
    session = calendar.session_at(now)
    if session is None:
        return None
    return session.open_at + (now - session.open_at) // SCREEN_EVERY * SCREEN_EVERY
