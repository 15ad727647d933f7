"""Killing any process in the middle of a session changes the time it takes, and nothing else."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis

from shared.crashpoints import UPSTREAM
from shared.testing import crashing
from shared.testing.figures import Figure
from tests.acceptance.replaying import (
    Outcome,
    after_instants,
    assert_ledger_is_the_venues_book,
    at_the_venue,
    outcome,
    replaying,
)
from trader.replay.session import Replay, ReplayPlan
from trader.runtime.instance import DASHBOARD, POSTGRES, REDIS, SERVICES, SIMULATOR
from trader.runtime.waiting import machine_seconds

# Several whole sessions on a busy machine take longer than other tests may.
pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(900)]

# Long enough for entries and exits of all five generated symbols, short enough to run several times.
INSTANTS = 68
# Every place and misfortune takes two instants.
ALL_CELLS_INSTANTS = 110
# From the first orders on, in even steps up to the end.
FIRST_AT, EVERY = 16, 6
PLAN = ReplayPlan(seed=7)
# Small windows, so that most instants have something to decide.
BUSY = {"STRATEGY_PARAMS": "short_window=3,long_window=8"}

Disturb = Callable[[Replay, int], None]


def _play(home: Path, disturb: Disturb, count: int = INSTANTS) -> Outcome:
    return asyncio.run(_play_on(home, disturb, count))


async def _play_on(home: Path, disturb: Disturb, count: int) -> Outcome:
    """Play the session; `disturb` is called while the services are at work, with the instants played."""
    async with replaying(home, PLAN, BUSY) as replay:
        await replay.run(
            until=after_instants(count), on_wait=lambda _: disturb(replay, replay.instants)
        )
        await assert_ledger_is_the_venues_book(replay)
        return outcome(await replay.venue.book())


def nothing_at_all(_replay: Replay, _instants: int) -> None:
    """A session without a fault."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    result = _play(tmp_path_factory.mktemp("undisturbed") / "home", nothing_at_all)
    assert all(result), "the session must trade, or the comparison would be empty"
    return result


def test_each_process_killed_in_turn(undisturbed: Outcome, tmp_path: Path) -> None:
    victims = [*SERVICES, REDIS, POSTGRES, SIMULATOR]
    # Spread over the part of the session in which there are orders and positions.
    due = [(FIRST_AT + EVERY * turn, victim) for turn, victim in enumerate(victims)]

    def kill(replay: Replay, instants: int) -> None:
        if due and instants >= due[0][0]:
            replay.stack.kill(due.pop(0)[1], signal.SIGKILL)

    assert _play(tmp_path / "home", kill) == undisturbed
    assert not due, f"never killed: {due}"


def test_redis_emptied_twenty_times(undisturbed: Outcome, tmp_path: Path) -> None:
    due = list(range(FIRST_AT, INSTANTS, 2))[:20]

    def flush(replay: Replay, instants: int) -> None:
        if due and instants >= due[0]:
            due.pop(0)
            redis_is_wiped(replay)

    assert _play(tmp_path / "home", flush) == undisturbed
    assert not due, f"never emptied at: {due}"


@pytest.mark.prove
def test_each_program_told_to_end_in_turn_ends_by_itself_with_its_work_whole(
    undisturbed: Outcome, tmp_path: Path, figure: Figure
) -> None:
    due = [
        (FIRST_AT + EVERY * turn, name)
        for turn, name in enumerate((*SERVICES, DASHBOARD, SIMULATOR))
    ]

    def end(replay: Replay, instants: int) -> None:
        if not due or instants < due[0][0]:
            return
        name = due.pop(0)[1]
        if name == DASHBOARD:
            replay.stack.start_programs([name])
        began_s = machine_seconds()
        replay.stack.stop_programs([name])
        figure(f"{name}: ended within {machine_seconds() - began_s:.2f} s ({load()})")
        said = (replay.stack.instance.logs / "supervisor.log").read_text()
        assert re.findall(rf"stopped: {name} \((.*)\)", said) == ["exit status 0"]
        if name != DASHBOARD:
            replay.stack.start_programs([name])

    async def scenario() -> Outcome:
        async with replaying(tmp_path / "home", PLAN, BUSY) as replay:
            await replay.run(
                until=after_instants(INSTANTS), on_wait=lambda _: end(replay, replay.instants)
            )
            await assert_ledger_is_the_venues_book(replay)
            result = outcome(await replay.venue.book())
            began_s = machine_seconds()
            replay.stack.stop()
            figure(f"the whole stack: ended within {machine_seconds() - began_s:.2f} s ({load()})")
            return result

    assert asyncio.run(scenario()) == undisturbed
    assert not due, f"never told to end: {due}"


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f}"


# ---------------------------------------------------------------------- deaths at a named place


def nothing(_replay: Replay) -> None:
    """The crash alone."""


def redis_is_wiped(replay: Replay) -> None:
    instance = replay.stack.instance
    with Redis(port=instance.ports.redis, password=instance.settings["REDIS_PASSWORD"]) as redis:
        redis.flushall()


def postgres_restarts(replay: Replay) -> None:
    replay.stack.restart(POSTGRES)


def the_reply_is_lost(replay: Replay) -> None:
    at_the_venue(replay, kind="lose_reply", match={"method": "POST", "path": "/v2/orders"})


def the_stream_is_down(replay: Replay) -> None:
    at_the_venue(replay, kind="drop_stream", delay_s=1)


MISFORTUNES = {
    "alone": nothing,
    "redis wiped": redis_is_wiped,
    "postgres restarted": postgres_restarts,
    "reply lost": the_reply_is_lost,
    "stream down": the_stream_is_down,
}


@dataclass
class Deaths:
    """One service after the other dies at its place, and something else fails while it is away."""

    due: deque[tuple[str, str, str]]
    dying: subprocess.Popen[bytes] | None = None
    next_at: int = FIRST_AT

    def __call__(self, replay: Replay, instants: int) -> None:
        if self.dying is not None:
            self._bury(replay, self.dying, instants)
        elif self.due and instants >= self.next_at:
            service, place, _ = self.due[0]
            replay.stack.stop_programs([service])
            self.dying = subprocess.Popen(
                [sys.executable, crashing.__file__, place, service],
                env={"PATH": os.environ["PATH"], **replay.stack.environment(service)},
                cwd=replay.stack.instance.home,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    def _bury(self, replay: Replay, dying: subprocess.Popen[bytes], instants: int) -> None:
        code = dying.poll()
        if code is None:
            return
        service, place, misfortune = self.due.popleft()
        assert code == 137, f"{service} ended with {code} and never came to {place}"
        MISFORTUNES[misfortune](replay)
        replay.stack.start_programs([service])
        self.dying, self.next_at = None, instants + 2


def test_deaths_between_a_bar_and_its_review(undisturbed: Outcome, tmp_path: Path) -> None:
    cells = [
        ("strategy_engine", "sig.committed", "redis wiped"),
        ("risk_manager", "risk.received", "reply lost"),
    ]
    deaths = Deaths(deque(cells))
    assert _play(tmp_path / "home", deaths) == undisturbed
    assert not deaths.due, f"never died: {deaths.due}"


@pytest.mark.prove
@pytest.mark.timeout(1_800)
def test_every_place_before_the_executor_with_every_misfortune(
    tmp_path: Path, figure: Figure
) -> None:
    undisturbed = _play(tmp_path / "undisturbed", nothing_at_all, ALL_CELLS_INSTANTS)
    cells = [
        (service, place, misfortune)
        for misfortune in MISFORTUNES
        for service, places in UPSTREAM.items()
        for place in places
    ]
    deaths = Deaths(deque(cells))
    assert _play(tmp_path / "home", deaths, ALL_CELLS_INSTANTS) == undisturbed
    assert not deaths.due, f"never died: {deaths.due}"
    figure(f"crash cells before the executor: {len(cells)} passed")
