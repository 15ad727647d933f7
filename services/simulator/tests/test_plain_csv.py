"""Does the quick reader read what the careful one reads, and leave everything odd to it?"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.calendar import TradingCalendar
from shared.domain.timeframes import Timeframe
from simulator.files import read_tape
from simulator.plain_csv import read_plain

ROWS = "2026-01-05,10,11,9,10.5,1000\n2026-01-06,10.5,12,10,11,2000\n"
HEADER = "Date,Open,High,Low,Close,Volume\n"


def prices() -> st.SearchStrategy[str]:
    return st.integers(1, 10**12).map(lambda micros: f"{micros / 1e6:.6f}")


@st.composite
def rows(draw: st.DrawFn, days: Sequence[date]) -> list[str]:
    found = []
    for day in draw(st.lists(st.sampled_from(days), min_size=2, max_size=12, unique=True)):
        low, first, second, high = sorted((draw(prices()) for _ in range(4)), key=float)
        found.append(f"{day},{first},{high},{low},{second},{draw(st.integers(0, 10**9))}")
    return found


@given(st.data(), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_both_readers_make_the_same_tape(
    calendar: TradingCalendar, data: st.DataObject, ending: str, is_adjusted: bool
) -> None:
    sessions = calendar.between(date(2025, 2, 3), date(2025, 12, 31))
    lines = data.draw(rows([session.on for session in sessions]))
    head = HEADER.strip()
    if is_adjusted:
        head, lines = f"{head},Adj Close", [f"{line},1.5" for line in lines]
    with tempfile.TemporaryDirectory() as folder:
        plain, quoted = Path(folder) / "KO.csv", Path(folder) / "quoted" / "KO.csv"
        quoted.parent.mkdir()
        plain.write_text(ending.join([head, *lines, ""]), newline="")
        quoted.write_text(ending.join([head.replace("Date", '"Date"'), *lines, ""]), newline="")
        assert read_plain(plain) is not None
        assert read_plain(quoted) is None

        quick = read_tape(plain, calendar, timeframe=Timeframe.DAY)
        careful = read_tape(quoted, calendar, timeframe=Timeframe.DAY)

        assert quick.digest == careful.digest
        assert quick.dropped == careful.dropped
        assert quick.instant(0) == careful.instant(0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEADER,
        HEADER + "\n",
        HEADER + ROWS.replace("10.5", "ten", 1),
        HEADER + ROWS.replace("10.5", "nan", 1),
        HEADER + ROWS.replace("10.5", "1_0", 1),
        HEADER + ROWS.replace("10.5", "1-0", 1),
        HEADER + ROWS.replace("10.5", "", 1),
        HEADER + ROWS.replace(",1000", "", 1),
        HEADER + ROWS.replace(",1000", ",1000,1", 1),
        HEADER + ROWS.replace("2026-01-05", "2026-02-30"),
        HEADER + ROWS.replace("2026-01-05", "20260105"),
        HEADER + ROWS.replace("2026-01-05", "2026-01-05 09:30"),
        HEADER + ROWS.replace("10.5", '"10.5"', 1),
        HEADER + ROWS.replace("\n", "\n\n", 1),
        HEADER.replace("Date", "Time") + ROWS,
        HEADER.replace("Close", "Symbol") + ROWS,
        HEADER.replace("Close", "Open") + ROWS,
    ],
)
def test_whatever_is_not_plain_is_left_to_the_careful_reader(tmp_path: Path, text: str) -> None:
    path = tmp_path / "KO.csv"
    path.write_text(text)

    assert read_plain(path) is None


def test_a_plain_file_is_read_without_polars(tmp_path: Path) -> None:
    path = tmp_path / "KO.csv"
    path.write_text(HEADER + ROWS)
    program = f"""
import sys
from pathlib import Path
from shared.domain.timeframes import Timeframe
from simulator.files import _Source, _plain_rows
path = Path({str(path)!r})
rows = _plain_rows(_Source(path), path)
sys.exit("polars was imported" if "polars" in sys.modules or rows is None else None)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
