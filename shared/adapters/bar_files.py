"""Which bars does a file of somebody else hold?

CSV and Parquet as the usual sources write them; columns are known by their usual names. Everything is read as it
stands, also what contradicts itself, because the one who asks wants to know. Naive minute stamps are New York time,
dates are exchange days. What cannot be read at all is refused with one sentence that names file, column and mend.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from polars.exceptions import PolarsError

from shared.domain.errors import InvalidInput
from shared.domain.quality import Series
from shared.domain.symbols import parse_symbol
from shared.domain.timeframes import Timeframe

_SYMBOLS = ("symbol", "ticker", "s")
_TIMES = ("datetime", "timestamp", "start_at", "date", "time", "t", "day", "")
_COLUMNS = {
    "open": ("open", "o"),
    "high": ("high", "h"),
    "low": ("low", "l"),
    "close": ("close", "c"),
    "volume": ("volume", "vol", "v"),
}
_MEANT = frozenset((*_SYMBOLS, *_TIMES, *(name for usual in _COLUMNS.values() for name in usual)))
_ENDINGS = (".csv", ".parquet")
_DAY_US = 86_400_000_000
_NEW_YORK = "America/New_York"
_NAIVE_FORMATS = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d", "%Y%m%d")
_LENGTHS = {int(t.length.total_seconds()): t for t in Timeframe if t.is_intraday}


def find_files(paths: Sequence[Path]) -> list[Path]:
    """The bar files among `paths` and in the folders among them, sorted.

    Raises:
        InvalidInput: something is not there, or no file of bars is.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += [p for p in path.rglob("*") if p.suffix in _ENDINGS and p.is_file()]
        elif path.is_file():
            found.append(path)
        else:
            raise InvalidInput(
                f"{path} is not there; give CSV or Parquet files, or folders of them"
            )
    if not found:
        raise InvalidInput("there are no .csv or .parquet files in what was given")
    return sorted(set(found))


def read_bars(path: Path) -> pl.DataFrame:
    """Columns symbol, start_us, open, high, low, close (dollars) and volume (shares), in the file's order.

    Raises:
        InvalidInput: it is no table of bars; the sentence says why.
    """
    try:
        if path.suffix == ".parquet":
            table = pl.read_parquet(path, glob=False)
        else:
            # Read as text where a column is not plainly numbers; what is no time is refused below.
            table = pl.read_csv(path, infer_schema_length=10_000, glob=False)
    except (PolarsError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:150]
        raise InvalidInput(f"{path} cannot be read ({reason})") from None
    names: dict[str, str] = {}
    for name in table.columns:
        usual = name.strip().lower()
        # Polars renames a second column of one name, e.g. to Open_duplicated_0.
        usual = usual.partition("_duplicated_")[0]
        if usual in names and usual in _MEANT:
            raise InvalidInput(
                f"{path} has more than one column {usual!r}; remove or rename all but one"
            )
        names[usual] = name

    def column(wanted: Sequence[str]) -> str | None:
        return next((names[name] for name in wanted if name in names), None)

    time, symbol = column(_TIMES), column(_SYMBOLS)
    figures = {name: column(usual) for name, usual in _COLUMNS.items()}
    missing = [name for name, found in [("time", time), *figures.items()] if found is None]
    if time is None or missing:
        raise InvalidInput(
            f"{path} has no column for {', '.join(missing)}; it has "
            f"{', '.join(table.columns)[:200]}"
        )
    try:
        return table.select(
            # A file without symbols is one symbol's, named like it: AAPL.csv, AAPL-20140609.csv.
            pl.col(symbol).cast(pl.String)
            if symbol is not None
            else pl.lit(path.stem.split("-")[0].upper()).alias("symbol"),
            _start_us(table, time, path),
            *(
                pl.col(found).cast(pl.Float64).alias(name)
                for name, found in figures.items()
                if found is not None and name != "volume"
            ),
            pl.col(str(figures["volume"])).cast(pl.Float64).fill_nan(-1).alias("volume"),
        ).rename({} if symbol is None else {symbol: "symbol"})
    except PolarsError as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:150]
        raise InvalidInput(f"{path} holds something that is no figure ({reason})") from None


def _start_us(table: pl.DataFrame, name: str, path: Path) -> pl.Expr:
    kind = table.schema[name]
    stamp = pl.col(name)
    if isinstance(kind, pl.Datetime):
        if kind.time_zone is None:
            stamp = stamp.dt.replace_time_zone(_NEW_YORK, ambiguous="earliest", non_existent="null")
        return stamp.dt.epoch("us").alias("start_us")
    if kind == pl.Date:
        return _midnight(stamp.cast(pl.Datetime("us")))
    if kind.is_integer():
        stamp = stamp.cast(pl.String)
        kind = pl.String()
    if kind != pl.String:
        raise InvalidInput(f"{path}: column {name} holds no times but {kind}")
    if table.is_empty():
        raise InvalidInput(f"{path} holds no rows")
    texts = table[name] if table.schema[name] == pl.String else table[name].cast(pl.String)
    first = texts.drop_nulls().head(1).to_list()
    if first and len(first[0]) > len("2026-01-15T14:30:00"):
        zoned = stamp.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", strict=False)
        if texts.head(1).str.contains(" ").item():
            zoned = stamp.str.to_datetime("%Y-%m-%d %H:%M:%S%.f%#z", time_unit="us", strict=False)
        return _all_times(table, zoned, name, path).dt.epoch("us").alias("start_us")
    for pattern in _NAIVE_FORMATS:
        parsed = stamp.str.to_datetime(pattern, time_unit="us", strict=False)
        if first and table.head(1).select(parsed).item() is not None:
            return _midnight(_all_times(table, parsed, name, path))
    raise InvalidInput(f"{path}: column {name} holds no times, e.g. {str(first)[:60]}")


def _all_times(table: pl.DataFrame, parsed: pl.Expr, name: str, path: Path) -> pl.Expr:
    """`parsed`, once it is sure that no row's time is unreadable."""
    at = table.select(parsed.alias("at"))["at"]
    if at.null_count():
        row = int(at.is_null().arg_max() or 0)
        raise InvalidInput(
            f"{path}, row {row + 1}: {str(table[name][row])[:40]!r} in column {name} is no time "
            "written like the others"
        )
    return pl.lit(at)


def _midnight(naive: pl.Expr) -> pl.Expr:
    local = naive.dt.replace_time_zone(_NEW_YORK, ambiguous="earliest", non_existent="null")
    return local.dt.epoch("us").alias("start_us")


def timeframe_of(table: pl.DataFrame, path: Path) -> Timeframe:
    """The length of the bars, from how far apart the closest of one symbol are.

    Raises:
        InvalidInput: no length that is known here.
    """
    spacing = (
        table.lazy()
        .sort("symbol", "start_us")
        .select(pl.col("start_us").diff().over("symbol"))
        .filter(pl.col("start_us") > 0)
        .min()
        .collect()
        .item()
    )
    if spacing is None or spacing > _DAY_US * 4 // 5:
        return Timeframe.DAY
    found = _LENGTHS.get(int(spacing) // 1_000_000)
    if found is None:
        raise InvalidInput(
            f"{path}: rows lie {int(spacing) / 1_000_000:g} s apart, which is no known bar length"
        )
    return found


def series_of(table: pl.DataFrame, timeframe: Timeframe) -> Iterator[Series]:
    """One series per symbol, rows in the order of the table. Raises InvalidSymbol."""
    for (name,), rows in table.group_by("symbol", maintain_order=True):
        open_, high, low, close = (
            rows[column].fill_null(float("nan")).to_numpy().astype(np.float64)
            for column in ("open", "high", "low", "close")
        )
        yield Series(
            parse_symbol(str(name)),
            timeframe,
            rows["start_us"].to_numpy(),
            open_,
            high,
            low,
            close,
            rows["volume"].fill_null(-1).to_numpy().astype(np.int64),
        )
