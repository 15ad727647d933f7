"""Which mode follows which?

Modes only get stricter by themselves or by a single word; they are loosened by a person who has seen the
present state, which is what the version proves. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from risk_manager.limits import Limits, loss_of
from risk_manager.snapshot import Mark, Mode, figure
from shared.domain.decisions import TradingMode


@dataclass(frozen=True, slots=True)
class Change:
    """A wish for another mode; `version` is the one that the person has seen, None for nobody looked."""

    wanted: TradingMode
    reason: str
    actor: str
    at: datetime
    version: int | None = None


def first_mode(at: datetime) -> Mode:
    """The mode of an account that has never traded."""
    return Mode(TradingMode.ACTIVE, 1, "first start", "risk_manager", at)


def may_change(current: Mode, change: Change) -> bool:
    """Whether `change` may be made: stricter at any time, looser only from the version it names."""
    if change.version is not None and change.version != current.version:
        return False
    return not _is_looser(current, change) or change.version is not None


def changed(current: Mode, change: Change, last_mark: Mark | None, limits: Limits) -> Mode:
    """The mode after `change`; the same one where nothing changes.

    Trading that is loosened below a limit measures anew what that limit goes by, or the next mark would end it at once: the
    drawdown limit its peak, the daily loss its day. A day's loss leaves the peak, or day after day of losses would
    never come to a drawdown. The reason given for it is stored.
    """
    if change.wanted is current.mode:
        return current
    resumed = last_mark if _is_looser(current, change) else None
    return Mode(
        change.wanted,
        current.version + 1,
        change.reason,
        change.actor,
        change.at,
        restarts_peak=resumed is not None and resumed.drawdown > limits.drawdown_limit,
        restarts_day=resumed is not None and _lost_on_its_day(resumed) > limits.max_daily_loss,
    )


def _is_looser(current: Mode, change: Change) -> bool:
    return change.wanted.strictness < current.mode.strictness


def _lost_on_its_day(mark: Mark) -> float:
    if mark.day_equity is None:
        return 0.0
    return loss_of(figure(mark.equity), figure(mark.day_equity))
