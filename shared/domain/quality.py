"""What is wrong with a series of bars?

One symbol's bars of one length go in as columns, findings come out: figures that contradict themselves, bars twice,
bad prints, splits that nobody applied, feeds that stand still, and holes against the exchange's calendar. Nothing is
repaired here. A minute without a trade has no bar and that is no fault, so only long holes count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from shared.domain.bar_blocks import from_epoch_us, to_epoch_us
from shared.domain.calendar import NEW_YORK, Session, TradingCalendar
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe

Int64s = NDArray[np.int64]
Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]

# Bars on each side of the one that is judged; a jump that lasts longer is a new level and no bad print.
_REACH = 10
# How many robust standard deviations from its neighbours a price may lie ...
SIGMAS = 10.0
MAD_TO_SIGMA = 1.4826
# ... and how far at least, as a logarithm, before anybody calls it a bad print.
LEAST_JUMP = {True: 0.08, False: 0.25}
# Trading is halted long before a share doubles within minutes.
WIDEST_INTRADAY = 1.5
_SPLITS = tuple(
    (n, m)
    for n, m in (
        *((n, 1) for n in (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 40, 50, 100)),
        *((3, 2), (5, 2), (7, 2)),
    )
)
_SPLIT_TOLERANCE = 0.05
# The smallest step, as a logarithm, that is looked at as a split.
LEAST_SPLIT_STEP = float(np.log(WIDEST_INTRADAY)) - _SPLIT_TOLERANCE
_SPLIT_SUPPORT = 5
# So many equal bars in a row, with shares traded, are no market.
FROZEN_BARS = {True: 10, False: 3}
# Holes of so many minutes of open market count, and sessions of which less than this share is there.
_LONG_HOLE = timedelta(minutes=30)
_MOST_DETAILS = 5
_MICROSECOND = timedelta(microseconds=1)


class Kind(StrEnum):
    """What a finding is about."""

    INVALID = "invalid"
    DUPLICATE = "duplicate"
    DISORDER = "out_of_order"
    MISALIGNED = "misaligned"
    SPIKE = "spike"
    SPLIT = "unadjusted_split"
    FROZEN = "frozen"
    STALE = "stale"
    FUTURE = "future"
    GAP = "gap"
    OUTSIDE = "outside_session"


class Severity(StrEnum):
    """An error must not be traded on, a warning should be looked at, a note is good to know."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found, from where to where, how often, in a sentence."""

    kind: Kind
    severity: Severity
    symbol: Symbol
    timeframe: Timeframe
    first_at: datetime
    last_at: datetime
    count: int
    detail: str


@dataclass(frozen=True, slots=True)
class Series:
    """One symbol's bars as columns of shape (n,), in the order of their source; prices in dollars."""

    symbol: Symbol
    timeframe: Timeframe
    start_us: Int64s
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Int64s

    def __len__(self) -> int:
        return len(self.start_us)

    def picked(self, rows: Booleans | Int64s) -> Series:
        """The rows that `rows` names."""
        return Series(
            self.symbol,
            self.timeframe,
            self.start_us[rows],
            self.open[rows],
            self.high[rows],
            self.low[rows],
            self.close[rows],
            self.volume[rows],
        )


def check(
    series: Series,
    calendar: TradingCalendar,
    *,
    now: datetime,
    explained_splits: Sequence[date] = (),
    is_live: bool = False,
) -> list[Finding]:
    """Everything that is wrong with `series`, as known at `now`.

    Args:
        explained_splits: days on which a corporate action is known to have changed the share count.
        is_live: whether the series should reach up to `now`, as a store's does and a file's need not.
    """
    found: list[Finding] = []
    if not len(series):
        return found
    report = _Reporter(series, found)
    usable = _consistent(series, report)
    good = series.picked(usable)
    if np.any(np.diff(good.start_us) < 0):
        report(Kind.DISORDER, Severity.WARNING, good, None, "rows are not sorted by time")
    good = good.picked(np.argsort(good.start_us, kind="stable").astype(np.int64))
    good = _unique(good, report)
    if not len(good):
        return found
    future = good.start_us > to_epoch_us(now)
    report(Kind.FUTURE, Severity.ERROR, good, future, "bars that begin in the future")
    good = good.picked(~future)
    good = _aligned(good, calendar, report)
    if not len(good):
        return found
    _gaps(good, calendar, report)
    bad = _spikes(good, report)
    sound = good.picked(~bad)
    if len(sound):
        _splits(sound, report, frozenset(explained_splits))
        _frozen(sound, report)
        if is_live:
            _stale(sound, calendar, now, report)
    return found


def bad_print(timeframe: Timeframe, high: float, low: float) -> str | None:
    """Why an intraday bar from `low` to `high` (high >= low > 0) cannot be right by itself, or None."""
    if not timeframe.is_intraday or high <= low * WIDEST_INTRADAY:
        return None
    split = split_ratio(high / low)
    why = "a bad print" if split is None else f"a bad print, or one from before a {split} split"
    return f"the bar spans {low:g} to {high:g}, {high / low:.2f} times: {why}"


def split_ratio(ratio: float) -> str | None:
    """The split that a ratio of prices before and after looks like, e.g. `7:1` or `1:10`, or None."""
    if not (np.isfinite(ratio) and ratio > 0):
        return None
    for n, m in _SPLITS:
        if abs(np.log(ratio * m / n)) <= _SPLIT_TOLERANCE:
            return f"{n}:{m}"
        if abs(np.log(ratio * n / m)) <= _SPLIT_TOLERANCE:
            return f"{m}:{n}"
    return None


def far_from_neighbours(
    timeframe: Timeframe, high: Floats, low: Floats, close: Floats
) -> tuple[Booleans, Floats]:
    """Which bars of one symbol, oldest first, reach far away from their neighbours, and where these stand.

    A bar is judged by the closes of the ten before and after it; near an end of the series by its nearest whole window,
    and then it has to lie far from each of them, since it may begin or end a new level. Fewer bars than one window are
    not judged. Prices in any unit; where the neighbours of a bar stand is given where it is far, else its own close.
    """
    count, window = len(close), 2 * _REACH + 1
    far, middle = np.zeros(count, np.bool_), np.array(close, np.float64)
    if count < window:
        return far, middle
    least = LEAST_JUMP[timeframe.is_intraday]
    # Nothing can be far where a whole neighbourhood spans less, which is nearly everywhere.
    cells = np.arange(0, count, _REACH)
    tops = _widest(np.maximum.reduceat(high, cells), np.maximum)
    bottoms = _widest(np.minimum.reduceat(low, cells), np.minimum)
    wide = np.repeat(np.log(tops / bottoms) > least, _REACH)[:count]
    rows = np.flatnonzero(wide)
    if not len(rows):
        return far, middle
    logs = np.log(close)

    def around(asked: Int64s) -> Int64s:
        first = np.clip(asked - _REACH, 0, count - window)
        return first[:, None] + np.arange(window)

    neighbours = around(rows)
    needed, where = np.unique(neighbours, return_inverse=True)
    # Each neighbour's distance is from its own level, so that a trend widens nothing.
    levels = np.median(logs[around(needed)], axis=1)
    away = np.abs(logs[needed] - levels)[where.reshape(neighbours.shape)]
    spread = np.median(away, axis=1) * MAD_TO_SIGMA
    level = levels[np.searchsorted(needed, rows)]
    closes = logs[neighbours]
    allowed = np.maximum(spread * SIGMAS, least)
    tall, deep = np.log(high[rows]), np.log(low[rows])
    found = np.maximum(np.abs(tall - level), np.abs(deep - level)) > allowed
    others = np.where(neighbours == rows[:, None], np.nan, closes)
    alone = (np.nanmin(np.abs(others - tall[:, None]), axis=1) > allowed) | (
        np.nanmin(np.abs(others - deep[:, None]), axis=1) > allowed
    )
    at_an_end = (rows < _REACH) | (rows >= count - _REACH)
    found &= alone | ~at_an_end
    far[rows[found]] = True
    middle[rows[found]] = np.exp(level[found])
    return far, middle


def split_steps(
    days: NDArray[np.datetime64], opens: Floats, closes: Floats
) -> list[tuple[int, str]]:
    """Rows at which a day opens as after a split, and stays there, with the split; one symbol's, oldest first."""
    found = []
    for row in np.flatnonzero(np.diff(days) > np.timedelta64(0, "D")) + 1:
        # A look at the step itself is cheap, and nearly always enough.
        step = float(closes[row - 1] / opens[row])
        if abs(np.log(step)) < LEAST_SPLIT_STEP - 4 * _SPLIT_TOLERANCE:
            continue
        before = closes[max(0, row - _SPLIT_SUPPORT) : row]
        after = closes[row : row + _SPLIT_SUPPORT]
        ratio = float(np.median(before) / np.median(after))
        if abs(np.log(ratio)) < LEAST_SPLIT_STEP:
            continue
        split = split_ratio(step)
        if split is not None and abs(np.log(step / ratio)) <= 4 * _SPLIT_TOLERANCE:
            found.append((int(row), split))
    return found


def dates_of(start_us: Int64s) -> NDArray[np.datetime64]:
    """The New York day of each instant; they are sorted, so each hour is looked up once."""
    if not len(start_us):
        return np.empty(0, "datetime64[D]")
    # Two instants of one UTC date may lie in two New York days, but never two of one UTC hour.
    hours = start_us // 3_600_000_000
    firsts = np.flatnonzero(np.diff(hours, prepend=hours[0] - 1))
    counts = np.diff(np.append(firsts, len(hours)))
    days = [
        datetime.fromtimestamp(hour * 3_600, UTC).astimezone(NEW_YORK).date()
        for hour in hours[firsts].tolist()
    ]
    return np.repeat(np.array(days, "datetime64[D]"), counts)


def days_of(start_us: Int64s) -> list[date]:
    """The same as dates."""
    days: list[date] = dates_of(start_us).tolist()
    return days


def _widest(cells: Floats, choose: np.ufunc) -> Floats:
    """Of each cell what `choose` finds in it and the two on either side."""
    padded = np.pad(cells, 2, mode="edge")
    found: Floats = choose.reduce(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1)
    return found


class _Reporter:
    """Turns rows into findings; a kind that shows up often becomes one line with its count."""

    def __init__(self, series: Series, found: list[Finding]) -> None:
        self._series = series
        self._found = found

    def __call__(
        self, kind: Kind, severity: Severity, rows: Series, mask: Booleans | None, detail: str
    ) -> None:
        if mask is not None and not mask.any():
            return
        at = rows.start_us if mask is None else rows.start_us[mask]
        self.span(kind, severity, int(at.min()), int(at.max()), len(at), detail)

    def span(
        self, kind: Kind, severity: Severity, first_us: int, last_us: int, count: int, detail: str
    ) -> None:
        self._found.append(
            Finding(
                kind,
                severity,
                self._series.symbol,
                self._series.timeframe,
                from_epoch_us(first_us),
                from_epoch_us(last_us),
                count,
                detail,
            )
        )


def _consistent(series: Series, report: _Reporter) -> Booleans:
    """Which rows do not contradict themselves; the others are reported."""
    prices = np.stack([series.open, series.high, series.low, series.close])
    with np.errstate(invalid="ignore"):
        finite: Booleans = np.isfinite(prices.sum(axis=0))
        positive: Booleans = prices.min(axis=0) > 0
        ordered: Booleans = (series.high >= prices.max(axis=0)) & (series.low <= prices.min(axis=0))
    counted: Booleans = series.volume >= 0
    report(Kind.INVALID, Severity.ERROR, series, ~finite, "prices that are no finite number")
    report(Kind.INVALID, Severity.ERROR, series, finite & ~positive, "prices of zero or less")
    report(
        Kind.INVALID,
        Severity.ERROR,
        series,
        finite & positive & ~ordered,
        "open or close outside of low and high",
    )
    report(Kind.INVALID, Severity.ERROR, series, ~counted, "volumes below zero")
    usable: Booleans = finite & positive & ordered & counted
    return usable


def _unique(good: Series, report: _Reporter) -> Series:
    """One row per start, the last one of each; `good` is sorted."""
    again = np.zeros(len(good), dtype=np.bool_)
    again[1:] = np.diff(good.start_us) == 0
    if not again.any():
        return good
    figures = np.stack([good.open, good.high, good.low, good.close, good.volume.astype(np.float64)])
    differs = np.zeros(len(good), dtype=np.bool_)
    differs[1:] = (figures[:, 1:] != figures[:, :-1]).any(axis=0)
    report(Kind.DUPLICATE, Severity.WARNING, good, again & ~differs, "bars that are there twice")
    report(
        Kind.DUPLICATE,
        Severity.ERROR,
        good,
        again & differs,
        "bars that are there twice with different figures",
    )
    last = np.ones(len(good), dtype=np.bool_)
    last[:-1] = ~again[1:]
    return good.picked(last)


def _aligned(good: Series, calendar: TradingCalendar, report: _Reporter) -> Series:
    """The rows whose start is a possible one; those outside of regular hours are noted and kept."""
    if not good.timeframe.is_intraday:
        known = np.array([calendar.session_on(day) is not None for day in days_of(good.start_us)])
        report(
            Kind.MISALIGNED, Severity.WARNING, good, ~known, "daily bars on days without session"
        )
        return good
    length_us = good.timeframe.length // _MICROSECOND
    off = good.start_us % length_us != 0
    report(
        Kind.MISALIGNED, Severity.ERROR, good, off, f"no {good.timeframe} bar begins at such times"
    )
    good = good.picked(~off)
    if len(good):
        outside = ~_in_session(good, calendar)
        report(Kind.OUTSIDE, Severity.NOTE, good, outside, "bars outside of regular hours")
    return good


def _spikes(good: Series, report: _Reporter) -> Booleans:
    """Rows with a price that lies far from all their neighbours, reported one by one."""
    count = len(good)
    bad = np.zeros(count, dtype=np.bool_)
    intraday = good.timeframe.is_intraday
    wide = np.zeros(count, dtype=np.bool_)
    if intraday:
        wide = good.high > good.low * WIDEST_INTRADAY
    far, middle = far_from_neighbours(good.timeframe, good.high, good.low, good.close)
    bad = wide | far
    for row in np.flatnonzero(bad)[: _MOST_DETAILS * 4]:
        ratio = max(good.high[row] / middle[row], middle[row] / good.low[row])
        if wide[row]:
            ratio = max(ratio, good.high[row] / good.low[row])
        split = split_ratio(float(ratio))
        hint = "" if split is None else f", the ratio of a {split} split"
        at_us = int(good.start_us[row])
        report.span(
            Kind.SPIKE,
            Severity.ERROR,
            at_us,
            at_us,
            1,
            f"open {good.open[row]:g}, high {good.high[row]:g}, low {good.low[row]:g}, close "
            f"{good.close[row]:g} while its neighbours stand at {middle[row]:.4g}: "
            f"{ratio:.2f} times{hint}",
        )
    more = int(bad.sum()) - _MOST_DETAILS * 4
    if more > 0:
        report(Kind.SPIKE, Severity.ERROR, good, bad, f"{more} more bad prints like these")
    return bad


def _splits(sound: Series, report: _Reporter, explained: frozenset[date]) -> None:
    """Steps between days that look like a share count that changed, and stay."""
    for row, split in split_steps(dates_of(sound.start_us), sound.open, sound.close):
        known = days_of(sound.start_us[row : row + 1])[0] in explained
        report.span(
            Kind.SPLIT,
            Severity.NOTE if known else Severity.ERROR,
            int(sound.start_us[row - 1]),
            int(sound.start_us[row]),
            1,
            f"{sound.close[row - 1]:g} to {sound.open[row]:g} is the step of a {split} split"
            + (", which is known" if known else "; no corporate action explains it"),
        )


def _frozen(sound: Series, report: _Reporter) -> None:
    """Runs of equal bars with shares traded: a feed that repeats itself."""
    least = FROZEN_BARS[sound.timeframe.is_intraday]
    figures = np.stack(
        [sound.open, sound.high, sound.low, sound.close, sound.volume.astype(np.float64)]
    )
    same = (figures[:, 1:] == figures[:, :-1]).all(axis=0) & (sound.volume[1:] > 0)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], same, [False]]).astype(np.int8)))
    for low, high in edges.reshape(-1, 2):
        if high - low + 1 >= least:
            report.span(
                Kind.FROZEN,
                Severity.WARNING,
                int(sound.start_us[low]),
                int(sound.start_us[high]),
                int(high - low + 1),
                "equal bars in a row: the feed stood still",
            )


def _gaps(sound: Series, calendar: TradingCalendar, report: _Reporter) -> None:
    """Sessions without any bar, and within sessions long holes."""
    days = days_of(sound.start_us)
    present = set(days)
    missing = [s.on for s in calendar.between(days[0], days[-1]) if s.on not in present]
    for run in _runs(missing, calendar):
        shown = f"{run[0]}" if len(run) == 1 else f"{run[0]} to {run[-1]}"
        low, high = calendar.between(run[0], run[0])[0], calendar.between(run[-1], run[-1])[0]
        report.span(
            Kind.GAP,
            Severity.ERROR,
            to_epoch_us(low.open_at),
            to_epoch_us(high.open_at),
            len(run),
            f"no bar at all in {len(run)} session{'s' if len(run) > 1 else ''}: {shown}",
        )
    if not sound.timeframe.is_intraday:
        return
    length_us = sound.timeframe.length // _MICROSECOND
    hole_us = max(_LONG_HOLE // _MICROSECOND, 2 * length_us)
    for on in sorted(present):
        session = calendar.session_on(on)
        if session is None:
            continue
        low_us, high_us = to_epoch_us(session.open_at), to_epoch_us(session.close_at)
        inside = sound.start_us[(sound.start_us >= low_us - length_us) & (sound.start_us < high_us)]
        marks = np.concatenate([[low_us - length_us], inside, [high_us]])
        # From the end of one bar to the start of the next.
        holes = np.diff(marks) - length_us
        for row in np.flatnonzero(holes >= hole_us):
            report.span(
                Kind.GAP,
                Severity.WARNING,
                int(marks[row] + length_us),
                int(marks[row + 1]),
                int(holes[row] // length_us),
                f"{int(holes[row] // (60 * 1_000_000))} minutes of the session of {on} have no bar",
            )


def _stale(sound: Series, calendar: TradingCalendar, now: datetime, report: _Reporter) -> None:
    """Whether the newest bar is older than it should be, counted in open market."""
    newest_at = from_epoch_us(int(sound.start_us[-1]))
    missed = calendar.session_time_between(
        calendar.bar_end(newest_at, sound.timeframe)
        if _has_end(newest_at, sound.timeframe, calendar)
        else newest_at,
        now,
    )
    allowed = _LONG_HOLE
    if not sound.timeframe.is_intraday:
        # The running session's bar comes with its close.
        last = calendar.last_session(now)
        allowed = timedelta(hours=7) if last is not None and now < last.close_at else timedelta(0)
    if missed > allowed:
        report.span(
            Kind.STALE,
            Severity.WARNING,
            int(sound.start_us[-1]),
            to_epoch_us(now),
            1,
            f"the newest bar is {missed} of open market old",
        )


def _has_end(start_at: datetime, timeframe: Timeframe, calendar: TradingCalendar) -> bool:
    return (
        timeframe.is_intraday
        or calendar.session_on(start_at.astimezone(NEW_YORK).date()) is not None
    )


def _in_session(series: Series, calendar: TradingCalendar) -> Booleans:
    first, last = from_epoch_us(int(series.start_us[0])), from_epoch_us(int(series.start_us[-1]))
    sessions: tuple[Session, ...] = calendar.between(
        first.astimezone(NEW_YORK).date(), last.astimezone(NEW_YORK).date()
    )
    inside = np.zeros(len(series), dtype=np.bool_)
    length_us = series.timeframe.length // _MICROSECOND
    for session in sessions:
        low, high = np.searchsorted(
            series.start_us,
            [to_epoch_us(session.open_at) - length_us + 1, to_epoch_us(session.close_at)],
        )
        inside[low:high] = True
    return inside


def _runs(missing: Sequence[date], calendar: TradingCalendar) -> list[list[date]]:
    """Missing days grouped where no session lies between them."""
    runs: list[list[date]] = []
    for day in missing:
        if runs and len(calendar.between(runs[-1][-1], day)) == 2:
            runs[-1].append(day)
        else:
            runs.append([day])
    return runs
