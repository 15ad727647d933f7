"""Where time comes from: the machine, or a replay's clock file."""

from __future__ import annotations

import asyncio
import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.adapters.clocks import FileClock, MonotonicTimer, RandomIds, WallClock, clock_for
from shared.domain.bar_blocks import to_epoch_us
from shared.domain.errors import Misconfigured

AT = datetime(2026, 3, 2, 14, 30, 0, 123456, tzinfo=UTC)


def write(path: Path, at: datetime) -> None:
    with path.open("r+b" if path.exists() else "wb") as file:
        file.write(struct.pack("<q", to_epoch_us(at)))


def test_a_replays_clock_says_what_the_file_says_to_the_microsecond(tmp_path: Path) -> None:
    path = tmp_path / "clock"
    write(path, AT)

    assert FileClock(path).now() == AT


def test_each_call_reads_the_file_anew_forwards_and_back(tmp_path: Path) -> None:
    path = tmp_path / "clock"
    write(path, AT)
    clock = FileClock(path)
    for at in (AT + timedelta(days=400), AT - timedelta(days=30_000)):
        write(path, at)
        assert clock.now() == at


def test_a_missing_clock_file_is_no_reason_to_guess(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="start the simulator first"):
        FileClock(tmp_path / "clock")


def test_a_half_written_clock_file_is_no_time(tmp_path: Path) -> None:
    path = tmp_path / "clock"
    path.write_bytes(b"1234567")

    with pytest.raises(Misconfigured, match="shorter than eight bytes"):
        FileClock(path).now()


def test_a_clock_file_decides_which_clock_there_is(tmp_path: Path) -> None:
    path = tmp_path / "clock"
    write(path, AT)

    assert isinstance(clock_for(path), FileClock)
    assert isinstance(clock_for(None), WallClock)


def test_the_machines_clock_is_aware_utc() -> None:
    assert WallClock().now().utcoffset() == timedelta(0)


def test_the_timer_never_steps_back_and_sleeps_at_least_as_long_as_asked() -> None:
    timer = MonotonicTimer()
    before_s = timer.monotonic_s()

    asyncio.run(timer.sleep(0.01))

    assert timer.monotonic_s() >= before_s + 0.01


def test_ids_are_unguessable_texts_that_never_repeat() -> None:
    ids = RandomIds()
    made = {ids.new() for _ in range(1_000)}

    assert len(made) == 1_000
    assert all(len(each) == 32 and each.isalnum() for each in made)
