"""Where does time come from?

The only module that asks the machine for it. A replay's services read the venue's time from a small file that
the simulator writes before it tells anybody what happened then: eight bytes, little-endian, signed
microseconds since the Unix epoch. One aligned read of eight bytes is never half old and half new.
"""

from __future__ import annotations

import os
import struct
import time
from datetime import UTC, datetime
from pathlib import Path

from shared.domain.bar_blocks import from_epoch_us
from shared.domain.errors import Misconfigured
from shared.ports import Clock

_INSTANT = struct.Struct("<q")


class WallClock:
    """The machine's own time, for live trading."""

    def now(self) -> datetime:
        """See `Clock`."""
        return datetime.now(UTC)


class FileClock:
    """The venue's time of a replay, read from its clock file at each call."""

    def __init__(self, path: Path) -> None:
        """Raises Misconfigured when the file is not there: a guess would be another time."""
        try:
            self._file = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise Misconfigured(
                f"CLOCK_FILE {path} cannot be read ({error.strerror}); start the simulator first"
            ) from None

    def now(self) -> datetime:
        """See `Clock`."""
        raw = os.pread(self._file, _INSTANT.size, 0)
        if len(raw) != _INSTANT.size:
            raise Misconfigured("CLOCK_FILE is shorter than eight bytes; start the simulator first")
        return from_epoch_us(_INSTANT.unpack(raw)[0])


class MonotonicTimer:
    """Machine time that never steps."""

    def monotonic_s(self) -> float:
        """See `Timer`."""
        return time.monotonic()

    async def sleep(self, pause_s: float) -> None:
        """See `Timer`."""
        # Imported here, as below: whoever only asks for the date needs no event loop.
        import asyncio

        await asyncio.sleep(pause_s)


class RandomIds:
    """Unguessable ids for requests and jobs."""

    def new(self) -> str:
        """See `Ids`."""
        import uuid

        return uuid.uuid4().hex


def clock_for(clock_file: Path | None) -> Clock:
    """The venue's clock of a replay when there is a file, else the machine's."""
    return WallClock() if clock_file is None else FileClock(clock_file)
