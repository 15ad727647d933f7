"""Killing any process in the middle of a session changes the time it takes, and nothing else."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis

from tests.acceptance.replaying import (
    Outcome,
    after_instants,
    assert_ledger_is_the_venues_book,
    outcome,
    replaying,
)
from trader.replay.session import Replay, ReplayPlan
from trader.runtime.instance import POSTGRES, REDIS, SERVICES, SIMULATOR

# Several whole sessions on a busy machine take longer than other tests may.
pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(900)]

# Long enough for entries and exits of all five generated symbols, short enough to run several times.
INSTANTS = 150
PLAN = ReplayPlan(seed=7)


def _play(home: Path, disturb: Callable[[Replay, int], None]) -> Outcome:
    return asyncio.run(_play_on(home, disturb))


async def _play_on(home: Path, disturb: Callable[[Replay, int], None]) -> Outcome:
    """Play the session; `disturb` is called while the services are at work, with the instants played."""
    async with replaying(home, PLAN) as replay:
        await replay.run(
            until=after_instants(INSTANTS),
            on_wait=lambda _: disturb(replay, replay.instants),
        )
        await assert_ledger_is_the_venues_book(replay)
        return outcome(await replay.venue.book())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    result = _play(tmp_path_factory.mktemp("undisturbed") / "home", lambda *_: None)
    assert all(result), "the session must trade, or the comparison would be empty"
    return result


def test_each_process_killed_in_turn(undisturbed: Outcome, tmp_path: Path) -> None:
    victims = [*SERVICES, REDIS, POSTGRES, SIMULATOR]
    # Spread over the part of the session in which there are orders and positions.
    due = [(60 + 11 * turn, victim) for turn, victim in enumerate(victims)]

    def kill(replay: Replay, instants: int) -> None:
        if due and instants >= due[0][0]:
            replay.stack.kill(due.pop(0)[1], signal.SIGKILL)

    assert _play(tmp_path / "home", kill) == undisturbed
    assert not due, f"never killed: {due}"


def test_redis_emptied_twenty_times(undisturbed: Outcome, tmp_path: Path) -> None:
    due = list(range(45, 145, 5))

    def flush(replay: Replay, instants: int) -> None:
        if due and instants >= due[0]:
            due.pop(0)
            instance = replay.stack.instance
            with Redis(
                port=instance.ports.redis, password=instance.settings["REDIS_PASSWORD"]
            ) as redis:
                redis.flushall()

    assert _play(tmp_path / "home", flush) == undisturbed
    assert not due, f"never emptied at: {due}"
