"""Market data is kept whole while the collector goes on writing."""

import errno
import os
import stat
import tarfile
import threading
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from shared.adapters.parquet import ParquetBars
from shared.domain.timeframes import Timeframe
from shared.testing.bar_stores import NOON, a_bar, a_block
from trader.runtime import backups
from trader.runtime.errors import AlreadyRunning, StackError
from trader.runtime.instance import Instance
from trader.runtime.restoring import restore_data

APPENDS = 150


def append(store: ParquetBars, minute: int) -> None:
    """One bar; of sixteen files each such append makes one."""
    store.append(a_block(a_bar(minute=minute)), provider="test", fetched_at=NOON)


def test_a_backup_taken_while_files_are_merged_holds_every_bar_from_before_it(
    tmp_path: Path,
) -> None:
    settings = {"RETENTION_BACKUPS": "1000"}
    instance = Instance.create(tmp_path / "home", settings=settings, project=tmp_path)
    store = ParquetBars(instance.home / "parquet" / "paper")
    append(store, 0)

    def collect() -> None:
        for minute in range(1, APPENDS):
            append(store, minute)

    collector = threading.Thread(target=collect)
    collector.start()
    while True:
        (before,) = store.contents(Timeframe.MINUTE)
        file = backups.back_up_data(instance, lambda _: None)
        if not collector.is_alive():
            break

    restore_data(instance, file, lambda _: None)

    (restored,) = store.contents(Timeframe.MINUTE)
    assert before.bars <= restored.bars <= APPENDS
    assert restored.last_at == NOON + timedelta(minutes=restored.bars)
    assert not any(instance.home.glob("backups/draft-*"))


def test_the_newest_backups_stay_however_quickly_they_follow_each_other(tmp_path: Path) -> None:
    settings = {"RETENTION_BACKUPS": "2"}
    instance = Instance.create(tmp_path / "home", settings=settings, project=tmp_path)

    # Within a second or two, so that what is removed has held the name of the moment.
    made = [backups.back_up_data(instance, lambda _: None) for _ in range(6)]

    assert sorted(set(made)) == made
    assert sorted(backups.folder_of(instance).iterdir()) == made[-2:]


def test_a_backup_made_before_the_clock_was_set_back_is_older_than_the_next(tmp_path: Path) -> None:
    instance = Instance.create(tmp_path / "home", project=tmp_path)
    ahead = backups.folder_of(instance) / "data-20991231T235959Z.tar"
    ahead.touch()
    (backups.folder_of(instance) / "data-20993131T000000Z.tar").touch()

    made = backups.back_up_data(instance, lambda _: None)

    assert made.name == "data-21000101T000000Z.tar"
    assert backups.newest(instance, backups.DATA_KIND) == made


def test_history_elsewhere_is_backed_up_and_put_back_where_it_was(tmp_path: Path) -> None:
    settings = {"DATA_DIR": "elsewhere/bars"}
    instance = Instance.create(tmp_path / "home", settings=settings, project=tmp_path)
    store = ParquetBars(tmp_path / "elsewhere" / "bars" / "paper")
    append(store, 0)
    kept = backups.back_up_data(instance, lambda _: None)
    append(store, 1)

    restore_data(instance, kept, lambda _: None)

    assert store.contents(Timeframe.MINUTE)[0].bars == 1
    before = ParquetBars(tmp_path / "elsewhere" / "bars" / "before_restore" / "paper")
    assert before.contents(Timeframe.MINUTE)[0].bars == 2


class Restoring:
    """A home with the history of two accounts: one bar each in the backup, two each since."""

    def __init__(self, folder: Path) -> None:
        self.instance = Instance.create(folder / "home", project=folder)
        for account in ("live", "paper"):
            append(ParquetBars(self.instance.parquet / account), 0)
        self.file = backups.back_up_data(self.instance, lambda _: None)
        for account in ("live", "paper"):
            append(ParquetBars(self.instance.parquet / account), 1)

    def restore(self) -> list[str]:
        """What it said."""
        said: list[str] = []
        restore_data(self.instance, self.file, said.append)
        return said

    def bars(self, below: str = ".") -> list[int]:
        """How many each account has."""
        folders = (self.instance.parquet / below / account for account in ("live", "paper"))
        return [ParquetBars(at).contents(Timeframe.MINUTE)[0].bars for at in folders]


@pytest.fixture
def restoring(tmp_path: Path) -> Restoring:
    return Restoring(tmp_path)


def renames_fail(
    monkeypatch: pytest.MonkeyPatch, error: int, when: Callable[[Path, Path], bool]
) -> None:
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if when(self, target):
            raise OSError(error, os.strerror(error), f"{self}", None, f"{target}")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)


def test_two_restores_of_market_data_do_not_meet(restoring: Restoring) -> None:
    refused = []

    def say(words: str) -> None:
        with pytest.raises(AlreadyRunning, match="another restore or drill is under way"):
            restoring.restore()
        refused.append(words)

    restore_data(restoring.instance, restoring.file, say)

    assert refused
    assert (restoring.bars(), restoring.bars("before_restore")) == ([1, 1], [2, 2])


def test_history_on_a_disk_of_its_own_is_put_back_there(
    restoring: Restoring, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount = restoring.instance.parquet
    # As the kernel answers where a disk is mounted, and between two of them.
    renames_fail(monkeypatch, errno.EBUSY, lambda source, target: mount in (source, target))
    renames_fail(
        monkeypatch,
        errno.EXDEV,
        lambda source, target: source.is_relative_to(mount) != target.is_relative_to(mount),
    )
    (mount / "lost+found").mkdir()

    said = restoring.restore()

    assert (restoring.bars(), restoring.bars("before_restore")) == ([1, 1], [2, 2])
    assert said[-1] == f"what was there before is in {mount / 'before_restore'}"
    names = ["before_restore", "live", "lost+found", "paper"]
    assert sorted(path.name for path in mount.iterdir()) == names


def test_what_a_restore_kept_is_in_no_later_backup(restoring: Restoring) -> None:
    restoring.restore()

    kept = backups.back_up_data(restoring.instance, lambda _: None)

    with tarfile.open(kept) as archive:
        assert not [name for name in archive.getnames() if "before_restore" in name]
        assert "parquet/live" in archive.getnames()


def test_a_restore_that_fails_half_way_leaves_all_as_it_was(
    restoring: Restoring, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = restoring.instance.parquet
    restoring.restore()
    append(ParquetBars(place / "paper"), 2)
    with monkeypatch.context() as broken:
        # One account's folder is a mount of its own: the other has changed places by then.
        renames_fail(broken, errno.EBUSY, lambda source, _: source == place / "paper")
        with pytest.raises(StackError, match="cannot be unpacked"):
            restoring.restore()

    assert (restoring.bars(), restoring.bars("before_restore")) == ([1, 2], [2, 2])
    names = ["before_restore", "live", "paper"]
    assert sorted(path.name for path in place.iterdir()) == names


def test_what_a_restore_had_moved_when_it_was_killed_outlives_the_next_ones(
    restoring: Restoring, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = restoring.instance.parquet
    with monkeypatch.context() as killed:
        moved = count()
        # From the third on nothing moves any more, nor back.
        renames_fail(killed, errno.EIO, lambda source, target: next(moved) >= 2)
        with pytest.raises(StackError):
            restoring.restore()
        assert next(moved) > 2

    for _ in range(2):
        said = restoring.restore()

    [left] = place.glob("before_restore.broken-off-*")
    assert (restoring.bars(), restoring.bars(left.name)) == ([1, 1], [2, 2])
    assert said[-1].startswith(f"a restore was broken off: take from {left}")


def test_drafts_of_a_writer_that_was_killed_go_with_the_next_backup_and_those_of_now_stay(
    tmp_path: Path,
) -> None:
    instance = Instance.create(tmp_path / "home", project=tmp_path)
    folder = backups.folder_of(instance)
    for name in ("draft-old", "draft-new"):
        (folder / name).mkdir()
        (folder / name / "database.dump").touch()
    for name in ("database-1.draft", "database-2.draft"):
        (folder / name).touch()
    long_ago = (NOON - timedelta(days=900)).timestamp()
    for name in ("draft-old", "database-1.draft"):
        os.utime(folder / name, (long_ago, long_ago))

    kept = backups.back_up_data(instance, lambda _: None)

    left = sorted(path.name for path in folder.iterdir())
    assert left == sorted([kept.name, "database-2.draft", "draft-new"])


def test_where_files_take_no_second_name_a_backup_is_written_all_the_same_and_replaces_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), f"{target}")

    # As exFAT and some network shares answer.
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    (tmp_path / ".env").write_text("# one\n")
    instance = Instance.create(tmp_path / "home", project=tmp_path)

    kept = [backups.back_up_data(instance, lambda _: None) for _ in range(3)]

    assert sorted(backups.folder_of(instance).iterdir()) == sorted(set(kept))
    assert len(set(kept)) == 3
    for file in kept:
        assert backups.kind_of(file) == backups.DATA_KIND
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_settings_of_a_stack_with_a_home_of_its_own_are_the_ones_that_are_kept(
    tmp_path: Path,
) -> None:
    instance = Instance.create(tmp_path / "home", project=tmp_path)
    (tmp_path / ".env").write_text("TRADING_SYMBOLS=AAPL\n")
    own = instance.home / ".env"
    own.write_text("TRADING_SYMBOLS=MSFT\n")

    file = backups.back_up_data(instance, lambda _: None)
    own.unlink()
    restored = restore_data(instance, file, lambda _: None)

    assert restored == instance.home / ".env.restored"
    assert restored.read_text() == "TRADING_SYMBOLS=MSFT\n"
