"""Where does an export go: to a file that appears whole or not at all, or to standard output?"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from shared.adapters import durable_files
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
        with durable_files.whole_file(path, mode=durable_files.OWNER_ONLY) as file:
            out = io.TextIOWrapper(file, encoding="utf-8", newline="")
            yield out
            # Flushed, and left open for whoever closes the file below it.
            out.detach()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}") from None


def write_whole(path: Path | None, content: str) -> None:
    """Write `content`; see `whole_file`."""
    with whole_file(path) as out:
        out.write(content)
