"""A disk that holds no more ends in one sentence, and what was stored stays whole."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.adapters.parquet import ParquetBars
from shared.domain.bar_blocks import block_of
from shared.domain.errors import Unavailable
from shared.domain.timeframes import Timeframe
from shared.testing.bar_stores import NOON, a_bar
from trader.runtime import backups
from trader.runtime.errors import StackError
from trader.runtime.instance import Instance
from trader.runtime.postgres import cause_in
from trader.runtime.stack import failure


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 128 KiB, which only root may make."""
    folder, mount, umount = tmp_path / "disk", shutil.which("mount"), shutil.which("umount")
    folder.mkdir()
    if os.getuid() != 0 or mount is None or umount is None:
        pytest.skip("a disk of its own can be made by root alone")
    words = [mount, "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    done = subprocess.run(words, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no disk could be made here: {done.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run([umount, str(folder)], check=True)


def test_market_history_stays_as_it_was_and_grows_again_once_there_is_room(
    small_disk: Path,
) -> None:
    bars = ParquetBars(small_disk / "bars")
    first = block_of(Timeframe.MINUTE, [a_bar()])
    next_ = block_of(Timeframe.MINUTE, [a_bar(minute=1)])
    bars.append(first, provider="alpaca", fetched_at=NOON)
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space left"):
        filler.write_bytes(bytes(1024 * 1024))

    with pytest.raises(
        Unavailable, match=r"cannot be written to .*: No space left on device; make"
    ):
        bars.append(next_, provider="alpaca", fetched_at=NOON)

    assert bars.contents(Timeframe.MINUTE)[0].bars == 1
    filler.unlink()
    assert bars.append(next_, provider="alpaca", fetched_at=NOON) == 1


def test_a_backup_that_does_not_fit_leaves_the_older_ones_and_nothing_else(
    small_disk: Path, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / ".env").write_text("# small\n")
    # The stack of the work tree, whose settings lie on another disk than its backups.
    (project / "data").symlink_to(small_disk)
    instance = Instance(project, project / "data", Instance.create(tmp_path / "own").ports, {})
    kept = backups.back_up_data(instance, lambda _: None)
    (project / ".env").write_text("#" * 1024 * 1024)

    with pytest.raises(
        StackError, match=r"no backup can be written to .*: No space left on device"
    ):
        backups.back_up_data(instance, lambda _: None)

    assert list(backups.folder_of(instance).iterdir()) == [kept]
    assert backups.kind_of(kept) == backups.DATA_KIND


def test_a_first_start_names_why_its_tool_gave_up_and_not_how_it_tidied_up() -> None:
    said = (
        "2026-11-23 07:37:50.213 UTC [1234] FATAL:  could not write to file: No space left on device\n"
        "child process exited with exit code 1\n"
        'initdb: removing data directory "/srv/cluster"\n'
    )

    assert cause_in(said).endswith("FATAL:  could not write to file: No space left on device")
    assert cause_in("one\nlast words\n") == "last words"


def test_a_program_that_does_not_start_for_want_of_room_is_not_told_by_its_last_words_alone(
    small_disk: Path, tmp_path: Path
) -> None:
    # PostgreSQL tidies up as it ends, so some room is there again, and less than it needs.
    instance = Instance.create(small_disk / "home")
    instance.logs.mkdir(exist_ok=True)
    log = instance.logs / "postgres.out.log"
    log.write_text("database system is shut down\n")

    said = failure(instance, "postgres", "did not answer within 60 s")

    assert said == (
        f"postgres did not answer within 60 s, and the disk of {instance.home} is full (0 MiB free); "
        f"make room there (its last words in {log}: database system is shut down)"
    )
    elsewhere = Instance.create(tmp_path / "home")
    assert "disk" not in failure(elsewhere, "postgres", "did not answer").replace(str(tmp_path), "")
