"""docs/adding-a-strategy.md, followed to the letter."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.domain.timeframes import Timeframe
from strategy_engine import indicators
from strategy_engine.catalogue import discover
from strategy_engine.checks import check_lookahead, check_warmup, made_up_bars
from strategy_engine.strategies.moving_average import MovingAverage
from strategy_engine.strategy import VectorStrategy
from trader.cli import main
from trader.exits import ExitCode
from trader.runtime.places import project_folder

DOCUMENT = (project_folder() / "docs" / "adding-a-strategy.md").read_text(encoding="utf-8")
CROSSOVER, LONGER = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
COMMANDS = [shlex.split(line) for line in re.findall(r"(?m)^    trader (.*)$", DOCUMENT)]


def test_every_command_of_the_document_ends_well(tmp_path: Path) -> None:
    rising = "\n".join(
        f"2024-{month:02}-{day:02},{price},{price + 1},{price - 1},{price},1000"
        for month in (1, 2, 3)
        for day in (5, 8, 9, 10, 11, 12)
        for price in [100 + 7 * month - day]
        if (month, day) not in {(2, 10), (2, 11), (3, 9), (3, 10)}
    )
    bars = tmp_path / "AAPL.csv"
    bars.write_text(f"date,open,high,low,close,volume\n{rising}\n", encoding="utf-8")
    own = tmp_path / "strategies"

    for words in COMMANDS:
        assert main(_with_own_places(words, own, bars)) == ExitCode.OK, words

    assert [words[:2] for words in COMMANDS] == [
        ["strategy", "new"],
        ["strategy", "list"],
        ["strategy", "show"],
        ["check", "lookahead"],
        ["check", "warmup"],
        ["backtest", "run"],
    ]


def _with_own_places(words: list[str], own: Path, bars: Path) -> list[str]:
    """The command with a test's own folder and file in it."""
    if words[0] != "backtest":
        return [*words, "--folder", str(own)]
    # It looks for strategies in the project's folder, which is not a test's to write to.
    places = {"my_idea": "moving_average", bars.name: str(bars)}
    short = ["--param", "short_window=2", "--param", "long_window=4"]
    return [places.get(word, word) for word in words] + short


def test_the_crossover_of_the_document_is_whole_in_fifteen_lines(tmp_path: Path) -> None:
    assert len([line for line in CROSSOVER.splitlines() if line.strip()]) <= 15
    (tmp_path / "crossover.py").write_text(CROSSOVER, encoding="utf-8")

    strategy = discover(tmp_path).find("crossover")(fast=20, slow=50)

    bars = made_up_bars(strategy, Timeframe.DAY)
    assert check_lookahead(strategy, bars).differences == ()
    assert check_warmup(strategy, bars).differences == ()
    assert isinstance(strategy, VectorStrategy)
    said, shipped = strategy.wishes(bars), MovingAverage().wishes(bars)
    assert said.entries.any()
    assert np.array_equal(said.entries, shipped.entries)
    assert np.array_equal(said.exits, shipped.exits)


def test_the_longer_bars_of_the_document_work() -> None:
    room: dict[str, Any] = {}
    exec(LONGER, room)
    bars = made_up_bars(MovingAverage(long_window=900), Timeframe.MINUTE)

    above = room["above_its_hourly_mean"](bars)

    assert above.shape == bars.close.shape
    assert 0 < above.sum() < above.size


@pytest.mark.parametrize("name", sorted({*indicators.__all__} - {"MAX_WINDOW"}))
def test_every_indicator_is_named_in_the_document(name: str) -> None:
    assert re.search(rf"\b{name}\b", DOCUMENT)
