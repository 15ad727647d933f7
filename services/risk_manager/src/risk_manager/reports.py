"""What did the day look like from the side of risk?

A report is made once after each close, from what was stored during the day, and never changed. A snapshot keeps
what could be lost at an instant. Both are plain values, ready for JSON: money as exact texts, ratios as numbers. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from risk_manager.attribution import Attribution
from risk_manager.exposure import Exposure
from risk_manager.monitor import RiskFigures
from risk_manager.snapshot import Mark
from shared.domain.calendar import NEW_YORK, Session, TradingCalendar
from shared.domain.errors import InvalidTime
from shared.domain.money import plain

# The last bar comes and is decided on a moment after the close.
AFTER_CLOSE = timedelta(minutes=5)
SNAPSHOT_EVERY = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class DayFigures:
    """What was stored between two closes; dollars and shares of equity. None where no bar was marked."""

    equity_before: Decimal | None
    # Paid in since then less taken out, which is no result.
    paid_in: Decimal | None
    equity: Decimal | None
    cash: Decimal | None
    peak_equity: Decimal | None
    lowest_equity: Decimal | None
    drawdown: float | None
    worst_drawdown: float | None
    gross_exposure: Decimal | None
    highest_gross_exposure: Decimal | None
    net_exposure: Decimal | None
    entries: int
    exits: int
    # By reason code.
    refused: Mapping[str, int]
    stops_moved: int
    # Oldest first, as sentences.
    modes: tuple[str, ...]
    limits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A day's report as it was written."""

    on: date
    written_at: datetime
    document: dict[str, Any]


def session_to_report(now: datetime, calendar: TradingCalendar) -> tuple[Session, Session] | None:
    """The newest session that is over, and the one before it; None where the calendar does not reach."""
    today = now.astimezone(NEW_YORK).date()
    try:
        past = [
            session
            for session in calendar.between(today - timedelta(days=14), today)
            if session.close_at + AFTER_CLOSE <= now
        ]
    except InvalidTime:
        return None
    return (past[-1], past[-2]) if len(past) > 1 else None


def report_of(
    day: DayFigures, session: Session, snapshot: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The day's report."""
    before, after = day.equity_before, day.equity
    began = None if before is None else before + (day.paid_in or 0)
    pnl = None if began is None or after is None else after - began
    return {
        "on": session.on.isoformat(),
        "open_at": session.open_at.isoformat(),
        "close_at": session.close_at.isoformat(),
        "equity_before": _text(before),
        "equity": _text(after),
        "cash": _text(day.cash),
        "paid_in": _text(day.paid_in),
        "pnl": _text(pnl),
        # As if what was paid in had been there from the day's beginning.
        "day_return": None if pnl is None or not began else float(pnl / began),
        "lowest_equity": _text(day.lowest_equity),
        "peak_equity": _text(day.peak_equity),
        "drawdown": day.drawdown,
        "worst_drawdown": day.worst_drawdown,
        "gross_exposure": _text(day.gross_exposure),
        "highest_gross_exposure": _text(day.highest_gross_exposure),
        "net_exposure": _text(day.net_exposure),
        "entries": day.entries,
        "exits": day.exits,
        "refused": dict(sorted(day.refused.items())),
        "stops_moved": day.stops_moved,
        "modes": list(day.modes),
        "limits": list(day.limits),
        # The newest one of the day, with its own time.
        "snapshot": None if snapshot is None else dict(snapshot),
    }


def snapshot_of(
    at: datetime,
    mark: Mark,
    exposure: Exposure,
    figures: RiskFigures,
    attribution: list[Attribution],
) -> dict[str, Any]:
    """The account and what it could lose at `at`."""
    losses = figures.losses
    return {
        "at": at.isoformat(),
        "equity": plain(mark.equity),
        "cash": plain(mark.cash),
        "drawdown": mark.drawdown,
        "gross_exposure": plain(mark.gross_exposure),
        "net_exposure": plain(mark.net_exposure),
        "committed_exposure": plain(exposure.committed),
        "portfolio_risk": plain(exposure.risk),
        "losses": None
        if losses is None
        else {
            "confidence": losses.confidence,
            "observations": losses.observations,
            "historical_var": losses.historical_var,
            "parametric_var": losses.parametric_var,
            "historical_cvar": losses.historical_cvar,
        },
        "beta_weighted_delta": figures.beta_weighted_delta,
        "worst_scenario": min((each.pnl for each in figures.scenarios), default=None),
        "uncovered": list(figures.uncovered),
        "strategies": {
            each.strategy: {
                "realised_pnl": plain(each.realised_pnl),
                "unrealised_pnl": plain(each.unrealised_pnl),
            }
            for each in attribution
        },
    }


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else plain(amount)
