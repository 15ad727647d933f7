"""How is market history kept, so that no crash and no reader ever sees half of an append?

Plain Parquet files under `<root>/bars/<timeframe>/`. One append is one file: written beside its place, synced,
renamed, and the folder synced. Files are never changed. A file's name says which appends it holds and what
time it covers, so the folder's listing is the index and there is no other file that could disagree with it:

    <first append>_<last append>_<level>_<earliest start>_<latest end>_<rows>.parquet

Appends are numbered without gaps. The next writer merges every sixteen neighbours of one level into one
file of the next (up to a bound of rows), named after the appends it holds; the smaller ones it contains
are then superseded, whether or not a crash left them lying there. A listing in which a number is missing
was torn (or a file was lost), so it is read again, and never taken for the whole.

Rows are sorted by symbol, then start, so one symbol over years touches few row groups; an instant of all
symbols is one small file, so a live append and a last-N window touch only the newest files. A revision
(same key, other figures) is one more row: on read the one fetched last wins, and older ones stay. A symbol
is a value in a column and never part of a path.
"""

from __future__ import annotations

import fcntl
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from shared.domain.bar_blocks import BarBlock, from_epoch_us, to_epoch_us
from shared.domain.errors import Misconfigured, StateMismatch, Unavailable
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.ports import LatestBar

_SCHEMA = {
    "symbol": pl.String,
    "start_us": pl.Int64,
    "end_us": pl.Int64,
    "open": pl.Int64,
    "high": pl.Int64,
    "low": pl.Int64,
    "close": pl.Int64,
    "volume": pl.Int64,
    "provider": pl.String,
    "fetched_us": pl.Int64,
}
_KEY = ["symbol", "start_us"]
_FIGURES = ["end_us", "open", "high", "low", "close", "volume"]
# Fetched at the same instant, the order of the figures decides, so that every reader picks the same.
_BY_AGE = [*_KEY, "fetched_us", "provider", *_FIGURES]
_NAME = re.compile(r"(\d{10})_(\d{10})_(\d)_(-?\d+)_(-?\d+)_(\d+)\.parquet")
_DRAFT = ".draft"
_FAN = 16
_MAX_LEVEL = 9
# Merging stops here, so that neither its time nor its memory grows with the store.
_MAX_MERGED_ROWS = 4_000_000
_ROW_GROUP = 65_536
_TRIES = 8


@dataclass(frozen=True, slots=True)
class _File:
    """One file, as its name describes it."""

    first: int
    last: int
    level: int
    start_us: int
    end_us: int
    rows: int
    name: str


class ParquetBars:
    """A `BarStore` over one folder; any number of readers, writers one at a time across processes."""

    def __init__(self, root: Path) -> None:
        """`root`: the folder of one account's market history; made by the first append."""
        self._root = root / "bars"

    def append(self, block: BarBlock, *, provider: str, fetched_at: datetime) -> int:
        """See `BarStore`. What is stored already with the same figures is not stored again."""
        given = _frame(block, provider, to_epoch_us(fetched_at)).unique()
        if given.is_empty():
            return 0
        folder = self._folder(block.timeframe)
        with _sole_writer(folder):
            files = _settled(folder)
            new = _news(folder, files, given)
            if not new.is_empty():
                number = files[-1].last + 1 if files else 1
                files.append(_put(folder, new, number, number, 0))
            _tidy(folder, files)
        return len(new)

    def last(
        self, timeframe: Timeframe, symbols: Sequence[Symbol], count: int, until_at: datetime
    ) -> BarBlock:
        """See `BarStore`. Files are read newest first, and no further back than needed."""
        return _block(
            timeframe, self._retrying(timeframe, lambda f: _last(f, symbols, count, until_at))
        )

    def between(
        self, timeframe: Timeframe, symbols: Sequence[Symbol], start_at: datetime, end_at: datetime
    ) -> BarBlock:
        """See `BarStore`."""
        low, high = to_epoch_us(start_at), to_epoch_us(end_at)

        def read(folder: Path) -> pl.DataFrame:
            files = [f for f in _settled(folder) if f.end_us > low and f.start_us < high]
            inside = (pl.col("start_us") >= low) & (pl.col("end_us") <= high)
            return _current(_read(folder, files, symbols, inside))

        return _block(timeframe, self._retrying(timeframe, read))

    def newest(self, timeframe: Timeframe, symbol: Symbol, until_at: datetime) -> LatestBar | None:
        """The newest bar of `symbol` with end_at <= `until_at`, its provider and fetch time."""
        frame = self._retrying(timeframe, lambda f: _last(f, [symbol], 1, until_at))
        if frame.is_empty():
            return None
        row = frame.row(0, named=True)
        return LatestBar(
            _block(timeframe, frame).bar(0), row["provider"], from_epoch_us(row["fetched_us"])
        )

    def _folder(self, timeframe: Timeframe) -> Path:
        return self._root / timeframe.value

    def _retrying(self, timeframe: Timeframe, read: Callable[[Path], pl.DataFrame]) -> pl.DataFrame:
        """What `read` finds; again when a merge took a file away between listing and reading."""
        folder = self._folder(timeframe)
        for _ in range(_TRIES):
            try:
                return read(folder)
            except FileNotFoundError:
                continue
        raise Unavailable(f"bar files in {folder} keep changing; try again")


@contextmanager
def _sole_writer(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the kernel frees it when its holder dies."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / "writer.lock", os.O_RDWR | os.O_CREAT, 0o640)
    except OSError as error:
        raise Misconfigured(
            f"market history cannot be written to {folder}: {error.strerror}; mend DATA_DIR"
        ) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _listed(folder: Path) -> list[_File]:
    """The files that count, in order of append; superseded ones left out.

    Raises:
        FileNotFoundError: a number is missing, so the listing was torn or a file is lost.
    """
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        match = _NAME.fullmatch(name)
        if match is not None:
            first, last, level, start, end, rows = (int(part) for part in match.groups())
            found.append(_File(first, last, level, start, end, rows, name))
    # The widest of those that begin at one number holds what the others hold.
    found.sort(key=lambda f: (f.first, -f.last))
    chain: list[_File] = []
    expected = 1
    for file in found:
        if file.first < expected:
            continue
        if file.first > expected:
            raise FileNotFoundError(f"append {expected} is missing in {folder}")
        chain.append(file)
        expected = file.last + 1
    return chain


def _settled(folder: Path) -> list[_File]:
    """The files that count, listed again while a merge is at work."""
    for attempt in range(_TRIES):
        try:
            return _listed(folder)
        except FileNotFoundError as error:
            if attempt == _TRIES - 1:
                raise StateMismatch(
                    f"{error}; restore the folder from a backup, or move it away and collect anew"
                ) from None
    raise AssertionError("unreachable: the loop returns or raises")


def _put(folder: Path, rows: pl.DataFrame, first: int, last: int, level: int) -> _File:
    """Write `rows` as the file of appends `first` to `last`, all of it or nothing."""
    start_us, end_us = rows.select(pl.col("start_us").min(), pl.col("end_us").max()).row(0)
    name = f"{first:010d}_{last:010d}_{level}_{start_us}_{end_us}_{len(rows)}.parquet"
    buffer = io.BytesIO()
    rows.write_parquet(buffer, compression="zstd", compression_level=1, row_group_size=_ROW_GROUP)
    draft = folder / f"{name}{_DRAFT}"
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
    try:
        view = buffer.getbuffer()
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
    finally:
        os.close(handle)
    draft.rename(folder / name)
    _sync(folder)
    return _File(first, last, level, start_us, end_us, len(rows), name)


def _sync(folder: Path) -> None:
    """Make the folder's entries survive a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _tidy(folder: Path, files: list[_File]) -> None:
    """Merge the newest neighbours where enough of one level stand together, and drop leftovers."""
    merged = False
    while (run := _mergeable(files)) is not None:
        rows = _read(folder, run, None, None).sort(_BY_AGE)
        level = min(run[0].level + 1, _MAX_LEVEL)
        files[-len(run) :] = [_put(folder, rows, run[0].first, run[-1].last, level)]
        merged = True
    # At the first append and after a merge: leftovers of a crash lie around only then.
    if merged or len(files) <= 1:
        counting = {file.name for file in files}
        for name in [path.name for path in folder.iterdir()]:
            if name.endswith(_DRAFT) or (_NAME.fullmatch(name) and name not in counting):
                (folder / name).unlink(missing_ok=True)


def _mergeable(files: list[_File]) -> list[_File] | None:
    """The newest files of one level that fit into one, when they are enough."""
    run: list[_File] = []
    rows = 0
    for file in reversed(files):
        rows += file.rows
        if file.level != files[-1].level or rows > _MAX_MERGED_ROWS:
            break
        run.append(file)
    return run[::-1] if len(run) >= _FAN else None


def _news(folder: Path, files: list[_File], given: pl.DataFrame) -> pl.DataFrame:
    """The rows of `given` that the store does not hold with the same figures, sorted."""
    low, high = given.select(pl.col("start_us").min(), pl.col("end_us").max()).row(0)
    touched = [f for f in files if f.end_us > low and f.start_us < high]
    if touched:
        inside = pl.col("start_us").is_between(low, high)
        symbols = given["symbol"].unique().to_list()
        stored = _read(folder, touched, symbols, inside)
        # Compared with what a reader sees now: figures that came back are a revision as well. A row
        # that an older fetch brings late is kept too, and wins nothing.
        same = [*_KEY, *_FIGURES]
        given = given.join(_current(stored), on=same, how="anti")
        given = given.join(stored, on=list(_SCHEMA), how="anti")
    return given.sort(_BY_AGE)


def _read(
    folder: Path,
    files: Sequence[_File],
    symbols: Sequence[str] | None,
    where: pl.Expr | None,
) -> pl.DataFrame:
    """All rows of `files` for `symbols` (None: all) that fit `where`."""
    if not files or (symbols is not None and not symbols):
        return pl.DataFrame(schema=_SCHEMA)
    wanted = pl.lit(value=True) if where is None else where
    if symbols is not None:
        # The bounds let whole row groups be skipped, which a membership test alone does not.
        wanted &= pl.col("symbol").is_between(pl.lit(min(symbols)), pl.lit(max(symbols)))
        if len(set(symbols)) > 1:
            wanted &= pl.col("symbol").is_in(list(symbols))
    paths = [folder / file.name for file in files]
    try:
        return pl.scan_parquet(paths, glob=False).filter(wanted).collect()
    except PolarsError as error:
        raise StateMismatch(
            f"a bar file in {folder} cannot be read ({_brief(error)}); restore the folder from a "
            "backup, or move it away and collect the history anew"
        ) from error


def _current(rows: pl.DataFrame) -> pl.DataFrame:
    """Of each key the row that was fetched last, sorted by symbol, then start."""
    ordered = rows.sort(_BY_AGE)
    return ordered.unique(_KEY, keep="last", maintain_order=True)


def _last(folder: Path, symbols: Sequence[Symbol], count: int, until_at: datetime) -> pl.DataFrame:
    """The newest `count` rows of each symbol that end by `until_at`."""
    until_us = to_epoch_us(until_at)
    files = [f for f in _settled(folder) if f.start_us < until_us]
    files.sort(key=lambda f: -f.end_us)
    missing = sorted(set(symbols))
    ready = [pl.DataFrame(schema=_SCHEMA)]
    found = pl.DataFrame(schema=_SCHEMA)
    taken = 0
    step = _FAN
    while missing and taken < len(files):
        found = pl.concat(
            [
                found.filter(pl.col("symbol").is_in(missing)),
                _read(folder, files[taken : taken + step], missing, pl.col("end_us") <= until_us),
            ]
        )
        taken += step
        step *= 2
        # Whatever ends after all that is still unread cannot be outdone or revised by it.
        seen_from = max((f.end_us for f in files[taken:]), default=None)
        current = _current(found)
        sure = current if seen_from is None else current.filter(pl.col("end_us") > seen_from)
        counts = sure.group_by("symbol").len()
        done = counts.filter(pl.col("len") >= count)["symbol"].to_list()
        if seen_from is None:
            done = missing
        ready.append(sure.filter(pl.col("symbol").is_in(done)).group_by("symbol").tail(count))
        missing = sorted(set(missing) - set(done))
    return pl.concat(ready).sort(_KEY)


def _frame(block: BarBlock, provider: str, fetched_us: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "symbol": list(block.symbols),
            **{name: getattr(block, name) for name in _SCHEMA if hasattr(block, name)},
            "provider": pl.repeat(provider, len(block), dtype=pl.String, eager=True),
            "fetched_us": pl.repeat(fetched_us, len(block), dtype=pl.Int64, eager=True),
        },
        schema=_SCHEMA,
    )


def _block(timeframe: Timeframe, frame: pl.DataFrame) -> BarBlock:
    return BarBlock(
        timeframe,
        tuple(Symbol(name) for name in frame["symbol"].to_list()),
        *(frame[name].to_numpy() for name in ("start_us", *_FIGURES)),
    )


def _brief(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
