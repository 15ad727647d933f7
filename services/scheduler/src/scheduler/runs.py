"""What is one run of a job, and what is it called?

A scheduled run is named after its job and due time, one asked for under an Idempotency-Key after that key. So
asking twice gives the same name, and the same name is never run twice.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any

Figures = dict[str, Any]


class RunState(StrEnum):
    """How far a run has come."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"
    # Too late to be worth running, so it was not run.
    MISSED = "MISSED"
    # The scheduler ended in the middle; not repeated, since nobody knows how far it came.
    INTERRUPTED = "INTERRUPTED"


class RunKind(StrEnum):
    """Who wanted the run."""

    SCHEDULED = "scheduled"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class Run:
    """One run as stored.

    `occurrences` is above 1 only in a MISSED run, which then stands for all due times from `first_due_at`
    to `due_at`. Instants are the venue's; `duration_s` is machine time.
    """

    number: int
    run_id: str
    job_id: str
    kind: RunKind
    state: RunState
    session_on: date
    first_due_at: datetime
    due_at: datetime
    until_at: datetime | None
    occurrences: int
    actor: str
    started_at: datetime | None
    finished_at: datetime | None
    duration_s: float | None
    detail: str
    figures: Figures


@dataclass(frozen=True, slots=True)
class Pause:
    """Since when a job is not run when it is due, by whom, and why."""

    since_at: datetime
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class JobHistory:
    """What is stored of one job."""

    job_id: str
    considered_until_at: datetime
    last: Run | None
    missed: int
    pause: Pause | None = None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The latest of the runs that are too many to be stored one by one."""

    job_id: str
    at: datetime
    state: RunState
    duration_s: float
    detail: str


@dataclass(frozen=True, slots=True)
class ServiceHealth:
    """What one service answered to `GET /health` and `GET /ready`."""

    service: str
    alive: bool
    ready: bool
    checks: dict[str, bool]
    answered_in_s: float | None
    detail: str
    # Of one processor since the last look; None before there are two looks.
    cpu_share: float | None = None
    memory_bytes: int | None = None

    @property
    def state(self) -> str:
        """`ready`, `not ready` or `down`."""
        if self.ready:
            return "ready"
        return "not ready" if self.alive else "down"


@dataclass(frozen=True, slots=True)
class Budget:
    """What a provider lets one key ask; `waits` requests stand in line for it."""

    provider: str
    used: int
    limit: int
    per_s: int
    blocked_why: str
    waits: int


@dataclass(frozen=True, slots=True)
class StoredHealth:
    """The latest answer of a service, and since when it has been like that (the venue's time)."""

    health: ServiceHealth
    checked_at: datetime
    since_at: datetime


def scheduled_run_id(account: str, job_id: str, due_at: datetime) -> str:
    """The one id of the run that is due at `due_at`."""
    return _digest("due", account, job_id, due_at.astimezone(UTC).isoformat())


def requested_run_id(account: str, job_id: str, key: str) -> str:
    """The one id of the run that was asked for under `key`."""
    return _digest("ask", account, job_id, key)


def _digest(kind: str, *parts: str) -> str:
    return f"{kind}-{hashlib.sha256(chr(31).join(parts).encode()).hexdigest()[:24]}"
