"""Which bars does a file hold, and what is wrong with it?

CSV as Yahoo and Stooq write it, and Parquet. Columns are known by their usual names, the timeframe by the
spacing of the rows. Naive minute stamps are New York time, dates are exchange days, and minute bars are
stamped with their start. A file is taken whole or refused with one sentence that names file, row, column
and mend; nothing is repaired silently. Bars outside regular hours are left out and counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from shared.domain.bar_blocks import from_epoch_us, to_epoch_us
from shared.domain.bars import MAX_VOLUME
from shared.domain.calendar import TradingCalendar
from shared.domain.errors import InvalidInput, InvalidSymbol
from shared.domain.money import MAX_PRICE, MICROS
from shared.domain.symbols import Symbol, parse_symbol
from shared.domain.timeframes import Timeframe
from simulator.plain_csv import read_plain
from simulator.tape import Segment, Tape

if TYPE_CHECKING:  # imported where a file is not plain: it takes longer than a plain one
    import polars as pl

Int64s = NDArray[np.int64]

_TIMES = ("datetime", "timestamp", "start_at", "date", "time", "t", "day", "")
_PRICES = {
    "open": ("open", "o"),
    "high": ("high", "h"),
    "low": ("low", "l"),
    "close": ("close", "c"),
}
_VOLUMES = ("volume", "vol", "v")
_SYMBOLS = ("symbol", "ticker", "s")
_FORMATS = (
    "%Y-%m-%d",
    "%Y%m%d",
    "%m/%d/%Y",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
    "%Y%m%d %H%M%S",
    "%Y%m%d %H:%M:%S",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f",
)
_ZONED_FORMATS = (
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M:%S%.f%#z",
)
_WRITTEN = ("symbol", "timestamp", "open", "high", "low", "close", "volume")
_DAY_US = 86_400 * MICROS
_NEW_YORK = ZoneInfo("America/New_York")
# How far apart the closest rows of one symbol are says what a bar is.
_INTRADAY = {int(t.length.total_seconds()): t for t in Timeframe if t.is_intraday}


def write_tape(tape: Tape, path: Path) -> int:
    """Write every bar of a tape's replay, so that it reads back the same; how many there were.

    Raises:
        InvalidInput: the file cannot be written.
    """
    import polars as pl

    if path.suffix not in (".csv", ".parquet"):
        raise InvalidInput(f"{path} must end in .csv or .parquet")
    rows: dict[str, list[object]] = {name: [] for name in _WRITTEN}
    number = 0
    while (instant := tape.instant(number)) is not None:
        number += 1
        for symbol, bar in instant.bars.items():
            values = (symbol, instant.start_at, bar.open, bar.high, bar.low, bar.close, bar.volume)
            for column, value in zip(rows.values(), values, strict=True):
                column.append(value)
    table = pl.DataFrame(rows, schema_overrides={"timestamp": pl.Datetime("us", "UTC")})
    draft = path.with_suffix(f"{path.suffix}.draft")
    try:
        if path.suffix == ".parquet":
            table.write_parquet(draft)
        else:
            table.write_csv(draft, datetime_format="%Y-%m-%dT%H:%M:%SZ")
        draft.replace(path)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror or error}") from None
    return len(table)


class _Rows(NamedTuple):
    """A file's rows as columns, in the file's order; times in microseconds, prices in micros."""

    symbol: list[str]
    time_us: Int64s
    is_zoned: bool
    prices: dict[str, Int64s]
    volume: Int64s


class _Source:
    """The file's name and how its rows are counted, for sentences about it."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        # In a CSV the header is line 1; people look for the line their editor shows.
        self._first_row = 1 if path.suffix.lower() == ".parquet" else 2

    def wrong(self, what: str) -> InvalidInput:
        return InvalidInput(f"{self.name}: {what}")

    def wrong_at(self, row: int, column: str, what: str) -> InvalidInput:
        return InvalidInput(f"{self.name}: row {row + self._first_row}, column {column}: {what}")


def read_tape(
    path: Path,
    calendar: TradingCalendar,
    *,
    last: int | None = None,
    timeframe: Timeframe | None = None,
    only: Sequence[Symbol] = (),
) -> Tape:
    """The bars of `path` as a tape whose replay is its last `last` instants (all when None).

    Args:
        timeframe: None to tell it from the spacing.
        only: symbols to keep; empty keeps all.
    Raises:
        InvalidInput: one sentence that names what is wrong and what to do.
    """
    source = _Source(path)
    rows = _plain_rows(source, path) or _check_rows(source, _read_columns(source, path), path)
    symbols = _symbols(source, rows.symbol)
    if only:
        rows, symbols = _keep_only(source, rows, symbols, only)
    names = sorted(set(symbols))
    numbers = {name: i for i, name in enumerate(names)}
    number = np.array([numbers[s] for s in symbols], dtype=np.int32)
    order = np.lexsort((number, rows.time_us))
    _refuse_twins(source, rows, number, order)
    found = timeframe or _timeframe_of(source, rows.time_us[order], number[order])
    _refuse_overlaps(source, rows.time_us[order], number[order], found)
    segment, dropped = _on_sessions(source, rows, number, order, found, calendar)
    instants = segment.instants
    history = 0 if last is None else max(instants - last, 0)
    return Tape(
        source=path.name,
        timeframe=found,
        symbols=names,
        calendar=calendar,
        digest=_digest(segment, names),
        first=segment,
        history=history,
        dropped=dropped,
    )


# ---------------------------------------------------------------------- reading


def _read_columns(source: _Source, path: Path) -> pl.DataFrame:
    import polars as pl

    if path.exists() and not path.is_file():
        # A pipe would be waited on for ever, a folder read as a whole.
        raise source.wrong("is no ordinary file; give a CSV or Parquet file")
    try:
        if path.suffix.lower() == ".parquet":
            frame = pl.read_parquet(path, hive_partitioning=False)
        elif path.suffix.lower() in (".csv", ".txt"):
            # All as text: a wrong value is then ours to name, row and column.
            frame = pl.read_csv(path, infer_schema=False, encoding="utf8")
        else:
            raise source.wrong("ends neither in .csv, .txt nor .parquet; give such a file")
    except FileNotFoundError:
        raise InvalidInput(f"{path}: there is no such file; correct the path") from None
    except pl.exceptions.NoDataError:
        raise source.wrong("is empty; it needs a header and at least one bar") from None
    except (OSError, pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise source.wrong(f"cannot be read ({reason}); is it CSV or Parquet?") from None
    if frame.height == 0:
        raise source.wrong("has a header but no bars; it needs at least one")
    names = [name.strip().strip("<>").strip().lower() for name in frame.columns]
    doubles = {name for name in names if names.count(name) > 1}
    if doubles:
        raise source.wrong(f"has column {min(doubles)!r} twice; leave one")
    return frame.rename(dict(zip(frame.columns, names, strict=True)))


def _plain_rows(source: _Source, path: Path) -> _Rows | None:
    plain = read_plain(path)
    if plain is None or not plain.numbers.keys() >= {*_PRICES, "volume"}:
        return None
    prices = {name: _prices(source, plain.numbers[name], name) for name in _PRICES}
    _refuse_odd_bars(source, prices)
    volume = _volumes(source, plain.numbers["volume"], "volume")
    symbols = [_symbol_of_file(source, path)] * len(volume)
    return _Rows(symbols, plain.time_us, False, prices, volume)


def _check_rows(source: _Source, frame: pl.DataFrame, path: Path) -> _Rows:
    import polars as pl

    time_us, is_zoned = _times(source, frame)
    prices = {
        name: _prices(source, _numbers(source, frame, _column(source, frame, known, name)), name)
        for name, known in _PRICES.items()
    }
    _refuse_odd_bars(source, prices)
    name = _column(source, frame, _VOLUMES, "volume")
    volume = _volumes(source, _numbers(source, frame, name), name)
    named = next((name for name in _SYMBOLS if name in frame.columns), None)
    if named is None:
        symbols = [_symbol_of_file(source, path)] * frame.height
    else:
        texts = frame[named].cast(pl.String)
        if texts.null_count():
            row = int(np.argmax(texts.is_null().to_numpy()))
            raise source.wrong_at(row, named, "is empty; name the share")
        symbols = texts.str.strip_chars().str.to_uppercase().str.strip_suffix(".US").to_list()
    return _Rows(symbols, time_us, is_zoned, prices, volume)


def _refuse_odd_bars(source: _Source, prices: dict[str, Int64s]) -> None:
    lowest = np.minimum(prices["open"], prices["close"])
    highest = np.maximum(prices["open"], prices["close"])
    for bad, column, what in (
        (prices["high"] < prices["low"], "high", "is below low"),
        (prices["high"] < highest, "high", "is below open or close"),
        (prices["low"] > lowest, "low", "is above open or close"),
    ):
        if bad.any():
            row = int(np.argmax(bad))
            value = prices[column][row] / MICROS
            raise source.wrong_at(row, column, f"{value:g} {what}; correct or remove the row")


def _column(source: _Source, frame: pl.DataFrame, known: Sequence[str], what: str) -> str:
    for name in known:
        if name in frame.columns:
            return name
    have = ", ".join(repr(name) for name in frame.columns[:12])
    raise source.wrong(f"has no column {what!r}, only {have}; rename the one that is meant")


def _times(source: _Source, frame: pl.DataFrame) -> tuple[Int64s, bool]:
    """Each row's stamp in microseconds: UTC when the file says a zone, else wall-clock time."""
    import polars as pl

    if "date" in frame.columns and "time" in frame.columns:
        clock = frame["time"].cast(pl.String).str.strip_chars()
        days = frame["date"].cast(pl.String).str.strip_chars()
        # Stooq writes 000000 for a daily bar, and drops nothing from 093000.
        is_daily = bool((clock.str.replace_all("0|:", "") == "").all())
        column = days if is_daily else days + " " + clock
        name = "date"
    else:
        name = _column(source, frame, _TIMES, "date")
        column = frame[name]
    shown = name or "(unnamed first)"
    if column.dtype == pl.String:
        parsed, is_zoned = _parse_times(source, column.str.strip_chars(), shown)
    elif column.dtype == pl.Date:
        parsed, is_zoned = column.cast(pl.Datetime("us")), False
    elif isinstance(column.dtype, pl.Datetime):
        is_zoned = column.dtype.time_zone is not None
        aware = column.dt.convert_time_zone("UTC") if is_zoned else column
        parsed = aware.dt.replace_time_zone(None).cast(pl.Datetime("us"))
    elif column.dtype.is_integer():
        parsed, is_zoned = _from_epoch(column), True
    else:
        raise source.wrong(f"column {shown} holds {column.dtype}, not dates or times; convert it")
    if parsed.null_count():
        row = int(np.argmax(parsed.is_null().to_numpy()))
        raise source.wrong_at(row, shown, "is not a date or time; write it as 2026-01-05 09:30:00")
    return parsed.to_physical().to_numpy().astype(np.int64), is_zoned


def _parse_times(source: _Source, column: pl.Series, shown: str) -> tuple[pl.Series, bool]:
    sample = column.drop_nulls().head(1)
    for layout in _FORMATS:
        if sample.len() and not sample.str.to_datetime(layout, strict=False).null_count():
            return column.str.to_datetime(layout, strict=False, time_unit="us"), False
    text = column.str.replace("Z$", "+00:00")
    for layout in _ZONED_FORMATS:
        first = text.drop_nulls().head(1)
        if first.len() and not first.str.to_datetime(layout, strict=False).null_count():
            parsed = text.str.to_datetime(layout, strict=False, time_unit="us", time_zone="UTC")
            return parsed.dt.replace_time_zone(None), True
    value = str(column[0])[:30]
    raise source.wrong_at(
        0, shown, f"{value!r} is not a date or time; write it as 2026-01-05 09:30:00"
    )


def _from_epoch(column: pl.Series) -> pl.Series:
    """Seconds, milli-, micro- or nanoseconds since 1970, told apart by their size."""
    import polars as pl

    largest = abs(int(str(column.max() or 0)))
    stamps = column.cast(pl.Int64)
    if largest < 10**11:
        stamps = stamps * MICROS
    elif largest < 10**14:
        stamps = stamps * 1_000
    elif largest >= 10**17:
        stamps = stamps // 1_000
    return stamps.cast(pl.Datetime("us"))


def _numbers(source: _Source, frame: pl.DataFrame, name: str) -> NDArray[np.float64]:
    import polars as pl

    column = frame[name]
    if column.dtype == pl.String:
        column = column.str.strip_chars()
    elif not column.dtype.is_numeric():
        raise source.wrong(f"column {name} holds {column.dtype}, not numbers; convert it")
    values = column.cast(pl.Float64, strict=False)
    if values.null_count():
        row = int(np.argmax(values.is_null().to_numpy()))
        raise source.wrong_at(
            row, name, f"{str(column[row] or '')[:30]!r} is not a number; correct or remove the row"
        )
    numbers: NDArray[np.float64] = values.to_numpy()
    return numbers


def _prices(source: _Source, values: NDArray[np.float64], what: str) -> Int64s:
    bad = ~(np.isfinite(values) & (values > 0) & (values <= float(MAX_PRICE)))
    micros: Int64s = np.rint(np.where(bad, 1.0, values) * MICROS).astype(np.int64)
    bad |= micros < 1
    if bad.any():
        row = int(np.argmax(bad))
        raise source.wrong_at(
            row,
            what,
            f"price {values[row]:g} must be above zero and at most {MAX_PRICE}; "
            "correct or remove the row",
        )
    return micros


def _volumes(source: _Source, values: NDArray[np.float64], name: str) -> Int64s:
    bad = ~(np.isfinite(values) & (values >= 0) & (values <= MAX_VOLUME))
    if bad.any():
        row = int(np.argmax(bad))
        raise source.wrong_at(
            row,
            name,
            f"volume {values[row]:g} must be 0 to {MAX_VOLUME}; correct or remove the row",
        )
    return np.floor(values).astype(np.int64)


# ---------------------------------------------------------------------- symbols


def _symbol_of_file(source: _Source, path: Path) -> str:
    """`GOOG.csv` and `AAPL-20140605.parquet` say which share they are about."""
    stem = path.stem.upper().removesuffix(".US")
    for text in (stem, stem.replace("_", "-").split("-")[0]):
        try:
            return parse_symbol(text)
        except InvalidSymbol:
            continue
    raise source.wrong(
        "neither has a symbol column nor is named after a share; rename it like GOOG.csv"
    )


def _symbols(source: _Source, texts: list[str]) -> list[Symbol]:
    known: dict[str, Symbol] = {}
    for row, text in enumerate(texts):
        if text not in known:
            try:
                known[text] = parse_symbol(text)
            except InvalidSymbol as error:
                raise source.wrong_at(row, "symbol", str(error)) from None
    return [known[text] for text in texts]


def _keep_only(
    source: _Source, rows: _Rows, symbols: list[Symbol], only: Sequence[Symbol]
) -> tuple[_Rows, list[Symbol]]:
    missing = sorted(set(only) - set(symbols))
    if missing:
        raise source.wrong(f"has no bars of {', '.join(missing)}; correct --symbols")
    wanted = set(only)
    keep = np.array([s in wanted for s in symbols])
    kept = _Rows(
        [s for s in rows.symbol if s in wanted],
        rows.time_us[keep],
        rows.is_zoned,
        {name: values[keep] for name, values in rows.prices.items()},
        rows.volume[keep],
    )
    return kept, [s for s in symbols if s in wanted]


# ---------------------------------------------------------------------- time


def _refuse_twins(
    source: _Source, rows: _Rows, number: NDArray[np.int32], order: NDArray[np.intp]
) -> None:
    times, names = rows.time_us[order], number[order]
    twin = (times[1:] == times[:-1]) & (names[1:] == names[:-1])
    if twin.any():
        row = int(order[1:][twin][0])
        raise source.wrong_at(row, "date", "is there twice for one symbol; remove one of the rows")


def _timeframe_of(source: _Source, times: Int64s, number: NDArray[np.int32]) -> Timeframe:
    gaps = np.concatenate([np.diff(times[number == n]) for n in range(int(number.max()) + 1)])
    if not len(gaps):
        midnight = bool(np.all(times % (3600 * MICROS) == 0))
        return Timeframe.DAY if midnight else Timeframe.MINUTE
    smallest, usual = int(gaps.min()) // MICROS, float(np.median(gaps)) / MICROS
    if smallest in _INTRADAY:
        return _INTRADAY[smallest]
    # Across a change of clocks two stamps of midnight lie 23 hours apart.
    if smallest >= 23 * 3600 and usual <= 5 * 86_400:
        return Timeframe.DAY
    raise source.wrong(
        f"has rows {smallest} s apart, which is no timeframe of ours; give daily bars, or "
        "1, 5, 15 or 60 minute bars (or say which with --timeframe)"
    )


def _refuse_overlaps(
    source: _Source, times: Int64s, number: NDArray[np.int32], timeframe: Timeframe
) -> None:
    """Rows closer together than their bars are long would know what has not been traded yet."""
    if not timeframe.is_intraday:
        return  # two of one day are found where days are
    by_symbol = np.lexsort((times, number))
    gaps = np.diff(times[by_symbol])[np.diff(number[by_symbol]) == 0]
    length_s = int(timeframe.length.total_seconds())
    if len(gaps) and int(gaps.min()) < length_s * MICROS:
        raise source.wrong(
            f"has rows {int(gaps.min()) // MICROS} s apart, which are no bars of {timeframe}; "
            "leave --timeframe out, or give a file of longer bars"
        )


def _on_sessions(
    source: _Source,
    rows: _Rows,
    number: NDArray[np.int32],
    order: NDArray[np.intp],
    timeframe: Timeframe,
    calendar: TradingCalendar,
) -> tuple[Segment, int]:
    """Keep what lies in regular hours, with each bar's start, clock before it and end."""
    sessions = calendar.between(calendar.first_on, calendar.last_on)
    opens = np.array([to_epoch_us(s.open_at) for s in sessions], dtype=np.int64)
    closes = np.array([to_epoch_us(s.close_at) for s in sessions], dtype=np.int64)
    times = rows.time_us[order]
    if timeframe is Timeframe.DAY:
        days = np.array([s.on.toordinal() for s in sessions], dtype=np.int64)
        at = _exchange_days(times, rows.is_zoned) + _ORDINAL_OF_EPOCH
        session = np.searchsorted(days, at, side="left")
        inside = session < len(days)
        inside[inside] = days[session[inside]] == at[inside]
    else:
        if not rows.is_zoned:
            times = _from_new_york(source, times)
        session = np.searchsorted(opens, times, side="right") - 1
        inside = session >= 0
        inside[inside] = times[inside] < closes[session[inside]]
    dropped = int((~inside).sum())
    if not inside.any():
        first, last = (from_epoch_us(int(at)).date() for at in (times.min(), times.max()))
        if last < calendar.first_on or first > calendar.last_on:
            raise source.wrong(
                f"has bars of {first} to {last}; the exchange's sessions are known from {calendar.first_on} "
                f"to {calendar.last_on} only: correct the dates, or give bars of these years"
            )
        raise source.wrong(
            f"has no bar in the regular hours of the New York Stock Exchange (all {dropped} rows lie "
            "outside); naive times are read as New York time"
        )
    order, session, times, names = (
        order[inside],
        session[inside],
        times[inside],
        number[order[inside]],
    )
    if timeframe is Timeframe.DAY:
        oldest = int(session.min())
        starts = _midnights(days[oldest : int(session.max()) + 1].tolist())
        start_us, opens_us, end_us = starts[session - oldest], opens[session], closes[session]
    else:
        length = int(timeframe.length.total_seconds()) * MICROS
        start_us, opens_us = times, times
        end_us = np.minimum(times + length, closes[session])
    # Times became exchange days: two stamps of one day would be two bars of it.
    again = np.lexsort((names, start_us))
    twin = (np.diff(start_us[again]) == 0) & (np.diff(names[again]) == 0)
    if twin.any():
        row = int(order[again[1:][twin][0]])
        raise source.wrong_at(row, "date", "is a second bar of that day; remove one of the rows")
    order = order[again]
    return (
        Segment(
            symbol=names[again],
            start_us=start_us[again],
            opens_us=opens_us[again],
            end_us=end_us[again],
            session=session[again].astype(np.int64),
            open=rows.prices["open"][order],
            high=rows.prices["high"][order],
            low=rows.prices["low"][order],
            close=rows.prices["close"][order],
            volume=rows.volume[order],
        ),
        dropped,
    )


_ORDINAL_OF_EPOCH = 719_163


def _exchange_days(times: Int64s, is_zoned: bool) -> Int64s:
    """Days since 1970 that the stamps of daily bars mean."""
    if not is_zoned or bool(np.all(times % _DAY_US == 0)):
        return times // _DAY_US  # dates, or dates that some writer called UTC midnight
    import polars as pl

    local = (
        pl.Series(times)
        .cast(pl.Datetime("us", "UTC"))
        .dt.convert_time_zone(_NEW_YORK.key)
        .dt.replace_time_zone(None)
    )
    return local.to_physical().to_numpy().astype(np.int64) // _DAY_US


def _midnights(ordinals: Sequence[int]) -> Int64s:
    """New York midnight of each day, in microseconds UTC."""
    days = (date.fromordinal(ordinal) for ordinal in ordinals)
    seconds = [datetime(d.year, d.month, d.day, tzinfo=_NEW_YORK).timestamp() for d in days]
    return np.array(seconds, np.int64) * MICROS


def _from_new_york(source: _Source, times: Int64s) -> Int64s:
    """Wall-clock stamps of New York as UTC; nothing is traded in the hour that a change of clocks hits."""
    import polars as pl

    zoned = (
        pl.Series(times)
        .cast(pl.Datetime("us"))
        .dt.replace_time_zone(_NEW_YORK.key, ambiguous="earliest", non_existent="null")
    )
    if zoned.null_count():
        raise source.wrong("has a time that New York's clocks skipped; are the times in UTC?")
    return zoned.to_physical().to_numpy().astype(np.int64)


def _digest(segment: Segment, names: Sequence[str]) -> str:
    hashed = hashlib.blake2b(digest_size=16)
    hashed.update(",".join(names).encode())
    for column in (
        segment.symbol.astype("<i4"),
        segment.start_us,
        segment.open,
        segment.high,
        segment.low,
        segment.close,
        segment.volume,
    ):
        hashed.update(np.ascontiguousarray(column).astype(column.dtype.newbyteorder("<")).tobytes())
    return hashed.hexdigest()
