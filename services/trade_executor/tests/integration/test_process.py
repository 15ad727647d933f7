"""The process itself: killed or stopped without warning in mid-session, the venue's book stays ours."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from services.trade_executor.tests.integration.processes import OnRig, Rig, on_rig
from trader.testing.servers import Servers, SettingsFor


@pytest.fixture
def play(servers: Servers, settings_for: SettingsFor, account: str, tmp_path: Path) -> OnRig:
    return on_rig(servers, settings_for, account, tmp_path)


def test_a_killed_executor_comes_back_to_the_venues_own_book(play: OnRig) -> None:
    async def scenario(rig: Rig) -> None:
        executor = rig.start_executor()
        await rig.until_ready(executor)
        await rig.advance(3)
        for round_number in range(4):
            await rig.review(f"sig-{round_number}", wish="exit" if round_number % 2 else "entry")
            if round_number % 2 == 0:
                # In the middle of whatever it is doing just now.
                executor.kill()
                executor = rig.start_executor()
                await rig.until_ready(executor)
            await rig.until_orders(round_number + 1)
            await rig.settle()
        assert (await rig.book())["positions"] == {}
        executor.signal(signal.SIGTERM)
        assert executor.process.wait(60) == 0

    play(scenario)


def test_a_standby_takes_over_from_a_stopped_leader_that_cannot_send_once_it_wakes(
    play: OnRig,
) -> None:
    async def scenario(rig: Rig) -> None:
        leader = rig.start_executor()
        await rig.until_ready(leader)
        first = await rig.epoch()
        standby = rig.start_executor()
        await rig.until_ready(standby)  # it answers, and reads what the leader stored
        await rig.advance(3)

        leader.signal(signal.SIGSTOP)
        await rig.review("sig-0")
        await rig.until_epoch_after(first, within_s=15)
        second = await rig.epoch()
        await rig.until_orders(1)
        leader.signal(signal.SIGCONT)
        await rig.settle(1)
        for number in range(1, 4):
            await rig.review(f"sig-{number}")
            await rig.until_orders(1 + number)
        await rig.settle()
        sent = await rig.rows(
            "SELECT epoch, posts FROM trade_executor.intents WHERE account = :a ORDER BY sequence"
        )
        assert [(row.epoch, row.posts) for row in sent] == [(second, 1)] * 4

        standby.kill()
        await rig.until_epoch_after(second, within_s=15)
        await rig.review("sig-out", wish="exit")
        await rig.until_orders(5)
        await rig.settle()
        assert (await rig.book())["positions"]["AAPL"]["quantity"] == "15"

    play(scenario)
