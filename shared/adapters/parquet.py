"""How is market history kept, so that no crash and no reader ever sees half of an append?

Plain Parquet files under `<root>/bars/<timeframe>/`, on a disk or in a bucket. One append is one file, which comes into
being all at once (`Folder.put`). Files are never changed. A file's name says which appends it holds and what
time it covers, so the folder's listing is the index and there is no other file that could disagree with it:

    <first append>_<last append>_<level>_<earliest start>_<latest end>_<rows>.parquet

Appends are numbered without gaps. The next writer merges every sixteen neighbours of one level into one
file of the next (up to a bound of rows, so that no append takes long; `compact` goes further), named after
the appends it holds; the smaller ones it contains are then superseded, whether or not a crash left them lying there. A listing in which a number is missing
was torn (or a file was lost), so it is read again, and never taken for the whole.

Rows are sorted by symbol, then start, so one symbol over years touches few row groups; an instant of all
symbols is one small file, so a live append and a last-N window touch only the newest files. A revision
(same key, other figures) is one more row: on read the one fetched last wins, and older ones stay. A symbol
is a value in a column and never part of a path. Prices are stored raw; splits and dividends (`action_store`) are
applied on read.
"""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.exceptions import PolarsError

from shared.adapters.action_store import ParquetActions
from shared.adapters.durable_files import DRAFT
from shared.adapters.folders import open_folder
from shared.domain.bar_blocks import BarBlock, from_epoch_us, to_epoch_us
from shared.domain.corporate_actions import Adjustment, adjusted, exchange_day
from shared.domain.errors import StateMismatch, Unavailable
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.ports import Folder, LatestBar
from shared.storage import Place

Int64s = NDArray[np.int64]
Booleans = NDArray[np.bool_]

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
# Written into every row, for whoever else reads the files: what is kept is what was paid. It is never read here, so
# files from before it was written are as good.
_RAW = pl.lit(Adjustment.NONE.value).alias("adjustment")
_KEY = ["symbol", "start_us"]
_FIGURES = ["end_us", "open", "high", "low", "close", "volume"]
# Fetched at the same instant, the order of the figures decides, so that every reader picks the same.
_BY_AGE = [*_KEY, "fetched_us", "provider", *_FIGURES]
_NAME = re.compile(r"(\d{10})_(\d{10})_(\d)_(-?\d+)_(-?\d+)_(\d+)\.parquet")
_FAN = 16
_MAX_LEVEL = 9
# An append merges no more than this, so that the one that has to never takes long ...
_MAX_MERGED_ROWS = 400_000
# ... and `compact`, which nobody waits for, stops here, so that its memory does not grow with the store.
_MAX_COMPACTED_ROWS = 4_000_000
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


@dataclass(frozen=True, slots=True)
class Contents:
    """What the store holds of one symbol."""

    symbol: Symbol
    bars: int
    first_at: datetime
    last_at: datetime
    providers: tuple[str, ...]


class ParquetBars:
    """A `BarStore` over one folder; any number of readers, writers one at a time across processes."""

    def __init__(self, root: Place) -> None:
        """`root`: where one account's market history lies; made by the first append."""
        self._root = open_folder(root / "bars")
        self.actions = ParquetActions(root)

    def append(self, block: BarBlock, *, provider: str, fetched_at: datetime) -> int:
        """See `BarStore`. What is stored already with the same figures is not stored again."""
        given = _frame(block, provider, to_epoch_us(fetched_at))
        if not _is_settled(given):
            given = given.unique().sort(_BY_AGE)
        if given.is_empty():
            return 0
        folder = self._folder(block.timeframe)
        with folder.sole_writer():
            files = _settled(folder)
            new = _news(folder, files, given)
            if not new.is_empty():
                number = files[-1].last + 1 if files else 1
                files.append(_put(folder, new, number, number, 0))
            _tidy(folder, files, _MAX_MERGED_ROWS)
        return len(new)

    def compact(self, timeframe: Timeframe) -> tuple[int, int]:
        """Merge neighbouring files as far as they fit; how many there were and are. Loses nothing."""
        folder = self._folder(timeframe)
        if not folder.names():
            return 0, 0
        with folder.sole_writer():
            files = _settled(folder)
            before = len(files)
            merged: list[_File] = []
            for run in _fitting(files):
                merged += [_merge(folder, run)] if len(run) > 1 else run
            _drop_superseded(folder, merged)
        return before, len(merged)

    def forget(self, timeframe: Timeframe, before_at: datetime) -> int:
        """Drop the bars that ended before `before_at`; how many. The newest append is always kept."""
        folder = self._folder(timeframe)
        if not folder.names():
            return 0
        before_us = to_epoch_us(before_at)
        with folder.sole_writer():
            files = _settled(folder)
            old = list(itertools.takewhile(lambda file: file.end_us < before_us, files[:-1]))
            if not old:
                return 0
            # Numbers have no gaps, so what is dropped lives on as the name of the next file.
            heir = files[len(old)]
            rows = _read(folder, [heir], None, None)
            kept = _put(folder, rows, old[0].first, heir.last, heir.level)
            _drop_superseded(folder, [kept, *files[len(old) + 1 :]])
        return sum(file.rows for file in old)

    def contents(self, timeframe: Timeframe) -> list[Contents]:
        """What is stored of each symbol, sorted; revisions count as one bar."""

        def read(folder: Folder) -> pl.DataFrame:
            files = _settled(folder)
            if not files:
                return pl.DataFrame(schema={"symbol": pl.String})
            found = (
                _scan(folder, files)
                .group_by("symbol")
                .agg(
                    pl.col("start_us").n_unique().alias("bars"),
                    pl.col("start_us").min().alias("first"),
                    pl.col("end_us").max().alias("last"),
                    pl.col("provider").unique().sort().alias("providers"),
                )
                .sort("symbol")
            )
            return _collected(folder, files, found)

        return [
            Contents(
                Symbol(row["symbol"]),
                row["bars"],
                from_epoch_us(row["first"]),
                from_epoch_us(row["last"]),
                tuple(row["providers"]),
            )
            for row in self._retrying(timeframe, read).iter_rows(named=True)
        ]

    def last(
        self,
        timeframe: Timeframe,
        symbols: Sequence[Symbol],
        count: int,
        until_at: datetime,
        *,
        adjustment: Adjustment = Adjustment.NONE,
        as_of_on: date | None = None,
    ) -> BarBlock:
        """See `BarStore`. Files are read newest first, and no further back than needed."""
        found = self._retrying(timeframe, lambda f: _last(f, symbols, count, until_at))
        return self._seen(
            _block(timeframe, found), symbols, adjustment, as_of_on or exchange_day(until_at)
        )

    def version(self, timeframe: Timeframe, until_at: datetime) -> Hashable:
        """See `BarStore`. The files that hold anything by then; and the instant, where it cuts one of them in two."""
        until_us = to_epoch_us(until_at)
        files = [f for f in _settled(self._folder(timeframe)) if f.start_us < until_us]
        is_cut = any(f.end_us > until_us for f in files)
        return tuple(f.name for f in files), until_us if is_cut else None

    def between(
        self,
        timeframe: Timeframe,
        symbols: Sequence[Symbol],
        start_at: datetime,
        end_at: datetime,
        *,
        adjustment: Adjustment = Adjustment.NONE,
        as_of_on: date | None = None,
    ) -> BarBlock:
        """See `BarStore`."""
        low, high = to_epoch_us(start_at), to_epoch_us(end_at)

        def read(folder: Folder) -> pl.DataFrame:
            files = [f for f in _settled(folder) if f.end_us > low and f.start_us < high]
            inside = (pl.col("start_us") >= low) & (pl.col("end_us") <= high)
            return _current(_read(folder, files, symbols, inside))

        return self._seen(
            _block(timeframe, self._retrying(timeframe, read)),
            symbols,
            adjustment,
            as_of_on or exchange_day(end_at),
        )

    def newest(self, timeframe: Timeframe, symbol: Symbol, until_at: datetime) -> LatestBar | None:
        """The newest bar of `symbol` with end_at <= `until_at`, its provider and fetch time."""
        frame = self._retrying(timeframe, lambda f: _last(f, [symbol], 1, until_at))
        if frame.is_empty():
            return None
        row = frame.row(0, named=True)
        return LatestBar(
            _block(timeframe, frame).bar(0), row["provider"], from_epoch_us(row["fetched_us"])
        )

    def _seen(
        self, block: BarBlock, symbols: Sequence[Symbol], adjustment: Adjustment, as_of_on: date
    ) -> BarBlock:
        """`block` of raw bars as it looks from `as_of_on`."""
        if adjustment is Adjustment.NONE:
            return block

        def close_before(symbol: Symbol, at: datetime) -> tuple[int, int] | None:
            found = self.last(block.timeframe, [symbol], 1, at)
            return (int(found.start_us[0]), int(found.close[0])) if len(found) else None

        actions = self.actions.actions(symbols, as_of_on)
        return adjusted(block, actions, adjustment, as_of_on, close_before)

    def _folder(self, timeframe: Timeframe) -> Folder:
        return self._root.inside(timeframe.value)

    def _retrying(
        self, timeframe: Timeframe, read: Callable[[Folder], pl.DataFrame]
    ) -> pl.DataFrame:
        """What `read` finds; again when a merge took a file away between listing and reading."""
        folder = self._folder(timeframe)
        for _ in range(_TRIES):
            try:
                return read(folder)
            except FileNotFoundError:
                continue
        raise Unavailable(f"bar files in {folder} keep changing; try again")


def _listed(folder: Folder) -> list[_File]:
    """The files that count, in order of append; superseded ones left out.

    Raises:
        FileNotFoundError: a number is missing, so the listing was torn or a file is lost.
    """
    found = []
    for name in folder.names():
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


def _settled(folder: Folder) -> list[_File]:
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


def _put(folder: Folder, rows: pl.DataFrame, first: int, last: int, level: int) -> _File:
    """Write `rows` as the file of appends `first` to `last`, all of it or nothing."""
    start_us, end_us = rows.select(pl.col("start_us").min(), pl.col("end_us").max()).row(0)
    name = f"{first:010d}_{last:010d}_{level}_{start_us}_{end_us}_{len(rows)}.parquet"
    buffer = io.BytesIO()
    rows.with_columns(_RAW).write_parquet(
        buffer, compression="zstd", compression_level=1, row_group_size=_ROW_GROUP
    )
    folder.put(name, buffer.getbuffer())
    return _File(first, last, level, start_us, end_us, len(rows), name)


def _tidy(folder: Folder, files: list[_File], max_rows: int) -> None:
    """Merge the newest neighbours where enough of one level stand together, and drop leftovers."""
    merged = False
    while (run := _mergeable(files, max_rows)) is not None:
        files[-len(run) :] = [_merge(folder, run)]
        merged = True
    # At the first append and after a merge: leftovers of a crash lie around only then.
    if merged or len(files) <= 1:
        _drop_superseded(folder, files)


def _merge(folder: Folder, run: list[_File]) -> _File:
    """One file of what the neighbours in `run` hold."""
    rows = _read(folder, run, None, None)
    order, _ = _order(rows)
    level = min(max(file.level for file in run) + 1, _MAX_LEVEL)
    return _put(folder, rows[order], run[0].first, run[-1].last, level)


def _drop_superseded(folder: Folder, files: list[_File]) -> None:
    counting = {file.name for file in files}
    for name in folder.names():
        if name.endswith(DRAFT) or (_NAME.fullmatch(name) and name not in counting):
            folder.remove(name)


def _fitting(files: list[_File]) -> Iterator[list[_File]]:
    """`files` in order, cut into runs that each fit into one."""
    run: list[_File] = []
    for file in files:
        if run and sum(f.rows for f in run) + file.rows > _MAX_COMPACTED_ROWS:
            yield run
            run = []
        run.append(file)
    if run:
        yield run


def _mergeable(files: list[_File], max_rows: int) -> list[_File] | None:
    """The newest files of one level that fit into one, when they are enough."""
    run: list[_File] = []
    rows = 0
    for file in reversed(files):
        rows += file.rows
        if file.level != files[-1].level or rows > max_rows:
            break
        run.append(file)
    return run[::-1] if len(run) >= _FAN else None


def _news(folder: Folder, files: list[_File], given: pl.DataFrame) -> pl.DataFrame:
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
        order, _ = _order(given)
        given = given[order]
    return given


def _read(
    folder: Folder,
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
    return _collected(folder, files, _scan(folder, files).filter(wanted))


def _scan(folder: Folder, files: Sequence[_File]) -> pl.LazyFrame:
    options = folder.options
    return pl.scan_parquet(
        [folder.address(file.name) for file in files],
        glob=False,
        schema=_SCHEMA,
        extra_columns="ignore",
        storage_options=None if options is None else dict(options),
        credential_provider=None,
    )


def _collected(folder: Folder, files: Sequence[_File], wanted: pl.LazyFrame) -> pl.DataFrame:
    """`wanted` of `files`.

    Raises:
        FileNotFoundError: a merge took one of them away meanwhile.
    """
    try:
        return wanted.collect()
    except FileNotFoundError:
        raise
    except (PolarsError, OSError) as error:
        # A bucket has no one word for it, so the listing is asked.
        if not {file.name for file in files} <= set(folder.names()):
            raise FileNotFoundError(f"a file of {folder} is gone") from error
        if folder.options is not None and isinstance(error, OSError):
            raise Unavailable(f"{folder} gives no answer ({_brief(error)}); try again") from error
        raise StateMismatch(
            f"a bar file in {folder} cannot be read ({_brief(error)}); restore the folder from a "
            "backup, or move it away and collect the history anew"
        ) from error


def _order(rows: pl.DataFrame) -> tuple[Int64s, Booleans]:
    """Where each row belongs by symbol, then start, and which of the ordered rows repeat a key.

    By one number per row, since comparing texts two million times is what takes long.
    """
    if rows.is_empty():
        return np.empty(0, np.int64), np.empty(0, np.bool_)
    key = _keys(rows)
    if np.all(key[1:] > key[:-1]):
        return np.arange(len(rows)), np.zeros(len(rows), np.bool_)
    order = np.argsort(key, kind="stable")
    again = np.zeros(len(rows), np.bool_)
    again[1:] = key[order[1:]] == key[order[:-1]]
    return order, again


def _keys(rows: pl.DataFrame) -> Int64s:
    """One number per row that orders like symbol, then start."""
    codes = _codes(rows)[1].astype(np.int64)
    start_us = rows["start_us"].to_numpy()
    low = start_us.min()
    span = int(start_us.max() - low) + 1
    if span * (int(codes.max()) + 1) >= 2**62:
        # Centuries of thousands of symbols: instants are numbered instead of measured.
        starts, start_us = np.unique(start_us, return_inverse=True)
        low, span = 0, len(starts)
    keys: Int64s = codes * span + (start_us - low)
    return keys


def _codes(rows: pl.DataFrame) -> tuple[list[str], Int64s]:
    """The symbols of `rows`, sorted, and the number of each row's among them."""
    names = sorted(rows["symbol"].unique().to_list())
    return names, rows["symbol"].cast(pl.Enum(names)).to_physical().to_numpy()


def _is_settled(rows: pl.DataFrame) -> bool:
    """Whether rows are in order and no key is there twice."""
    keys = _keys(rows) if len(rows) else np.empty(0, np.int64)
    return bool(np.all(keys[1:] > keys[:-1]))


def _current(rows: pl.DataFrame) -> pl.DataFrame:
    """Of each key the row that was fetched last, sorted by symbol, then start."""
    order, again = _order(rows)
    ordered = rows[order]
    if not again.any():
        return ordered
    # Only where there are revisions are rows compared as a whole.
    revised = again.copy()
    revised[:-1] |= again[1:]
    newest = ordered.filter(revised).sort(_BY_AGE).unique(_KEY, keep="last", maintain_order=True)
    kept = pl.concat([ordered.filter(~revised), newest])
    return kept[_order(kept)[0]]


def _tails(rows: pl.DataFrame, count: int) -> tuple[Booleans, list[str]]:
    """Which of the ordered `rows` are among their symbol's last `count`, and the symbols with so many."""
    if rows.is_empty():
        return np.empty(0, np.bool_), []
    names, codes = _codes(rows)
    ends = np.searchsorted(codes, np.arange(len(names)), side="right")
    counts = np.diff(ends, prepend=0)
    last: Booleans = ends[codes] - np.arange(len(rows)) <= count
    return last, [name for name, n in zip(names, counts, strict=True) if n >= count]


def _last(
    folder: Folder, symbols: Sequence[Symbol], count: int, until_at: datetime
) -> pl.DataFrame:
    """The newest `count` rows of each symbol that end by `until_at`."""
    until_us = to_epoch_us(until_at)
    files = [f for f in _settled(folder) if f.start_us < until_us]
    files.sort(key=lambda f: -f.end_us)
    missing: list[str] = sorted(set(symbols))
    ready = [pl.DataFrame(schema=_SCHEMA)]
    found = pl.DataFrame(schema=_SCHEMA)
    taken = 0
    enough = count * len(missing)
    while missing and taken < len(files):
        some = _next_files(files[taken:], enough)
        taken += len(some)
        enough *= 2
        kept = found.filter(pl.col("symbol").is_in(missing)) if len(ready) > 1 else found
        found = _current(
            pl.concat([kept, _read(folder, some, missing, pl.col("end_us") <= until_us)])
        )
        # Whatever ends after all that is still unread cannot be outdone or revised by it.
        seen_from = max((f.end_us for f in files[taken:]), default=None)
        sure = found if seen_from is None else found.filter(pl.col("end_us") > seen_from)
        last, done = _tails(sure, count)
        chosen = sure.filter(last)
        if seen_from is None:
            done = missing
        elif len(done) < len(missing):
            chosen = chosen.filter(pl.col("symbol").is_in(done))
        ready.append(chosen)
        missing = sorted(set(missing) - set(done))
    if len(ready) == 2:
        return ready[1]
    rows = pl.concat(ready)
    return rows[_order(rows)[0]]


def _next_files(files: Sequence[_File], rows: int) -> Sequence[_File]:
    """The first of `files` that hold `rows` together, and at least a handful."""
    total = 0
    for number, file in enumerate(files):
        total += file.rows
        if total >= rows and number >= _FAN:
            return files[: number + 1]
    return files


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
    names: tuple[Symbol, ...] = ()
    if len(frame):
        known, codes = _codes(frame)
        names = tuple(np.array(known, dtype=object)[codes].tolist())
    return BarBlock(timeframe, names, *(frame[name].to_numpy() for name in ("start_us", *_FIGURES)))


def _brief(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
