"""Which symbols are followed, and which screens are believed?

The static list, what screens have shown within their time to live, and whatever is held, since a position without
prices could not be left. A screen that has suddenly shrunk is more likely broken than right: it is believed once
it says the same again. Nothing here reads a clock or a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from data_collector.screens import Taken
from shared.domain.symbols import Symbol

# A screen with less than this share of the one before it is not believed at once.
LEAST_SHARE = 0.8
# More screened symbols than this are followed by nobody; the screen is too wide.
MOST_SCREENED = 500


def is_believable(before: Sequence[Symbol], now: Sequence[Symbol]) -> bool:
    """Whether a screen may have changed from `before` to `now` within minutes."""
    return len(now) >= LEAST_SHARE * len(before)


def tracked(
    static: Sequence[Symbol],
    screens: Sequence[Taken],
    held: Iterable[Symbol],
    now: datetime,
    time_to_live: timedelta,
) -> tuple[Symbol, ...]:
    """All symbols that are followed at `now`, the static ones first.

    Args:
        screens: newest first; of too many symbols those seen last count.
        held: symbols with an open position.
    """
    screened: dict[Symbol, None] = {}
    for taken in screens:
        if now - time_to_live < taken.taken_at <= now:
            screened.update(dict.fromkeys(taken.symbols))
    some = list(screened)[:MOST_SCREENED]
    return tuple(dict.fromkeys([*static, *sorted(held), *some]))
