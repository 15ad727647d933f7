"""When may an order leave that is not for the continuous trading of a session?

An auction takes orders from the evening before until shortly before it is held; an extended-hours order works from
early morning to the evening. Hours are the broker's, in New York (its order rules). Pure.
"""

from __future__ import annotations

from datetime import datetime, time, timedelta

from risk_manager.review.case import Case, Span, Wish
from shared.domain.calendar import NEW_YORK, Session
from shared.domain.errors import InvalidTime
from shared.domain.orders import TimeInForce

_AUCTIONS_FROM = time(19, 0)
_BEFORE_THE_OPEN = timedelta(minutes=2)
_BEFORE_THE_CLOSE = timedelta(minutes=10)
_EARLY_FROM = time(4, 0)
_LATE_LASTS = timedelta(hours=4)
# More sessions than any run of holidays skips.
_LOOK_AHEAD = timedelta(days=15)


def has_own_hours(wish: Wish) -> bool:
    """Whether `special_span` says when it may leave."""
    return wish.terms.extended_hours or wish.time_in_force in (TimeInForce.OPG, TimeInForce.CLS)


def special_span(wish: Wish, case: Case, *, is_entry: bool) -> Span:
    """The next hours in which such an order is taken; none when entries may not meet that auction."""
    calendar, window = case.venue.calendar, case.venue.window
    today = case.now.astimezone(NEW_YORK).date()
    try:
        sessions = calendar.between(today, today + _LOOK_AHEAD)
    except InvalidTime:
        return None, None
    for session in sessions:
        taken_from, until = _hours(wish, session)
        if case.now >= until:
            continue
        if is_entry and not wish.terms.extended_hours:
            # The auction must lie inside the hours in which entries are wanted.
            span = window.narrow(session)
            at = session.open_at if wish.time_in_force is TimeInForce.OPG else session.close_at
            if span is None or not span[0] <= at <= span[1]:
                return None, None
        return max(case.now, taken_from), until
    return None, None


def _hours(wish: Wish, session: Session) -> tuple[datetime, datetime]:
    if wish.terms.extended_hours:
        early = datetime.combine(session.on, _EARLY_FROM, NEW_YORK)
        return early.astimezone(session.open_at.tzinfo), session.close_at + _LATE_LASTS
    evening = datetime.combine(session.on - timedelta(days=1), _AUCTIONS_FROM, NEW_YORK)
    if wish.time_in_force is TimeInForce.OPG:
        until = session.open_at - _BEFORE_THE_OPEN
    else:
        until = session.close_at - _BEFORE_THE_CLOSE
    return evening.astimezone(session.open_at.tzinfo), until
