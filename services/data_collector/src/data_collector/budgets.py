"""May a request go out now, and if not, why not and when?

A provider's limits hold for a key, whoever uses it and however often a process restarts. So what was spent is kept
as a value, second by second, and this module decides on it; `store` keeps it. Windows slide, which is never
more than a provider counts by its own clock's minutes; days begin at midnight UTC, as Twelve Data's do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta

from shared.domain.errors import InvalidInput

_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be spent in any `window_s` seconds, and in a day (None: as much as you like)."""

    per_window: int
    window_s: int
    per_day: int | None = None


@dataclass(frozen=True, slots=True)
class Spent:
    """What was spent of one provider's budget.

    `recent`: (whole second since the epoch, cost), oldest first, within the window.
    """

    recent: tuple[tuple[int, int], ...] = ()
    day_on: date | None = None
    day_used: int = 0
    blocked_until_at: datetime | None = None
    blocked_why: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now: not before `until_at`, because of `why`."""

    until_at: datetime
    why: str


def spend(spent: Spent, limits: Limits, cost: int, now: datetime) -> Spent | Wait:
    """Take `cost` at `now`: the budget after it, or why and until when it has to wait."""
    if not 0 < cost <= limits.per_window:
        raise InvalidInput(
            f"a request of {cost} can never go out: at most {limits.per_window} fit into "
            f"{limits.window_s} s"
        )
    spent = at(spent, limits, now)
    if spent.blocked_until_at is not None:
        return Wait(spent.blocked_until_at, spent.blocked_why)
    if limits.per_day is not None and spent.day_used + cost > limits.per_day:
        tomorrow = datetime.combine(now.astimezone(UTC).date() + timedelta(days=1), time(0), UTC)
        return Wait(tomorrow, f"{spent.day_used} of {limits.per_day} of the day are used")
    used = sum(amount for _, amount in spent.recent)
    if used + cost > limits.per_window:
        why = f"{used} of {limits.per_window} of the last {limits.window_s} s are used"
        for second, amount in spent.recent:
            used -= amount
            if used + cost <= limits.per_window:
                # A whole second later than it was spent, since only seconds are kept.
                return Wait(_from_epoch_s(second + limits.window_s + 1), why)
    second = int(now.timestamp())
    recent = list(spent.recent)
    if recent and recent[-1][0] >= second:
        recent[-1] = (recent[-1][0], recent[-1][1] + cost)
    else:
        recent.append((second, cost))
    return replace(spent, recent=tuple(recent), day_used=spent.day_used + cost)


def block(spent: Spent, until_at: datetime, why: str) -> Spent:
    """The provider itself asked for a pause; a longer one that is known already stays."""
    if spent.blocked_until_at is not None and spent.blocked_until_at >= until_at:
        return spent
    return replace(spent, blocked_until_at=until_at, blocked_why=why)


def at(spent: Spent, limits: Limits, now: datetime) -> Spent:
    """What of `spent` still counts at `now`."""
    oldest = now - limits.window_s * _SECOND - _SECOND
    # A clock that was set back must not hold a budget for longer than its window.
    newest = now + limits.window_s * _SECOND
    today = now.astimezone(UTC).date()
    is_blocked = spent.blocked_until_at is not None and spent.blocked_until_at > now
    return Spent(
        tuple(pair for pair in spent.recent if oldest < _from_epoch_s(pair[0]) <= newest),
        today,
        spent.day_used if spent.day_on == today else 0,
        spent.blocked_until_at if is_blocked else None,
        spent.blocked_why if is_blocked else "",
    )


def _from_epoch_s(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)
