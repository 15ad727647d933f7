"""Which bar lengths exist, and how long is each?"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

from shared.domain.errors import InvalidInput


class Timeframe(StrEnum):
    """A bar's length; the value is how Alpaca writes it."""

    MINUTE = "1Min"
    FIVE_MINUTES = "5Min"
    FIFTEEN_MINUTES = "15Min"
    HOUR = "1Hour"
    DAY = "1Day"

    @property
    def length(self) -> timedelta:
        """Nominal length; a daily bar really ends with its session, a last hour may be shorter."""
        return _LENGTHS[self]

    @property
    def is_intraday(self) -> bool:
        """Whether several bars of it lie in one session."""
        return self is not Timeframe.DAY


_LENGTHS = {
    Timeframe.MINUTE: timedelta(minutes=1),
    Timeframe.FIVE_MINUTES: timedelta(minutes=5),
    Timeframe.FIFTEEN_MINUTES: timedelta(minutes=15),
    Timeframe.HOUR: timedelta(hours=1),
    Timeframe.DAY: timedelta(days=1),
}


def parse_timeframe(text: str) -> Timeframe:
    """Return the timeframe written as `text`, e.g. `1Min`, `1min`, `1D`, `1Day`.

    Raises:
        InvalidInput: none of the known lengths.
    """
    wanted = text.strip().lower()
    aliases = {"1t": "1min", "5t": "5min", "15t": "15min", "1h": "1hour", "1d": "1day"}
    wanted = aliases.get(wanted, wanted)
    for timeframe in Timeframe:
        if timeframe.value.lower() == wanted:
            return timeframe
    known = ", ".join(t.value for t in Timeframe)
    raise InvalidInput(f"{text[:20]!r} is not a timeframe: use one of {known}")
