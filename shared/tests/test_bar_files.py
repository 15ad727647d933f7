"""Tests of reading other people's bar files."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from shared.adapters.bar_files import find_files, read_bars, series_of, timeframe_of
from shared.domain.bar_blocks import to_epoch_us
from shared.domain.errors import InvalidInput
from shared.domain.timeframes import Timeframe

NOON_US = to_epoch_us(datetime(2026, 1, 15, 17, 0, tzinfo=UTC))
MIDNIGHT_US = to_epoch_us(datetime(2026, 1, 15, 5, 0, tzinfo=UTC))


def a_csv(folder: Path, header: str, *rows: str, name: str = "AAPL.csv") -> Path:
    path = folder / name
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.mark.parametrize(
    ("stamp", "start_us"),
    [
        ("2026-01-15T17:00:00Z", NOON_US),
        ("2026-01-15T12:00:00-05:00", NOON_US),
        ("2026-01-15 17:00:00+00:00", NOON_US),
        ("2026-01-15 12:00:00", NOON_US),
        ("2026-01-15 12:00", NOON_US),
        ("2026-01-15", MIDNIGHT_US),
        ("20260115", MIDNIGHT_US),
    ],
)
def test_stamps_of_every_usual_form_name_the_same_instant(
    tmp_path: Path, stamp: str, start_us: int
) -> None:
    table = read_bars(a_csv(tmp_path, "Date,Open,High,Low,Close,Volume", f"{stamp},1,2,1,2,9"))

    assert table.to_dicts() == [
        {
            "symbol": "AAPL",
            "start_us": start_us,
            "open": 1.0,
            "high": 2.0,
            "low": 1.0,
            "close": 2.0,
            "volume": 9,
        }
    ]


def test_a_parquet_file_with_instants_reads_the_same(tmp_path: Path) -> None:
    at = datetime(2026, 1, 15, 17, 0, tzinfo=UTC)
    rows = {"symbol": ["A", "A"], "timestamp": [at, at.replace(minute=5)]}
    figures = {name: [1.0, 1.5] for name in ("open", "high", "low", "close")}
    path = tmp_path / "bars.parquet"
    pl.DataFrame({**rows, **figures, "volume": [1, 2]}).write_parquet(path)

    table = read_bars(path)

    assert table["start_us"].to_list() == [NOON_US, NOON_US + 300_000_000]
    assert timeframe_of(table, path) is Timeframe.FIVE_MINUTES
    (series,) = series_of(table, Timeframe.FIVE_MINUTES)
    assert series.close.tolist() == [1.0, 1.5]


@pytest.mark.parametrize(
    ("header", "row", "words"),
    [
        ("Date,Open,High,Low,Volume", "2026-01-15,1,2,1,9", "no column for close"),
        ("Date,Open,High,Low,Close,Volume", "soon,1,2,1,2,9", "holds no times"),
        ("Date,Open,High,Low,Close,Volume", "2026-01-15,1,2,1,cheap,9", "no figure"),
        (
            "Date,Open,High,Low,Close,Volume,Open",
            "2026-01-15,1,2,1,2,9,3",
            "more than one column 'open'",
        ),
        ("Date,Open,High,Low,Close,Volume,open ", "2026-01-15,1,2,1,2,9,3", "more than one column"),
        ("Date,date,Open,High,Low,Close,Volume", "2026-01-15,x,1,2,1,2,9", "more than one column"),
    ],
)
def test_what_is_no_table_of_bars_is_refused_with_the_reason(
    tmp_path: Path, header: str, row: str, words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        read_bars(a_csv(tmp_path, header, row))


def test_one_unreadable_time_names_its_row(tmp_path: Path) -> None:
    path = a_csv(tmp_path, "Date,Open,High,Low,Close,Volume", "2026-01-15,1,2,1,2,9", "x,1,2,1,2,9")

    with pytest.raises(InvalidInput, match="row 2"):
        read_bars(path)


def test_folders_are_searched_and_nothing_found_is_said(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    inner = a_csv(tmp_path / "in", "x", name="B.csv")
    (tmp_path / "in" / "notes.txt").write_text("no bars")

    assert find_files([tmp_path]) == [inner]
    with pytest.raises(InvalidInput, match="is not there"):
        find_files([tmp_path / "nowhere"])
    inner.unlink()
    with pytest.raises(InvalidInput, match=r"no \.csv or \.parquet"):
        find_files([tmp_path])
