"""Reading bars: what is taken, and the one sentence for each thing that is not."""

import os
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.calendar import TradingCalendar
from shared.domain.errors import InvalidInput
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.testing.goog import goog
from simulator.files import read_tape
from simulator.tape import Tape

GOOG = goog()
HEADER = "Date,Open,High,Low,Close,Adj Close,Volume\n"
ROWS = "2026-01-05,10,11,9,10.5,10.5,1000\n2026-01-06,10.5,12,10,11,11,2000\n"
# What a test does not name is the first sentence of a good Yahoo file.
Read = Callable[..., Tape]


@pytest.fixture
def read(tmp_path: Path, calendar: TradingCalendar) -> Read:
    def read_text(text: str | bytes, name: str = "KO.csv", **more: object) -> Tape:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_tape(path, calendar, **more)  # type: ignore[arg-type]

    return read_text


def refusal(read: Read, text: str | bytes, name: str = "KO.csv", **more: object) -> str:
    with pytest.raises(InvalidInput) as error:
        read(text, name, **more)
    sentence = str(error.value)
    assert sentence.startswith(name)
    assert "\n" not in sentence
    return sentence


def test_the_shipped_google_file_is_daily_and_whole(calendar: TradingCalendar) -> None:
    tape = read_tape(GOOG, calendar, last=500)

    assert (tape.timeframe, tape.symbols, tape.dropped) == (Timeframe.DAY, ("GOOG",), 0)
    assert tape.length == 500
    first = tape.instant(0)
    assert first is not None
    assert first.opens_at == datetime(2011, 3, 7, 14, 30, tzinfo=UTC)
    # What came before is history, and the market is closed.
    assert tape.begins_at == datetime(2011, 3, 4, 21, 0, tzinfo=UTC)
    last = tape.last_before(Symbol("GOOG"), int(tape.begins_at.timestamp() * 1e6))
    assert last is not None


def test_a_daily_bar_is_stamped_with_midnight_and_opens_and_ends_with_its_session(
    read: Read,
) -> None:
    instant = read(HEADER + ROWS).instant(0)

    assert instant is not None
    assert instant.start_at == datetime(2026, 1, 5, 5, 0, tzinfo=UTC)
    assert instant.opens_at == datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
    assert instant.end_at == datetime(2026, 1, 5, 21, 0, tzinfo=UTC)
    assert (instant.new_session, instant.session_ends) == (True, True)
    assert instant.bars[Symbol("KO")] == (10.0, 11.0, 9.0, 10.5, 1000)


def test_a_half_day_ends_early(read: Read) -> None:
    instant = read(HEADER + "2026-11-27,10,11,9,10,10,5\n").instant(0)

    assert instant is not None
    assert instant.end_at == datetime(2026, 11, 27, 18, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "Date,Open,High,Low,Close,Volume\n2026-01-05,10,11,9,10.5,1000\n",
        ",Open,High,Low,Close,Volume\n2026-01-05,10,11,9,10.5,1000\n",
        (
            "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\n"
            "KO.US,D,20260105,000000,10,11,9,10.5,1000,0\n"
        ),
        "Ticker,date,o,h,l,c,v\nko,2026-01-05,10,11,9,10.5,1000.7\n",
        "symbol,timestamp,open,high,low,close,volume\nKO,2026-01-05T05:00:00Z,10,11,9,10.5,1000\n",
    ],
    ids=["yahoo", "unnamed date", "stooq", "short names", "zoned"],
)
def test_the_same_day_is_read_from_each_style(read: Read, text: str) -> None:
    tape = read(text)

    instant = tape.instant(0)
    assert instant is not None
    assert tape.timeframe is Timeframe.DAY
    assert instant.start_at == datetime(2026, 1, 5, 5, 0, tzinfo=UTC)
    assert instant.bars == {Symbol("KO"): (10.0, 11.0, 9.0, 10.5, 1000)}


def test_naive_minutes_are_new_york_time_and_what_lies_outside_the_session_is_counted(
    read: Read,
) -> None:
    tape = read(
        "Datetime,Open,High,Low,Close,Volume\n"
        "2026-07-06 09:29:00,10,11,9,10,5\n"
        "2026-07-06 09:30:00,10,11,9,10,5\n"
        "2026-07-06 09:31:00,10,11,9,10,5\n"
        "2026-07-06 16:00:00,10,11,9,10,5\n"
        "2026-07-04 10:00:00,10,11,9,10,5\n"
    )

    assert (tape.timeframe, tape.length, tape.dropped) == (Timeframe.MINUTE, 2, 3)
    instant = tape.instant(0)
    assert instant is not None
    assert instant.start_at == datetime(2026, 7, 6, 13, 30, tzinfo=UTC)
    assert (instant.new_session, instant.session_ends) == (True, False)


def test_many_symbols_share_an_instant_in_the_order_of_their_names(read: Read) -> None:
    tape = read(
        "Symbol,Date,Open,High,Low,Close,Volume\n"
        "PEP,2026-01-05,20,21,19,20,7\n"
        "KO,2026-01-05,10,11,9,10,5\n"
        "KO,2026-01-06,10,11,9,10,5\n",
        "market.csv",
    )

    first, second = tape.instant(0), tape.instant(1)
    assert first is not None
    assert second is not None
    assert list(first.bars) == ["KO", "PEP"]
    assert list(second.bars) == ["KO"]


def test_parquet_dates_and_instants_are_read_alike(
    tmp_path: Path, calendar: TradingCalendar
) -> None:
    columns = {"open": [10.0], "high": [11.0], "low": [9.0], "close": [10.5], "volume": [1000]}
    as_date, as_instant = tmp_path / "KO.parquet", tmp_path / "KO-20260105.parquet"
    pl.DataFrame({"date": [date(2026, 1, 5)], **columns}).write_parquet(as_date)
    stamp = pl.Series([datetime(2026, 1, 5, 5, tzinfo=UTC)])
    pl.DataFrame({"timestamp": stamp, **columns}).write_parquet(as_instant)

    tapes = [read_tape(path, calendar) for path in (as_date, as_instant)]

    assert tapes[0].symbols == tapes[1].symbols == ("KO",)
    assert tapes[0].instant(0) == tapes[1].instant(0)
    assert tapes[0].digest == tapes[1].digest


def test_prices_are_kept_to_a_micro(read: Read) -> None:
    instant = read(HEADER + "2026-01-05,645.5699999,645.57,645.5699991,645.5699999,1,1\n").instant(
        0
    )

    assert instant is not None
    assert instant.bars[Symbol("KO")].open == 645.57
    assert instant.bars[Symbol("KO")].low == 645.569999


@pytest.mark.parametrize(
    ("row", "place", "words"),
    [
        ("2026-01-06,,12,10,11,11,2000", "row 3, column open", "'' is not a number"),
        ("2026-01-06,NaN,12,10,11,11,2000", "row 3, column open", "price nan must be above zero"),
        ("2026-01-06,0,12,10,11,11,2000", "row 3, column open", "price 0 must be above zero"),
        ("2026-01-06,-3,12,10,11,11,2000", "row 3, column open", "price -3 must be above zero"),
        ("2026-01-06,inf,12,10,11,11,2000", "row 3, column open", "price inf must be above zero"),
        ("2026-01-06,x,12,10,11,11,2000", "row 3, column open", "'x' is not a number"),
        ("2026-01-06,10,9,10,11,11,2000", "row 3, column high", "9 is below low"),
        ("2026-01-06,10,12,10,13,13,2000", "row 3, column high", "12 is below open or close"),
        ("2026-01-06,10,12,10.5,11,11,2000", "row 3, column low", "10.5 is above open or close"),
        ("2026-01-06,10,12,10,11,11,-1", "row 3, column volume", "volume -1 must be 0 to"),
        ("2026-01-06,10,12,10,11,11,", "row 3, column volume", "is not a number"),
        ("06.01.2026,10,12,10,11,11,1", "row 3, column date", "is not a date or time"),
        ("2026-01-05,10,12,10,11,11,1", "row 3, column date", "is there twice"),
    ],
)
def test_a_wrong_value_is_named_with_row_column_and_mend(
    read: Read, row: str, place: str, words: str
) -> None:
    sentence = refusal(read, HEADER + "2026-01-05,10,11,9,10,10,5\n" + row + "\n")

    assert place in sentence
    assert words in sentence


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ("", "KO.csv", "is empty"),
        (HEADER, "KO.csv", "has a header but no bars"),
        ("Date,Open,High,Low,Volume\n2026-01-05,1,1,1,1\n", "KO.csv", "has no column 'close'"),
        (HEADER + ROWS, "KO.txt.gz", "ends neither in .csv"),
        (HEADER + ROWS, "prices of 2026.csv", "is named after a share"),
        (b"PAR1 but not parquet", "KO.parquet", "cannot be read"),
        (b"\xff\xfe\x00\x01,\x80\n\x81", "KO.csv", "cannot be read"),
        (HEADER + "2026-01-03,10,11,9,10,10,5\n", "KO.csv", "no bar in the regular hours"),
        (
            "Symbol,Date,Open,High,Low,Close,Volume\n../x,2026-01-05,10,11,9,10,5\n",
            "market.csv",
            "row 2, column symbol: '../X' is not a symbol",
        ),
        (
            HEADER + "2026-01-05,10,11,9,10,10,5\n2026-02-05,10,11,9,10,10,5\n",
            "KO.csv",
            "no timeframe of ours",
        ),
    ],
)
def test_an_unusable_file_is_refused_in_one_sentence(
    read: Read, text: str | bytes, name: str, words: str
) -> None:
    assert words in refusal(read, text, name)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_a_folder_and_a_pipe_are_refused_unread(
    make: Callable[[Path], None], calendar: TradingCalendar, tmp_path: Path
) -> None:
    make(tmp_path / "KO.csv")

    with pytest.raises(InvalidInput, match=r"KO\.csv: is no ordinary file"):
        read_tape(tmp_path / "KO.csv", calendar)


def test_a_missing_file_is_named(calendar: TradingCalendar, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="there is no such file; correct the path"):
        read_tape(tmp_path / "none.csv", calendar)


def test_symbols_that_the_file_lacks_are_named(read: Read) -> None:
    assert "has no bars of PEP" in refusal(read, HEADER + ROWS, only=[Symbol("PEP")])


def test_another_price_or_another_start_makes_another_digest(read: Read) -> None:
    digests = {
        read(HEADER + ROWS).digest,
        read(HEADER + ROWS.replace("10.5,10.5", "10.6,10.5")).digest,
        read(HEADER + ROWS, last=1).digest,
        read(HEADER + ROWS, "PEP.csv").digest,
    }

    assert len(digests) == 4
    assert read(HEADER + ROWS).digest in digests


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 389), st.integers(1, 10**6), st.integers(0, 10**6)),
        min_size=2,
        max_size=30,
        unique_by=lambda row: row[0],
    )
)
def test_each_bar_in_session_comes_up_once_in_order_whatever_the_files_order(
    calendar: TradingCalendar,
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[int, int, int]],
) -> None:
    path = tmp_path_factory.mktemp("bars") / "KO.csv"
    lines = ["Datetime,Open,High,Low,Close,Volume"]
    for minute, cents, volume in rows:
        price = cents / 100
        stamp = np.datetime64("2026-01-05T09:30:00") + np.timedelta64(minute, "m")
        lines.append(f"{stamp},{price},{price},{price},{price},{volume}")
    path.write_text("\n".join(lines))

    tape = read_tape(path, calendar, timeframe=Timeframe.MINUTE)

    assert tape.length == len(rows)
    seen = [tape.instant(i) for i in range(len(rows))]
    assert [
        (round(i.bars[Symbol("KO")].open * 100), i.bars[Symbol("KO")].volume) for i in seen if i
    ] == [(cents, volume) for _, cents, volume in sorted(rows)]
