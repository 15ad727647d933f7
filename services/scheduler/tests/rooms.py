"""A scheduler with everything around it, and a week in March to keep the time of."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from scheduler.jobs import BeatingJob, catalogue
from scheduler.runs import Run
from scheduler.service import Timekeeper
from scheduler.testing import (
    FakePeers,
    FakeViews,
    MemoryJobStore,
    a_week_in_march,
    fake_actions,
)
from shared.testing.time import CountingIds, FakeClock, InstantTimer

MIDNIGHT = datetime(2026, 3, 2, 5, 0, tzinfo=UTC)


def utc(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 3, day, hour, minute, tzinfo=UTC)


@dataclass
class Room:
    """Its parts, at New York midnight of 2026-03-02."""

    clock: FakeClock = field(default_factory=lambda: FakeClock(MIDNIGHT))
    timer: InstantTimer = field(default_factory=InstantTimer)
    store: MemoryJobStore = field(default_factory=MemoryJobStore)
    peers: FakePeers = field(default_factory=FakePeers)
    views: FakeViews = field(default_factory=FakeViews)

    def timekeeper(self) -> Timekeeper:
        calendar = a_week_in_march()
        actions = fake_actions(self.peers, self.views, self.store, calendar, self.clock)
        jobs = catalogue(actions)
        return Timekeeper(jobs, self.store, calendar, self.clock, self.timer, CountingIds())

    async def look_at(self, timekeeper: Timekeeper, *instants: datetime) -> None:
        for at in instants:
            self.clock.set(at)
            await timekeeper.look("me")

    def of(self, job_id: str) -> list[Run]:
        return [run for run in self.store.rows.values() if run.job_id == job_id]


async def begun(room: Room) -> Timekeeper:
    timekeeper = room.timekeeper()
    await timekeeper.begin()
    return timekeeper


def heart(timekeeper: Timekeeper, job_id: str = "service_health") -> BeatingJob:
    job = timekeeper.jobs[job_id]
    assert isinstance(job, BeatingJob)
    return job


def states(runs: list[Run]) -> list[tuple[str, int]]:
    return [(run.state.value, run.occurrences) for run in runs]
