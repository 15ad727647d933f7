"""Which bars is a backtest made of?

A file or folder of bars, or the store that the running system fills, as one panel: rows are instants, columns symbols in
order, NaN where a symbol has no bar. Every price lies on the grid of a micro. What the calendar says of each row is kept
beside it, so that the engines need no clock and no calendar.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backtester.costs import FeePeriod
from backtester.terms import Actions, Bars, Days
from shared.domain.bar_blocks import BarBlock, from_epoch_us, to_epoch_us
from shared.domain.calendar import NEW_YORK, TradingCalendar
from shared.domain.corporate_actions import CorporateAction, Split, merged
from shared.domain.errors import InvalidInput, TradingError
from shared.domain.money import MICROS
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.storage import Place
from simulator.files import read_tape
from simulator.tape import Segment, Tape
from strategy_engine.panels import FIGURES, Panel

Ints = NDArray[np.int64]
# Beyond this a panel would not fit into the memory of a small machine: five figures of eight bytes each.
MAX_CELLS = 200_000_000
# No two sessions are further apart than this.
_AROUND = timedelta(days=30)
_ENDINGS = (".csv", ".txt", ".parquet")


class NoData(TradingError):
    """There are no bars for what was asked; the text says how to get some."""


@dataclass(frozen=True)
class History:
    """Bars of one timeframe in order, with the exchange's days.

    `open_us`, `end_us`: when each row's bars begin to trade and end, microseconds since 1970. `session`: number of
    each row's exchange day, `acts_on` that of the day on which a decision at the row's end is sent (-1: none
    is known); both are proleptic ordinals, as `date.toordinal` has them.
    """

    panel: Panel
    open_us: Ints
    end_us: Ints
    session: Ints
    acts_on: Ints
    source: str
    # Rows of the source outside regular hours, which were left out.
    dropped: int = 0
    # Splits and dividends of these symbols, where prices are as they were paid.
    actions: tuple[CorporateAction, ...] = ()
    # When each row's session opens and closes, microseconds since 1970, shape (bars, 2); None: as far as the bars tell.
    hours: Ints | None = None
    # All exchange days around the bars, as `session` numbers them; None: no calendar says.
    exchange: Ints | None = None
    # What could not be read of what belongs to these bars; sentences for a run's warnings.
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.panel)

    @property
    def bars(self) -> Bars:
        """The figures as the engines take them."""
        return Bars(*(getattr(self.panel, name) for name in FIGURES))

    @cached_property
    def has_gaps(self) -> bool:
        """Whether some symbol lacks some bar."""
        return bool(np.isnan(self.panel.close).any())

    @cached_property
    def days_without_bars(self) -> Ints:
        """Exchange days from the first bar to the last on which no symbol has any."""
        if self.exchange is None:
            return np.empty(0, np.int64)
        first, last = np.searchsorted(self.exchange, self.session[[0, -1]])
        return np.setdiff1d(self.exchange[first:last], self.session)

    @cached_property
    def missing_share(self) -> float:
        """The share of bars that should be there and are not; an exchange day without any counts like the others."""
        there = 1.0 - float(np.isnan(self.panel.close).mean()) if self.has_gaps else 1.0
        days = len(self.session_ends)
        return 1.0 - there * days / (days + len(self.days_without_bars))

    @cached_property
    def silent_bars(self) -> int:
        """How many bars there are in which nothing was traded."""
        return int(np.count_nonzero(self.panel.volume == 0.0))

    @cached_property
    def session_ends(self) -> Ints:
        """The last row of each exchange day."""
        return np.flatnonzero(np.diff(self.session, append=-1)).astype(np.int64)

    @cached_property
    def exchange_days(self) -> tuple[Ints, Ints, Ints]:
        """Per exchange day its first row, when it opens, and for how long the exchange was open on the days before.

        Days without any bar count for nothing; microseconds.
        """
        first = np.append(0, self.session_ends[:-1] + 1).astype(np.int64)
        opened, closed = self.day_hours[first].T
        return first, opened, np.append(0, np.cumsum(closed - opened)[:-1]).astype(np.int64)

    @cached_property
    def day_hours(self) -> Ints:
        """`hours`, made from the bars where they are not known."""
        if self.hours is not None:
            return self.hours
        last = self.session_ends
        first = np.append(0, last[:-1] + 1).astype(np.int64)
        # A day goes on after its last bar when what is decided at that bar's end is sent the same day.
        closed = self.end_us[last] + (self.acts_on[last] == self.session[last])
        found = np.stack([self.open_us[first], closed], axis=1)
        hours: Ints = np.repeat(found, np.diff(np.append(first, len(self))), axis=0)
        return hours

    @cached_property
    def digest(self) -> str:
        """A hash of the bars, their times, and the splits, dividends, screens and fundamentals that are known."""
        hashed = hashlib.blake2b(digest_size=16)
        hashed.update(f"{self.panel.timeframe}|{','.join(self.panel.symbols)}".encode())
        hashed.update(self.end_us.astype("<i8").tobytes())
        for name in FIGURES:
            hashed.update(np.ascontiguousarray(getattr(self.panel, name)).astype("<f8").data)
        for action in self.actions:
            hashed.update(repr(action).encode())
        if self.panel.screened is not None:
            hashed.update(np.nan_to_num(self.panel.screened, nan=-1.0).astype("<i1").tobytes())
        if (known := self.panel.fundamentals) is not None:
            hashed.update(np.ascontiguousarray(known.place).astype("<i4").data)
            for name, values in sorted(known.figures.items()):
                hashed.update(name.encode() + values.astype("<f8").tobytes())
        return hashed.hexdigest()

    def days(self, fees: Sequence[FeePeriod], flat_before_s: int | None = None) -> Days:
        """The calendar as the engines take it.

        Args:
            fees: oldest first, empty for none.
            flat_before_s: so long before the close a strategy of the day leaves, and enters no more.
        """
        acts_on, is_over = self.acts_on, np.empty(0, np.bool_)
        if flat_before_s is not None:
            is_over = self.end_us >= self.day_hours[:, 1] - flat_before_s * MICROS
            acts_on = np.where(is_over & (acts_on == self.session), -1, acts_on)
        free = FeePeriod(date.min, 0.0, 0.0, 0.0)
        known = [free, *fees]
        rows = [
            0,
            *(int(np.searchsorted(self.session, period.from_on.toordinal())) for period in fees),
        ]
        first, opened, clock = self.exchange_days
        return Days(
            acts_on,
            self.open_us,
            self.end_us,
            first,
            self.session[first],
            opened,
            clock,
            is_over,
            np.array(rows, np.int64),
            np.array([period.sec_rate for period in known]),
            np.array([period.taf_per_share for period in known]),
            np.array([period.taf_most for period in known]),
        )

    def rows_between(self, start_on: date | None, end_on: date | None) -> tuple[int, int]:
        """The first row of `start_on` or later, and one past the last row of `end_on`."""
        first = 0 if start_on is None else int(np.searchsorted(self.session, start_on.toordinal()))
        last = (
            len(self)
            if end_on is None
            else int(np.searchsorted(self.session, end_on.toordinal(), side="right"))
        )
        return first, last

    def cut(self, first: int, last: int) -> History:
        """Rows `first` to `last` - 1."""
        figures = {name: getattr(self.panel, name)[first:last] for name in FIGURES}
        known = self.panel.fundamentals
        return History(
            Panel(
                self.panel.timeframe,
                self.panel.symbols,
                **figures,
                end_us=np.broadcast_to(self.end_us[first:last, None], figures["close"].shape),
                screened=None if self.panel.screened is None else self.panel.screened[first:last],
                fundamentals=None if known is None else known.taken(known.place[first:last]),
            ),
            self.open_us[first:last],
            self.end_us[first:last],
            self.session[first:last],
            self.acts_on[first:last],
            self.source,
            self.dropped,
            self.actions,
            None if self.hours is None else self.hours[first:last],
            self.exchange,
            self.notes,
        )

    @cached_property
    def actions_by_row(self) -> Mapping[int, Sequence[tuple[int, float, float]]]:
        """By the first row of their day or later: column, new shares per old one, dollars per share; in order."""
        found: dict[tuple[int, int], list[tuple[date, float, float]]] = {}
        for action in merged(self.actions):
            if action.symbol not in self.panel.symbols:
                continue
            column = self.panel.symbols.index(action.symbol)
            row = int(np.searchsorted(self.session, action.ex_on.toordinal()))
            # What counted before the first bar has no part in it.
            if 0 < row < len(self):
                ratio, amount = 1.0, 0.0
                if isinstance(action, Split):
                    ratio = float(action.ratio)
                else:
                    amount = float(action.amount)
                found.setdefault((row, column), []).append((action.ex_on, ratio, amount))
        by_row: dict[int, list[tuple[int, float, float]]] = {}
        for (row, column), some in sorted(found.items()):
            # The split of a day comes first: the dividend is paid on its shares.
            for _, ratio, amount in sorted(some, key=lambda each: (each[0], each[1] == 1.0)):
                by_row.setdefault(row, []).append((column, ratio, amount))
        return by_row

    @cached_property
    def actions_as_arrays(self) -> Actions:
        """The same as the fast engine takes it."""
        flat = [(row, *each) for row, some in self.actions_by_row.items() for each in some]
        factor = np.empty((0, 0))
        if any(ratio != 1.0 for _, _, ratio, _ in flat):
            factor = np.ones(self.panel.close.shape)
            for row, column, ratio, _ in flat:
                factor[row:, column] *= ratio
        return Actions(
            np.array([each[0] for each in flat], np.int64),
            np.array([each[1] for each in flat], np.int64),
            np.array([each[2] for each in flat], np.float64),
            np.array([each[3] for each in flat], np.float64),
            factor,
        )

    @cached_property
    def in_newest_shares(self) -> History:
        """The same bars in the shares of the last day, as indicators want them: no split looks like a crash."""
        factor = self.actions_as_arrays.factor
        if not factor.size:
            return self
        ratio = factor / factor[-1]
        panel = self.panel
        figures = {
            name: np.floor(getattr(panel, name) * ratio * MICROS + 0.5) / MICROS
            for name in FIGURES
            if name != "volume"
        }
        figures["volume"] = np.floor(panel.volume / ratio + 0.5)
        _lock(figures)
        return replace(self, panel=replace(panel, **figures), actions=())

    def day(self, row: int) -> date:
        """The exchange day of a row."""
        return date.fromordinal(int(self.session[row]))

    def moment(self, row: int) -> str:
        """When a row's bars ended, as people say it: a day, or with the time in New York for shorter bars."""
        if not self.panel.timeframe.is_intraday:
            return self.day(row).isoformat()
        ended = from_epoch_us(int(self.end_us[row])).astimezone(NEW_YORK)
        return f"{ended:%Y-%m-%d %H:%M}"


def history_of(
    timeframe: Timeframe,
    symbols: Sequence[Symbol],
    figures: dict[str, NDArray[np.float64]],
    open_us: Ints,
    end_us: Ints,
    calendar: TradingCalendar,
    source: str,
    dropped: int = 0,
) -> History:
    """Bars in panels (see `History`) with what `calendar` says of their rows."""
    _lock(figures)
    # Those around the bars: a calendar of decades takes longer to go through than a small backtest.
    sessions = calendar.between(
        from_epoch_us(int(open_us[0])).date() - _AROUND,
        from_epoch_us(int(end_us[-1])).date() + _AROUND,
    )
    opens = np.array([to_epoch_us(s.open_at) for s in sessions], np.int64)
    closes = np.array([to_epoch_us(s.close_at) for s in sessions], np.int64)
    days = np.array([s.on.toordinal() for s in sessions] + [-1], np.int64)
    running = np.searchsorted(opens, open_us, side="right") - 1
    return History(
        Panel(
            timeframe,
            tuple(symbols),
            *(figures[name] for name in FIGURES),
            # Rows are instants: one time for all, not one array for each.
            end_us=np.broadcast_to(end_us[:, None], figures["close"].shape),
        ),
        open_us,
        end_us,
        days[running],
        # At a session's last instant it is over: what is decided then is sent in the next one.
        days[np.searchsorted(closes, end_us, side="right")],
        source,
        dropped,
        hours=np.stack([opens[running], closes[running]], axis=1),
        exchange=days[:-1],
    )


def read_history(
    path: Path,
    calendar: TradingCalendar,
    symbols: Sequence[Symbol] = (),
    timeframe: Timeframe | None = None,
) -> History:
    """The bars of a file, or of all files of a folder, for `symbols` (all there are when empty).

    Raises:
        NoData: a symbol has no bars there.
        InvalidInput: a file that is no table of bars, or two that hold the same bar.
    """
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in _ENDINGS)
        if symbols:
            # A folder may hold thousands of files named after their symbols; only those are opened.
            named = [p for p in files if p.stem.upper().removesuffix(".US") in symbols]
            files = named or files
        if not files:
            raise NoData(
                f"{path} holds no .csv, .txt or .parquet file; put bars there, for example AAPL.csv with "
                "the columns date, open, high, low, close, volume"
            )
    else:
        files = [path]
    tapes = [read_tape(file, calendar, timeframe=timeframe) for file in files]
    frames = {tape.timeframe for tape in tapes}
    if len(frames) > 1:
        found = ", ".join(sorted(frames))
        raise InvalidInput(
            f"{path} holds bars of several lengths ({found}); name one with --timeframe, or one file"
        )
    return _joined(tapes, calendar, symbols, str(path))


def _joined(
    tapes: Sequence[Tape], calendar: TradingCalendar, symbols: Sequence[Symbol], source: str
) -> History:
    there = [symbol for tape in tapes for symbol in tape.symbols]
    twice = sorted({symbol for symbol in there if there.count(symbol) > 1})
    if twice:
        raise InvalidInput(
            f"{source}: {', '.join(twice)} is in more than one file; keep one of them"
        )
    missing = sorted(set(symbols) - set(there))
    if missing:
        raise NoData(
            f"{source} has no bars of {', '.join(missing)}; it has {', '.join(sorted(there)[:12])}. "
            "Name one of these, or give another file to --data"
        )
    wanted = sorted(set(symbols) or set(there))
    columns: list[tuple[Segment, Ints, int]] = []
    for tape in tapes:
        (segment,) = tape._segments  # a file is one
        for number, symbol in enumerate(tape.symbols):
            if symbol in wanted:
                columns.append((segment, segment.rows(number), wanted.index(symbol)))
    starts = np.unique(np.concatenate([segment.start_us[rows] for segment, rows, _ in columns]))
    shape = (len(starts), len(wanted))
    _refuse_too_many(shape, source)
    figures = {name: np.full(shape, np.nan) for name in FIGURES}
    opens, ends = np.zeros(len(starts), np.int64), np.zeros(len(starts), np.int64)
    for segment, rows, column in columns:
        at = np.searchsorted(starts, segment.start_us[rows])
        for name in FIGURES:
            scale = 1 if name == "volume" else MICROS
            figures[name][at, column] = getattr(segment, name)[rows] / scale
        opens[at] = segment.opens_us[rows]
        ends[at] = segment.end_us[rows]
    return history_of(
        tapes[0].timeframe,
        wanted,
        figures,
        opens,
        ends,
        calendar,
        source,
        sum(tape.dropped for tape in tapes),
    )


def stored_history(
    folder: Place,
    calendar: TradingCalendar,
    symbols: Sequence[Symbol],
    timeframe: Timeframe,
    until_on: date | None = None,
) -> History:
    """The bars that the system's own store in `folder` holds.

    Raises:
        NoData: there are none for one of `symbols`.
    """
    # Imported here: a backtest from a file needs no store.
    from shared.adapters.parquet import ParquetBars

    until = datetime(9999, 1, 1, tzinfo=UTC)
    if until_on is not None:
        session = calendar.session_on(until_on)
        until = (
            session.close_at if session else datetime.combine(until_on, datetime.max.time(), UTC)
        )
    block = ParquetBars(folder).between(timeframe, symbols, datetime(1970, 1, 1, tzinfo=UTC), until)
    missing = sorted(set(symbols) - set(block.symbols))
    if missing:
        raise NoData(
            f"the store has no {timeframe} bars of {', '.join(missing)}: fetch them with the running system (trader "
            f"data fetch {missing[0]} --timeframe {timeframe}), bring a file in (trader data import FILE), make some up "
            "(trader data generate bars.csv), or name a file with --data PATH"
        )
    return _from_block(block, calendar, sorted(set(symbols)))


def _from_block(block: BarBlock, calendar: TradingCalendar, symbols: Sequence[Symbol]) -> History:
    starts = np.unique(block.start_us)
    shape = (len(starts), len(symbols))
    _refuse_too_many(shape, "the store")
    row = np.searchsorted(starts, block.start_us)
    column = np.searchsorted(np.array(symbols), np.array(block.symbols))
    figures = {name: np.full(shape, np.nan) for name in FIGURES}
    for name in FIGURES:
        scale = 1 if name == "volume" else MICROS
        figures[name][row, column] = getattr(block, name) / scale
    ends = np.zeros(len(starts), np.int64)
    ends[row] = block.end_us
    opens = starts
    if block.timeframe is Timeframe.DAY:
        sessions = calendar.between(calendar.first_on, calendar.last_on)
        closes = np.array([to_epoch_us(s.close_at) for s in sessions], np.int64)
        at = np.searchsorted(closes, ends)
        opens = np.array([to_epoch_us(s.open_at) for s in sessions], np.int64)[at]
    return history_of(block.timeframe, symbols, figures, opens, ends, calendar, "the store")


def _lock(figures: Mapping[str, NDArray[np.float64]]) -> None:
    """Nobody changes the bars of a run: not even a strategy that makes its view of them writable again."""
    for values in figures.values():
        values.flags.writeable = False


def _refuse_too_many(shape: tuple[int, int], source: str) -> None:
    if shape[0] * shape[1] > MAX_CELLS:
        raise InvalidInput(
            f"{source}: {shape[0]} bars of {shape[1]} symbols are more than {MAX_CELLS} together; "
            "name fewer symbols, or a shorter time"
        )
