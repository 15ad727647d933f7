"""A replay's outcome depends on the bars alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from shared.testing.figures import Figure
from tests.acceptance.replaying import (
    GOOG,
    Outcome,
    assert_all_is_explained,
    assert_books_can_be_taken_out,
    assert_ledger_is_the_venues_book,
    assert_one_search_finds_the_way,
    at_the_venue,
    outcome,
    replaying,
    screens_of,
)
from trader.replay.session import ReplayPlan, Summary

# Two whole replays on a busy machine take longer than other tests may.
pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(900)]


# Crossings come often, so that a few months have orders of every kind.
BUSY = {"STRATEGY_PARAMS": "short_window=3,long_window=8"}


def _replay_goog(
    home: Path,
    last: int | None,
    settings: dict[str, str] | None = None,
    screens: str = "taken",
) -> tuple[Summary, Outcome]:
    return asyncio.run(_play_goog(home, last, settings, screens))


async def _play_goog(
    home: Path, last: int | None, settings: dict[str, str] | None, screens: str
) -> tuple[Summary, Outcome]:
    async with replaying(home, ReplayPlan(bars=GOOG, last=last), settings) as replay:
        if screens == "failed":
            at_the_venue(replay, kind="status", match={"path": "/export/screener"}, count=1_000_000)
        await replay.run()
        # One at each open, waited for whether it comes or not.
        assert await screens_of(replay) == {screens: replay.instants}
        await assert_ledger_is_the_venues_book(replay)
        await assert_all_is_explained(replay)
        await assert_books_can_be_taken_out(replay)
        assert_one_search_finds_the_way(home)
        return await replay.summary(), outcome(await replay.venue.book())


def test_real_daily_bars_give_the_same_orders_and_fills_twice(tmp_path: Path) -> None:
    summary, first = _replay_goog(tmp_path / "first", 125, BUSY)
    _, second = _replay_goog(tmp_path / "second", 125, BUSY, screens="failed")

    assert len(first[1]) > 10, "half a year must trade, or the comparison would say little"
    assert first == second
    assert summary.bars == 125
    assert summary.unknown_orders == 0
    assert summary.source == str(GOOG)


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_the_whole_file_gives_the_same_orders_and_fills_twice(
    tmp_path: Path, figure: Figure
) -> None:
    summary, first = _replay_goog(tmp_path / "first", None)
    _, second = _replay_goog(tmp_path / "second", None)

    figure(
        f"whole GOOG, twice the same: {summary.bars} bars, {summary.orders} orders, {summary.seconds_stepping:.0f} s"
    )
    assert first == second
    assert summary.bars == 2148
