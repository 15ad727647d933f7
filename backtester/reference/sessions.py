"""Which sessions does a history lie in?"""

from __future__ import annotations

from datetime import timedelta

from backtester.history import History
from shared.domain.bar_blocks import EPOCH, from_epoch_us
from shared.domain.calendar import Session, TradingCalendar


def calendar_of(history: History) -> TradingCalendar:
    """The sessions that the rows lie in, and the one in which the last decision is sent."""
    hours = {
        day: (opened, closed)
        for day, (opened, closed) in zip(
            history.session.tolist(), history.day_hours.tolist(), strict=True
        )
    }
    sessions = [
        Session(
            (EPOCH + timedelta(microseconds=opened)).date(),
            from_epoch_us(opened),
            from_epoch_us(closed),
        )
        for opened, closed in hours.values()
    ]
    last = sessions[-1]
    coming = int(history.acts_on[-1])
    if coming > last.on.toordinal():
        later = timedelta(days=coming - last.on.toordinal())
        sessions.append(Session(last.on + later, last.open_at + later, last.close_at + later))
    else:
        far = timedelta(days=60)
        sessions.append(Session(last.on + far, last.open_at + far, last.close_at + far))
    return TradingCalendar(sessions)
