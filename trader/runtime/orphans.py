"""Which processes did a supervisor that was killed leave behind?

Every program left a record of its pid, its birth and its executable when it started. A process that
still fits all three is ours and is ended; one that merely got the same number is left alone.
"""

import contextlib
import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trader.runtime.launch import birth_of, executable_of
from trader.runtime.waiting import wait_until

POLITE_WITHIN_S = 10.0
FORCED_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a process was when it started."""

    pid: int
    birth: str
    executable: str

    @property
    def lives(self) -> bool:
        """Whether this very process still runs."""
        return (
            self.birth != ""
            and birth_of(self.pid) == self.birth
            and os.path.realpath(executable_of(self.pid)) == self.executable
        )


def identity_in(record: Path) -> Identity | None:
    """Read one record; None when it is missing or not whole."""
    try:
        return Identity(**json.loads(record.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def left_behind(records: Path) -> dict[str, Identity]:
    """Every recorded process that still runs, by the name of its program."""
    found = {record.stem: identity_in(record) for record in sorted(records.glob("*.json"))}
    return {name: one for name, one in found.items() if one is not None and one.lives}


def sweep(records: Path, signals: Mapping[str, signal.Signals]) -> list[str]:
    """End every recorded process that still runs and forget the records.

    Args:
        records: folder with one record per program, named after it.
        signals: how a program is asked to end, where that is not SIGTERM.
    Returns:
        The names of the programs that were ended.
    """
    # Services first, then what they lean on: a database that leaves first makes noise.
    found = left_behind(records)
    for name, identity in found.items():
        _send(identity, signals.get(name, signal.SIGTERM))
    leaving = list(found.values())
    if not wait_until(lambda: not any(one.lives for one in leaving), POLITE_WITHIN_S):
        for identity in leaving:
            _send(identity, signal.SIGKILL)
        wait_until(lambda: not any(one.lives for one in leaving), FORCED_WITHIN_S)
    for record in records.glob("*.json"):
        record.unlink()
    return list(found)


def _send(identity: Identity, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        if identity.lives:
            os.kill(identity.pid, number)
