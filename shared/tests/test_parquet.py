"""Tests of `shared.adapters.parquet`, with real files, and of the memory store beside it."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.adapters.action_store import ParquetActions
from shared.adapters.parquet import ParquetBars
from shared.domain.bar_blocks import BarBlock
from shared.domain.bars import Bar
from shared.domain.corporate_actions import Adjustment
from shared.domain.errors import Misconfigured, StateMismatch
from shared.domain.symbols import Symbol, parse_symbol
from shared.domain.timeframes import Timeframe
from shared.testing.bar_stores import (
    NOON,
    ActionStoreContract,
    BarStoreContract,
    MemoryActions,
    MemoryBars,
    a_bar,
    a_block,
)

MINUTE = timedelta(minutes=1)

SYMBOLS = [parse_symbol(name) for name in ("AAPL", "BRK.B", "MSFT")]
END = NOON + timedelta(days=3)


class TestMemoryBars(BarStoreContract):
    @pytest.fixture
    def store(self) -> MemoryBars:
        return MemoryBars()


class TestParquetBars(BarStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> ParquetBars:
        return ParquetBars(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write for another account")
def test_what_root_brings_into_another_accounts_folder_belongs_to_that_account(
    tmp_path: Path,
) -> None:
    os.chown(tmp_path, 10_001, 10_001)

    ParquetBars(tmp_path).append(a_block(a_bar()), provider="p", fetched_at=NOON)

    owners = {path.stat().st_uid for path in tmp_path.rglob("*")}
    assert owners == {10_001}


class TestMemoryActions(ActionStoreContract):
    @pytest.fixture
    def actions(self) -> MemoryActions:
        return MemoryActions()


class TestParquetActions(ActionStoreContract):
    @pytest.fixture
    def actions(self, tmp_path: Path) -> ParquetActions:
        return ParquetActions(tmp_path)


def everything(store: ParquetBars | MemoryBars) -> list[Bar]:
    return list(store.between(Timeframe.MINUTE, SYMBOLS, NOON, END))


def files_of(root: Path) -> list[str]:
    folder = root / "bars" / "1Min"
    return sorted(path.name for path in folder.glob("*.parquet"))


# Each version of a bar has figures and a fetch time of its own, as versions from a provider have.
versions = st.tuples(
    st.sampled_from(SYMBOLS), st.integers(min_value=0, max_value=6), st.integers(0, 4)
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    appends=st.lists(st.lists(versions, max_size=5), max_size=24),
    random=st.randoms(use_true_random=False),
)
def test_f71_any_order_and_duplication_of_appends_reads_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    appends: list[list[tuple[str, int, int]]],
    random: object,
) -> None:
    singles = [(version,) for append in appends for version in append]
    shuffled = singles + [tuple(append) for append in appends]
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # Hypothesis gives a random.Random
    in_order = ParquetBars(tmp_path_factory.mktemp("in_order"))
    mixed = ParquetBars(tmp_path_factory.mktemp("mixed"))
    plain = MemoryBars()

    def put(store: ParquetBars | MemoryBars, some: tuple[tuple[str, int, int], ...]) -> None:
        for symbol, minute, version in some:
            block = a_block(a_bar(symbol, minute, close=100 + version))
            store.append(block, provider="p", fetched_at=NOON + timedelta(seconds=version))

    for append in appends:
        put(in_order, tuple(append))
        put(plain, tuple(append))
    for some in shuffled:
        put(mixed, some)

    assert everything(mixed) == everything(in_order) == everything(plain)
    for count in (1, 3):
        for minute in (2, 7):
            until_at = NOON + timedelta(minutes=minute)
            assert (
                list(mixed.last(Timeframe.MINUTE, SYMBOLS, count, until_at))
                == list(in_order.last(Timeframe.MINUTE, SYMBOLS, count, until_at))
                == list(plain.last(Timeframe.MINUTE, SYMBOLS, count, until_at))
            )


def test_hundreds_of_appends_stay_a_handful_of_files_that_read_the_same(tmp_path: Path) -> None:
    store = ParquetBars(tmp_path)
    bars = [a_bar("AAPL", minute, close=100 + minute) for minute in range(300)]

    for bar in bars:
        store.append(a_block(bar), provider="p", fetched_at=NOON)

    assert len(files_of(tmp_path)) < 16 * 2
    assert everything(store) == bars


def test_a_crash_before_the_rename_leaves_the_old_state_and_the_next_writer_clears_it(
    tmp_path: Path,
) -> None:
    store = ParquetBars(tmp_path)
    first = a_bar("AAPL", 0)
    store.append(a_block(first), provider="p", fetched_at=NOON)
    folder = tmp_path / "bars" / "1Min"
    whole = (folder / files_of(tmp_path)[0]).read_bytes()
    draft = folder / "0000000002_0000000002_0_0_1_1.parquet.draft"
    draft.write_bytes(whole[: len(whole) // 2])

    assert everything(store) == [first]
    later = [a_bar("AAPL", minute) for minute in range(1, 16)]
    for bar in later:
        store.append(a_block(bar), provider="p", fetched_at=NOON)

    assert everything(store) == [first, *later]
    assert not draft.exists()


def test_a_crash_between_a_merge_and_its_clearing_up_counts_nothing_twice(tmp_path: Path) -> None:
    store = ParquetBars(tmp_path)
    bars = [a_bar("AAPL", minute) for minute in range(16)]
    folder = tmp_path / "bars" / "1Min"
    for bar in bars[:15]:
        store.append(a_block(bar), provider="p", fetched_at=NOON)
    kept = {name: (folder / name).read_bytes() for name in files_of(tmp_path)}
    store.append(a_block(bars[15]), provider="p", fetched_at=NOON)
    assert len(files_of(tmp_path)) == 1
    for name, content in kept.items():
        (folder / name).write_bytes(content)

    assert everything(store) == bars
    assert store.append(a_block(*bars), provider="p", fetched_at=NOON) == 0


def test_a_lost_file_is_reported_and_never_read_as_missing_bars(tmp_path: Path) -> None:
    store = ParquetBars(tmp_path)
    for minute in range(3):
        store.append(a_block(a_bar("AAPL", minute)), provider="p", fetched_at=NOON)
    (tmp_path / "bars" / "1Min" / files_of(tmp_path)[1]).unlink()

    with pytest.raises(StateMismatch, match="append 2 is missing"):
        everything(store)


def test_a_damaged_file_is_reported_with_its_folder_and_the_mend(tmp_path: Path) -> None:
    store = ParquetBars(tmp_path)
    store.append(a_block(a_bar()), provider="p", fetched_at=NOON)
    folder = tmp_path / "bars" / "1Min"
    (folder / files_of(tmp_path)[0]).write_bytes(b"not parquet")

    with pytest.raises(StateMismatch, match=r"cannot be read .* restore the folder"):
        everything(store)


def test_a_folder_that_cannot_be_made_is_a_setting_to_mend(tmp_path: Path) -> None:
    (tmp_path / "bars").write_text("a file stands in the way")

    with pytest.raises(Misconfigured, match="mend DATA_DIR"):
        ParquetBars(tmp_path).append(a_block(a_bar()), provider="p", fetched_at=NOON)


def test_files_of_others_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    store = ParquetBars(tmp_path)
    store.append(a_block(a_bar()), provider="p", fetched_at=NOON)
    note = tmp_path / "bars" / "1Min" / "notes.parquet"
    note.write_text("mine")

    for minute in range(20):
        store.append(a_block(a_bar("AAPL", minute)), provider="p", fetched_at=NOON)

    assert note.read_text() == "mine"
    assert len(everything(store)) == 20


def test_the_newest_bar_tells_its_provider_and_when_it_was_fetched(tmp_path: Path) -> None:
    for store in (ParquetBars(tmp_path), MemoryBars()):
        store.append(a_block(a_bar("AAPL", 0)), provider="one", fetched_at=NOON)
        store.append(a_block(a_bar("AAPL", 1)), provider="two", fetched_at=END)

        found = store.newest(Timeframe.MINUTE, SYMBOLS[0], END)

        assert found is not None
        assert (found.bar, found.provider, found.fetched_at) == (a_bar("AAPL", 1), "two", END)
        assert store.newest(Timeframe.MINUTE, SYMBOLS[2], END) is None


def test_readers_see_whole_appends_in_order_while_a_writer_merges(tmp_path: Path) -> None:
    # Each append holds one minute of all symbols, so a torn read would show a minute in part, or a gap.
    writer_store, reader_store = ParquetBars(tmp_path), ParquetBars(tmp_path)
    done = threading.Event()
    failures: list[str] = []

    def read() -> None:
        while not done.is_set():
            block: BarBlock = reader_store.between(Timeframe.MINUTE, SYMBOLS, NOON, END)
            minutes = [sorted(bar.start_at for bar in block if bar.symbol == s) for s in SYMBOLS]
            expected = [NOON + timedelta(minutes=i) for i in range(len(minutes[0]))]
            if any(seen != expected for seen in minutes):
                failures.append(str([len(seen) for seen in minutes]))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for minute in range(150):
            block = a_block(*(a_bar(symbol, minute) for symbol in SYMBOLS))
            writer_store.append(block, provider="p", fetched_at=NOON)
    finally:
        done.set()
        thread.join()

    assert failures == []


def test_two_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    def write(symbol: str) -> None:
        store = ParquetBars(tmp_path)
        for minute in range(40):
            store.append(a_block(a_bar(symbol, minute)), provider="p", fetched_at=NOON)

    threads = [threading.Thread(target=write, args=(symbol,)) for symbol in SYMBOLS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(everything(ParquetBars(tmp_path))) == 40 * len(SYMBOLS)


_WRITE_FOR_EVER = """
import itertools, sys
from pathlib import Path
from shared.adapters.parquet import ParquetBars
from shared.testing.bar_stores import NOON, a_bar, a_block

store = ParquetBars(Path(sys.argv[1]))
for minute in itertools.count(int(sys.argv[2])):
    block = a_block(*(a_bar(symbol, minute) for symbol in ("AAPL", "BRK.B", "MSFT")))
    store.append(block, provider="p", fetched_at=NOON)
    print(minute, flush=True)
"""


def test_a_writer_killed_at_any_point_loses_no_append_it_had_confirmed(tmp_path: Path) -> None:
    begin = 0
    for lines in (5, 33, 16):
        writer = subprocess.Popen(  # our own interpreter
            [sys.executable, "-c", _WRITE_FOR_EVER, str(tmp_path), str(begin)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert writer.stdout is not None
        for _ in itertools.islice(writer.stdout, lines):
            pass
        os.kill(writer.pid, signal.SIGKILL)
        confirmed = begin + lines + len(writer.stdout.read().splitlines())
        writer.wait()
        writer.stdout.close()

        stored = everything(ParquetBars(tmp_path))

        minutes = len(stored) // len(SYMBOLS)
        assert confirmed <= minutes <= confirmed + 1
        assert sorted(stored, key=lambda bar: (bar.start_at, bar.symbol)) == [
            a_bar(symbol, minute) for minute in range(minutes) for symbol in SYMBOLS
        ]
        begin = minutes


def test_compacting_merges_files_and_changes_nothing_that_is_read(tmp_path: Path) -> None:
    store = ParquetBars(tmp_path)
    for minute in range(7):
        store.append(a_block(a_bar("AAPL", minute)), provider="p", fetched_at=NOON)
    store.append(a_block(a_bar("AAPL", 3, close=105)), provider="q", fetched_at=NOON + MINUTE)
    before = list(store.last(Timeframe.MINUTE, [Symbol("AAPL")], 99, NOON + 99 * MINUTE))

    assert store.compact(Timeframe.MINUTE) == (8, 1)

    assert list(store.last(Timeframe.MINUTE, [Symbol("AAPL")], 99, NOON + 99 * MINUTE)) == before
    assert store.append(a_block(a_bar("AAPL", 7)), provider="p", fetched_at=NOON) == 1
    assert store.compact(Timeframe.DAY) == (0, 0)


def test_contents_say_what_is_there_of_each_symbol_and_from_whom(tmp_path: Path) -> None:
    store = ParquetBars(tmp_path)
    store.append(a_block(a_bar("MSFT"), a_bar("AAPL", 4)), provider="p", fetched_at=NOON)
    store.append(a_block(a_bar("AAPL", 4, close=7)), provider="q", fetched_at=NOON + MINUTE)

    aapl, msft = store.contents(Timeframe.MINUTE)

    assert (aapl.symbol, aapl.bars, aapl.providers) == ("AAPL", 1, ("p", "q"))
    assert (aapl.first_at, aapl.last_at) == (NOON + 4 * MINUTE, NOON + 5 * MINUTE)
    assert msft.symbol == "MSFT"
    assert store.contents(Timeframe.DAY) == []


def test_every_row_says_who_gave_it_when_and_that_its_prices_are_raw(tmp_path: Path) -> None:
    store = ParquetBars(tmp_path)
    store.append(a_block(a_bar()), provider="alpaca", fetched_at=NOON)

    (path,) = (tmp_path / "bars" / "1Min").glob("*.parquet")
    row = pl.read_parquet(path).row(0, named=True)

    assert (row["provider"], row["adjustment"]) == ("alpaca", "none")
    assert row["fetched_us"] == int(NOON.timestamp()) * 1_000_000


def test_files_from_before_the_adjustment_was_written_down_are_read_beside_newer_ones(
    tmp_path: Path,
) -> None:
    store = ParquetBars(tmp_path)
    old, new = a_bar("AAPL", 0), a_bar("AAPL", 1)
    store.append(a_block(old), provider="p", fetched_at=NOON)
    (path,) = (tmp_path / "bars" / "1Min").glob("*.parquet")
    pl.read_parquet(path).drop("adjustment").write_parquet(path)
    store.append(a_block(new), provider="p", fetched_at=NOON)

    assert everything(store) == [old, new]
    assert store.contents(Timeframe.MINUTE)[0].bars == 2
    store.compact(Timeframe.MINUTE)
    assert everything(store) == [old, new]


def test_a_file_of_splits_that_cannot_be_read_is_told_and_not_taken_for_none(
    tmp_path: Path,
) -> None:
    store = ParquetBars(tmp_path)
    bar = a_bar()
    store.append(a_block(bar), provider="p", fetched_at=NOON)
    (tmp_path / "actions").mkdir()
    (tmp_path / "actions" / "actions.parquet").write_bytes(b"PAR1")

    with pytest.raises(StateMismatch, match="fetch splits and dividends anew"):
        store.last(Timeframe.MINUTE, [bar.symbol], 1, bar.end_at, adjustment=Adjustment.SPLIT)
    assert len(store.last(Timeframe.MINUTE, [bar.symbol], 1, bar.end_at)) == 1


def test_bars_past_the_retention_are_forgotten_and_the_rest_reads_as_before(tmp_path: Path) -> None:
    store = ParquetBars(tmp_path)
    for minute in range(6):
        bar = a_bar(minute=minute)
        store.append(a_block(bar), provider="test", fetched_at=END)
    before = everything(store)

    assert store.forget(Timeframe.MINUTE, NOON + 3 * MINUTE) == 2

    assert everything(store) == before[2:]
    later = a_bar(minute=9)
    store.append(a_block(later), provider="test", fetched_at=END)
    assert everything(store) == [*before[2:], later]
    # The newest append stays, however old, since the next one is numbered after it.
    assert store.forget(Timeframe.MINUTE, END) == 4
    assert everything(store) == [later]
