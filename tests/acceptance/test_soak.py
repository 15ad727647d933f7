"""Session after session: misfortune after misfortune loses nothing, and calm ones need no more memory than the first."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from shared.testing.figures import Figure
from tests.acceptance.replaying import (
    assert_ledger_is_the_venues_book,
    replaying,
)
from tests.acceptance.test_crashes_change_nothing import BUSY, MISFORTUNES
from trader.replay.session import Replay, ReplayPlan
from trader.runtime.instance import POSTGRES, REDIS, SERVICES, SIMULATOR

pytestmark = [pytest.mark.acceptance, pytest.mark.prove, pytest.mark.timeout(3_600)]

SESSIONS = 6
# What a process may come to hold beyond what it held after two sessions: caches fill to their bounds.
MAY_GROW_BY = 24 * 2**20
PLAN = ReplayPlan(seed=11)


def test_sessions_of_misfortunes_lose_nothing(tmp_path: Path, figure: Figure) -> None:
    chance = np.random.default_rng(11)
    deck = _deck(chance)
    count = len(deck)

    async def scenario() -> None:
        async with replaying(tmp_path, PLAN, BUSY) as replay:
            for _ in range(SESSIONS):
                moments = sorted(chance.integers(10, 380, count // SESSIONS).tolist())

                def disturb(
                    _: str, moments: list[int] = moments, began: int = replay.instants
                ) -> None:
                    if moments and replay.instants - began >= moments[0]:
                        moments.pop(0)
                        deck.pop()(replay)

                await replay.run(on_wait=disturb)
                await assert_ledger_is_the_venues_book(replay)
            summary = await replay.summary()
            assert not deck
            assert summary.unknown_orders == 0
            assert summary.fills > 0
            figure(
                f"soak: {replay.instants} instants, {count} misfortunes, {summary.orders} orders"
            )

    asyncio.run(scenario())


def test_calm_sessions_leave_memory_and_files_as_they_were(tmp_path: Path, figure: Figure) -> None:
    async def scenario() -> None:
        async with replaying(tmp_path, PLAN, BUSY) as replay:
            seen: list[dict[str, tuple[int, int]]] = []
            for _ in range(SESSIONS):
                await replay.run()
                seen.append(_held(replay))
            for service in (*SERVICES, SIMULATOR):
                rss = [held[service][0] for held in seen]
                files = [held[service][1] for held in seen]
                megabytes = ", ".join(f"{one / 2**20:.0f}" for one in rss)
                figure(f"soak: {service:16} MB after each session {megabytes}; files {files}")
                assert files[-1] <= files[1] + 4, f"{service} keeps files open: {files}"
                # The venue remembers every order for ever, as a broker does.
                if service != SIMULATOR:
                    assert rss[-1] <= rss[1] + MAY_GROW_BY, f"{service} grows: {megabytes} MB"

    asyncio.run(scenario())


def _deck(chance: np.random.Generator) -> list[Callable[[Replay], None]]:
    """Everything that goes wrong, in an order drawn by chance."""
    others = [MISFORTUNES[n] for n in MISFORTUNES if n != "alone"] * 10
    # Four times each: after five deaths in ten minutes the supervisor would leave one down, as it should.
    killings = [_killing(victim) for victim in (*SERVICES, REDIS, POSTGRES, SIMULATOR)] * 4
    deck = [*others, *killings]
    chance.shuffle(deck)
    return deck[: len(deck) // SESSIONS * SESSIONS]


def _killing(victim: str) -> Callable[[Replay], None]:
    def kill(replay: Replay) -> None:
        # It may still be coming back from the last one.
        replay.stack.wait_until_answering([victim])
        replay.stack.kill(victim, signal.SIGKILL)

    return kill


def _held(replay: Replay) -> dict[str, tuple[int, int]]:
    """Bytes of memory and count of open files, by program."""
    held = {}
    for name in (*SERVICES, SIMULATOR):
        process = psutil.Process(replay.stack.state_of(name).pid)
        held[name] = (process.memory_info().rss, process.num_fds())
    return held
