"""How does the scheduler keep time?

It looks at the venue's clock once a second of machine time and lets pure rules say what has become due. What
is due is queued in the database before any of it runs, so a crash loses nothing and a second look queues
nothing twice; runs are then taken from the queue one after another. A job that beats in machine time runs
beside that, so that a slow job never hides a dead service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import date, datetime, timedelta

import structlog

from scheduler.backlog import put_off, sort_out
from scheduler.jobs import BeatingJob, CalendarJob, Job
from scheduler.market import market_phase, next_in_phases
from scheduler.ports import JobStore
from scheduler.runs import Figures, Heartbeat, Run, RunState
from shared.domain.calendar import TradingCalendar
from shared.domain.errors import RateLimited, Retryable, TradingError
from shared.ports import Clock, Ids, Timer

_log = structlog.get_logger(__name__)
_POLL_S = 1.0
# A beating job that a person asked for is tried once, since it comes again by itself. So long, so that a call that gets
# no answer (30 s) says so in its own words.
_ASKED_WITHIN_S = 35.0
_TRIES = 4
_STORE_TRIES = 20
_LONGEST_DETAIL = 500
# So long the first beat of a job waits for a service that is just starting, and for half of its own pause at most.
_PATIENCE_S = 60.0
_LONGEST_PAUSE_S = 8.0


class Nudge:
    """Wakes the loop before its next look, when a person has asked for a run."""

    def __init__(self, timer: Timer) -> None:
        self._timer = timer
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Have the loop look now."""
        self._asked.set()

    async def wait(self, pause_s: float) -> None:
        """Return after `pause_s`, or as soon as somebody has asked."""
        waits = [
            asyncio.ensure_future(self._timer.sleep(pause_s)),
            asyncio.ensure_future(self._asked.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        self._asked.clear()


class Timekeeper:
    """Runs the jobs, each when it is due and no more than once."""

    def __init__(
        self,
        jobs: Sequence[Job],
        store: JobStore,
        calendar: TradingCalendar,
        clock: Clock,
        timer: Timer,
        ids: Ids,
    ) -> None:
        self._jobs = {job.job_id: job for job in jobs}
        self._store = store
        self._calendar = calendar
        self._clock = clock
        self._timer = timer
        self._ids = ids
        self._considered: dict[str, datetime] = {}
        self._due: dict[str, datetime | None] = {}
        self._beaten_at_s: dict[str, float] = {}
        self._beaten_at: dict[str, datetime] = {}
        self.nudge = Nudge(timer)

    @property
    def jobs(self) -> dict[str, Job]:
        """All jobs by id."""
        return self._jobs

    def next_due_at(self, job: Job) -> datetime | None:
        """When `job` is due next by the venue's clock; None of one that beats in machine time now."""
        now = self._clock.now()
        if isinstance(job, CalendarJob):
            found = job.schedule.next_after(self._calendar, now)
            return None if found is None else found.due_at
        if not isinstance(job, BeatingJob) or job.phases is None:
            return None
        from_at, before = now, self._beaten_at.get(job.job_id)
        if job.by_venue and before is not None:
            from_at = max(now, before + timedelta(seconds=job.every_s))
        due_at = next_in_phases(self._calendar, from_at, job.phases)
        return due_at if job.by_venue or due_at != now else None

    def next_beat_in_s(self, job: BeatingJob) -> float:
        """Seconds of machine time until `job` runs next; 0 before its first run."""
        beaten_s = self._beaten_at_s.get(job.job_id)
        if beaten_s is None:
            return 0.0
        return max(0.0, beaten_s + job.every_s - self._timer.monotonic_s())

    async def keep_time(self) -> None:
        """Run what is due and what is asked for, as the account's only scheduler, until cancelled."""
        pause_s = 0.5
        while True:
            try:
                async with self._store.alone() as prove_alone:
                    runner = await self.begin()
                    pause_s = 0.5
                    while True:
                        await prove_alone()
                        await self.look(runner)
                        await self.nudge.wait(_POLL_S)
            except Retryable as error:
                _log.warning("jobs wait", reason=str(error))
            await self._timer.sleep(pause_s)
            pause_s = min(pause_s * 2, 5.0)

    async def begin(self) -> str:
        """Take up the jobs where they were left; returns the name under which runs are taken."""
        self._considered = await self._store.begin(list(self._jobs), self._clock.now())
        self._due = {}
        return self._ids.new()

    async def look(self, runner: str) -> None:
        """Queue what has become due by now, then run the queue empty."""
        for job in self._jobs.values():
            if isinstance(job, CalendarJob):
                await self._queue_due(job)
        while (run := await self._store.take(runner, self._clock.now())) is not None:
            await self._run(run)

    async def _queue_due(self, job: CalendarJob) -> None:
        now = self._clock.now()
        after = self._considered[job.job_id]
        if now < after:
            # A clock that ran ahead was set back. What has run has its name and is not run again; without this nothing
            # would be due before the clock has come to where it had been.
            await self._store.settle(job.job_id, put_off(()), now)
            self._considered[job.job_id] = after = now
            self._due.pop(job.job_id, None)
        if job.job_id not in self._due:
            following = job.schedule.next_after(self._calendar, after)
            self._due[job.job_id] = None if following is None else following.due_at
        due_at = self._due[job.job_id]
        if due_at is None or now < due_at:
            return
        due = job.schedule.between(self._calendar, after, now)
        is_paused = job.job_id in await self._store.paused()
        backlog = put_off(due) if is_paused else sort_out(due, now)
        await self._store.settle(job.job_id, backlog, now)
        self._considered[job.job_id] = now
        del self._due[job.job_id]
        if backlog.missed is not None:
            _log.warning(
                "job missed",
                job=job.job_id,
                occurrences=backlog.missed.count,
                last_due_at=backlog.missed.last.due_at.isoformat(),
                paused=is_paused,
            )

    async def _run(self, run: Run) -> None:
        job = self._jobs.get(run.job_id)
        began_s = self._timer.monotonic_s()
        if job is None:
            # Queued by a build that had this job.
            state, detail, figures = RunState.FAILED, "this build has no such job", Figures()
        else:
            state, detail, figures = await self._attempt(job, run)
        log = _log.info if state is RunState.DONE else _log.error
        log("job ran", job=run.job_id, run_id=run.run_id, outcome=state.value, detail=detail)
        duration_s = self._timer.monotonic_s() - began_s
        await self._store_end(run, state, duration_s, detail, figures)

    async def _store_end(
        self, run: Run, state: RunState, duration_s: float, detail: str, figures: Figures
    ) -> None:
        # A run whose end is not stored counts as interrupted, so a restarting database is waited for.
        for attempt in range(1, _STORE_TRIES + 1):
            try:
                await self._store.finish(run, state, self._clock.now(), duration_s, detail, figures)
            except Retryable:
                if attempt == _STORE_TRIES:
                    raise
                await self._timer.sleep(1.0)
            else:
                return

    async def _attempt(self, job: Job, run: Run) -> tuple[RunState, str, Figures]:
        """Do the work, again after what may pass by itself as long as the run is worth it.

        The queue stands still meanwhile, so all tries and pauses together have the time that the job has.
        """
        pause_s, began_s, before = 1.0, self._timer.monotonic_s(), ""
        within_s, tries = (
            (job.within_s, _TRIES) if isinstance(job, CalendarJob) else (_ASKED_WITHIN_S, 1)
        )
        for attempt in range(1, tries + 1):
            left_s = began_s + within_s - self._timer.monotonic_s()
            try:
                async with asyncio.timeout(left_s):
                    figures = await job.work(run.session_on)
                return RunState.DONE, _words(figures), figures
            except Retryable as error:
                late = run.until_at is not None and self._clock.now() >= run.until_at
                left_s = began_s + within_s - self._timer.monotonic_s()
                if attempt == tries or late or left_s <= pause_s:
                    return RunState.FAILED, str(error)[:_LONGEST_DETAIL], {}
                before = f"; before that: {error}"
            except TradingError as error:
                return RunState.FAILED, str(error)[:_LONGEST_DETAIL], {}
            except TimeoutError:
                why = f"gave up after {within_s:g} s{before}"
                return RunState.FAILED, why[:_LONGEST_DETAIL], {}
            except Exception as error:  # noqa: BLE001  # the top of the job: the others go on
                _log.exception("job broke", job=job.job_id)
                return RunState.FAILED, f"broke: {type(error).__name__}; see the log", {}
            await self._timer.sleep(pause_s)
            pause_s *= 2
        raise AssertionError("unreachable: the loop returns")

    async def keep_beating(self, job: BeatingJob) -> None:
        """Run `job` every so often, and as soon as a phase begins in which it works, until cancelled."""
        while True:
            if self.is_due(job) and await self.is_awake(job):
                await self.beat(job)
            await self._timer.sleep(min(_POLL_S, self.next_beat_in_s(job) or _POLL_S))

    def is_due(self, job: BeatingJob) -> bool:
        """Whether its time has passed since it ran last, by its own clock; a clock that was set back does not stop it."""
        before = self._beaten_at.get(job.job_id)
        if not job.by_venue or before is None:
            return self.next_beat_in_s(job) == 0
        now = self._clock.now()
        return now < before or now - before >= timedelta(seconds=job.every_s)

    async def is_awake(self, job: BeatingJob) -> bool:
        """Whether the market's phase has work for `job`, and nobody has paused it."""
        if job.phases is None:
            return True
        if market_phase(self._calendar, self._clock.now()) not in job.phases:
            return False
        try:
            return job.job_id not in await self._store.paused()
        except Retryable:
            return False

    async def beat(self, job: BeatingJob) -> None:
        """Run `job` once, the first time as soon as whom it asks is ready, and store how it went."""
        now = self._clock.now()
        work = self._once_ready if job.job_id not in self._beaten_at_s else self._at_once
        began_s = self._beaten_at_s[job.job_id] = self._timer.monotonic_s()
        self._beaten_at[job.job_id] = now
        try:
            async with asyncio.timeout(job.every_s):
                figures = await work(job)
            state, detail = RunState.DONE, _words(figures)
        except TradingError as error:
            state, detail = RunState.FAILED, str(error)[:_LONGEST_DETAIL]
        except TimeoutError:
            state, detail = RunState.FAILED, f"gave up after {job.every_s:g} s"
        duration_s = self._timer.monotonic_s() - began_s
        try:
            await self._store.beat(Heartbeat(job.job_id, now, state, duration_s, detail))
        except Retryable as error:
            _log.warning("heartbeat not stored", job=job.job_id, reason=str(error))

    async def _at_once(self, job: BeatingJob) -> Figures:
        return await job.work(self.day_of_request())

    async def _once_ready(self, job: BeatingJob) -> Figures:
        """The work of a first beat. A service that has just been started stands by: no failure until that lasts."""
        pause_s, left_s = 1.0, min(_PATIENCE_S, job.every_s / 2)
        while True:
            try:
                return await self._at_once(job)
            except RateLimited:
                raise
            except Retryable:
                if left_s < pause_s:
                    raise
            await self._timer.sleep(pause_s)
            left_s -= pause_s
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def day_of_request(self) -> date:
        """The exchange day that a run asked for now is about: the latest session that has opened."""
        now = self._clock.now()
        session = self._calendar.last_session(now) or self._calendar.next_session(now)
        return session.on


def _words(figures: Figures) -> str:
    """What a run did, for people; of a beat it is all that is stored. Lists and the like stay among the figures."""
    plain = [
        f"{name} {value}"
        for name, value in figures.items()
        if isinstance(value, str | int | float | bool)
    ]
    return ", ".join(plain)[:_LONGEST_DETAIL]
