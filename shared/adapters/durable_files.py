"""How does a file come into being all at once, and who may write now?

A draft beside its place is written, synced and renamed, and the folder synced: after a crash there is the old state or
the new one. Writers of one folder take turns under a lock that the kernel frees when its holder dies.

What root writes into another account's folder belongs to that account: services in containers run as one, and must
read and go on with what a person who is root brought in.
"""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from shared.domain.errors import Misconfigured, Unavailable

DRAFT = ".draft"
OWNER_ONLY = 0o600
WRITER_LOCK = "writer.lock"
# What the system says of a disk, or a person's share of one, that holds no more.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class LocalFolder:
    """A `Folder` on a disk of this machine."""

    options = None

    def __init__(self, path: Path) -> None:
        """`path`: made by the first writer."""
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    def names(self) -> list[str]:
        """See `Folder`; a draft that a crash left is one of them."""
        return [
            each.name for each in self._entries() if each.name != WRITER_LOCK and not each.is_dir()
        ]

    def folders(self) -> list[str]:
        """See `Folder`."""
        return sorted(each.name for each in self._entries() if each.is_dir())

    def inside(self, name: str) -> LocalFolder:
        """See `Folder`."""
        return LocalFolder(self._path / name)

    def put(self, name: str, content: bytes | memoryview) -> None:
        """See `Folder`. Raises Unavailable when the disk is full: room may be made, and nothing was changed."""
        try:
            write_whole(self._path / name, content)
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise Unavailable(
                f"market history cannot be written to {self._path}: {error.strerror}; make room there"
            ) from error

    def get(self, name: str) -> bytes:
        """See `Folder`."""
        return (self._path / name).read_bytes()

    def remove(self, name: str) -> None:
        """See `Folder`."""
        (self._path / name).unlink(missing_ok=True)

    @contextmanager
    def sole_writer(self) -> Iterator[None]:
        """See `Folder`."""
        with sole_writer(self._path):
            yield

    def address(self, name: str) -> str:
        """See `Folder`."""
        return str(self._path / name)

    def _entries(self) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self._path) as entries:
                return list(entries)
        except FileNotFoundError:
            return []


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`, which is made where it is missing.

    Raises:
        Misconfigured: it cannot be written to.
    """
    try:
        make_folder(folder)
        handle = os.open(folder / WRITER_LOCK, os.O_RDWR | os.O_CREAT, 0o640)
        _give(handle, folder)
    except OSError as error:
        raise Misconfigured(
            f"market history cannot be written to {folder}: {error.strerror}; mend DATA_DIR"
        ) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def write_whole(path: Path, content: bytes | memoryview, *, mode: int = 0o640) -> None:
    """Make `path` hold `content`, all of it or what was there before; see `whole_file`."""
    with whole_file(path, mode=mode) as out:
        out.write(content)


@contextmanager
def whole_file(path: Path, *, mode: int = 0o640) -> Iterator[BinaryIO]:
    """Write to what becomes `path` at the end of the block; after an error there is what was there before.

    Drafts have names of their own, so that two writers never mix; the last one to end counts.
    """
    handle, draft = tempfile.mkstemp(prefix=f".{path.name}.", suffix=DRAFT, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as out:
            yield out
            out.flush()
            os.fchmod(handle, mode)
            _give(handle, path.parent)
            os.fsync(handle)
        Path(draft).rename(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
    _sync(path.parent)


def make_folder(folder: Path) -> None:
    """Make `folder` and those above it, where they are missing."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        _give(handle, folder.parent)
    finally:
        os.close(handle)


def _give(handle: int, folder: Path) -> None:
    """Let what is open as `handle` belong to whom `folder` belongs, where that is not for root alone to say."""
    if os.geteuid() == 0:
        owner = folder.stat()
        if owner.st_uid != os.fstat(handle).st_uid:
            os.fchown(handle, owner.st_uid, owner.st_gid)


def _sync(folder: Path) -> None:
    """Make the folder's entries survive a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
