"""Every password and token may be changed while orders rest at the broker, and none of them is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.acceptance.replaying import (
    GOOG,
    Outcome,
    after_instants,
    assert_ledger_is_the_venues_book,
    outcome,
)
from trader.replay.session import ReplayPlan, open_replay
from trader.runtime.credentials import new_secret
from trader.runtime.instance import Instance
from trader.runtime.stack import LocalStack

pytestmark = [pytest.mark.acceptance, pytest.mark.prove, pytest.mark.timeout(900)]

PLAN = ReplayPlan(bars=GOOG, last=160, account="rotating")
ROTATED = (
    "DB_PASSWORD",
    "REDIS_PASSWORD",
    "API_TOKEN_READ",
    "API_TOKEN_OPERATE",
    "API_TOKEN_KILL",
    "API_TOKEN_ADMIN",
)


def _play(home: Path, *, rotates_after: int | None) -> Outcome:
    try:
        if rotates_after is not None:
            asyncio.run(_session(home, rotates_after))
            _rotate(home / ".env")
        return asyncio.run(_session(home, None))
    finally:
        LocalStack(Instance.create(home)).remove()


async def _session(home: Path, instants: int | None) -> Outcome:
    async with open_replay(Instance.create(home), PLAN) as replay:
        await replay.run(*(() if instants is None else (after_instants(instants),)))
        await assert_ledger_is_the_venues_book(replay)
        return outcome(await replay.venue.book())


def _rotate(env: Path) -> None:
    lines = env.read_text().splitlines()
    assert {line.partition("=")[0] for line in lines} >= set(ROTATED)
    changed = [
        f"{name}={new_secret()}" if name in ROTATED else line
        for line in lines
        for name in [line.partition("=")[0]]
    ]
    env.write_text("\n".join(changed) + "\n")


def test_new_secrets_between_two_starts_change_no_order_and_no_fill(tmp_path: Path) -> None:
    undisturbed = _play(tmp_path / "undisturbed", rotates_after=None)
    orders, _ = rotated = _play(tmp_path / "rotated", rotates_after=100)

    assert orders, "the run must have orders, or none could be lost"
    assert rotated == undisturbed
