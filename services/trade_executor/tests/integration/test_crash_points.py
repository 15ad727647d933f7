"""A process that dies at any place between a decision and its fill leaves nothing doubled, lost or invented.

Real processes on real servers; the judge is the venue's own book. Each place is passed alone and while something else
fails as well. `make test` tries a few cells, `make prove` all of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from redis import Redis

from services.trade_executor.tests.integration.processes import OnRig, Program, Rig, on_rig
from shared.crashpoints import EXECUTOR
from shared.domain.orders import Side
from shared.testing.figures import Figure
from trader.runtime.instance import POSTGRES
from trader.testing.servers import Servers, SettingsFor

Misfortune = Callable[[Rig], Awaitable[None]]


async def nothing(_rig: Rig) -> None:
    """The crash alone."""


async def redis_is_wiped(rig: Rig) -> None:
    instance = rig.servers.instance
    password = instance.settings["REDIS_PASSWORD"]
    with Redis(port=instance.ports.redis, password=password) as redis:
        redis.flushall()


async def postgres_restarts(rig: Rig) -> None:
    # Not killed: after five deaths in ten minutes the supervisor would leave it down, as it should.
    rig.servers.stack.restart(POSTGRES)
    rig.servers.stack.wait_until_answering([POSTGRES])


async def the_reply_is_lost(rig: Rig) -> None:
    await rig.fault(kind="lose_reply", match={"method": "POST", "path": "/v2/orders"})


async def the_stream_is_down(rig: Rig) -> None:
    await rig.fault(kind="drop_stream", delay_s=3)


# What fails beside the crash, and whether that is before the process dies or after.
MISFORTUNES: dict[str, tuple[Misfortune, bool]] = {
    "alone": (nothing, True),
    "redis wiped": (redis_is_wiped, False),
    "postgres restarted": (postgres_restarts, False),
    "reply lost": (the_reply_is_lost, True),
    "stream down": (the_stream_is_down, True),
}

_ON_THE_WAY_UP = frozenset({"recon.started", "recon.applied", "exec.received"})
_AFTER_A_REPLY = frozenset({"post.replied", "ack.committed"})
_WHEN_IT_FILLS = frozenset({"fill.received", "fill.committed"})
# Going out means to cancel the stop and the target first.
_WHEN_IT_LEAVES = frozenset({"cancel.sending", "cancel.replied", "cancel.committed"})


@pytest.fixture
def play(servers: Servers, settings_for: SettingsFor, account: str, tmp_path: Path) -> OnRig:
    return on_rig(servers, settings_for, account, tmp_path)


async def live_through(rig: Rig, cell: int, place: str, misfortune: str) -> None:
    """Enter with five shares, die at `place`, come back; then be out again. One order for each wish."""
    happens, is_before = MISFORTUNES[misfortune]
    if misfortune == "reply lost" and place in _AFTER_A_REPLY:
        is_before = False  # it is the next POST, by whoever comes after, that gets no answer
    orders = len(await rig.our_orders())
    if is_before:
        await happens(rig)
    if place in _ON_THE_WAY_UP:
        await rig.review(f"in-{cell}")
        crashing = rig.start_executor(crash_at=place)
    else:
        crashing = rig.start_executor(crash_at=place)
        await rig.until_ready(crashing)
        await rig.review(f"in-{cell}")
    if place in _WHEN_IT_FILLS or place in _WHEN_IT_LEAVES:
        await rig.until_orders(orders + 1)
        await rig.advance(3)
    if place in _WHEN_IT_LEAVES:
        await rig.until(rig.books_agree, "the books agree")
        await rig.review(f"out-{cell}", wish="exit")
    assert await rig.until_ended(crashing) == 137
    if not is_before:
        await happens(rig)
    whole = rig.start_executor()
    await rig.until_ready(whole)
    is_leaving = place in _WHEN_IT_LEAVES
    await rig.until_orders(orders + 1 + is_leaving)
    await rig.settle()
    await _go_out(rig, whole, cell, is_out=is_leaving)
    assert len(await rig.our_orders()) == orders + 2
    assert (await rig.book())["positions"] == {}
    posts = await rig.rows(
        "SELECT client_order_id, posts, probes FROM trade_executor.v_intents WHERE account = :a"
    )
    assert all(row.posts <= 1 + row.probes for row in posts)


async def _go_out(rig: Rig, whole: Program, cell: int, *, is_out: bool) -> None:
    if not is_out:
        await rig.review(f"out-{cell}", wish="exit")
        await rig.until(_is_flat_when_it_fills(rig, cell), "the exit is at the venue")
    await rig.settle()
    whole.kill()


def _is_flat_when_it_fills(rig: Rig, cell: int) -> Callable[[], Awaitable[bool]]:
    async def sent() -> bool:
        rows = await rig.rows(
            "SELECT state FROM trade_executor.v_intents WHERE account = :a AND signal_id = :s",
            s=f"out-{cell}",
        )
        return bool(rows) and rows[0].state == "ACKED"

    return sent


def test_a_few_places_with_a_few_misfortunes(play: OnRig) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.advance(3)
        await live_through(rig, 0, "post.sent", "redis wiped")
        await live_through(rig, 1, "fill.received", "reply lost")

    play(scenario)


@pytest.mark.prove
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("misfortune", MISFORTUNES)
def test_every_place_with_every_misfortune(play: OnRig, misfortune: str, figure: Figure) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.advance(3)
        for cell, place in enumerate(EXECUTOR):
            await live_through(rig, cell, place, misfortune)

    play(scenario)
    figure(f"crash cells in the executor, {misfortune}: {len(EXECUTOR)} passed")


@pytest.mark.prove
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("misfortune", ["alone", "reply lost"])
def test_every_place_on_the_way_into_a_short_position_and_out(
    play: OnRig, misfortune: str, figure: Figure
) -> None:
    async def scenario(rig: Rig) -> None:
        rig.opens = Side.SELL
        await rig.advance(3)
        for cell, place in enumerate(EXECUTOR):
            await live_through(rig, cell, place, misfortune)

    play(scenario)
    figure(f"crash cells of short sales in the executor, {misfortune}: {len(EXECUTOR)} passed")
