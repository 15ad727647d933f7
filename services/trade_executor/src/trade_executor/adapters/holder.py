"""What is this process called, and is another of this machine still there?

A name holds the running of the machine, the namespace of process ids and the id in it. Only who shares the first two
can tell from the third that a holder is gone; of anybody else the lease itself has to tell.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class LocalHolder:
    """See `lease.Holder`."""

    place: str
    pid: int

    @property
    def name(self) -> str:
        """See `lease.Holder`."""
        return f"{self.place}:{self.pid}"

    def is_gone(self, name: str) -> bool:
        """See `lease.Holder`."""
        place, _, pid = name.rpartition(":")
        if place != self.place or "/" not in place or not pid.isdecimal():
            return False
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return True
        except (PermissionError, OverflowError):
            return False
        return False


def this_process() -> LocalHolder:
    """The holder that this process is; where no running of the machine has a name, nobody can be missed."""
    host = socket.gethostname().replace("/", "-").replace(":", "-")
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        return LocalHolder(host, os.getpid())
    return LocalHolder(f"{host}/{boot}/{namespace}", os.getpid())
