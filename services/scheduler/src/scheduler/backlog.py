"""What becomes of the occurrences that have come due since somebody last looked?

Only the newest is run, and only while it is worth running. The others are missed, and said to be: as one
record with their number, because a replay may jump over a hundred sessions in a second and must not
flood the table with a row for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from scheduler.schedules import Occurrence


@dataclass(frozen=True, slots=True)
class Missed:
    """Occurrences that were not run, from `first` to `last`."""

    first: Occurrence
    last: Occurrence
    count: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """What to run now, and what to record as missed."""

    run: Occurrence | None
    missed: Missed | None


def put_off(due: Sequence[Occurrence]) -> Backlog:
    """Decide over `due` of a job that is paused: all of it is missed."""
    return Backlog(None, Missed(due[0], due[-1], len(due)) if due else None)


def sort_out(due: Sequence[Occurrence], now: datetime) -> Backlog:
    """Decide over `due` (oldest first, each due_at <= now)."""
    run = due[-1] if due and now < due[-1].until_at else None
    late = due if run is None else due[:-1]
    return Backlog(run, Missed(late[0], late[-1], len(late)) if late else None)
