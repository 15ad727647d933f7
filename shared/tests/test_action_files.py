"""Tests of `shared.adapters.action_files`, with real files."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from shared.adapters.action_files import read_actions
from shared.domain.corporate_actions import CashDividend, Split
from shared.domain.errors import InvalidInput
from shared.domain.symbols import parse_symbol

AAPL = parse_symbol("AAPL")
ON = date(2014, 6, 9)


def a_file(folder: Path, text: str, name: str = "AAPL.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_splits_and_dividends_of_one_symbol_are_read_as_yahoo_writes_them(tmp_path: Path) -> None:
    path = a_file(
        tmp_path,
        "Date,Dividends,Stock Splits\n"
        "2014-05-08 00:00:00-04:00,0.47,0.0\n2014-06-09 00:00:00-04:00,0.0,7:1\n",
    )

    assert read_actions(path) == [
        CashDividend(AAPL, date(2014, 5, 8), Decimal("0.47")),
        Split(AAPL, ON, Decimal(7), Decimal(1)),
    ]


@pytest.mark.parametrize(
    ("text", "new", "old"), [("7", "7", "1"), ("1/20", "1", "20"), ("1.05:1", "1.05", "1")]
)
def test_a_split_may_be_written_in_several_ways(
    tmp_path: Path, text: str, new: str, old: str
) -> None:
    path = a_file(tmp_path, f"symbol,ex_date,split\nAAPL,2014-06-09,{text}\n")

    assert read_actions(path) == [Split(AAPL, ON, Decimal(new), Decimal(old))]


def test_a_word_takes_back_what_another_source_told(tmp_path: Path) -> None:
    path = a_file(tmp_path, "date,split,dividend\n2014-06-09,none,none\n")

    assert read_actions(path) == [
        Split(AAPL, ON, Decimal(1), Decimal(1)),
        CashDividend(AAPL, ON, Decimal(0)),
    ]


def test_a_parquet_file_with_dates_and_numbers_is_read(tmp_path: Path) -> None:
    path = tmp_path / "actions.parquet"
    pl.DataFrame(
        {
            "symbol": ["AAPL", "MSFT"],
            "date": [ON, ON],
            "ratio": [7.0, None],
            "dividend": [None, 0.28],
        }
    ).write_parquet(path)

    assert read_actions(path) == [
        Split(AAPL, ON, Decimal("7.0"), Decimal(1)),
        CashDividend(parse_symbol("MSFT"), ON, Decimal("0.28")),
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("date,price\n2014-06-09,1\n", "needs a column date, and split"),
        ("date,split\n2014-06-09,seven\n", "row 1: 'seven' is no number"),
        ("date,split\n9 June,7:1\n", "row 1: '9 June' is no date like"),
        ("date,split\n2014-06-09,7:0\n", "row 1: split of AAPL on 2014-06-09"),
        ("symbol,date,split\n../x,2014-06-09,7:1\n", "row 1: '../x' is not a symbol"),
        ("date,dividend\n2014-06-09,-1\n", "row 1: dividend of AAPL"),
    ],
)
def test_what_cannot_be_read_refuses_the_file_and_names_the_row(
    tmp_path: Path, text: str, why: str
) -> None:
    with pytest.raises(InvalidInput, match=why):
        read_actions(a_file(tmp_path, text))
