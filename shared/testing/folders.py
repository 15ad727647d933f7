"""The laws that every `Folder` keeps, on a disk and in a bucket alike."""

from __future__ import annotations

import threading

import pytest

from shared.ports import Folder


class FolderContract:
    """What every folder does; a test class inherits it and gives a `folder` fixture, not yet written to."""

    def test_what_was_put_is_listed_and_read_back_whole(self, folder: Folder) -> None:
        with folder.sole_writer():
            folder.put("a.parquet", b"first")
            folder.put("b.parquet", memoryview(b"second"))

        assert sorted(folder.names()) == ["a.parquet", "b.parquet"]
        assert folder.get("b.parquet") == b"second"

    def test_putting_again_replaces_the_whole(self, folder: Folder) -> None:
        with folder.sole_writer():
            folder.put("a", b"a longer text")
            folder.put("a", b"new")

        assert folder.get("a") == b"new"

    def test_a_folder_that_nobody_wrote_to_is_empty(self, folder: Folder) -> None:
        assert folder.names() == []
        assert folder.folders() == []
        with pytest.raises(FileNotFoundError):
            folder.get("a")

    def test_what_was_removed_is_gone_and_may_be_removed_again(self, folder: Folder) -> None:
        with folder.sole_writer():
            folder.put("a", b"text")
            folder.remove("a")
            folder.remove("a")

        assert folder.names() == []
        with pytest.raises(FileNotFoundError):
            folder.get("a")

    def test_folders_inside_are_told_apart_from_files(self, folder: Folder) -> None:
        for name in ("2Min", "1Min"):
            with folder.inside(name).sole_writer():
                folder.inside(name).put("a", name.encode())
        with folder.sole_writer():
            folder.put("b", b"text")

        assert folder.folders() == ["1Min", "2Min"]
        assert folder.names() == ["b"]
        assert folder.inside("2Min").get("a") == b"2Min"

    def test_writers_take_turns(self, folder: Folder) -> None:
        def count() -> None:
            for _ in range(4):
                with folder.sole_writer():
                    folder.put("count", str(int(folder.get("count")) + 1).encode())

        with folder.sole_writer():
            folder.put("count", b"0")
        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert folder.get("count") == b"16"
