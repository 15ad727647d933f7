"""A file appears whole or not at all: whoever reads it never meets a half one."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from shared.domain.errors import InvalidInput


@contextmanager
def whole_file(path: Path | None) -> Iterator[TextIO]:
    """Write to `path`, which is replaced at the end, or to standard output where it is None.

    Only its owner may read it: it tells what somebody holds.

    Raises:
        InvalidInput: it cannot be written there.
    """
    if path is None:
        yield sys.stdout
        return
    try:
        handle, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as out:
            yield out
        Path(draft).replace(path)
    except BaseException as error:
        Path(draft).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise InvalidInput(f"{path} cannot be written: {error.strerror}") from None
        raise


def write_whole(path: Path | None, content: str) -> None:
    """Write `content`; see `whole_file`."""
    with whole_file(path) as out:
        out.write(content)
