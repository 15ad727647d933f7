"""May a file be written where somebody asked for it, and is it written whole?

Looked at before a long run, so that none is lost to a misspelt folder; written beside its place first and moved there, so
that a reader never finds half a file, nor one of two. What is no ordinary file (a device, a pipe) would be put aside by
that, and a file that is read would be lost: both are refused. Standard output is kept for the document alone.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stdout, suppress
from pathlib import Path
from typing import NamedTuple

from shared.domain.errors import InvalidInput


class Target(NamedTuple):
    """A file that was asked for: `name` is what was typed behind `option`."""

    option: str
    name: str

    @property
    def path(self) -> Path:
        """Where it lies, links followed, so that a link stays one."""
        return Path(os.path.realpath(self.name))

    def check(self, *, read: Sequence[str | None] = ()) -> None:
        """Return when it can be written; nothing is left of trying.

        Args:
            read: files that the command reads; None are left out.
        Raises:
            InvalidInput: why it cannot.
        """
        path, asked = self.path, f"{self.option} {self.name[:200]}"
        if not self.name:
            raise InvalidInput(f"{self.option} needs the name of a file")
        try:
            mode = path.stat().st_mode if os.path.lexists(path) else None
            if mode is None and not path.parent.is_dir():
                raise InvalidInput(f"{asked}: there is no folder {path.parent}; make it first")
            if mode is not None and stat.S_ISDIR(mode):
                raise InvalidInput(f"{asked} is a folder; name a file in it")
            if mode is not None and not stat.S_ISREG(mode):
                raise InvalidInput(f"{asked} is no ordinary file; name another")
            if path in {Path(os.path.realpath(each)) for each in read if each}:
                raise InvalidInput(f"{asked} is read by this command; name another file")
            self._beside().touch(exist_ok=False)
            self._beside().unlink()
        except OSError as error:
            raise self._unwritable(error) from error

    def write(self, text: str) -> None:
        """Write `text` beside its place. Raises InvalidInput when that fails."""
        try:
            self._beside().write_text(text, encoding="utf-8")
        except OSError as error:
            raise self._unwritable(error) from error

    def publish(self) -> None:
        """Move what `write` wrote to its place. Raises InvalidInput when that fails."""
        try:
            os.replace(self._beside(), self.path)
        except OSError as error:
            raise self._unwritable(error) from error

    def forget(self) -> None:
        """Remove what `write` left beside its place, if anything is there."""
        with suppress(OSError):
            self._beside().unlink()

    def _beside(self) -> Path:
        return self.path.with_name(f".{self.option.strip('-')}-{os.getpid()}.tmp")

    def _unwritable(self, error: OSError) -> InvalidInput:
        return InvalidInput(f"{self.option} {self.name[:200]} cannot be written: {error.strerror}")


def check_targets(targets: Sequence[Target], *, read: Sequence[str | None] = ()) -> None:
    """Return when all of `targets` can be written, each to a file of its own.

    Raises:
        InvalidInput: why not.
    """
    for target in targets:
        target.check(read=read)
    if len({target.path for target in targets}) < len(targets):
        options = " and ".join(target.option for target in targets)
        raise InvalidInput(f"{options} name the same file; name two")


def write_targets(texts: Sequence[tuple[Target, str]]) -> None:
    """Write every text to its target, or none when one cannot be written.

    Raises:
        InvalidInput: which, and why.
    """
    try:
        for target, text in texts:
            target.write(text)
        for target, _ in texts:
            target.publish()
    finally:
        for target, _ in texts:
            target.forget()


def document_alone(is_json: bool) -> AbstractContextManager[object]:
    """While it lasts, what somebody's strategy prints goes to standard error if a document is to follow."""
    return redirect_stdout(sys.stderr) if is_json else nullcontext()
