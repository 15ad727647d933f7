"""How fast is the store of bars, beside raw PyArrow doing the same to the same rows?

Four ways in which it is used: a minute of 10,000 symbols is appended, 500 symbols over two years answer for one of
them, 10,000 symbols give their last 200 bars, and a CSV of a million rows comes in. Each figure stands beside what
PyArrow takes for the rows alone, without index, revisions, locks or durability, because machines differ.

    python -m benchmarks.store [folder | --bucket]
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet

from shared.adapters.bar_files import read_bars
from shared.adapters.exchange_calendar import load_calendar
from shared.adapters.importing import import_table
from shared.adapters.parquet import ParquetBars
from shared.domain.bar_blocks import BarBlock, from_epoch_us, to_epoch_us
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.storage import Access, Place
from shared.testing.object_storage import new_bucket
from trader.runtime.ports import Ports

_FETCHED_AT = datetime(2026, 11, 20, 22, 0, tzinfo=UTC)
_MINUTE_US = 60_000_000
_COLUMNS = ("start_us", "end_us", "open", "high", "low", "close", "volume")


def names_of(count: int) -> tuple[Symbol, ...]:
    """The first `count` made-up symbols, sorted."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    names = (f"{a}{b}{c}{d}" for a in letters for b in letters for c in letters for d in letters)
    return tuple(Symbol(name) for name, _ in zip(names, range(count), strict=False))


def market_of(symbols: tuple[Symbol, ...], starts_us: np.ndarray, seed: int) -> BarBlock:
    """Every symbol at every start, sorted as blocks are."""
    rng = np.random.default_rng(seed)
    n = len(symbols) * len(starts_us)
    # Reflected at both ends: a jump would be a bad print, which no import lets in.
    walk = np.cumsum(rng.integers(-9, 10, n)) * 10_000
    close = 100_000_000 + np.abs(walk % 100_000_000 - 50_000_000)
    starts = np.tile(starts_us, len(symbols))
    names = np.repeat(np.array(symbols, dtype=object), len(starts_us))
    volume = rng.integers(100, 100_000, n)
    return BarBlock(
        Timeframe.MINUTE,
        tuple(names.tolist()),
        starts,
        starts + _MINUTE_US,
        close,
        close + 500_000,
        close - 500_000,
        close,
        volume,
    )


def _table(block: BarBlock) -> pa.Table:
    columns = {name: getattr(block, name) for name in _COLUMNS}
    return pa.table({"symbol": list(block.symbols), **columns})


def _times(work: Callable[[], object], repeat: int) -> float:
    """The median time in milliseconds."""
    taken = []
    for _ in range(repeat):
        began = time.perf_counter()
        work()
        taken.append((time.perf_counter() - began) * 1_000)
    return median(taken)


def _print(name: str, ours_ms: float, raw_ms: float, wanted: str) -> None:
    print(
        f"{name:52} {ours_ms:9.1f} ms   PyArrow {raw_ms:9.1f} ms   x {ours_ms / raw_ms:6.2f}   wanted {wanted}"
    )


def live(folder: Path, place: Place | None = None) -> None:
    """Append minute after minute of the whole market, then ask for the last 200 bars of all."""
    symbols = names_of(10_000)
    opens = to_epoch_us(datetime(2026, 11, 20, 14, 30, tzinfo=UTC))
    store = ParquetBars(place or folder / "live")
    raw_folder = folder / "raw"
    raw_folder.mkdir()
    ours, raw = [], []
    for minute in range(390):
        block = market_of(symbols, np.array([opens + minute * _MINUTE_US]), minute)
        began = time.perf_counter()
        store.append(block, provider="bench", fetched_at=_FETCHED_AT)
        ours.append((time.perf_counter() - began) * 1_000)
        began = time.perf_counter()
        pyarrow.parquet.write_table(
            _table(block), raw_folder / f"{minute:04}.parquet", compression="zstd"
        )
        raw.append((time.perf_counter() - began) * 1_000)
    _print("append of a 10,000-symbol minute, median", median(ours), median(raw), "<= 300 ms")
    _print("append of a 10,000-symbol minute, worst", max(ours), max(raw), "<= 300 ms")
    until = from_epoch_us(opens + 390 * _MINUTE_US)

    def last() -> int:
        return len(store.last(Timeframe.MINUTE, symbols, 200, until))

    def raw_last() -> int:
        files = sorted(raw_folder.iterdir())[-200:]
        table: pa.Table = pyarrow.dataset.dataset(files).to_table()
        return int(table.sort_by([("symbol", "ascending"), ("start_us", "ascending")]).num_rows)

    assert last() == raw_last() == 2_000_000
    _print("last 200 bars of 10,000 symbols", _times(last, 3), _times(raw_last, 3), "<= 1000 ms")


def years(folder: Path) -> None:
    """Two years of minutes of 500 symbols, backfilled symbol by symbol, asked for one of them."""
    symbols = names_of(500)
    store = ParquetBars(folder / "years")
    first = datetime(2024, 11, 18, 14, 30, tzinfo=UTC)
    days = [
        first + timedelta(days=n) for n in range(732) if (first + timedelta(days=n)).weekday() < 5
    ]
    starts = np.concatenate([to_epoch_us(d) + np.arange(390) * _MINUTE_US for d in days])
    raw_path = folder / "years.parquet"
    writer = None
    group = 5
    for at in range(0, len(symbols), group):
        block = market_of(symbols[at : at + group], starts, at)
        store.append(block, provider="bench", fetched_at=_FETCHED_AT)
        table = _table(block)
        writer = writer or pyarrow.parquet.ParquetWriter(raw_path, table.schema, compression="zstd")
        writer.write_table(table, row_group_size=65_536)
    assert writer is not None
    writer.close()
    wanted = symbols[321]
    until = from_epoch_us(int(starts[-1]) + _MINUTE_US)

    def ours() -> int:
        return len(store.between(Timeframe.MINUTE, [wanted], first, until))

    def raw() -> int:
        return int(
            pyarrow.parquet.read_table(raw_path, filters=[("symbol", "==", wanted)]).num_rows
        )

    assert ours() == raw() == len(starts)
    _print(
        f"one symbol x {len(starts)} minutes out of 500 symbols",
        _times(ours, 7),
        _times(raw, 7),
        "<= 50 ms",
    )


def csv(folder: Path) -> None:
    """A million rows of text become stored bars."""
    symbols = names_of(20)
    calendar = load_calendar(Path(tempfile.gettempdir()) / "full-ai-trader-bench")
    sessions = calendar.between(date(2026, 1, 1), date(2026, 11, 20))[:129]
    starts = np.concatenate(
        [
            to_epoch_us(s.open_at)
            + np.arange(0, (s.close_at - s.open_at) // timedelta(minutes=1)) * _MINUTE_US
            for s in sessions
        ]
    )
    block = market_of(symbols, starts, 1)
    path = folder / "bars.csv"
    pl.DataFrame(
        {
            "symbol": list(block.symbols),
            "timestamp": pl.from_epoch(pl.Series(block.start_us), time_unit="us").dt.strftime(
                "%Y-%m-%dT%H:%M:%SZ"
            ),
            **{name: getattr(block, name) / 1e6 for name in ("open", "high", "low", "close")},
            "volume": block.volume,
        }
    ).write_csv(path)
    store = ParquetBars(folder / "csv")

    began = time.perf_counter()
    table = read_bars(path)
    done = import_table(table, Timeframe.MINUTE, calendar, store, provider="file", now=_FETCHED_AT)
    ours_ms = (time.perf_counter() - began) * 1_000
    assert done.stored == len(block), done

    def raw() -> None:
        pyarrow.parquet.write_table(
            pyarrow.csv.read_csv(path), folder / "csv.parquet", compression="zstd"
        )

    _print(f"import of a CSV of {len(block):,} rows", ours_ms, _times(raw, 1), ">= 1M rows/s")
    print(f"{'':52} {len(block) / ours_ms * 1_000:9,.0f} rows/s")


def bucket(folder: Path) -> None:
    """The same as `live`, ours in object storage: a process of this machine that speaks S3, PyArrow on the disk."""
    port = Ports.free().simulator
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        access = Access("bench", "bench", endpoint_url=f"http://127.0.0.1:{port}")
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        live(folder, new_bucket(access, folder / "locks"))
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    """Measure on the disk of the folder that is named, or with `--bucket` in object storage."""
    if sys.argv[1:] == ["--bucket"]:
        with tempfile.TemporaryDirectory() as name:
            bucket(Path(name))
        return
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as name:
        for part in (csv, live, years):
            folder = Path(name) / part.__name__
            folder.mkdir()
            part(folder)
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
