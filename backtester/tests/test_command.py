"""What does the command print, and how does it end?"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from risk_manager.limits import Limits
from shared.config import load_settings
from shared.domain.calendar import TradingCalendar
from trader.backtests import limits_of
from trader.cli import main
from trader.exits import ExitCode

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs are kept in a folder of the test's own; the exchange's sessions come from the project's cache."""
    monkeypatch.setenv("TRADING_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DATA_DIR", str(PROJECT / "data" / "parquet"))
    return tmp_path / "home"


@pytest.fixture
def bars(daily_bars: Path) -> Path:
    return daily_bars


def test_json_is_all_that_standard_output_holds(
    bars: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["backtest", "run", "--strategy", "moving_average", "--data", str(bars), "--json", "-"]

    assert main([*words, "--param", "short_window=5", "--param", "long_window=20"]) == ExitCode.OK

    said = json.loads(capsys.readouterr().out)
    assert said["manifest"]["parameters"] == {
        "short_window": 5,
        "long_window": 20,
        "allow_short": False,
    }
    assert said["summary"]["trades"] > 0
    assert {trade["symbol"] for trade in said["trades"]} == {"AAPL"}


def test_the_summary_is_shown_and_written(
    bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "result.json"
    words = ["backtest", "run", "--strategy", "moving_average", "--symbol", "aapl"]

    assert main([*words, "--data", str(bars), "--json", str(target)]) == ExitCode.OK

    shown = capsys.readouterr().out
    assert "moving_average (short_window=20, long_window=50, allow_short=False) on AAPL" in shown
    for title in ("Final balance", "Sharpe", "Max drawdown", "Profit factor", "Regulatory fees"):
        assert title in shown
    assert json.loads(target.read_text())["summary"]["bars"] == 250


def test_both_engines_say_the_same(bars: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = {}
    for engine in ("fast", "reference"):
        words = ["--strategy", "moving_average", "--data", str(bars), "--engine", engine]
        assert main(["backtest", "run", *words, "--param", "long_window=25", "--json", "-"]) == 0
        said[engine] = json.loads(capsys.readouterr().out)

    assert said["fast"]["summary"] == said["reference"]["summary"]
    assert said["fast"]["trades"] == said["reference"]["trades"]
    assert said["fast"]["summary"]["trades"] > 0


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--strategy", "movin_average"], 4, "did you mean moving_average?"),
        (["--param", "shrt_window=3"], 4, "did you mean short_window?"),
        (["--param", "short_window=60"], 4, "must be below long_window"),
        (["--param", "short_window"], 4, "is not a parameter"),
        (["--start", "2023-06-01", "--end", "2023-05-01"], 4, "exchange them"),
        (["--start", "1.6.2023"], 4, "must be a day like"),
        (["--start", "2024-06-01"], 2, "has no bars from 2024-06-01"),
        (["--symbols", "AAPL,AAPL"], 4, "AAPL is named twice"),
        (["--symbol", "AAPL", "--symbols", "AAPL"], 4, "AAPL is named twice"),
        (["--symbols", ","], 4, "--symbols names no symbol"),
        (["--unlent", ",,"], 4, "--unlent names no symbol"),
        (["--symbol", "MSFT"], 2, "has no bars of MSFT; it has AAPL"),
        (["--cash", "0"], 4, "--cash must be"),
        (["--engine", "warp"], 4, "--engine must be fast or reference"),
        (["--timeframe", "7Min"], 4, "is not a timeframe"),
        (["--sizing", "lots"], 4, "is not a sizing"),
        (["--no-risk", "--sizing", "limits"], 4, "nothing says how much to buy"),
    ],
)
def test_wrong_input_ends_with_one_sentence_and_no_report(
    bars: Path,
    words: list[str],
    code: int,
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    usual = ["--strategy", "moving_average"] if "--strategy" not in words else []

    assert main(["backtest", "run", *usual, "--data", str(bars), *words]) == code

    printed = capsys.readouterr()
    assert printed.out == ""
    assert sentence in printed.err
    assert printed.err.count("\n") == 1


def test_no_data_in_the_store_says_how_to_get_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))

    assert main(["backtest", "run", "--strategy", "moving_average", "--symbol", "AAPL"]) == 2

    said = capsys.readouterr().err
    assert "the store has no 1Day bars of AAPL" in said
    for mend in ("trader data fetch AAPL", "trader data import FILE", "trader data generate"):
        assert mend in said
    assert "--data PATH" in said


def test_the_stores_bars_are_traded(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from datetime import UTC, date, datetime
    from decimal import Decimal

    from backtester.history import read_history
    from shared.adapters.action_store import ParquetActions
    from shared.adapters.exchange_calendar import load_calendar
    from shared.adapters.parquet import ParquetBars
    from shared.domain.bar_blocks import BarBlock
    from shared.domain.corporate_actions import Split
    from shared.domain.symbols import Symbol

    calendar: TradingCalendar = load_calendar(tmp_path)
    history = read_history(bars, calendar)
    figures = [
        np.rint(getattr(history.panel, n)[:, 0] * 1e6).astype(np.int64)
        for n in ("open", "high", "low", "close")
    ]
    block = BarBlock(
        history.panel.timeframe,
        tuple(history.panel.symbols) * len(history),
        history.open_us,
        history.end_us,
        figures[0],
        figures[1],
        figures[2],
        figures[3],
        history.panel.volume[:, 0].astype(np.int64),
    )
    at = datetime(2024, 1, 1, tzinfo=UTC)
    ParquetBars(tmp_path / "paper").append(block, provider="test", fetched_at=at)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("TRADING_ACCOUNT", "paper")
    words = ["backtest", "run", "--strategy", "moving_average", "--json", "-"]

    assert main([*words, "--symbol", "AAPL"]) == 0
    stored = json.loads(capsys.readouterr().out)
    assert main([*words, "--data", str(bars)]) == 0
    from_file = json.loads(capsys.readouterr().out)

    assert stored["summary"] == from_file["summary"]
    assert stored["trades"] == from_file["trades"]

    # A split that the store knows counts without a word, as one of a file does when it is named.
    split = Split(Symbol("AAPL"), date(2023, 6, 1), Decimal(2), Decimal(1))
    ParquetActions(tmp_path / "paper").put([split], provider="test", fetched_at=at)
    (tmp_path / "actions.csv").write_text("symbol,date,split\nAAPL,2023-06-01,2:1\n")
    assert main([*words, "--symbol", "AAPL"]) == 0
    split_of_store = json.loads(capsys.readouterr().out)
    named = ["--actions", str(tmp_path / "actions.csv")]
    assert main([*words, "--data", str(bars), *named]) == 0
    split_of_file = json.loads(capsys.readouterr().out)

    assert split_of_store["summary"] != stored["summary"]
    assert split_of_store["summary"] == split_of_file["summary"]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"RISK_MAX_POSITION_SIZE": "0.2  # a fifth", "RISK_MAX_DAILY_TRADES": "7"},
        {"RISK_STOP_LOSS": "0.01", "RISK_MANAGER_PORT": "9000"},
        {"RISK_PATTERN_DAY_TRADER_RULE": "false", "RISK_HALTED_SYMBOLS": "AAPL"},
    ],
)
def test_the_limits_are_those_of_live_trading(given: dict[str, str]) -> None:
    assert limits_of(given) == Limits.of(load_settings(given))


def test_a_limit_that_cannot_be_read_is_named() -> None:
    from shared.domain.errors import Misconfigured

    with pytest.raises(Misconfigured, match="RISK_MAX_POSITION_SIZE"):
        limits_of({"RISK_MAX_POSITION_SIZE": "much"})
    with pytest.raises(Misconfigured, match="did you mean RISK_MAX_POSITION_SIZE"):
        limits_of({"RISK_MAX_POSITON_SIZE": "0.1"})


def test_the_script_goes_on_in_the_projects_own_python(bars: Path, tmp_path: Path) -> None:
    python = Path(sys.base_prefix) / "bin" / "python3"
    command = [str(python), str(PROJECT / "scripts" / "backtest.py")]

    done = subprocess.run(
        [*command, "--strategy", "moving_average", "--data", str(bars), "--json", "-"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["summary"]["bars"] == 250


def test_the_script_without_an_environment_says_what_to_run(tmp_path: Path) -> None:
    script = tmp_path / "scripts" / "backtest.py"
    script.parent.mkdir()
    script.write_text((PROJECT / "scripts" / "backtest.py").read_text())

    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False, env=os.environ
    )

    assert done.returncode == 4
    assert "run `make setup`" in done.stderr
