"""How do other processes know what time it is at the venue?

Eight bytes in a file, little-endian, signed microseconds since the Unix epoch, overwritten in place by one
aligned write before anybody hears of what happened at that time. `shared.adapters.clocks` reads it.
"""

from __future__ import annotations

import os
import struct
from datetime import datetime
from pathlib import Path

from shared.adapters.durable_files import OWNER_ONLY, write_whole
from shared.domain.bar_blocks import to_epoch_us
from shared.domain.errors import Misconfigured

_INSTANT = struct.Struct("<q")


class ClockFile:
    """The file, open for writing; made whole at first, so that a reader never finds it short."""

    def __init__(self, path: Path, at: datetime) -> None:
        try:
            if not path.exists() or path.stat().st_size != _INSTANT.size:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(path, _INSTANT.pack(to_epoch_us(at)), mode=OWNER_ONLY)
            self._fd = os.open(path, os.O_WRONLY)
        except OSError as error:
            raise Misconfigured(
                f"clock file {path} cannot be written ({error.strerror}); check --clock-file"
            ) from None
        self.set(at)

    def set(self, at: datetime) -> None:
        """Make `at` the venue's time for all readers."""
        os.pwrite(self._fd, _INSTANT.pack(to_epoch_us(at)), 0)

    def close(self) -> None:
        """Let go of the file; it keeps the last instant."""
        os.close(self._fd)
