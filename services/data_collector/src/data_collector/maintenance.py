"""What is done at night, one thing at a time, on somebody's word.

The scheduler, or a person, asks for a task and follows it; asked again while it runs, it is the same run. Nothing is kept
over a restart: who asked sees that the run is gone and asks again, which is safe.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

import structlog

from shared.domain.errors import TradingError
from shared.ports import Clock

_log = structlog.get_logger(__name__)
Figures = Mapping[str, object]
Work = Callable[[], Awaitable[Figures]]


class Task(StrEnum):
    """What can be asked for."""

    COMPACT = "compact"
    CROSS_CHECK = "cross-check"
    RETENTION = "retention"


class RunState(StrEnum):
    """How far a run has come."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Run:
    """The newest run of a task."""

    task: Task
    state: RunState
    asked_at: datetime
    ended_at: datetime | None = None
    error: str | None = None
    figures: Figures | None = None


class Maintenance:
    """Does the tasks in the background, in the order in which they were asked for."""

    def __init__(self, works: Mapping[Task, Work], clock: Clock) -> None:
        self._works = works
        self._clock = clock
        self._waiting: asyncio.Queue[Task] = asyncio.Queue()
        self._runs: dict[Task, Run] = {}

    def ask(self, task: Task) -> Run:
        """Queue `task`, unless it waits or runs already; gives its run."""
        known = self._runs.get(task)
        if known is None or known.ended_at is not None:
            self._runs[task] = Run(task, RunState.QUEUED, self._clock.now())
            self._waiting.put_nowait(task)
        return self._runs[task]

    def newest(self, task: Task) -> Run | None:
        """Its newest run since this process started."""
        return self._runs.get(task)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            task = await self._waiting.get()
            run = replace(self._runs[task], state=RunState.RUNNING)
            self._runs[task] = run
            try:
                figures = await self._works[task]()
            except TradingError as error:
                self._end(run, RunState.FAILED, error=str(error))
            except Exception as error:  # noqa: BLE001  # top of the task: upkeep must not end the live work
                _log.error("maintenance failed", task=task.value, exc_info=error)
                why = f"unexpected: {type(error).__name__}; see the log"
                self._end(run, RunState.FAILED, error=why)
            else:
                self._end(run, RunState.DONE, figures=figures)

    def _end(
        self, run: Run, state: RunState, *, error: str | None = None, figures: Figures | None = None
    ) -> None:
        ended = replace(run, state=state, ended_at=self._clock.now(), error=error, figures=figures)
        self._runs[run.task] = ended
        _log.info("maintenance", task=run.task.value, state=state.value, error=error)
