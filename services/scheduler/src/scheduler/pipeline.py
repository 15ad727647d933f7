"""Does the pipeline keep up, and how long did each of its runs take?

Bars come, are decided on, reviewed and sent by the services themselves, each woken by the one before. What stands here
judges that from what is stored: which stage is behind, and by how much. A run is one batch of bars on its way: screened,
collected, evaluated, reviewed, sent, filled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.domain.calendar import TradingCalendar
from shared.domain.timeframes import Timeframe

# Beyond this a message that waits has not merely come a moment ago.
LATE = timedelta(seconds=60)
# The source has its own delay, and thinly traded symbols have no bar in every minute.
BARS_LATE = timedelta(minutes=2)
# A day's bar comes when the exchange has settled its closing prices.
DAY_LATE = timedelta(minutes=30)
# A screen is taken every five minutes of open market; two may fail.
SCREEN_LATE = timedelta(minutes=15)
# Outcomes of a screen, as the data collector stores them.
TAKEN, OFF = "taken", "off"


@dataclass(frozen=True, slots=True)
class Waiting:
    """Messages that a reader has not taken yet."""

    count: int
    oldest_at: datetime | None


@dataclass(frozen=True, slots=True)
class Screening:
    """How the screen went that was due last: `taken`, `failed`, or `off` where nobody takes any.

    Instants are the venue's, `took_s` the machine's.
    """

    screen: str
    due_at: datetime
    outcome: str
    ended_at: datetime
    symbols: int
    took_s: float
    detail: str


@dataclass(frozen=True, slots=True)
class PipelineState:
    """How far each stage has come; `newest_end_at` is of the newest batch, None before the first."""

    newest_end_at: datetime | None
    newest_screen_at: datetime | None
    waiting: Mapping[str, Waiting]
    screening: Screening | None = None


@dataclass(frozen=True, slots=True)
class PipelineRun:
    """One batch of bars and what followed; an instant is None as long as its stage has not happened."""

    batch_id: int
    timeframe: str
    start_at: datetime
    end_at: datetime
    symbols: int
    decidable: bool
    screened_at: datetime | None
    collected_at: datetime
    evaluated_at: datetime | None
    reviewed_at: datetime | None
    sent_at: datetime | None
    filled_at: datetime | None
    signals: int
    approved: int
    refused: int
    orders: int
    fills: int
    # The screen that was due last when the bars ended; None where none was yet.
    screening: Screening | None = None


@dataclass(frozen=True, slots=True)
class StageTime:
    """When a stage of a run was done, and how long after the one before; seconds of the venue's time.

    A screen belongs to no one batch: of the newest before it the seconds are those that taking it took.
    """

    stage: str
    done_at: datetime
    took_s: float


def stage_times(run: PipelineRun) -> list[StageTime]:
    """The stages that `run` has been through, in their order."""
    done = [
        ("collection", run.collected_at),
        ("strategies", run.evaluated_at),
        ("risk", run.reviewed_at),
        ("execution", run.sent_at),
        ("fill", run.filled_at),
    ]
    times, before_at = [], run.end_at
    screening = run.screening
    if screening is not None and screening.outcome == TAKEN:
        times.append(StageTime("screener", screening.ended_at, screening.took_s))
    for stage, at in done:
        if at is None:
            break
        times.append(StageTime(stage, at, max(0.0, (at - before_at).total_seconds())))
        before_at = at
    return times


def late_bars(
    state: PipelineState, calendar: TradingCalendar, timeframe: Timeframe, now: datetime
) -> str | None:
    """One sentence when bars that should have come have not; None while they are on time."""
    newest_at = state.newest_end_at
    if timeframe is Timeframe.DAY:
        session = calendar.last_session(now - DAY_LATE)
        if session is None or now < session.close_at + DAY_LATE:
            return None
        due_at = session.close_at
    else:
        running = calendar.session_at(now)
        if running is None:
            return None
        patience = 2 * timeframe.length + BARS_LATE
        if now < running.open_at + patience:
            return None
        due_at = now - patience
    if newest_at is not None and newest_at >= due_at:
        return None
    since = "none at all" if newest_at is None else f"the newest ended at {newest_at.isoformat()}"
    return f"{timeframe.value} bars are late: {since}"


def behind(state: PipelineState, reader: str, now: datetime) -> str | None:
    """One sentence when `reader` has let messages wait for too long."""
    waiting = state.waiting[reader]
    if waiting.oldest_at is None or now - waiting.oldest_at <= LATE:
        return None
    waited_s = (now - waiting.oldest_at).total_seconds()
    name = reader.replace("_", " ")
    return f"the {name} is behind: {waiting.count} messages wait, the oldest for {waited_s:.0f} s"


def late_screen(state: PipelineState, calendar: TradingCalendar, now: datetime) -> str | None:
    """One sentence when screens are taken, and the newest is too old for an open market."""
    running, screening = calendar.session_at(now), state.screening
    if running is None or screening is None or screening.outcome == OFF:
        return None
    if now - running.open_at <= SCREEN_LATE:
        return None
    newest_at = state.newest_screen_at
    if newest_at is not None and now - newest_at <= SCREEN_LATE:
        return None
    since = "no screen yet" if newest_at is None else f"no screen since {newest_at.isoformat()}"
    return f"{since}: {screening.detail or 'the data collector is behind'}"


def words_of_screen(screening: Screening | None) -> dict[str, str | int | float]:
    """The screen that was due last, as a job's figures."""
    if screening is None:
        return {"screen": "none was due yet"}
    if screening.outcome == OFF:
        return {"screen": screening.detail}
    due = {"screen": screening.screen, "due": screening.due_at.isoformat()}
    if screening.outcome == TAKEN:
        return {**due, "symbols": screening.symbols, "took_s": round(screening.took_s, 3)}
    return {**due, "failed": screening.detail}
