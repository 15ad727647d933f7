"""A strategy is begun, found, shown and checked from the command line, without anything that runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from trader.cli import main
from trader.exits import ExitCode
from trader.runtime.places import project_folder


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def test_a_new_strategy_is_found_passes_its_own_test_and_both_checks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ["--folder", str(tmp_path)]

    assert main(["strategy", "new", "my_first_1", *folder]) == ExitCode.OK
    assert "wrote" in said(capsys)
    assert main(["strategy", "show", "my_first_1", "--json", *folder]) == ExitCode.OK
    shown = json.loads(said(capsys))
    assert shown["file"] == str(tmp_path / "my_first_1.py")
    assert [parameter["name"] for parameter in shown["parameters"]] == ["fast", "slow"]
    for check in ("lookahead", "warmup"):
        assert main(["check", check, "my_first_1", *folder]) == ExitCode.OK
        assert f"{check} of my_first_1: no difference found" in said(capsys)
    own = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c",
            str(project_folder() / "pyproject.toml"), str(tmp_path / "tests"),
        ],
        cwd=project_folder(),
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert own.returncode == 0, own.stdout


def test_a_new_strategy_overwrites_nothing_and_takes_nobodys_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ["--folder", str(tmp_path)]
    (tmp_path / "half.py").write_text("oh (", encoding="utf-8")

    assert main(["strategy", "new", "half", *folder]) == ExitCode.USAGE
    assert main(["strategy", "new", "macd", *folder]) == ExitCode.USAGE
    assert main(["strategy", "new", "../evil", *folder]) == ExitCode.USAGE
    assert main(["strategy", "new", "class", *folder]) == ExitCode.USAGE
    error = capsys.readouterr().err
    assert "half.py exists already" in error
    assert "there is a strategy macd already" in error
    assert "cannot name a strategy: use a-z" in error
    assert "'class' is a word of Python's own" in error
    assert (tmp_path / "half.py").read_text(encoding="utf-8") == "oh ("


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["strategy", "new", "mine", "--folder", str(tmp_path), "--dry-run"]

    assert main(words) == ExitCode.OK

    assert f"would write {tmp_path / 'mine.py'}" in said(capsys)
    assert list(tmp_path.iterdir()) == []


def test_the_list_names_shipped_and_own_strategies_and_what_is_broken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "half.py").write_text("oh (", encoding="utf-8")

    assert main(["strategy", "list", "--json", "--folder", str(tmp_path)]) == ExitCode.OK
    listed = json.loads(said(capsys))
    assert {"moving_average", "hybrid"} < {item["name"] for item in listed["items"]}
    assert "SyntaxError" in listed["broken"][str(tmp_path / "half.py")]

    assert main(["strategy", "list", "--folder", str(tmp_path)]) == ExitCode.OK
    printed = said(capsys)
    assert "moving_average" in printed
    assert "broken: " in printed


def test_a_strategy_is_shown_with_bounds_and_what_a_sell_means(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["strategy", "show", "moving_average"]) == ExitCode.OK

    printed = said(capsys)
    assert "a SELL closes the long position" in printed
    assert "short_window" in printed
    assert "899" in printed


@pytest.mark.parametrize(
    "words", [["strategy", "show"], ["check", "lookahead"], ["check", "warmup"]]
)
def test_an_unknown_strategy_names_the_nearest_one(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "moving_avrage"]) == ExitCode.NOT_FOUND
    assert "did you mean moving_average?" in capsys.readouterr().err


PEEKING = '''
import numpy as np
from strategy_engine.strategy import VectorStrategy, Wishes

class Peeking(VectorStrategy):
    """Buys before a rise."""

    @property
    def bars_needed(self):
        return 2

    def wishes(self, panel):
        rises = np.zeros(panel.close.shape, bool)
        rises[:-1] = panel.close[1:] > panel.close[:-1]
        return Wishes(rises, ~rises & ~np.isnan(panel.close), "will rise", "will not")

class Raising(Peeking):
    """Fails."""

    def wishes(self, panel):
        raise KeyError("no such thing")
'''


def test_a_strategy_that_peeks_is_told_where_and_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(PEEKING, encoding="utf-8")
    words = ["check", "lookahead", "peeking", "--folder", str(tmp_path)]

    assert main([*words, "--json"]) == ExitCode.ERROR
    found = json.loads(said(capsys))
    assert "it says LONG with all bars and FLAT without those that came later" in " ".join(
        found["differences"]
    )
    assert main(words) == ExitCode.ERROR
    assert "differences found at 40 instants" in said(capsys)


def test_a_strategy_that_raises_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(PEEKING, encoding="utf-8")

    assert main(["check", "warmup", "raising", "--folder", str(tmp_path)]) == ExitCode.USAGE

    assert capsys.readouterr().err == (
        "trader: strategy raising failed (mine.py line 21): KeyError: 'no such thing'\n"
    )


def test_bars_of_a_file_are_taken_when_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "\n".join(
        f"2024-01-{day:02},{100 + day},{103 + day},{99 + day},{101 + day},1000"
        for day in (2, 3, 4, 5, 8, 9, 10, 11, 12)
    )
    file = tmp_path / "AAPL.csv"
    file.write_text(f"date,open,high,low,close,volume\n{rows}\n", encoding="utf-8")
    words = ["check", "lookahead", "moving_average", "--param", "short_window=2", "--param"]

    assert main([*words, "long_window=3", "--data", str(file)]) == ExitCode.OK
    assert "1Day bars of AAPL" in said(capsys)
    assert main([*words, "long_window=3", "--data", str(file), "--symbol", "MSFT"]) == (
        ExitCode.NOT_FOUND
    )
    assert "has no bars of MSFT" in capsys.readouterr().err
